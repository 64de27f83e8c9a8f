"""Logits to scores: one file per kind of head, chosen by the manifest's `head`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from riskline.heads.decision import Script, decision
from riskline.heads.stream import stream
from riskline.manifest import Manifest, Outputs
from riskline.records import Encoded, HeadRun, Role


@dataclass(frozen=True, slots=True)
class Task:
    """A text to score: its row, the guard's manifest, and for a generative guard what it may say.

    With `probe`, a guard that is read at the end of the text is also read at the ends of its beginnings.
    """

    manifest: Manifest
    role: Role
    encoded: Encoded
    scripts: Mapping[Role, Script] = field(default_factory=dict)
    probe: bool = False

    @property
    def outputs(self) -> Outputs:
        """What the graph says of the judged role."""
        return self.manifest.roles[self.role]


HEADS: dict[str, Callable[[Task], HeadRun]] = {"stream": stream, "sequence": stream, "decision": decision}
"""A classifier (`sequence`) is read as heads on every token are: at all of them, at the end, or once for the row."""
