"""Golden texts: what a reference implementation says of them, held against a guard."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from riskline.errors import IntegrityError, RecordError
from riskline.guard import Guard
from riskline.policy import Judge, Overrides, Policy
from riskline.records import Turn


@dataclass(frozen=True, slots=True)
class Golden:
    """A conversation and the reference's probabilities for every token of its last turn."""

    turns: tuple[Turn, ...]
    safe: tuple[float, ...]
    unsafe: tuple[float, ...]


def read_goldens(path: Path) -> Iterator[Golden]:
    """Yield the golden texts of a bundle.

    Raises:
        IntegrityError: the file is missing or a line is no golden.
    """
    try:
        for line in path.read_bytes().splitlines():
            value = orjson.loads(line)
            turns = tuple(Turn(turn["role"], turn["text"]) for turn in value["turns"])
            yield Golden(turns, tuple(value["safe"]), tuple(value["unsafe"]))
    except (OSError, orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise IntegrityError(f"`{path}` holds no golden texts: {error}") from error


def compare(guard: Guard, golden: Golden) -> tuple[float, bool]:
    """Return the largest difference of a probability from the reference's, and whether the label differs.

    A label differs if it is none that the reference's own takes while thresholds move by the tolerance: nearer to one
    than that, another machine's rounding decides.

    Raises:
        RecordError: the guard cannot judge the text.
        IntegrityError: the guard sees another number of tokens than the reference.
    """
    result = guard.score([golden.turns])[0]
    if isinstance(result, RecordError):
        raise result
    if len(result.safe) != len(golden.safe):
        raise IntegrityError(f"the guard sees {len(result.safe)} tokens where the reference saw {len(golden.safe)}")
    text = golden.turns[-1].text
    safe, unsafe = np.array(golden.safe), np.array(golden.unsafe)
    difference = max(np.abs(result.safe - safe).max(), np.abs(result.unsafe - unsafe).max())
    controversial = None if result.controversial is None else np.round(1 - safe - unsafe, 4)
    reference = type(result)(
        safe=np.round(safe, 4),
        controversial=controversial,
        unsafe=np.round(unsafe, 4),
        kinds=result.kinds,
        categories=result.categories,
        offsets=result.offsets,
        role=result.role,
    )
    limits, tolerance = guard.manifest.limits(result.role), guard.manifest.golden_tolerance
    steps = (-tolerance, 0.0, tolerance)
    moved = (
        Overrides(min(1.0, limits.unsafe + unsafe), min(1.0, limits.controversial + controversial))
        for unsafe in steps
        for controversial in steps
    )
    labels = {Judge(guard.manifest, Policy(thresholds=one)).decide(reference, text).label for one in moved}
    return float(difference), Judge(guard.manifest, Policy()).decide(result, text).label not in labels
