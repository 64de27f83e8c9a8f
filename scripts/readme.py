"""Write the generated parts of README.md: the example trace, the embedded guard's figures, the measured speed.

python scripts/readme.py [--figures FIGURES.json] [--speed SPEED.md] [--check]

FIGURES.json comes from scripts/train/evaluate.py --json, SPEED.md is what the scripts under scripts/bench print.
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

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
SHOWN = ("alpaca_prompts", "jailbreakbench", "s_eval", "safety_tuned_llamas", "alpaca_eval_other", "jbb_artifacts")


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
    head = "| source, none of it trained on | judges | n | recall, unsafe | false positives, safe | AUROC |"
    lines = [head, "|---|---|---|---|---|---|"]
    for row in json.loads(path.read_text()):
        if row["source"] in SHOWN and row["part"] == "unseen":
            cells = [row["source"], row["role"], row["n"], row["recall"], row["false_positives"], row["auroc"]]
            lines.append("| " + " | ".join("–" if cell is None else str(cell) for cell in cells) + " |")
    note = "At the default policy; the model card has every source. From `scripts/train/evaluate.py --data CORPUS`."
    return "\n".join([*lines, "", note])


def main() -> None:
    """Write README.md, or check it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--speed", type=Path)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    before = README.read_text(encoding="utf-8")
    text = replaced(before, "trace", trace(before))
    if args.figures:
        text = replaced(text, "figures", figures(args.figures))
    if args.speed:
        text = replaced(text, "speed", args.speed.read_text(encoding="utf-8"))
    if args.check:
        raise SystemExit(text != before)
    README.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
