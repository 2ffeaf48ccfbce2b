"""`deploy/local/up` as a newcomer runs it, with the simulated worker: what it prints works, and it leaves nothing."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.local import environments
from deploy.local.engine import free_port
from deploy.local.places import Places

PLACES = Places.from_environment()
START_DEADLINE_S = 60.0

pytestmark = pytest.mark.skipif(
    not (PLACES.gateway_venv / environments.STAMP).exists(),
    reason="the command would install packages into an environment that it did not make; deploy/local/test makes one",
)


@dataclass(frozen=True, slots=True)
class Running:
    """The command after its last line, what it printed, and where it keeps its things."""

    process: subprocess.Popen[str]
    printed: str
    home: Path
    ports: tuple[int, int]


def start(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PLACES.checkout / "deploy" / "local" / "up", "--engine", "sim", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "GEMMA_GATEWAY_HOME": str(home)},
    )


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("home")
    ports = (free_port(), free_port())
    process = start(home, "--port", str(ports[0]), "--engine-port", str(ports[1]))
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if line.startswith("Ctrl-C"):
            break
    yield Running(process, printed, home, ports)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=START_DEADLINE_S)
    assert process.returncode == 0
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_the_printed_curl_call_works_as_pasted(up: Running) -> None:
    found = re.search(r"^curl (?:.*\\\n)*.*$", up.printed, re.MULTILINE)
    assert found is not None
    answer = subprocess.run(["bash", "-c", f"{found[0]} --fail --silent"], capture_output=True, text=True, check=True)
    assert '"content":' in answer.stdout


def test_the_printed_python_works_as_pasted(up: Running) -> None:
    found = re.search(r"^from openai.*?^print.*?$", up.printed, re.MULTILINE | re.DOTALL)
    assert found is not None
    answer = subprocess.run([sys.executable, "-c", found[0]], capture_output=True, text=True, check=True)
    assert answer.stdout.strip()


def test_the_key_is_kept_for_its_owner_and_shown_to_nobody_else(up: Running) -> None:
    """The file is private, and neither arguments nor logs have the key."""
    file = up.home / "api-key"
    key = file.read_text().strip()
    assert re.fullmatch(r"gk-local-[A-Za-z0-9_-]{32}", key)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"API key   {key}\n" in up.printed
    assert key not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert not any(key in log.read_text() for log in (up.home / "logs").iterdir())


def test_a_taken_port_is_named_before_anything_starts(up: Running, tmp_path: Path) -> None:
    started = time.monotonic()
    second = start(tmp_path, "--port", str(up.ports[0]))
    output, _ = second.communicate(timeout=START_DEADLINE_S)
    assert second.returncode == 1
    assert f"Port {up.ports[0]} is taken" in output
    assert "--port picks another" in output
    assert time.monotonic() - started < 5
