"""A judge that keeps what figures are made of: the ranking scores, where each reading fires, what it marks.

Covers: the policy's own verdicts, and those of Qwen3Guard's evaluation (eval/eval_stream.py): the label at the last
position of a prompt; in a response two neighbouring tokens of one label, an unsafe pair before a controversial one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from riskline.policy import Judge
from riskline.records import Label, Role, Rule, Scores, Span, Verdict
from riskline.trajectory import fires, level

if TYPE_CHECKING:
    import numpy.typing as npt

    from riskline.records import Floats, Integers

    Mask: TypeAlias = npt.NDArray[np.bool_]

ReadingName: TypeAlias = Literal["policy", "qwen3guard"]
Fired: TypeAlias = tuple[int, int]
"""The first token of the run that fired, and the token at which a live stream could first say so."""
_PAIR = Rule("hold", 2)


@dataclass(frozen=True, slots=True)
class Marks:
    """What one reading, strict or loose, makes of a trajectory; `changes` counts its label's after the first flag."""

    run: Fired | None = None
    spans: tuple[Span, ...] = ()
    changes: int | None = None


@dataclass(frozen=True, slots=True)
class Observed(Verdict):
    """A verdict with its ranking scores (strict, loose); marks and offsets only where there is a trajectory."""

    ranks: tuple[float, float] = (0.0, 0.0)
    marks: tuple[Marks, Marks] | None = None
    offsets: Integers | None = None


@dataclass(frozen=True, slots=True)
class Observer(Judge):
    """A judge by one of the readings; `along` keeps what is known of the trajectory."""

    reading: ReadingName = "policy"
    along: bool = False

    def decide(self, scores: Scores, text: str) -> Observed:
        """Return the verdict on `text` by this reading."""
        verdict = Judge.decide(self, scores, text)
        risk = np.round(1 - scores.safe, 4)
        if self.reading == "policy" and self.policy.rule_for(self.manifest).kind != "argmax-pairs":
            return self._by_policy(scores, risk, verdict, text)
        return self._by_pairs(scores, risk, verdict, text)

    def empty(self, role: Role) -> Observed:
        """Return the verdict on a blank text: nothing fires, nothing is marked."""
        return _observed(Judge.empty(self, role), {})

    def rule(self, role: Role) -> str:
        """Return in words how a role's scores become a label."""
        if self.reading == "policy":
            trained = self.manifest.roles[role].trajectory and not self.manifest.ended(role)
            return str(self.policy.rule_for(self.manifest)) if trained else "one score for the whole text"
        return "argmax at the last position" if role == "prompt" else "argmax, two consecutive tokens of one label"

    def _by_policy(self, scores: Scores, risk: Floats, verdict: Verdict, text: str) -> Observed:
        rule = self._rule(scores)
        ranks = _ranks(risk, scores.unsafe, rule)
        if not (self.along and scores.trajectory):
            return _observed(verdict, {"ranks": ranks})
        limits = self.policy.limits(self.manifest, scores.role)
        ignored = self._ignored(scores)
        hot = (np.where(ignored, -1.0, scores.unsafe) >= limits.unsafe).astype(float)
        warm = np.zeros(len(hot))
        if scores.controversial is not None:
            warm = (np.where(ignored, -1.0, risk) >= limits.controversial).astype(float)
        # An escalated category makes unsafe of what fired on the risk alone.
        escalated = verdict.label is Label.unsafe and fires(hot, 1, rule) is None
        strict = _marks([hot, warm], rule, scores.offsets, text)
        loose = _marks([hot, warm] if escalated else [hot], rule, scores.offsets, text)
        return _observed(verdict, {"ranks": ranks, "marks": (strict, loose), "offsets": scores.offsets})

    def _by_pairs(self, scores: Scores, risk: Floats, verdict: Verdict, text: str) -> Observed:
        middle = np.full(len(risk), -1.0) if scores.controversial is None else scores.controversial
        # In the order of the model's own labels, so that a tie goes where it goes there.
        native = np.stack([scores.safe, scores.unsafe, middle]).argmax(axis=0)
        labels = np.array([Label.safe, Label.unsafe, Label.controversial])[native]
        paired = scores.role == "response" and not self._last(scores)
        rule = _PAIR if paired else Rule("final")
        label, at = _paired(labels) if paired else (Label(int(labels[-1])), len(labels) - 1)
        category = scores.categories[int(scores.kinds[at].argmax())] if scores.categories else None
        changed: dict[str, object] = {"label": label, "category": category if label > Label.safe else None}
        changed["ranks"] = _ranks(risk, scores.unsafe, rule)
        if paired and self.along and len(labels) > 1:
            unsafe, middling = (labels == Label.unsafe).astype(float), (labels == Label.controversial).astype(float)
            loose = _marks([unsafe], _PAIR, scores.offsets, text)
            strict = _marks([unsafe, middling], _PAIR, scores.offsets, text, first=loose.run)
            changed |= {"marks": (strict, loose), "offsets": scores.offsets}
        return _observed(verdict, changed)


def _observed(verdict: Verdict, changed: dict[str, object]) -> Observed:
    values = {own.name: getattr(verdict, own.name) for own in fields(Verdict)}
    return Observed(**values | changed)


def _ranks(risk: Floats, unsafe: Floats, rule: Rule) -> tuple[float, float]:
    """The highest thresholds at which the rule still fires, on 1 - P(safe) and on P(unsafe)."""
    return float(risk[level(risk, rule)]), float(unsafe[level(unsafe, rule)])


def _paired(labels: Integers) -> tuple[Label, int]:
    """The label of the first pair of neighbours that share one, unsafe pairs first, and the pair's second token."""
    for label in (Label.unsafe, Label.controversial):
        pairs = np.flatnonzero((labels[1:] == label) & (labels[:-1] == label))
        if len(pairs):
            return label, int(pairs[0]) + 1
    return Label.safe, len(labels) - 1


def _marks(series: list[Floats], rule: Rule, offsets: Integers, text: str, *, first: Fired | None = None) -> Marks:
    """What fires of several series of 0 and 1, each by itself: the run that fires first, all runs, the flicker.

    `first` is the run that counts where a reading ranks its labels.
    """
    runs = [run for values in series if (run := fires(values, 1, rule))]
    if not runs:
        return Marks()
    run = first or min(runs, key=lambda run: run[1])
    marked = np.logical_or.reduce([_runs(values > 0, rule) for values in series])
    above = np.logical_or.reduce([values > 0 for values in series])
    changes = int(np.count_nonzero(np.diff(above[run[1] :].astype(np.int8))))
    return Marks(run, _stretches(marked, offsets, text), changes)


def _runs(above: Mask, rule: Rule) -> Mask:
    """Which tokens belong to a run on which the rule fires, (tokens,)."""
    if rule.kind == "final":
        return np.asarray(np.logical_and.accumulate(above[::-1])[::-1])
    n = min(rule.n, len(above)) if rule.kind == "hold" else 1
    begins = np.logical_and.reduce([above[shift : len(above) - n + 1 + shift] for shift in range(n)])
    inside = np.zeros(len(above), bool)
    for shift in range(n):
        inside[shift : len(above) - n + 1 + shift] |= begins
    return inside


def _stretches(marked: Mask, offsets: Integers, text: str) -> tuple[Span, ...]:
    """The text from the first to the last token of each run of marked ones, without white space at its ends."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], marked.astype(np.int8), [0]))))
    spans: list[Span] = []
    for begin, end in edges.reshape(-1, 2).tolist():
        start, stop = int(offsets[begin, 0]), int(offsets[end - 1, 1])
        piece = text[start:stop]
        start += len(piece) - len(piece.lstrip())
        stop -= len(piece) - len(piece.rstrip())
        if start < stop:
            spans.append((start, stop))
    return tuple(spans)
