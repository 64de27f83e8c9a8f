"""What stdin is, told from its first line where that is enough."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, BinaryIO

import orjson

from riskline.errors import InputError
from riskline.sources.formats import fallback
from riskline.sources.jsonl import is_json
from riskline.sources.options import DOCUMENT_BYTES, MIB
from riskline.sources.stream import BOM, rewound

if TYPE_CHECKING:
    from riskline.sources.options import SourceOptions

# `{` at the end of a line may begin an object that is written over many lines; `{name}` begins a text.
_MAYBE_JSON = re.compile(rb"\s*(\[|\{\s*(\"|\}|$))")
_LIKE_JSON = re.compile(rb"\s*(\[|\{\s*\")")


def sniffed(stream: BinaryIO, options: SourceOptions) -> tuple[str, BinaryIO]:
    """Return the format of `stream`, and a stream that begins again at its first byte.

    Only a JSON value over several lines makes this read on, 64 MiB at most: a first line that is an object, or that
    begins no JSON, is enough. A lone number or string is a text, since only objects and arrays hold records.
    """
    head = _first_line(stream)
    first = head.removeprefix(BOM)
    if _is_object(first):
        return "jsonl", rewound(head, stream)
    if not _MAYBE_JSON.match(first):
        return fallback(options), rewound(head, stream)
    head += _more(stream, DOCUMENT_BYTES + 1 - len(head))
    data = head.removeprefix(BOM)
    if len(head) <= DOCUMENT_BYTES and _is_json(data):
        return "json", rewound(head, stream)
    if not _LIKE_JSON.match(data):
        return fallback(options), rewound(head, stream)
    found = "is not" if len(head) <= DOCUMENT_BYTES else f"is longer than {DOCUMENT_BYTES // MIB} MiB or not"
    raise InputError(
        f"stdin begins like JSON but {found} one JSON value, nor is its first line a JSON object",
        hint="say what it is with `--input-format` (text, lines, jsonl, json, yaml, csv, tsv, parquet or markdown)",
    )


def _first_line(stream: BinaryIO) -> bytes:
    """Read up to the end of the first line that is not blank."""
    pieces: list[bytes] = []
    room = DOCUMENT_BYTES + 1
    while room > 0 and (line := stream.readline(room)):
        pieces.append(line)
        room -= len(line)
        if line.removeprefix(BOM).strip():
            break
    return b"".join(pieces)


def _more(stream: BinaryIO, room: int) -> bytes:
    pieces: list[bytes] = []
    while room > 0 and (piece := stream.read(min(room, MIB))):
        pieces.append(piece)
        room -= len(piece)
    return b"".join(pieces)


def _is_object(line: bytes) -> bool:
    text = line.strip()
    return text.startswith(b"{") and _is_json(text)


def _is_json(data: bytes) -> bool:
    try:
        orjson.loads(data)
    except orjson.JSONDecodeError:
        # A lone surrogate is that record's failure; it does not make the input another format.
        try:
            return is_json(data.decode("utf-8"))
        except UnicodeDecodeError:
            return False
    return True
