"""check's findings as SARIF 2.1.0: a result a finding, its trajectory as a code flow, failures as notifications."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from riskline.escape import visible
from riskline.finding import Finding, find
from riskline.records import Failure, Judged, Label, Origin, Outcome, Region, Span, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import dumps, unseen_parts

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_FLOW = 100
"""At most so many steps of a trajectory are written a finding."""


class Sink:
    """One run; results stream out, what is known only at the end (rules, notifications) follows them."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options, self._between = stream, options, b"\n"
        self._rules: dict[str, str] = {}
        self._seen: Counter[str] = Counter()
        self._notifications = tempfile.SpooledTemporaryFile(1 << 20)  # noqa: SIM115 - closed in close
        head = dumps({"$schema": SCHEMA, "version": "2.1.0"})
        stream.write(head[:-1] + b',"runs":[{"columnKind":"unicodeCodePoints","results":[')

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            detail = "" if self._options.redaction else f": {outcome.message}"
            self._notify(outcome.origin, f"not judged, {outcome.code}{detail}")
            return
        if finding := find(outcome, self._options.redaction):
            self._stream.write(self._between + dumps(self._result(finding)))
            self._between = b",\n"
        if outcome.verdict.unseen:
            parts = ", ".join(unseen_parts(outcome.verdict.unseen, self._options.redaction))
            self._notify(outcome.record.origin, f"not judged in part, unseen: {parts}")

    def close(self, summary: Summary) -> None:
        facts = self._options.facts
        rules = [_rule(slug, name) for slug, name in self._rules.items()]
        driver = {
            "name": "riskline",
            "version": facts.get("version", "0"),
            "rules": rules,
            "properties": {key: value for key, value in facts.items() if key != "version"},
        }
        self._stream.write(b'\n],"tool":' + dumps({"driver": driver}) + b',"invocations":[{"executionSuccessful":')
        # A record that could not be judged is an error of this run, not a finding about the file.
        self._stream.write(b"false" if summary.not_judged else b"true")
        self._stream.write(b',"toolExecutionNotifications":[')
        self._notifications.seek(0)
        shutil.copyfileobj(self._notifications, self._stream)
        self._notifications.close()
        self._stream.write(b"]}]}]}\n")
        self._stream.flush()

    def _notify(self, origin: Origin, message: str) -> None:
        notification = {
            "level": "error",
            "message": {"text": visible(message)},
            "locations": [{"physicalLocation": _physical(origin, None)}],
        }
        self._notifications.write((b",\n" if self._notifications.tell() else b"") + dumps(notification))

    def _result(self, finding: Finding) -> dict[str, object]:
        origin = finding.judged.record.origin
        rule = _slug(finding.category or finding.label.name)
        self._rules.setdefault(rule, finding.category or finding.label.name)
        self._seen[finding.fingerprint] += 1
        verdict = finding.judged.verdict
        result: dict[str, object] = {
            "ruleId": rule,
            "level": "error" if finding.label is Label.unsafe else "warning",
            "message": {"text": finding.message + (f". {origin.trace_command}" if origin.trace_command else "")},
            "locations": [{"physicalLocation": _physical(origin, finding.region)}],
            "partialFingerprints": {"riskline/v1": f"{finding.fingerprint}:{self._seen[finding.fingerprint]}"},
            "properties": {
                "label": finding.label.name,
                "risk": finding.risk,
                "probabilities": {
                    "safe": verdict.safe,
                    "controversial": verdict.controversial,
                    "unsafe": verdict.unsafe,
                },
                "judged": verdict.judged,
                "address": finding.address,
            },
        }
        if flow := _flow(finding.judged):
            result["codeFlows"] = [{"threadFlows": [{"locations": flow}]}]
        return result


def _flow(judged: Judged) -> list[dict[str, object]]:
    """The trajectory's steps, thinned to those where the risk changed most where there are too many."""
    verdict, place = judged.verdict, judged.turn.place
    if place is None:
        return []
    if verdict.trajectory:
        steps = list(zip(verdict.trajectory.offsets, verdict.trajectory.risk, strict=True))
    else:
        points = (verdict.onset, verdict.fired, verdict.peak)
        steps = sorted({(point.span, point.risk) for point in points if point})
    return [
        {
            "location": {
                "physicalLocation": _physical(judged.record.origin, place.region(span)),
                "message": {"text": f"risk {risk:.2f}"},
            }
        }
        for span, risk in _thinned(steps)
        if span[0] < span[1]
    ]


def _thinned(steps: list[tuple[Span, float]]) -> list[tuple[Span, float]]:
    if len(steps) <= _FLOW:
        return steps
    moves = [abs(after[1] - before[1]) for before, after in pairwise(steps)]
    kept = sorted(sorted(range(len(moves)), key=lambda index: -moves[index])[: _FLOW - 1])
    return [steps[0], *(steps[index + 1] for index in kept)]


def _physical(origin: Origin, region: Region | None) -> dict[str, object]:
    found = region or Region(origin.line, 1, origin.line, 1)
    return {
        "artifactLocation": {"uri": _uri(origin.path)},
        "region": {
            "startLine": found.line,
            "startColumn": found.column,
            "endLine": found.end_line,
            "endColumn": found.end_column,
        },
    }


def _uri(path: str) -> str:
    """A relative path as a percent-encoded reference, an absolute one as a file URI; stdin by its name."""
    if path == "-":
        return "stdin"
    # Only the system's own separator parts folders: on Linux a backslash belongs to the name.
    named = Path(path)
    return named.as_uri() if named.is_absolute() else quote(named.as_posix().encode("utf-8", "surrogateescape"))


def _slug(name: str) -> str:
    return re.sub(r"[\W_]+", "-", name.lower()).strip("-") or "finding"


def _rule(slug: str, name: str) -> dict[str, object]:
    text = {"text": f"A text that the guard judges risky, of the kind: {visible(name)}."}
    return {
        "id": slug,
        "name": re.sub(r"[\W_]", "", name.title()) or "Finding",
        "shortDescription": text,
        # GitHub's code scanning shows no rule that lacks these two.
        "fullDescription": text,
        "help": text,
    }
