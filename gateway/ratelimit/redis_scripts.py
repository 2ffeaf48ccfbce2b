"""The Lua scripts, and calls of them in Redis' protocol (RESP2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha1
from importlib.resources import files
from typing import Final

LUA: Final = files("gateway.ratelimit") / "lua"


@dataclass(frozen=True, slots=True)
class Script:
    """One script, with the clock in front of it."""

    name: str
    source: bytes
    sha: bytes
    """What Redis knows it by: SHA-1 of the source, in hexadecimal."""


@dataclass(frozen=True, slots=True)
class Scripts:
    """All of them."""

    reserve: Script
    settle: Script
    renew: Script
    look: Script
    replicas: Script

    def each(self) -> tuple[Script, ...]:
        """Return those to load."""
        return (self.reserve, self.settle, self.renew, self.look, self.replicas)


def load_scripts(clock: str | None = None) -> Scripts:
    """Read the scripts; `clock` stands in for `clock.lua`."""
    head = clock if clock is not None else (LUA / "clock.lua").read_text()
    return Scripts(*(_script(name, head) for name in ("reserve", "settle", "renew", "look", "replicas")))


def _script(name: str, head: str) -> Script:
    source = f"{head}\n{(LUA / f'{name}.lua').read_text()}".encode()
    return Script(name, source, sha1(source, usedforsecurity=False).hexdigest().encode())


class ScriptCall:
    """A call of a script whose keys and first arguments are the same every time; only a tail of arguments changes."""

    __slots__ = ("_head", "args", "keys", "script", "tail")

    def __init__(self, script: Script, keys: Sequence[str], args: Sequence[str | int], *, tail: int) -> None:
        self.script = script
        self.keys = tuple(key.encode() for key in keys)
        self.args = tuple(str(arg).encode() for arg in args)
        self.tail = tail
        """How many arguments the tail has."""
        self._head = self._begin(b"EVALSHA", script.sha)

    def packed(self, *tail: bytes) -> bytes:
        """Return the command's bytes; Redis answers NOSCRIPT when it has forgotten the script."""
        match tail:  # two and four make a reservation and a settlement: every request comes here
            case (a, b):
                arguments = b"$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(a), a, len(b), b)
            case (a, b, c, d):
                form = b"$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
                arguments = form % (len(a), a, len(b), b, len(c), c, len(d), d)
            case _:
                arguments = b"".join([_bulk(argument) for argument in tail])
        return self._head + arguments

    def packed_with_source(self, *tail: bytes) -> bytes:
        """Return the command's bytes with the script itself, which Redis remembers then."""
        return self._begin(b"EVAL", self.script.source) + b"".join([_bulk(arg) for arg in tail])

    def _begin(self, verb: bytes, script: bytes) -> bytes:
        parts = [verb, script, b"%d" % len(self.keys), *self.keys, *self.args]
        return b"*%d\r\n" % (len(parts) + self.tail) + b"".join(_bulk(part) for part in parts)


def _bulk(text: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(text), text)


def pack(*parts: bytes | str | int) -> bytes:
    """Return one command's bytes."""
    encoded = [part if isinstance(part, bytes) else str(part).encode() for part in parts]
    return b"*%d\r\n" % len(encoded) + b"".join(_bulk(part) for part in encoded)
