"""score's JSONL: the input line's own bytes, then the verdict, so that numbers and key order stay untouched."""

from __future__ import annotations

from typing import BinaryIO

import orjson

from riskline.errors import UsageError
from riskline.escape import visible
from riskline.finding import Redaction, fingerprint
from riskline.records import Failure, Judged, Origin, Outcome, Summary
from riskline.sinks import SinkOptions


class Sink:
    """One line for every record, in order."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options = stream, options
        self._names = {"verdict": orjson.dumps(options.key), "failure": b'"failure"'}
        # A key can also be spelled with escapes; a raw line without either of these bytes cannot hold it.
        self._spelled = {name: (token, b"\\u") for name, token in self._names.items()}

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            self._write("failure", outcome.origin, outcome.raw, _failure(outcome, self._options.redaction), None)
            return
        verdict = outcome.verdict.to_json()
        if self._options.redaction:
            verdict["hash"] = fingerprint(outcome, self._options.redaction)
        self._write("verdict", outcome.record.origin, outcome.record.raw, verdict, outcome)

    def close(self, summary: Summary) -> None:
        self._stream.flush()

    def _write(
        self, kind: str, origin: Origin, raw: bytes | None, value: dict[str, object], judged: Judged | None
    ) -> None:
        body = orjson.dumps(value)
        if raw is not None and not self._options.only_verdict:
            self._stream.write(self._attached(kind, origin, raw, body))
            return
        head = _address(origin)
        if judged and not self._options.only_verdict:
            head["text"] = judged.turn.text
        self._stream.write(orjson.dumps(head)[:-1] + b"," + self._names[kind] + b":" + body + b"}\n")

    def _attached(self, kind: str, origin: Origin, raw: bytes, body: bytes) -> bytes:
        """The line up to its closing brace, then the new key; nothing of the line is written anew."""
        if any(token in raw for token in self._spelled[kind]):
            raw = self._without_key(kind, origin, raw)
        inner = raw.rstrip()[:-1]
        comma = b"" if inner.strip() == b"{" else b","
        return inner + comma + self._names[kind] + b":" + body + b"}\n"

    def _without_key(self, kind: str, origin: Origin, raw: bytes) -> bytes:
        record = orjson.loads(raw)
        key = self._options.key if kind == "verdict" else "failure"
        if key not in record:
            return raw
        if not self._options.overwrite_key:
            raise UsageError(
                f"the record at {origin.address} already has the key `{visible(key)}`",
                hint="--key NAME writes another key, --overwrite-key replaces it",
            )
        del record[key]
        return orjson.dumps(record)


def _address(origin: Origin) -> dict[str, object]:
    if origin.by == "file":
        return {"path": visible(origin.path)}
    if origin.by == "id":
        return {"path": visible(origin.path), "id": origin.id}
    return {"line": origin.line}


def _failure(failure: Failure, redaction: Redaction | None) -> dict[str, object]:
    return {"code": failure.code} if redaction else dict(failure.to_json())
