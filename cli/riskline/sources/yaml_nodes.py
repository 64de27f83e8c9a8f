"""YAML as a tree of values that know where they stand.

Composed from PyYAML's events by hand: nothing is ever constructed from a tag, every scalar keeps its marks, depth and
alias expansion are bounded, and nothing recurses.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from riskline.errors import RecordError
from riskline.escape import visible
from riskline.sources.places import region_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Event: TypeAlias = Any  # what PyYAML parses into has no types
MAX_DEPTH = 200
MAX_MERGED = 1_000_000
"""How many fields `<<` may copy in one input, so that a few lines cannot fill memory."""
MAX_VALUES = 1_000_000
"""How many values one input may have, since each takes far more memory than the few bytes it may be written as."""
_TAGS = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Node:
    """A value and the stretch of the source it stands in; `members` are a collection's own nodes.

    `start` of a scalar with an anchor or a tag (`marked`) is where that begins. `size` counts its characters and
    values with every alias written out, which nothing does before it is known to be within the limit.
    """

    value: object
    start: int
    end: int
    style: str = ""
    marked: bool = False
    merge: bool = False
    size: int = 1
    members: dict[str, Node] | list[Node] | None = None


@dataclass(slots=True)
class _Open:
    """A collection that is still being read, and the key that waits for its value."""

    node: Node
    anchor: str | None
    key: Node | None = None

    @property
    def awaits_key(self) -> bool:
        return self.key is None and isinstance(self.node.members, dict)

    def add(self, node: Node) -> int:
        """Take a member, or a key or its value; return how many fields that merged."""
        self.node.size += node.size
        members = self.node.members
        if isinstance(members, list):
            members.append(node)
        elif self.key is None:
            self.key = node
        else:
            key, self.key = self.key, None
            return self._set(key, node)
        return 0

    def _set(self, key: Node, node: Node) -> int:
        members = self.node.members
        assert isinstance(members, dict)
        if key.merge:
            return self._merge(node)
        if key.members is None:  # a collection as a key is no field of a record
            members[str(key.value)] = node
        return 0

    def _merge(self, node: Node) -> int:
        copied = 0
        for base in node.members if isinstance(node.members, list) else [node]:
            # What a mapping says itself wins over what it merges, whichever comes first.
            if isinstance(base.members, dict) and isinstance(self.node.members, dict):
                self.node.members = base.members | self.node.members
                copied += len(base.members)
        return copied

    def close(self, end: int) -> Node:
        members = self.node.members
        if isinstance(members, dict):
            self.node.value = {name: member.value for name, member in members.items()}
        else:
            self.node.value = [member.value for member in members or ()]
        self.node.end = end
        return self.node


def compose(text: str) -> list[Node]:
    """Return the documents in `text`, those of comments only left out; raise RecordError where it is not YAML."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return list(_Composer(text).documents(yaml.parse(text, Loader=loader)))
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it cannot be read"
        mark = getattr(error, "problem_mark", None)
        where = _where(text, mark.index if mark else getattr(error, "position", 0))
        raise RecordError("invalid-yaml", f"not YAML {where}: {visible(str(problem))[:120]}") from error


def _where(text: str, at: int) -> str:
    where = region_in(text, at, at)
    return f"at line {where.line}, column {where.column}"


class _Composer:
    """Builds documents from events, with a stack of its own."""

    def __init__(self, text: str) -> None:
        from yaml.constructor import SafeConstructor
        from yaml.nodes import ScalarNode
        from yaml.resolver import Resolver

        self._text = text
        self._scalar_node = ScalarNode
        self._resolver = Resolver()
        constructor = SafeConstructor()
        self._plain = {
            _TAGS + "bool": constructor.construct_yaml_bool,
            _TAGS + "int": constructor.construct_yaml_int,
            _TAGS + "float": constructor.construct_yaml_float,
        }
        self._open: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._merged = 0
        self._kinds = {
            "ScalarEvent": self._scalar,
            "AliasEvent": self._alias,
            "MappingStartEvent": self._begin,
            "SequenceStartEvent": self._begin,
            "MappingEndEvent": self._end,
            "SequenceEndEvent": self._end,
            "DocumentStartEvent": self._document,
        }

    def documents(self, events: Iterable[Event]) -> Iterator[Node]:
        for count, event in enumerate(events):
            if count > 2 * MAX_VALUES:  # a collection is two events
                found = f"the document has more than {MAX_VALUES:,} values"
                raise RecordError("too-large", f"{found}; expected fewer, or JSONL, which has no such limit")
            step = self._kinds.get(type(event).__name__)
            node = step(event) if step else None
            if node is None:
                continue
            if self._open:
                self._merged += self._open[-1].add(node)
                if self._merged > MAX_MERGED:
                    where = _where(self._text, event.start_mark.index)
                    raise RecordError("invalid-yaml", f"`<<` copies more than {MAX_MERGED:,} fields {where}")
            elif node.value is not None:
                yield node

    def _document(self, _: Event) -> None:
        self._anchors.clear()

    def _begin(self, event: Event) -> None:
        start = event.start_mark.index
        if len(self._open) == MAX_DEPTH:
            message = f"values are nested too deep {_where(self._text, start)}; expected {MAX_DEPTH} levels at most"
            raise RecordError("nested-too-deep", message)
        is_list = type(event).__name__ == "SequenceStartEvent"
        self._open.append(_Open(Node(None, start, start, members=[] if is_list else {}), event.anchor))

    def _end(self, event: Event) -> Node:
        closing = self._open.pop()
        node = closing.close(event.end_mark.index)
        self._name(closing.anchor, node)
        return node

    def _name(self, anchor: str | None, node: Node) -> None:
        if anchor is not None:
            self._anchors[anchor] = node

    def _alias(self, event: Event) -> Node:
        node = self._anchors.get(event.anchor)
        if node is None:
            where = _where(self._text, event.start_mark.index)
            name = visible(event.anchor)[:40]
            raise RecordError("invalid-yaml", f"not YAML {where}: no whole value before the alias is named `{name}`")
        return node

    def _scalar(self, event: Event) -> Node:
        tag = event.tag
        if tag is None or tag == "!":
            tag = self._resolver.resolve(self._scalar_node, event.value, event.implicit)  # type: ignore[no-untyped-call]
        marked = event.anchor is not None or event.tag is not None
        node = Node(event.value, event.start_mark.index, event.end_mark.index, event.style or "", marked)
        node.size += len(event.value)
        node.merge = tag == _TAGS + "merge"
        if self._open and self._open[-1].awaits_key:
            pass  # a field's name is what is written, `yes` and `null` too
        elif tag == _TAGS + "null":
            node.value = None
        elif tag in self._plain:
            node.value = self._number(tag, event.value)
        self._name(event.anchor, node)
        return node

    def _number(self, tag: str, text: str) -> object:
        try:
            return self._plain[tag](self._scalar_node(tag, text))
        except (ValueError, KeyError, IndexError):
            return text  # `!!int x` is no number after all
