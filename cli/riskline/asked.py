"""What a user asks of a guard whose template takes it: categories of their own, or a guideline."""

from __future__ import annotations

import hashlib
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson

from riskline.errors import ConfigurationError, GuardError
from riskline.manifest import Manifest, Outputs
from riskline.table import Table


@dataclass(frozen=True, slots=True)
class Asked:
    """Categories by their codes, each a name and perhaps a description; and a guideline."""

    categories: Mapping[str, str] = field(default_factory=dict)
    guideline: str | None = None

    @classmethod
    def of(cls, taxonomy: str | None, guideline: str | None) -> Asked | None:
        """Read the flags: a taxonomy that is a file, and a guideline that is a text or, after `@`, a file.

        A guideline's file that ends in .toml is a safety configuration: a name and a text.

        Raises:
            ConfigurationError: a file cannot be read, or says something else than it should.
        """
        own = taxonomy is not None and (taxonomy.endswith(".toml") or os.sep in taxonomy)
        rows = _categories(Path(str(taxonomy))) if own else {}
        if guideline is None:
            return cls(rows) if rows else None
        text = guideline
        if guideline.startswith("@"):
            path = Path(guideline[1:])
            text = _configuration(path) if path.suffix.lower() == ".toml" else _text(path)
        if not text.strip():
            raise ConfigurationError("the guideline is empty; expected what the guard shall judge by")
        return cls(rows, text)

    def of_guard(self, manifest: Manifest) -> Manifest:
        """Return the manifest of a guard that is asked this; its id tells that it is.

        Raises:
            GuardError: its template takes no categories, no guideline, or not these codes.
        """
        made = manifest
        if self.guideline is not None:
            if manifest.template.guideline is None:
                raise GuardError(
                    f"guard `{manifest.name}` takes no guideline", hint=f"riskline guards show {manifest.name}"
                )
            path = manifest.template.guideline.split(".")
            arguments = _put(manifest.template.arguments, path, self.guideline)
            made = replace(made, template=replace(made.template, arguments=arguments))
        if self.categories:
            made = self._with_categories(made)
        facts = orjson.dumps([manifest.digest, dict(self.categories), self.guideline])
        return replace(made, digest=hashlib.sha256(facts).hexdigest())

    def _with_categories(self, manifest: Manifest) -> Manifest:
        known = manifest.template.taxonomy
        if known is None:
            raise GuardError(
                f"guard `{manifest.name}` takes no categories of its user's",
                hint=f"riskline guards show {manifest.name}",
            )
        if not manifest.takes_categories:
            raise GuardError(f"guard `{manifest.name}` answers with the names of its own categories, not with codes")
        if unknown := sorted(self.categories.keys() - known.keys()):
            codes = ", ".join(known)
            raise GuardError(f"guard `{manifest.name}` cannot say the code `{unknown[0]}`; it can say: {codes}")
        names = {code: text.partition("\n")[0].rstrip(". ") for code, text in self.categories.items()}
        roles = {role: _renamed(outputs, names) for role, outputs in manifest.roles.items()}
        return replace(manifest, roles=roles, template=replace(manifest.template, taxonomy=dict(self.categories)))


def _put(table: Mapping[str, Any], path: list[str], text: str) -> dict[str, Any]:
    """A copy of a table with a text at a path; it stands alone in the tables on its way, whose rest is the guard's own.

    Granite Guardian refuses a definition beside the name of a risk that it knows.
    """
    first, *rest = path
    return {**table, first: _put({}, rest, text) if rest else text}


def _renamed(outputs: Outputs, names: Mapping[str, str]) -> Outputs:
    steps = []
    for step in outputs.steps:
        if step.reads == "categories":
            codes = {answer.strip(): answer for answer in step.answers}
            step = replace(step, answers={codes[code]: name for code, name in names.items()})  # noqa: PLW2901
        steps.append(step)
    listed = any(step.reads == "categories" for step in steps)
    return replace(outputs, steps=tuple(steps), categories=tuple(names.values()) if listed else outputs.categories)


def _categories(path: Path) -> dict[str, str]:
    table = _table(path, "taxonomy")
    try:
        rows = table.table("categories").all_texts()
        table.done()
    except GuardError as error:  # the table reader's own
        raise ConfigurationError(error.message) from error
    if len(rows) < 2:
        raise ConfigurationError(f'`{path}` has {len(rows)} categories; expected two or more, such as S1 = "Name"')
    return rows


def _configuration(path: Path) -> str:
    table = _table(path, "safety configuration")
    try:
        if table.has("name"):
            table.text("name")
        text = table.text("text").strip()
        table.done()
    except GuardError as error:  # the table reader's own
        raise ConfigurationError(error.message) from error
    return text


def _table(path: Path, what: str) -> Table:
    try:
        return Table(tomllib.loads(_text(path)), str(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the {what} `{path}` is not TOML: {error}") from error


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read `{path}`: {error}") from error
