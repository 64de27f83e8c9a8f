"""A conversation as pieces, each marked ours (the template's) or theirs (the user's text)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from riskline.errors import RecordError
from riskline.manifest import Template
from riskline.records import Piece, Turn


def render(template: Template, turns: Sequence[Turn]) -> list[list[Piece]]:
    """Return the pieces of each turn; the last turn is the judged one.

    Raises:
        RecordError: the template has no words for the role of a turn.
    """
    return TEMPLATES[template.kind](template, turns)


def _tags(template: Template, turns: Sequence[Turn]) -> list[list[Piece]]:
    """Each turn is its role's special token and its text; nothing closes a turn."""
    last = len(turns) - 1
    return [
        [Piece(_tag(template, turn), ours=True), Piece(turn.text, ours=False, judged=index == last)]
        for index, turn in enumerate(turns)
    ]


def _tag(template: Template, turn: Turn) -> str:
    tag = template.tags.get(turn.role)
    if tag is None:
        raise RecordError("unknown-role", f"the guard's template has no {turn.role} turn")
    return tag


TEMPLATES: dict[str, Callable[[Template, Sequence[Turn]], list[list[Piece]]]] = {"tags": _tags}
