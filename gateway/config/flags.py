"""What the command line of `gateway serve` adds to the file; the same for every reload."""

from dataclasses import dataclass, replace
from typing import Final

from gateway.config.model import Settings
from gateway.config.problems import ConfigurationError, Problem
from gateway.config.references import counts_apart

_NO_TENANTS: Final = (
    "no tenants: nobody could use this gateway. Give each client a key in the file, such as\n"
    "\n"
    "    tenants:\n"
    "      - id: acme\n"
    "        keys: [{id: acme-dev, secret: ${ACME_DEV_KEY}}]\n"
    "\n"
    "or start with --no-auth to let everybody use every model."
)


@dataclass(frozen=True, slots=True)
class Flags:
    """Each one that is given wins over the file."""

    host: str | None = None
    port: int | None = None
    workers: int | None = None
    no_auth: bool = False

    def apply(self, settings: Settings) -> Settings:
        """Return the settings to serve with. Raises ConfigurationError when they can't be served."""
        if not settings.tenants and not self.no_auth:
            raise ConfigurationError([Problem("tenants", _NO_TENANTS)])
        server = settings.server
        server = replace(
            server,
            host=self.host or server.host,
            port=server.port if self.port is None else self.port,
            workers=self.workers or server.workers,
        )
        flagged = replace(settings, server=server, no_auth=self.no_auth)
        if problems := list(counts_apart(flagged)):
            raise ConfigurationError(problems)
        return flagged
