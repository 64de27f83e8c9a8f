"""Ask a guard the same sixty questions and sixteen replies in twenty languages: what it flags of harm and of the rest.

python scripts/train/languages.py [--guard models/riskline-mini] [--json FILE]

questions.tsv has thirty plain harmful questions and thirty harmless ones, half of those on grave matters;
questions_answered.tsv eight harmful and eight harmless replies with their prompts. A model wrote and translated them
apart from the lists that are trained on; no speaker has checked them, and none is trained on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from corpus import ANSWERED, QUESTIONS, cells
from robustness import Line, judged, table
from sklearn.metrics import roc_auc_score

from riskline.guard import Guard, load
from riskline.records import Label, Record


def figures(guard: Guard, records: list[Record], kinds: list[str], what: str) -> Line:
    """Return how many records of each kind are flagged unsafe, and how well P(unsafe) parts the kinds."""
    verdicts = judged(guard, records)
    flagged = Counter(kind for kind, verdict in zip(kinds, verdicts, strict=True) if verdict.label is Label.unsafe)
    ranked = roc_auc_score([kind == "harmful" for kind in kinds], [verdict.unsafe for verdict in verdicts])
    counts = {f"{kind} {what} flagged": f"{flagged[kind]} of {kinds.count(kind)}" for kind in ("harmful", "harmless")}
    return {**counts, f"AUROC of {what}": round(float(ranked), 2)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    guard = load(args.guard, provider="cpu")
    asked, answered = cells(QUESTIONS), cells(ANSWERED)
    kinds = [question["kind"] for question in asked]
    lines: list[Line] = []
    for lang in dict.fromkeys(reply["lang"] for reply in answered):
        prompts = figures(guard, [Record.of(question[lang]) for question in asked], kinds, "prompts")
        replies = [reply for reply in answered if reply["lang"] == lang]
        said = [Record.of(reply["reply"], role="response", prompt=reply["prompt"]) for reply in replies]
        lines.append({"language": lang, **prompts, **figures(guard, said, [r["kind"] for r in replies], "replies")})
    print(table(lines))
    if args.json:
        args.json.write_text(json.dumps({"languages": lines}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
