"""A Kubernetes API server that tells, keeps to itself, forgets and fails: what is known here is right again soon.

"Soon" is one relist: nothing that the server does may need longer.
"""

import asyncio
import random
import subprocess
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.background import end_task
from gateway.config.model import KubernetesService
from gateway.routing.discovery.endpoint import Endpoint
from gateway.routing.discovery.kubernetes import ClusterAccess, KubernetesSource
from tests.support.admin_client import ADMIN_KEY, admin, admin_json
from tests.support.fake_cluster import FakeCluster, Trouble
from tests.support.gateway_process import GatewayProcess, gateway_config
from tests.support.gateway_view import metric, wait_for, wait_until_up
from tests.support.raw_http import MODEL, ask, chat_body, request
from tests.support.sim_worker import SimWorker
from tests.support.slices import SERVICE

RELIST_S = 0.4
WITHIN_S = 6.0
"""A relist and its failures' pauses, on a busy machine."""


@pytest.fixture
def cluster() -> Iterator[FakeCluster]:
    """With two slices of one Service."""
    with FakeCluster() as running:
        running.put("a", ["10.0.0.1", "10.0.0.2"])
        running.put("b", ["10.0.0.3"])
        yield running


class Known:
    """What a source has published."""

    def __init__(self) -> None:
        self.hosts: set[str] = set()
        self.history: list[set[str]] = []
        self._changed = asyncio.Event()

    def take(self, endpoints: frozenset[Endpoint]) -> None:
        self.hosts = {endpoint.host.removeprefix("10.0.0.") for endpoint in endpoints}
        self.history.append(self.hosts)
        self._changed.set()

    async def becomes(self, *hosts: str) -> None:
        """Returns when these are the hosts known; `10.0.0.` is left out."""
        async with asyncio.timeout(WITHIN_S):
            while self.hosts != set(hosts):
                self._changed.clear()
                await self._changed.wait()


@asynccontextmanager
async def following(
    cluster: FakeCluster, *, relist_s: float = RELIST_S, account: Path | None = None, **settings: Any
) -> AsyncGenerator[tuple[Known, KubernetesSource]]:
    known = Known()
    source = KubernetesSource(
        KubernetesService(SERVICE, **settings),
        ClusterAccess(cluster.url, account),
        known.take,
        rng=random.Random(1),
        relist_s=relist_s,
    )
    task = asyncio.create_task(source.run())
    try:
        yield known, source
    finally:
        await end_task(task)


def run(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(test())


async def holds(condition: Callable[[], object]) -> None:
    """Returns when it does."""
    async with asyncio.timeout(WITHIN_S):
        while not condition():  # noqa: ASYNC110  # it is a thread's
            await asyncio.sleep(0.01)


def test_changes_are_told_by_the_watch(cluster: FakeCluster) -> None:
    """Long before a relist, bookmarks between them; the next watch goes on where the last has ended."""

    async def test() -> None:
        async with following(cluster, relist_s=600) as (known, source):
            await known.becomes("1", "2", "3")
            await holds(lambda: cluster.watches == 1)
            cluster.bookmark()
            cluster.put("a", ["10.0.0.1"])
            await known.becomes("1", "3")
            cluster.delete("b")
            await known.becomes("1")
            cluster.put("c", ["10.0.0.4"])
            await known.becomes("1", "4")
            cluster.put("c", ["10.0.0.4"], ready=False)
            await known.becomes("1")
            cluster.bookmark()
            cluster.break_watches()
            await holds(lambda: cluster.watches == 1)
            cluster.put("d", ["10.0.0.5"])
            await known.becomes("1", "5")
            assert cluster.lists <= 2
            assert source.problem == ""

    run(test)


@pytest.mark.parametrize("in_stream", [True, False], ids=["as an event", "as the answer"])
def test_a_history_that_is_gone_is_listed_anew(cluster: FakeCluster, in_stream: bool) -> None:
    """410: what happened meanwhile is known after one list, and nothing is forgotten until then."""

    async def test() -> None:
        async with following(cluster, relist_s=600) as (known, _):
            await known.becomes("1", "2", "3")
            await holds(lambda: cluster.watches == 1)
            cluster.delete("b", tell=False)
            cluster.compact(in_stream=in_stream)
            await known.becomes("1", "2")
            await holds(lambda: cluster.watches == 1)
            cluster.put("c", ["10.0.0.4"])
            await known.becomes("1", "2", "4")
            assert set() not in known.history

    run(test)


def test_a_deletion_that_was_never_told_is_found_out(cluster: FakeCluster) -> None:
    """As is an addition: within one relist."""

    async def test() -> None:
        async with following(cluster) as (known, _):
            await known.becomes("1", "2", "3")
            cluster.delete("a", tell=False)
            await known.becomes("3")
            cluster.put("z", ["10.0.0.9"], tell=False)
            await known.becomes("3", "9")

    run(test)


@pytest.mark.parametrize("trouble", ["status 403", "status 410", "status 500", "nonsense", "silence"])
def test_a_server_in_trouble_takes_no_worker_with_it(
    cluster: FakeCluster, trouble: Trouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it answers, those known stay; the problem is told; when it is well again, so are we."""
    monkeypatch.setattr("gateway.routing.discovery.kubernetes.LIST_TIMEOUT_S", 0.3)

    async def test() -> None:
        async with following(cluster) as (known, source):
            await known.becomes("1", "2", "3")
            cluster.trouble = trouble
            cluster.break_watches()
            await holds(lambda: source.problem)
            if trouble == "status 403":
                assert "may not list and watch endpointslices" in source.problem
            cluster.delete("b")
            asked = len(cluster.asked)
            await holds(lambda: len(cluster.asked) > asked)
            assert known.hosts == {"1", "2", "3"}
            cluster.trouble = "none"
            cluster.break_watches()
            await known.becomes("1", "2")
            await holds(lambda: not source.problem)

    run(test)


def test_a_server_that_is_away_at_the_start_is_waited_for(cluster: FakeCluster) -> None:
    """Nothing is published before the first list is complete: an empty fleet would look like a true one."""
    cluster.trouble = "status 500"

    async def test() -> None:
        async with following(cluster) as (known, source):
            await holds(lambda: "no luck" in source.problem)
            assert known.history == []
            cluster.trouble = "none"
            await known.becomes("1", "2", "3")

    run(test)


def test_lists_come_in_pages(cluster: FakeCluster) -> None:
    """All pages make one list."""
    cluster.page_size = 1
    cluster.put("c", ["10.0.0.4"])

    async def test() -> None:
        async with following(cluster, relist_s=600) as (known, _):
            await known.becomes("1", "2", "3", "4")
            assert known.history == [{"1", "2", "3", "4"}]
            assert cluster.lists == 3

    run(test)


def make_account(folder: Path) -> Path:
    """A service account's folder, whose CA is the certificate of a server at 127.0.0.1, `server.pem`."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out ca.crt -days 2 -subj /CN=cluster"
    folder.mkdir()
    subprocess.run([*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True)
    (folder / "server.pem").write_text((folder / "ca.crt").read_text() + (folder / "key.pem").read_text())
    (folder / "namespace").write_text("models\n")
    (folder / "token").write_text("first\n")
    return folder


def test_a_service_account_is_used_as_it_is_now(tmp_path: Path) -> None:
    """The server must have the account's CA, the token is read for every request, the namespace is the Pod's own."""
    account, other = make_account(tmp_path / "own"), make_account(tmp_path / "other")

    async def test() -> None:
        with FakeCluster(namespace="models", certificate=account / "server.pem") as cluster:
            cluster.put("a", ["10.0.0.1"])
            async with following(cluster, account=account) as (known, _):
                await known.becomes("1")
                assert {asked.token for asked in cluster.asked} == {"Bearer first"}
                (account / "token").write_text("second\n")
                await holds(lambda: cluster.asked[-1].token == "Bearer second")
                paths = {asked.path for asked in cluster.asked}
                assert paths == {"/apis/discovery.k8s.io/v1/namespaces/models/endpointslices"}
            asked = len(cluster.asked)
            async with following(cluster, account=other) as (known, source):
                await holds(lambda: "CERTIFICATE_VERIFY_FAILED" in source.problem)
                assert (known.history, len(cluster.asked)) == ([], asked)

    run(test)


def test_without_a_service_account_it_says_so(cluster: FakeCluster, tmp_path: Path) -> None:
    """A gateway outside a cluster names the file that is missing, and goes on."""

    async def test() -> None:
        async with following(cluster, account=tmp_path) as (known, source):
            await holds(lambda: "ca.crt" in source.problem or "No such file" in source.problem)
            assert known.history == []

    run(test)


def test_random_trouble_ends_in_the_truth(cluster: FakeCluster) -> None:
    """After any of many seeded rows of changes, losses and failures the endpoints are those that exist."""
    rng = random.Random(7)
    names = ["a", "b", "c", "d"]

    async def test() -> None:
        existing = {"a": {"1", "2"}, "b": {"3"}}
        async with following(cluster) as (known, _):
            for _ in range(6):
                for _ in range(8):
                    name = rng.choice(names)
                    match rng.choice(["put", "put", "delete", "compact", "break", "bookmark"]):
                        case "put":
                            hosts = {str(rng.randint(1, 9)) for _ in range(rng.randint(0, 3))}
                            cluster.put(name, [f"10.0.0.{host}" for host in hosts], tell=rng.random() < 0.7)
                            existing[name] = hosts
                        case "delete" if name in existing:
                            cluster.delete(name, tell=rng.random() < 0.7)
                            del existing[name]
                        case "compact":
                            cluster.compact(in_stream=rng.random() < 0.5)
                        case "break":
                            cluster.break_watches()
                        case _:
                            cluster.bookmark()
                    await asyncio.sleep(rng.random() * 0.02)
                await known.becomes(*set().union(*existing.values()))

    run(test)


def test_a_gateway_follows_its_service(
    cluster: FakeCluster,
    start_gateway: Callable[..., GatewayProcess],
    start_sim_worker: Callable[..., SimWorker],
) -> None:
    """Pods of a Service are its workers: those that come are used, those that go aren't; an API server that is away
    changes nothing, is told of, and the admin API leaves what discovery found to it.
    """
    first, second = start_sim_worker(), start_sim_worker()
    cluster.delete("b")
    cluster.put("a", ["127.0.0.1"], port=first.port)
    config = gateway_config(first.url, admin={"key": ADMIN_KEY})
    config["models"][0]["workers"] = [{"kubernetes": {"service": SERVICE, "api": cluster.url}}]
    gateway = start_gateway(config)
    wait_until_up(gateway)

    def asked() -> str:
        return ask(gateway.port, request(chat_body())).headers["x-gateway-worker"]

    assert asked() == f"127.0.0.1:{first.port}"
    cluster.put("b", ["127.0.0.1"], port=second.port)
    wait_until_up(gateway, 2)
    (source,) = admin_json(gateway, "GET", "/workers")["discovery"]
    assert source == {"model": MODEL, "kind": "kubernetes", "name": SERVICE, "problem": None}
    assert admin(gateway, "DELETE", f"/workers/127.0.0.1:{second.port}").status == 409
    cluster.delete("a")
    wait_for(lambda: metric(gateway, "gateway_worker_up") == 1, "the first worker has left")
    assert {asked() for _ in range(5)} == {f"127.0.0.1:{second.port}"}
    assert metric(gateway, "gateway_discovery_up", kind="kubernetes") == 1
    cluster.trouble = "status 403"
    cluster.break_watches()
    wait_for(lambda: metric(gateway, "gateway_discovery_up") == 0, "the loss is seen")
    assert asked() == f"127.0.0.1:{second.port}"
    ready = ask(gateway.port, request(method="GET", path="/readyz"))
    assert ready.status == 200
    assert b"may not list and watch endpointslices" in ready.body
