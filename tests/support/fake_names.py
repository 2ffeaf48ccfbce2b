"""A name server on loopback, whose records a test changes while it answers."""

import socket
import threading
from types import TracebackType
from typing import Literal, Self

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.rrset

Trouble = Literal["none", "failure", "refused", "silence", "nonsense"]


class FakeNames:
    """``with FakeNames() as names: names.records["vllm.test.", "A"] = ["10.0.0.1"]``."""

    def __init__(self) -> None:
        self.records: dict[tuple[str, str], list[str]] = {}
        self.ttl_s = 0
        self.trouble: Trouble = "none"
        self.asked: list[tuple[str, str]] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._answer_all, name="fake-names", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def resolver(self) -> dns.asyncresolver.Resolver:
        """One that asks here, with the search domain `test.`."""
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = ["127.0.0.1"]
        resolver.port = self.port
        resolver.search = [dns.name.from_text("test.")]
        resolver.timeout = 0.2
        return resolver

    def _answer_all(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(4096)
            if not data:
                return
            if self.trouble == "silence":
                continue
            self._socket.sendto(b"nonsense" if self.trouble == "nonsense" else self._answer(data), sender)

    def _answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        question = query.question[0]
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append((name, kind))
        reply = dns.message.make_response(query)
        reply.flags |= dns.flags.RA
        if self.trouble != "none":
            reply.set_rcode(dns.rcode.SERVFAIL if self.trouble == "failure" else dns.rcode.REFUSED)
            return reply.to_wire()
        values = self.records.get((name, kind), [])
        if values:
            reply.answer.append(dns.rrset.from_text_list(name, self.ttl_s, "IN", kind, values))
        elif not any(known == name for known, _ in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)
        return reply.to_wire()
