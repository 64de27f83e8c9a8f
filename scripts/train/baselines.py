"""Put riskline-mini beside simple models trained on the same draws: n-grams, a bag of words, the majority.

python scripts/train/baselines.py --data CORPUS [--guard models/riskline-mini] [--json FILE]

Unsafe against safe; controversial rows are left out. Prompts and comments are one role, responses the other, without
their prompts for the simple models. Figures are those of sources that no row was trained on: AUROC with a 95 %
bootstrap interval and, where a source has one label only, the share above the threshold that flags 3 % of
alpaca_prompts.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
from corpus import LABELS, Row, read_rows, weights
from evaluate import scored
from numpy.typing import NDArray
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline

from riskline.guard import load

SAFE, UNSAFE = LABELS.index("safe"), LABELS.index("unsafe")
DRAWN, JUDGED, LONGEST = 80_000, 400, 2_000
Ranks = NDArray[np.float64]


def drawn(data: Path, config: dict[str, Any], responses: bool) -> tuple[list[str], list[int]]:  # noqa: FBT001
    """Return texts and labels of one role, drawn as the real model's are."""
    rows = synthesize.known(data, config)
    chances = weights(rows, config["shares"], config["safe"], config["trust"])
    chosen = [row for row in random.Random(0).choices(rows, chances, k=2 * DRAWN) if row.label in (SAFE, UNSAFE)]
    own = [row for row in chosen if (row.role == "response") == responses][:DRAWN]
    return [row.text[:LONGEST] for row in own], [int(row.label == UNSAFE) for row in own]


def ngrams() -> Pipeline:
    """Return characters and words, hashed, weighted by TF-IDF, under a logistic regression."""
    both = FeatureUnion(
        [
            (
                "characters",
                HashingVectorizer(analyzer="char_wb", ngram_range=(2, 5), n_features=2**20, alternate_sign=False),
            ),
            ("words", HashingVectorizer(ngram_range=(1, 2), n_features=2**19, alternate_sign=False)),
        ]
    )
    return make_pipeline(both, TfidfTransformer(), SGDClassifier("log_loss", alpha=1e-6, max_iter=8, random_state=0))


class Bag:
    """Hashed words and character trigrams, the mean of their learned vectors, a linear layer: fastText's shape."""

    def __init__(self, size: int = 2**18, width: int = 32) -> None:
        import torch

        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.size = size
        self.vectors = torch.nn.EmbeddingBag(size, width, mode="mean")
        self.head = torch.nn.Linear(width, 1)
        self.hash = HashingVectorizer(
            analyzer=self._features, n_features=size, alternate_sign=False, norm=None, binary=True
        )

    @staticmethod
    def _features(text: str) -> list[str]:
        words = text.lower().split()
        return words + [f"{word[i : i + 4]}" for word in (f"<{word}>" for word in words) for i in range(len(word) - 3)]

    def _logits(self, texts: list[str]) -> object:
        import torch

        matrix = self.hash.transform([text or "-" for text in texts])
        ids, starts = (
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.indptr[:-1].astype(np.int64)),
        )
        return self.head(self.vectors(ids, starts))[:, 0]

    def fit(self, texts: list[str], labels: list[int], epochs: int = 3) -> Bag:
        """Learn by Adam, in batches of 256."""
        import torch

        optimizer = torch.optim.Adam([*self.vectors.parameters(), *self.head.parameters()], lr=0.003)
        gold, order = torch.tensor(labels, dtype=torch.float32), np.random.default_rng(0)
        for _ in range(epochs):
            for part in np.array_split(order.permutation(len(texts)), len(texts) // 256):
                loss = torch.nn.functional.binary_cross_entropy_with_logits(
                    self._logits([texts[index] for index in part]), gold[torch.from_numpy(part)]
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        return self

    def decision_function(self, texts: list[str]) -> Ranks:
        """Return a logit for each text."""
        import torch

        with torch.no_grad():
            return np.concatenate(
                [self._logits(texts[i : i + 256]).numpy().astype(float) for i in range(0, len(texts), 256)]  # type: ignore[attr-defined]
            )


def unseen(data: Path) -> dict[tuple[str, str], list[Row]]:
    """Return a seeded sample of the unseen sources by source and kind, as many rows of each label."""
    trained = {path.name.removesuffix(".jsonl.gz") for path in (data / "train").glob("*.jsonl.gz")}
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in read_rows(data / "dev", licence=None):
        if row.source not in trained and row.text.strip() and row.label in (SAFE, UNSAFE):
            groups[row.source, row.kind, row.label].append(row)
    out: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for (source, kind, _), rows in sorted(groups.items()):
        out[source, kind] += random.Random(0).sample(rows, min(JUDGED, len(rows)))
    return out


def interval(gold: NDArray[np.int64], ranks: Ranks) -> str:
    """Return the AUROC with its 95 % interval over 500 resamples of the rows."""
    rng, found = np.random.default_rng(0), []
    for _ in range(500):
        chosen = rng.integers(0, len(gold), len(gold))
        if 0 < gold[chosen].sum() < len(gold):
            found.append(roc_auc_score(gold[chosen], ranks[chosen]))
    low, high = np.quantile(found, (0.025, 0.975))
    return f"{roc_auc_score(gold, ranks):.3f} [{low:.3f}, {high:.3f}]"


def figures(groups: dict[tuple[str, str], list[Row]], rank: Callable[[list[Row]], Ranks]) -> dict[str, str]:
    """Return one model's figure for every group."""
    ranks = {key: rank(rows) for key, rows in groups.items()}
    limit = float(np.quantile(ranks["alpaca_prompts", "prompt"], 0.97))
    out = {}
    for key, rows in groups.items():
        gold = np.array([int(row.label == UNSAFE) for row in rows])
        name = f"{key[0]} {key[1]}s ({len(rows)})"
        if 0 < gold.sum() < len(gold):
            out[f"{name}, AUROC"] = interval(gold, ranks[key])
        elif key[1] == "prompt":
            out[f"{name}, {'recall' if gold.any() else 'flagged'}"] = f"{np.mean(ranks[key] >= limit):.3f}"
    return out


def main() -> None:
    """Train the simple models and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "mini.toml")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    config, groups = tomllib.loads(args.config.read_text()), unseen(args.data)
    guard = load(args.guard, provider="cpu")
    fitted = {}
    for responses in (False, True):
        texts, labels = drawn(args.data, config, responses)
        fitted[responses] = (ngrams().fit(texts, labels), Bag().fit(texts, labels))

    def simple(index: int) -> Callable[[list[Row]], Ranks]:
        return lambda rows: fitted[rows[0].role == "response"][index].decision_function(
            [row.text[:LONGEST] for row in rows]
        )

    models: dict[str, Callable[[list[Row]], Ranks]] = {
        "riskline-mini": lambda rows: np.array([row.unsafe for row in scored(guard, iter(rows), 1)]),
        "n-grams": simple(0),
        "bag of words": simple(1),
    }
    found = {name: figures(groups, rank) for name, rank in models.items()}
    lines = ["| unseen source | " + " | ".join(found) + " | majority |", "|---" * (len(found) + 2) + "|"]
    for name in found["riskline-mini"]:
        lines.append(
            f"| {name} | "
            + " | ".join(found[model][name] for model in found)
            + f" | {'0.500' if 'AUROC' in name else '0.000'} |"
        )
    print("\n".join(lines))
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
