"""Faults in and around a batch: only the guilty row suffers, and the batches go on."""

import asyncio
import logging
import time

import numpy as np
import pytest

from tests.fake_model import BlockingModel
from twofold.service.runtime.errors import BadOutput


def rows(*values: float) -> tuple[np.ndarray]:
    return (np.array(values, np.float32),)


def later() -> float:
    return time.monotonic() + 60


async def behind(model, batcher, *requests):
    """The outcomes of requests that gathered while another batch ran, so that they ride together."""
    first = asyncio.create_task(batcher.submit(rows(0), later()))
    await model.started()
    tasks = [asyncio.create_task(batcher.submit(rows(*values), later())) for values in requests]
    await asyncio.sleep(0)
    model.unblock()
    await first
    return await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
async def test_a_poisoned_row_fails_alone(batcher_of, bad):
    model = BlockingModel()
    batcher = batcher_of(model, batch_rows=8)
    good, guilty, other = await behind(model, batcher, [1, 2], [3, bad], [5])
    assert isinstance(guilty, BadOutput)
    assert good[0][0].tolist() == [2, 4]
    assert other[0][0].tolist() == [10]
    assert [len(batch) for batch in model.batches] == [1, 5, 1, 1, 1, 1, 1]


async def test_a_lone_poisoned_row_is_not_run_twice(batcher_of):
    model = BlockingModel(blocked=False)
    with pytest.raises(BadOutput):
        await batcher_of(model).submit(rows(-1), later())
    assert len(model.batches) == 1


async def test_the_rest_of_a_request_with_a_poisoned_row_is_not_run(batcher_of):
    model = BlockingModel(blocked=False)
    batcher = batcher_of(model, batch_rows=2)
    with pytest.raises(BadOutput):
        await batcher.submit(rows(-1, 1, 2, 3, 4, 5, 6, 7), later())
    (got,), _ = await batcher.submit(rows(9), later())
    assert got.tolist() == [18]
    assert sum(len(batch) for batch in model.batches) <= 2 + 2 + 2 + 1
    assert batcher.queued == 0


async def test_a_failure_is_logged_without_the_rows(batcher_of, caplog):
    with caplog.at_level(logging.ERROR), pytest.raises(BadOutput):
        await batcher_of(BlockingModel(blocked=False, poison=1234.5)).submit(rows(1234.5), later())
    assert "a batch of 1 failed" in caplog.text
    assert "1234.5" not in caplog.text


async def test_a_model_that_loses_rows_is_caught(batcher_of):
    with pytest.raises(BadOutput):
        await batcher_of(lambda inputs: (inputs[0][:0],)).submit(rows(1), later())


async def test_rows_of_gone_clients_are_dropped(batcher_of):
    model = BlockingModel()
    batcher = batcher_of(model, batch_rows=4, queue_rows=40)
    first = asyncio.create_task(batcher.submit(rows(0), later()))
    await model.started()
    gone = [asyncio.create_task(batcher.submit(rows(i, i), later())) for i in range(1, 20)]
    stays = asyncio.create_task(batcher.submit(rows(99), later()))
    await asyncio.sleep(0)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    assert batcher.queued == 1
    model.unblock()
    await first
    (got,), _ = await stays
    assert got.tolist() == [198]
    assert model.batches == [[0], [99]]


async def test_a_client_that_goes_while_its_batch_runs_leaves_the_others_their_rows(batcher_of):
    model = BlockingModel()
    batcher = batcher_of(model, batch_rows=4)
    goes = asyncio.create_task(batcher.submit(rows(*range(10)), later()))
    await model.started()
    stays = asyncio.create_task(batcher.submit(rows(50, 51), later()))
    await asyncio.sleep(0)
    goes.cancel()
    await asyncio.wait([goes])
    model.unblock()
    (got,), _ = await stays
    assert got.tolist() == [100, 102]
    assert model.batches == [[0, 1, 2, 3], [50, 51]]


async def test_batching_survives_the_cancellation_of_every_task(batcher_of):
    model = BlockingModel()
    batcher = batcher_of(model)
    tasks = [asyncio.create_task(batcher.submit(rows(i), later())) for i in range(20)]
    await model.started()
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.wait(tasks)
    model.unblock()
    (got,), _ = await batcher.submit(rows(7), later())
    assert got.tolist() == [14]
    assert batcher.healthy


async def test_batching_survives_what_happens_around_it(batcher_of):
    def angry(n):
        raise RuntimeError("metrics are down")

    caught = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: caught.append(context["exception"]))
    batcher = batcher_of(BlockingModel(blocked=False), batch_rows=1, on_batch=angry)
    (got,), _ = await batcher.submit(rows(1, 2, 3), later())
    assert got.tolist() == [2, 4, 6]
    assert {str(error) for error in caught} == {"metrics are down"}


async def test_a_storm_of_cancellations_and_poison_never_mixes_or_loses_an_answer(batcher_of):
    batcher = batcher_of(BlockingModel(blocked=False), batch_rows=4, queue_rows=10_000)
    rng = np.random.default_rng(1)

    async def one(number: int) -> str:
        values = [float(number * 10 + i) for i in range(1 + number % 6)]
        if number % 7 == 0:
            values[-1] = -1.0
        task = asyncio.create_task(batcher.submit(rows(*values), later()))
        if number % 5 == 0:
            await asyncio.sleep(float(rng.uniform(0, 0.01)))
            task.cancel()
        try:
            (got,), _ = await task
        except asyncio.CancelledError:
            return "gone"
        except BadOutput:
            return "bad"
        assert got.tolist() == [2 * value for value in values]
        assert number % 7
        return "good"

    logging.disable(logging.CRITICAL)
    try:
        outcomes = await asyncio.gather(*(one(number) for number in range(1, 400)))
    finally:
        logging.disable(logging.NOTSET)
    assert outcomes.count("good") >= 270
    assert outcomes.count("bad") >= 40
    assert batcher.queued == 0
    assert batcher.healthy
