"""The text format, and Markdown: the whole input is one text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Record, Turn
from riskline.sources.places import TextPlace
from riskline.sources.stream import Input, decoded

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_text(source: Input) -> Iterator[Record | Failure]:
    """Yield the one record of a text, whatever it holds."""
    data = source.whole(source.options.max_record_bytes)
    if data is None:
        yield source.too_large()
        return
    try:
        text = decoded(data)
    except RecordError as error:
        yield source.failure(error)
        return
    turn = Turn(source.options.role, text, TextPlace(text))
    yield Record((turn,), Origin(source.path, by="file"), (0,))
