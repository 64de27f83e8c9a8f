"""The whole tool in one generator: order, laziness, and errors that reach the one who asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from riskline.errors import InputError
from riskline.guard import Guard
from riskline.policy import Judge, Policy
from riskline.records import Chosen, Failure, Item, Judged, Origin, Outcome, Record, Skip
from riskline.scan import scan


@pytest.fixture
def judge(tiny: Guard) -> Judge:
    return Judge(tiny.manifest, Policy())


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_order_out_is_order_in_whatever_passes_through(tiny: Guard, judge: Judge, workers: int) -> None:
    items: list[Item] = []
    for number in range(400):
        items += [Record.of("x" * (1 + number * 7 % 90), role="prompt"), Skip(f"s{number}", "why")]
        items += [Failure("code", "why", Origin("f", number)), Chosen("-", "jsonl")]

    results = list(scan(items, tiny, judge, workers=workers))

    for item, result in zip(items, results, strict=True):
        assert result.record is item if isinstance(result, Judged) else result is item


@pytest.mark.parametrize("batch", [1, 8])  # what may share a run does not wait for it
def test_the_first_verdict_is_there_before_the_last_record_is_read(tiny: Guard, judge: Judge, batch: int) -> None:
    more = threading.Event()

    def items() -> Iterator[Record]:
        yield Record.of("ok")
        assert more.wait(30)
        yield Record.of("ok")

    results = scan(items(), replace(tiny, batch=batch), judge, workers=2)
    first = next(results)
    more.set()

    assert isinstance(first, Judged)
    assert len(list(results)) == 1


def test_reading_stays_a_bounded_way_ahead_of_a_slow_reader(tiny: Guard, judge: Judge) -> None:
    read = 0

    def items() -> Iterator[Record]:
        nonlocal read
        for _ in range(5000):
            read += 1
            yield Record.of("ok")

    results = scan(items(), tiny, judge, workers=2)
    next(results)
    time.sleep(0.5)

    assert read < 200
    results.close()  # type: ignore[attr-defined]


def test_an_error_of_the_source_comes_after_what_was_read_before_it(tiny: Guard, judge: Judge) -> None:
    def items() -> Iterator[Record]:
        yield Record.of("ok")
        raise InputError("broken")

    results = scan(items(), tiny, judge, workers=2)

    assert isinstance(next(results), Judged)
    with pytest.raises(InputError, match="broken"):
        next(results)


def test_a_reader_that_leaves_stops_the_threads(tiny: Guard, judge: Judge) -> None:
    before = set(threading.enumerate())
    results = scan((Record.of("ok") for _ in range(10_000)), tiny, judge, workers=2)
    next(results)

    results.close()  # type: ignore[attr-defined]
    end = time.monotonic() + 30
    while set(threading.enumerate()) - before and time.monotonic() < end:
        time.sleep(0.05)

    assert not set(threading.enumerate()) - before


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many records were judged together, each time."""
    sizes, decide = list[int](), Guard.decide

    def counted(self: Guard, records: Sequence[Record], judge: Judge) -> list[Outcome]:
        sizes.append(len(records))
        return decide(self, records, judge)

    monkeypatch.setattr(Guard, "decide", counted)
    return sizes


@pytest.mark.parametrize(("length", "largest"), [(20, 8), (20_000, 1)])
def test_short_records_share_a_run_and_long_ones_do_not(
    tiny: Guard, judge: Judge, monkeypatch: pytest.MonkeyPatch, together: list[int], length: int, largest: int
) -> None:
    read, decide = threading.Event(), Guard.decide

    def items() -> Iterator[Record]:
        for _ in range(40):
            yield Record.of("x" * length)
        read.set()

    def late(self: Guard, records: Sequence[Record], judge: Judge) -> list[Outcome]:
        assert read.wait(30)
        return decide(self, records, judge)

    monkeypatch.setattr(Guard, "decide", late)
    results = list(scan(items(), replace(tiny, batch=8), judge, workers=1))

    assert len(results) == sum(together) == 40
    assert max(together) == largest


def test_an_error_of_judging_reaches_the_one_who_asked(tiny: Guard, judge: Judge) -> None:
    # Without a tokenizer, which its type forbids, it breaks while it judges.
    broken = replace(tiny, tokenizer=None, batch=4)  # type: ignore[arg-type]

    with pytest.raises(AttributeError):
        list(scan([Record.of("ok")] * 9, broken, judge, workers=2))


def test_blocks_of_an_accelerator_are_cut_alike_and_keep_the_order(
    tiny: Guard, judge: Judge, together: list[int]
) -> None:
    batched = replace(tiny, session=replace(tiny.session, provider="cuda"), batch=8)
    items: list[Item] = [Record.of("x" * (1 + n % 50)) for n in range(100)]
    items.insert(13, Skip("s", "why"))

    results = list(scan(items, batched, judge, workers=2))

    assert [getattr(r, "record", r) for r in results] == items
    assert sorted(together) == [5, 7, *[8] * 11]
