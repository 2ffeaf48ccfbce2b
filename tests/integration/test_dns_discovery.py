"""Names looked up again and again with a real resolver, on a name server that changes, empties and fails."""

import asyncio
import random
from collections.abc import Callable, Iterator

import pytest

from gateway.background import end_task
from gateway.config.model import DnsWorkers
from gateway.routing.discovery.endpoint import Endpoint
from gateway.routing.discovery.names import EMPTY_ANSWERS
from gateway.routing.discovery.resolver import DnsSource
from tests.support.fake_names import FakeNames, Trouble
from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_up
from tests.support.gateway_with_names import NAMES_PORT
from tests.support.raw_http import ask, chat_body, request
from tests.support.sim_worker import SimWorker

NAME = "vllm.test."
SERVICE = "_http._tcp.vllm.test."


@pytest.fixture
def names() -> Iterator[FakeNames]:
    """A name server with one name of two addresses."""
    with FakeNames() as running:
        running.records[NAME, "A"] = ["10.0.0.1", "10.0.0.2"]
        yield running


class Looker:
    """A source that looks up when it is told to, and what it has published."""

    def __init__(self, names: FakeNames, name: str = "vllm", port: int | None = 8000) -> None:
        self.published: list[set[str]] = []
        self.source = DnsSource(DnsWorkers(name, port), self._take, rng=random.Random(1), make_resolver=names.resolver)

    def _take(self, endpoints: frozenset[Endpoint]) -> None:
        self.published.append({f"{endpoint.host}:{endpoint.port}" for endpoint in endpoints})

    def look(self, times: int = 1) -> float | None:
        """How long the last look-up holds."""

        async def looks() -> float | None:
            ttl_s = None
            for _ in range(times):
                ttl_s = await self.source.look_up()
            return ttl_s

        return asyncio.run(looks())


def test_the_addresses_of_a_name_are_followed(names: FakeNames) -> None:
    """Search domains are tried; each change is published once; the records' time to live is told."""
    looker = Looker(names)
    names.ttl_s = 17
    assert looker.look(2) == 17.0
    names.records[NAME, "A"] = ["10.0.0.2", "10.0.0.3"]
    looker.look()
    assert looker.published == [{"10.0.0.1:8000", "10.0.0.2:8000"}, {"10.0.0.2:8000", "10.0.0.3:8000"}]
    assert looker.source.problem == ""


def test_a_name_with_ipv6_addresses_only(names: FakeNames) -> None:
    """They are used where there are no others."""
    del names.records[NAME, "A"]
    names.records[NAME, "AAAA"] = ["fd00::1"]
    looker = Looker(names, NAME)
    looker.look()
    assert looker.published == [{"fd00::1:8000"}]


def test_a_service_tells_hosts_and_ports(names: FakeNames) -> None:
    """SRV: those of the lowest priority, each with all addresses of its target, for as long as the shortest holds."""
    names.records[SERVICE, "SRV"] = ["1 10 8000 vllm.test.", "1 10 9000 one.test.", "2 10 8000 spare.test."]
    names.records["one.test.", "A"] = ["10.0.1.1"]
    looker = Looker(names, SERVICE, None)
    looker.look()
    assert looker.published == [{"10.0.0.1:8000", "10.0.0.2:8000", "10.0.1.1:9000"}]
    assert ("spare.test.", "A") not in names.asked


@pytest.mark.parametrize("gone", [True, False], ids=["no such name", "no records"])
def test_a_name_without_addresses_is_believed_in_the_end(names: FakeNames, gone: bool) -> None:
    """Not at once: a name server that was just restarted knows nothing for a moment."""
    looker = Looker(names)
    looker.look()
    del names.records[NAME, "A"]
    if not gone:
        names.records[NAME, "TXT"] = ['"something else"']
    looker.look(EMPTY_ANSWERS - 1)
    assert looker.published[-1] == {"10.0.0.1:8000", "10.0.0.2:8000"}
    assert looker.source.problem == "the name has no addresses"
    looker.look()
    assert looker.published[-1] == set()


@pytest.mark.parametrize("trouble", ["failure", "refused", "silence", "nonsense"])
def test_a_name_server_in_trouble_takes_no_worker_with_it(
    names: FakeNames, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long: a failure is no answer. It is told, and over when the server is well again."""
    monkeypatch.setattr("gateway.routing.discovery.resolver.LOOKUP_TIMEOUT_S", 0.3)
    looker = Looker(names)
    looker.look()
    names.trouble = trouble
    assert looker.look(EMPTY_ANSWERS + 1) is None
    assert looker.source.problem not in ("", "the name has no addresses")
    assert len(looker.published) == 1
    names.trouble = "none"
    names.records[NAME, "A"] = ["10.0.0.9"]
    looker.look()
    assert (looker.published[-1], looker.source.problem) == ({"10.0.0.9:8000"}, "")


def test_it_looks_again_by_itself(names: FakeNames, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is cancelled."""
    monkeypatch.setattr("gateway.routing.discovery.names.SHORTEST_S", 0.0)
    looker = Looker(names)

    async def run() -> None:
        task = asyncio.create_task(looker.source.run())
        async with asyncio.timeout(5):
            while len(looker.published) < 1:  # noqa: ASYNC110  # told by a callback
                await asyncio.sleep(0.01)
            names.records[NAME, "A"] = ["10.0.0.7"]
            while len(looker.published) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await end_task(task)

    asyncio.run(run())
    assert looker.published[-1] == {"10.0.0.7:8000"}


def test_a_machine_without_a_resolver_is_told(names: FakeNames) -> None:
    """No /etc/resolv.conf: the problem says so, and the task goes on."""

    def broken() -> None:
        raise OSError("no /etc/resolv.conf")

    source = DnsSource(DnsWorkers("vllm", 1), lambda _: None, rng=random.Random(1), make_resolver=broken)  # type: ignore[arg-type]
    assert asyncio.run(source.look_up()) is None
    assert "resolv.conf" in source.problem


def test_a_gateway_follows_a_name(
    names: FakeNames, start_gateway: Callable[..., GatewayProcess], start_sim_worker: Callable[..., SimWorker]
) -> None:
    """Workers come and go with the records, and stay while the name server is away."""
    first, second = start_sim_worker(), start_sim_worker()
    names.records["here.test.", "A"] = ["127.0.0.1"]

    def serve(*workers: SimWorker) -> None:
        names.records[SERVICE, "SRV"] = [f"0 0 {worker.port} here.test." for worker in workers]

    serve(first)
    config = gateway_config(first.url)
    config["models"][0]["workers"] = [{"dns": SERVICE}]
    program = ("-m", "tests.support.gateway_with_names")
    gateway = start_gateway(config, program=program, environment={NAMES_PORT: str(names.port)})
    wait_until_up(gateway)

    def used() -> set[str]:
        answers = [ask(gateway.port, request(chat_body())) for _ in range(10)]
        assert {answer.status for answer in answers} == {200}
        return {answer.headers["x-gateway-worker"] for answer in answers}

    assert used() == {f"127.0.0.1:{first.port}"}
    serve(first, second)
    wait_until_up(gateway, 2)
    serve(second)
    wait_for(lambda: metric(gateway, "gateway_worker_up") == 1, "the first worker has left", 10.0)
    assert used() == {f"127.0.0.1:{second.port}"}
    names.trouble = "failure"
    wait_for(lambda: metric(gateway, "gateway_discovery_up", kind="dns") == 0, "the loss is seen", 10.0)
    assert used() == {f"127.0.0.1:{second.port}"}
