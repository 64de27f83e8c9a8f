"""The JSON format: a file that is one object, or an array of records."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Literal

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Record
from riskline.sources.json_place import JsonPlace, TruncatedError, elements, skip_space, value_end
from riskline.sources.jsonl import parsed
from riskline.sources.options import DOCUMENT_BYTES, MIB
from riskline.sources.places import region_in
from riskline.sources.recognise import id_of, record_of
from riskline.sources.stream import Input, decoded, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

# A line break is never inside a JSON string, so neither is the white space around it.
_BREAK = re.compile(rb"[ \t]*[\r\n][ \t\r\n]*")


def read_json(source: Input) -> Iterator[Record | Failure]:
    """Yield the records of a document, one after the other as they stand in it."""
    try:
        text = document(source)
        at = skip_space(text, 0)
        if text[at : at + 1] == "[":
            yield from _array(source, text, at)
        else:
            yield _one(source, text, at)
    except TruncatedError as error:
        yield source.failure(_broken(text, error.at), region_in(text, error.at, error.at).line)
    except RecordError as error:
        yield source.failure(error)


def document(source: Input) -> str:
    """Return the whole text of a document; raise RecordError where it is too large or not UTF-8."""
    data = source.whole(DOCUMENT_BYTES)
    if data is None:
        message = f"the document is over {DOCUMENT_BYTES // MIB} MiB; expected less, or JSONL, which has no such limit"
        raise RecordError("too-large", message)
    return decoded(data)


def _array(source: Input, text: str, at: int) -> Iterator[Record | Failure]:
    line, column, seen = 1, 1, 0
    for index, (start, end) in enumerate(elements(text, at)):
        if start == end:
            _nothing_after(text, end)
            return
        # Counted from the element before, so that a long array is passed over once.
        where = region_in(text[seen:start], start - seen, start - seen, line, column)
        line, column, seen = where.line, where.column, start
        yield _record(source, text[start:end], line, column, index)


def _one(source: Input, text: str, at: int) -> Record | Failure:
    if at == len(text):
        raise RecordError("not-an-object", "found nothing; expected an object or an array of objects")
    end = value_end(text, at)
    _nothing_after(text, end)
    where = region_in(text, at, at)
    return _record(source, text[at:end], where.line, where.column, None)


def _record(source: Input, text: str, line: int, column: int, index: int | None) -> Record | Failure:
    raw = text.encode("utf-8")
    name = None if index is None else str(index)
    by: Literal["file", "id"] = "file" if index is None else "id"
    try:
        if len(raw) > source.options.max_record_bytes:
            raise too_large(source.options)
        value = parsed(raw, (line, column))
    except RecordError as error:
        return Failure(error.code, error.message, Origin(source.path, line, name, by))
    origin = Origin(source.path, line, id_of(value) or name, by)
    return record_of(value, _BREAK.sub(b"", raw), origin, source.options, partial(JsonPlace, raw, line, column))


def _nothing_after(text: str, end: int) -> None:
    at = skip_space(text, end)
    if at == len(text):
        return
    where = region_in(text, at, at)
    message = f"found more after the first value at line {where.line}, column {where.column}; expected one value"
    raise RecordError("invalid-json", f"{message} (for JSON lines: `--input-format jsonl`)")


def _broken(text: str, at: int) -> RecordError:
    where = region_in(text, at, at)
    found = "the document breaks off" if at >= len(text) else "not JSON"
    return RecordError("invalid-json", f"{found} at line {where.line}, column {where.column}")
