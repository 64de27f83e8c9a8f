"""What a caller may choose about reading, made once and handed down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from riskline.errors import UsageError

if TYPE_CHECKING:
    from riskline.records import Role

MIB = 1024 * 1024
DOCUMENT_BYTES = 64 * MIB
"""A JSON or YAML document is held whole, so it is bounded however many records it has."""


@dataclass(frozen=True, slots=True)
class SourceOptions:
    """How inputs become records.

    `for_command` decides what a file with an unknown extension is: one text for `check`, lines for `score`.
    `role` is that of bare texts. The `…_field` paths are dotted (`data.turns`, `choices.0.text`); a field that is
    named must be there. `include` holds globs, as in `.gitignore`, of further files that a folder walk takes.
    """

    input_format: str = "auto"
    for_command: Literal["check", "score"] = "check"
    role: Role = "prompt"
    prompt_field: str | None = None
    response_field: str | None = None
    text_field: str | None = None
    messages_field: str | None = None
    all_turns: bool = False
    include: tuple[str, ...] = ()
    max_record_bytes: int = 16 * MIB
    strict_input: bool = False

    def check(self) -> None:
        """Raise UsageError where the options contradict each other."""
        flags = [name for name in ("messages", "text", "prompt", "response") if getattr(self, f"{name}_field")]
        if len(flags) > 1 and flags != ["prompt", "response"]:
            first, second = (f"`--{name}-field`" for name in flags[:2])
            raise UsageError(f"{first} and {second} contradict each other; expected just one of them")
        if self.max_record_bytes < 1:
            raise UsageError(f"`--max-record-bytes` is {self.max_record_bytes}; expected 1 or more")

    @property
    def size_limit(self) -> str:
        """The record limit in words: `16 MiB`."""
        size = self.max_record_bytes
        return f"{size // MIB} MiB" if size % MIB == 0 else f"{size} bytes"
