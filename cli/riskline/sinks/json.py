"""check's findings and failures as one JSON document, written as they come."""

from __future__ import annotations

import shutil
import tempfile
from typing import BinaryIO

from riskline.records import Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.plain import counts, dumps, entries


class Sink:
    """`{"schema":1,…facts,"findings":[…],"failures":[…],"summary":{…}}`; the failures wait in a temporary file."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options, self._found = stream, options, 0
        self._failures = tempfile.SpooledTemporaryFile(1 << 20)  # noqa: SIM115 - closed in close, and by its end
        stream.write(dumps({"schema": 1, **options.facts})[:-1] + b',"findings":[')

    def write(self, outcome: Outcome) -> None:
        for entry in entries(outcome, self._options):
            if entry["kind"] == "failure":
                self._failures.write((b",\n" if self._failures.tell() else b"\n") + dumps(entry))
            else:
                self._stream.write((b",\n" if self._found else b"\n") + dumps(entry))
                self._found += 1

    def close(self, summary: Summary) -> None:
        self._stream.write(b'\n],"failures":[')
        self._failures.seek(0)
        shutil.copyfileobj(self._failures, self._stream)
        self._failures.close()
        self._stream.write(b'\n],"summary":' + dumps(counts(summary)) + b"}\n")
        self._stream.flush()
