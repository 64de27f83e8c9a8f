"""check's findings and failures as one JSON document, written as they come."""

from __future__ import annotations

from typing import BinaryIO

import orjson

from riskline.records import Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import counts, entry


class Sink:
    """`{"schema":1,"facts":…,"results":[…],"summary":…}`."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options, self._between = stream, options, b"\n"
        stream.write(b'{"schema":1,' + orjson.dumps(dict(options.facts))[1:-1] + b',"results":[')

    def write(self, outcome: Outcome) -> None:
        if found := entry(outcome, self._options):
            self._stream.write(self._between + orjson.dumps(found))
            self._between = b",\n"

    def close(self, summary: Summary) -> None:
        self._stream.write(b'\n],"summary":' + orjson.dumps(counts(summary)) + b"}\n")
        self._stream.flush()
