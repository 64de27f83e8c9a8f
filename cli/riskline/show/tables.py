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
    for heading in ("guard", "status", "head", "judges", "weights"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "weights")
    for manifest in manifests:
        roles = list(manifest.roles)
        here = f"{', '.join(map(visible, manifest.precisions))}, {_megabytes(manifest)}"
        table.add_row(
            visible(manifest.name),
            manifest.status,
            manifest.head,
            "both" if len(roles) == 2 else roles[0],
            here if manifest.complete else "not here",
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
        ("status", manifest.status + (f"; missing: {manifest.missing}" if manifest.missing else "")),
        ("licence", manifest.licence),
        ("languages", ", ".join(manifest.languages)),
        ("head", manifest.head),
        ("window", f"{manifest.window} tokens, {manifest.overlap} overlapping"),
        ("rule", str(manifest.rule)),
        ("thresholds", f"unsafe {manifest.thresholds.unsafe}, controversial {manifest.thresholds.controversial}"),
        *([("precisions", ", ".join(manifest.precisions))] if manifest.precisions else []),
    ]
    for role, outputs in manifest.roles.items():
        rows.append((role, f"labels in logit order: {', '.join(label.name for label in outputs.labels)}"))
        rows.append(("", f"categories ({outputs.category_scores}): {', '.join(outputs.categories) or 'none'}"))
        kind = "by probing" if manifest.ended(role) else "trained"
        rows.append(("", f"trajectory: {kind if outputs.trajectory else 'none'}"))
        if own := outputs.thresholds:
            rows.append(("", f"thresholds: unsafe {own.unsafe}, controversial {own.controversial}"))
    takes = [("--taxonomy FILE", manifest.takes_categories), ("--guideline", manifest.template.guideline)]
    rows.append(("takes", ", ".join(flag for flag, there in takes if there) or "neither categories nor a guideline"))
    rows += [("origin", f"{key}: {value}") for key, value in manifest.origin.items()]
    rows += [("file", f"{name}  {facts.size:,} bytes  sha256 {facts.sha256}") for name, facts in manifest.files.items()]
    return [*rows, ("folder", str(manifest.folder))]


def _megabytes(manifest: Manifest) -> str:
    return f"{sum(facts.size for facts in manifest.files.values()) / 1e6:.1f} MB"
