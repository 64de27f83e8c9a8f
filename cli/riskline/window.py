"""Long texts as overlapping windows, laid out so that no token's score depends on what follows it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from riskline.errors import RecordError
from riskline.records import Encoded

if TYPE_CHECKING:
    from riskline.records import Integers


@dataclass(frozen=True, slots=True)
class Layout:
    """Where windows stand: every window sees `capacity` judged tokens, each starts `stride` after the one before.

    A token belongs to the first window that holds it, so all but the first `overlap` tokens of a later window are its
    own. The layout does not depend on the length of the text: a prefix has the windows of the whole.
    """

    capacity: int
    stride: int

    @classmethod
    def of(cls, encoded: Encoded, window: int, overlap: int) -> Layout:
        """Return the layout for a text whose template takes `before` and `after` positions of every window.

        Raises:
            RecordError: the template and context leave no room for the judged text.
        """
        capacity = window - len(encoded.before) - len(encoded.after)
        if capacity <= overlap:
            raise RecordError("context-too-long", f"the context leaves {capacity} of {window} positions for the text")
        return cls(capacity, capacity - overlap)

    def first_own(self, index: int) -> int:
        """The index of the first token that belongs to window `index`."""
        return 0 if index == 0 else (index - 1) * self.stride + self.capacity

    def windows(self, tokens: int) -> Iterator[tuple[int, int, int]]:
        """Yield (start, first own token, end) of every window over `tokens` judged tokens."""
        index = 0
        while (own := self.first_own(index)) < tokens:
            start = index * self.stride
            yield start, own, min(start + self.capacity, tokens)
            index += 1


def row(encoded: Encoded, start: int, end: int) -> Integers:
    """Return the token ids of the window over judged tokens `[start, end)`, template included."""
    return np.concatenate((encoded.before, encoded.judged[start:end], encoded.after))
