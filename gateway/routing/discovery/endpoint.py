"""Where a worker listens, as a source of discovery tells it. No I/O."""

from collections.abc import Callable
from typing import NamedTuple


class Endpoint(NamedTuple):
    """An address and a port."""

    host: str
    """IPv4 or IPv6, the latter without brackets."""
    port: int

    @property
    def url(self) -> str:
        """The worker's base URL."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


Publish = Callable[[frozenset[Endpoint]], None]
"""Takes all endpoints that a source knows of, each time they have changed."""
