"""Write the generated parts of riskline-mini's model card: training, thresholds, figures, proof.

python scripts/train/card.py --log RUN/log.jsonl --figures FIGURES.json --proof PROOF.txt \
    [--robustness FILE] [--languages FILE] [--baselines FILE] [--compare FILE]

FIGURES.json comes from evaluate.py --json, PROOF.txt is what bundle.py printed, and the others are what robustness.py,
languages.py, baselines.py and compare.py printed; without one its part stays as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import tomllib
from pathlib import Path

PRINTED = ("robustness", "languages", "baselines", "compare")
LOSSES = {"risk": "risk", "kind": "category", "meaning": "meaning", "verdict": "verdict"}
FOLDER = Path(__file__).parents[2] / "models" / "riskline-mini"


def replaced(text: str, part: str, body: str) -> str:
    """Return `text` with the part between its two markers replaced."""
    pattern = rf"(<!-- {part}: .*? -->\n).*?(<!-- /{part} -->)"
    found, count = re.subn(pattern, lambda match: match[1] + body + "\n" + match[2], text, flags=re.DOTALL)
    if count != 1:
        raise SystemExit(f"the card has no part `{part}`")
    return found


def training(log: Path) -> str:
    """Return how long and how much each member learned, from the lines that soup.py put together."""
    members = [json.loads(line) for line in log.read_text().splitlines()]
    return "\n".join(
        f"- run {index}: {last['step']:,} steps, {last['tokens'] / 1e6:.1f} million positions, "
        f"{last['minutes']:.0f} minutes; loss of the last steps: "
        + ", ".join(f"{said} {last[name]}" for name, said in LOSSES.items() if name in last)
        for index, last in enumerate(members)
    )


def table(path: Path) -> str:
    """Return every source's figures."""
    rows = json.loads(path.read_text())
    cells = [["–" if value is None else str(value) for value in row.values()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in [list(rows[0]), ["---"] * len(rows[0]), *cells])


def main() -> None:
    """Write the card."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--log", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--proof", type=Path, required=True)
    for part in PRINTED:
        parser.add_argument(f"--{part}", type=Path)
    args = parser.parse_args()
    guard = tomllib.loads((FOLDER / "guard.toml").read_text())
    limits = [("prompts", guard["thresholds"]), ("responses", guard["roles"]["response"].get("thresholds"))]
    said = [f"{name}: unsafe {own['unsafe']}, controversial {own['controversial']}" for name, own in limits if own]
    card = FOLDER / "README.md"
    text = card.read_text(encoding="utf-8")
    text = replaced(text, "training", training(args.log))
    text = replaced(text, "thresholds", "; ".join(said) + ".")
    text = replaced(text, "figures", table(args.figures))
    text = replaced(text, "proof", "\n".join("- " + line for line in args.proof.read_text().splitlines() if line))
    for part in PRINTED:
        if printed := getattr(args, part):
            text = replaced(text, part, printed.read_text(encoding="utf-8").strip())
    card.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
