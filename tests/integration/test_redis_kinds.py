"""The same store on every kind of Redis: Cluster, behind Sentinels, over TLS, a Unix socket, with a password."""

import asyncio
import random
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, aclosing
from pathlib import Path

import pytest
import redis

from gateway.auth.administration import KeyAdministration, NewKey
from gateway.auth.records import Touched
from gateway.auth.redis_client import open_redis
from gateway.auth.redis_key_store import RedisKeyStore
from gateway.auth.store import StoreUnavailableError
from gateway.config.model import RedisSettings, Secret
from gateway.observability.redis_usage import RedisUsageStore
from gateway.observability.usage import Counts, Subject, UsageBatch
from gateway.ratelimit.redis_store import RedisStore, build_redis_store
from gateway.ratelimit.store import LeaseId
from gateway.routing.redis_load_board import RedisLoadBoard
from gateway.routing.shared_load import Told
from gateway.values import KeyId, ModelName, TenantId
from tests.support.driven_redis import patience
from tests.support.key_files import ADMIN, ring
from tests.support.limit_store_suite import limit_set, window
from tests.support.redis_server import RedisServer

DEADLINE_S = 20.0


def store_at(url: str, replica: str = "a") -> RedisStore:
    return build_redis_store(url, prefix="gw", replica=replica, rng=random.Random(1))


def exercise(url: str, tenants: int = 1) -> list[int]:
    with patience():
        return asyncio.run(_exercise(url, tenants))


async def _exercise(url: str, tenants: int) -> list[int]:
    """Per tenant: reserve twice as often as allowed, at once; settle one; how many were granted."""
    store = store_at(url)
    await store.open()
    assert store.up, store.problem
    granted: list[int] = []
    try:
        for number in range(tenants):
            limits = limit_set(window("requests", 10), window("tokens", 1_000), live=10, tenant=f"tenant-{number}")
            taken = await asyncio.gather(*(store.reserve(limits, 100, LeaseId(f"l{n}")) for n in range(20)))
            held = [one for one in taken if one.verdict.granted]
            granted.append(len(held))
            await store.renew([(limits, one.lease) for one in held])
            store.settle(held[0], 0, 0)
            await asyncio.sleep(0.03)
            assert (await store.reserve(limits, 100, LeaseId("again"))).verdict.granted
            assert not (await store.reserve(limits, 100, LeaseId("more"))).verdict.granted
    finally:
        await store.close()
    return granted


def keep_records(url: str) -> None:
    """A key and its use in the stores that replicas share, from beginning to end."""

    async def run() -> None:
        client = open_redis(RedisSettings(Secret(url)))
        keys, usage = RedisKeyStore(client, "gw"), RedisUsageStore(client, "gw")
        subject = Subject(TenantId("acme"), KeyId("ci"), ModelName("gemma"))
        try:
            administration = KeyAdministration(keys, ring, now_s=time.time)
            async with aclosing(keys.changes()) as changes:
                await anext(changes)
                made = await administration.create_key(NewKey(tenant=TenantId("acme")), ADMIN)
                async with asyncio.timeout(DEADLINE_S):
                    while not (batch := await anext(changes)):
                        pass
            assert batch == [Touched("key", made.key.id)]
            assert (await keys.find([made.key.id]))[made.key.id].key == made.key
            assert made.key in await keys.keys()
            await usage.add(UsageBatch("a", 1, 60, ((subject, Counts(3)),)))
            assert [row.counts.requests for row in await usage.read("minute", [60], None)] == [3]
            board, told = RedisLoadBoard(client, "gw"), Told(1, {"gemma": {"10.0.0.7:8000": 2}})
            assert await board.exchange("a", told) == {"a": told}
            await board.leave("a")
            assert await board.exchange("b", told) == {"b": told}
        finally:
            await client.aclose()

    asyncio.run(run())


async def wait_until_up(store: RedisStore) -> None:
    changed = asyncio.Event()
    store.watch(changed.set)
    async with asyncio.timeout(DEADLINE_S):
        while not store.up:
            await changed.wait()
            changed.clear()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.1)


def test_with_a_password() -> None:
    """The right one works; a wrong one leaves the store away, and says so without it."""
    with RedisServer(password="pass/word") as server:
        host = f"127.0.0.1:{server.port}"
        assert exercise(f"redis://:pass%2Fword@{host}/3") == [10]
        keep_records(f"redis://:pass%2Fword@{host}/3")

        async def wrong() -> tuple[bool, str]:
            store = store_at(f"redis://:wrong-secret@{host}")
            await store.open()
            await store.close()
            return store.up, store.problem

        up, problem = asyncio.run(wrong())
        assert not up
        assert "WRONGPASS" in problem
        assert "wrong-secret" not in problem


def test_at_a_unix_socket(tmp_path: Path) -> None:
    """No port is used."""
    path = tmp_path / "redis.sock"
    with RedisServer(arguments=("--unixsocket", str(path))):
        assert exercise(f"unix://{path}?db=2") == [10]
        keep_records(f"unix://{path}?db=2")


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def certificate(folder: Path) -> None:
    """A certificate of its own for 127.0.0.1."""
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=redis"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True
    )


def test_over_tls(tmp_path: Path) -> None:
    """The server's certificate is checked: an unknown authority isn't believed."""
    certificate(tmp_path)
    tls_port = unused_port()
    files = ("--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem")
    absolute = [str(tmp_path / part) if part.endswith(".pem") else part for part in files]
    with RedisServer(arguments=("--tls-port", str(tls_port), "--tls-auth-clients", "no", *absolute)):
        url = f"rediss://127.0.0.1:{tls_port}/0"
        assert exercise(f"{url}?ssl_ca_certs={tmp_path / 'cert.pem'}") == [10]
        keep_records(f"{url}?ssl_ca_certs={tmp_path / 'cert.pem'}")

        async def unknown() -> str:
            store = store_at(url)
            await store.open()
            await store.close()
            assert not store.up
            return store.problem

        assert "certificate" in asyncio.run(unknown()).lower()


@pytest.fixture(scope="module")
def cluster() -> Iterator[list[RedisServer]]:
    """Three masters."""
    with ExitStack() as stack:
        arguments = ("--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--cluster-port")
        nodes = [stack.enter_context(RedisServer(arguments=(*arguments, str(unused_port())))) for _ in range(3)]
        addresses = [f"127.0.0.1:{node.port}" for node in nodes]
        subprocess.run(
            ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"],
            check=True,
            capture_output=True,
            timeout=DEADLINE_S,
        )
        for node in nodes:
            with redis.Redis(port=node.port, decode_responses=True) as client:
                wait_for(lambda: client.cluster("INFO")["cluster_state"] == "ok", "the cluster is not whole")
        yield nodes


def test_in_a_cluster(cluster: list[RedisServer]) -> None:
    """Each tenant's keys are on one node, tenants are spread over all."""
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster)
    assert exercise(f"redis+cluster://{hosts}", tenants=12) == [10] * 12
    keys = []
    for node in cluster:
        with redis.Redis(port=node.port, decode_responses=True) as client:
            keys.append({key.split("}")[0] for key in client.keys("{gw:*")})
    assert all(keys)
    assert sum(len(tags) for tags in keys) == 12
    keep_records(f"redis+cluster://{hosts}")


def test_a_cluster_that_lost_a_master_counts_as_gone(cluster: list[RedisServer]) -> None:
    """With it some tenants' limits are gone; nobody waits for it longer than once."""
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in cluster)

    async def run() -> None:
        store = store_at(f"redis+cluster://{hosts}")
        await store.open()
        cluster[1].pause()
        try:
            limits = [limit_set(window("requests", 99), tenant=f"tenant-{n}") for n in range(12)]
            began = time.monotonic()
            await asyncio.gather(*(store.reserve(one, 0, LeaseId("l")) for one in limits), return_exceptions=True)
            assert time.monotonic() - began < 0.1
            assert store.problem
        finally:
            cluster[1].resume()
        await wait_until_up(store)
        await store.close()

    asyncio.run(run())


def test_a_cluster_that_is_away() -> None:
    """It is gone like a server would be, for limits and for keys; the gateway tries again."""
    url = f"redis+cluster://127.0.0.1:{unused_port()}"

    async def run() -> None:
        store = store_at(url)
        await store.open()
        assert not store.up
        assert store.problem
        assert not any(task.done() for task in store._tasks)
        await store.close()
        client = open_redis(RedisSettings(Secret(url)))
        with pytest.raises(StoreUnavailableError):
            await RedisKeyStore(client, "gw").keys()
        await client.aclose()

    asyncio.run(run())


def test_behind_sentinels(tmp_path: Path) -> None:
    """The master is found; when it dies, the one that took its place is."""
    with ExitStack() as stack:
        master = stack.enter_context(RedisServer())
        replica = stack.enter_context(RedisServer(arguments=("--replicaof", "127.0.0.1", str(master.port))))
        config = (
            f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        )
        sentinel = stack.enter_context(RedisServer(config=config, arguments=("--sentinel",)))
        with redis.Redis(port=sentinel.port, decode_responses=True) as client:
            wait_for(lambda: len(client.sentinel_slaves("main")) == 1, "the Sentinel knows no replica")
        url = f"redis+sentinel://127.0.0.1:1,127.0.0.1:{sentinel.port}/main"
        assert exercise(url) == [10]
        keep_records(url)

        async def fail_over() -> None:
            store = store_at(url)
            await store.open()
            assert not store.problem
            master.stop()
            await store._gone.wait()
            await wait_until_up(store)
            taken = await store.reserve(limit_set(window("requests", 5), tenant="other"), 0, LeaseId("one"))
            assert taken.verdict.granted
            await store.close()

        asyncio.run(fail_over())
        with replica.client() as client:
            assert client.exists("{gw:other}:w:requests:60000000")
