"""check's findings and failures, one JSON object a line."""

from __future__ import annotations

from typing import BinaryIO

from riskline.records import Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import dumps, entries


class Sink:
    """A line for every finding and every failure; what is safe has none."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options = stream, options

    def write(self, outcome: Outcome) -> None:
        for entry in entries(outcome, self._options):
            self._stream.write(dumps({"schema": 1, **entry}) + b"\n")

    def close(self, summary: Summary) -> None:
        self._stream.flush()
