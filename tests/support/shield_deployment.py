"""A gateway with simulated ShieldGemma workers: one for text, one for images."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.gateway_process import TEST_KEY
from tests.support.sim_worker import Settings, SimWorker

TEXT_JUDGE = "google/shieldgemma-2b"
IMAGE_JUDGE = "google/shieldgemma-2-4b-it"
CHAT = "google/gemma-3-270m-it"
PIXEL = "data:image/png;base64,iVBORw0KGgo="
"""Stands for an image; the simulated worker doesn't look at it."""
YES = {"Yes": -0.1, "No": -2.353}
"""A violation, with a probability of 0.905."""


@dataclass(frozen=True, slots=True)
class ShieldWorkers:
    """One simulated worker for each model."""

    text: SimWorker
    image: SimWorker
    chat: SimWorker

    def reset(self) -> None:
        """Forgets scripts and requests; raises TimeoutError when a request still runs that should have ended."""
        for worker in (self.text, self.image, self.chat):
            worker.wait_until(lambda each: each.running == 0)
            worker.reset()

    def configuration(self, *, image: bool = True, **sections: Any) -> dict[str, Any]:
        """A gateway's configuration for these workers; `image` False leaves the image model out."""
        images = [{"name": IMAGE_JUDGE, "workers": [{"url": self.image.url}]}] if image else []
        return {
            "models": [
                {"name": CHAT, "workers": [{"url": self.chat.url}]},
                {"name": TEXT_JUDGE, "aliases": ["shield"], "workers": [{"url": self.text.url}]},
                *images,
            ],
            "tenants": [{"id": "acme", "keys": [{"id": "acme-test", "secret": TEST_KEY}]}],
            **sections,
        }


@contextmanager
def shield_workers(*, sees_images: bool = False) -> Iterator[ShieldWorkers]:
    """Workers that say no to everything until a script tells otherwise; the chat model may see images."""
    chat_settings = Settings(model=CHAT, template="plain" if sees_images else "gemma3")
    with (
        SimWorker(Settings(model=TEXT_JUDGE, max_model_len=8192, embeddings=False)) as text,
        SimWorker(Settings(model=IMAGE_JUDGE, template="plain", embeddings=False)) as image,
        SimWorker(chat_settings) as chat,
    ):
        yield ShieldWorkers(text, image, chat)
