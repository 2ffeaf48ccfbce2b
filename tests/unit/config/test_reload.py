"""A reload applies a good file and changes nothing with a bad one."""

import asyncio
import logging
from pathlib import Path

import pytest

from gateway.config.flags import Flags
from gateway.config.model import Settings
from gateway.config.problems import ConfigurationError
from gateway.config.reload import ConfigFile, Reloader
from gateway.routing.catalog import VARIANTS

MODELS = 'models: [{name: google/gemma-3-4b-it, workers: [{url: "http://a"}]}]\n'
TENANTS = "tenants: [{id: acme, priority: %d, keys: [{id: dev, secret: ${KEY}}]}]\n"
SECRET = "a-good-secret"


class World:
    """A file, and what reloads of it have applied."""

    def __init__(self, path: Path, flags: Flags | None = None) -> None:
        self.path = path
        self.write(MODELS + TENANTS % 1)
        self.now_s = 100.0
        self.applied: list[Settings] = []
        file = ConfigFile(path, {"KEY": SECRET}, VARIANTS, flags)
        self.loaded = file.load()
        self.reloader = Reloader(file, self.loaded, self.applied.append, now_s=lambda: self.now_s)

    def write(self, text: str) -> None:
        self.path.write_text(text)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """One that was just started."""
    return World(tmp_path / "gateway.yaml")


def test_a_good_file_is_applied(world: World) -> None:
    """As a new version, with another hash, and when."""
    before = world.reloader.version
    assert (before.version, before.loaded_at_s) == (1, 100)
    world.write(MODELS + TENANTS % 2)
    world.now_s = 200
    after = asyncio.run(world.reloader.reload())
    assert after == world.reloader.version
    assert (after.version, after.loaded_at_s, after.restart_needed) == (2, 200, ())
    assert after.sha256 != before.sha256
    assert [settings.tenants[0].priority for settings in world.applied] == [2]
    assert world.reloader.settings is world.applied[0]


@pytest.mark.parametrize(
    ("text", "paths"),
    [
        (
            MODELS + "server: {port: x}\ntenants: [{id: acme, keys: [{id: dev}]}]",
            ["tenants[0].keys[0].secret", "server.port"],
        ),
        (MODELS, ["tenants"]),
        ("models: [", [""]),
    ],
)
def test_a_bad_file_changes_nothing(
    world: World, caplog: pytest.LogCaptureFixture, text: str, paths: list[str]
) -> None:
    """And everything that is wrong is raised and logged, without a secret."""
    before = world.reloader.version
    world.write(text)
    with caplog.at_level(logging.ERROR), pytest.raises(ConfigurationError) as caught:
        asyncio.run(world.reloader.reload())
    assert sorted(problem.path for problem in caught.value.problems) == sorted(paths)
    assert len(caplog.records) == len(paths)
    assert SECRET not in caplog.text
    assert world.reloader.version is before
    assert world.applied == []


def test_a_file_that_is_gone_changes_nothing(world: World) -> None:
    """As when an editor is just replacing it."""
    world.path.unlink()
    with pytest.raises(ConfigurationError):
        asyncio.run(world.reloader.reload())
    assert world.applied == []


def test_what_needs_a_restart_stays_and_is_named(world: World) -> None:
    """Until a restart, or until the file says again what is in force; the tenants change all the same."""
    other = MODELS.replace("//a", "//b") + "server: {port: 1}\n" + TENANTS % 2
    world.write(other)
    version = asyncio.run(world.reloader.reload())
    assert version.restart_needed == ("models", "server")
    (settings,) = world.applied
    assert settings.tenants[0].priority == 2
    assert settings.server == world.loaded.settings.server
    assert settings.models == world.loaded.settings.models
    world.write(MODELS + TENANTS % 3)
    assert asyncio.run(world.reloader.reload()).restart_needed == ()


def test_flags_are_carried_over(tmp_path: Path) -> None:
    """What the command line said needs no restart."""
    world = World(tmp_path / "gateway.yaml", Flags(host="::1", port=0, no_auth=True))
    world.write(MODELS + "server: {host: 10.0.0.1, port: 7}\n")
    assert asyncio.run(world.reloader.reload()).restart_needed == ()
    (settings,) = world.applied
    assert (settings.server.host, settings.server.port, settings.no_auth) == ("::1", 0, True)


def test_signals_reload_in_the_background(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Many at once are few reloads; a bad file is only logged."""

    async def run() -> None:
        world.write(MODELS + TENANTS % 2)
        for _ in range(10):
            world.reloader.reload_soon()
        await world.reloader.close()
        assert world.reloader.version.version == 3
        world.write("models: [")
        world.reloader.reload_soon()
        await world.reloader.close()
        assert world.reloader.version.version == 3

    asyncio.run(run())
    assert "not reloaded" in caplog.text


def test_what_cannot_be_applied_is_not_in_force(world: World) -> None:
    """A fault of ours keeps the old version, too."""

    def fail(settings: Settings) -> None:
        raise RuntimeError("no")

    reloader = Reloader(ConfigFile(world.path, {"KEY": SECRET}, VARIANTS), world.loaded, fail, now_s=lambda: 0)

    async def run() -> None:
        reloader.reload_soon()
        await reloader.close()

    asyncio.run(run())
    assert reloader.version.version == 1
    assert reloader.settings is world.loaded.settings
