"""Peak memory of `riskline score` on ten thousand and on a million lines.

python scripts/bench/memory.py [--lines 10000 1000000] [--guard NAME]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from machine import machine, run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, nargs="+", default=[10_000, 1_000_000])
    parser.add_argument("--guard", default="riskline-mini")
    args = parser.parse_args()
    print(f"{machine()}; guard {args.guard}.\n")
    print("| `riskline score`, lines | peak memory, MiB | of the first |\n|---|---|---|")
    first = 0.0
    for count in args.lines:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "lines.jsonl"
            with path.open("w") as file:
                file.writelines(f'{{"id":{number},"text":"hello {number % 1000}"}}\n' for number in range(count))
            peak = run([sys.executable, "-m", "riskline", "score", "--guard", args.guard, str(path)]).peak
        first = first or peak
        print(f"| {count:,} | {peak:.0f} | {peak / first:.2f} |", flush=True)


if __name__ == "__main__":
    main()
