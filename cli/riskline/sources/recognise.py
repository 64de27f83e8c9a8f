"""What a record looks like: an object's fields become turns, and the turns to judge are chosen.

Looked for in this order, a field that is null counting as absent: the fields that options name; `messages` (OpenAI
chat); `conversations` (ShareGPT); `custom_id` with `body.messages` (OpenAI batch); `prompt` with or without
`response`; `text`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from riskline.errors import RecordError
from riskline.escape import visible
from riskline.records import Failure, Origin, Place, Record, Turn, TurnRole
from riskline.sources.places import JoinedPlace, Part

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from riskline.sources.options import SourceOptions

    Object: TypeAlias = Mapping[str, object]

Path: TypeAlias = tuple[str | int, ...]
"""Keys and indices from the record down to a string."""

if TYPE_CHECKING:
    PlaceAt: TypeAlias = Callable[[Path], Place]

ROLES: Final[Mapping[str, TurnRole]] = {
    "user": "prompt",
    "human": "prompt",
    "tool": "prompt",
    "function": "prompt",
    "observation": "prompt",
    "assistant": "response",
    "gpt": "response",
    "model": "response",
    "function_call": "response",
    "system": "system",
    "developer": "system",
}
_UNSEEN = {"image_url": "image", "input_image": "image", "input_audio": "audio", "input_file": "file"}
_TEXT_PARTS = frozenset({"text", "input_text", "output_text"})
_KINDS = {dict: "an object", list: "a list", str: "a string", bool: "a boolean", type(None): "null"}


class Conversation(NamedTuple):
    """The turns of one record, the indices of the judged ones, and the parts that no text guard can see."""

    turns: tuple[Turn, ...]
    judged: tuple[int, ...]
    unseen: tuple[str, ...] = ()


def record_of(
    value: Object, raw: bytes | None, origin: Origin, options: SourceOptions, place_at: PlaceAt
) -> Record | Failure:
    """Return the record that `value` is, or the failure that says why it is none."""
    try:
        turns, judged, unseen = recognise(value, options, place_at)
    except RecordError as error:
        return Failure(error.code, error.message, origin, raw)
    return Record(turns, origin, judged, raw, unseen)


def id_of(value: Object) -> str | None:
    """Return the record's own name: `custom_id`, else `id`, if that is a string or an integer."""
    for key in ("custom_id", "id"):
        name = value.get(key)
        if isinstance(name, (str, int)) and not isinstance(name, bool) and name != "":
            return str(name)
    return None


def recognise(value: Object, options: SourceOptions, place_at: PlaceAt) -> Conversation:
    """Return the conversation in `value`; raise RecordError where there is none to judge."""
    if options.messages_field or options.text_field or options.prompt_field or options.response_field:
        return _named(value, options, place_at)
    if (messages := value.get("messages")) is not None:
        return _Reader(options, place_at).messages(messages, ("messages",))
    if (messages := value.get("conversations")) is not None:
        return _Reader(options, place_at).messages(messages, ("conversations",))
    body = value.get("body")
    if "custom_id" in value and isinstance(body, dict) and body.get("messages") is not None:
        return _Reader(options, place_at).messages(body["messages"], ("body", "messages"))
    if (prompt := value.get("prompt")) is not None:
        return _pair(prompt, ("prompt",), value.get("response"), ("response",), options, place_at)
    if (text := value.get("text")) is not None:
        return _bare(text, ("text",), options, place_at)
    expected = "`messages`, `conversations`, `prompt` or `text`"
    raise RecordError("missing-field", f"the record has {_keys(value)}; expected {expected}")


def _named(value: Object, options: SourceOptions, place_at: PlaceAt) -> Conversation:
    if options.messages_field:
        return _Reader(options, place_at).messages(*_required(value, options.messages_field))
    if options.text_field:
        return _bare(*_required(value, options.text_field), options, place_at)
    response, response_path = lookup(value, options.response_field or "response")
    if options.prompt_field:
        return _pair(*_required(value, options.prompt_field), response, response_path, options, place_at)
    prompt, prompt_path = lookup(value, "prompt")
    if prompt is None and response is None:
        _required(value, options.response_field or "response")
    return _pair(prompt, prompt_path, response, response_path, options, place_at)


def lookup(value: Object, field: str) -> tuple[object, Path]:
    """Return what stands at a dotted field, and its path; a key that has the dots in its name comes first."""
    if field in value:
        return value[field], (field,)
    found: object = value
    path: list[str | int] = []
    for step in field.split("."):
        if isinstance(found, dict):
            found = found.get(step)
            path.append(step)
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
            path.append(int(step))
        else:
            return None, ()
    return found, tuple(path)


def _required(value: Object, field: str) -> tuple[object, Path]:
    found, path = lookup(value, field)
    if found is None:
        raise RecordError("missing-field", f"the record has {_keys(value)}; expected `{visible(field)}`")
    return found, path


def _bare(text: object, path: Path, options: SourceOptions, place_at: PlaceAt) -> Conversation:
    if type(text) is not str:
        raise _wrong_type(path, text, "a string")
    return Conversation((Turn(options.role, text, place_at(path)),), (0,))


def _pair(
    prompt: object, prompt_path: Path, response: object, response_path: Path, options: SourceOptions, place_at: PlaceAt
) -> Conversation:
    reader = _Reader(options, place_at)
    if isinstance(prompt, list):
        reader.add_all(prompt, prompt_path)
    elif type(prompt) is str:
        reader.turns.append(Turn("prompt", prompt, place_at(prompt_path)))
    elif prompt is not None:
        raise _wrong_type(prompt_path, prompt, "a string or a list of messages")
    if isinstance(response, list):
        reader.add_all(response, response_path)
    elif type(response) is str:
        if response or not reader.turns:
            reader.turns.append(Turn("response", response, place_at(response_path)))
    elif response is not None:
        raise _wrong_type(response_path, response, "a string, a list of messages or null")
    return reader.conversation(prompt_path)


class _Reader:
    """Collects the turns of one record; every turn keeps the index of its message."""

    def __init__(self, options: SourceOptions, place_at: PlaceAt) -> None:
        self.turns: list[Turn] = []
        self._options = options
        self._place_at = place_at
        self._silent: set[int] = set()
        self._unseen: dict[str, None] = {}

    def messages(self, messages: object, path: Path) -> Conversation:
        if not isinstance(messages, list):
            raise _wrong_type(path, messages, "a list of messages")
        self.add_all(messages, path)
        return self.conversation(path)

    def add_all(self, messages: Sequence[object], path: Path) -> None:
        for index, message in enumerate(messages):
            if not isinstance(message, dict):
                raise _wrong_type((*path, index), message, "an object with `role` and `content`")
            self._add(message, (*path, index))

    def _add(self, message: Object, path: Path) -> None:
        role = _role(message, path)
        key = "value" if "content" not in message and "value" in message else "content"
        content = message.get(key)
        if type(content) is str:
            self.turns.append(Turn(role, content, self._place_at((*path, key))))
        elif isinstance(content, list):
            self._add_parts(role, content, (*path, key))
        elif content is None:
            # Tool calls have no text of their own, but keep their place so that turn numbers are message numbers.
            self._silent.add(len(self.turns))
            self.turns.append(Turn(role, ""))
        else:
            raise _wrong_type((*path, key), content, "a string, a list of parts or null")
        reasoning = message.get("reasoning_content")
        if not isinstance(reasoning, str | None):
            raise _wrong_type((*path, "reasoning_content"), reasoning, "a string or null")
        if reasoning:
            self.turns[-1] = replace(self.turns[-1], reasoning=reasoning)

    def _add_parts(self, role: TurnRole, content: Sequence[object], path: Path) -> None:
        texts: list[str] = []
        parts: list[Part] = []
        start = 0
        for index, part in enumerate(content):
            text, text_path = self._part(part, (*path, index))
            if text is None:
                continue
            texts.append(text)
            parts.append(Part(start, len(text), self._place_at(text_path)))
            start += len(text) + 1
        if not content:
            self._silent.add(len(self.turns))
        self.turns.append(Turn(role, "\n".join(texts), JoinedPlace(tuple(parts)) if parts else None))

    def _part(self, part: object, path: Path) -> tuple[str | None, Path]:
        if type(part) is str:
            return part, path
        if not isinstance(part, dict):
            raise _wrong_type(path, part, "an object with `type`")
        kind = part.get("type", "text" if "text" in part else "unknown")
        key = "refusal" if kind == "refusal" else "text"
        if kind not in _TEXT_PARTS and kind != "refusal":
            name = kind if type(kind) is str else "unknown"
            self._unseen[_UNSEEN.get(name, visible(name)[:40])] = None
            return None, path
        if key not in part:
            raise RecordError("missing-field", f"{_dotted(path)} has {_keys(part)}; expected `{key}`")
        text = part[key]
        if type(text) is not str:
            raise _wrong_type((*path, key), text, "a string")
        return text, (*path, key)

    def conversation(self, path: Path) -> Conversation:
        judged = self._every() if self._options.all_turns else self._last()
        if not judged:
            found = "only system messages or none with text" if self.turns else "no messages"
            raise RecordError("missing-field", f"{_dotted(path)} has {found} to judge; expected a prompt or a response")
        return Conversation(tuple(self.turns), judged, tuple(self._unseen))

    def _every(self) -> tuple[int, ...]:
        roles = enumerate(turn.role for turn in self.turns)
        return tuple(index for index, role in roles if role != "system" and index not in self._silent)

    def _last(self) -> tuple[int, ...]:
        """The last turn that says something; a response that is empty leaves the turn before it to be judged."""
        empty: tuple[int, ...] = ()
        for index in reversed(range(len(self.turns))):
            turn = self.turns[index]
            if index in self._silent:
                continue
            if turn.role == "system":
                break
            if turn.text or turn.role == "prompt" or self._unseen:
                return (index,)
            empty = empty or (index,)
        return empty


def _role(message: Object, path: Path) -> TurnRole:
    key = "from" if "role" not in message and "from" in message else "role"
    name = message.get(key)
    if name is None:
        raise RecordError("missing-field", f"{_dotted(path)} has {_keys(message)}; expected `role` and `content`")
    if type(name) is not str:
        raise _wrong_type((*path, key), name, "a string")
    role = ROLES.get(name)
    if role is None:
        known = ", ".join(f"`{known}`" for known in ROLES)
        raise RecordError("wrong-type", f"{_dotted((*path, key))} is `{visible(name)[:40]}`; expected one of {known}")
    return role


def _wrong_type(path: Path, value: object, expected: str) -> RecordError:
    return RecordError("wrong-type", f"{_dotted(path)} is {kind_of(value)}; expected {expected}")


def kind_of(value: object) -> str:
    """Return what kind of JSON value this is, in words."""
    return _KINDS.get(type(value), "a number")


def _dotted(path: Path) -> str:
    return f"`{visible('.'.join(str(step) for step in path))[:80]}`"


def _keys(value: Object, shown: int = 6) -> str:
    names = [f"`{visible(str(key))[:40]}`" + " (null)" * (value[key] is None) for key in list(value)[:shown]]
    rest = [f"{len(value) - shown} more"] if len(value) > shown else []
    return ", ".join(names + rest) or "no fields"
