"""What the sinks share: JSON and log lines on which nothing acts, and a finding or failure as a dictionary."""

from __future__ import annotations

from collections.abc import Iterator

import orjson

from riskline.escape import COMMAND, visible
from riskline.finding import Finding, Redaction, find
from riskline.records import Failure, Outcome, Summary
from riskline.sinks import SinkOptions

_PARTS = frozenset({"image", "audio", "file"})


def dumps(value: object) -> bytes:
    """Return JSON in which acting characters and log commands stand as escapes: it parses to what `value` is."""
    text = orjson.dumps(value).decode()
    if visible(text) != text:
        text = text.translate({ord(mark): _escaped(mark) for mark in set(text) if visible(mark) != mark})
    return COMMAND.sub(r"\1\\u0023", text).encode()


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


def unseen_parts(parts: tuple[str, ...], redaction: Redaction | None) -> list[str]:
    """Return what no text guard sees of a record; redacted, a name that the record made up is `other`."""
    named = (part if part in _PARTS or redaction is None else "other" for part in parts)
    return list(dict.fromkeys(map(visible, named)))


def entries(outcome: Outcome, options: SinkOptions) -> Iterator[dict[str, object]]:
    """Yield what check reports of an outcome: a finding, a failure, both of what was seen in part, or nothing."""
    if isinstance(outcome, Failure):
        yield _failure(outcome.origin.address, outcome.code, None if options.redaction else outcome.message)
        return
    if finding := find(outcome, options.redaction):
        yield _finding(finding, options)
    if outcome.verdict.unseen:
        parts = ", ".join(unseen_parts(outcome.verdict.unseen, options.redaction))
        yield _failure(outcome.record.origin.address, "unseen", f"parts that no text guard sees: {parts}")


def _failure(address: str, code: str, message: str | None) -> dict[str, object]:
    entry: dict[str, object] = {"kind": "failure", "address": address, "code": code}
    return entry if message is None else entry | {"message": visible(message)}


def _finding(finding: Finding, options: SinkOptions) -> dict[str, object]:
    region, verdict, origin = finding.region, finding.judged.verdict, finding.judged.record.origin
    out: dict[str, object] = {
        "kind": "finding",
        "address": finding.address,
        "path": visible(origin.path),
        "line": region.line if region else origin.line,
        "column": region.column if region else 1,
        "end_line": region.end_line if region else origin.line,
        "end_column": region.end_column if region else 1,
        "label": finding.label.name,
        "risk": finding.risk,
        "category": finding.category,
        "judged": verdict.judged,
        "span": finding.span,
        "message": finding.message,
        "fingerprint": finding.fingerprint,
        "guard": verdict.guard,
        "policy": verdict.policy,
        "trace": origin.trace_command,
    }
    if verdict.turns:
        out["turn"] = verdict.turn
    if finding.excerpt is not None:
        out["excerpt"] = finding.excerpt
    if verdict.unseen:
        out["unseen"] = unseen_parts(verdict.unseen, options.redaction)
    return out


def counts(summary: Summary) -> dict[str, object]:
    """Return the summary as a JSON-ready dictionary."""
    return {
        "judged": summary.judged,
        "labels": {label.name: count for label, count in sorted(summary.labels.items())},
        "flagged": {label.name: count for label, count in sorted(summary.flagged.items())},
        "not_judged": summary.not_judged,
        "failures": dict(sorted(summary.failures.items())),
        "unseen": summary.unseen,
        "skipped": dict(sorted(summary.skips.items())),
        "windowed": summary.windowed,
        "context_truncated": summary.context_truncated,
        "empty": summary.empty,
        "cached": summary.cached,
    }
