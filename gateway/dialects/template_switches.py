"""`chat_template_kwargs` and thinking: what a client may switch in the checkpoint's chat template."""

from typing import Final

from gateway.dialects.control_tokens import MarkerGuard
from gateway.values import Variant
from gateway.wire.chat import ChatRequest, TextFormat

_OPERATORS: Final = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "documents",
        "messages",
        "tokenize",
        "tools",
    }
)
"""Names that would reach past the template's own switches."""


def template_switches(
    request: ChatRequest, variant: Variant, guard: MarkerGuard, *, thinking: bool
) -> dict[str, object]:
    """The fields for the worker's body: the client's switches, harmless, and ours where the variant can think."""
    switches: dict[str, object] = {
        name: guard.neutralise(value, "chat_template_kwargs") if isinstance(value, str) else value
        for name, value in (request.chat_template_kwargs or {}).items()
        if name not in _OPERATORS
    }
    if variant.thinking:
        switches["enable_thinking"] = thinking
    return {"chat_template_kwargs": switches} if switches else {}


def wants_thinking(request: ChatRequest) -> bool:
    """Whether to think: the template's own switch wins over `reasoning_effort`; off without either.

    A JSON format turns it off: the engine's grammar would have to begin with the thought (vllm#50938).
    """
    if request.response_format is not None and not isinstance(request.response_format, TextFormat):
        return False
    switch = (request.chat_template_kwargs or {}).get("enable_thinking")
    if switch is not None:
        return bool(switch)
    return request.reasoning_effort not in {None, "none"}
