"""Find the controversial rows among those labelled safe or unsafe: where a strict and a loose model disagree.

python scripts/train/annotate.py --config scripts/train/mini.toml --data CORPUS --tokenizer RUN/tokenizer.json \
    --start RUN/aligned.pt --run RUN/annotate

The recipe of the Qwen3Guard report (arXiv 2510.14276, section 3.2): the rows are cut in halves, on each a model learns
from more unsafe rows than safe ones (strict) and another from more safe ones (loose), and both judge the other half. A
reply goes to the half of its prompt. RUN/annotate/controversial.txt gets the digests of the rows they disagree on;
models that stand in RUN/annotate are not trained again.
"""

from __future__ import annotations

import sys
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import synthesize
from corpus import LABELS, Row, digest
from glance import Glance, held, judged, probabilities
from model import Mini
from numpy.typing import NDArray
from synthesize import CONTROVERSIAL, SAFE
from tokenizers import Tokenizer
from train import Training, arguments

SIDES = ("strict", "loose")


def half(row: Row) -> int:
    """Return which half a row belongs to, 0 or 1: a prompt and the replies to it to the same."""
    return int(digest(row.prompt or row.text)[0], 16) % 2


def annotated(rows: list[Row]) -> list[Row]:
    """Return the rows that are judged: people's prompts labelled safe or unsafe of sources that have unsafe ones.

    Comments have labels of several raters already, what nobody doubts (banking queries, news) needs no second look, and
    whether a reply refuses is no matter of opinion: models as small as these disagreed on refusals.
    """
    mixed = {row.source for row in rows if row.label != SAFE and not row.source.startswith("synthesis")}
    return [row for row in rows if row.kind == "prompt" and row.label != CONTROVERSIAL and row.source in mixed]


def learned(
    config: dict[str, Any], rows: list[Row], tokenizer: Tokenizer, glance: Glance, run: Path, start: Path
) -> Mini:
    """Train one model, or read the one that stands in `run`, and return it with its averaged weights."""
    training = Training(config, run, start)
    training.on(rows, tokenizer, glance, None)
    training.model.load_state_dict(training.mean)
    return training.model


def levels(model: Mini, rows: list[Row], tokenizer: Tokenizer, width: int) -> NDArray[np.float32]:
    """Return for each row the highest risk that two adjacent tokens reach, 1 - P(safe), shape (rows,)."""
    model.eval()
    found = probabilities(model, [judged(row, tokenizer, width) for row in rows])
    return np.array([held(1 - tokens[:, SAFE]) for tokens in found], np.float32)


def disagreements(
    rows: list[Row], config: dict[str, Any], tokenizer: Tokenizer, glance: Glance, run: Path, start: Path
) -> Iterator[Row]:
    """Yield the rows that the strict and the loose model of the other half label differently."""
    for own in (0, 1):
        taught = [row for row in rows if half(row) == own or row.source.startswith("synthesis")]
        asked = [row for row in annotated(rows) if half(row) != own]
        verdicts = []
        for side in SIDES:
            sided = config | config["annotate"]["run"] | {"safe": config["annotate"][side]}
            model = learned(sided, taught, tokenizer, glance, run / f"{side}-{own}", start)
            verdicts.append(levels(model, asked, tokenizer, config["width"]) >= 0.5)
        yield from (row for row, strict, loose in zip(asked, *verdicts, strict=True) if strict != loose)


def main() -> None:
    """Write the digests, and say how many rows of each source became controversial."""
    args = arguments(__doc__).parse_args()
    config = tomllib.loads(args.config.read_text())
    tokenizer = Tokenizer.from_file(str(args.tokenizer))
    rows = synthesize.known(args.data, config)
    glance = Glance(args.data, tokenizer, config["width"])
    found = list(disagreements(rows, config, tokenizer, glance, args.run, args.start))
    (args.run / "controversial.txt").write_text("".join(f"{name}\n" for name in sorted({row.digest for row in found})))
    asked = Counter((row.source, row.kind, LABELS[row.label]) for row in annotated(rows))
    counts = Counter((row.source, row.kind, LABELS[row.label]) for row in found)
    for place, count in sorted(counts.items()):
        print("\t".join(place), f"{count} of {asked[place]}", sep="\t")
    print(f"{len(found)} rows are controversial", file=sys.stderr)


if __name__ == "__main__":
    main()
