"""Read English texts with a larger encoder, whose meaning of them and verdict on them the model learns beside labels.

python scripts/train/meanings.py --config scripts/train/mini.toml --data CORPUS --teacher RUN/teacher.pt \
    --out RUN/meanings.npz

A small model under a causal mask loses much of what an encoder (encoder.py) knows of a text's other side. A text's
meaning is the mean of the encoder's states, every dimension of mean 0 and variance 1 over the texts. The verdict on a
prompt is the mean of its label and what the fine-tuned encoder (teach.py) says of it, so that none is taught its own
label alone. Where the words of a text are replaced by another language's, meaning and verdict are the English ones.

Reimers and Gurevych 2020, "Making Monolingual Sentence Embeddings Multilingual using Knowledge Distillation".
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
import teach
from compose import END, grouped
from corpus import Row
from encoder import LONGEST, Encoder, archive
from lexicon import Lexicon
from numpy.typing import NDArray
from tokenizers import Tokenizer

POOL = 4096
"""Texts that are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Meant:
    """A text as our tokens, its tag and end included, what it means and how harmful it is."""

    ids: list[int]
    meaning: NDArray[np.float16]  # (meaning,)
    verdict: float  # of 0 to 1; NaN where it is no prompt


class Meanings:
    """English texts and what the teacher makes of them, as `main` wrote them."""

    def __init__(self, path: Path) -> None:
        kept = np.load(path)
        self.texts: list[str] = json.loads(kept["texts"].tobytes())
        self.meanings: NDArray[np.float16] = kept["meanings"]  # (texts, meaning)
        self.verdicts: NDArray[np.float16] = kept["verdicts"]  # (texts,)

    def batches(self, tokenizer: Tokenizer, config: dict[str, Any], seed: int) -> Iterator[list[Meant]]:
        """Yield batches of texts of like length, half of them with their words in another language.

        Some are sentences that are written out in several languages: in one of those.
        """
        rng, lexicon, places = random.Random(seed), Lexicon(), {text: index for index, text in enumerate(self.texts)}
        known = [(places[found["en"]], found) for found in synthesize.sentences() if found["en"] in places]
        prompt, response = (int(tokenizer.token_to_id(f"<|{role}|>") or 0) for role in ("prompt", "response"))
        end = tokenizer.encode(END, add_special_tokens=False).ids
        while True:
            pool = []
            for place in rng.sample(range(len(self.texts)), min(POOL, len(self.texts))):
                if known and rng.random() < config["meant_sentences"]:
                    index, sentence = rng.choice(known)
                    text = sentence[rng.choice([name for name in sentence if name != "category"])]
                else:
                    index, text = place, self.texts[place]
                    text = lexicon.translated(text, rng) if rng.random() < config["meant_elsewhere"] else text
                verdict = float(self.verdicts[index])
                ids = tokenizer.encode(text, add_special_tokens=False).ids[: config["width"] - 2]
                answered = np.isnan(verdict) and rng.random() < 0.5
                pool.append(Meant([response if answered else prompt, *ids, *end], self.meanings[index], verdict))
            yield from grouped(pool, config["tokens"], rng)


def english(rows: Iterable[Row]) -> dict[str, float]:
    """Return the English texts and prompts among the rows, and how many of the rows that a prompt is call it risky.

    It is NaN for what is only a reply, a comment, or the prompt of a reply, and for a risky prompt that is cut, as what
    made it risky may be in the rest.
    """
    found: dict[str, list[int]] = {}
    for row in rows:
        if row.lang == "en":
            for text in (row.text, row.prompt):
                if text and text.strip():
                    labels = found.setdefault(text[:LONGEST], [])
                    if row.kind == "prompt" and (not row.label or len(text) <= LONGEST):
                        labels.append(int(row.label > 0))
    return {text: float(np.mean(labels)) if labels else float("nan") for text, labels in found.items()}


def asked(rows: Iterable[Row]) -> set[str]:
    """Return the English prompts of replies: nobody has said how harmful they are, and the teacher is asked."""
    return {row.prompt[:LONGEST] for row in rows if row.lang == "en" and row.prompt and row.prompt.strip()}


def verdicts(texts: dict[str, float], guesses: dict[str, float]) -> NDArray[np.float32]:
    """Return the mean of each text's label and guess, or what there is of them, (texts,); NaN without both."""
    both = np.array([(label, guesses.get(text, np.nan)) for text, label in texts.items()], np.float32)
    known = ~np.isnan(both)
    total = np.where(known, both, 0).sum(1)
    return np.divide(total, known.sum(1), out=np.full(len(both), np.nan, np.float32), where=known.any(1))


def main() -> None:
    """Write the texts, their meanings and the verdicts on them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--teacher", type=Path, required=True, help="what teach.py wrote")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    config = tomllib.loads(args.config.read_text())
    rows = synthesize.known(args.data, config)
    texts = english(rows)
    encoder = Encoder.load(archive())
    encoder.model.bfloat16()
    states = encoder.means(list(texts))
    of_replies = asked(rows)
    prompts = [text for text, label in texts.items() if not np.isnan(label) or text in of_replies]
    harm = teach.load(args.teacher).harm(prompts)
    save(args.out, texts, states, dict(zip(prompts, harm.tolist(), strict=True)))


def save(path: Path, texts: dict[str, float], states: NDArray[np.float32], guesses: dict[str, float]) -> None:
    """Write texts, meanings and verdicts of texts with their labels, the means of their states and the guesses."""
    meanings = ((states - states.mean(0)) / (states.std(0) + 1e-6)).astype(np.float32)
    found = verdicts(texts, guesses)
    partly = path.with_suffix(".partly.npz")
    written = np.frombuffer(json.dumps(list(texts)).encode(), np.uint8)
    np.savez(partly, texts=written, meanings=meanings.astype(np.float16), verdicts=found.astype(np.float16))
    partly.replace(path)


if __name__ == "__main__":
    main()
