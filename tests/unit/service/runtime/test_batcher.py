"""The batcher: bounded, without waiting, and honest about its cost."""

import asyncio
import time
from concurrent.futures import Executor, Future

import numpy as np
import pytest

from tests.fake_model import BlockingModel
from twofold.service.runtime.batcher import Batcher, Cost
from twofold.service.runtime.errors import DeadlinePassed, Draining, Invalid, NotReady, QueueFull

FAR = 60.0


def rows(*values: float) -> tuple[np.ndarray]:
    return (np.array(values, np.float32),)


def later(seconds: float = FAR) -> float:
    return time.monotonic() + seconds


# -------------------------------------------------------------------------------------------------------------- batches


async def test_a_lone_request_runs_at_once_and_gets_its_own_rows(batcher_of):
    model = BlockingModel(blocked=False)
    batcher = batcher_of(model)
    (got,), timings = await batcher.submit(rows(3, 4), later())
    assert got.tolist() == [6, 8]
    assert model.batches == [[3, 4]]
    assert timings.queue_ms >= 0
    assert timings.model_ms > 0


async def test_what_waits_while_a_batch_runs_shares_the_next_one(batcher_of):
    model = BlockingModel()
    batcher = batcher_of(model, batch_rows=4)
    first = asyncio.create_task(batcher.submit(rows(0), later()))
    await model.started()
    others = [asyncio.create_task(batcher.submit(rows(i), later())) for i in range(1, 7)]
    await asyncio.sleep(0)
    assert batcher.queued == 6
    model.unblock()
    got = await asyncio.gather(first, *others)
    assert [outputs[0].tolist() for outputs, _ in got] == [[2 * i] for i in range(7)]
    assert model.batches == [[0], [1, 2, 3, 4], [5, 6]]
    assert batcher.queued == 0


async def test_a_big_request_is_split_and_given_back_in_order(batcher_of):
    model = BlockingModel(blocked=False)
    batcher = batcher_of(model, batch_rows=4)
    got = await asyncio.gather(batcher.submit(rows(*range(10)), later()), batcher.submit(rows(20, 21, 22), later()))
    assert [outputs[0].tolist() for outputs, _ in got] == [[2 * i for i in range(10)], [40, 42, 44]]
    assert model.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 20, 21], [22]]


async def test_every_request_gets_its_own_outputs_whatever_shares_its_batch(batcher_of):
    batcher = batcher_of(BlockingModel(blocked=False), batch_rows=5, queue_rows=1000)
    rng = np.random.default_rng(0)
    inputs = [rows(*rng.normal(size=n)) for n in rng.integers(1, 12, 60)]
    got = await asyncio.gather(*(batcher.submit(one, later()) for one in inputs))
    for (array,), ((outputs,), _) in zip(inputs, got, strict=True):
        assert outputs.tolist() == (array * 2).tolist()


async def test_batches_are_reported_with_their_rows(batcher_of):
    seen = []
    batcher = batcher_of(BlockingModel(blocked=False), batch_rows=4, on_batch=seen.append)
    await batcher.submit(rows(*range(6)), later())
    assert seen == [4, 2]


# ------------------------------------------------------------------------------------------------------------ admission


async def test_a_full_queue_refuses_at_once_with_a_retry_after_from_the_measured_cost(batcher_of):
    model, clock = BlockingModel(blocked=False), Clock()
    model.before = lambda n: clock.advance(0.1 * n + 0.2)
    batcher = batcher_of(model, batch_rows=4, queue_rows=8, clock=clock)
    for n in (1, 4, 2, 3):
        await batcher.submit(rows(*range(n)), clock() + FAR)
    model.block()
    running = asyncio.create_task(batcher.submit(rows(*range(4)), clock() + FAR))
    await model.started()
    waiting = asyncio.create_task(batcher.submit(rows(*range(8)), clock() + FAR))
    await asyncio.sleep(0)
    clock.advance(0.3)  # half of the running batch's 0.6 s is over
    with pytest.raises(QueueFull) as caught:
        await batcher.submit(rows(*range(5)), clock() + FAR)
    # the rest of the running batch, then 5 rows must go: 0.1 * 5 + 0.2 * 2 batches
    assert caught.value.retry_after_s == pytest.approx(0.3 + 0.9)
    model.unblock()
    await asyncio.gather(running, waiting)


async def test_a_deadline_that_cannot_be_met_is_refused_at_admission(batcher_of):
    model, clock = BlockingModel(blocked=False), Clock()
    model.before = lambda n: clock.advance(1.0)
    batcher = batcher_of(model, batch_rows=1, clock=clock)
    await batcher.submit(rows(1), clock() + FAR)
    model.block()
    running = asyncio.create_task(batcher.submit(rows(2), clock() + FAR))
    await model.started()
    waiting = [asyncio.create_task(batcher.submit(rows(i), clock() + FAR)) for i in (3, 4, 5)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFull) as caught:
        await batcher.submit(rows(6), clock() + 2.5)
    assert 0 < caught.value.retry_after_s <= 2.5
    on_time = asyncio.create_task(batcher.submit(rows(7), clock() + 5.5))
    model.unblock()
    await asyncio.gather(running, on_time, *waiting)
    assert [batch[0] for batch in model.batches] == [1, 2, 3, 4, 5, 7]


async def test_an_idle_engine_takes_any_request_however_slow_the_last_one_was(batcher_of):
    model, clock = BlockingModel(blocked=False), Clock()
    model.before = lambda n: clock.advance(100)
    batcher = batcher_of(model, clock=clock)
    await batcher.submit(rows(1), clock() + 200)
    model.before = lambda n: None
    (got,), _ = await batcher.submit(rows(2), clock() + 5)
    assert got.tolist() == [4]


async def test_a_deadline_counts_from_arrival_and_passes_in_the_queue(batcher_of):
    model = BlockingModel()
    batcher = batcher_of(model)
    running = asyncio.create_task(batcher.submit(rows(1), later()))
    await model.started()
    with pytest.raises(DeadlinePassed):
        await batcher.submit(rows(2), later(0.02))
    assert batcher.queued == 0
    with pytest.raises(DeadlinePassed):
        await batcher.submit(rows(3), later(-0.001))
    model.unblock()
    await running
    assert model.batches == [[1]]


async def test_a_row_whose_deadline_passed_unnoticed_is_dropped_when_the_batch_is_formed(batcher_of):
    model, clock = BlockingModel(), Clock()
    batcher = batcher_of(model, clock=clock)
    running = asyncio.create_task(batcher.submit(rows(1), clock() + FAR))
    await model.started()
    late = asyncio.create_task(batcher.submit(rows(2), clock() + 50))
    await asyncio.sleep(0)
    clock.advance(51)
    model.unblock()
    await running
    with pytest.raises(DeadlinePassed):
        await late
    assert model.batches == [[1]]


async def test_the_model_running_past_a_deadline_does_not_hold_the_answer_back(batcher_of):
    model = BlockingModel()
    batcher = batcher_of(model)
    with pytest.raises(DeadlinePassed):
        await batcher.submit(rows(1), later(0.02))
    model.unblock()


@pytest.mark.parametrize("n", [0, 9])
async def test_no_rows_or_more_than_the_queue_holds_are_refused(batcher_of, n):
    batcher = batcher_of(BlockingModel(blocked=False), queue_rows=8)
    with pytest.raises(Invalid, match="1 to 8"):
        await batcher.submit(rows(*range(n)), later())


# ------------------------------------------------------------------------------------------------------ life and death


async def test_before_the_start_nothing_is_accepted():
    batcher = Batcher(BlockingModel(blocked=False), batch_rows=4, queue_rows=8)
    assert not batcher.healthy
    with pytest.raises(NotReady):
        await batcher.submit(rows(1), later())


async def test_closing_finishes_what_was_accepted_and_refuses_the_rest():
    model = BlockingModel()
    batcher = Batcher(model, batch_rows=1, queue_rows=8)
    batcher.start()
    accepted = [asyncio.create_task(batcher.submit(rows(i), later())) for i in range(3)]
    await model.started()
    closing = asyncio.create_task(batcher.aclose())
    await asyncio.sleep(0)
    with pytest.raises(Draining):
        await batcher.submit(rows(9), later())
    model.unblock()
    await closing
    assert [task.result()[0][0].tolist() for task in accepted] == [[0], [2], [4]]
    assert not batcher.healthy


async def test_closing_gives_up_on_what_takes_longer_than_the_drain_time():
    model = BlockingModel()
    batcher = Batcher(model, batch_rows=1, queue_rows=8)
    batcher.start()
    running, waiting = (asyncio.create_task(batcher.submit(rows(i), later())) for i in range(2))
    await model.started()
    await batcher.aclose(drain_s=0.01)
    with pytest.raises(Draining):
        await waiting
    model.unblock()
    await running
    assert model.batches == [[0]]


async def test_a_batch_that_never_ends_is_reported_by_the_health_check(batcher_of):
    model, clock = BlockingModel(), Clock()
    batcher = batcher_of(model, clock=clock, stuck_s=30)
    assert batcher.healthy
    running = asyncio.create_task(batcher.submit(rows(1), clock() + FAR))
    await model.started()
    assert batcher.healthy
    clock.advance(31)
    assert not batcher.healthy
    model.unblock()
    await running
    assert batcher.healthy


class DyingThread(Executor):
    """Takes one call (the one at start), then none."""

    def __init__(self):
        self.calls = 0

    def submit(self, fn, /, *args, **kwargs):
        self.calls += 1
        if self.calls > 1:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = Future()
        future.set_result(fn(*args, **kwargs))
        return future


async def test_a_lost_thread_fails_the_request_and_is_reported_by_the_health_check():
    batcher = Batcher(BlockingModel(blocked=False), batch_rows=4, queue_rows=8, thread=DyingThread)
    batcher.start()
    assert batcher.healthy
    with pytest.raises(NotReady):
        await batcher.submit(rows(1), later())
    assert not batcher.healthy
    assert batcher.queued == 0
    await batcher.aclose()


async def test_an_idle_batcher_has_no_task_and_never_reads_the_clock(batcher_of):
    clock, before = Clock(), asyncio.all_tasks()
    batcher = batcher_of(BlockingModel(blocked=False), clock=clock)
    await batcher.submit(rows(1), clock() + 5)
    reads = clock.reads
    assert reads > 0
    await asyncio.sleep(0.05)
    assert clock.reads == reads
    assert asyncio.all_tasks() == before


# ----------------------------------------------------------------------------------------------------------------- cost


def test_the_cost_is_the_line_through_what_was_measured():
    cost = Cost()
    assert cost.line() == (0, 0)
    for n in (1, 3, 8, 2):
        cost.add(n, 0.5 * n + 2)
    assert cost.line() == pytest.approx((0.5, 2))
    assert cost.seconds(9, 4) == pytest.approx(0.5 * 9 + 2 * 3)


def test_one_size_of_batch_alone_is_all_slope():
    cost = Cost()
    for _ in range(5):
        cost.add(4, 1.0)
    assert cost.line() == pytest.approx((0.25, 0))


@pytest.mark.parametrize("samples", [[(1, 5.0), (8, 1.0)], [(1, 0.0), (8, 0.0)], [(1, 0.1), (8, 8.0)]])
def test_neither_slope_nor_start_is_ever_negative(samples):
    cost = Cost()
    for n, seconds in samples:
        cost.add(n, seconds)
    assert min(cost.line()) >= 0


def test_the_past_is_forgotten():
    cost = Cost()
    for _ in range(50):
        cost.add(1, 10.0)
    for _ in range(200):
        cost.add(1, 0.1)
    assert cost.seconds(1, 1) == pytest.approx(0.1, rel=0.01)


class Clock:
    """Seconds that pass only when the test says so; read from both threads."""

    def __init__(self):
        self.now = 1000.0
        self.reads = 0

    def __call__(self):
        self.reads += 1
        return self.now

    def advance(self, seconds):
        self.now += seconds
