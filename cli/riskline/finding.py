"""A flagged verdict as a finding: where it stands in the file, what it says, and a fingerprint that outlives moves."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass

from riskline.escape import visible
from riskline.records import Judged, Label, Region, Span


@dataclass(frozen=True, slots=True)
class Finding:
    """A flagged text: `span` in code points of the judged text, `region` in the physical file (None without one).

    `excerpt` is one visible line of text around the onset, None when redacted. `fingerprint` is a hash of the judged
    text, its role and its category, not of its position; with a redaction key it is keyed.
    """

    judged: Judged
    label: Label
    category: str | None
    risk: float
    span: Span
    region: Region | None
    excerpt: str | None
    fingerprint: str

    @property
    def address(self) -> str:
        """The record's address: `data.jsonl:4711`."""
        return self.judged.record.origin.address

    @property
    def message(self) -> str:
        """One sentence without any text of the record: `unsafe (0.934): Violent, prompt`."""
        kind = f": {visible(self.category)}" if self.category else ""
        return f"{self.label.name} ({self.risk:.3f}){kind}, {self.judged.verdict.judged}"

    @property
    def hashed(self) -> str:
        """What stands in the place of an excerpt: `code points 173 to 184, hash 93b9…`."""
        return f"code points {self.span[0]} to {self.span[1]}, hash {self.fingerprint}"


@dataclass(frozen=True, slots=True)
class Redaction:
    """`--redact`: no text leaves; texts are named by an HMAC-SHA256 under `key`."""

    key: bytes


def find(judged: Judged, redaction: Redaction | None = None) -> Finding | None:
    """Return the finding of a verdict, or None where the label is safe."""
    verdict = judged.verdict
    if verdict.label is Label.safe:
        return None
    turn = judged.turn
    span = _span(judged)
    return Finding(
        judged=judged,
        label=verdict.label,
        category=verdict.category,
        risk=verdict.risk,
        span=span,
        region=turn.place.region(span) if turn.place else None,
        excerpt=None if redaction else excerpt(turn.text, span),
        fingerprint=fingerprint(judged, redaction),
    )


def _span(judged: Judged) -> Span:
    """From the onset to the token at which the rule fired, white space around them left out.

    The whole text for guards without a trajectory.
    """
    verdict, text = judged.verdict, judged.turn.text
    start, end = 0, len(text)
    if verdict.onset and verdict.fired:
        start, end = verdict.onset.span[0], verdict.fired.span[1]
    found = text[start:end]
    if not found.strip():
        return start, end
    return start + len(found) - len(found.lstrip()), end - len(found) + len(found.rstrip())


def excerpt(text: str, span: Span, width: int = 60) -> str:
    """Return about `width` visible characters of the line on which `span` begins, with `…` where it was cut."""
    first = text.rfind("\n", 0, span[0] + 1) + 1
    last = text.find("\n", max(span[0], first))
    last = len(text) if last < 0 else last
    start = max(first, span[0] - width // 3)
    end = min(last, start + width)
    return ("…" if start > first else "") + visible(text[start:end].strip()) + ("…" if end < last else "")


def fingerprint(judged: Judged, redaction: Redaction | None) -> str:
    """Return 32 hexadecimal digits that stay the same when the text moves to another line or file."""
    verdict = judged.verdict
    content = "\0".join((verdict.judged, verdict.category or "", judged.turn.text)).encode("utf-8", "surrogatepass")
    if redaction:
        return hmac.new(redaction.key, content, hashlib.sha256).hexdigest()[:32]
    return hashlib.sha256(content).hexdigest()[:32]
