"""Guards as tables."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from riskline.escape import visible
from riskline.manifest import Manifest


def _console() -> Console:
    return Console(file=sys.stdout, no_color="NO_COLOR" in os.environ, highlight=False, markup=False, emoji=False)


def print_guards(manifests: Sequence[Manifest]) -> None:
    """Print a row for each guard."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("guard", "status", "roles", "trajectory", "precisions", "licence", "size"):
        table.add_column(heading, overflow="fold", no_wrap=heading in ("guard", "size"))
    for manifest in manifests:
        trajectories = [role for role, outputs in manifest.roles.items() if outputs.trajectory]
        table.add_row(
            visible(manifest.name),
            manifest.status,
            ", ".join(manifest.roles),
            ", ".join(trajectories) or "none",
            ", ".join(map(visible, manifest.precisions)) or "none here",
            visible(manifest.licence),
            _megabytes(manifest) if manifest.complete else "–",
        )
    _console().print(table)


def print_guard(manifest: Manifest) -> None:
    """Print everything that a manifest says, for people."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in _rows(manifest):
        table.add_row(key, visible(value))
    _console().print(table)


def _rows(manifest: Manifest) -> list[tuple[str, str]]:
    rows = [
        ("guard", f"{manifest.id}  {manifest.title}"),
        ("status", manifest.status + (f": {manifest.missing}" if manifest.missing else "")),
        ("licence", manifest.licence),
        ("languages", ", ".join(manifest.languages)),
        ("head", manifest.head),
        ("window", f"{manifest.window} tokens, {manifest.overlap} overlapping"),
        ("rule", str(manifest.rule)),
        ("thresholds", f"unsafe {manifest.thresholds.unsafe}, controversial {manifest.thresholds.controversial}"),
        ("precisions", ", ".join(manifest.precisions)),
    ]
    for role, outputs in manifest.roles.items():
        rows.append((role, f"labels in logit order: {', '.join(label.name for label in outputs.labels)}"))
        rows.append(("", f"categories ({outputs.category_scores}): {', '.join(outputs.categories) or 'none'}"))
        kind = "by probing" if manifest.head == "decision" else "trained"
        rows.append(("", f"trajectory: {kind if outputs.trajectory else 'none'}"))
    rows += [("origin", f"{key}: {value}") for key, value in manifest.origin.items()]
    rows += [("file", f"{name}  {facts.size:,} bytes  sha256 {facts.sha256}") for name, facts in manifest.files.items()]
    return [*rows, ("folder", str(manifest.folder))]


def _megabytes(manifest: Manifest) -> str:
    return f"{sum(facts.size for facts in manifest.files.values()) / 1e6:.1f} MB"
