"""Pieces to token ids and code-point offsets.

Covers: user text never yields a special token, because it is encoded by a tokenizer that has none; the template's own
pieces must each be exactly one special token. Does not cover: words that merely look like a tag to a reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import orjson
from tokenizers import Tokenizer as Backend

from riskline.errors import GuardError, RecordError
from riskline.records import Encoded, Piece

if TYPE_CHECKING:
    from riskline.records import Integers

_EMPTY = np.zeros(0, np.int64)


class Tokenizer:
    """A bundle's tokenizer.json, split into its ordinary vocabulary and its special tokens."""

    def __init__(self, backend: Backend, special: dict[str, int]) -> None:
        self._backend, self.special, self._special_ids = backend, special, frozenset(special.values())
        longest = sorted(special, key=len, reverse=True)
        self._tags = re.compile("(" + "|".join(map(re.escape, longest)) + ")") if special else re.compile(r"(?!)")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """Return the tokenizer in `path`.

        Raises:
            GuardError: the file is not a tokenizer.json.
        """
        try:
            document = orjson.loads(path.read_bytes())
            special = {token["content"]: int(token["id"]) for token in document["added_tokens"]}
            # Without its added tokens, and without a post-processor that adds them, the backend knows words only.
            document |= {"added_tokens": [], "post_processor": None, "truncation": None, "padding": None}
            backend = Backend.from_str(orjson.dumps(document).decode())
        except Exception as error:
            raise GuardError(f"`{path}` is not a tokenizer.json: {error}", hint="riskline guards verify") from error
        return cls(backend, special)

    def settled(self, text: str) -> tuple[Integers, Integers, int]:
        """Return ids and offsets of user text and how many of its tokens more text can no longer change.

        The last word may still grow, so its tokens are not settled.
        """
        ids, offsets = self.words(text)
        words = self._backend.encode(text, add_special_tokens=False).word_ids
        return ids, offsets, words.index(words[-1]) if words else 0

    def words(self, text: str) -> tuple[Integers, Integers]:
        """Return the ids (tokens,) and code-point offsets (tokens, 2) of user text.

        Raises:
            RecordError: the text holds a lone surrogate, or its tokens include a special one.
        """
        try:
            encoding = self._backend.encode(text, add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            raise RecordError(
                "lone-surrogate", "the text holds half of a surrogate pair, which is no character"
            ) from error
        ids = encoding.ids
        if not self._special_ids.isdisjoint(ids):
            raise RecordError("special-token", "the guard's vocabulary turns this text into a special token")
        return np.array(ids, np.int64), np.array(encoding.offsets, np.int64).reshape(-1, 2)

    def tag(self, text: str) -> int:
        """Return the id of the special token that a template writes as `text`.

        Raises:
            GuardError: the vocabulary has no such special token.
        """
        if text not in self.special:
            raise GuardError(f"the template's `{text}` is not a special token of tokenizer.json")
        return self.special[text]

    def phrase(self, text: str) -> tuple[int, ...]:
        """Return the ids of the guard's own words, special tokens among them."""
        return tuple(self.encode_whole([Piece(text, ours=True)]).before.tolist())

    def encode(self, turns: Sequence[Sequence[Piece]], context: int) -> Encoded:
        """Return the row of a rendered conversation whose last turn is judged.

        `context` is the most positions that earlier turns may take. Where they take more, the oldest turns go first and
        then the start of the nearest one; the limit does not depend on the judged text, so neither do prefixes.
        """
        *earlier, last = turns
        before, cut = self._context([self._ids(turn) for turn in earlier], context)
        after: list[Integers] = []
        judged, offsets = _EMPTY, _EMPTY.reshape(-1, 2)
        for piece in last:
            if piece.judged:
                judged, offsets = self.words(piece.text)
                before, after = [*before, *after], []
            else:
                after.append(self._piece(piece))
        return Encoded(_join(before), judged, _join(after), offsets, context_truncated=cut)

    def encode_whole(self, pieces: Sequence[Piece]) -> Encoded:
        """Return the row of a conversation that a chat template rendered.

        Words may run over from the template into a text, as they do where the whole is read at once; a token with any
        of the judged text in it is judged. Special tokens are found in the template's own pieces only.
        """
        ids: list[Integers] = []
        offsets: list[Integers] = []
        for special, run in groupby(self._parts(pieces), key=lambda part: part[0]):
            if special is not None:
                count = len(list(run))
                ids.append(np.full(count, special, np.int64))
                offsets.append(np.full((count, 2), -1, np.int64))
            else:
                found, spans = self._stretch([piece for _, piece in run])
                ids.append(found)
                offsets.append(spans)
        row, spans = _join(ids), np.concatenate(offsets) if offsets else _EMPTY.reshape(-1, 2)
        judged = np.flatnonzero(spans[:, 0] >= 0)
        first, end = (int(judged[0]), int(judged[-1]) + 1) if len(judged) else (len(row), len(row))
        constant = self._constant(pieces)
        return Encoded(row[:first], row[first:end], row[end:], spans[first:end], constant=min(constant, first))

    def _parts(self, pieces: Sequence[Piece]) -> Iterator[tuple[int | None, Piece]]:
        """Yield special tokens by their ids, and what stands between them as pieces of words."""
        for piece in pieces:
            parts = self._tags.split(piece.text) if piece.ours else [piece.text]
            for index, part in enumerate(parts):
                if index % 2:
                    yield self.special[part], piece
                elif part:
                    yield None, Piece(part, piece.ours, piece.judged, piece.start)

    def _stretch(self, pieces: Sequence[Piece]) -> tuple[Integers, Integers]:
        """Ids of adjacent pieces and their offsets in the judged text; (-1, -1) for those with none of it."""
        ids, spans = self.words("".join(piece.text for piece in pieces))
        out = np.full_like(spans, -1)
        at = 0
        for piece in pieces:
            end = at + len(piece.text)
            if piece.judged:
                inside = (spans[:, 1] > at) & (spans[:, 0] < end)
                out[inside] = np.clip(spans[inside], at, end) - at + piece.start
            at = end
        return ids, out

    def _constant(self, pieces: Sequence[Piece]) -> int:
        """How many tokens stand before any text; the last word may run on into the text and does not count."""
        if not pieces or not pieces[0].ours:
            return 0
        parts = list(self._parts(pieces[:1]))
        count = sum(1 if special is not None else len(self.words(piece.text)[0]) for special, piece in parts)
        if parts and parts[-1][0] is None:
            words = self._backend.encode(parts[-1][1].text, add_special_tokens=False).word_ids
            count -= len(words) - words.index(words[-1]) if words and words[-1] is not None else len(words)
        return max(count, 0)

    def _context(self, turns: list[Integers], limit: int) -> tuple[list[Integers], bool]:
        kept: list[Integers] = []
        for ids in reversed(turns):
            if len(ids) > limit:
                # The tag stays, so that the rest is still read as a turn of its role.
                nearest = [] if kept or limit < 2 else [np.concatenate((ids[:1], ids[len(ids) - limit + 1 :]))]
                return [*nearest, *kept], True
            kept.insert(0, ids)
            limit -= len(ids)
        return kept, False

    def _ids(self, turn: Sequence[Piece]) -> Integers:
        return _join([self._piece(piece) for piece in turn])

    def _piece(self, piece: Piece) -> Integers:
        return np.array([self.tag(piece.text)], np.int64) if piece.ours else self.words(piece.text)[0]


def _join(rows: list[Integers]) -> Integers:
    return np.concatenate(rows) if rows else _EMPTY
