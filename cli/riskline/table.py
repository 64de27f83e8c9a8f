"""TOML read key by key; errors name the key, what was found and what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from riskline.errors import GuardError


class Table:
    """A TOML table read key by key; `done` refuses keys that nobody asked for."""

    def __init__(self, table: Mapping[str, Any], where: str) -> None:
        self._table, self._where, self._seen, self._known = table, where, set[str](), set[str]()

    def has(self, key: str) -> bool:
        """Whether the table has `key`, which is one that may be there."""
        self._known.add(key)
        return key in self._table

    def text(self, key: str) -> str:
        """Return the text under `key`."""
        return cast("str", self._get(key, str, "text"))

    def integer(self, key: str, *, least: int | None = None) -> int:
        """Return the whole number under `key`, at least `least`."""
        value = cast("int", self._get(key, int, "a whole number"))
        if least is not None and value < least:
            raise self.wrong(key, value, f"a whole number of at least {least}")
        return value

    def fraction(self, key: str) -> float:
        """Return the number between 0 and 1 under `key`."""
        value = float(self._get(key, (int, float), "a number between 0 and 1"))
        if not 0 <= value <= 1:
            raise self.wrong(key, value, "a number between 0 and 1")
        return value

    def boolean(self, key: str) -> bool:
        """Return the truth value under `key`."""
        return cast("bool", self._get(key, bool, "true or false"))

    def texts(self, key: str) -> tuple[str, ...]:
        """Return the list of texts under `key`."""
        values = self._get(key, list, "a list of texts")
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, values, "a list of texts")
        return tuple(values)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return the text under `key`, one of `choices`."""
        value = self.text(key)
        if value not in choices:
            raise self.wrong(key, value, " or ".join(choices))
        return value

    def matching(self, key: str, pattern: re.Pattern[str], expected: str) -> str:
        """Return the text under `key`, which `pattern` matches whole."""
        value = self.text(key)
        if not pattern.fullmatch(value):
            raise self.wrong(key, value, expected)
        return value

    def integers(self, key: str) -> tuple[int, ...]:
        """Return the list of whole numbers under `key`."""
        values = self._get(key, list, "a list of whole numbers")
        if not all(type(value) is int for value in values):
            raise self.wrong(key, values, "a list of whole numbers")
        return tuple(values)

    def optional(self, key: str) -> Table:
        """Return the table under `key`, an empty one where there is none."""
        return self.table(key) if self.has(key) else Table({}, f"{self._where}: {key}")

    def list_of_tables(self, key: str) -> list[Table]:
        """Return the tables under `key`."""
        values = self._get(key, list, "a list of tables")
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, values, "a list of tables")
        return [Table(value, f"{self._where}: {key}") for value in values]

    def values(self) -> dict[str, Any]:
        """Return every key and its value, as TOML gave it."""
        self._seen |= self._table.keys()
        return dict(self._table)

    def table(self, key: str) -> Table:
        """Return the table under `key`."""
        return Table(self._get(key, dict, "a table"), f"{self._where}: {key}")

    def tables(self) -> list[tuple[str, Table]]:
        """Return every key and its table, in order."""
        return [(key, self.table(key)) for key in self._table]

    def all_texts(self) -> dict[str, str]:
        """Return every key and its text."""
        return {key: self.text(key) for key in self._table}

    def done(self) -> None:
        """Refuse keys that nobody asked for."""
        if unknown := sorted(self._table.keys() - self._seen):
            known = ", ".join(sorted(self._seen | self._known))
            raise GuardError(f"{self._where}: unknown key `{unknown[0]}`; known here: {known}")

    def wrong(self, key: str, found: object, expected: str) -> GuardError:
        """Return the error for a value that is not what was expected."""
        return GuardError(f"{self._where}: `{key}` is {found!r}; expected {expected}")

    def _get(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:  # noqa: ANN401 - TOML's own type
        self._seen.add(key)
        if key not in self._table:
            raise GuardError(f"{self._where}: `{key}` is missing; expected {expected}")
        value = self._table[key]
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise self.wrong(key, value, expected)
        return value
