"""Prove a bundle on development and random texts: how far its graph is from PyTorch, and whether its laws hold there.

python scripts/train/drift.py --config scripts/train/mini.toml --checkpoint RUN/last.pt --tokenizer RUN/tokenizer.json \
    --found RUN/found.json --data CORPUS

The goldens are two dozen short conversations; a mean over few texts hides what rounding does to some.
"""

from __future__ import annotations

import argparse
import json
import random
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bundle import GRAPHS, LAW, ROOT, Reference, Runtime, calibrated, softmax
from corpus import Row, read_rows
from golden_texts import Conversation
from model import Shape
from numpy.typing import NDArray

from riskline.records import Rule
from riskline.trajectory import level

RULE = Rule("hold", 2)
TEXTS = 400
"""Texts of each kind."""


@dataclass(slots=True)
class Drift:
    """What a group of texts showed: the graph's distance from PyTorch, the laws' worst, verdicts that differ."""

    distances: list[float] = field(default_factory=list)
    law: float = 0.0
    flips: int = 0

    def line(self, name: str, tolerance: float) -> str:
        """Return the group as one line."""
        distances = np.array(self.distances)
        return (
            f"{name} ({len(distances)}): largest difference from pytorch {distances.max():.4f}, "
            f"99th percentile {np.quantile(distances, 0.99):.4f}, median {np.median(distances):.4f}, "
            f"above {tolerance} in {np.mean(distances > tolerance):.1%} of texts, verdicts that differ {self.flips}, "
            f"largest move by what follows or by a neighbour {self.law:.6f}"
        )


def conversation(row: Row) -> Conversation:
    """Return a development row as turns."""
    before = (("prompt", row.prompt),) if row.role == "response" and row.prompt else ()
    return (*before, (row.role, row.text))


def noise(rng: random.Random) -> str:
    """Return code points of many scripts in no order."""
    ranges = ((32, 127), (0x80, 0x3000), (0x4E00, 0x9FFF), (0x1F300, 0x1F6FF))
    return "".join(chr(rng.randrange(*rng.choice(ranges))) for _ in range(rng.randrange(1, 200)))


def samples(data: Path, seed: int) -> dict[str, list[Conversation]]:
    """Return conversations by the name of their group."""
    rng, rows = random.Random(seed), [row for row in read_rows(data / "dev", licence=None) if row.text.strip()]
    groups: dict[str, list[Conversation]] = {}
    for kind in ("prompt", "response", "comment"):
        of_kind = [row for row in rows if row.kind == kind]
        groups[f"development {kind}s"] = [conversation(row) for row in rng.sample(of_kind, min(TEXTS, len(of_kind)))]
    groups["random characters"] = [(("prompt", noise(rng)),) for _ in range(TEXTS // 4)]
    return groups


def verdict(probabilities: NDArray[np.float64], limits: dict[str, Any]) -> str:
    """Return the label that the bundle's rule gives to judged tokens, (judged, 3)."""
    unsafe, risk = probabilities[:, 1].round(4), (1 - probabilities[:, 0]).round(4)
    if unsafe[level(unsafe, RULE)] >= limits["unsafe"]:
        return "unsafe"
    return "controversial" if risk[level(risk, RULE)] >= limits["controversial"] else "safe"


def moved(runtime: Runtime, ids: NDArray[np.int64], whole: NDArray[np.float64], cut: int, *, response: bool) -> float:
    """Return how far a cut and a longer neighbour move the probabilities of a row."""
    shorter = runtime.probabilities(ids[:cut], response=response)
    both = np.full((2, min(len(ids) + 9, runtime.shape.positions)), 1_000, np.int64)
    both[0, : len(ids)] = ids
    beside = softmax(runtime.run(both)[2 if response else 0][0, : len(ids)])
    return float(max(np.abs(shorter - whole[:cut]).max(), np.abs(beside - whole).max()))


def measure(
    reference: Reference, runtime: Runtime, texts: list[Conversation], width: int, limits: dict[str, Any]
) -> Drift:
    """Return what the texts of a group show; rows are cut at the window."""
    drift, rng = Drift(), random.Random(0)
    for turns in texts:
        ids, judged = reference.row(turns)
        first, ids, response = len(ids) - judged, ids[:width], turns[-1][0] == "response"
        if first >= len(ids):
            continue
        ours = runtime.probabilities(ids, response=response)
        theirs = reference.probabilities(ids, response=response)
        drift.distances.append(float(np.abs(ours - theirs)[first:].max()))
        own = limits | limits.get("response", {}) if response else limits
        drift.flips += verdict(ours[first:], own) != verdict(theirs[first:], own)
        cut = rng.randrange(1, len(ids) + 1)
        drift.law = max(drift.law, moved(runtime, ids, ours, cut, response=response))
    return drift


def main() -> None:
    """Print a line a group; exit 1 if a law does not hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--found", type=Path, required=True, help="temperatures and thresholds, as the bundle has them")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--guard", type=Path, default=ROOT / "models" / "riskline-mini")
    args = parser.parse_args()
    torch.set_num_threads(1)
    config = tomllib.loads(args.config.read_text())
    config["bundle"] |= json.loads(args.found.read_text())
    shape = Shape(**config["shape"])
    reference = Reference.load(args.checkpoint, args.tokenizer, shape)
    reference.model.load_state_dict(calibrated(reference.model.state_dict(), config))
    runtime = Runtime(args.guard / GRAPHS["int8"], shape)
    worst = 0.0
    for name, texts in samples(args.data, config["seed"]).items():
        drift = measure(reference, runtime, texts, config["width"], config["bundle"])
        worst = max(worst, drift.law)
        print(drift.line(name, config["bundle"]["golden_tolerance"]), flush=True)
    if worst > LAW:
        raise SystemExit("a law does not hold; the bundle must not ship")


if __name__ == "__main__":
    main()
