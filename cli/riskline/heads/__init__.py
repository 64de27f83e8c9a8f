"""Logits to scores: one file per kind of head, chosen by the manifest's `head`."""

from __future__ import annotations

from collections.abc import Callable

from riskline.heads.stream import stream
from riskline.manifest import Manifest
from riskline.records import Encoded, HeadRun, Role

HEADS: dict[str, Callable[[Manifest, Role, Encoded], HeadRun]] = {"stream": stream}
