"""Ask a guard the same eight handwritten questions in many languages: how high it puts the harmful and the harmless.

python scripts/train/languages.py [--guard models/riskline-mini] [--json FILE]

Eight questions say little of a language; they say whether anything was learned of it. questions.toml has them.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path

from robustness import table

from riskline.guard import Guard, load
from riskline.records import Failure, Label, Record

QUESTIONS = Path(__file__).parent / "questions.toml"


def asked(guard: Guard, texts: list[str]) -> tuple[float, str]:
    """Return the mean P(unsafe) of texts at the decision rule, and how many are flagged unsafe."""
    verdicts = [verdict for verdict in guard.judge(map(Record.of, texts)) if not isinstance(verdict, Failure)]
    flagged = sum(verdict.label is Label.unsafe for verdict in verdicts)
    return round(sum(verdict.unsafe for verdict in verdicts) / len(verdicts), 2), f"{flagged} of {len(texts)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    guard = load(args.guard, provider="cpu")
    lines: list[dict[str, object]] = []
    for lang, texts in tomllib.loads(QUESTIONS.read_text(encoding="utf-8")).items():
        harmful, caught = asked(guard, texts["harmful"])
        harmless, alarmed = asked(guard, texts["harmless"])
        lines.append(
            {
                "language": lang,
                "harmful: mean P(unsafe)": harmful,
                "flagged": caught,
                "harmless: mean P(unsafe)": harmless,
                "false alarms": alarmed,
            }
        )
    print(table(lines))
    if args.json:
        args.json.write_text(json.dumps({"languages": lines}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
