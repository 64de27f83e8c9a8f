"""check's text: a finding in three lines, each line safe to print, meaning never in colour alone."""

from __future__ import annotations

import unicodedata
from typing import BinaryIO

from riskline.escape import inert, visible
from riskline.finding import Finding, find
from riskline.records import Failure, Origin, Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import unseen_parts

_STYLES = {"unsafe": "1;31", "controversial": "1;33", "not judged": "1;35", "dim": "2", "place": "1"}
_INDENT = "    "


class Sink:
    """Lists findings and what could not be judged; safe records are only counted."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options = stream, options

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            self._not_judged(outcome.origin, outcome.code, "" if self._options.redaction else outcome.message)
            return
        if finding := find(outcome, self._options.redaction):
            self._finding(finding)
        if outcome.verdict.unseen:
            parts = ", ".join(unseen_parts(outcome.verdict.unseen, self._options.redaction))
            self._not_judged(outcome.record.origin, "unseen", f"has parts that no text guard sees: {parts}")

    def close(self, summary: Summary) -> None:
        self._stream.flush()

    def _finding(self, finding: Finding) -> None:
        origin, region = finding.judged.record.origin, finding.region
        place = inert(visible(origin.path)) + (f":{region.line}:{region.column}" if region else f":{origin.line}")
        label = self._styled(finding.label.name, finding.label.name)
        kind = f"  {visible(finding.category)}" if finding.category else ""
        lines = [f"{self._styled(place, 'place')}  {label} {finding.risk:.3f}{kind}"]
        if finding.excerpt:
            lines.append(_INDENT + _fitted(finding.excerpt, self._options.width - len(_INDENT)))
        elif self._options.redaction:
            lines.append(_INDENT + finding.hashed)
        if origin.trace_command:
            lines.append(_INDENT + self._styled(origin.trace_command, "dim"))
        self._lines(lines)

    def _not_judged(self, origin: Origin, code: str, message: str) -> None:
        said = f"({code})" + (f": {visible(message)}" if message else "")
        place = self._styled(inert(origin.address), "place")
        self._lines([f"{place}  {self._styled('not judged', 'not judged')} {said}"])

    def _lines(self, lines: list[str]) -> None:
        self._stream.write(("\n".join(map(inert, lines)) + "\n").encode())

    def _styled(self, text: str, style: str) -> str:
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self._options.color else text


def _fitted(text: str, columns: int) -> str:
    """Cut a line to a terminal's columns, of which a wide character takes two."""
    room = max(columns, 20)
    widths = [2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text]
    if sum(widths) <= room:
        return text
    used = 1  # the ellipsis
    for index, width in enumerate(widths):
        used += width
        if used > room:
            return text[:index].removesuffix("…") + "…"
    return text
