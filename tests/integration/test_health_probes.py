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
from gateway.values import ModelName, WorkerId
from tests.support.raw_http import MODEL
from tests.support.sim_worker import Fault, FaultKind, Script, Settings, SimWorker

NONSENSE = ["", "[", "[" * 100_000, "null", "{}", '{"data":[null]}', '{"data":[{"id":"\\ud800"}]}', '{"data":[]}']


def probe(url: str, served_name: str = MODEL) -> Worker:
    """The worker's state after one probe."""
    worker = Worker(WorkerId("worker"), url, None)
    variant = VARIANTS["gemma-3-270m-it"]
    model = ServedModel(
        name=ModelName(MODEL),
        variant=variant,
        served_name=served_name,
        dialect=None,
        aliases=(),
        balance="least-load",
        workers=(worker,),
        created=0,
        context_length=variant.context_tokens,
    )

    async def once() -> None:
        prober = EngineProbe(stop_markers, call_markers)
        try:
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
