"""A text judged while it arrives: every token scored once, with the keys and values of those before it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from riskline.errors import GuardError
from riskline.heads.stream import names_of, scores
from riskline.policy import Judge
from riskline.records import Encoded, Logits, Role, Scores, Verdict
from riskline.session import Session, State
from riskline.tokenizer import Tokenizer
from riskline.window import Layout

if TYPE_CHECKING:
    from riskline.records import Integers, RawFloats


class Stream:
    """One live text. Feeding it in any pieces ends in the verdict of judging it at once.

    A word that may still grow is not scored until more text or `finish` settles it.
    """

    def __init__(
        self, judge: Judge, tokenizer: Tokenizer, session: Session, role: Role, encode: Callable[[str], Encoded]
    ) -> None:
        outputs = judge.manifest.roles[role]
        if judge.manifest.head == "decision" or outputs.at != "text" or not session.stateful:
            raise GuardError(
                f"guard `{judge.manifest.name}` cannot judge a {role} while it arrives; it reads the end first"
            )
        self._judge, self._tokenizer, self._session, self._role = judge, tokenizer, session, role
        self._encode = encode
        self._names = names_of(outputs)
        self.text = ""
        self._reset(encode(""))

    def _reset(self, start: Encoded) -> None:
        self._start = start
        self._layout = Layout.of(start, self._judge.manifest.window, self._judge.manifest.overlap)
        self._ids: Integers = np.zeros(0, np.int64)
        self._parts: list[Mapping[str, RawFloats]] = []
        self._state: State | None = None
        self._window = -1

    def feed(self, piece: str) -> Verdict:
        """Append `piece` and return the verdict on the tokens settled so far."""
        self.text += piece
        _, offsets, settled = self._tokenizer.settled(self.text)
        end = int(offsets[settled, 0]) if settled < len(offsets) else len(self.text)
        encoded = self._encode(self.text)
        return self._judge_up_to(encoded, int((encoded.offsets[:, 1] <= end).sum()))

    def finish(self) -> Verdict:
        """Score what was held back and return the verdict on the whole text."""
        encoded = self._encode(self.text)
        return self._judge_up_to(encoded, len(encoded.judged), ended=True)

    def _judge_up_to(self, encoded: Encoded, count: int, *, ended: bool = False) -> Verdict:
        ids, offsets, done = encoded.judged, encoded.offsets, len(self._ids)
        same = np.array_equal(ids[:done], self._ids) and np.array_equal(encoded.before, self._start.before)
        if count < done or not same:
            self._reset(encoded)  # a tokenizer that changes its mind about earlier words: start again
        while len(self._ids) < count:
            self._advance(ids, count)
        if not count or not self.text.strip():
            # A word that is held back is not judged yet, which is not the same as that there is none.
            return replace(self._judge.empty(self._role), empty=ended or not self.text.strip())
        closing = None
        if ended and len(encoded.after):  # what closes the turn is read as well, as it is where all comes at once
            closing, _ = self._session.step(encoded.after, self._state, self._names)
        return self._judge.decide(self._scores(offsets[:count], closing), self.text[: offsets[count - 1, 1]])

    def _advance(self, ids: Integers, count: int) -> None:
        """Score from the first unscored token to `count` or the end of its window, whichever is nearer."""
        first = len(self._ids)
        if self._window < 0 or first >= self._layout.first_own(self._window + 1):
            self._window += 1
            context = ids[self._window * self._layout.stride : first]
            _, self._state = self._session.step(np.concatenate((self._start.before, context)), None, self._names)
        last = min(count, self._layout.first_own(self._window + 1))
        logits, self._state = self._session.step(ids[first:last], self._state, self._names)
        self._parts.append(logits)
        self._ids = ids[:last]

    def _scores(self, offsets: Integers, closing: Logits | None) -> Scores:
        joined: Logits = {name: np.concatenate([part[name] for part in self._parts]) for name in self._names}
        encoded = Encoded(self._start.before, self._ids, self._start.after, offsets, self._start.context_truncated)
        manifest = self._judge.manifest
        outputs, end = manifest.roles[self._role], manifest.template.end
        return scores(outputs, self._role, encoded, joined, self._window + 1, closing, end)
