"""Chat templates: what they render, and what they refuse with a 400.

Gemma 4's is the one that the local wire double has. Gemma 3's is written after the template in google/gemma-3-270m-it's
tokenizer_config.json: a first system message is folded into the first user turn, turns must alternate by index parity,
and ``tools`` is ignored.
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import jinja2
import jinja2.sandbox

from .errors import bad_request
from .settings import Template

_GEMMA_4 = Path(__file__).parents[3] / "deploy" / "local" / "templates" / "gemma4.jinja"
_MEDIA = {f"{kind}_url": {"type": kind} for kind in ("image", "video", "audio")} | {"input_audio": {"type": "audio"}}
_ALTERNATE = "Conversation roles must alternate user/assistant/user/assistant/..."


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """The text of the last user message, or of the last message when there is none."""
    for message in reversed(messages):
        if message.get("role") == "user":
            return content_text(message.get("content"))
    return content_text(messages[-1].get("content")) if messages else ""


def content_text(content: object, joint: str = "") -> str:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return joint.join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return ""


def render(kind: Template, body: dict[str, Any]) -> str:
    """The prompt for the body of a chat request; with ``continue_final_message`` it ends inside the last message."""
    messages = body["messages"]
    if kind == "gemma4":
        rendered = _render_gemma4(messages, body)
    elif kind == "plain":
        rendered = render_plain(messages)
    else:
        rendered = render_gemma3(messages, images=kind == "gemma3-vision")
    if not body.get("continue_final_message"):
        return rendered
    begun = content_text(messages[-1].get("content")).strip()
    return rendered[: rendered.rindex(begun) + len(begun)]


@cache
def _gemma4_template() -> jinja2.Template:
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_GEMMA_4.read_text())


def _render_gemma4(messages: list[dict[str, Any]], body: dict[str, Any]) -> str:
    """As vLLM does it: arguments of earlier calls are decoded first, and media parts are told by their kind alone."""
    decoded = [{**message, **_decoded_calls(message), **_without_urls(message)} for message in messages]
    return _gemma4_template().render(
        messages=decoded,
        tools=body.get("tools"),
        add_generation_prompt=body.get("add_generation_prompt", True),
        bos_token="<bos>",
        **(body.get("chat_template_kwargs") or {}),
    )


def _decoded_calls(message: dict[str, Any]) -> dict[str, Any]:
    calls = message.get("tool_calls")
    if not calls:
        return {}
    functions = [call["function"] for call in calls]
    decoded = [{**each, "arguments": json.loads(each["arguments"] or "{}")} for each in functions]
    return {"tool_calls": [{**call, "function": function} for call, function in zip(calls, decoded, strict=True)]}


def _without_urls(message: dict[str, Any]) -> dict[str, Any]:
    content = message.get("content")
    if not isinstance(content, list):
        return {}
    return {"content": [_MEDIA.get(part["type"], part) for part in content]}


def render_plain(messages: list[dict[str, Any]]) -> str:
    """Every message as a turn of its own role, whatever the order."""
    turns = [f"<start_of_turn>{m.get('role')}\n{content_text(m.get('content'))}<end_of_turn>\n" for m in messages]
    return "<bos>" + "".join(turns) + "<start_of_turn>model\n"


def render_gemma3(messages: list[dict[str, Any]], *, images: bool = False) -> str:
    """The prompt; raises WorkerError where the template raises."""
    if not messages:
        raise bad_request("Cannot apply chat template to an empty conversation. Provide at least one message.")
    messages = fold_developers(messages)
    prefix = ""
    turns = messages
    if messages[0].get("role") == "system":
        prefix = _system_text(messages[0].get("content")) + "\n\n"
        turns = messages[1:]
    rendered = ["<bos>"]
    for index, message in enumerate(turns):
        role = message.get("role")
        if (role == "user") != (index % 2 == 0):
            raise bad_request(_ALTERNATE)
        name = "model" if role == "assistant" else role
        body = _turn_content(message.get("content"), images=images)
        rendered.append(f"<start_of_turn>{name}\n{prefix if index == 0 else ''}{body}<end_of_turn>\n")
    rendered.append("<start_of_turn>model\n")
    return "".join(rendered)


def fold_developers(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turns developer messages into system text, as vLLM does for templates that know no developer.

    All system text goes to the front then. Without a developer message nothing moves, so a system message at a later
    place stays there.
    """
    if not any(message.get("role") == "developer" for message in messages):
        return messages
    systems = [m for m in messages if m.get("role") in {"developer", "system"}]
    others = [m for m in messages if m.get("role") not in {"developer", "system"}]
    if systems == [messages[0]]:
        return [{**messages[0], "role": "system"}, *others]
    texts = [content_text(message.get("content"), joint="\n") for message in systems]
    return [{"role": "system", "content": "\n\n".join(text for text in texts if text)}, *others]


def _system_text(content: object) -> str:
    """Of a list only the first part survives, as in the template."""
    if isinstance(content, list):
        return content_text(content[:1])
    return content_text(content)


def _turn_content(content: object, *, images: bool) -> str:
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, list):
        return "".join(_part_text(part, images=images) for part in content)
    return ""  # vLLM turns null content into an empty list before it renders


def _part_text(part: object, *, images: bool) -> str:
    if isinstance(part, str):
        return part.strip()
    if isinstance(part, dict):
        kind = part.get("type")
        if kind == "text" or (kind is None and "text" in part):
            return str(part.get("text", "")).strip()
        if kind == "image_url" and images:
            return "<start_of_image>"
        if kind in ("image_url", "input_audio", "video_url", "audio_url"):
            raise bad_request("the model is not a multimodal model")
    raise bad_request(f"Unknown part type: {part!r}")
