"""Messages of a chat request, as OpenAI's API reference documents them (chat/create, November 2026).

Decoding with these types is the validation: a message that decodes is one OpenAI would accept in shape. What a Gemma
variant can take is decided later, by its dialect.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

MAX_PARTS = 4096
"""Content parts of one message; far above any real use, low enough to bound work."""


class Part(Struct, frozen=True, tag_field="type", omit_defaults=True):
    """A piece of a message's content."""


class TextPart(Part, frozen=True, tag="text"):
    text: str


class RefusalPart(Part, frozen=True, tag="refusal"):
    refusal: str


class ImageUrl(Struct, frozen=True, omit_defaults=True):
    url: str
    detail: Literal["auto", "low", "high"] | None = None


class ImagePart(Part, frozen=True, tag="image_url"):
    image_url: ImageUrl


class InputAudio(Struct, frozen=True):
    data: str
    """Base64."""
    format: Literal["wav", "mp3", "flac", "ogg", "m4a", "aac", "opus", "webm"]


class AudioPart(Part, frozen=True, tag="input_audio"):
    input_audio: InputAudio


class VideoUrl(Struct, frozen=True):
    url: str


class VideoPart(Part, frozen=True, tag="video_url"):
    """vLLM's own part type; OpenAI has none for video."""

    video_url: VideoUrl


class FileRef(Struct, frozen=True):
    file_id: str | None = None
    file_data: str | None = None
    filename: str | None = None


class FilePart(Part, frozen=True, tag="file"):
    file: FileRef


UserContent = (
    str
    | Annotated[list[TextPart | ImagePart | AudioPart | VideoPart | FilePart], Meta(min_length=1, max_length=MAX_PARTS)]
)
TextContent = str | Annotated[list[TextPart], Meta(min_length=1, max_length=MAX_PARTS)]
AssistantContent = str | Annotated[list[TextPart | RefusalPart], Meta(max_length=MAX_PARTS)] | None
MessageName = Annotated[str, Meta(max_length=256)]


class FunctionCall(Struct, frozen=True):
    name: str
    arguments: str
    """JSON text, written by a model: it may be malformed."""


class ToolCall(Struct, frozen=True, omit_defaults=True):
    id: str
    function: FunctionCall
    type: Literal["function"] = "function"


class Message(Struct, frozen=True, tag_field="role", omit_defaults=True):
    """One turn."""


class SystemMessage(Message, frozen=True, tag="system"):
    content: TextContent
    name: MessageName | None = None


class DeveloperMessage(Message, frozen=True, tag="developer"):
    content: TextContent
    name: MessageName | None = None


class UserMessage(Message, frozen=True, tag="user"):
    content: UserContent
    name: MessageName | None = None


class AssistantMessage(Message, frozen=True, tag="assistant"):
    content: AssistantContent = None
    name: MessageName | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None
    function_call: FunctionCall | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class ToolMessage(Message, frozen=True, tag="tool"):
    content: TextContent
    tool_call_id: str
    name: MessageName | None = None


class FunctionMessage(Message, frozen=True, tag="function"):
    """The result of a legacy `function_call`."""

    content: str | None
    name: str


AnyMessage = SystemMessage | DeveloperMessage | UserMessage | AssistantMessage | ToolMessage | FunctionMessage
