"""The YAML format: a mapping, a list of records, or a stream of documents that are a record each."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal, cast

import orjson

from riskline.errors import RecordError
from riskline.records import Failure, Origin, Place, Record
from riskline.sources.json_file import document
from riskline.sources.recognise import id_of, kind_of, record_of
from riskline.sources.stream import Input, too_large
from riskline.sources.yaml_nodes import Node, compose
from riskline.sources.yaml_place import YamlPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.sources.recognise import Object, Path


def read_yaml(source: Input) -> Iterator[Record | Failure]:
    """Yield the records of a file in order."""
    try:
        text = document(source)
        nodes = compose(text)
    except RecordError as error:
        yield source.failure(error)
        return
    if not nodes:
        yield source.failure(RecordError("not-an-object", "found nothing; expected a mapping or a list of mappings"))
    named = len(nodes) > 1
    if len(nodes) == 1 and isinstance(nodes[0].members, list):
        nodes, named = nodes[0].members, True
    line, seen = 1, 0
    for index, node in enumerate(nodes):
        # Counted from the record before; an alias may stand for one further up.
        sign = 1 if node.start >= seen else -1
        line += sign * text.count("\n", *sorted((seen, node.start)))
        seen = node.start
        yield _record(source, text, node, line, index if named else None)


def _record(source: Input, text: str, node: Node, line: int, index: int | None) -> Record | Failure:
    name = None if index is None else str(index)
    by: Literal["file", "id"] = "file" if index is None else "id"
    try:
        if node.size > source.options.max_record_bytes:
            raise too_large(source.options)
        raw = _json(node.value)
        if not isinstance(node.value, dict):
            raise RecordError("not-an-object", f"found {kind_of(node.value)}; expected a mapping")
    except RecordError as error:
        return Failure(error.code, error.message, Origin(source.path, line, name, by))
    value = cast("Object", node.value)
    origin = Origin(source.path, line, id_of(value) or name, by)
    return record_of(value, raw, origin, source.options, partial(_place, text, node))


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer of more than 64 bits
        import json

        try:
            return json.dumps(value, ensure_ascii=False).encode()
        except RecursionError as error:  # aliases inside aliases go deeper than any level that is written
            raise RecordError("nested-too-deep", "aliases nest values too deep") from error


def _place(text: str, node: Node, path: Path) -> Place:
    for step in path:
        members = cast("Any", node.members)
        node = members[step]
    return YamlPlace(text, node.start, node.end, node.style, node.marked, str(node.value))
