"""Many clients at once that never stop asking, half of them streaming, and everything that became of each request.

Each request says something that no other says, and the worker repeats it: an answer that belongs to another request, or
lacks a part, is found out.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.support.gateway_process import TEST_KEY

TIMEOUT_S = 60.0
_WORDS = "of many"


@dataclass(slots=True)
class Asked:
    """One request and what was seen of its answer."""

    number: int
    stream: bool
    began: float
    """Monotonic seconds."""
    head_at: float = 0.0
    ended: float = 0.0
    status: int = 0
    worker: str = ""
    said: str = ""
    whole: bool = False
    """Its end came as it should."""
    problem: str = ""
    """Error's code, or what went wrong."""

    @property
    def request_id(self) -> str:
        return f"storm-{self.number}"

    @property
    def wanted(self) -> str:
        """What the worker has to say."""
        return f"number {self.number} {_WORDS}"

    @property
    def good(self) -> bool:
        return self.status == 200 and self.whole and self.said == self.wanted

    @property
    def wrong(self) -> bool:
        """An answer that is complete, or claims to be, but isn't the right one; or a piece that isn't of it."""
        if self.status != 200:
            return False
        return self.said != self.wanted if self.whole else not self.wanted.startswith(self.said)

    @property
    def took_s(self) -> float:
        return self.ended - self.began


class RequestStorm:
    """``with RequestStorm(port, model, clients=200) as storm: …``; leaving lets open requests come to their ends."""

    def __init__(
        self, ports: Sequence[int], model: str, *, clients: int, fields: Callable[[int], dict[str, Any]] | None = None
    ) -> None:
        """`ports`: of gateways, which take turns."""
        self._ports = ports
        self._model = model
        self._clients = clients
        self._fields = fields or (lambda _number: {})
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="storm", daemon=True)
        self.all: list[Asked] = []
        """Every request, from when it was sent."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(2 * TIMEOUT_S)
        assert not self._thread.is_alive(), "requests without an end"

    def wait_until(self, condition: Callable[[list[Asked]], object], what: str, timeout_s: float = 60.0) -> None:
        """Returns when the condition holds of what was asked so far; raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        while not condition(list(self.all)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s:g} s in vain until {what}")
            time.sleep(0.05)

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for client in range(self._clients):
                group.create_task(self._ask_on(stream=client % 2 == 0), name=f"client {client}")

    async def _ask_on(self, *, stream: bool) -> None:
        while not self._stop.is_set():
            asked = Asked(len(self.all), stream, time.monotonic())
            self.all.append(asked)
            try:
                async with asyncio.timeout(TIMEOUT_S):
                    await self._ask(asked)
            except (OSError, TimeoutError, ValueError) as error:
                asked.problem = asked.problem or f"{type(error).__name__}: {error}"
            asked.ended = time.monotonic()

    async def _ask(self, asked: Asked) -> None:
        messages = [{"role": "user", "content": asked.wanted}]
        fields = {"model": self._model, "messages": messages, "stream": asked.stream, **self._fields(asked.number)}
        body = json.dumps(fields).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer {TEST_KEY}\r\n"
            f"x-request-id: {asked.request_id}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        port = self._ports[asked.number % len(self._ports)]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            asked.head_at = time.monotonic()
            lines = answer.decode("latin-1").lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            asked.status = int(lines[0].split()[1])
            asked.worker = headers.get("x-gateway-worker", "")
            chunked = headers.get("transfer-encoding") == "chunked"
            _read_answer(asked, _unchunked(await reader.read()) if chunked else (await reader.read(), True))
        finally:
            writer.close()


def _unchunked(data: bytes) -> tuple[bytes, bool]:
    """The body, and whether it has its end."""
    body = b""
    while data:
        size, _, rest = data.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            return body, True
        body += rest[:length]
        data = rest[length + 2 :]
    return body, False


def _read_answer(asked: Asked, body: tuple[bytes, bool]) -> None:
    data, ended = body
    if not asked.stream or asked.status != 200:
        reply = json.loads(data)
        if asked.status == 200:
            asked.said, asked.whole = reply["choices"][0]["message"]["content"], True
        else:
            asked.problem = reply["error"]["code"]
        return
    events = [frame[6:] for frame in data.decode().split("\n\n") if frame.startswith("data: ")]
    asked.whole = ended and events[-1:] == ["[DONE]"]
    for event in events:
        if event == "[DONE]":
            break
        chunk = json.loads(event)
        if "error" in chunk:
            asked.problem = chunk["error"]["code"]
        for choice in chunk.get("choices", ()):
            asked.said += choice["delta"].get("content") or ""


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which so large a share of them lies."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
