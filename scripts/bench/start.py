"""Cold start, as whole processes in turn: --help, score on one line, check on one small file.

python scripts/bench/start.py [--runs 15]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

from machine import machine, run, spread


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        line, note = Path(folder) / "line.jsonl", Path(folder) / "note.txt"
        line.write_text('{"text":"How do I bake bread?"}\n')
        note.write_text("You are a helpful assistant.\n")
        riskline = [sys.executable, "-m", "riskline"]
        commands = {
            "`python -c pass`": ([sys.executable, "-c", "pass"], None),
            "`riskline --help`": ([*riskline, "--help"], None),
            "`riskline score`, one line": ([*riskline, "score"], line),
            "`riskline check`, one small file": ([*riskline, "check", str(note)], None),
        }
        seconds: dict[str, list[float]] = defaultdict(list)
        for round_ in range(args.runs + 1):
            for name, (command, stdin) in commands.items():
                timing = run(command, stdin)
                if round_:  # the first round warms the file cache
                    seconds[name].append(timing.seconds)
    print(f"{machine()}; median of {args.runs} rounds, least to most.\n")
    print("| cold start | seconds |\n|---|---|")
    for name, values in seconds.items():
        print(f"| {name} | {spread(values)} |")


if __name__ == "__main__":
    main()
