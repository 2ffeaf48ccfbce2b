"""The commands, as a shell sees them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from gateway import __version__
from gateway.cli import main
from gateway.config.model import Settings
from gateway.config.process_place import ProcessPlace
from gateway.config.reload import ConfigFile, Loaded

MODELS = 'models: [{name: google/gemma-3-4b-it, workers: [{url: "http://127.0.0.1:8000"}]}]\n'
TENANTS = "tenants: [{id: acme, keys: [{id: dev, secret: ${CLI_TEST_KEY}}]}]\n"


class Served(ModuleType):
    """In place of `gateway.server`: remembers what it was asked to serve."""

    def __init__(self) -> None:
        super().__init__("gateway.server")
        self.calls: list[tuple[Settings, ConfigFile]] = []

    def serve(self, file: ConfigFile, loaded: Loaded, place: ProcessPlace | None) -> int:
        """Return a status that can be told from the command's own."""
        assert place is None
        self.calls.append((loaded.settings, file))
        return 7


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    """The stand-in for the server."""
    app = Served()
    monkeypatch.setitem(sys.modules, "gateway.server", app)
    monkeypatch.setattr("gateway.server", app, raising=False)
    return app


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good file."""
    monkeypatch.setenv("CLI_TEST_KEY", "a-good-secret")
    path = tmp_path / "gateway.yaml"
    path.write_text(MODELS + TENANTS)
    return path


def test_check_of_a_good_file_counts(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing on standard error, status 0."""
    assert main(["check", "--config", str(file)]) == 0
    assert capsys.readouterr() == ("ok: 1 model, 1 tenant\n", "")
    file.write_text(MODELS)
    assert main(["check", "--config", str(file)]) == 0
    assert capsys.readouterr() == ("ok: 1 model, 0 tenants\n", "")


def test_check_of_a_bad_file_prints_every_problem(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line each on standard error, status 2."""
    file.write_text(MODELS + "server: {port: x, hots: y}\n")
    assert main(["check", "--config", str(file)]) == 2
    assert capsys.readouterr() == (
        "",
        'server.port: must be a whole number, not text\nserver.hots: unknown key; did you mean "host"?\n',
    )


def test_serve_hands_over_the_settings(file: Path, served: Served) -> None:
    """And returns the server's status."""
    assert main(["serve", "--config", str(file)]) == 7
    ((settings, reread),) = served.calls
    assert reread.load().settings == settings
    assert (settings.server.host, settings.server.port, settings.no_auth) == ("127.0.0.1", 8080, False)


def test_flags_win_over_the_file(file: Path, served: Served) -> None:
    """Port 0 too, which is any free one."""
    file.write_text(MODELS + TENANTS + "server: {host: 10.0.0.1, port: 1234}\n")
    main(["serve", "--config", str(file), "--host", "::1", "--port", "0", "--workers", "1"])
    main(["serve", "--config", str(file)])
    servers = [settings.server for settings, _ in served.calls]
    assert [(server.host, server.port) for server in servers] == [("::1", 0), ("10.0.0.1", 1234)]


def test_without_tenants_serve_refuses(file: Path, served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """Unless told that nobody needs a key."""
    file.write_text(MODELS)
    assert main(["serve", "--config", str(file)]) == 2
    assert served.calls == []
    assert "--no-auth" in capsys.readouterr().err
    assert main(["serve", "--config", str(file), "--no-auth"]) == 7
    assert served.calls[0][0].no_auth


def test_several_processes_that_would_count_apart_are_refused(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The flag is no way round."""
    assert main(["serve", "--config", str(file), "--workers", "2"]) == 2
    assert capsys.readouterr().err.startswith("server.workers: several processes need `redis`")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--port", "x"], "--port: must be from 0 to 65535"),
        (["--port", "65536"], "--port: must be from 0 to 65535"),
        (["--workers", "0"], "--workers: must be 1 or more"),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_wrong_flags(file: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str) -> None:
    """Status 2, like wrong configuration."""
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--config", str(file), *flags])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("argv", [[], ["serve"], ["check"], ["dance"]])
def test_incomplete_commands(argv: list[str]) -> None:
    """A command is required, and the file."""
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """The package's own."""
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"gateway {__version__}\n"


def test_models_prints_an_aligned_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Every row has the columns of the header in the same place."""
    assert main(["models"]) == 0
    header, *rows = capsys.readouterr().out.partition("\n\n")[0].splitlines()
    assert len(rows) > 30
    for column in ("DIALECT", "INPUT", "NOTE"):
        at = header.index(column)
        assert all(row[at - 2 : at] in {"  ", ""} for row in rows)
    row = next(row for row in rows if row.startswith("gemma-3-4b-it "))
    assert row.split()[:7] == ["gemma-3-4b-it", "chat", "gemma3-json", "text,image", "128K", "-", "yes"]


def test_models_may_be_cut_short() -> None:
    """`gateway models | head` ends without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "gateway", "models"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=30, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


def test_models_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """The same facts for scripts."""
    assert main(["models", "--json"]) == 0
    variants = {entry["variant"]: entry for entry in json.loads(capsys.readouterr().out)}
    assert variants["gemma-4-E2B-it"] == {
        "variant": "gemma-4-E2B-it",
        "family": "gemma4",
        "task": "chat",
        "dialect": "gemma4",
        "modalities": ["text", "image", "audio", "video"],
        "context_tokens": 131_072,
        "thinking": True,
        "lora": True,
        "max_audio_s": 30,
        "max_images": None,
        "parameters_b": 5.0,
        "memory_gb": {"bf16": 11.4, "8-bit": 5.7, "4-bit": 2.9},
        "note": "vLLM 0.19.1 or later",
    }
