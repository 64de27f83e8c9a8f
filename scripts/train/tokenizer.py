"""Make the tokenizer: the English words of BERT's vocabulary, and byte-level pieces of other languages.

The words whose meaning all-MiniLM-L6-v2 brings along stay whole, as it knows them; everything else is spelled by pieces
of bytes that are learned from the corpus, languages weighted. Lower-cased, words bounded, nothing unknown.

python scripts/train/tokenizer.py CORPUS RUN/tokenizer.json
"""

from __future__ import annotations

import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from corpus import read_rows
from start import PREFIX, source_folder
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# Scripts that are written without spaces.
UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# Runs are bounded so that no hostile text makes one huge word, and need no look at what follows; spaces part words.
PATTERN = rf"[{UNSPACED}]{{1,12}}|[[\p{{L}}\p{{M}}\p{{N}}]&&[^{UNSPACED}]]{{1,24}}|\s{{1,4}}|[^\s\p{{L}}\p{{M}}\p{{N}}]"
# Invisible marks hide a word from a reader of tokens, not from a reader of the page: zero-width spaces and joiners, the
# soft hyphen, fillers, variation selectors, directional marks, tag characters and controls are nothing.
INVISIBLE = (
    r"[\x00-\x08\x0E-\x1F\x7F\u00AD\u034F\u061C\u115F\u1160\u17B4\u17B5\u180B-\u180E\u200B-\u200F\u202A-\u202E"
    r"\u2060-\u206F\u3164\uFE00-\uFE0F\uFEFF\uFFA0\x{E0000}-\x{E0FFF}]+"
)
# Of many of the same sign, dots or dashes or the like, the first three stay; a line of them is no hiding place.
MANY = "|".join(f"(?<={sign * 3}){sign}+" for sign in map(re.escape, ".,=_~*#!?+|/\\-"))
# Line feeds and tabs between words are spaces like any other, so that no layout hides a text; one that nothing follows
# stays, as the end of a text is a line feed.
# Each run is looked at once: a text that ends in many spaces takes no longer than another.
GAP = r"(?<!\s)\s++(?=\S)"
# What a reader takes for a Latin letter becomes one where a Latin letter is its neighbour: letters of other scripts,
# and digits and signs between two letters. An address keeps its at sign.
LOOK_ALIKES = {
    "a": "аα", "b": "Ьь", "c": "сϲ", "d": "ԁ", "e": "еε", "g": "ɡ", "h": "һ", "i": "іιı", "j": "ј", "k": "κк", "l": "ӏ",
    "m": "м", "n": "ո", "o": "оοօ", "p": "рρ", "q": "ԛ", "r": "г", "s": "ѕ", "t": "т", "u": "υս", "v": "ν", "w": "ԝ",
    "x": "хχ", "y": "у", "z": "ᴢ",
}  # fmt: skip
SIGNS = {"o": "0", "i": "1!", "e": "3", "a": "4", "s": "5$", "t": "7+", "b": "8", "g": "9"}
# Three letters or more that stand alone with one mark of a kind between each are a word.
SPACED = (
    r"M(?:(?<![a-z][a-z].)(?<=[a-z].)(?=[a-z]M[a-z](?![a-z0-9]))"
    r"|(?<=[^a-z][a-z]M[a-z].|^[a-z]M[a-z].)(?=[a-z](?![a-z0-9])))"
)
MARKS = (" ", r"[.\-_*]")
TAGS = ("<|system|>", "<|prompt|>", "<|response|>")
SIZE = 41_000
SEEN = 2
"""Texts of the corpus in which a word of BERT's vocabulary stands at least, to be kept."""
BUDGET = 60_000_000
"""Characters whose shares are given below; those of English were taken by BERT's words."""
SHARES = {"zh": 0.06, "ko": 0.05, "vi": 0.03, "ja": 0.035, "fr": 0.04, "de": 0.035, "es": 0.04, "ru": 0.04}
SHARES |= dict.fromkeys(("ar", "hi"), 0.035) | dict.fromkeys(("it", "pt", "th"), 0.025)
OTHERS = [
    "bn",
    "nl",
    "pl",
    "tr",
    "id",
    "sw",
    "jv",
    "tl",
    "sr",
    "cs",
    "sv",
    "fa",
    "ro",
    "uk",
    "el",
    "he",
    "ta",
    "te",
    "ur",
]
SHARES |= dict.fromkeys([*OTHERS, "ur", "ms"], 0.006)
"""The share of each language in what the vocabulary is learned from; the rest of the languages have 0.02 together."""


def read(data: Path) -> dict[str, list[str]]:
    """Return the texts to train on by language."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(data / "train"):
        texts[row.lang] += [text[:2000] for text in (row.text, row.prompt) if text]
    return texts


def sample(texts: dict[str, list[str]], seed: int) -> list[str]:
    """Return texts of every language by its share, repeated where there are too few (merges count, not texts)."""
    others = len(texts.keys() - SHARES.keys())
    rng, out = random.Random(seed), list[str]()
    for lang, rows in sorted(texts.items()):
        left = BUDGET * (SHARES[lang] if lang in SHARES else 0.02 / others)
        for _ in range(3):
            rng.shuffle(rows)
            for text in rows:
                if left <= 0:
                    break
                out.append(text)
                left -= len(text)
    return out


def normalizer() -> normalizers.Normalizer:
    """Return what is done to a text before it is cut into words: ways of hiding one are undone, case is dropped."""
    steps = [normalizers.Replace(Regex(INVISIBLE), ""), normalizers.NFKC(), normalizers.Lowercase()]
    steps += [normalizers.Replace(Regex(GAP), " "), normalizers.Replace(Regex(MANY), "")]
    for letter, others in (*LOOK_ALIKES.items(), *LOOK_ALIKES.items()):  # twice: one's neighbour may be another
        # The character first and what stands around it after: most texts have none, and are passed over quickly.
        steps.append(normalizers.Replace(Regex(f"[{others}](?:(?<=[a-z].)|(?=[a-z]))"), letter))
    for letter, signs in SIGNS.items():
        steps.append(normalizers.Replace(Regex(f"[{signs}](?<=[a-z].)(?=[a-z])"), letter))
    steps.append(normalizers.Replace(Regex(r"@(?<=[a-z].)(?=[a-z]{1,8}(?![a-z.]))"), "a"))
    steps += [normalizers.Replace(Regex(SPACED.replace("M", mark)), "") for mark in MARKS]
    return normalizers.Sequence(steps)


def empty() -> Tokenizer:
    """Return a tokenizer that cuts a text into words and knows none."""
    tokenizer = Tokenizer(models.WordPiece(continuing_subword_prefix=PREFIX))
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(" +"), "removed"),
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    return tokenizer


def known(texts: Iterable[str], source: Tokenizer) -> list[str]:
    """Return the pieces of BERT's vocabulary that stand in the texts, by its own order."""
    counts: Counter[str] = Counter()
    for encoding in source.encode_batch(list(texts), add_special_tokens=False):
        counts.update(set(encoding.tokens))
    plain = re.compile(rf"({PREFIX})?[a-z0-9]+|[!-~]")
    pieces = sorted((place, piece) for piece, place in source.get_vocab().items() if plain.fullmatch(piece))
    return [piece for _, piece in pieces if counts[piece] >= SEEN]


def train(texts: list[str], kept: list[str], size: int) -> Tokenizer:
    """Return a tokenizer of `size` tokens: single bytes, those kept, what the texts teach, and the tags last."""
    learned = empty()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=3,
        continuing_subword_prefix=PREFIX,
    )
    learned.train_from_iterator(texts, trainer)
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    # A trainer numbers its pieces in the order in which it found them worth a token.
    found = sorted(learned.get_vocab().items(), key=lambda item: item[1])
    pieces = dict.fromkeys([*letters, *(PREFIX + letter for letter in letters), *kept, *(piece for piece, _ in found)])
    vocabulary = {piece: place for place, piece in enumerate(list(pieces)[: size - len(TAGS)])}
    tokenizer = empty()
    tokenizer.model = models.WordPiece(
        vocabulary, unk_token=letters[0], max_input_chars_per_word=1000, continuing_subword_prefix=PREFIX
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(TAGS))
    return tokenizer


if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    texts = read(data)
    english = texts.pop("en")
    source = Tokenizer.from_file(str(source_folder() / "tokenizer.json"))
    source.no_truncation()
    source.no_padding()
    train(sample(texts, 1), known(english, source), SIZE).save(str(out))
