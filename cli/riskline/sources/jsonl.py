"""The JSONL format: every line that is not blank is one JSON object."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

import orjson

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Record
from riskline.sources.json_place import JsonPlace
from riskline.sources.recognise import id_of, kind_of, record_of
from riskline.sources.stream import Input, decoded, without_end

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.sources.recognise import Object


def read_jsonl(source: Input) -> Iterator[Record | Failure]:
    """Yield a record a line; blank lines are passed over, but counted."""
    path, options = source.path, source.options
    for number, line in source.lines():
        if line is None:
            yield source.too_large(number, by="line")
            continue
        raw = without_end(line)
        if not raw.strip():
            continue
        try:
            value = parsed(raw)
        except RecordError as error:
            yield source.failure(error, number, by="line")
            continue
        yield record_of(value, raw, Origin(path, number, id_of(value)), options, partial(JsonPlace, raw, number, 1))


def parsed(raw: bytes, begin: tuple[int, int] | None = None) -> Object:
    """Return the object that `raw` is; raise RecordError with what it is instead.

    Messages give columns of the line, or lines and columns where `raw` begins at a line and column of a document.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise _diagnosed(raw, error, begin) from error
    if not isinstance(value, dict):
        raise RecordError("not-an-object", f"found {kind_of(value)}; expected an object")
    return cast("Object", value)


def _diagnosed(raw: bytes, error: orjson.JSONDecodeError, begin: tuple[int, int] | None) -> RecordError:
    """Say why JSON was refused: orjson names neither broken UTF-8 nor lone surrogates nor depth apart."""
    try:
        text = decoded(raw)
    except RecordError as not_utf8:
        return not_utf8
    where = _where(error, begin)
    if error.msg.startswith("depth limit"):
        return RecordError("nested-too-deep", f"values are nested too deep {where}; expected 1,024 levels at most")
    if "surrogate" in error.msg and is_json(text):
        message = f"an escape {where} is half of a surrogate pair; expected whole characters"
        return RecordError("lone-surrogate", message)
    return RecordError("invalid-json", f"not JSON {where}: {error.msg}")


def _where(error: orjson.JSONDecodeError, begin: tuple[int, int] | None) -> str:
    if begin is None:
        return f"at column {error.colno}"
    line, column = begin
    return f"at line {line + error.lineno - 1}, column {error.colno + (column - 1 if error.lineno == 1 else 0)}"


def is_json(text: str) -> bool:
    """Say whether `text` is JSON by its grammar alone: lone surrogates, NaN and huge numbers pass."""
    import json

    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
