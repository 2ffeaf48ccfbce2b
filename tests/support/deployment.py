"""A gateway in front of simulated workers, with a model for each case that clients can meet."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.gateway_process import TEST_KEY, GatewayProcess
from tests.support.sim_worker import Settings, SimWorker

CHAT = "google/gemma-3-270m-it"
ALIAS = "gpt-4o-mini"
"""Another name for CHAT."""
RENAMED = "google/gemma-3-1b-it"
"""Its engine knows it as ENGINE_NAME."""
ENGINE_NAME = "gemma-private"
EMBEDDING = "google/embeddinggemma-300m"
UNREACHABLE = "google/gemma-3-4b-it"
"""Nothing listens where its only worker should be."""
FORBIDDEN = "google/gemma-3-27b-it"
"""The tenant of TEST_KEY may not use it."""
NOWHERE = "http://127.0.0.1:9"
"""The discard port, which nobody serves any more: connections are refused."""


@dataclass(frozen=True, slots=True)
class Workers:
    """One simulated worker per model that can answer."""

    chat: SimWorker
    renamed: SimWorker
    embedding: SimWorker

    def reset(self) -> None:
        """Forgets scripts and requests; raises TimeoutError when a request still runs that should have ended."""
        for worker in (self.chat, self.renamed, self.embedding):
            worker.wait_until(lambda w: w.running == 0)
            worker.reset()

    def configuration(self, **server: Any) -> dict[str, Any]:
        """A gateway's configuration for these workers; `server` is its section of that name."""
        return {
            "server": server,
            "models": [
                {"name": CHAT, "aliases": [ALIAS], "workers": [{"url": self.chat.url}]},
                {"name": RENAMED, "served_name": ENGINE_NAME, "workers": [{"url": self.renamed.url}]},
                {"name": EMBEDDING, "workers": [{"url": self.embedding.url}]},
                {"name": UNREACHABLE, "workers": [{"url": NOWHERE}]},
                {"name": FORBIDDEN, "workers": [{"url": NOWHERE}]},
            ],
            "tenants": [
                {
                    "id": "acme",
                    "models": [CHAT, RENAMED, EMBEDDING, UNREACHABLE],
                    "keys": [{"id": "acme-test", "secret": TEST_KEY}],
                }
            ],
        }


@contextmanager
def running_workers() -> Iterator[Workers]:
    with ExitStack() as stack:
        yield Workers(
            chat=stack.enter_context(SimWorker(Settings(model=CHAT))),
            renamed=stack.enter_context(SimWorker(Settings(model=ENGINE_NAME))),
            embedding=stack.enter_context(SimWorker(Settings(model=EMBEDDING, embedding_size=768))),
        )


@contextmanager
def running_gateway(workers: Workers, **server: Any) -> Iterator[GatewayProcess]:
    """A gateway for `workers`; it must exit with 0 when the block ends."""
    with GatewayProcess(workers.configuration(**server)) as process:
        yield process
