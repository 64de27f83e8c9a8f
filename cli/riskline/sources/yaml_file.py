"""The YAML format: a mapping, a list of records, or a stream of documents.

Composed from PyYAML's events by hand: nothing is ever constructed from a tag, every scalar keeps its marks, depth and
alias expansion are bounded, and no recursion happens in C.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import orjson

from riskline.errors import RecordError
from riskline.escape import visible
from riskline.records import Failure, Origin, Place, Record
from riskline.sources.json_file import document
from riskline.sources.places import region_in
from riskline.sources.recognise import id_of, kind_of, record_of
from riskline.sources.stream import Input, too_large
from riskline.sources.yaml_place import YamlPlace

if TYPE_CHECKING:
    from collections.abc import Iterator

    from riskline.sources.recognise import Path

MAX_DEPTH = 200
MAX_ALIASED = 100_000
"""How many values aliases may stand for in one input: a dozen lines of aliases can mean billions."""

Event: TypeAlias = Any  # PyYAML's events are untyped


@dataclass(slots=True)
class Node:
    """A value with the place of its source and, for collections, its members' nodes.

    `size` counts the values it stands for, aliases expanded. `key` is the mapping key that waits for its value.
    """

    value: object
    start: int
    end: int = -1
    style: str = ""
    members: dict[str, Node] | list[Node] | None = None
    size: int = 1
    key: str | None = None
    expects_key: bool = True
    merged: list[Node] = field(default_factory=list)


def read_yaml(source: Input) -> Iterator[Record | Failure]:
    """Yield the records of a file; of several documents each is one record."""
    try:
        text = document(source)
        documents = _documents(text)
        if len(documents) == 1 and isinstance(documents[0].members, list):
            nodes, by_file = documents[0].members, False
        else:
            nodes, by_file = documents, len(documents) == 1
        line, seen = 1, 0
        for index, node in enumerate(nodes):
            # Aliased members may stand before the one that names them, so lines are counted anew for those.
            line = text.count("\n", seen, node.start) + line if node.start >= seen else text.count("\n", 0, node.start) + 1
            seen = node.start
            yield _record(source, text, node, line, None if by_file else index)
    except RecordError as error:
        yield source.failure(error)


def _record(source: Input, text: str, node: Node, line: int, index: int | None) -> Record | Failure:
    name = None if index is None else str(index)
    by: Literal["file", "id"] = "file" if index is None else "id"
    try:
        # Aliases count too: sizes are checked as they would be written out.
        raw = _json(node.value)
        if max(len(raw), node.end - node.start) > source.options.max_record_bytes:
            raise too_large(source.options)
        if not isinstance(node.value, dict):
            raise RecordError("not-an-object", f"found {kind_of(node.value)}; expected a mapping")
    except RecordError as error:
        return Failure(error.code, error.message, Origin(source.path, line, name, by))
    origin = Origin(source.path, line, id_of(node.value) or name, by)
    return record_of(node.value, raw, origin, source.options, partial(_place, text, node))


def _json(value: object) -> bytes:
    try:
        return orjson.dumps(value)
    except TypeError:  # an integer over 64 bits
        import json

        return json.dumps(value, ensure_ascii=False).encode("utf-8")


def _place(text: str, node: Node, path: Path) -> Place:
    for step in path:
        members: Any = node.members
        node = members[step]
    return YamlPlace(text, node.start, node.end, node.style, str(node.value))


def _documents(text: str) -> list[Node]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(_Composer(text).documents(yaml.parse(text, Loader=loader)))
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        mark = getattr(error, "problem_mark", None)
        at = mark.index if mark else getattr(error, "position", 0)
        raise RecordError("invalid-yaml", f"not YAML {_where(text, at)}: {visible(str(problem))[:120]}") from error


def _where(text: str, at: int) -> str:
    where = region_in(text, at, at)
    return f"at line {where.line}, column {where.column}"


class _Composer:
    """Builds documents from events with a stack of its own."""

    def __init__(self, text: str) -> None:
        from yaml.constructor import SafeConstructor
        from yaml.resolver import Resolver

        self._text = text
        self._resolver = Resolver()
        self._constructor = SafeConstructor()
        self._anchors: dict[str, Node] = {}
        self._aliased = 0

    def documents(self, events: Iterator[Event]) -> Iterator[Node]:
        open_nodes: list[tuple[Node, str | None]] = []
        for event in events:
            kind = type(event).__name__
            node: Node | None = None
            if kind == "DocumentStartEvent":
                self._anchors.clear()
            elif kind == "ScalarEvent":
                node = self._scalar(event)
                self._anchor(event.anchor, node)
            elif kind == "AliasEvent":
                node = self._alias(event)
            elif kind in {"MappingStartEvent", "SequenceStartEvent"}:
                open_nodes.append((_collection(event), event.anchor))
                if len(open_nodes) > MAX_DEPTH:
                    where = _where(self._text, event.start_mark.index)
                    raise RecordError("nested-too-deep", f"values are nested over {MAX_DEPTH} levels deep {where}")
            elif kind in {"MappingEndEvent", "SequenceEndEvent"}:
                node, anchor = open_nodes.pop()
                node.end = event.start_mark.index
                _merge(node)
                self._anchor(anchor, node)
            if node is None:
                continue
            if open_nodes:
                _add(open_nodes[-1][0], node)
            elif node.value is not None:  # a document of comments is none
                yield node

    def _anchor(self, name: str | None, node: Node) -> None:
        if name is not None:
            self._anchors[name] = node

    def _alias(self, event: Event) -> Node:
        node = self._anchors.get(event.anchor)
        where = _where(self._text, event.start_mark.index)
        if node is None:
            found = visible(event.anchor)[:40]
            raise RecordError("invalid-yaml", f"the alias `{found}` {where} has no complete anchor before it")
        self._aliased += node.size
        if self._aliased > MAX_ALIASED:
            raise RecordError("invalid-yaml", f"aliases stand for over {MAX_ALIASED:,} values {where}")
        return node

    def _scalar(self, event: Event) -> Node:
        import yaml

        tag = event.tag
        if tag is None or tag == "!":
            tag = self._resolver.resolve(yaml.ScalarNode, event.value, event.implicit)
        start = event.start_mark.index
        if event.anchor is not None or event.tag is not None:
            start = -start - 1  # the mark is that of the anchor or tag: the place looks for the scalar behind it
        style = event.style or ""
        name = str(tag).removeprefix("tag:yaml.org,2002:")
        value: object = event.value
        if name == "null":
            value = None
        elif name in {"bool", "int", "float"}:
            value = self._number(yaml.ScalarNode(tag, event.value))
        key = "<<" if name == "merge" else None
        return Node(value, start, event.end_mark.index, style, key=key)

    def _number(self, node: Any) -> object:
        try:
            return self._constructor.construct_object(node)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError, IndexError, OverflowError):
            return node.value  # `!!int x` is not a number after all


def _collection(event: Event) -> Node:
    start = event.start_mark.index
    if type(event).__name__ == "SequenceStartEvent":
        return Node([], start, members=[])
    return Node({}, start, members={})


def _add(parent: Node, node: Node) -> None:
    parent.size += node.size
    if isinstance(parent.members, list):
        parent.members.append(node)
        parent.value.append(node.value)  # type: ignore[attr-defined]
    elif parent.expects_key:
        # A key that is a collection cannot be a field's name: its value is passed over.
        pass
