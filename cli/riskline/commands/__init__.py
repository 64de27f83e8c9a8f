"""A file a command: flags in, one call, an ending out. What an ending means for the shell is app's to know."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from riskline.escape import inert, visible


@dataclass(frozen=True, slots=True)
class Ending:
    """How a command ended: `flagged` at the chosen label, `incomplete` where records could not be judged.

    `failed` is for a job whose answer is no, such as a failed verification.
    """

    flagged: bool = False
    incomplete: bool = False
    failed: bool = False


def note(message: str) -> None:
    """Write one harmless line to stderr."""
    sys.stderr.write(inert(visible(message)) + "\n")
    sys.stderr.flush()
