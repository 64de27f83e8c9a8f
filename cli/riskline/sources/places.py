"""Where characters stand in the physical file: plain text, table cells, and texts joined from parts."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from riskline.records import Region

if TYPE_CHECKING:
    from riskline.records import Place, Span

_DOUBLED = re.compile('""')


def region_in(source: str, start: int, end: int, line: int = 1, column: int = 1) -> Region:
    """Return where `source[start:end]` stands, if `source` itself begins at `line` and `column`.

    Lines end at line feeds only; a carriage return is the last character of its line.
    """
    return Region(*_position(source, start, line, column), *_position(source, end, line, column))


def _position(source: str, index: int, line: int, column: int) -> tuple[int, int]:
    breaks = source.count("\n", 0, index)
    if not breaks:
        return line, column + index
    return line + breaks, index - source.rfind("\n", 0, index)


@dataclass(frozen=True, slots=True)
class TextPlace:
    """A text that stands in the file as it is, from the first column of `line` on."""

    text: str
    line: int = 1

    def region(self, span: Span) -> Region:
        """Return the region of `span`."""
        return region_in(self.text, *span, self.line)


@dataclass(frozen=True, slots=True)
class CellPlace:
    """A table cell: `source` is what stands between its quotes, or the cell itself where it has none."""

    source: str
    line: int
    column: int
    quoted: bool

    def region(self, span: Span) -> Region:
        """Return the region of `span`, a doubled quote counted as the two characters it is."""
        start, end = (self._index(at) for at in span) if self.quoted else span
        return region_in(self.source, start, end, self.line, self.column)

    def _index(self, at: int) -> int:
        for doubled in _DOUBLED.finditer(self.source):
            if at <= doubled.start():
                break
            at += 1
        return at


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a joined text: where it begins in that text, how long it is, and its own place."""

    start: int
    length: int
    place: Place


@dataclass(frozen=True, slots=True)
class JoinedPlace:
    """A text joined from parts by single line feeds, which stand nowhere: they count as the end of their part."""

    parts: tuple[Part, ...]

    def region(self, span: Span) -> Region:
        """Return the region from the part where `span` begins to the part where it ends."""
        start, end = span
        first = self._at(start)
        last = self._at(max(start, end - 1))
        begin = first.place.region((start - first.start,) * 2)
        finish = last.place.region((min(end - last.start, last.length),) * 2)
        return Region(begin.line, begin.column, finish.end_line, finish.end_column)

    def _at(self, index: int) -> Part:
        return next(part for part in reversed(self.parts) if part.start <= index)
