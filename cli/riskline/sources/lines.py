"""The lines format: every line is one text, an empty line too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Record, Turn
from riskline.sources.places import TextPlace
from riskline.sources.stream import Input, decoded, without_end

if TYPE_CHECKING:
    from collections.abc import Iterator


def read_lines(source: Input) -> Iterator[Record | Failure]:
    """Yield a record a line."""
    role = source.options.role
    for number, line in source.lines():
        if line is None:
            yield source.too_large(number, by="line")
            continue
        try:
            text = decoded(without_end(line))
        except RecordError as error:
            yield source.failure(error, number, by="line")
            continue
        yield Record((Turn(role, text, TextPlace(text, number)),), Origin(source.path, number), (0,))
