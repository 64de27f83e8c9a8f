"""A member taken out of a JSON object's own bytes; the numbers, order and spacing of the others stay as they are."""

from __future__ import annotations

import re
from collections.abc import Iterator

import orjson

_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\],]', re.DOTALL)


def holds(raw: bytes, key: str) -> bool:
    """Say whether the object has `key`, however it is spelled; a line that cannot hold it is not parsed."""
    if orjson.dumps(key) in raw or b"\\u" in raw or ("/" in key and b"\\/" in raw):
        return key in orjson.loads(raw)
    return False


def without(raw: bytes, key: str) -> bytes:
    """Return the object without every member of this name."""
    # orjson would read a number of more than 64 bits as a float, and write 1.10 as 1.1.
    return b"{" + b",".join(member for name, member in _members(raw) if name != key) + b"}"


def _members(raw: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield each member's name and bytes; `raw` is known to be an object."""
    depth, start, name = 0, 0, None
    for match in _TOKEN.finditer(raw):
        token = match[0]
        if depth == 1 and name is None and token[:1] == b'"':
            name = str(orjson.loads(token))
        if depth == 1 and token in (b",", b"}") and name is not None:
            yield name, raw[start : match.start()]
            name = None
        depth += (token in (b"{", b"[")) - (token in (b"}", b"]"))
        if depth == 1 and token in (b"{", b",") and name is None:
            start = match.end()
