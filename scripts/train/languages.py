"""Ask a guard the same sixty questions and sixteen replies in twenty languages, and English texts of several styles.

python scripts/train/languages.py [--guard models/riskline-mini] [--json FILE]

questions.tsv has thirty plain harmful questions and thirty harmless ones, half of those on grave matters;
questions_answered.tsv eight harmful and eight harmless replies with their prompts; measured.tsv short prompts as the
speakers of eighteen languages would type them (no translations), and the English texts by style. A model wrote all of
them apart from the lists that are trained on; no speaker has checked them, and none is trained on.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from corpus import ANSWERED, MEASURED, QUESTIONS, cells
from robustness import Line, judged, table
from sklearn.metrics import roc_auc_score

from riskline.guard import Guard, load
from riskline.records import Label, Record


def figures(guard: Guard, records: list[Record], kinds: list[str], what: str = "") -> Line:
    """Return how many records of each kind are flagged unsafe, and how well P(unsafe) parts the kinds."""
    verdicts = judged(guard, records)
    flagged = Counter(kind for kind, verdict in zip(kinds, verdicts, strict=True) if verdict.label is Label.unsafe)
    line: Line = {
        f"{what}harm flagged": _of(flagged["harmful"], kinds.count("harmful")),
        f"{what}harmless flagged": _of(flagged["harmless"], kinds.count("harmless")),
        f"{what}AUROC": None,
    }
    if len(set(kinds)) > 1:
        ranked = roc_auc_score([kind == "harmful" for kind in kinds], [verdict.unsafe for verdict in verdicts])
        line[f"{what}AUROC"] = round(float(ranked), 2)
    return line


def _of(flagged: int, count: int) -> str | None:
    return f"{flagged} of {count}" if count else None


def by_language(guard: Guard) -> Iterator[Line]:
    """Yield what is flagged of each language's questions, replies and own prompts."""
    asked, answered, written = cells(QUESTIONS), cells(ANSWERED), cells(MEASURED)
    kinds = [question["kind"] for question in asked]
    for lang in dict.fromkeys(reply["lang"] for reply in answered):
        line: Line = {"language": lang}
        line |= figures(guard, [Record.of(question[lang]) for question in asked], kinds, "questions: ")
        replies = [reply for reply in answered if reply["lang"] == lang]
        said = [Record.of(reply["reply"], role="response", prompt=reply["prompt"]) for reply in replies]
        line |= figures(guard, said, [reply["kind"] for reply in replies], "replies: ")
        own = [text for text in written if (text["lang"], text["style"]) == (lang, "native")]
        yield line | figures(guard, [Record.of(text["text"]) for text in own], [text["kind"] for text in own], "own: ")


def by_style(guard: Guard) -> Iterator[Line]:
    """Yield what is flagged of the English texts of each style."""
    written = [text for text in cells(MEASURED) if text["lang"] == "en"]
    for style in dict.fromkeys(text["style"] for text in written):
        own = [text for text in written if text["style"] == style]
        records = [
            Record.of(text["text"], role="response" if text["prompt"] else "prompt", prompt=text["prompt"] or None)
            for text in own
        ]
        yield {"English": style} | figures(guard, records, [text["kind"] for text in own])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--guard", default="models/riskline-mini")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    guard = load(args.guard, provider="cpu")
    parts = {"languages": list(by_language(guard)), "styles": list(by_style(guard))}
    print("\n\n".join(table(lines) for lines in parts.values()))
    if args.json:
        args.json.write_text(json.dumps(parts, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
