"""`gateway keys`, as a shell sees it, on a real Redis."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.key_files import FILE
from tests.support.redis_server import RedisServer

PASSWORD = "redis-password"


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    """One for this module."""
    with RedisServer(password=PASSWORD) as server:
        yield server


@pytest.fixture
def config(tmp_path: Path, redis_server: RedisServer) -> Path:
    """A file with that Redis, and a prefix of its own."""
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE + f"redis: {{url: '{redis_server.url}', prefix: '{tmp_path.name}'}}\n")
    return path


def keys(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    verb, *rest = arguments
    command = [sys.executable, "-m", "gateway", "keys", verb, "--config", str(config), *rest]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_key_from_beginning_to_end(config: Path, redis_server: RedisServer) -> None:
    """The secret is alone on standard output, once; Redis has none."""
    made = keys(config, "create", "--tenant", "acme", "--id", "ci", "--limit", "requests_per_minute=5")
    assert (made.returncode, made.stdout[:6], made.stdout.count("\n")) == (0, "gk-ci-", 1)
    first = made.stdout.strip()
    assert first not in made.stderr
    assert "shown only now" in made.stderr

    listed = keys(config, "list")
    assert [line.split()[:4] for line in listed.stdout.splitlines()] == [
        ["ID", "TENANT", "SOURCE", "STATUS"],
        ["acme-dev", "acme", "file", "active"],
        ["ci", "acme", "store", "active"],
    ]
    rotated = keys(config, "rotate", "--id", "ci", "--overlap-s", "60")
    second = rotated.stdout.strip()
    assert second != first
    assert "lives until" in rotated.stderr
    revoked = keys(config, "revoke", "--id", "ci")
    assert (revoked.returncode, revoked.stdout, revoked.stderr) == (0, "", "revoked ci of acme\n")
    contents = redis_server.dump().decode(errors="replace")
    assert '"actor":{"name":"cli"' in contents
    for secret in (first, second):
        assert secret[-32:] not in contents + listed.stdout + revoked.stderr


def test_json_for_scripts(config: Path) -> None:
    """One object or list on standard output, nothing on standard error."""
    arguments = ("--tenant", "acme", "--model", "*-4b-*", "--expires", "2030-01-01", "--json")
    made = keys(config, "create", *arguments)
    assert made.stderr == ""
    key = json.loads(made.stdout)
    assert key["secret"].startswith(f"gk-{key['id']}-")
    assert (key["models"], key["expires"], key["source"]) == (["*-4b-*"], "2030-01-01T00:00:00Z", "store")
    rotated = json.loads(keys(config, "rotate", "--id", key["id"], "--json").stdout)
    assert rotated["secret"] != key["secret"]
    revoked = json.loads(keys(config, "revoke", "--id", key["id"], "--json").stdout)
    assert (revoked["status"], "secret" in revoked) == ("revoked", False)
    listed = json.loads(keys(config, "list", "--tenant", "acme", "--json").stdout)
    assert [one["source"] for one in listed] == ["file", "store"]
    assert json.loads(keys(config, "list", "--tenant", "nobody", "--json").stdout) == []


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("create", "--tenant", "nobody"), 1, "There is no tenant 'nobody'."),
        (("create", "--tenant", "acme", "--id", "acme-dev"), 1, "is in the configuration file"),
        (("create", "--tenant", "acme", "--expires", "soon"), 1, "'--expires' must be a date"),
        (("create", "--tenant", "acme", "--limit", "requests_per_second=1"), 2, "must be one of requests_per_minute"),
        (("create", "--tenant", "acme", "--limit", "tokens_per_day=0"), 2, "tokens_per_day must be from 1"),
        (("create",), 2, "--tenant"),
        (("rotate", "--id", "nothing"), 1, "There is no key 'nothing'."),
        (("revoke", "--id", "acme-dev"), 1, "is in the configuration file"),
    ],
)
def test_what_cannot_be_done(config: Path, arguments: tuple[str, ...], status: int, message: str) -> None:
    """One line on standard error, no traceback."""
    done = keys(config, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_redis_it_says_what_to_do(tmp_path: Path) -> None:
    """A key made here would be lost."""
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE)
    for arguments in (("create", "--tenant", "acme"), ("list",), ("revoke", "--id", "x")):
        done = keys(path, *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert "lost at once" in done.stderr
        assert "POST /admin/v1/keys" in done.stderr


def test_a_redis_that_is_away(tmp_path: Path) -> None:
    """Its password isn't shown."""
    path = tmp_path / "gateway.yaml"
    path.write_text(FILE + f"redis: {{url: 'redis://:{PASSWORD}@127.0.0.1:1/0'}}\n")
    done = keys(path, "list")
    assert (done.returncode, done.stdout) == (1, "")
    assert "can't be reached" in done.stderr
    assert PASSWORD not in done.stderr
