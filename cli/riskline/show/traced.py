"""A judged text with all that a display of its trajectory needs."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from riskline.records import Label, Turn, Verdict


@dataclass(frozen=True, slots=True)
class Traced:
    """One text, its verdict, and its probabilities token by token (empty where there is no trajectory).

    `thresholds` are those in force: on P(unsafe), and on 1 - P(safe). `rule` is the decision rule in words.
    `unseen` says what no text guard sees of the record; it is empty where there is nothing of that kind.
    """

    text: str
    verdict: Verdict
    safe: tuple[float, ...]
    controversial: tuple[float, ...]
    unsafe: tuple[float, ...]
    thresholds: tuple[float, float]
    rule: str
    context: tuple[Turn, ...] = ()
    address: str | None = None
    unseen: str = ""

    @property
    def risk(self) -> tuple[float, ...]:
        """1 - P(safe) of every token."""
        return self.verdict.trajectory.risk if self.verdict.trajectory else ()

    @property
    def earlier(self) -> str:
        """How many earlier turns there are, in words."""
        return f"{len(self.context)} earlier turn{'s' if len(self.context) > 1 else ''}"

    @property
    def fired_series(self) -> tuple[tuple[float, ...], float]:
        """The series that gave the label and the threshold that it met; risk's own where nothing fired."""
        if self.verdict.label is Label.unsafe and max(self.unsafe, default=0.0) >= self.thresholds[0]:
            return self.unsafe, self.thresholds[0]
        return self.risk, self.thresholds[1]

    @property
    def run(self) -> tuple[int, int] | None:
        """The tokens [first, end) from the onset for as long as the series stays at its threshold."""
        if self.verdict.onset is None:
            return None
        series, threshold = self.fired_series
        end = self.verdict.onset.token
        while end < len(series) and series[end] >= threshold:
            end += 1
        start = self.verdict.onset.token
        pieces = self.pieces
        while start and not pieces[start]:  # the characters of such a token stand with the one before
            start -= 1
        return start, max(end, self.verdict.onset.token + 1)

    @property
    def pieces(self) -> list[str]:
        """The text cut at token ends, piece i shown for token i: white space and shared bytes go to the later token."""
        offsets = self.verdict.trajectory.offsets if self.verdict.trajectory else ()
        ends = [0, *(end for _, end in offsets)]
        pieces = [self.text[start:end] for start, end in pairwise(ends)]
        if pieces:
            pieces[-1] += self.text[ends[-1] :]
        return pieces
