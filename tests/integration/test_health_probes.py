"""Probes against workers that answer with nonsense, or not at all."""

import asyncio
import socket
import threading

import pytest

from gateway.dialects.marked_syntax import call_markers
from gateway.dialects.stops import stop_markers
from gateway.routing.catalog import VARIANTS
from gateway.routing.fleet import ServedModel
from gateway.routing.probe import EngineProbe
from gateway.routing.worker import Worker, WorkerState
from gateway.values import DialectName, ModelName, WorkerId
from tests.support.raw_http import MODEL
from tests.support.sim_worker import Fault, FaultKind, Script, Settings, SimWorker

NONSENSE = ["", "[", "[" * 100_000, "null", "{}", '{"data":[null]}', '{"data":[{"id":"\\ud800"}]}', '{"data":[]}']


def probe(url: str, served_name: str = MODEL, dialect: DialectName | None = None, times: int = 1) -> Worker:
    """The worker's state after so many probes."""
    worker = Worker(WorkerId("worker"), url, None)
    variant = VARIANTS["gemma-3-270m-it"]
    model = ServedModel(
        name=ModelName(MODEL),
        variant=variant,
        served_name=served_name,
        dialect=dialect,
        aliases=(),
        balance="least-load",
        workers=(worker,),
        created=0,
        context_length=variant.context_tokens,
    )

    async def once() -> None:
        prober = EngineProbe(stop_markers, call_markers)
        try:
            for _ in range(times):
                await prober.probe(model, worker)
        finally:
            await prober.close()

    asyncio.run(once())
    return worker


@pytest.fixture
def worker(sim_worker: SimWorker) -> SimWorker:
    """A worker that is up as long as nothing is scripted."""
    assert probe(sim_worker.url).state == "up"
    return sim_worker


def test_an_adapter_has_the_context_of_its_base_model() -> None:
    """vLLM lists a LoRA adapter with `max_model_len: null` and the base model as its parent."""
    with SimWorker(Settings(model=MODEL, max_model_len=2048, lora_modules=("adapter",))) as sim:
        facts = probe(sim.url, served_name="adapter").facts
    assert facts is not None
    assert facts.max_context_tokens == 2048


@pytest.mark.parametrize("body", NONSENSE)
def test_nonsense_is_a_misconfiguration(worker: SimWorker, body: str) -> None:
    """What lists its models in another shape is no vLLM worker, or serves nothing."""
    worker.script(Script(path="/v1/models", fault=Fault(kind="raw_body", status=200, body=body)))
    assert probe(worker.url).state == "misconfigured"
    assert probe(worker.url).state == "up"


@pytest.mark.parametrize("data", [b'{"data":[{"id":"\xff"}]}', b"\xff\xfe", b'{"data":[{"id":"\xed\xa0\x80"}]}'])
def test_bytes_that_are_no_text_are_a_misconfiguration(data: bytes) -> None:
    """Invalid UTF-8 is nonsense as well, and ends no watch."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65_536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nconnection: close\r\n")
                    connection.sendall(b"content-length: %d\r\n\r\n%s" % (len(data), data))

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        assert probe(f"http://127.0.0.1:{listener.getsockname()[1]}").state == "misconfigured"
        server.join(5)


@pytest.mark.parametrize(
    ("kind", "state"),
    [
        ("status", "down"),
        ("garbage", "down"),
        ("cut_before_headers", "down"),
        ("cut_in_headers", "down"),
        ("long_content_length", "down"),
    ],
)
def test_a_broken_health_check_is_down(worker: SimWorker, kind: FaultKind, state: WorkerState) -> None:
    """Whatever breaks `/health`, the worker is down and the probe says why."""
    worker.script(Script(path="/health", fault=Fault(kind=kind)))
    found = probe(worker.url)
    assert found.state == state
    assert found.problem


def questions(sim: SimWorker) -> int:
    """How often the worker was asked whether it parses calls."""
    return sum(seen.path == "/v1/chat/completions" for seen in sim.requests)


@pytest.mark.parametrize("parses", [True, False])
def test_a_tool_parser_is_looked_for_when_a_worker_joins(*, parses: bool) -> None:
    """Not with every probe, but again after it was gone: it may have other flags then."""
    with SimWorker(Settings(model=MODEL, tool_parser=parses)) as sim:
        facts = probe(sim.url, dialect="gemma3-json", times=3).facts
        assert facts is not None
        assert facts.parses_calls is parses
        assert questions(sim) == 1
        sim.script(Script(path="/health"))
        sim.script(Script(path="/health", fault=Fault(kind="status")))
        assert probe(sim.url, dialect="gemma3-json", times=4).state == "up"
        assert questions(sim) == 3


def test_an_answer_that_tells_nothing_is_asked_for_again() -> None:
    """An engine in trouble may have a parser or not; the worker serves meanwhile."""
    with SimWorker(Settings(model=MODEL, tool_parser=True)) as sim:
        trouble = Script(path="/v1/chat/completions", fault=Fault(kind="status", status=503))
        sim.script(trouble)
        unknown = probe(sim.url, dialect="gemma4")
        assert unknown.state == "up"
        assert unknown.facts is not None
        assert unknown.facts.parses_calls is None
        sim.script(trouble)
        known = probe(sim.url, dialect="gemma4", times=3)
        assert known.facts is not None
        assert known.facts.parses_calls is True
        assert questions(sim) == 3


@pytest.mark.parametrize("dialect", ["engine", None])
def test_where_a_parser_does_no_harm_nobody_asks(worker: SimWorker, dialect: DialectName | None) -> None:
    """`engine` wants one, and without tool use there is nothing to lose."""
    probe(worker.url, dialect=dialect)
    assert questions(worker) == 0
