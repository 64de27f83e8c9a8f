"""Texts a second of `riskline score`, end to end, and what bounds them.

python scripts/bench/throughput.py --data CORPUS [--texts 10000] [--runs 3]
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeVar

import numpy as np
from machine import machine, run, spread

from riskline.guard import Guard, load
from riskline.policy import Judge, Policy
from riskline.records import Record
from riskline.tokenizer import Tokenizer

SHORT = 32
Item = TypeVar("Item")


def sample(data: Path, texts: int, fits: Callable[[dict[str, str]], bool]) -> list[dict[str, str]]:
    """Return a seeded sample of development rows as records, responses with their prompt."""
    rows = []
    for path in sorted((data / "dev").glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows += [json.loads(line) for line in lines]
    random.Random(1).shuffle(rows)
    chosen: list[dict[str, str]] = []
    for row in rows:
        plain = {"text": row["text"]}
        record = (
            {"prompt": row["prompt"], "response": row["text"]} if row["role"] == "response" and row["prompt"] else plain
        )
        if fits(record) and len(chosen) < texts:
            chosen.append(record)
    return chosen


def short(tokenizer: Tokenizer) -> Callable[[dict[str, str]], bool]:
    """Return a test for bare texts of at most SHORT tokens."""
    return lambda record: "text" in record and len(tokenizer.words(record["text"])[0]) <= SHORT


def bounds(guard: Guard, records: Iterable[dict[str, str]]) -> dict[str, float]:
    """Return milliseconds a text on one thread: tokenising, the session, and judging as a whole."""
    judge = Judge(guard.manifest, Policy())
    texts = [Record.of(record["text"]) for record in records if record.get("text", "").strip()]
    encoded = [guard.encode(record.turns) for record in texts]
    rows = [np.concatenate((one.before, one.judged)) for one in encoded]
    names = (guard.manifest.roles["prompt"].risk, str(guard.manifest.roles["prompt"].category))
    return {
        "tokenising": _each(lambda record: guard.encode(record.turns), texts),
        "the ONNX session": _each(lambda row: guard.session.run([row], names), rows),
        "judging, both included": _each(lambda record: guard.decide([record], judge), texts),
    }


def _each(call: Callable[[Item], object], items: list[Item]) -> float:
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for item in items:
            call(item)
        rounds.append(1000 * (time.perf_counter() - started) / len(items))
    return statistics.median(rounds)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3)
    args = parser.parse_args()
    guard = load(provider="cpu")
    sets = {
        "mixed": sample(args.data, args.texts, lambda _: True),
        f"short, at most {SHORT} tokens": sample(args.data, args.texts, short(guard.tokenizer)),
    }
    print(f"{machine()}; median of {args.runs} rounds in turn, least to most; start-up included.\n")
    print("| `riskline score`, texts a second | |\n|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        speeds: dict[str, list[float]] = {name: [] for name in sets}
        for name, records in sets.items():
            lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
            (Path(folder) / f"{len(name)}.jsonl").write_text(lines, encoding="utf-8")
        for _ in range(args.runs):
            for name, records in sets.items():
                command = [sys.executable, "-m", "riskline", "score", str(Path(folder) / f"{len(name)}.jsonl")]
                speeds[name].append(len(records) / run(command).seconds)
    for name, values in speeds.items():
        print(f"| {len(sets[name]):,} {name} texts | {spread(values, 0)} |")
    for name, milliseconds in bounds(guard, list(sets.values())[1][:2000]).items():
        print(f"| milliseconds a short text on one thread: {name} | {milliseconds:.2f} |")


if __name__ == "__main__":
    main()
