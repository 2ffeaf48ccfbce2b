"""When no worker of a model can answer, the next one of its fallbacks does; clients see who it was."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.admin_client import authorization, get_json
from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.gateway_view import log_line, metric, wait_until_idle, wait_until_up
from tests.support.raw_http import RawAnswer, RawClient, ask, chat_body, request
from tests.support.sim_worker import Fault, Script, Settings, SimWorker

FIRST = "google/gemma-3-4b-it"
SECOND = "google/gemma-3-12b-it"
THIRD = "google/gemma-4-12B-it"
EMBEDDER, COPY = "google/embeddinggemma-300m", "acme/embeddinggemma-300m-copy"
LIMITED_KEY = "limited-key-0123456789"
SCREENED_KEY = "screened-key-0123456789"
NARROW_KEY = "narrow-key-0123456789"
BUSY = Script(fault=Fault(kind="status", status=503), times=None)


@dataclass(frozen=True, slots=True)
class Chain:
    """A gateway whose first model falls back to the second, then to the third; each has a worker."""

    gateway: GatewayProcess
    first: SimWorker
    second: SimWorker
    third: SimWorker
    embedder: SimWorker
    copy: SimWorker

    @property
    def workers(self) -> tuple[SimWorker, ...]:
        return (self.first, self.second, self.third, self.embedder, self.copy)


@pytest.fixture(scope="module")
def lasting_chain() -> Iterator[Chain]:
    names = (FIRST, SECOND, THIRD, EMBEDDER, COPY)
    with (
        SimWorker(Settings(model=FIRST)) as first,
        SimWorker(Settings(model=SECOND, max_model_len=2048)) as second,
        SimWorker(Settings(model=THIRD, template="gemma4")) as third,
        SimWorker(Settings(model=EMBEDDER)) as embedder,
        SimWorker(Settings(model=COPY)) as copy,
    ):
        workers = (first, second, third, embedder, copy)
        models: list[dict[str, Any]] = [
            {"name": name, "workers": [{"url": worker.url}]} for name, worker in zip(names, workers, strict=True)
        ]
        models[0]["fallbacks"] = [SECOND, THIRD]
        models[3]["fallbacks"] = [COPY]
        tenants = [
            {"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]},
            {
                "id": "limited",
                "keys": [{"id": "limited-test", "secret": LIMITED_KEY}],
                "limits": {"tokens_per_minute": 1_000_000, "concurrent_requests": 5},
                "model_limits": {SECOND: {"requests_per_hour": 2}},
            },
            {"id": "narrow", "models": [FIRST, THIRD], "keys": [{"id": "narrow-test", "secret": NARROW_KEY}]},
        ]
        screened = {"id": "screened", "filter": "private", "keys": [{"id": "screened-test", "secret": SCREENED_KEY}]}
        config = {
            "server": {"request_timeout_s": 3},
            "models": models,
            "tenants": [*tenants, screened],
            "filters": {"private": {"input": [{"kind": "pii", "types": ["email"], "action": "redact"}]}},
        }
        with GatewayProcess(config) as gateway:
            wait_until_up(gateway, 5)
            yield Chain(gateway, first, second, third, embedder, copy)


@pytest.fixture
def chain(lasting_chain: Chain) -> Iterator[Chain]:
    """Nothing scripted before; nothing in flight after."""
    wait_until_up(lasting_chain.gateway, 5)
    yield lasting_chain
    wait_until_idle(lasting_chain.gateway)
    for worker in lasting_chain.workers:
        worker.reset()


def say(chain: Chain, text: str = "Hello", *, key: str = TEST_KEY, **fields: Any) -> RawAnswer:
    body = chat_body(text, model=FIRST, **fields)
    return ask(chain.gateway.port, request(body, key=authorization(key)))


def answered_by(answer: RawAnswer) -> tuple[str, str | None]:
    """The model that the answer names, and the one that the header does."""
    assert answer.status == 200, answer
    if answer.headers["content-type"].startswith("text/event-stream"):
        frames = [frame for frame in answer.body.split(b"\n\n") if frame.startswith(b"data: {")]
        models = {json.loads(frame[6:])["model"] for frame in frames}
        assert len(models) == 1
        assert b"data: [DONE]" in answer.body
        return models.pop(), answer.headers.get("x-gateway-model")
    return json.loads(answer.body)["model"], answer.headers.get("x-gateway-model")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=503),
        Fault(kind="status", status=429),
        Fault(kind="status", status=500),
        Fault(kind="cut_before_headers"),
    ],
    ids=lambda fault: f"{fault.kind} {fault.status}",
)
def test_the_next_model_answers(chain: Chain, fault: Fault, stream: bool) -> None:
    """Under its own name, in the answer, the header, the log and the metrics; without a fallback there is no header."""
    assert answered_by(say(chain, stream=stream)) == (FIRST, None)
    chain.first.script(Script(fault=fault, times=None))
    before = metric(chain.gateway, "gateway_fallbacks_total", model=FIRST, answered_by=SECOND)
    answer = say(chain, stream=stream)
    assert answered_by(answer) == (SECOND, SECOND)
    assert answer.headers["x-gateway-worker"] == f"127.0.0.1:{chain.second.port}"
    assert metric(chain.gateway, "gateway_fallbacks_total", model=FIRST, answered_by=SECOND) == before + 1
    line = log_line(chain.gateway, answer.headers["x-request-id"])
    assert (line["model"], line["fallback_from"], line["status"]) == (SECOND, FIRST, 200)
    (sent,) = chain.second.generation_requests
    assert sent.body["model"] == SECOND


def test_the_order_is_the_files(chain: Chain) -> None:
    """The third is asked when the second can't either; when none can, the first one's error comes, with its worker."""
    chain.first.script(BUSY)
    chain.second.script(BUSY)
    assert answered_by(say(chain)) == (THIRD, THIRD)
    chain.third.script(BUSY)
    answer = say(chain)
    assert (answer.status, answer.error["code"]) == (503, "no_worker_available")
    assert int(answer.headers["retry-after"]) >= 1
    line = log_line(chain.gateway, answer.headers["x-request-id"])
    assert line["model"] == FIRST
    assert "fallback_from" not in line


@pytest.mark.parametrize("status", [400, 422])
def test_what_is_wrong_with_the_request_stays_wrong(chain: Chain, status: int) -> None:
    """Nobody else is asked."""
    chain.first.script(Script(fault=Fault(kind="status", status=status), times=None))
    assert say(chain).status == 400
    assert chain.second.generation_requests == []


@pytest.mark.parametrize("kind", ["cut_mid_stream", "cut_in_body", "error_mid_stream"])
def test_what_has_begun_is_not_begun_again(chain: Chain, kind: Any) -> None:
    """After the first byte of an answer its failure is the client's to see."""
    chain.first.script(Script(text="a b c", fault=Fault(kind=kind), times=None))
    say(chain, stream="stream" in kind)
    assert chain.second.generation_requests == []


def test_a_stand_in_that_cannot_take_the_request_is_passed_over(chain: Chain) -> None:
    """What is too long for the second goes to the third."""
    chain.first.script(BUSY)
    answer = say(chain, "word " * 1_500, max_tokens=5)
    assert answered_by(answer) == (THIRD, THIRD)


def test_a_key_gets_nobody_it_may_not_use(chain: Chain) -> None:
    """A model that the tenant may not use doesn't stand in for one that it may."""
    chain.first.script(BUSY)
    assert answered_by(say(chain, key=NARROW_KEY)) == (THIRD, THIRD)
    assert chain.second.generation_requests == []


def test_the_limits_of_who_answers_count(chain: Chain) -> None:
    """The second model's hourly limit fills; then the third answers. The first's failures cost nothing."""
    chain.first.script(BUSY)
    assert [answered_by(say(chain, key=LIMITED_KEY, max_tokens=5))[0] for _ in range(3)] == [SECOND, SECOND, THIRD]
    usage = get_json(chain.gateway, "/v1/usage", LIMITED_KEY)
    states = {(state["scope"], state["limit"]): state for state in usage["limits"]}
    assert states["model", "requests_per_hour"]["used"] == 2
    assert states["tenant", "concurrent_requests"]["used"] == 0
    charged = states["tenant", "tokens_per_minute"]["used"]
    assert 0 < charged < 200


def test_tools_are_called_in_the_dialect_of_who_answers(chain: Chain) -> None:
    """Gemma 4 stands in for Gemma 3: its native calls reach the client as OpenAI's."""
    chain.first.script(BUSY)
    chain.second.script(BUSY)
    call = '<|tool_call>call:get_weather{city:<|"|>Oslo<|"|>}<tool_call|>'
    chain.third.script(Script(text=call, times=None))
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": parameters}}]
    answer = say(chain, tools=tools)
    assert answered_by(answer) == (THIRD, THIRD)
    (made,) = json.loads(answer.body)["choices"][0]["message"]["tool_calls"]
    assert (made["function"]["name"], json.loads(made["function"]["arguments"])) == ("get_weather", {"city": "Oslo"})


def test_a_stand_in_gets_what_the_filter_left(chain: Chain) -> None:
    """Screened once, for whoever answers."""
    chain.first.script(BUSY)
    answer = say(chain, "Write to ada@example.com", key=SCREENED_KEY)
    assert answered_by(answer) == (SECOND, SECOND)
    (sent,) = chain.second.generation_requests
    assert "ada@example.com" not in json.dumps(sent.body)
    assert [name for name in answer.headers if "filter" in name]


def test_a_client_that_goes_away_is_not_served_by_another(chain: Chain) -> None:
    """Nor is it a failure of the first."""
    chain.first.script(Script(first_delay_s=30, times=None))
    with RawClient(chain.gateway.port) as client:
        client.send(request(chat_body("Hello", model=FIRST)))
        chain.first.wait_until(lambda w: w.running == 1)
    chain.first.wait_until(lambda w: w.running == 0)
    wait_until_idle(chain.gateway)
    assert chain.second.generation_requests == []


def test_embeddings_fall_back_to_a_copy(chain: Chain) -> None:
    """Of the same variant: its vectors are the same."""
    body = json.dumps({"model": EMBEDDER, "input": "Hello"}).encode()
    chain.embedder.script(BUSY)
    answer = ask(chain.gateway.port, request(body, path="/v1/embeddings"))
    assert answered_by(answer) == (COPY, COPY)


def test_raw_prompts_fall_back_within_the_family(chain: Chain) -> None:
    """Gemma 3's control tokens mean nothing to Gemma 4: the third is not asked."""
    chain.first.script(BUSY)
    body = json.dumps({"model": FIRST, "prompt": "Hello", "max_tokens": 5}).encode()
    assert answered_by(ask(chain.gateway.port, request(body, path="/v1/completions"))) == (SECOND, SECOND)
    chain.second.script(BUSY)
    assert ask(chain.gateway.port, request(body, path="/v1/completions")).status == 503
    assert chain.third.generation_requests == []


def test_under_load_every_request_has_one_answer(chain: Chain) -> None:
    """A first model that fails now and then: nobody sees it, and nobody is answered twice."""
    for _ in range(20):
        chain.first.script(Script(fault=Fault(kind="status", status=500), times=1))

    def one(number: int) -> str:
        return answered_by(say(chain, f"n{number}", stream=number % 2 == 0))[0]

    with ThreadPoolExecutor(8) as pool:
        seen = Counter(pool.map(one, range(60)))
    assert seen[FIRST] + seen[SECOND] == 60
    assert seen[SECOND] == len(chain.second.generation_requests)


def test_a_stream_that_waits_is_answered_by_another(
    start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """Comments have gone out already when the first model's worker dies: the stand-in's answer follows them."""
    first, second = start_sim_worker(model=FIRST), start_sim_worker(model=SECOND)
    models = [
        {"name": FIRST, "workers": [{"url": first.url}], "fallbacks": [SECOND]},
        {"name": SECOND, "workers": [{"url": second.url}]},
    ]
    tenants = [{"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}]
    gateway = start_gateway({"server": {"keepalive_s": 0.1}, "models": models, "tenants": tenants})
    wait_until_up(gateway, 2)
    first.script(Script(first_delay_s=60, times=None))
    with RawClient(gateway.port) as client:
        client.send(request(chat_body("Hello", model=FIRST, stream=True)))
        client.read_until(b": keep-alive")
        first.stop()
        rest = client.read_until(b"data: [DONE]")
    assert b'"error"' not in rest
    assert SECOND.encode() in rest
    wait_until_idle(gateway)
