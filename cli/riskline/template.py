"""A conversation as pieces, each marked ours (the template's) or theirs (the user's text).

A chat template never sees the user's text: it is rendered around marks, and the texts take the marks' places after.
So no text can act on a template, and what a template would do to special words in a text is not done.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from riskline.errors import GuardError, RecordError
from riskline.manifest import Manifest, Template
from riskline.records import Piece, Turn

if TYPE_CHECKING:
    import jinja2

_MARK = re.compile("\ue000(\\d+)\ue001")
_NAMES = {"system": "system", "prompt": "user", "response": "assistant"}


def render(manifest: Manifest, turns: Sequence[Turn]) -> list[list[Piece]]:
    """Return the pieces of each turn, the judged one last; a chat template gives all of them as one.

    Raises:
        RecordError: the template has no words for these turns.
        GuardError: the template cannot be read.
    """
    return TEMPLATES[manifest.template.kind](manifest, turns)


def _tags(manifest: Manifest, turns: Sequence[Turn]) -> list[list[Piece]]:
    """Each turn is its role's special token and its text; the judged one may have an end, in place of white space."""
    tags = [Piece(_tag(manifest.template, turn), ours=True) for turn in turns]
    texts = [[Piece(turn.text, ours=False)] for turn in turns[:-1]]
    judged = turns[-1].text
    if end := manifest.template.end:
        # How a line ends (LF, CRLF, blank lines) says nothing of the text, and must not stand between its last word
        # and the end.
        texts.append([Piece(judged.rstrip(), ours=False, judged=True), Piece(end, ours=False)])
    else:
        texts.append([Piece(judged, ours=False, judged=True)])
    return [[tag, *text] for tag, text in zip(tags, texts, strict=True)]


def _tag(template: Template, turn: Turn) -> str:
    tag = template.tags.get(turn.role)
    if tag is None:
        raise RecordError("unknown-role", f"the guard's template has no {turn.role} turn")
    return tag


def _jinja(manifest: Manifest, turns: Sequence[Turn]) -> list[list[Piece]]:
    texts = [text for turn in turns for text in (turn.text, turn.reasoning or "")]
    rendered = _rendered(manifest, turns)
    if f"\ue000{2 * len(turns) - 2}\ue001" not in rendered:
        raise RecordError("unknown-role", f"the template of {manifest.name} leaves a {turns[-1].role} turn out")
    pieces = []
    for index, part in enumerate(_MARK.split(rendered)):
        if index % 2 == 0:
            pieces.append(Piece(part, ours=True))
        else:
            number = int(part)
            text, start = _stripped(texts[number]) if manifest.template.strip else (texts[number], 0)
            pieces.append(Piece(text, ours=False, judged=number == 2 * len(turns) - 2, start=start))
    return [[piece for piece in pieces if piece.text]]


def _stripped(text: str) -> tuple[str, int]:
    return text.strip(), len(text) - len(text.lstrip())


def _rendered(manifest: Manifest, turns: Sequence[Turn]) -> str:
    template = manifest.template
    marks = [(f"\ue000{2 * index}\ue001", f"\ue000{2 * index + 1}\ue001") for index in range(len(turns))]
    messages: list[dict[str, Any]] = [
        {"role": _NAMES[turn.role], "content": mark} | ({"reasoning_content": reasoning} if turn.reasoning else {})
        for turn, (mark, reasoning) in zip(turns, marks, strict=True)
    ]
    if template.pair:
        messages = [{turn.role: mark for turn, (mark, _) in zip(turns, marks, strict=True)} | {"role": "user"}]
    variables: dict[str, Any] = {"messages": messages, "judged": turns[-1].role, "add_generation_prompt": False}
    if template.taxonomy:
        variables["categories"] = dict(template.taxonomy)
    variables |= template.arguments
    if day := template.arguments.get("today"):
        variables["strftime_now"] = date.fromisoformat(str(day)).strftime
    if template.messages:
        variables["messages"] = _composed(template, variables)
    rendered = _compiled(manifest)(variables)
    if template.guideline and (asked := _at(template.arguments, template.guideline)) and asked not in rendered:
        raise RecordError("template", f"the template of {manifest.name} does not say the guideline")
    return rendered


def _composed(template: Template, variables: dict[str, Any]) -> list[dict[str, Any]]:
    """The messages that the guard's caller makes of a conversation, whose contents are marks."""
    said = {message["role"]: message["content"] for message in variables["messages"]}
    words = variables | {"prompt": said.get("user", ""), "response": said.get("assistant", "")}
    if variables["judged"] == "prompt":
        words["response"] = ""
    made: list[dict[str, Any]] = []
    for role, content in template.messages:
        if role == "turns":
            made += variables["messages"]
        else:
            text = _source(content, "guard.toml")(words)
            made += [{"role": role, "content": text}] if text else []
    return made


def _at(table: Mapping[str, Any], path: str) -> str | None:
    """The text at a dotted path of nested tables, if there is one."""
    first, _, rest = path.partition(".")
    value = table.get(first)
    if rest:
        return _at(value, rest) if isinstance(value, Mapping) else None
    return value if isinstance(value, str) else None


def _compiled(manifest: Manifest) -> Callable[[dict[str, Any]], str]:
    path = manifest.folder / str(manifest.template.file)
    try:
        return _read(path, path.stat().st_mtime_ns)
    except (OSError, UnicodeDecodeError) as error:
        raise GuardError(f"cannot read the template `{path}`: {error}", hint="riskline guards verify") from error


@lru_cache(maxsize=8)
def _read(path: Path, _changed: int) -> Callable[[dict[str, Any]], str]:
    return _source(path.read_text(encoding="utf-8"), str(path))


@lru_cache(maxsize=32)
def _source(source: str, name: str) -> Callable[[dict[str, Any]], str]:
    # The settings with which hubs' chat templates are written to be read; sandboxed, as a template is foreign.
    import jinja2
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True)
    environment.globals["raise_exception"] = _refuse
    environment.filters["tojson"] = _json
    try:
        template: jinja2.Template = environment.from_string(source)
    except jinja2.TemplateError as error:
        raise GuardError(f"`{name}` is not a template: {error}", hint="riskline guards verify") from error

    def rendered(variables: dict[str, Any]) -> str:
        try:
            return template.render(variables)
        except RecordError:
            raise
        except Exception as error:  # a template is a program: it may fail in any way
            raise RecordError("template", f"the guard's template refuses these turns: {error}") from error

    return rendered


def _json(value: object, indent: int | None = None, *, sort_keys: bool = False) -> str:
    """JSON as hubs' templates expect it: no characters turned into escapes, marks among them."""
    return json.dumps(value, ensure_ascii=False, indent=indent, sort_keys=sort_keys)


def _refuse(message: str) -> None:
    raise RecordError("template", f"the guard's template refuses these turns: {message}")


TEMPLATES: dict[str, Callable[[Manifest, Sequence[Turn]], list[list[Piece]]]] = {"tags": _tags, "jinja": _jinja}
