"""When calls to Redis leave: those that somebody waits for at the end of the turn, the others with them."""

import asyncio
from collections.abc import Callable
from typing import Any

from gateway.ratelimit.redis_link import POST_WAIT_S, RedisLink
from gateway.ratelimit.redis_scripts import ScriptCall, load_scripts


class Turns:
    """An event loop that is turned by hand."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.close()  # a future only asks it whether it debugs
        self.soon: list[Callable[[], object]] = []
        self.later: list[tuple[float, Callable[[], object]]] = []

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self._loop)

    def call_soon(self, call: Callable[[], object]) -> None:
        self.soon.append(call)

    def call_later(self, seconds: float, call: Callable[[], object]) -> "Turns":
        self.later.append((seconds, call))
        return self

    def turn(self) -> None:
        """Run what was asked for before this turn."""
        calls, self.soon = self.soon, []
        for call in calls:
            call()

    def pass_time(self, seconds: float) -> None:
        """Run what was due by then."""
        due = [call for delay, call in self.later if delay <= seconds]
        self.later = [(delay, call) for delay, call in self.later if delay > seconds]
        for call in due:
            call()


class Written(asyncio.Transport):
    """Notes every write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))


CALL = ScriptCall(load_scripts().settle, ["key"], (), tail=1)


def opened() -> tuple[RedisLink, Turns, list[bytes]]:
    turns, transport = Turns(), Written()
    link = RedisLink(turns, lambda _: None, lambda _about, _reply: None)  # type: ignore[arg-type]  # what it uses of a loop
    link.connection_made(transport)
    return link, turns, transport.writes


def test_what_nobody_waits_for_leaves_with_the_next_call() -> None:
    """In one write, and in the order in which it was said."""
    link, turns, writes = opened()
    assert link.post(CALL, (b"settled",))
    turns.turn()
    assert writes == []
    link.call(CALL, (b"reserved",), None)
    turns.turn()
    (write,) = writes
    assert write.index(b"settled") < write.index(b"reserved")
    turns.pass_time(POST_WAIT_S)
    assert len(writes) == 1


def test_what_nobody_waits_for_does_not_wait_long() -> None:
    """Without another call it leaves by itself, all of it at once."""
    link, turns, writes = opened()
    for _ in range(3):
        assert link.post(CALL, (b"settled",))
    assert [delay for delay, _ in turns.later].count(POST_WAIT_S) == 1
    turns.pass_time(POST_WAIT_S)
    assert [write.count(b"settled") for write in writes] == [3]
    assert link.post(CALL, (b"again",))
    turns.pass_time(POST_WAIT_S)
    assert len(writes) == 2


def test_calls_of_one_turn_leave_in_one_write() -> None:
    """However many."""
    link, turns, writes = opened()
    for _ in range(3):
        link.call(CALL, (b"reserved",), None)
    assert writes == []
    turns.turn()
    assert len(writes) == 1
