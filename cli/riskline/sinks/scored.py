"""score's JSONL: the input line's own bytes, then the verdict, so that numbers and key order stay untouched.

Covers: in what this sink writes itself (texts of plain files, names, ids, messages) nothing acts on a terminal or log.
Does not cover: the bytes of a JSON line that comes back as it was.
"""

from __future__ import annotations

from typing import BinaryIO

import orjson

from riskline.errors import UsageError
from riskline.escape import visible
from riskline.finding import Redaction, fingerprint
from riskline.records import Failure, Judged, Origin, Outcome, Summary
from riskline.sinks import SinkOptions
from riskline.sinks.member import holds, without
from riskline.sinks.plain import dumps, unseen_parts


class Sink:
    """One line for every record, in order."""

    def __init__(self, stream: BinaryIO, options: SinkOptions) -> None:
        self._stream, self._options = stream, options
        self._verdict = dumps(options.key)

    def write(self, outcome: Outcome) -> None:
        if isinstance(outcome, Failure):
            body = dumps(_failure(outcome, self._options.redaction))
            raw = self._freed(outcome.raw, outcome.origin, "failure", "--only-verdict leaves the record out")
            self._stream.write(_joined(raw or dumps(_address(outcome.origin)), b'"failure"', body))
            return
        record = outcome.record
        body = orjson.dumps(self._verdict_of(outcome))
        raw = self._freed(record.raw, record.origin, self._options.key, "--key NAME writes another key")
        self._stream.write(_joined(raw or dumps(self._head(outcome)), self._verdict, body))

    def close(self, summary: Summary) -> None:
        self._stream.flush()

    def _head(self, judged: Judged) -> dict[str, object]:
        text = {} if self._options.only_verdict else {"text": judged.turn.text}
        return _address(judged.record.origin) | text

    def _verdict_of(self, judged: Judged) -> dict[str, object]:
        value, redaction = judged.verdict.to_json(), self._options.redaction
        if redaction:
            value["hash"] = fingerprint(judged, redaction)
            if judged.verdict.unseen:
                value["unseen"] = unseen_parts(judged.verdict.unseen, redaction)
        return value

    def _freed(self, raw: bytes | None, origin: Origin, key: str, otherwise: str) -> bytes | None:
        """The record's own bytes with room for `key`; None where the record has none or is left out."""
        if raw is None or self._options.only_verdict:
            return None
        if not holds(raw, key):
            return raw
        if self._options.overwrite_key:
            return without(raw, key)
        message = f"the record at {origin.address} already has the key `{visible(key)}`"
        raise UsageError(message, hint=f"{otherwise}, --overwrite-key replaces it")


def _joined(raw: bytes, key: bytes, body: bytes) -> bytes:
    """The object up to its closing brace, then one more member."""
    inner = raw.rstrip()[:-1]
    comma = b"" if inner.strip() == b"{" else b","
    return inner + comma + key + b":" + body + b"}\n"


def _address(origin: Origin) -> dict[str, object]:
    path = {"path": visible(origin.path)}
    if origin.by == "file":
        return dict(path)
    if origin.by == "id":
        return {**path, "id": origin.id}
    return {"line": origin.line} if origin.path == "-" else {**path, "line": origin.line}


def _failure(failure: Failure, redaction: Redaction | None) -> dict[str, object]:
    return {"code": failure.code} if redaction else dict(failure.to_json())
