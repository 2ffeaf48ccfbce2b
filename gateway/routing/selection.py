"""Which configured models can serve a request, and which of them is the best for it. Pure.

After the selection guide for the Gemma family: begin with 4B; smaller ones are for light text, larger ones for
demanding work; what a request brings (images, sound, video, tools, a long prompt) decides first, cost second. Models
made for one purpose (medicine, code, translation, function calls alone) answer only those who ask for them by name.
"""

from collections.abc import Iterable
from typing import Final, Literal

from msgspec import Struct

from gateway.config.model import MediaSettings
from gateway.routing.fleet import ServedModel
from gateway.values import Modality, Task

AutoName = Literal["auto", "auto-small", "auto-large"]
AUTO_NAMES: Final[frozenset[str]] = frozenset({"auto", "auto-small", "auto-large"})
GENERAL: Final = "gemma-"
"""How the names of variants for general use begin."""
BALANCED_B: Final = 4.0
"""Parameters, in units of 10^9, of the guide's model for general use."""


NO_MEDIA: Final = MediaSettings(images=0, clips=0, videos=0, image_pixels=0)


class Needs(Struct, frozen=True):
    """What a request asks of a model."""

    task: Task
    modalities: frozenset[Modality] = frozenset({"text"})
    tools: bool = False
    prompt_tokens: int = 0
    """As far as is known; 0: any model can hold it."""
    media: MediaSettings = NO_MEDIA
    """How much of each, and the pixels of the largest image as far as they are known."""


def can_serve(model: ServedModel, needs: Needs) -> bool:
    """Whether the model can take such a request."""
    variant = model.variant
    return (
        variant.task == needs.task
        and needs.modalities <= variant.modalities
        and not (needs.tools and model.dialect is None)
        and needs.prompt_tokens < model.context_tokens
        and (needs.media is NO_MEDIA or has_room(model.media, needs.media))
    )


def has_room(limits: MediaSettings, media: MediaSettings) -> bool:
    """Whether a request with this much is within a model's limits."""
    return (
        media.images <= limits.images
        and media.clips <= limits.clips
        and media.videos <= limits.videos
        and media.image_pixels <= limits.image_pixels
    )


def choose_model(models: Iterable[ServedModel], needs: Needs, wish: AutoName) -> ServedModel | None:
    """Return the model for the request; None when none can serve it. One without a usable worker comes last."""
    able = [m for m in models if m.base is None and m.variant.name.startswith(GENERAL) and can_serve(m, needs)]
    ready = [model for model in able if any(worker.usable for worker in model.workers)] or able
    if not ready:
        return None
    if wish == "auto-large":
        return max(ready, key=_parameters_b)
    balanced = [model for model in ready if _parameters_b(model) >= BALANCED_B]
    if wish == "auto" and balanced:
        return min(balanced, key=_parameters_b)
    return max(ready, key=_parameters_b) if wish == "auto" else min(ready, key=_parameters_b)


def _parameters_b(model: ServedModel) -> float:
    return model.variant.parameters_b or 0.0
