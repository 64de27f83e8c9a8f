"""A run's summary in one line: everything is named, hostile reasons as well."""

from __future__ import annotations

from collections import Counter

import pytest

from riskline.records import Label, Summary
from riskline.show.report import summary_line

NOTHING = "judged 0 (0 safe, 0 controversial, 0 unsafe), flagged 0, not judged 0, skipped 0, windowed 0, from cache 0"


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        (Summary(), NOTHING),
        (
            Summary(
                labels=Counter({Label.safe: 117, Label.controversial: 2, Label.unsafe: 1}),
                flagged=Counter({Label.controversial: 2, Label.unsafe: 2}),
                failures=Counter({"wrong-type": 1, "invalid-json": 2}),
                skips=Counter({"symlink": 1, "other extension": 2}),
                unseen=1,
                windowed=4,
                context_truncated=3,
            ),
            "judged 120 (117 safe, 2 controversial, 1 unsafe), flagged 4, "
            "not judged 4 (invalid-json 2, unseen 1, wrong-type 1), skipped 3 (other extension 2, symlink 1), "
            "windowed 4, context cut 3, from cache 0",
        ),
        (
            Summary(skips=Counter({"\x1b[2J": 1})),
            NOTHING.replace("skipped 0", "skipped 1 (\\x1b[2J 1)"),
        ),
    ],
)
def test_a_summary_names_everything(summary: Summary, expected: str) -> None:
    assert summary_line(summary) == expected
