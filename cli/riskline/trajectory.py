"""Risk along the text: where a decision rule fires, how high it would still fire, and segments."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from riskline.records import Rule, Span

if TYPE_CHECKING:
    from riskline.records import Floats, Integers

    Labels = Integers

# A segment ends after a line feed, or after a sentence's final marks; marks that also stand inside numbers and names
# need white space behind them, those of scripts without spaces do not.
_SEGMENT_END = re.compile(r"\n+|(?<![.!?…؟۔।॥])[.!?…؟۔।॥]++[\"'”’»)\]]*+\s+|[。！？｡．]+[”’」』）]*\s*")


def fires(series: Floats, threshold: float, rule: Rule) -> tuple[int, int] | None:
    """Return (onset, fired) of the first place where `rule` fires on `series` at `threshold`, or None.

    `onset` is the first token of the run that fired, `fired` the token at which a live stream could first say so.
    """
    above = series >= threshold
    if rule.kind == "final":
        if not above[-1]:
            return None
        below = np.flatnonzero(~above)
        return (int(below[-1]) + 1 if len(below) else 0), len(series) - 1
    n = _length(series, rule)
    hits = np.flatnonzero(_windowed_min(series, n) >= threshold)
    return (int(hits[0]), int(hits[0]) + n - 1) if len(hits) else None


def pairs(labels: Labels, rule: Rule) -> tuple[int, int, int] | None:
    """Return (onset, fired, label) where adjacent tokens' likeliest labels decide, or None; `labels` are 0 to 2.

    By the authors' `code`, `n` of the same label do, unsafe ones anywhere before controversial ones; by their `report`,
    the first `n` above safe, and the last of these says which label it is.
    """
    n = min(rule.n, len(labels))
    if rule.reading == "report":
        found = fires((labels > 0).astype(np.float64), 1.0, Rule("hold", n))
        return (*found, int(labels[found[1]])) if found else None
    for label in (2, 1):
        if found := fires((labels == label).astype(np.float64), 1.0, Rule("hold", n)):
            return (*found, label)
    return None


def level(series: Floats, rule: Rule) -> int:
    """Return the token whose score is the highest threshold at which `rule` still fires on `series`.

    `final`: the last token; `max`: the highest; `hold`: the lowest of the best n adjacent ones (the later where equal).
    """
    if rule.kind == "final":
        return len(series) - 1
    n = _length(series, rule)
    best = int(np.argmax(_windowed_min(series, n)))
    window = series[best : best + n]
    return best + n - 1 - int(np.argmin(window[::-1]))


def _length(series: Floats, rule: Rule) -> int:
    return min(rule.n, len(series)) if rule.kind in ("hold", "argmax-pairs") else 1


def _windowed_min(series: Floats, n: int) -> Floats:
    """The minimum of every n adjacent scores, (tokens - n + 1,)."""
    width = len(series) - n + 1
    lowest = series[:width]
    for shift in range(1, n):
        lowest = np.minimum(lowest, series[shift : width + shift])
    return lowest


def segments(text: str) -> list[Span]:
    """Return the spans of `text` between newlines and sentence ends, in order, together the whole text."""
    ends = [match.end() for match in _SEGMENT_END.finditer(text)]
    return [span for span in pairwise([0, *ends, len(text)]) if span[0] < span[1]]


def segment_peaks(spans: list[Span], offsets: Integers, series: Floats) -> list[tuple[Span, int]]:
    """Return each segment that holds a token with the index of its highest one.

    A token belongs where its last character is: its first may be the space behind the sentence before.
    """
    last = np.maximum(offsets[:, 1] - 1, offsets[:, 0])
    bounds = np.searchsorted(last, [start for start, _ in spans])
    ends = [*bounds[1:].tolist(), len(series)]
    return [
        (span, start + int(np.argmax(series[start:end])))
        for span, start, end in zip(spans, bounds.tolist(), ends, strict=True)
        if start < end
    ]
