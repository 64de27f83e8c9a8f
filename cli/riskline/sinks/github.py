"""check's findings as GitHub workflow commands, which become annotations on a pull request.

Covers: no text, file name or id can end its command or begin another.
Does not cover: how many annotations a page shows.
"""

from __future__ import annotations

from typing import BinaryIO

from riskline.escape import visible
from riskline.finding import Finding, find
from riskline.records import Failure, Label, Origin, Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import unseen_parts


class Sink:
    """One command a line: `error` for unsafe and for what could not be judged, `warning` for controversial."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options = stream, options

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            detail = "" if self._options.redaction else f": {outcome.message}"
            self._not_judged(outcome.origin, f"{outcome.code}{detail}")
            return
        if finding := find(outcome, self._options.redaction):
            self._finding(finding)
        if outcome.verdict.unseen:
            parts = ", ".join(unseen_parts(outcome.verdict.unseen, self._options.redaction))
            self._not_judged(outcome.record.origin, f"unseen: {parts}")

    def close(self, summary: Summary) -> None:
        self._stream.flush()

    def _finding(self, finding: Finding) -> None:
        origin, region = finding.judged.record.origin, finding.region
        properties = {"file": origin.path, "line": str(region.line if region else origin.line)}
        if region:
            properties |= {
                "col": str(region.column),
                "endLine": str(region.end_line),
                "endColumn": str(region.end_column),
            }
        level = "error" if finding.label is Label.unsafe else "warning"
        hashed = finding.hashed if self._options.redaction else None
        message = " | ".join(filter(None, (finding.message, hashed, origin.trace_command)))
        self._command(level, properties | {"title": f"riskline: {finding.label.name}"}, message)

    def _not_judged(self, origin: Origin, message: str) -> None:
        properties = {"file": origin.path, "line": str(origin.line), "title": "riskline: not judged"}
        self._command("error", properties, message)

    def _command(self, level: str, properties: dict[str, str], message: str) -> None:
        named = ",".join(f"{name}={_property(value)}" for name, value in properties.items())
        self._stream.write(f"::{level} {named}::{_data(message)}\n".encode())


def _data(text: str) -> str:
    """The runner undoes exactly these escapes; acting characters are shown before."""
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
