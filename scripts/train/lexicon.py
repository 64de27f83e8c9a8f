"""English training texts word by word in other languages, from synthesis/words.tsv.

The corpus has harmful prompts almost only in English; an English text whose words are replaced teaches the words of
another language what the English ones already mean. Grammar and order stay English, so a share of the words may too.

Qin et al. 2020, "CoSDA-ML: Multi-Lingual Code-Switching Data Augmentation for Zero-Shot Cross-Lingual NLP".
"""

from __future__ import annotations

import random
import re
from pathlib import Path

LIST = Path(__file__).parent / "synthesis" / "words.tsv"
WORD = re.compile(r"[A-Za-z]+(?:'[a-z]+)?")
ENDINGS = (("ies", "y"), ("es", ""), ("s", ""), ("ied", "y"), ("ed", ""), ("ed", "e"), ("ing", ""), ("ing", "e"))
UNSPACED = frozenset({"zh", "ja", "th"})
DROPPED = frozenset({"the", "a", "an", "to"})
"""Words that most languages have no word for; they go where a whole text is translated."""


class Lexicon:
    """The word list by language."""

    def __init__(self, path: Path = LIST) -> None:
        header, *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
        self.languages = header[1:]
        self._words = {
            lang: {cells[0]: cells[place].split("/") for cells in lines if cells[place]}
            for place, lang in enumerate(self.languages, 1)
        }

    def translated(self, text: str, rng: random.Random) -> str:
        """Return the text with all or some of its words in a language that is drawn."""
        lang = rng.choice(self.languages)
        share = 1.0 if rng.random() < 0.6 else rng.uniform(0.3, 0.9)

        def one(match: re.Match[str]) -> str:
            word = match[0].lower()
            if share == 1.0 and word in DROPPED:
                return ""
            found = self._find(lang, word) if rng.random() < share else None
            return rng.choice(found) if found else match[0]

        out = WORD.sub(one, text)
        if lang in UNSPACED:
            out = re.sub(r"(?<=[^\x00-\x7f]) +(?=[^\x00-\x7f])", "", out)
        return re.sub(r" {2,}", " ", out)

    def _find(self, lang: str, word: str) -> list[str] | None:
        words = self._words[lang]
        if word in words:
            return words[word]
        for ending, instead in ENDINGS:
            if word.endswith(ending) and (found := words.get(word[: -len(ending)] + instead)):
                return found
        return None
