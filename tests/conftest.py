"""What several rooms' tests need."""

import pytest

from service.batcher import Batcher
from tests.toy import make_bundle


@pytest.fixture(scope="session")
def toy_bundle(tmp_path_factory):
    """A verified toy bundle; to damage one, copy it."""
    return make_bundle(tmp_path_factory.mktemp("bundle") / "toy")


@pytest.fixture
async def batcher_of():
    """Make started batchers around a fake run; they are closed after the test."""
    made = []

    def make(run, **settings):
        made.append(Batcher(run, **({"batch_rows": 8, "queue_rows": 100} | settings)))
        made[-1].start()
        return made[-1]

    yield make
    for batcher in made:
        await batcher.aclose(drain_s=5)
