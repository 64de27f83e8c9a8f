"""Ask a guard the same sixty written questions in twenty languages: what it flags of the harmful and of the harmless.

python scripts/train/languages.py [--guard models/riskline-mini] [--json FILE]

questions.tsv has them: thirty plain harmful ones and thirty harmless ones, half of those on grave matters. A model
wrote and translated them apart from the lists that are trained on; no speaker has checked them, and none is trained on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path

from corpus import questions
from robustness import judged, table
from sklearn.metrics import roc_auc_score

from riskline.guard import load
from riskline.records import Label


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    guard = load(args.guard, provider="cpu")
    found = questions()
    kinds = found.pop("kind")
    lines: list[dict[str, object]] = []
    for lang, texts in found.items():
        verdicts = judged(guard, texts)
        flagged = Counter(kind for kind, verdict in zip(kinds, verdicts, strict=True) if verdict.label is Label.unsafe)
        ranked = roc_auc_score([kind == "harmful" for kind in kinds], [verdict.unsafe for verdict in verdicts])
        lines.append(
            {
                "language": lang,
                **{f"{kind} flagged": f"{flagged[kind]} of {kinds.count(kind)}" for kind in ("harmful", "harmless")},
                "AUROC": round(float(ranked), 3),
            }
        )
    print(table(lines))
    if args.json:
        args.json.write_text(json.dumps({"languages": lines}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
