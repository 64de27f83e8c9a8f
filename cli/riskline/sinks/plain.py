"""A finding or failure as a JSON-ready dictionary: what check's json and jsonl share."""

from __future__ import annotations

from riskline.escape import visible
from riskline.finding import Finding, find
from riskline.records import Failure, Outcome, Summary
from riskline.sinks import SinkOptions


def entry(outcome: Outcome, options: SinkOptions) -> dict[str, object] | None:
    """Return what check reports of an outcome, or None for a safe record that was judged whole."""
    if isinstance(outcome, Failure):
        return failure_entry(outcome.origin.address, outcome.code, None if options.redaction else outcome.message)
    if finding := find(outcome, options.redaction):
        return _finding(finding)
    if outcome.verdict.unseen:
        parts = ", ".join(outcome.verdict.unseen)
        return failure_entry(
            outcome.record.origin.address, "unseen", f"parts that no text guard sees: {visible(parts)}"
        )
    return None


def failure_entry(address: str, code: str, message: str | None) -> dict[str, object]:
    """Return a record that could not be judged, or only in part."""
    entry: dict[str, object] = {"kind": "failure", "address": address, "code": code}
    return entry if message is None else entry | {"message": visible(message)}


def _finding(finding: Finding) -> dict[str, object]:
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
    if finding.excerpt is not None:
        out["excerpt"] = finding.excerpt
    if verdict.unseen:
        out["unseen"] = [visible(part) for part in verdict.unseen]
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
