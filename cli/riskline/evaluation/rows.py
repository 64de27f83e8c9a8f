"""What is kept of each record: numbers, no texts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import orjson

from riskline.evaluation.gold import Gold, Labelled
from riskline.evaluation.observed import Observed
from riskline.evaluation.spans import Timed, span_f1, timed
from riskline.records import Failure, Judged, Label, Outcome, Summary

if TYPE_CHECKING:
    from riskline.records import Floats, Integers

SHOWN = 1000
"""How many failures are named with their place; the others are counted."""
NAMED = 0.5
"""P(risky and of this kind) from which a flagged record is of a category, besides its largest one."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """One record's categories: in the gold, as named, and each with its score."""

    row: int
    gold: frozenset[str]
    named: frozenset[str]
    scores: dict[str, float]


@dataclass(slots=True)
class Rows:
    """The measured records, column by column, and those that could not be measured. Takes outcomes as a sink does.

    Pairs are (strict, loose).
    """

    scores: BinaryIO | None = None
    gold: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    ranks: list[tuple[float, float]] = field(default_factory=list)
    shares: list[tuple[float, float]] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)
    slices: list[tuple[str | None, ...]] = field(default_factory=list)
    kinds: list[Kinds] = field(default_factory=list)
    spans: list[tuple[bool, float, float]] = field(default_factory=list)
    unmarked: int = 0
    timed: list[tuple[Timed, Timed]] = field(default_factory=list)
    untimed: int = 0
    stops: list[tuple[bool, bool]] = field(default_factory=list)
    changes: tuple[list[int], list[int]] = field(default_factory=lambda: ([], []))
    overlooked: int = 0
    failed: list[dict[str, str]] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)
    summary: Summary = field(default_factory=Summary)

    def write(self, outcome: Outcome) -> None:
        """Take one outcome."""
        if isinstance(outcome, Failure):
            self._fail(outcome.origin.address, outcome.code, outcome.message)
            return
        record, verdict = outcome.record, outcome.verdict
        assert isinstance(record, Labelled)
        assert isinstance(verdict, Observed)
        if verdict.unseen:
            parts = ", ".join(verdict.unseen)
            self._fail(record.origin.address, "unseen", f"parts that no text guard sees: {parts}")
            return
        self._measure(outcome, record.gold, verdict)
        if self.scores:
            self.scores.write(_line(record, verdict))

    def close(self, summary: Summary) -> None:
        """Keep what the run counted."""
        self.summary = summary

    def _fail(self, address: str, code: str, message: str) -> None:
        self.failures[code] += 1
        if len(self.failed) < SHOWN:
            self.failed.append({"address": address, "code": code, "message": message})

    def _measure(self, outcome: Judged, gold: Gold, verdict: Observed) -> None:
        if gold.categories is not None:
            self.kinds.append(_kinds(len(self.gold), gold.categories, verdict))
        self.gold.append(int(gold.label))
        self.label.append(int(verdict.label))
        self.ranks.append(verdict.ranks)
        self.shares.append(gold.share or (np.nan, np.nan))
        self.roles.append(verdict.role)
        self.slices.append(gold.slices)
        self.overlooked += gold.overlooked
        self._mark(gold, verdict)
        self._time(gold, verdict, outcome.turn.text)

    def _mark(self, gold: Gold, verdict: Observed) -> None:
        if gold.spans is None:
            return
        if verdict.marks is None and not verdict.empty:
            self.unmarked += 1
            return
        marked = [marks.spans for marks in verdict.marks] if verdict.marks else [(), ()]
        strict, loose = (span_f1(spans, gold.spans) for spans in marked)
        self.spans.append((bool(gold.spans), strict, loose))

    def _time(self, gold: Gold, verdict: Observed, text: str) -> None:
        if verdict.marks is None or verdict.offsets is None:
            self.untimed += gold.start is not None
            return
        strict, loose = verdict.marks
        if gold.start is not None:
            spans = gold.spans or ()
            hits = [timed(marks, verdict.offsets, text, gold.start, spans) for marks in (strict, loose)]
            self.timed.append((hits[0], hits[1]))
        elif gold.label is Label.safe:
            self.stops.append((strict.run is not None, loose.run is not None))
        for changes, marks in zip(self.changes, (strict, loose), strict=True):
            if marks.changes is not None:
                changes.append(marks.changes)

    # --- as arrays ----------------------------------------------------------------------------------------------

    def golds(self) -> Integers:
        """Gold labels, (records,)."""
        return np.array(self.gold, np.int64)

    def labels(self) -> Integers:
        """Labels of the verdicts, (records,)."""
        return np.array(self.label, np.int64)

    def ranking(self) -> Floats:
        """Ranking scores, strict and loose, (records, 2)."""
        return np.array(self.ranks, np.float64).reshape(-1, 2)

    def targets(self) -> Floats:
        """Shares of raters, strict and loose, (records, 2); NaN where none are given."""
        return np.array(self.shares, np.float64).reshape(-1, 2)


def _kinds(row: int, gold: frozenset[str], verdict: Observed) -> Kinds:
    scores = {name: score for name, score in verdict.categories.items() if score is not None}
    named = {name for name, score in scores.items() if score >= NAMED} if verdict.label > Label.safe else set()
    if verdict.category is not None:
        named.add(verdict.category)
    return Kinds(row, gold, frozenset(named), scores)


def _line(record: Labelled, verdict: Observed) -> bytes:
    line = {
        "address": record.origin.address,
        "gold": record.gold.label.name,
        "share": record.gold.share,
        "label": verdict.label.name,
        "strict": verdict.ranks[0],
        "loose": verdict.ranks[1],
        "category": verdict.category,
    }
    return orjson.dumps(line) + b"\n"
