"""Judge the development rows with a bundle and print its figures by source, unseen sources apart; calibrate it.

python scripts/train/evaluate.py --data CORPUS [--config scripts/train/mini.toml] [--guard models/riskline-mini]
    [--calibrate] [--json FILE]

A source is unseen where none of its rows were trained on; of one that the configuration held out, rows of the training
folder are judged too. strict counts controversial as unsafe, loose as safe, in the
gold labels and in the verdicts alike. Recall is the share of gold unsafe rows that are flagged unsafe, false positives
the share of gold safe rows that are; AUROC ranks gold unsafe over gold safe by the level of P(unsafe).
"""

from __future__ import annotations

import argparse
import json
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path
from random import Random

import numpy as np
from corpus import LABELS, Row, read_rows
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from riskline.errors import RecordError
from riskline.guard import Guard, load
from riskline.records import Role, Rule, Turn
from riskline.trajectory import level

SAFE, UNSAFE, CONTROVERSIAL = (LABELS.index(name) for name in ("safe", "unsafe", "controversial"))
RULE = Rule("hold", 2)
ALLOWED = {"unsafe": 0.04, "controversial": 0.10}
"""The share of safe in-distribution prompts, and of responses, that may be flagged by default: a mean of sources."""
LEAST = 0.1
"""No threshold is lower, whatever share that would leave."""
TOGETHER = 64
"""Rows that are scored together."""
MOST = 1_000
"""Rows of a source, role, language and label that are judged for the figures."""
HELD_OUT = 3_000
"""Rows of the training folder judged of sources that were held out."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A row's gold label and the highest thresholds at which the guard would flag it."""

    source: str
    kind: str
    lang: str
    gold: int
    unsafe: float
    risk: float
    tokens: NDArray[np.float32]  # (judged, 3), P(safe, unsafe, controversial)


def score(guard: Guard, rows: list[Row]) -> list[Scored]:
    """Return rows scored, those of like length together, without those that say nothing."""
    rows = [row for row in rows if row.text.strip()]
    found = []
    for row, result in zip(rows, guard.score([conversation(row) for row in rows]), strict=True):
        if isinstance(result, RecordError):
            raise result
        rest = np.maximum(1 - result.safe - result.unsafe, 0)
        tokens = np.stack([result.safe, result.unsafe, rest], axis=1).astype(np.float32)
        found.append(levelled(Scored(row.source, row.kind, row.lang, row.label, 0.0, 0.0, tokens)))
    return found


def conversation(row: Row) -> list[Turn]:
    """Return a row as turns, the last of which is judged."""
    asked = [Turn("prompt", row.prompt)] if row.role == "response" and row.prompt else []
    return [*asked, Turn("response" if row.role == "response" else "prompt", row.text)]


def levelled(row: Scored, temperature: float = 1.0) -> Scored:
    """Return a row with its levels at another temperature of the head that judged it."""
    tokens = row.tokens.astype(np.float64)
    if temperature != 1:
        tokens = np.exp(np.log(np.maximum(tokens, 1e-4)) / temperature)
        tokens /= tokens.sum(axis=1, keepdims=True)
    risk, unsafe = np.round(1 - tokens[:, 0], 4), np.round(tokens[:, 1], 4)
    return replace(row, unsafe=float(unsafe[level(unsafe, RULE)]), risk=float(risk[level(risk, RULE)]))


def scored(guard: Guard, rows: Iterator[Row], workers: int) -> list[Scored]:
    """Return every row scored, in order."""
    chunks = iter(lambda: list(islice(rows, TOGETHER)), [])
    with ThreadPoolExecutor(workers) as pool:
        return [result for chunk in pool.map(lambda chunk: score(guard, chunk), chunks) for result in chunk]


def temperatures(rows: list[Scored]) -> dict[str, float]:
    """Return what the logits of each role are to be divided by: the least entropy of in-distribution labels at the end.

    Sources count alike, as in `thresholds`.
    """
    found = {}
    for role, kinds in (("prompt", ("prompt", "comment")), ("response", ("response",))):
        chosen = [row for row in rows if row.kind in kinds]
        counts = defaultdict[str, int](int)
        for row in chosen:
            counts[row.source] += 1
        logits = np.log(np.maximum(np.array([row.tokens[-1] for row in chosen]), 1e-4))
        gold = np.array([row.gold for row in chosen])
        share = np.array([1 / counts[row.source] for row in chosen])
        steps = np.arange(0.5, 3.01, 0.05)
        costs = [_entropy(logits / step, gold, share) for step in steps]
        found[role] = float(round(steps[int(np.argmin(costs))], 2))
    return found


def _entropy(logits: NDArray[np.float64], gold: NDArray[np.int64], share: NDArray[np.float64]) -> float:
    total = np.log(np.exp(logits).sum(axis=1))
    return float(((total - logits[np.arange(len(gold)), gold]) * share).sum() / share.sum())


def _flagged(sources: list[NDArray[np.float64]], threshold: float) -> float:
    """The share of levels at or above a threshold, as the mean over sources."""
    return float(np.mean([np.mean(levels >= threshold) for levels in sources]))


def thresholds(rows: list[Scored], role: str) -> dict[str, float]:
    """Return the smallest thresholds from `LEAST` on that flag no more than the allowed share of a role's safe rows.

    The rows are those of sources that were trained on; the share is the mean over them, so that no large source decides
    alone. Comments have no say in a prompt's.
    """
    safe: dict[str, list[Scored]] = defaultdict(list)
    for row in rows:
        if row.gold == SAFE and row.kind == role:
            safe[row.source].append(row)
    groups = [group for group in safe.values() if len(group) >= 20]
    found = {}
    for name, attribute in (("unsafe", "unsafe"), ("controversial", "risk")):
        steps = np.arange(LEAST, 0.996, 0.005)
        levels = [np.array([getattr(row, attribute) for row in group]) for group in groups]
        shares = [_flagged(levels, step) for step in steps]
        allowed = np.flatnonzero(np.array(shares) <= ALLOWED[name])
        if not len(allowed):
            raise SystemExit(f"no threshold below {steps[-1]} keeps the {name} share at {ALLOWED[name]}")
        found[name] = float(round(steps[allowed[0]], 3))
    return found


def figures(rows: list[Scored], limits: tuple[float, float]) -> dict[str, float | int | None]:
    """Return the figures of a group of rows at the thresholds (unsafe, controversial)."""
    gold = np.array([row.gold for row in rows])
    unsafe = np.array([row.unsafe for row in rows])
    flagged = unsafe >= limits[0]
    risky = flagged | (np.array([row.risk for row in rows]) >= limits[1])
    clear = gold != CONTROVERSIAL
    both = len(set(gold[clear].tolist())) == 2
    return {
        "n": len(rows),
        "strict_f1": _f1(gold != SAFE, risky),
        "loose_f1": _f1(gold == UNSAFE, flagged),
        "recall": _share(flagged[gold == UNSAFE]),
        "false_positives": _share(flagged[gold == SAFE]),
        "auroc": round(float(roc_auc_score(gold[clear] == UNSAFE, unsafe[clear])), 3) if both else None,
    }


def _share(values: NDArray[np.bool_]) -> float | None:
    return round(float(values.mean()), 3) if len(values) else None


def _f1(gold: NDArray[np.bool_], said: NDArray[np.bool_]) -> float | None:
    if not gold.any():
        return None
    hits = int((gold & said).sum())
    return round(2 * hits / (int(gold.sum()) + int(said.sum())), 3)


def table(rows: list[Scored], limits: dict[Role, tuple[float, float]], trained: set[str]) -> list[dict[str, object]]:
    """Return a line a source and role, unseen sources first."""
    groups: dict[tuple[str, str], list[Scored]] = defaultdict(list)
    for row in rows:
        groups[row.source, row.kind].append(row)
    return [
        {"part": "in-distribution" if source in trained else "unseen", "source": source, "role": kind}
        | figures(group, limits["response" if kind == "response" else "prompt"])
        for (source, kind), group in sorted(groups.items(), key=lambda item: (item[0][0] in trained, item[0]))
    ]


def show(lines: list[dict[str, object]]) -> str:
    """Return the lines as a Markdown table."""
    names = list(lines[0])
    rows = [["–" if line[name] is None else str(line[name]) for name in names] for line in lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in [names, ["---"] * len(names), *rows])


def sampled(rows: list[Row]) -> list[Row]:
    """Return a seeded sample of at most MOST rows of each source, role, language and label."""
    groups: dict[tuple[str, str, str, int], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row.source, row.kind, row.lang, row.label].append(row)
    return [row for group in groups.values() for row in Random(0).sample(group, min(MOST, len(group)))]


def main() -> None:
    """Print the figures, or the thresholds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--config", type=Path, default=Path(__file__).parent / "mini.toml")
    parser.add_argument(
        "--calibrate", action="store_true", help="print the heads' temperatures, and the thresholds at them by the rule"
    )
    parser.add_argument("--json", type=Path, help="write the figures here as well")
    args = parser.parse_args()
    guard = load(args.guard, provider="cpu")
    held_out = set(tomllib.loads(args.config.read_text())["held_out"])
    trained = {path.name.removesuffix(".jsonl.gz") for path in (args.data / "train").glob("*.jsonl.gz")} - held_out
    dev = list(read_rows(args.data / "dev", licence=None))
    if args.calibrate:
        known = scored(guard, iter(row for row in dev if row.source in trained), args.workers)
        heat = temperatures(known)
        known = [levelled(row, heat["response" if row.kind == "response" else "prompt"]) for row in known]
        found = {"response": thresholds(known, "response")}
        print(json.dumps({"temperature": heat} | thresholds(known, "prompt") | found))
        return
    whole = [row for row in read_rows(args.data / "train") if row.source in held_out]
    dev += Random(0).sample(whole, min(HELD_OUT, len(whole)))
    dev = sampled(dev)
    roles: tuple[Role, ...] = ("prompt", "response")
    limits = {role: astuple(guard.manifest.limits(role)) for role in roles}
    lines = table(scored(guard, iter(dev), args.workers), limits, trained)
    print(show(lines))
    if args.json:
        args.json.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
