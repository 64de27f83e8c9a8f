"""Categories in other words: taxonomies, what each category covers, and how they map to each other."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from riskline.errors import UsageError


@dataclass(frozen=True, slots=True)
class Category:
    """A category of a taxonomy; `hub` is its counterpart of the nine, `lossy` where the two do not cover the same.

    `hazard` is the code of the MLCommons hazard that it is, or comes nearest to.
    """

    taxonomy: str
    name: str
    about: str
    code: str | None = None
    hub: str | None = None
    lossy: bool = False
    hazard: str | None = None

    @property
    def written(self) -> str:
        """Its code and name, as it is written in output."""
        return f"{self.code}: {self.name}" if self.code else self.name


@cache
def taxonomies() -> Mapping[str, tuple[str, tuple[Category, ...]]]:
    """Return every taxonomy's title and categories, by its name."""
    document = tomllib.loads(files("riskline").joinpath("taxonomies.toml").read_text(encoding="utf-8"))
    return {
        name: (
            table["title"],
            tuple(
                Category(
                    name,
                    row["name"],
                    row["about"],
                    row.get("code"),
                    row.get("is"),
                    row.get("lossy", False),
                    row.get("hazard"),
                )
                for row in table["categories"]
            ),
        )
        for name, table in document.items()
    }


def categories(taxonomy: str) -> tuple[Category, ...]:
    """Return the categories of a taxonomy.

    Raises:
        UsageError: there is no such taxonomy.
    """
    if taxonomy not in taxonomies():
        close = difflib.get_close_matches(taxonomy, taxonomies(), n=1)
        hint = f"did you mean `{close[0]}`?" if close else f"one of: {', '.join(taxonomies())}"
        raise UsageError(f"no taxonomy is named `{taxonomy}`", hint=hint)
    return taxonomies()[taxonomy][1]


def find_category(word: str) -> Iterator[Category]:
    """Yield the categories of every taxonomy that have this name or code, upper and lower case alike."""
    wanted = word.casefold()
    for _, rows in taxonomies().values():
        for row in rows:
            if wanted in (row.name.casefold(), (row.code or "").casefold(), row.written.casefold()):
                yield row


def own_taxonomy(names: Iterable[str]) -> str | None:
    """Return the taxonomy that all of a guard's categories are of, the one with the fewest others where several are."""
    wanted = set(names)
    fits = [
        (len(rows), name)
        for name, (_, rows) in taxonomies().items()
        if wanted and wanted <= {category.name for category in rows}
    ]
    return min(fits)[1] if fits else None


def renaming(names: Iterable[str], taxonomy: str) -> dict[str, str | None]:
    """Return for each of a guard's categories what it is in another taxonomy, None where nothing there is like it.

    Raises:
        UsageError: there is no such taxonomy, or the guard's own categories are of none that is known.
    """
    categories(taxonomy)
    names = list(names)
    if not names:
        raise UsageError("the guard names no categories, so there is nothing to rename")
    own = own_taxonomy(names)
    if own is None:
        raise UsageError("the guard's categories are of no known taxonomy, so they cannot be renamed")
    known = {category.name: category for category in categories(own)}
    if own == taxonomy:
        return {name: known[name].written for name in names}
    found = {name: counterpart(known[name], taxonomy) for name in names}
    return {name: row.written if row else None for name, row in found.items()}


def counterpart(category: Category, taxonomy: str) -> Category | None:
    """Return what a category is in another taxonomy, None where nothing there is like it.

    The same name or hazard first; else through the nine, where one that covers the same goes before one that does not.
    """
    target = categories(taxonomy)
    name = category.name.casefold()
    same = [row for row in target if row.name.casefold() == name] or [
        row for row in target if row.hazard and row.hazard == category.hazard
    ]
    alike = sorted((row for row in target if category.hub and row.hub == category.hub), key=lambda row: row.lossy)
    return next(iter([*same, *alike]), None)


def loses(category: Category, other: Category) -> bool:
    """Return whether what two categories cover is not the same; those that share a name are taken to."""
    return (category.lossy or other.lossy) and category.name.casefold() != other.name.casefold()
