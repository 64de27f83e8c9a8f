"""The CSV and TSV formats: a header, then a record a row (RFC 4180), cells with their places.

Strict where leniency would judge half a text: a row whose cells do not match the header, or text after a closing
quote, is a failure. A quote inside a cell that does not begin with one is an ordinary character.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import orjson

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Place, Record
from riskline.sources.places import CellPlace
from riskline.sources.recognise import id_of, record_of
from riskline.sources.stream import Input, decoded, too_large, without_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from riskline.sources.recognise import Path


MAX_COLUMNS = 10_000
"""A row of the size limit may be all delimiters; its cells would take a hundred times its memory."""


class Cell(NamedTuple):
    """A cell: its text, and its source between the quotes with the line and column where that begins."""

    text: str
    source: str
    line: int
    column: int
    quoted: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in the file, from `line` on; `source` is None where it is over the size limit."""

    line: int
    source: bytes | None
    closed: bool = True


def read_table(source: Input, *, delimiter: str) -> Iterator[Record | Failure]:
    """Yield a record a row; the first row names the columns, rows without any character are passed over."""
    header: list[str] | None = None
    for row in _rows(source, delimiter.encode()):
        try:
            cells = _cells(row, source, delimiter)
            if header is None:
                header = [cell.text for cell in cells]
            else:
                yield _record(source, header, cells, row.line)
        except RecordError as error:
            yield source.failure(error, row.line, by="line")
            if header is None:
                return


def _record(source: Input, header: list[str], cells: list[Cell], line: int) -> Record | Failure:
    if len(cells) != len(header):
        found, expected = _counted(len(cells)), _counted(len(header))
        raise RecordError("invalid-csv", f"the row has {found}; expected {expected}, as in the header")
    # Of columns with the same name the last one counts, for the text and its place alike.
    row = dict(zip(header, cells, strict=True))
    value = {name: cell.text for name, cell in row.items()}
    origin = Origin(source.path, line, id_of(value))
    return record_of(value, orjson.dumps(value), origin, source.options, partial(_place, row))


def _place(row: Mapping[str, Cell], path: Path) -> Place:
    cell = row[str(path[0])]
    return CellPlace(cell.source, cell.line, cell.column, cell.quoted)


def _counted(cells: int) -> str:
    return "1 cell" if cells == 1 else f"{cells} cells"


def _rows(source: Input, delimiter: bytes) -> Iterator[Row]:
    """Join physical lines into rows: a row goes on while a quoted cell is open, but is never held over the limit."""
    limit = source.options.max_record_bytes
    held = bytearray()
    begin, is_open, over = 1, False, False
    for number, line in source.lines():
        if not is_open:
            begin, over, held = number, False, bytearray()
        over = over or line is None or len(held) + len(without_end(line)) > limit
        if line is None:
            # What a line over the limit would open or close is not known: the next line begins a row.
            is_open = False
        else:
            is_open = _opens(line, delimiter, is_open=is_open)
            held += line
        if over:
            held.clear()
        if not is_open and (over or held.strip(b"\r\n")):
            yield Row(begin, None if over else bytes(held))
    if is_open:
        yield Row(begin, None if over else bytes(held), closed=False)


def _opens(line: bytes, delimiter: bytes, *, is_open: bool) -> bool:
    """Say whether a quoted cell is open at the end of `line`, given whether one is at its start."""
    if b'"' not in line:
        return is_open
    at = 0
    while True:
        if is_open:
            at = _closing(line, at)
            if at < 0:
                return True
        elif line[at : at + 1] == b'"':
            is_open = True
            at += 1
            continue
        is_open = False
        at = line.find(delimiter, at) + 1
        if not at:
            return False


def _closing(line: bytes, at: int) -> int:
    """Return the index after the quote that closes a cell, or -1 where it stays open."""
    while (at := line.find(b'"', at)) >= 0:
        if line[at + 1 : at + 2] != b'"':
            return at + 1
        at += 2
    return -1


def _cells(row: Row, source: Input, delimiter: str) -> list[Cell]:
    if row.source is None:
        raise too_large(source.options)
    if not row.closed:
        raise RecordError("invalid-csv", 'a quoted cell is never closed; expected `"` before the end of the file')
    text = decoded(without_end(row.source))
    cells: list[Cell] = []
    at, line, start = 0, row.line, 0  # `start`: where the physical line began
    while True:
        quoted = text[at : at + 1] == '"'
        begin = at + quoted
        end = _cell_end(text, begin, delimiter, quoted=quoted)
        inner = text[begin:end]
        cells.append(Cell(inner.replace('""', '"') if quoted else inner, inner, line, begin - start + 1, quoted))
        if quoted and "\n" in inner:
            line += inner.count("\n")
            start = text.rfind("\n", begin, end) + 1
        at = end + quoted
        if at == len(text):
            return cells
        if len(cells) == MAX_COLUMNS:
            raise RecordError("invalid-csv", f"the row has more than {MAX_COLUMNS:,} cells; expected fewer")
        if text[at] != delimiter:
            raise RecordError("invalid-csv", f"cell {len(cells)} goes on after its closing quote; expected a delimiter")
        at += 1


def _cell_end(text: str, at: int, delimiter: str, *, quoted: bool) -> int:
    if not quoted:
        end = text.find(delimiter, at)
        return len(text) if end < 0 else end
    while text[(at := text.index('"', at)) + 1 : at + 2] == '"':
        at += 2
    return at
