"""LoRA adapters follow what the admin API wished: at every worker, also at one that comes later, without a storm."""

import asyncio
import json
import logging
from typing import Any

import httpx2
import pytest

from gateway.errors import Conflict
from gateway.routing.adapter_engine import AdapterEngine, is_fulfilled
from gateway.routing.adapter_keeper import RETRY_S, AdapterKeeper
from gateway.routing.discovery.overrides import MAX_WISHES, AdapterWish, Overrides
from gateway.routing.fleet import Fleet
from gateway.values import ModelName
from tests.support.fleets import FACTS, make_fleet, make_model, make_workers

BASE = ModelName("google/gemma-3-270m-it")
LOADED = AdapterWish(BASE, "support", "/a")
UNLOADED = AdapterWish(BASE, "support")


class Engines:
    """What the workers behind a transport have, and what they were asked; `refusals` answer instead, by host."""

    def __init__(self) -> None:
        self.held: dict[str, dict[str, str]] = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.refusals: dict[str, httpx2.Response] = {}
        self.silent: set[str] = set()
        self.lying: set[str] = set()

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        host, path = request.url.host, request.url.path
        held = self.held.setdefault(host, {})
        if host in self.silent:
            raise httpx2.ReadTimeout("", request=request)
        if path == "/v1/models":
            cards = [{"id": name, "parent": BASE, "root": root} for name, root in held.items()]
            return httpx2.Response(200, json={"data": [{"id": BASE, "max_model_len": 9}, *cards]})
        body = json.loads(request.content)
        self.calls.append((host, path, body))
        if host in self.refusals:
            return self.refusals[host]
        if host in self.lying:
            return httpx2.Response(200)
        if path == "/v1/unload_lora_adapter":
            del held[body["lora_name"]]
        else:
            assert body["load_inplace"] == (body["lora_name"] in held)
            held[body["lora_name"]] = body["lora_path"]
        return httpx2.Response(200, text="Success")


class World:
    """Two workers that are up, a base with an adapter, what is wished, and a clock that a test drives."""

    def __init__(self, *wishes: AdapterWish) -> None:
        self.engines = Engines()
        self.workers = make_workers(2)
        base = make_model(self.workers, name=BASE)
        self.adapter = make_model((), name=BASE, served_name="support", base=base)
        self.fleet: Fleet = make_fleet(base, self.adapter)
        self.wishes = list(wishes)
        self.now = 100.0
        self.newer: list[AdapterWish] | None = None
        """What another gateway has changed the wishes to."""
        engine = AdapterEngine(httpx2.MockTransport(self.engines.answer))
        self.keeper = AdapterKeeper(
            self.fleet, lambda: self.wishes, engine, refresh=self._refresh, clock=lambda: self.now, look_s=0.0
        )

    async def _refresh(self) -> None:
        if self.newer is not None:
            self.wishes, self.newer = self.newer, None

    def have(self, path: str | None) -> bool:
        """Whether both workers have the adapter from there, as far as the gateway knows."""
        return all(worker.adapters.get("support") == path for worker in self.workers)


async def until(condition: Any) -> None:
    """Lets the keeper's tasks run until something holds."""
    for _ in range(2_000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("waited in vain")


async def no_news() -> None:
    """Nobody else changes anything."""


async def pass_turns() -> None:
    """Lets the keeper look many times."""
    for _ in range(50):
        await asyncio.sleep(0)


def test_wishes_are_fulfilled_at_every_worker_and_the_last_one_holds() -> None:
    """Loaded, moved to another path in place, unloaded; what is done isn't asked again."""

    async def run() -> None:
        world = World(LOADED)
        async with world.keeper:
            await until(lambda: world.have("/a"))
            await pass_turns()
            assert len(world.engines.calls) == 2
            world.wishes = [AdapterWish(BASE, "support", "/b")]
            await until(lambda: world.have("/b"))
            world.wishes = [UNLOADED]
            await until(lambda: world.have(None))
            await until(lambda: not any(world.engines.held.values()))
            await pass_turns()
        assert [path for _, path, _ in world.engines.calls[4:]] == ["/v1/unload_lora_adapter"] * 2
        assert len(world.engines.calls) == 6

    asyncio.run(run())


def test_a_worker_that_restarts_or_joins_gets_the_adapter() -> None:
    """It is loaded as soon as the worker is up, with no pause after what it refused before it went down."""

    async def run() -> None:
        world = World(LOADED)
        first = world.workers[0]
        world.engines.refusals["w0"] = httpx2.Response(500, json={"error": {"message": "no memory", "code": 500}})
        async with world.keeper:
            await until(lambda: len(world.engines.calls) >= 2)
            await pass_turns()
            assert len(world.engines.calls) == 2
            first.mark_down("restarting")
            world.engines.refusals.clear()
            await pass_turns()
            assert len(world.engines.calls) == 2
            first.mark_up(FACTS)
            (late,) = make_workers(1)
            late.url, late.id = "http://late", type(late.id)("late")
            world.fleet.add(world.fleet.models[0], late)
            await until(lambda: world.have("/a") and late.adapters.get("support") == "/a")

    asyncio.run(run())


def test_a_refusal_is_told_and_asked_again_only_after_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """The list shows why; the log has one line for each attempt."""

    async def run() -> None:
        world = World(LOADED)
        world.engines.refusals["w1"] = httpx2.Response(404, json={"detail": "Not Found"})
        async with world.keeper:
            await until(lambda: len(world.engines.calls) == 2)
            await pass_turns()
            assert len(world.engines.calls) == 2
            good, bad = world.keeper.states(world.adapter)
            assert (good.loaded, good.path, good.problem) == (True, "/a", None)
            assert (bad.loaded, bad.path) == (False, None)
            assert "VLLM_ALLOW_RUNTIME_LORA_UPDATING" in (bad.problem or "")
            world.engines.refusals.clear()
            world.now += RETRY_S
            await until(lambda: world.have("/a"))
            await pass_turns()
            assert world.keeper.states(world.adapter)[1].problem is None

    with caplog.at_level(logging.INFO, "gateway.adapters"):
        asyncio.run(run())
    assert len([line for line in caplog.messages if "can't be loaded at worker w1" in line]) == 1
    assert len([line for line in caplog.messages if "is loaded at worker w1" in line]) == 1


@pytest.mark.parametrize(
    ("refusal", "problem"),
    [
        (httpx2.Response(404, json={"error": {"message": "No adapter found for /a", "code": 404}}), "No adapter found"),
        (httpx2.Response(401, json={"error": "Unauthorized"}), "api_key"),
        (httpx2.Response(400, json={"error": "odd"}), "odd"),
        (httpx2.Response(500, content=b"\xff"), "it answered 500"),
        (httpx2.Response(200, content=b"Success"), "/v1/models doesn't show it"),
    ],
)
def test_what_an_engine_refuses_is_said_in_its_words(refusal: httpx2.Response, problem: str) -> None:
    """Whatever it answers is no exception."""

    async def run() -> None:
        world = World()
        world.engines.refusals = {"w0": refusal, "w1": refusal}
        for outcome in await world.keeper.fulfil(LOADED):
            assert (outcome.fulfilled, outcome.refused) == (False, True)
            assert problem in (outcome.problem or "")
            assert len(outcome.problem or "") <= 300

    asyncio.run(run())


def test_who_cannot_be_asked_has_not_refused() -> None:
    """One is down and one says nothing: both may come to have it later."""

    async def run() -> None:
        world = World()
        world.workers[0].mark_down("ConnectError")
        world.engines.silent.add("w1")
        down, silent = await world.keeper.fulfil(LOADED)
        assert (down.fulfilled, down.refused, down.problem) == (False, False, "ConnectError")
        assert (silent.fulfilled, silent.refused, silent.problem) == (False, False, "ReadTimeout")

    asyncio.run(run())


def test_what_is_done_already_is_no_error() -> None:
    """Another gateway was faster: nothing is asked of the engine, and the worker is known to have it."""

    async def run() -> None:
        world = World()
        world.engines.held = {"w0": {"support": "/a"}, "w1": {"support": "/a"}}
        assert [outcome.fulfilled for outcome in await world.keeper.fulfil(LOADED)] == [True, True]
        assert world.engines.calls == []
        assert world.have("/a")

    asyncio.run(run())


def test_nobody_is_sent_to_an_adapter_that_is_being_unloaded() -> None:
    """It counts as gone before the engine is asked; when the engine keeps it, it is there again."""

    async def run() -> None:
        world = World()
        await world.keeper.fulfil(LOADED)
        seen: list[bool] = []
        answer = world.engines.answer

        def look(request: httpx2.Request) -> httpx2.Response:
            if request.url.path == "/v1/unload_lora_adapter":
                seen.append(
                    any(world.adapter.has_adapter(w) and w.url.endswith(request.url.host) for w in world.workers)
                )
            return answer(request)

        world.engines.refusals["w1"] = httpx2.Response(500)
        engine = AdapterEngine(httpx2.MockTransport(look))
        keeper = AdapterKeeper(world.fleet, tuple, engine, refresh=no_news)
        outcomes = await keeper.fulfil(UNLOADED)
        assert [outcome.fulfilled for outcome in outcomes] == [True, False]
        assert seen == [False, False]
        assert [world.adapter.has_adapter(worker) for worker in world.workers] == [False, True]

    asyncio.run(run())


def test_wishes_for_what_the_file_no_longer_has_are_left_alone() -> None:
    """A model that was taken out of the file is nobody's business."""

    async def run() -> None:
        world = World(AdapterWish(ModelName("gone"), "support", "/a"))
        async with world.keeper:
            await pass_turns()
        assert world.engines.calls == []
        assert await world.keeper.fulfil(AdapterWish(ModelName("gone"), "support", "/a")) == []

    asyncio.run(run())


def test_what_another_gateway_has_unloaded_meanwhile_is_not_loaded_again() -> None:
    """An old wish is looked up anew before an engine is asked."""

    async def run() -> None:
        world = World(LOADED)
        world.newer = [UNLOADED]
        async with world.keeper:
            await until(lambda: world.wishes == [UNLOADED])
            await pass_turns()
        assert world.engines.calls == []

    asyncio.run(run())


def test_a_fleet_without_adapters_has_no_task() -> None:
    """It costs nothing."""

    async def run() -> None:
        keeper = AdapterKeeper(make_fleet(make_model(make_workers(1))), tuple, AdapterEngine(), refresh=no_news)
        async with keeper:
            assert not [task for task in asyncio.all_tasks() if task.get_name() == "adapters"]

    asyncio.run(run())


def test_one_wish_holds_for_each_adapter() -> None:
    """The newer takes the older one's place; saying it twice changes nothing; there is a bound."""
    held = Overrides().wish(LOADED).wish(AdapterWish(BASE, "other", "/o"))
    assert held.wish(LOADED) is held
    assert held.wish(UNLOADED).wishes == (AdapterWish(BASE, "other", "/o"), UNLOADED)
    assert held.without_wish(UNLOADED).wishes == (AdapterWish(BASE, "other", "/o"),)
    full = Overrides(wishes=tuple(AdapterWish(BASE, str(number)) for number in range(MAX_WISHES)))
    with pytest.raises(Conflict):
        full.wish(LOADED)


def test_a_worker_that_is_not_up_has_no_adapters() -> None:
    """What it had before may be gone with its restart."""
    (worker,) = make_workers(1)
    worker.note_adapters({"support": "/a"})
    assert is_fulfilled(worker, LOADED)
    worker.mark_down("gone")
    assert not is_fulfilled(worker, LOADED)
    assert worker.adapters == {}
    (unseen,) = make_workers(1, up=False)
    unseen.note_adapters({"support": "/a"})
    assert unseen.adapters == {}
