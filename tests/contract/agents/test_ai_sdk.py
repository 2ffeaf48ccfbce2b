"""Runs the Vercel AI SDK's suite in node/ against every dialect, then looks at what the workers were shown."""

import json
from pathlib import Path

from tests.support.gateway_process import TEST_KEY
from tests.support.model_text import model_text
from tests.support.node_suite import installed_node, run_suite
from tests.support.tool_deployment import Speaker
from tests.support.tool_task import (
    ANSWER,
    QUESTION,
    RESULTS,
    TIME,
    WEATHER,
    check_first_request,
    check_second_request,
)

SUITE = Path(__file__).parent / "node" / "loop.test.js"


def test_ai_sdk(speakers: dict[str, Speaker]) -> None:
    """All its tests pass; the last one of each dialect is a loop of three turns, whose requests are still there."""
    node = installed_node(SUITE.parent)
    task = {"question": QUESTION, "answer": ANSWER, "results": RESULTS, "weather": WEATHER, "time": TIME}
    environment = {
        "GATEWAY_URL": next(iter(speakers.values())).gateway.url,
        "GATEWAY_KEY": TEST_KEY,
        "SPEAKERS": json.dumps([described(name, speaker) for name, speaker in speakers.items()]),
        "TASK": json.dumps(task),
    }
    failures = run_suite(node, SUITE, environment)
    assert not failures, failures
    for speaker in speakers.values():
        first, second, third = speaker.asked
        check_first_request(speaker, first)
        check_second_request(speaker, second)
        check_second_request(speaker, third, calls=2)


def described(name: str, speaker: Speaker) -> dict[str, str]:
    """Where the model is, and its turns."""
    dialect = speaker.setup.dialect
    both = model_text(dialect, [WEATHER, TIME])
    return {
        "name": name,
        "model": speaker.model,
        "worker": speaker.worker.url,
        "weather": model_text(dialect, [WEATHER]),
        "both": both,
        "endless": f"{both}\n{'And so on. ' * 50}",
    }
