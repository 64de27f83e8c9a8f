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

_Ready: TypeAlias = Future[Outcome] | Skip | Chosen | Failure | BaseException | None
_AHEAD = 64
"""How many runs' records may be read and judged ahead of the one being written: bounds memory, hides uneven lengths."""

_CHARACTERS = 16_384
"""Of records that are judged together: a long one is long enough alone, and who asked wants to see the first soon."""


def scan(items: Iterable[Item], guard: Guard, judge: Judge, *, workers: int) -> Iterator[Result]:
    """Yield the outcome of every item in order, as soon as it and all before it are judged.

    Reading runs in one thread, judging in `workers`, and the caller writes meanwhile; what is no record passes through.
    Records share a run where several have been read; none waits for another to come.
    """
    ready: queue.Queue[_Ready] = queue.Queue(_AHEAD * guard.batch)
    stop = threading.Event()
    # No `with`: a reader who leaves, or Ctrl-C, must not wait for the texts that are being judged.
    pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")
    reader = _Reader(items, _Bench(guard, judge, pool, workers), ready, stop)
    threading.Thread(target=reader.run, name="read", daemon=True).start()
    try:
        while (result := ready.get()) is not None:
            if isinstance(result, BaseException):
                raise result
            yield result.result() if isinstance(result, Future) else result
    finally:
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)


class _Bench:
    """Where records wait to be judged; whichever thread is free takes some."""

    def __init__(self, guard: Guard, judge: Judge, pool: ThreadPoolExecutor, workers: int) -> None:
        self._guard, self._judge, self._pool, self._workers = guard, judge, pool, workers
        self._waiting: deque[tuple[Record, Future[Outcome]]] = deque()
        self._lock = threading.Lock()

    def add(self, record: Record) -> Future[Outcome]:
        """Return what will hold the outcome of a record."""
        outcome: Future[Outcome] = Future()
        self._waiting.append((record, outcome))
        self._pool.submit(self._judge_some)
        return outcome

    def _judge_some(self) -> None:
        taken = self._take()
        if not taken:
            return
        try:
            outcomes = self._guard.decide([record for record, _ in taken], self._judge)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            for _, future in taken:
                future.set_exception(error)
        else:
            for (_, future), outcome in zip(taken, outcomes, strict=True):
                future.set_result(outcome)

    def _take(self) -> list[tuple[Record, Future[Outcome]]]:
        """A thread's share of what waits, so that none is without; nothing where others have taken it all."""
        taken: list[tuple[Record, Future[Outcome]]] = []
        with self._lock:
            share = min(self._guard.batch, -(-len(self._waiting) // self._workers))
            size = 0
            while len(taken) < share:
                size += sum(len(turn.text) for turn in self._waiting[0][0].turns)
                if taken and size > _CHARACTERS:
                    break
                taken.append(self._waiting.popleft())
        return taken


class _Reader:
    """Brings records to the bench and queues their outcomes-to-be, in order."""

    def __init__(self, items: Iterable[Item], bench: _Bench, ready: queue.Queue[_Ready], stop: threading.Event) -> None:
        self._items, self._bench, self._ready, self._stop = items, bench, ready, stop

    def run(self) -> None:
        try:
            for item in self._items:
                if self._stop.is_set():
                    return
                self._put(self._bench.add(item) if isinstance(item, Record) else item)
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            self._put(error)
        else:
            self._put(None)

    def _put(self, result: _Ready) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(result, timeout=0.2)
            except queue.Full:
                continue
            return
