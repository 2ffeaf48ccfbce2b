"""The gateway's command on a machine whose name server listens on NAMES_PORT: `/etc/resolv.conf` can't tell a port."""

import os
import sys
from typing import Final

import dns.asyncresolver

NAMES_PORT: Final = "NAMES_PORT"


class _Resolver(dns.asyncresolver.Resolver):
    def __init__(self) -> None:
        super().__init__(configure=False)
        self.nameservers = ["127.0.0.1"]
        self.port = int(os.environ[NAMES_PORT])


if __name__ == "__main__":
    dns.asyncresolver.Resolver = _Resolver  # type: ignore[assignment,misc]  # before anybody has taken the real one
    from gateway.cli import main

    sys.exit(main())
