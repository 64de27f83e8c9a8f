"""Average the weights of runs that started alike: a model that knows more than any of them and costs no more than one.

python scripts/train/soup.py --out RUN/after-0/last.pt RUN/round-0-0 RUN/round-0-1 ...

Wortsman et al. 2022, "Model soups". The logs are put together beside the checkpoint.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch


def main() -> None:
    """Write the averaged checkpoint and one line of log a member."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("runs", type=Path, nargs="+")
    args = parser.parse_args()
    states = [torch.load(run / "last.pt", map_location="cpu", weights_only=True)["mean"] for run in args.runs]
    mean = {name: torch.stack([state[name].float() for state in states]).mean(0) for name in states[0]}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"mean": mean, "model": mean}, args.out)
    lines = [[json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()] for run in args.runs]
    # A soup among the runs hands on the lines of all its members.
    own = [[line for line in log if "tokens" in line] for log in lines]
    last = [line for run, log in zip(args.runs, own, strict=True) for line in (log if _is_soup(run) else log[-1:])]
    (args.out.parent / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in last))


def _is_soup(run: Path) -> bool:
    return "optimizer" not in torch.load(run / "last.pt", map_location="cpu", weights_only=True, mmap=True)


if __name__ == "__main__":
    main()
