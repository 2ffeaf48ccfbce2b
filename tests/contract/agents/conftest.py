"""One gateway with every dialect for the whole folder; scripts and requests are new for every test."""

from collections.abc import Iterator

import pytest

from tests.support.tool_deployment import SETUPS, Speaker, running_speakers


@pytest.fixture(scope="session")
def speakers() -> Iterator[dict[str, Speaker]]:
    with running_speakers() as speakers:
        yield speakers


@pytest.fixture(params=SETUPS)
def speaker(request: pytest.FixtureRequest, speakers: dict[str, Speaker]) -> Speaker:
    """A model of each dialect; a request that an earlier test left running fails this one."""
    speaker = speakers[request.param]
    speaker.worker.wait_until(lambda worker: worker.running == 0)
    speaker.worker.reset()
    return speaker
