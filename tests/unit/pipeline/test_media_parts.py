"""What a request brings, and what of it is too much."""

import json
from typing import Any

import pytest

from gateway.config.model import MediaSettings
from gateway.pipeline.media_parts import excess_of, media_of
from gateway.routing.selection import NO_MEDIA
from gateway.wire.chat import ChatRequest, parse_chat_request
from tests.unit.pipeline.test_image_size import png, url

SMALL = {"type": "image_url", "image_url": {"url": url(png(10, 20))}}
LARGE = {"type": "image_url", "image_url": {"url": url(png(50_000, 50_000))}}
REMOTE = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
CLIP = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}
VIDEO = {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}}
TEXT = {"type": "text", "text": "What is it?"}


def chat(*contents: Any) -> ChatRequest:
    messages = [{"role": "user", "content": content} for content in contents]
    return parse_chat_request(json.dumps({"model": "m", "messages": messages}).encode())


def test_media_of_all_turns_count() -> None:
    """An engine's limit is for the prompt; the largest image whose header can be read tells the pixels."""
    found = media_of(chat([SMALL, TEXT], "and", [REMOTE, CLIP, VIDEO, SMALL]))
    assert found == MediaSettings(images=3, clips=1, videos=1, image_pixels=200)
    assert media_of(chat("text", [TEXT])) is NO_MEDIA


@pytest.mark.parametrize(
    ("limits", "content", "message", "param"),
    [
        (MediaSettings(images=1), [SMALL, REMOTE], "1 image at most, this one has 2", "messages"),
        (MediaSettings(images=0), [SMALL], "0 images at most, this one has 1", "messages"),
        (MediaSettings(clips=1), [CLIP, CLIP], "1 clip at most", "messages"),
        (MediaSettings(videos=2), [VIDEO] * 3, "2 videos at most", "messages"),
        (MediaSettings(), [TEXT, SMALL, LARGE], "178,956,970 pixels", "messages[0].content[2].image_url.url"),
        (MediaSettings(image_pixels=199), [SMALL], "10 x 20", "messages[0].content[0].image_url.url"),
    ],
)
def test_what_is_too_much_is_named(limits: MediaSettings, content: list[Any], message: str, param: str) -> None:
    """With the limit, what the request has, and where it is."""
    request = chat(content)
    error = excess_of(request, media_of(request), limits)
    assert error is not None
    assert message in str(error)
    assert error.param == param


def test_what_is_within_the_limits_passes() -> None:
    """Exactly at them, too."""
    request = chat([SMALL, SMALL, CLIP, VIDEO, REMOTE])
    assert excess_of(request, media_of(request), MediaSettings(3, 1, 1, 200)) is None
