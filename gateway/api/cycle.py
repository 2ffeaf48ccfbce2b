"""One request and its answer on a client's connection: uvicorn's cycle, writing the head together with the first bytes.

A system call saved per answer is a tenth of what an answer costs here.
"""

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from gateway.api.asgi import Message


class GatewayCycle(RequestResponseCycle):
    """Differs from uvicorn's in `send` only."""

    _head: bytes = b""
    """The answer's head, until the first bytes of its body are sent."""

    async def send(self, message: Message) -> None:  # type: ignore[override]  # the same messages
        """Send a part of the answer; waits while the client's socket is full, does nothing when the client is gone."""
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        if not self.response_started:
            self._start(message)
        elif self.response_complete:
            raise RuntimeError("a part of an answer came after its end")
        else:
            self._write_body(message.get("body", b""), more=message.get("more_body", False))

    def _start(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise RuntimeError("an answer must begin with its head")
        self.response_started = True
        self.waiting_for_100_continue = False
        headers: list[tuple[bytes, bytes]] = message.get("headers", [])
        sized = False
        lines = [STATUS_LINE[message["status"]][:-2]]
        for name, value in headers:
            lines.append(b"%s: %s" % (name, value))
            if name == b"content-length":
                sized = True
                self.expected_content_length = int(value)
            elif name == b"connection" and value == b"close":
                self.keep_alive = False
        self.chunked_encoding = not sized
        if not sized:
            lines.append(b"transfer-encoding: chunked")
        if not self.keep_alive:
            lines.append(b"connection: close")
        head = b"\r\n".join(lines)
        if head.count(b"\n") != len(lines) - 1 or head.count(b"\r") != len(lines) - 1:
            raise RuntimeError("a header value holds a line break")
        self._head = head + b"\r\n\r\n"

    def _write_body(self, body: bytes, *, more: bool) -> None:
        head, self._head = self._head, b""
        if self.scope["method"] == "HEAD":
            data = head
        elif self.chunked_encoding:
            end = b"" if more else b"0\r\n\r\n"
            data = b"%s%x\r\n%s\r\n%s" % (head, len(body), body, end) if body else head + end
        else:
            self.expected_content_length -= len(body)
            if self.expected_content_length < 0 or (self.expected_content_length and not more):
                raise RuntimeError("the answer's body is not of its content-length")
            data = head + body
        self.transport.write(data)
        if not more:
            self.response_complete = True
            self.message_event.set()
            if not self.keep_alive:
                self.transport.close()
            self.on_response()
