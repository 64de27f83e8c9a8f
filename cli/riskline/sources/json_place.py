"""Where the characters of a JSON string stand: a scanner that walks raw JSON by path, escapes as they are written.

It runs on JSON that has been parsed before, so it trusts the grammar and never recurses, however deep the value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import orjson

from riskline.sources.places import region_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.records import Region, Span
    from riskline.sources.recognise import Path

_SPACE = re.compile(r"[ \t\r\n]*+")
_SCALAR = re.compile(r"[^\s,\]}\[{\":]++")
_QUOTE_OR_ESCAPE = re.compile(r'"|\\.', re.DOTALL)
_MARK = re.compile(r'["\[\]{}]')
# A surrogate pair is one code point, so it is tried before the single escape.
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|\\u....|\\.")


class TruncatedError(ValueError):
    """The JSON text ends, or breaks off, at this index."""

    def __init__(self, at: int) -> None:
        super().__init__(at)
        self.at = at


@dataclass(frozen=True, slots=True)
class JsonPlace:
    """The string at `path` inside the JSON text `raw`, which itself begins at `line` and `column`."""

    raw: bytes
    line: int
    column: int
    path: Path

    def region(self, span: Span) -> Region:
        """Return the region of `span`; the quotes around the string are not part of it."""
        source = self.raw.decode("utf-8")
        begin = _find(source, self.path) + 1
        start, end = (_index(source, begin, at) for at in span)
        return region_in(source, start, end, self.line, self.column)


def skip_space(source: str, at: int) -> int:
    """Return the index of the first character from `at` on that is not JSON white space."""
    match = _SPACE.match(source, at)
    return match.end() if match else at


def value_end(source: str, at: int) -> int:
    """Return the index after the value that begins at `at`; raise TruncatedError where none ends."""
    first = source[at : at + 1]
    if first == '"':
        return _string_end(source, at)
    if first not in ("{", "["):
        match = _SCALAR.match(source, at)
        if not match:
            raise TruncatedError(at)
        return match.end()
    depth = 0
    while mark := _MARK.search(source, at):
        at = mark.end()
        if mark[0] == '"':
            at = _string_end(source, mark.start())
            continue
        depth += 1 if mark[0] in "{[" else -1
        if depth == 0:
            return at
    raise TruncatedError(len(source))


def elements(source: str, at: int) -> Iterator[tuple[int, int]]:
    """Yield start and end of each element of the array that begins at `at`, and last the end of the array, twice."""
    at = skip_space(source, at + 1)
    if source[at : at + 1] != "]":
        while True:
            end = value_end(source, at)
            yield at, end
            at = skip_space(source, end)
            if source[at : at + 1] != ",":
                break
            at = skip_space(source, at + 1)
    if source[at : at + 1] != "]":
        raise TruncatedError(at)
    yield at + 1, at + 1


def _string_end(source: str, at: int) -> int:
    for mark in _QUOTE_OR_ESCAPE.finditer(source, at + 1):
        if mark[0] == '"':
            return mark.end()
    raise TruncatedError(len(source))


def _find(source: str, path: Path) -> int:
    at = skip_space(source, 0)
    for step in path:
        at = _element(source, at, step) if isinstance(step, int) else _member(source, at, step)
    return at


def _element(source: str, at: int, index: int) -> int:
    return next(start for position, (start, _) in enumerate(elements(source, at)) if position == index)


def _member(source: str, at: int, name: str) -> int:
    found = -1
    while source[at] != "}":
        key = skip_space(source, at + 1)
        end = _string_end(source, key)
        value = skip_space(source, skip_space(source, end) + 1)
        if orjson.loads(source[key:end]) == name:
            found = value  # and on: of duplicate keys the last one counts
        at = skip_space(source, value_end(source, value))
    assert found >= 0, "a path leads through keys that are there"
    return found


def _index(source: str, begin: int, at: int) -> int:
    """Return where character `at` of the decoded string stands, if its literal's first character is at `begin`."""
    plain = begin
    for escape in _ESCAPE.finditer(source, begin):
        run = escape.start() - plain
        if at <= run:
            break
        at -= run + 1
        plain = escape.end()
    return plain + at
