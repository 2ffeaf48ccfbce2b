"""Looking a name up in DNS, again whenever its records' time to live has passed.

dnspython does it and not the system's resolver, which tells neither SRV records nor how long an answer holds. It reads
`/etc/resolv.conf` (search domains too), not `/etc/hosts`.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

import dns.asyncresolver
import dns.exception
import dns.rdtypes.IN.SRV
import dns.resolver
from dns.rdata import Rdata

from gateway.config.model import DnsWorkers
from gateway.routing.discovery.endpoint import Endpoint, Publish
from gateway.routing.discovery.names import NameHistory, Service, pause_after, preferred

LOOKUP_TIMEOUT_S: Final = 5.0
_NOTHING: Final = (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer)

logger = logging.getLogger("gateway.discovery")

MakeResolver = Callable[[], dns.asyncresolver.Resolver]
"""Returns a resolver with the system's settings; may raise OSError or a DNSException."""


class DnsSource:
    """Follows one name; `run` never returns."""

    def __init__(
        self,
        settings: DnsWorkers,
        publish: Publish,
        *,
        rng: random.Random,
        make_resolver: MakeResolver = dns.asyncresolver.Resolver,
    ) -> None:
        self._settings = settings
        self._publish = publish
        self._rng = rng
        self._make_resolver = make_resolver
        self._history = NameHistory()
        self._ttl_s: float | None = None
        """The shortest of the records of a look-up."""
        self.problem = "the name was not looked up yet"
        """What keeps it from knowing; empty when all is well."""

    async def run(self) -> None:
        """Look up until cancelled."""
        while True:
            ttl_s = await self.look_up()
            await asyncio.sleep(pause_after(ttl_s) * (0.9 + 0.2 * self._rng.random()))

    async def look_up(self) -> float | None:
        """Look the name up once, publish what has changed; return how long it holds, None after a failure."""
        self._ttl_s = None
        try:
            resolver = self._make_resolver()  # each time: /etc/resolv.conf may have changed
            if self._settings.port is None:
                found = await self._services(resolver, self._settings.dns)
            else:
                found = await self._addresses(resolver, self._settings.dns, self._settings.port)
        except (dns.exception.DNSException, OSError) as error:
            self._note(f"{type(error).__name__}: {error}")
            return None
        if self._history.take(found) and self._history.endpoints is not None:
            self._publish(self._history.endpoints)
        self._note("" if found else "the name has no addresses")
        return self._ttl_s

    async def _services(self, resolver: dns.asyncresolver.Resolver, name: str) -> frozenset[Endpoint]:
        services = [
            Service(record.priority, record.target.to_text(), record.port)
            for record in await self._records(resolver, name, "SRV")
            if isinstance(record, dns.rdtypes.IN.SRV.SRV)
        ]
        found: set[Endpoint] = set()
        for service in preferred(services):
            found |= await self._addresses(resolver, service.target, service.port)
        return frozenset(found)

    async def _addresses(self, resolver: dns.asyncresolver.Resolver, name: str, port: int) -> frozenset[Endpoint]:
        records = await self._records(resolver, name, "A") or await self._records(resolver, name, "AAAA")
        return frozenset(Endpoint(record.to_text(), port) for record in records)

    async def _records(self, resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> list[Rdata]:
        try:
            answer = await resolver.resolve(name, kind, search=True, lifetime=LOOKUP_TIMEOUT_S)
        except _NOTHING:
            return []
        if answer.rrset is None:
            return []
        ttl_s = float(answer.rrset.ttl)
        self._ttl_s = ttl_s if self._ttl_s is None else min(self._ttl_s, ttl_s)
        records: list[Rdata] = list(answer.rrset)
        return records

    def _note(self, problem: str) -> None:
        if problem and problem != self.problem:
            logger.warning("discovery of the name %s: %s", self._settings.dns, problem)
        elif self.problem and not problem:
            logger.info("discovery of the name %s works", self._settings.dns)
        self.problem = problem
