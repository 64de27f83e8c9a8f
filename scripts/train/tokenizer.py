"""Train the tokenizer: lower-cased byte-level BPE over the corpus, languages weighted, words bounded.

python scripts/train/tokenizer.py CORPUS RUN/tokenizer.json
"""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from pathlib import Path

from corpus import read_rows
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

# Runs are bounded so that no hostile text makes one huge word, and need no look at what follows.
PATTERN = r" ?[\p{L}\p{M}]{1,24}| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]{1,8}|\s{1,16}"
# Invisible marks inside a word hide it from a reader of tokens, not from a reader of the page: zero-width spaces and
# joiners, the soft hyphen, variation selectors and directional marks are dropped where a letter stands before them.
INVISIBLE = r"(?<=\p{L})[\u00AD\u200B-\u200F\u202A-\u202E\u2060-\u2064\uFE00-\uFE0F\uFEFF]+"
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
SIZE = 32_000
BUDGET = 60_000_000
"""Characters that the vocabulary is learned from."""
SHARES = {"en": 0.38, "zh": 0.06, "ko": 0.05, "vi": 0.03, "ja": 0.035, "fr": 0.04, "de": 0.035, "es": 0.04, "ru": 0.04}
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


def sample(data: Path, seed: int) -> list[str]:
    """Return texts of every language by its share, repeated where there are too few (merges count, not texts)."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(data / "train"):
        texts[row.lang].append(row.text[:2000])
        if row.prompt:
            texts[row.lang].append(row.prompt[:2000])
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
    for letter, others in (*LOOK_ALIKES.items(), *LOOK_ALIKES.items()):  # twice: one's neighbour may be another
        # The character first and what stands around it after: most texts have none, and are passed over quickly.
        steps.append(normalizers.Replace(Regex(f"[{others}](?:(?<=[a-z].)|(?=[a-z]))"), letter))
    for letter, signs in SIGNS.items():
        steps.append(normalizers.Replace(Regex(f"[{signs}](?<=[a-z].)(?=[a-z])"), letter))
    steps.append(normalizers.Replace(Regex(r"@(?<=[a-z].)(?=[a-z]{1,8}(?![a-z.]))"), "a"))
    steps += [normalizers.Replace(Regex(SPACED.replace("M", mark)), "") for mark in MARKS]
    return normalizers.Sequence(steps)


def train(texts: list[str], size: int) -> Tokenizer:
    """Return a tokenizer of `size` tokens, the tags the last of them."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(TAGS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        min_frequency=3,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(TAGS))
    return tokenizer


if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    train(sample(data, 1), SIZE).save(str(out))
