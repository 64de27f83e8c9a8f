"""Train the tokenizer: byte-level BPE over the corpus, languages balanced, words bounded."""

from __future__ import annotations

import random
import sys
from collections import defaultdict
from pathlib import Path

from corpus import read_rows
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

# Runs are bounded so that no hostile text makes one huge word, and need no look at what follows.
PATTERN = r" ?[\p{L}\p{M}]{1,24}| ?\p{N}{1,3}| ?[^\s\p{L}\p{M}\p{N}]{1,8}|\s{1,16}"
TAGS = ("<|system|>", "<|prompt|>", "<|response|>")


def sample(data: Path, seed: int, budget: int = 45_000_000) -> list[str]:
    """Return texts of every language, each language by the power 0.6 of its characters."""
    texts: dict[str, list[str]] = defaultdict(list)
    for row in read_rows(data / "train"):
        texts[row.lang].append(row.text[:2000])
        if row.prompt:
            texts[row.lang].append(row.prompt[:2000])
    sizes = {lang: sum(map(len, rows)) for lang, rows in texts.items()}
    total = sum(size**0.6 for size in sizes.values())
    rng, out = random.Random(seed), list[str]()
    for lang, rows in sorted(texts.items()):
        left = budget * sizes[lang] ** 0.6 / total
        rng.shuffle(rows)
        for text in rows:
            if left <= 0:
                break
            out.append(text)
            left -= len(text)
    return out


def train(texts: list[str], size: int) -> Tokenizer:
    """Return a tokenizer of `size` tokens, the tags the last of them."""
    tokenizer = Tokenizer(models.BPE())
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
        min_frequency=2,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens(list(TAGS))
    return tokenizer


if __name__ == "__main__":
    data, out = Path(sys.argv[1]), Path(sys.argv[2])
    train(sample(data, 1), 32_000).save(str(out))
