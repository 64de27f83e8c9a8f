"""Give the words of other languages the meaning of the English ones, before anything is learned of them.

python scripts/train/align.py --data CORPUS --checkpoint RUN/carried.pt --tokenizer RUN/tokenizer.json --out ALIGNED.pt

The embedding is moved, as little as may be, so that the pieces of every word in synthesis/words.tsv have the mean that
its English word has; tokens that English texts are written with stay as they are. The layers above, which learned
English, then read other languages by it; a run from there settles what does not fit.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import torch
from corpus import read_rows
from lexicon import LIST, UNSPACED
from start import PREFIX
from tokenizers import Tokenizer
from torch import Tensor

KEPT = 0.1
"""How much a token resists being moved, against the words that want it moved."""
ENGLISH, OFTEN = 40_000, 50
"""English rows that are looked at, and how often a token stands in them at least that stays as it is."""
LONGEST = 5
"""Pieces of a word at most; a mean of more says little."""


def pairs(path: Path = LIST) -> Iterator[tuple[str, str, str]]:
    """Yield every English word of the list with every word of another language that stands beside it, and which."""
    (_, *languages), *lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    for english, *cells in lines:
        for lang, cell in zip(languages, cells, strict=True):
            for word in filter(None, cell.split("/")):
                yield english, word, lang


def english(data: Path, tokenizer: Tokenizer) -> set[int]:
    """Return the tokens that English training rows are written with, and those of the list's English words."""
    rng = random.Random(0)
    rows = [row for row in read_rows(data / "train") if row.lang == "en"]
    texts = [row.text[:1000] for row in rng.sample(rows, min(ENGLISH, len(rows)))]
    counts = Counter(
        token for encoding in tokenizer.encode_batch(texts, add_special_tokens=False) for token in encoding.ids
    )
    words = {word for word, _, _ in pairs()}
    own = {
        token for encoding in tokenizer.encode_batch(sorted(words), add_special_tokens=False) for token in encoding.ids
    }
    return own | {token for token, count in counts.items() if count >= OFTEN}


def aligned(table: Tensor, tokenizer: Tokenizer, still: set[int]) -> tuple[Tensor, int]:
    """Return the embedding (tokens, hidden) after its move, and how many tokens moved: a ridge regression."""
    vocabulary = tokenizer.get_vocab()

    def spelled(word: str) -> list[int]:
        return list(tokenizer.encode(word, add_special_tokens=False).ids)

    def within(word: str) -> list[int]:
        """As `spelled`, where other letters stand right before the word."""
        first, *rest = spelled(word)
        inner = vocabulary.get(PREFIX + str(tokenizer.id_to_token(first)))
        return [] if inner is None else [inner, *rest]

    words: list[tuple[list[int], list[int]]] = []
    for known, word, lang in pairs():
        for ids in (spelled(word), within(word)) if lang in UNSPACED else (spelled(word),):
            if len(spelled(known)) <= 2 and len(ids) <= LONGEST and not still.issuperset(ids):
                words.append((spelled(known), ids))
    moved = sorted({token for _, ids in words for token in ids} - still)
    place = {token: index for index, token in enumerate(moved)}
    row = torch.tensor([index for index, (_, ids) in enumerate(words) for _ in ids])
    token = torch.tensor([token for _, ids in words for token in ids])
    free = torch.tensor([place.get(token, -1) for _, ids in words for token in ids])
    share = torch.tensor([1 / len(ids) for _, ids in words for _ in ids])[:, None]
    goal = torch.stack([table[ids].mean(0) for ids, _ in words])
    now = torch.zeros_like(goal).index_add(0, row, share * table[token])
    step = torch.zeros(len(moved), table.shape[1], requires_grad=True)
    solver = torch.optim.LBFGS([step], max_iter=80, line_search_fn="strong_wolfe")
    used = free >= 0

    def loss() -> float:
        solver.zero_grad()
        new = now.index_add(0, row[used], share[used] * step[free[used]])
        value = ((new - goal) ** 2).sum() + KEPT * (step**2).sum()
        value.backward()
        return float(value.detach())

    solver.step(loss)
    out = table.clone()
    out[moved] += step.detach()
    return out, len(moved)


def main() -> None:
    """Write the state with its embedding moved."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    torch.manual_seed(0)
    state = torch.load(args.checkpoint, map_location="cpu", weights_only=True)
    weights = state.get("mean") or state["model"]
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    table, moved = aligned(weights["embedding.weight"].float(), tokenizer, english(args.data, tokenizer))
    weights["embedding.weight"] = table
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"model": weights, "mean": weights}, args.out)
    print(f"{moved} tokens moved")


if __name__ == "__main__":
    main()
