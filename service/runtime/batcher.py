"""A bounded queue of rows before one graph, and batches that are formed without waiting.

When the engine's thread is free it takes the rows that are queued, up to `batch_rows`, and runs them; meanwhile the next ones gather.
There is no timer and no task that could be cancelled or use an idle CPU: a submitted row or a finished batch starts the next one. What
the rows mean is not known here. All methods belong to one event loop; only `run` works in a thread of its own.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from twofold.service.runtime.errors import BadOutput, DeadlinePassed, Draining, Invalid, NotReady, QueueFull

Arrays = tuple[NDArray[Any], ...]
Run = Callable[[Arrays], Arrays]

_NOT_READY = "the model is not ready; try again soon"
_FORGET = 0.95  # weight of earlier batches in the fitted cost, per batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Timings:
    """Milliseconds that one submission spent in the queue and in the model."""

    queue_ms: float
    model_ms: float


class Cost:
    """Seconds of a batch = a * rows + b with a, b >= 0, fitted online by least squares with exponential forgetting."""

    def __init__(self) -> None:
        self._sums = [0.0] * 5  # of 1, rows, seconds, rows^2, rows * seconds

    def add(self, rows: int, seconds: float) -> None:
        """Include one measured batch."""
        new = (1.0, rows, seconds, rows * rows, rows * seconds)
        self._sums = [_FORGET * old + value for old, value in zip(self._sums, new, strict=True)]

    def line(self) -> tuple[float, float]:
        """(a, b) in seconds; (0, 0) before the first batch."""
        n, x, y, xx, xy = self._sums
        if not n:
            return 0.0, 0.0
        spread = n * xx - x * x
        slope = (n * xy - x * y) / spread if spread > 1e-6 * n * xx else y / x
        slope = min(max(slope, 0.0), y / x)
        return slope, (y - slope * x) / n

    def seconds(self, rows: int, batch_rows: int) -> float:
        """Expected seconds for `rows` rows in batches of `batch_rows`."""
        a, b = self.line()
        return a * rows + b * -(-rows // batch_rows)


@dataclass(eq=False)
class _Job:
    """One submission. Rows before `taken` have left the queue; `pieces` are the outputs so far, in order."""

    inputs: Arrays
    rows: int
    deadline: float
    done: asyncio.Future[None]
    taken: int = 0
    given: int = 0
    pieces: list[Arrays] = field(default_factory=list)
    model_s: float = 0.0


_Slot = tuple[_Job, int, int]  # rows start..stop of a job are in this batch


class Batcher:
    """Rows -> `run` -> rows. Deadlines are times of `clock` (monotonic seconds).

    `run` gets at most `batch_rows` rows at once and must return as many; at most `queue_rows` rows wait. `on_batch` is called with the
    rows of each batch. A batch that has been running for `stuck_s` makes the batcher unhealthy.
    """

    def __init__(
        self,
        run: Run,
        *,
        batch_rows: int,
        queue_rows: int,
        stuck_s: float = 30.0,
        on_batch: Callable[[int], None] = lambda rows: None,
        clock: Callable[[], float] = time.monotonic,
        thread: Callable[[], Executor] = lambda: ThreadPoolExecutor(1, "engine"),
    ) -> None:
        self._run, self._batch_rows, self._queue_rows, self._stuck_s = run, batch_rows, queue_rows, stuck_s
        self._on_batch, self._clock, self._thread = on_batch, clock, thread
        self._executor: Executor | None = None
        self._closing = False
        self._queue: deque[_Job] = deque()
        self._running = 0  # rows of the batch that runs
        self._started = 0.0
        self._idle = asyncio.Event()
        self._idle.set()
        self.queued = 0  # rows that wait
        self.cost = Cost()

    # ------------------------------------------------------------------------------------------------------- lifetime

    def start(self) -> None:
        """Create the thread now, so that a lack of threads shows at start and not in a request. Raises RuntimeError without one."""
        self._executor = self._thread()
        self._executor.submit(int).result()

    async def aclose(self, drain_s: float = 10.0) -> None:
        """Refuse new rows, finish what was accepted for at most `drain_s` seconds, fail the rest, end the thread."""
        self._closing = True
        try:
            async with asyncio.timeout(drain_s):
                await self._idle.wait()
        except TimeoutError:
            self._drop_all(Draining("the server is shutting down; ask another one"))
        if self._executor:
            self._executor.shutdown(wait=not self._running)

    @property
    def healthy(self) -> bool:
        """Whether rows get through: started, not closing, the thread takes work, and no batch has been running for `stuck_s`."""
        stuck = self._running and self._clock() - self._started > self._stuck_s
        return self._executor is not None and not self._closing and not stuck

    # ------------------------------------------------------------------------------------------------------ submission

    async def submit(self, inputs: Arrays, deadline: float) -> tuple[Arrays, Timings]:
        """Rows [n, ...] in, the same rows' outputs [n, ...] out, in order.

        Raises QueueFull (at once, when they cannot be queued or cannot be done by `deadline`), DeadlinePassed, BadOutput when the
        model fails on one of these rows, Invalid on no rows or more than the queue holds, Draining, NotReady. Cancelling frees the rows'
        places in the queue.
        """
        rows, arrived = len(inputs[0]), self._clock()
        self._admit(rows, arrived, deadline)
        loop = asyncio.get_running_loop()
        job = _Job(inputs, rows, deadline, loop.create_future())
        expiry = loop.call_later(deadline - arrived, self._expire, job)
        self._queue.append(job)
        self.queued += rows
        try:
            self._pump()
            await job.done
        finally:
            expiry.cancel()
            self._drop(job)
        queue_s = max(0.0, self._clock() - arrived - job.model_s)
        return _joined(job.pieces), Timings(queue_s * 1e3, job.model_s * 1e3)

    def _admit(self, rows: int, now: float, deadline: float) -> None:
        if self._closing:
            raise Draining("the server is shutting down; ask another one")
        if self._executor is None:
            raise NotReady(_NOT_READY)
        if not 1 <= rows <= self._queue_rows:
            raise Invalid(f"1 to {self._queue_rows} pictures can be asked for at once")
        if deadline <= now:
            raise DeadlinePassed("the deadline passed before the model could begin")
        if (excess := self.queued + rows - self._queue_rows) > 0:
            raise QueueFull("the queue is full; try again later", retry_after_s=self._wait_s(now, excess))
        late = now + self._wait_s(now, self.queued + rows) - deadline
        # An idle engine always tries: refusals after one slow batch would keep the estimate from ever being corrected.
        if late > 0 and self._running:
            raise QueueFull("the queue is too long for the deadline; try again later", retry_after_s=late)

    def _wait_s(self, now: float, rows: int) -> float:
        """Expected time until the running batch and then `rows` rows are done."""
        running = self.cost.seconds(self._running, self._batch_rows) - (now - self._started) if self._running else 0.0
        return max(0.0, running) + self.cost.seconds(rows, self._batch_rows)

    def _expire(self, job: _Job) -> None:
        self._drop(job, DeadlinePassed("the deadline passed before the answer was ready"))

    def _drop(self, job: _Job, error: Exception | None = None) -> None:
        """Take what is left of a job out of the queue, and fail it unless it has its result."""
        if job.taken < job.rows:
            self._queue.remove(job)
            self.queued -= job.rows - job.taken
            job.taken = job.rows
        if error and not job.done.done():
            job.done.set_exception(error)

    def _drop_all(self, error: Exception) -> None:
        while self._queue:
            self._drop(self._queue[0], error)

    # ---------------------------------------------------------------------------------------------------------- batches

    def _pump(self) -> None:
        """Start the next batch if the thread is free and rows wait."""
        if self._running or self._executor is None:
            return
        slots = self._gather()
        self._running = sum(stop - start for _, start, stop in slots)
        self._started = self._clock()
        if not slots:
            self._idle.set()
            return
        self._idle.clear()
        try:
            future = asyncio.get_running_loop().run_in_executor(self._executor, self._work, slots)
        except RuntimeError:  # the thread has ended: refuse these callers, and let the health check see it
            log.exception("the engine's thread takes no more work")
            self._executor, self._running = None, 0
            for job, _, _ in slots:
                self._drop(job, NotReady(_NOT_READY))
            self._drop_all(NotReady(_NOT_READY))
            self._idle.set()
            return
        future.add_done_callback(partial(self._finished, slots))

    def _gather(self) -> list[_Slot]:
        """The oldest rows, at most `batch_rows`; rows whose client left or whose deadline passed are dropped."""
        slots: list[_Slot] = []
        free, now = self._batch_rows, self._clock()
        while self._queue and free:
            job = self._queue[0]
            if job.done.done() or job.deadline <= now:
                self._expire(job)
                continue
            start, job.taken = job.taken, min(job.rows, job.taken + free)
            free -= job.taken - start
            self.queued -= job.taken - start
            slots.append((job, start, job.taken))
            if job.taken == job.rows:
                self._queue.popleft()
        return slots

    def _work(self, slots: list[_Slot]) -> tuple[list[Arrays | None], float]:
        """In the thread: each slot's outputs, None where the model failed, and the seconds of the batch.

        If a batch fails, its rows are run again one by one, so that a row that the model cannot take harms no other request.
        """
        began = self._clock()
        inputs = tuple(np.concatenate([job.inputs[i][a:b] for job, a, b in slots]) for i in range(len(slots[0][0].inputs)))
        rows = len(inputs[0])
        outputs = self._attempt(inputs)
        singles = [] if outputs or rows == 1 else [self._attempt(tuple(array[r : r + 1] for array in inputs)) for r in range(rows)]
        results: list[Arrays | None] = []
        at = 0
        for _, start, stop in slots:
            here = slice(at, at := at + stop - start)
            if outputs:
                results.append(tuple(array[here] for array in outputs))
            else:
                alone = [single for single in singles[here] if single]
                results.append(_joined(alone) if len(alone) == stop - start else None)
        return results, self._clock() - began

    def _attempt(self, inputs: Arrays) -> Arrays | None:
        """What `run` returns, or None when it raises or returns another number of rows or a value that is not finite."""
        try:
            outputs = self._run(inputs)
            if all(len(array) == len(inputs[0]) and np.isfinite(array).all() for array in outputs):
                return outputs
            log.error("a batch of %d gave a wrong number of rows or values that are not finite", len(inputs[0]))
        except Exception:
            log.exception("a batch of %d failed", len(inputs[0]))
        return None

    def _finished(self, slots: list[_Slot], future: asyncio.Future[tuple[list[Arrays | None], float]]) -> None:
        """Give every slot its outputs or its failure, then start the next batch whatever happened before."""
        rows = self._running
        results, seconds = ([None] * len(slots), 0.0) if future.cancelled() or future.exception() else future.result()
        self._running = 0
        if seconds:
            self.cost.add(rows, seconds)
        for (job, start, stop), result in zip(slots, results, strict=True):
            if result is None:
                self._drop(job, BadOutput("the model failed on this input; the fault is ours"))
            elif not job.done.done():
                self._give(job, stop - start, result, seconds)
        try:
            self._on_batch(rows)
        finally:
            self._pump()

    @staticmethod
    def _give(job: _Job, rows: int, outputs: Arrays, seconds: float) -> None:
        job.pieces.append(outputs)
        job.given += rows
        job.model_s += seconds
        if job.given == job.rows:
            job.done.set_result(None)


def _joined(pieces: list[Arrays]) -> Arrays:
    """Pieces of rows joined in order, array by array."""
    return pieces[0] if len(pieces) == 1 else tuple(np.concatenate(column) for column in zip(*pieces, strict=True))
