"""Bytes of one input: opened, decompressed, and read in bounded pieces."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, cast

from riskline.errors import RecordError
from riskline.records import Failure, Origin
from riskline.sources.options import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.sources.options import SourceOptions

BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Input:
    """One open input: `path` as it is shown, its decompressed bytes, and the options of the run."""

    path: str
    stream: BinaryIO
    options: SourceOptions

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Yield each physical line's 1-based number and its bytes with their line end; None for one over the limit.

        A line ends at a line feed only. A byte-order mark is dropped. No more than the limit is ever held.
        """
        limit = self.options.max_record_bytes
        readline = self.stream.readline
        room = limit + len(b"\r\n")
        line = readline(room + len(BOM)).removeprefix(BOM)
        number = 1
        while line:
            if len(line) >= limit and not _fits(line, limit):
                _drain(line, self.stream)
                yield number, None
            else:
                yield number, line
            number += 1
            line = readline(room)

    def whole(self, limit: int) -> bytes | None:
        """Return everything without a byte-order mark, or None where that is more than `limit` bytes."""
        pieces: list[bytes] = []
        room = limit + len(BOM) + 1
        # In pieces, because read(n) on a buffered stream sets n bytes aside at once, for the smallest file too.
        while room > 0 and (piece := self.stream.read(min(room, MIB))):
            pieces.append(piece)
            room -= len(piece)
        data = b"".join(pieces).removeprefix(BOM)
        return data if len(data) <= limit else None

    def failure(self, error: RecordError, line: int = 1, *, by: Literal["line", "file"] = "file") -> Failure:
        """Return `error` as the failure of the record that begins on `line`."""
        return Failure(error.code, error.message, Origin(self.path, line, by=by))

    def too_large(self, line: int = 1, *, by: Literal["line", "file"] = "file") -> Failure:
        """Return the failure of a record over the size limit."""
        return self.failure(too_large(self.options), line, by=by)


def too_large(options: SourceOptions) -> RecordError:
    """Return the error of a record over the size limit."""
    return RecordError("too-large", f"the record is over {options.size_limit}, the limit of `--max-record-bytes`")


def without_end(line: bytes) -> bytes:
    """Return a line without its line feed, and without the one carriage return before that."""
    return line[:-1].removesuffix(b"\r") if line.endswith(b"\n") else line


def decoded(data: bytes) -> str:
    """Return the text of UTF-8 bytes; raise RecordError naming the byte that is not UTF-8 and where it stands."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        if data.startswith((b"\xff\xfe", b"\xfe\xff")):
            message = "the text begins like UTF-16; expected UTF-8 (convert it with `iconv -f utf-16 -t utf-8`)"
            raise RecordError("invalid-utf8", message) from error
        before = data[: error.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8")) + 1
        line = before.count(b"\n") + 1
        where = f"column {column}" if line == 1 else f"line {line}, column {column}"
        raise RecordError("invalid-utf8", f"byte 0x{data[error.start]:02x} at {where}; expected UTF-8") from error


def opened(path: str) -> BinaryIO:
    """Open a file for reading, through gzip where its name ends in `.gz`."""
    if path.lower().endswith(".gz"):
        import gzip

        return cast("BinaryIO", gzip.open(path, "rb"))
    return open(path, "rb")  # noqa: PTH123 - a path as named, closed by who asked


def rewound(head: bytes, rest: BinaryIO) -> BinaryIO:
    """Return a stream of `head` and then `rest`, which hands on what has arrived and never waits for more."""
    return cast("BinaryIO", io.BufferedReader(_Rewound(head, rest), 64 * 1024))


class _Rewound(io.RawIOBase):
    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head = io.BytesIO(head)
        # read1 returns after one system call; read would wait until its buffer is full.
        self._more = getattr(rest, "read1", rest.read)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]  # typeshed's Buffer is narrower in use
        piece = self._head.read(len(buffer)) or self._more(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)


def _fits(line: bytes, limit: int) -> bool:
    return len(without_end(line)) <= limit


def _drain(line: bytes, stream: BinaryIO) -> None:
    while line and not line.endswith(b"\n"):
        line = stream.readline(MIB)
