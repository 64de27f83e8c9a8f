"""The Parquet format: a record a row, read in batches; a row's number stands where other formats have a line."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

import orjson

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Record, Region
from riskline.sources.options import DOCUMENT_BYTES, MIB
from riskline.sources.recognise import id_of, record_of
from riskline.sources.stream import Input, too_large

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.records import Span
    from riskline.sources.recognise import Path

BATCH = 64
"""Rows that are held at once beside what a page of the file decompresses to."""


@dataclass(frozen=True, slots=True)
class RowPlace:
    """A value in a row, which has no lines of its own: columns count the characters of the value."""

    row: int

    def region(self, span: Span) -> Region:
        """Return the region of `span`."""
        return Region(self.row, span[0] + 1, self.row, span[1] + 1)


def installed() -> bool:
    """Say whether Parquet can be read here."""
    from importlib.util import find_spec

    return find_spec("pyarrow") is not None


def read_parquet(source: Input) -> Iterator[Record | Failure]:
    """Yield a record a row."""
    if not installed():
        message = "Parquet needs pyarrow, which is not installed (pip install 'riskline[parquet]')"
        yield source.failure(RecordError("missing-library", message))
        return
    import pyarrow
    from pyarrow import parquet

    number = 0
    try:
        with parquet.ParquetFile(_seekable(source), pre_buffer=False) as file:
            for batch in file.iter_batches(batch_size=BATCH):
                for value in batch.to_pylist():
                    number += 1
                    yield _record(source, value, number)
    except RecordError as error:
        yield source.failure(error)
    except (pyarrow.ArrowException, UnicodeDecodeError) as error:
        # Rows after this one cannot be reached: the failure is the file's.
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        after = f" after row {number}" if number else ""
        yield source.failure(RecordError("invalid-parquet", f"not whole Parquet{after}: {said}"), number + 1)


def _seekable(source: Input) -> BinaryIO:
    """Return the stream, or its bytes where it cannot be read backwards, as Parquet is."""
    if source.stream.seekable():
        return source.stream
    data = source.whole(DOCUMENT_BYTES)
    if data is None:
        limit = f"{DOCUMENT_BYTES // MIB} MiB"
        message = f"piped Parquet is over {limit}; expected less, or a file, which has no such limit"
        raise RecordError("too-large", message)
    return io.BytesIO(data)


def _record(source: Input, value: dict[str, Any], row: int) -> Record | Failure:
    raw = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS)
    if len(raw) > source.options.max_record_bytes:
        return source.failure(too_large(source.options), row, by="line")
    # Read back, so that a date or a decimal is the text that the scored record will hold.
    value = orjson.loads(raw)
    return record_of(value, raw, Origin(source.path, row, id_of(value)), source.options, partial(_place, row))


def _place(row: int, _path: Path) -> RowPlace:
    return RowPlace(row)
