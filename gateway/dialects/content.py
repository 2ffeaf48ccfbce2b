"""The content of messages: text made harmless, media checked against what the variant takes in."""

from collections.abc import Sequence
from typing import Final, assert_never

from gateway.dialects.control_tokens import MarkerGuard
from gateway.errors import InvalidRequest, UnsupportedModality
from gateway.values import Modality, Variant
from gateway.wire.messages import AudioPart, FilePart, ImagePart, Part, RefusalPart, TextPart, VideoPart

MediaPart = dict[str, object]
"""A content part as vLLM takes it: `image_url`, `input_audio` or `video_url`."""
Segment = str | MediaPart
"""A run of text, or one piece of media."""

_PLURAL: Final[dict[Modality, str]] = {"text": "text", "image": "images", "audio": "audio", "video": "video"}


class ContentReader:
    """Reads message contents for one request; `neutralised` tells whether any text had to be changed."""

    __slots__ = ("_guard", "_variant", "neutralised")

    def __init__(self, variant: Variant, guard: MarkerGuard) -> None:
        self._variant = variant
        self._guard = guard
        self.neutralised = False

    def text(self, text: str, param: str) -> str:
        """`text` without control tokens. Raises InvalidRequest for `param` if the guard rejects it."""
        clean = self._guard.neutralise(text, param)
        if clean is not text:
            self.neutralised = True
        return clean

    def joined_text(self, content: str | Sequence[TextPart | RefusalPart] | None, param: str) -> str:
        """The text of a content without media; parts are joined by a newline, as vLLM does it."""
        if content is None:
            return ""
        if isinstance(content, str):
            return self.text(content, param) if "<" in content else content
        pieces = [part.text if isinstance(part, TextPart) else part.refusal for part in content]
        return self.text("\n".join(pieces), param)

    def segments(self, content: str | Sequence[Part], index: int) -> list[Segment]:
        """The content of message `index` in order, neighbouring texts joined.

        A template writes neighbouring texts without anything between them, so that `<end_of` and `_turn>` in two parts
        would become a control token: they must not stay apart.
        """
        param = f"messages[{index}].content"
        if isinstance(content, str):
            return [self.text(content, param)]
        segments: list[Segment] = []
        for position, part in enumerate(content):
            if isinstance(part, TextPart):
                append_text(segments, self.text(part.text, f"{param}[{position}].text"), "\n")
            else:
                segments.append(self._media(part, f"{param}[{position}]"))
        return segments

    def _media(self, part: Part, param: str) -> MediaPart:
        match part:
            case ImagePart():
                self._require("image", param)
                url = part.image_url.url
                check_url(url, f"{param}.image_url.url")
                return {"type": "image_url", "image_url": {"url": url}}
            case VideoPart():
                self._require("video", param)
                url = part.video_url.url
                check_url(url, f"{param}.video_url.url")
                return {"type": "video_url", "video_url": {"url": url}}
            case AudioPart():
                self._require("audio", param)
                audio = part.input_audio
                return {"type": "input_audio", "input_audio": {"data": audio.data, "format": audio.format}}
            case FilePart():
                raise InvalidRequest(
                    "File parts are not supported; send the file's text, or its pages as images.", param=param
                )
            case _:
                raise InvalidRequest("This part is not allowed in the message's role.", param=param)

    def _require(self, modality: Modality, param: str) -> None:
        if modality not in self._variant.modalities:
            name, takes = self._variant.name, _takes(self._variant.modalities)
            raise UnsupportedModality(f"{name} takes {takes}, no {_PLURAL[modality]}.", param=param)


def append_text(segments: list[Segment], text: str, separator: str) -> None:
    """Adds `text` to the last run of text, or starts one; empty text adds nothing to a run."""
    last = segments[-1] if segments else None
    if not isinstance(last, str):
        segments.append(text)
    elif last and text:
        segments[-1] = f"{last}{separator}{text}"
    elif text:
        segments[-1] = text


def content_of(segments: Sequence[Segment]) -> str | list[dict[str, object]]:
    """A string where there is text only: the templates of Gemma 1 and 2 take nothing else."""
    if len(segments) == 1 and isinstance(segments[0], str):
        return segments[0]
    parts: list[dict[str, object]] = []
    for segment in segments:
        match segment:
            case "":
                continue
            case str():
                parts.append({"type": "text", "text": segment})
            case dict():
                parts.append(segment)
            case _:
                assert_never(segment)
    return parts


def _takes(modalities: frozenset[Modality]) -> str:
    names = [_PLURAL[each] for each in ("text", "image", "audio", "video") if each in modalities]
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else f"{names[0]} only"


def check_url(url: str, param: str) -> None:
    """Check that a medium's URL is one that an engine takes. Raises InvalidRequest for `param`."""
    scheme, colon, rest = url.partition(":")
    match scheme.lower():
        case "http" | "https" if rest.startswith("//") and rest != "//":
            return
        case "data" if colon and rest.partition(",")[0].lower().endswith(";base64"):
            return
        case "data":
            raise InvalidRequest("A data URL must be of the form 'data:<media type>;base64,<data>'.", param=param)
        case _:
            raise InvalidRequest("The URL must start with 'https://', 'http://' or 'data:'.", param=param)
