"""Write the generated parts of README.md: the example trace, the embedded guard's figures, the measured speed.

python scripts/readme.py [--figures FIGURES.json] [--speed SPEED.md] [--real REAL.md] [--check]

FIGURES.json is the report of `riskline eval` on what scripts/train/labelled.py writes; SPEED.md is what the scripts
under scripts/bench print.
Parts whose source is not given stay as they are; --check changes nothing and fails if the trace is not current.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"


def replaced(text: str, part: str, body: str) -> str:
    """Return `text` with the part between its two markers replaced."""
    pattern = rf"(<!-- {part}: .*? -->\n).*?(<!-- /{part} -->)"
    found, count = re.subn(pattern, lambda m: m[1] + body.rstrip("\n") + "\n" + m[2], text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"README.md has no part `{part}`")
    return found


def trace(text: str) -> str:
    """Return what the README's first command prints without colour at 80 columns."""
    command = re.search(r'^\$ riskline trace "(.*)"$', text, re.MULTILINE)
    assert command
    environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "80", "RISKLINE_MODELS": ""}
    environment.pop("FORCE_COLOR", None)
    arguments = [sys.executable, "-m", "riskline", "trace", command[1], "--quiet", "--provider", "cpu"]
    answer = subprocess.run(arguments, capture_output=True, check=True, env=environment, text=True, encoding="utf-8")
    lines = [line.rstrip() for line in answer.stdout.splitlines()]
    return "```text\n" + "\n".join(lines).strip() + "\n```"


def figures(path: Path) -> str:
    """Return the table of sources that were not trained on."""
    report = json.loads(path.read_text())
    values = next(part["values"] for part in report["slices"] if part["field"] == "source")
    lines = ["| source, none of it trained on | n | recall | false positives | AUROC |", "|---|---|---|---|---|"]
    for value in sorted(values, key=lambda value: (value["value"].split()[-1] == "comments", value["value"])):
        found = value["loose"]["figures"]
        cells = [shown(found[name]) for name in ("recall", "false_positive_rate", "auroc")]
        lines.append("| " + " | ".join([value["value"], f"{value['n']:,}", *cells]) + " |")
    note = (
        f"Loose figures at the default policy, with 95 % intervals, of {report['judged_by']['guard']}: "
        "`scripts/train/labelled.py`, then `riskline eval unseen.jsonl --source-field source --lang-field lang`."
    )
    return "\n".join([*lines, "", note])


def shown(figure: dict[str, Any]) -> str:
    """Return a figure of the report with its interval, or a dash."""
    if figure["value"] is None:
        return "–"
    return f"{figure['value']:.2f} [{figure['low']:.2f}, {figure['high']:.2f}]"


def main() -> None:
    """Write README.md, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--speed", type=Path)
    parser.add_argument("--real", type=Path, help="what scripts/bench/real.py printed")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    text = replaced(before, "trace", trace(before))
    if args.figures:
        text = replaced(text, "figures", figures(args.figures))
    if args.real:
        text = replaced(text, "real", args.real.read_text(encoding="utf-8"))
    if args.speed:
        text = replaced(text, "speed", args.speed.read_text(encoding="utf-8"))
    if args.check:
        raise SystemExit(text != before)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
