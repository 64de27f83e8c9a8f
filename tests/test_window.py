from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from riskline.errors import RecordError
from riskline.records import Encoded
from riskline.window import Layout, row


@given(st.integers(2, 60), st.integers(0, 30), st.integers(0, 300))
def test_windows_give_every_token_once_with_enough_left_context(capacity: int, overlap: int, tokens: int) -> None:
    overlap = min(overlap, capacity - 1)
    layout = Layout(capacity, capacity - overlap)
    seen: list[int] = []

    for start, own, end in layout.windows(tokens):
        assert end - start <= capacity
        assert own == 0 or own - start >= overlap
        seen += range(own, end)

    assert seen == list(range(tokens))


@given(st.integers(2, 60), st.integers(0, 30), st.integers(1, 300), st.data())
def test_a_prefix_has_the_windows_of_the_whole(capacity: int, overlap: int, tokens: int, data: st.DataObject) -> None:
    layout = Layout(capacity, capacity - min(overlap, capacity - 1))
    cut = data.draw(st.integers(1, tokens))

    whole = [(start, own, min(end, cut)) for start, own, end in layout.windows(tokens) if own < cut]

    assert list(layout.windows(cut)) == whole


def test_a_context_that_leaves_no_room_is_refused() -> None:
    full = Encoded(np.arange(60), np.arange(5), np.arange(0), np.zeros((5, 2), np.int64))

    with pytest.raises(RecordError, match="leaves 4 of 64 positions"):
        Layout.of(full, window=64, overlap=16)


def test_a_row_is_template_and_slice() -> None:
    encoded = Encoded(np.array([1]), np.array([10, 11, 12]), np.array([2]), np.zeros((3, 2), np.int64))

    assert row(encoded, 1, 3).tolist() == [1, 11, 12, 2]
