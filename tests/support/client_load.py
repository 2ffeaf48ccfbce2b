"""Clients that never stop asking: unary calls and streams, on kept connections and new ones, and what became of each.

A client behaves as a good connection pool does: a kept connection that the server has closed is noticed before it is
used again, and nothing is ever sent twice. What then fails is lost.
"""

import http.client
import json
import select
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import urlsplit

TIMEOUT_S = 30.0


@dataclass(slots=True)
class Outcome:
    """What the clients have seen so far."""

    done: Counter[str] = field(default_factory=Counter)
    """Good answers by kind of client."""
    lost: list[str] = field(default_factory=list)
    """One line for each request without a good answer."""


class ClientLoad:
    """``with ClientLoad(url, key, body, unary=4, streams=4) as load: …``; leaving waits for open requests."""

    def __init__(self, url: str, key: str, body: dict[str, Any], *, unary: int, streams: int) -> None:
        self._address = urlsplit(url).netloc
        self._key = key
        self._body = body
        self.outcome = Outcome()
        self._stop = threading.Event()
        kinds = [*["unary"] * unary, *["stream"] * streams]
        self._threads = [
            threading.Thread(target=self._ask_on, args=(kind, number % 2 == 0), name=f"{kind}-{number}", daemon=True)
            for number, kind in enumerate(kinds)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(TIMEOUT_S)

    def wait_for(self, count: int, timeout_s: float = 30.0) -> None:
        """Returns when every kind of client has had `count` more good answers."""
        before = Counter(self.outcome.done)
        deadline = time.monotonic() + timeout_s
        kinds = {thread.name.partition("-")[0] for thread in self._threads}
        while any(self.outcome.done[kind] < before[kind] + count for kind in kinds):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.outcome.done} after {before}; lost: {self.outcome.lost[:5]}")
            time.sleep(0.02)

    def _ask_on(self, kind: str, keep: bool) -> None:
        connection: http.client.HTTPConnection | None = None
        number = 0
        while not self._stop.is_set():
            number += 1
            if connection is None or not keep or _closed_by_server(connection):
                if connection is not None:
                    connection.close()
                connection = http.client.HTTPConnection(self._address, timeout=TIMEOUT_S)
            where = f"{threading.current_thread().name} {'kept' if number > 1 and keep else 'new'} request {number}"
            try:
                problem = self._ask(connection, kind)
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
            if problem is None:
                self.outcome.done[kind] += 1
            else:
                self.outcome.lost.append(f"{where}: {problem}")
                connection.close()
                connection = None
        if connection is not None:
            connection.close()

    def _ask(self, connection: http.client.HTTPConnection, kind: str) -> str | None:
        """One request; what is wrong with its answer."""
        headers = {"authorization": f"Bearer {self._key}", "content-type": "application/json"}
        body = json.dumps({**self._body, "stream": kind == "stream"})
        connection.request("POST", "/v1/chat/completions", body, headers)
        answer = connection.getresponse()
        data = answer.read()
        if answer.status != 200:
            return f"{answer.status} {data[:300]!r}"
        if kind == "stream":
            return None if data.endswith(b"data: [DONE]\n\n") else f"a stream without its end: {data[-300:]!r}"
        return None if json.loads(data)["choices"][0]["message"]["content"] else "an empty answer"


def _closed_by_server(connection: http.client.HTTPConnection) -> bool:
    """Whether there is something to read where nothing was asked: the end."""
    return connection.sock is not None and bool(select.select([connection.sock], [], [], 0)[0])
