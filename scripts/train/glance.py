"""A quick look at sources that no row was trained on, while training goes on; evaluate.py has the full figures."""

from __future__ import annotations

import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from compose import END
from corpus import LABELS, Row, read_rows
from model import Mini
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer

ROWS = 120
"""Rows of each source, role, language and label."""


class Glance:
    """The rows to look at, and their token ids."""

    def __init__(self, data: Path, tokenizer: Tokenizer, width: int, rows: int = ROWS) -> None:
        trained = {path.name.removesuffix(".jsonl.gz") for path in (data / "train").glob("*.jsonl.gz")}
        rng, groups = random.Random(0), defaultdict[tuple[str, str, str, int], list[Row]](list)
        for row in read_rows(data / "dev", licence=None):
            if row.text.strip() and (row.source not in trained or row.source == "ailuminate_demo"):
                groups[row.source, row.kind, row.lang, row.label].append(row)
        self.tags = {name: int(tokenizer.token_to_id(f"<|{name}|>") or 0) for name in ("prompt", "response")}
        self.rows = [
            (key, self._ids(row, tokenizer, width))
            for key, group in sorted(groups.items())
            if key[3] != LABELS.index("controversial")
            for row in rng.sample(group, min(rows, len(group)))
        ]

    def _ids(self, row: Row, tokenizer: Tokenizer, width: int) -> tuple[list[int], int]:
        def words(text: str) -> list[int]:
            return list(tokenizer.encode(text[:2400], add_special_tokens=False).ids)

        before = (
            [self.tags["prompt"], *words(row.prompt)[1 - width // 4 :]] if row.role == "response" and row.prompt else []
        )
        ids = [*before, self.tags[row.role], *words(row.text)][: width - 1] + words(END)[:1]
        return ids, len(before) + 1

    def look(self, model: Mini) -> dict[str, dict[str, float]]:
        """Return by group the share of texts at or above P(unsafe) 0.5 and 0.7, and the AUROC where both labels are."""
        model.eval()
        levels = np.zeros(len(self.rows))
        order = sorted(range(len(self.rows)), key=lambda index: len(self.rows[index][1][0]))
        with torch.inference_mode():
            for start in range(0, len(order), 32):
                self._fill(model, order[start : start + 32], levels)
        model.train()
        groups: dict[tuple[str, str, str], dict[int, list[float]]] = defaultdict(lambda: defaultdict(list))
        for ((source, kind, lang, label), _), level in zip(self.rows, levels, strict=True):
            groups[source, kind, lang][label].append(float(level))
        out = {}
        for name, labels in groups.items():
            line: dict[str, float] = {}
            for label, values in labels.items():
                found = np.array(values)
                line |= {f"{LABELS[label]}>={limit}": round(float((found >= limit).mean()), 3) for limit in (0.5, 0.7)}
            if len(labels) == 2:
                gold = [label for label, values in labels.items() for _ in values]
                line["auroc"] = round(float(roc_auc_score(gold, [v for values in labels.values() for v in values])), 3)
            out["/".join(name)] = line
        return out

    def _fill(self, model: Mini, chosen: list[int], levels: np.ndarray) -> None:
        width = max(len(self.rows[index][1][0]) for index in chosen)
        ids = torch.zeros(len(chosen), width, dtype=torch.long)
        for place, index in enumerate(chosen):
            row = self.rows[index][1][0]
            ids[place, : len(row)] = torch.tensor(row)
        device = model.embedding.weight.device
        with torch.autocast(device.type, torch.bfloat16):
            logits = model(ids.to(device)).float().cpu()
        for place, index in enumerate(chosen):
            row, first = self.rows[index][1]
            head = 12 if self.rows[index][0][1] == "response" else 0
            risk = torch.softmax(logits[place, first : len(row), head : head + 3], -1)[:, 1].numpy()
            # Two consecutive tokens; a single token counts alone.
            levels[index] = np.minimum(risk[1:], risk[:-1]).max() if len(risk) > 1 else (risk.max() if len(risk) else 0)
