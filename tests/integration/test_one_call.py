"""Answers that are complete before the model stops: generation ends, and no token after that is waited or paid for."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway_process import GatewayProcess
from tests.support.gateway_view import log_line, wait_until_idle
from tests.support.raw_http import ask, chat_body, request
from tests.support.sim_worker import Script, SimWorker
from tests.support.tool_task import TOOLS

CALLS = (
    '{"name": "get_weather",',
    ' "parameters": {"city": "Paris", "days": 2}}',
    '\n{"name": "get_time", "parameters": {"zone": "Asia/Tokyo"}}',
)
MUCH_MORE = 1_200
CALL_THEN_MUCH_MORE = Script(chunks=(*CALLS, *[" more"] * MUCH_MORE), delay_s=0.05)
"""A model that wouldn't stop for a minute."""
FIRST_CALL = ("get_weather", {"city": "Paris", "days": 2})


@pytest.fixture
def worker(shared_gateway: GatewayProcess, shared_worker: SimWorker) -> Iterator[SimWorker]:
    shared_worker.reset()
    yield shared_worker
    wait_until_idle(shared_gateway)
    shared_worker.reset()


def calls_of(body: bytes, *, stream: bool) -> list[tuple[str, Any]]:
    """Name and arguments of each call."""
    if not stream:
        message = json.loads(body)["choices"][0]["message"]
        return [(c["function"]["name"], json.loads(c["function"]["arguments"])) for c in message["tool_calls"]]
    calls: dict[int, list[str]] = {}
    for line in body.decode().splitlines():
        if not line.startswith("data: {"):
            continue
        for choice in json.loads(line.removeprefix("data: "))["choices"]:
            for call in choice["delta"].get("tool_calls") or ():
                parts = calls.setdefault(call["index"], ["", ""])
                parts[0] += call["function"].get("name") or ""
                parts[1] += call["function"].get("arguments") or ""
    return [(name, json.loads(arguments)) for name, arguments in calls.values()]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_one_call_ends_generation(shared_gateway: GatewayProcess, worker: SimWorker, stream: bool) -> None:
    """`parallel_tool_calls: false`: the worker stops when the first call is complete, and few tokens count."""
    worker.script(CALL_THEN_MUCH_MORE)
    body = chat_body("Paris?", stream=stream, tools=TOOLS, parallel_tool_calls=False)
    answer = ask(shared_gateway.port, request(body))
    assert answer.status == 200, answer.body
    assert calls_of(answer.body, stream=stream) == [FIRST_CALL]
    worker.wait_until(lambda w: w.aborted == 1)
    tokens = log_line(shared_gateway, answer.headers["x-request-id"])["completion_tokens"]
    assert isinstance(tokens, int)
    assert 0 < tokens < MUCH_MORE / 10


def test_all_calls_come_where_several_are_allowed(shared_gateway: GatewayProcess, worker: SimWorker) -> None:
    """The same answer without the field: both calls, and nothing is cut off."""
    worker.script(Script(chunks=CALLS))
    answer = ask(shared_gateway.port, request(chat_body("Paris?", tools=TOOLS)))
    assert calls_of(answer.body, stream=False) == [FIRST_CALL, ("get_time", {"zone": "Asia/Tokyo"})]
    assert worker.aborted == 0


JSON_FORMAT = {
    "type": "json_schema",
    "json_schema": {
        "name": "weather",
        "strict": True,
        "schema": {"type": "object", "properties": {"celsius": {"type": "integer"}}, "required": ["celsius"]},
    },
}


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_tools_beside_a_format_still_call(shared_gateway: GatewayProcess, worker: SimWorker, stream: bool) -> None:
    """With `response_format` and tools the model may call, and what it calls comes as a call."""
    worker.script(Script(chunks=CALLS[:2]))
    body = chat_body("Paris?", stream=stream, tools=TOOLS, response_format=JSON_FORMAT)
    answer = ask(shared_gateway.port, request(body))
    assert calls_of(answer.body, stream=stream) == [FIRST_CALL]


def test_tools_beside_a_format_leave_its_json_content(shared_gateway: GatewayProcess, worker: SimWorker) -> None:
    """... or write the JSON that was asked for, which stays content: the worker is held to one of both."""
    worker.script(Script(chunks=('{"celsius"', ": 18}")))
    body = chat_body("Paris?", tools=TOOLS, response_format=JSON_FORMAT)
    answer = ask(shared_gateway.port, request(body))
    choice = json.loads(answer.body)["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == ('{"celsius": 18}', "stop")
    assert "tool_calls" not in choice["message"]
    (seen,) = worker.generation_requests
    sent = seen.body
    assert "response_format" not in sent
    rule = json.dumps(sent["structured_outputs"])
    assert "celsius" in rule
    assert "get_weather" in rule
