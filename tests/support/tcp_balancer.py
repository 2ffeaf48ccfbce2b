"""A real nginx that balances TCP connections, as the one in front of a gateway's replicas often is."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.gateway_view import wait_for

_CONFIGURATION = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log warn;
worker_processes 1;
events {{ worker_connections 4096; }}
stream {{
    upstream replicas {{
{servers}
    }}
    server {{
        listen 127.0.0.1:{port};
        proxy_pass replicas;
        proxy_connect_timeout 1s;
        proxy_next_upstream on;
    }}
}}
"""


class TcpBalancer:
    """``with TcpBalancer(ports) as balancer: … balancer.url``. A port that refuses is left alone for a second."""

    def __init__(self, ports: Sequence[int]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self._folder = Path(tempfile.mkdtemp(prefix="nginx-test-"))
        servers = "\n".join(f"        server 127.0.0.1:{port} max_fails=1 fail_timeout=1s;" for port in ports)
        text = _CONFIGURATION.format(folder=self._folder, servers=servers, port=self.port)
        (self._folder / "nginx.conf").write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Its warnings and errors."""
        return (self._folder / "error.log").read_text()

    def __enter__(self) -> Self:
        command = ["nginx", "-p", str(self._folder), "-c", str(self._folder / "nginx.conf")]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        wait_for(self._listens, "nginx listens")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        self._process.wait(10)
        shutil.rmtree(self._folder)

    def _listens(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "nginx has ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except ConnectionRefusedError:
            return False
        return True
