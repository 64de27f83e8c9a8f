"""The flags that say what is read."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from riskline.commands.options import MAX_RECORD_BYTES, BareRole
from riskline.records import Item

if TYPE_CHECKING:
    from riskline.sources import SourceOptions


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read, and as what."""

    command: Literal["check", "score"]
    paths: list[str]
    input_format: str = "auto"
    role: BareRole = BareRole.prompt
    prompt_field: str | None = None
    response_field: str | None = None
    text_field: str | None = None
    messages_field: str | None = None
    all_turns: bool = False
    include: list[str] | None = None
    max_record_bytes: int = MAX_RECORD_BYTES
    strict_input: bool = False

    def options(self) -> SourceOptions:
        """Return these flags in the words of `sources`."""
        from riskline.sources import SourceOptions

        return SourceOptions(
            input_format=self.input_format,
            for_command=self.command,
            role=self.role.value,
            prompt_field=self.prompt_field,
            response_field=self.response_field,
            text_field=self.text_field,
            messages_field=self.messages_field,
            all_turns=self.all_turns,
            include=tuple(self.include or ()),
            max_record_bytes=self.max_record_bytes,
            strict_input=self.strict_input,
        )

    def open(self) -> Iterator[Item]:
        """Return the records of every path; what is missing or unreadable is refused before the first."""
        from riskline.sources import read

        return read(self.paths, self.options(), sys.stdin.buffer)

    def lines(self) -> int | None:
        """Return how many lines the inputs have, for a progress bar; None unless all are plain JSONL or text files."""
        names = [Path(path) for path in self.paths]
        if not all(path.is_file() and path.suffix in _COUNTED and path.stat().st_size < _COUNTABLE for path in names):
            return None
        return sum(_count_lines(path) for path in names)


_COUNTED = {".jsonl", ".ndjson"}
_COUNTABLE = 4 << 30


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))
