"""The whole tool in one generator: records and a guard and a policy, verdicts out in the same order."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeAlias

from riskline.guard import Guard
from riskline.policy import Judge
from riskline.records import Chosen, Failure, Item, Judged, Record, Result, Skip

_Batch: TypeAlias = list[Judged | Failure]
_AHEAD = 64
"""How many batches may be read and judged ahead of the one being written: bounds memory, hides uneven lengths."""


def scan(items: Iterable[Item], guard: Guard, judge: Judge, *, workers: int) -> Iterator[Result]:
    """Yield the outcome of every item in order, as soon as it and all before it are judged.

    Reading runs in one thread, judging in `workers`, and the caller writes meanwhile; what is no record passes through.
    """
    ready: queue.Queue[Future[_Batch] | Skip | Chosen | Failure | BaseException | None] = queue.Queue(_AHEAD)
    stop = threading.Event()
    # No `with`: a reader who leaves, or Ctrl-C, must not wait for the texts that are being judged.
    pool = ThreadPoolExecutor(workers, thread_name_prefix="judge")
    reader = _Reader(items, guard, judge, pool, ready, stop)
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
        pool.shutdown(wait=False, cancel_futures=True)


class _Reader:
    """Feeds the pool from the source and queues what it started, in order."""

    def __init__(
        self,
        items: Iterable[Item],
        guard: Guard,
        judge: Judge,
        pool: ThreadPoolExecutor,
        ready: queue.Queue[Future[_Batch] | Skip | Chosen | Failure | BaseException | None],
        stop: threading.Event,
    ) -> None:
        self._items, self._guard, self._judge = items, guard, judge
        self._pool, self._ready, self._stop = pool, ready, stop

    def run(self) -> None:
        try:
            self._read()
        except BaseException as error:  # noqa: BLE001 - carried to the caller's thread and raised there
            self._put(error)
        else:
            self._put(None)

    def _read(self) -> None:
        batch: list[Record] = []
        for item in self._items:
            if self._stop.is_set():
                return
            if isinstance(item, Record):
                batch.append(item)
            if batch and (len(batch) == self._guard.batch or not isinstance(item, Record)):
                self._put(self._pool.submit(self._guard.decide, batch, self._judge))
                batch = []
            if not isinstance(item, Record):
                self._put(item)
        if batch:
            self._put(self._pool.submit(self._guard.decide, batch, self._judge))

    def _put(self, result: Future[_Batch] | Skip | Chosen | Failure | BaseException | None) -> None:
        while not self._stop.is_set():
            try:
                self._ready.put(result, timeout=0.2)
            except queue.Full:
                continue
            return
