"""The media of a chat: how much of each it brings, and what of it is more than a model takes."""

from collections.abc import Iterator

from gateway.config.model import MediaSettings
from gateway.errors import InvalidRequest
from gateway.pipeline.image_size import image_size
from gateway.routing.selection import NO_MEDIA
from gateway.wire.chat import ChatRequest
from gateway.wire.messages import AudioPart, ImagePart, Part, VideoPart

_KINDS = (ImagePart, AudioPart, VideoPart)


def media_parts(request: ChatRequest) -> Iterator[tuple[str, Part]]:
    """Yield each part that isn't text, with its place in the request."""
    for index, message in enumerate(request.messages):
        content = message.content
        if isinstance(content, list):
            for position, part in enumerate(content):
                if isinstance(part, _KINDS):
                    yield f"messages[{index}].content[{position}]", part


def media_of(request: ChatRequest) -> MediaSettings:
    """Return how much of each there is, and the pixels of the largest image whose header can be read here."""
    images, clips, videos, pixels = 0, 0, 0, 0
    for _, part in media_parts(request):
        if isinstance(part, ImagePart):
            images += 1
            width, height = image_size(part.image_url.url) or (0, 0)
            pixels = max(pixels, width * height)
        elif isinstance(part, AudioPart):
            clips += 1
        else:
            videos += 1
    return MediaSettings(images, clips, videos, pixels) if images or clips or videos else NO_MEDIA


def excess_of(request: ChatRequest, media: MediaSettings, limits: MediaSettings) -> InvalidRequest | None:
    """Return the refusal of a request that brings more than a model takes; None when it doesn't."""
    for name in ("images", "clips", "videos"):
        has, most = getattr(media, name), getattr(limits, name)
        if has > most:
            noun = name if most != 1 else name.removesuffix("s")
            return InvalidRequest(f"One request may have {most} {noun} at most, this one has {has}.", param="messages")
    if media.image_pixels > limits.image_pixels:
        for place, part in media_parts(request):
            size = image_size(part.image_url.url) if isinstance(part, ImagePart) else None
            if size is not None and size[0] * size[1] > limits.image_pixels:
                message = (
                    f"An image may have {limits.image_pixels:,} pixels at most, this one has {size[0]} x {size[1]}."
                )
                return InvalidRequest(message, param=f"{place}.image_url.url")
    return None
