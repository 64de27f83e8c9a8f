"""One record by its address: `FILE`, `FILE:LINE` or `FILE#ID`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from riskline.errors import InputError
from riskline.escape import visible
from riskline.records import Failure, Record
from riskline.sources.formats import check_format, fallback, known_format
from riskline.sources.inputs import check_path, named
from riskline.sources.options import MIB
from riskline.sources.stream import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.sources.options import SourceOptions

# Their records are exactly one line each; those of other formats go on to where the next one begins.
_A_LINE_EACH = frozenset({"lines", "jsonl", "parquet"})
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Address:
    """Which record of which file."""

    path: str
    line: int | None = None
    id: str | None = None


def find_record(target: str, options: SourceOptions) -> Record:
    """Return the record at an address; at a line also one that only goes on there.

    InputError says what is there instead, a record that cannot be judged included.
    """
    options.check()
    check_format(options)
    address = parse_address(target)
    check_path(address.path, options)
    if Path(address.path).is_dir():
        raise InputError(f"`{visible(address.path)}` is a folder; expected a file")
    if address.line is not None:
        found = _by_line(address.path, address.line, options)
    elif address.id is not None:
        found = _by_id(address.path, address.id, options)
    else:
        found = _only(address.path, options)
    if isinstance(found, Failure):
        raise InputError(f"{found.origin.address}: {found.message}")
    return found


def parse_address(target: str) -> Address:
    """Split an address; what exists under the whole name is a file, whatever colons and hashes it has."""
    if _exists(target):
        return Address(target)
    path, colon, line = target.rpartition(":")
    if colon and line.isascii() and line.isdecimal() and (_exists(path) or "#" not in path):
        return Address(path, line=int(line))
    for at in (index for index, character in enumerate(target) if character == "#"):
        if _exists(target[:at]):
            return Address(target[:at], id=target[at + 1 :])
    return Address(target)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):
        return False


def _outcomes(path: str, options: SourceOptions) -> Iterator[Record | Failure]:
    return (item for item in named(path, options) if isinstance(item, (Record, Failure)))


def _by_line(path: str, line: int, options: SourceOptions) -> Record | Failure:
    exact = (known_format(path, options) or fallback(options)) in _A_LINE_EACH
    before: Record | Failure | None = None
    for item in _outcomes(path, options):
        if item.origin.line == line:
            return item
        if item.origin.line > line:
            if before is None or exact:
                raise _nothing(path, f"at line {line}", f"the next record begins at line {item.origin.line}")
            return before
        before = item
    if before is not None and not exact and line <= _line_count(path):
        return before
    last = f"the last record begins at line {before.origin.line}" if before else "it has no records"
    raise _nothing(path, f"at line {line}", last)


def _line_count(path: str) -> int:
    lines, last = 0, b"\n"
    with opened(path) as stream:
        while piece := stream.read(MIB):
            lines += piece.count(b"\n")
            last = piece[-1:]
    return max(1, lines + (last != b"\n"))


def _by_id(path: str, name: str, options: SourceOptions) -> Record | Failure:
    ids: list[str] = []
    for item in _outcomes(path, options):
        if item.origin.id == name:
            return item
        if item.origin.id is not None and len(ids) <= _SHOWN:
            ids.append(f"`{visible(item.origin.id)[:40]}`")
    shown = ", ".join(ids[:_SHOWN]) + (", …" if len(ids) > _SHOWN else "")
    raise _nothing(path, f"with the id `{visible(name)[:40]}`", f"found {shown}" if ids else "its records have no ids")


def _only(path: str, options: SourceOptions) -> Record | Failure:
    outcomes = _outcomes(path, options)
    first = next(outcomes, None)
    if first is None:
        raise InputError(f"`{visible(path)}` has no records")
    if next(outcomes, None) is not None:
        raise InputError(
            f"`{visible(path)}` has more than one record; expected the address of one",
            hint=first.origin.trace_command,
        )
    return first


def _nothing(path: str, which: str, found: str) -> InputError:
    return InputError(f"`{visible(path)}` has no record {which}; {found}")
