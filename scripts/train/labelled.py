"""Write the development rows of unseen sources as JSONL for `riskline eval`.

python scripts/train/labelled.py --data CORPUS --out unseen.jsonl [--rows 1000]
riskline eval unseen.jsonl --source-field source --lang-field lang --json -o REPORT.json
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from pathlib import Path

import orjson
from corpus import LABELS, Row, read_rows


def record(row: Row) -> dict[str, object]:
    """Return a row as a record: a reply with its prompt, else a bare text."""
    name = {"prompt": "prompts", "response": "responses", "comment": "comments"}[row.kind]
    text = {"prompt": row.prompt or "", "response": row.text} if row.kind == "response" else {"text": row.text}
    return {**text, "label": LABELS[row.label], "lang": row.lang, "source": f"{row.source} {name}"}


def main() -> None:
    """Write a seeded sample: at most so many rows of each source, kind and label."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000)
    args = parser.parse_args()
    trained = {path.name.removesuffix(".jsonl.gz") for path in (args.data / "train").glob("*.jsonl.gz")}
    groups: dict[tuple[str, str, int], list[Row]] = defaultdict(list)
    for row in read_rows(args.data / "dev", licence=None):
        if row.source not in trained and row.text.strip() and (row.kind != "response" or row.prompt):
            groups[row.source, row.kind, row.label].append(row)
    rng = random.Random(0)
    chosen = [row for _, rows in sorted(groups.items()) for row in rng.sample(rows, min(args.rows, len(rows)))]
    args.out.write_bytes(b"".join(orjson.dumps(record(row), option=orjson.OPT_APPEND_NEWLINE) for row in chosen))


if __name__ == "__main__":
    main()
