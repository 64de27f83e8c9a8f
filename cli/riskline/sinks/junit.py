"""check's findings as JUnit XML: a failed test case a finding, an error a record that could not be judged."""

from __future__ import annotations

import re
import shutil
import tempfile
from typing import BinaryIO
from xml.sax.saxutils import escape, quoteattr

from riskline.escape import inert, visible
from riskline.finding import Finding, find
from riskline.records import Failure, Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import unseen_parts

_NO_XML = re.compile("[\ufffe\uffff]")


class Sink:
    """The suite's counts stand before its cases, so the cases wait in a temporary file."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options = stream, options
        self._cases = tempfile.SpooledTemporaryFile(1 << 20)  # noqa: SIM115 - closed in close, and by its end
        self._failures = self._errors = 0

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            self._error(outcome.origin.address, outcome.code, "" if self._options.redaction else outcome.message)
            return
        if finding := find(outcome, self._options.redaction):
            self._failure(finding)
        if outcome.verdict.unseen:
            parts = unseen_parts(outcome.verdict.unseen, self._options.redaction)
            self._error(outcome.record.origin.address, "unseen", ", ".join(parts))

    def close(self, summary: Summary) -> None:
        tests = summary.judged + summary.not_judged
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f'<testsuites><testsuite name="riskline" tests="{max(tests, self._failures + self._errors)}" '
            f'failures="{self._failures}" errors="{self._errors}" skipped="0">\n'
        )
        self._stream.write(head.encode())
        self._cases.seek(0)
        shutil.copyfileobj(self._cases, self._stream)
        self._cases.close()
        self._stream.write(b"</testsuite></testsuites>\n")
        self._stream.flush()

    def _failure(self, finding: Finding) -> None:
        self._failures += 1
        origin, region = finding.judged.record.origin, finding.region
        where = f"{finding.address}, line {region.line}, column {region.column}" if region else finding.address
        said = finding.hashed if self._options.redaction else finding.excerpt
        lines = [where, *filter(None, (said, origin.trace_command))]
        self._case(finding.address, "failure", finding.label.name, finding.message, lines)

    def _error(self, address: str, code: str, message: str) -> None:
        self._errors += 1
        self._case(address, "error", code, f"not judged ({code})", [message] if message else [])

    def _case(self, address: str, element: str, kind: str, message: str, lines: list[str]) -> None:
        body = escape("\n".join(map(_legal, lines)))
        name, said = quoteattr(_legal(address)), quoteattr(_legal(message))
        case = (
            f'<testcase classname="riskline" name={name}>'
            f"<{element} type={quoteattr(_legal(kind))} message={said}>{body}</{element}></testcase>\n"
        )
        self._cases.write(inert(case, "&#35;", "&#58;").encode())


def _legal(text: str) -> str:
    """Visible text without the two characters that XML 1.0 forbids and that do not act."""
    return _NO_XML.sub(lambda match: f"\\u{ord(match[0]):04x}", visible(text))
