"""The whole tool in one generator: records and a guard and a policy, verdicts out in the same order."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from riskline.guard import Guard
from riskline.policy import Judge
from riskline.records import Chosen, Failure, Item, Outcome, Record, Result, Skip

_Judged: TypeAlias = Future[list[Outcome]]
_Ready: TypeAlias = _Judged | Skip | Chosen | Failure | BaseException | None
_AHEAD = 64
"""How many blocks may be read and judged ahead of the one being written: bounds memory, hides uneven lengths."""
_CHARACTERS = 16_384
"""Of blocks that are judged together: a long one is long enough alone, and who asked wants to see the first soon."""


def scan(items: Iterable[Item], guard: Guard, judge: Judge, *, workers: int) -> Iterator[Result]:
    """Yield the outcome of every item in order, as soon as it and all before it are judged.

    Reading runs in one thread, judging in `workers`, and the caller writes meanwhile; what is no record passes through.
    """
    bench = _Bench(guard, judge, workers)
    ready: queue.Queue[_Ready] = queue.Queue(max(_AHEAD, 2 * bench.most * workers))
    stop = threading.Event()
    reader = _Reader(items, bench, ready, stop)
    threading.Thread(target=reader.run, name="read", daemon=True).start()
    try:
        while (result := ready.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            if isinstance(result, Future):
                yield from result.result()
            else:
                yield result
    finally:
        stop.set()
        bench.close()


class _Bench:
    """Where blocks of records wait; whichever thread is free takes some.

    On an accelerator a block is as many neighbours as share a run, so that the same input is always cut alike. On the
    CPU it is one record, which waits for no other to come, and as many as are there are taken together: what shares a
    run changes no score there.
    """

    def __init__(self, guard: Guard, judge: Judge, workers: int) -> None:
        self.block, self.most = (1, guard.batch) if guard.on_cpu else (guard.batch, 1)
        self._guard, self._judge, self._workers = guard, judge, workers
        # No `with`: a reader who leaves, or Ctrl-C, must not wait for the texts that are being judged.
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")
        self._waiting: deque[tuple[list[Record], _Judged]] = deque()
        self._lock = threading.Lock()

    def add(self, records: list[Record]) -> _Judged:
        """Return what will hold the outcomes of a block."""
        judged: _Judged = Future()
        self._waiting.append((records, judged))
        self._pool.submit(self._judge_some)
        return judged

    def close(self) -> None:
        """Judge nothing more than what is being judged."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _judge_some(self) -> None:
        taken = self._take()
        try:
            records = [record for block, _ in taken for record in block]
            outcomes = iter(self._guard.decide(records, self._judge) if records else [])
            found = [[next(outcomes) for _ in block] for block, _ in taken]
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            for _, judged in taken:
                judged.set_exception(error)
        else:
            for (_, judged), each in zip(taken, found, strict=True):
                judged.set_result(each)

    def _take(self) -> list[tuple[list[Record], _Judged]]:
        """A thread's share of what waits, so that none is without; nothing where others have taken it all."""
        taken: list[tuple[list[Record], _Judged]] = []
        with self._lock:
            share = min(self.most, -(-len(self._waiting) // self._workers))
            size = 0
            while len(taken) < share:
                size += sum(len(turn.text) for record in self._waiting[0][0] for turn in record.turns)
                if taken and size > _CHARACTERS:
                    break
                taken.append(self._waiting.popleft())
        return taken


class _Reader:
    """Brings blocks of records to the bench and queues their outcomes-to-be, in order."""

    def __init__(self, items: Iterable[Item], bench: _Bench, ready: queue.Queue[_Ready], stop: threading.Event) -> None:
        self._items, self._bench, self._ready, self._stop = items, bench, ready, stop

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            self._put(error)
        else:
            self._put(None)

    def _read(self) -> None:
        block: list[Record] = []
        for item in self._items:
            if self._stop.is_set():
                return
            if isinstance(item, Record):
                block.append(item)
            if block and (len(block) == self._bench.block or not isinstance(item, Record)):
                self._put(self._bench.add(block))
                block = []
            if not isinstance(item, Record):
                self._put(item)
        if block:
            self._put(self._bench.add(block))

    def _put(self, result: _Ready) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(result, timeout=0.2)
            except queue.Full:
                continue
            return
