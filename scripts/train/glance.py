"""A quick look at sources that no row was trained on, while training goes on; evaluate.py has the full figures."""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from compose import END, LONGEST
from corpus import LABELS, Row, read_rows
from model import Mini
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer

ROWS = 120
"""Rows of each source, role, language and label."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A row as the shipped guard judges it: its ids, the first that is judged, and whether it is a response."""

    ids: list[int]
    first: int
    response: bool


def judged(row: Row, tokenizer: Tokenizer, width: int) -> Asked:
    """Return a row with its prompt before it if it is a reply and with its end, cut to `width` positions."""

    def words(text: str) -> list[int]:
        return list(tokenizer.encode(text[:LONGEST], add_special_tokens=False).ids)

    def tag(role: str) -> int:
        return int(tokenizer.token_to_id(f"<|{role}|>") or 0)

    response, end = row.role == "response", words(END)
    before = [tag("prompt"), *words(row.prompt)[1 - width // 4 :]] if response and row.prompt else []
    ids = [*before, tag(row.role), *words(row.text)]
    return Asked(ids[: width - len(end)] + end, len(before) + 1, response)


def probabilities(model: Mini, rows: list[Asked]) -> list[NDArray[np.float32]]:
    """Return each row's P(safe, unsafe, controversial) of its judged tokens, (judged, 3), in the order of `rows`."""
    found = [np.zeros((0, 3), np.float32)] * len(rows)
    device = model.embedding.weight.device
    order = sorted(range(len(rows)), key=lambda index: len(rows[index].ids))
    for start in range(0, len(order), 32):
        chosen = order[start : start + 32]
        ids = torch.zeros(len(chosen), len(rows[chosen[-1]].ids), dtype=torch.long)
        for place, index in enumerate(chosen):
            ids[place, : len(rows[index].ids)] = torch.tensor(rows[index].ids)
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            logits = model(ids.to(device)).float().cpu()
        for place, index in enumerate(chosen):
            row, head = rows[index], 12 if rows[index].response else 0
            found[index] = torch.softmax(logits[place, row.first : len(row.ids), head : head + 3], -1).numpy()
    return found


def held(series: NDArray[np.float32]) -> float:
    """Return the highest level that two adjacent tokens reach; a single token counts alone."""
    pairs = np.minimum(series[1:], series[:-1]) if len(series) > 1 else series
    return float(pairs.max(initial=0))


class Glance:
    """The rows to look at, as they are judged."""

    def __init__(self, data: Path, tokenizer: Tokenizer, width: int, rows: int = ROWS) -> None:
        trained = {path.name.removesuffix(".jsonl.gz") for path in (data / "train").glob("*.jsonl.gz")}
        rng, groups = random.Random(0), defaultdict[tuple[str, str, str, int], list[Row]](list)
        for row in read_rows(data / "dev", licence=None):
            if row.text.strip() and (row.source not in trained or row.source == "ailuminate_demo"):
                groups[row.source, row.kind, row.lang, row.label].append(row)
        self.rows = [
            (key, judged(row, tokenizer, width))
            for key, group in sorted(groups.items())
            if key[3] != LABELS.index("controversial")
            for row in rng.sample(group, min(rows, len(group)))
        ]

    def look(self, model: Mini) -> dict[str, dict[str, float]]:
        """Return by group the share of texts at or above P(unsafe) 0.5 and 0.7, and the AUROC where both labels are."""
        model.eval()
        found = probabilities(model, [asked for _, asked in self.rows])
        model.train()
        groups: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for ((source, kind, lang, label), _), tokens in zip(self.rows, found, strict=True):
            groups[source, kind, lang][label].append(held(tokens[:, LABELS.index("unsafe")]))
        out = {}
        for name, labels in groups.items():
            line: dict[str, float] = {}
            for label, values in labels.items():
                levels = np.array(values)
                line |= {f"{LABELS[label]}>={limit}": round(float((levels >= limit).mean()), 3) for limit in (0.5, 0.7)}
            if len(labels) == 2:
                gold = [label for label, values in labels.items() for _ in values]
                line["auroc"] = round(float(roc_auc_score(gold, [v for values in labels.values() for v in values])), 3)
            out["/".join(name)] = line
        return out
