"""`riskline explain`: what a category covers, and what other taxonomies call it."""

from __future__ import annotations

import difflib
import sys
from typing import Annotated

import typer

from riskline.commands import Ending
from riskline.errors import UsageError
from riskline.taxonomy import Category, counterpart, find_category, loses, taxonomies


def explain(
    category: Annotated[
        str | None, typer.Argument(metavar="[CATEGORY]", help="A name or a code, of any taxonomy; without it, all.")
    ] = None,
) -> Ending:
    """Say what a category covers and how it maps to other taxonomies; a map that loses something says so."""
    if category is None:
        for name, (title, rows) in taxonomies().items():
            sys.stdout.write(f"{name}: {title}\n" + "".join(f"  {row.written}: {row.about}\n" for row in rows))
        return Ending()
    found = list(find_category(category))
    if not found:
        names = {row.name for _, rows in taxonomies().values() for row in rows}
        close = difflib.get_close_matches(category, names, n=1)
        raise UsageError(
            f"no taxonomy has a category `{category}`",
            hint=f"did you mean `{close[0]}`?" if close else "riskline explain",
        )
    sys.stdout.write("\n".join(_explained(row) for row in found))
    return Ending()


def _explained(row: Category) -> str:
    title = taxonomies()[row.taxonomy][0]
    lines = [f"{row.written} ({title})", f"  {row.about}"]
    for other in taxonomies():
        if other != row.taxonomy:
            there = counterpart(row, other)
            lines.append(
                f"  {other}: {there.written if there else 'nothing like it'}"
                f"{' (lossy)' if there and loses(row, there) else ''}"
            )
    return "\n".join(lines) + "\n"
