"""Stands between the gateway and a real engine and keeps what was sent: what reached the engine, byte for byte."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

import httpx2


class RecordingProxy:
    """``with RecordingProxy(engine_url) as proxy: … proxy.url … proxy.bodies("/v1/completions")``."""

    def __init__(self, target: str) -> None:
        self._sent: list[tuple[str, bytes]] = []
        client = httpx2.Client(base_url=target, timeout=120)
        sent = self._sent

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self._pass_on(b"")

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                sent.append((self.path, body))
                self._pass_on(body)

            def log_message(self, *_: Any) -> None:
                """Nothing on standard error."""

            def _pass_on(self, body: bytes) -> None:
                answer = client.request(
                    self.command, self.path, content=body, headers={"content-type": "application/json"}
                )
                self.send_response(answer.status_code)
                self.send_header("content-type", answer.headers.get("content-type", "text/plain"))
                self.send_header("content-length", str(len(answer.content)))
                self.end_headers()
                self.wfile.write(answer.content)

        self._client = client
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="recording-proxy", daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._client.close()

    def bodies(self, path: str) -> list[dict[str, Any]]:
        """The JSON bodies that were sent to a path."""
        return [json.loads(body) for sent_to, body in self._sent if sent_to == path]
