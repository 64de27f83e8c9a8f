"""A run's summary in one line."""

from __future__ import annotations

from collections.abc import Mapping

from riskline.escape import visible
from riskline.records import Label, Summary


def summary_line(summary: Summary) -> str:
    """Return what a run did: judged, flagged, not judged, skipped by reason, windowed, from cache."""
    labels = ", ".join(f"{summary.labels[label]} {label.name}" for label in Label)
    parts = [
        f"judged {summary.judged} ({labels})",
        f"flagged {summary.flagged.total()}",
        f"not judged {summary.not_judged}"
        + _reasons(summary.failures | ({"unseen": summary.unseen} if summary.unseen else {})),
        f"skipped {summary.skips.total()}" + _reasons(summary.skips),
        f"windowed {summary.windowed}",
        f"from cache {summary.cached}",
    ]
    if summary.context_truncated:
        parts.insert(5, f"context cut {summary.context_truncated}")
    return ", ".join(parts)


def _reasons(counted: Mapping[str, int]) -> str:
    named = ", ".join(f"{visible(reason)} {count}" for reason, count in sorted(counted.items()))
    return f" ({named})" if named else ""
