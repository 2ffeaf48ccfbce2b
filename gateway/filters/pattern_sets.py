"""The built-in sets of expressions, over folded text."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.model import PatternSet
from gateway.filters.expressions import Expression, expression, open_tail


def _spread(word: str) -> str:
    """Return a word between whose letters white space may stand, as browsers allow it in the scheme of a URL."""
    return r"\s{0,4}".join(word)


_TAG: Final = r"<[\s/]{0,8}(?:script|iframe|object|embed)"
_MARKUP: Final = (
    expression(
        "markup",
        rf"{_TAG}\b[^<>]{{0,256}}>?",
        hint=r"<[\s/]{0,8}[sioe]",
        tail=open_tail(_TAG, "[^<>]") + f"|(?:{_TAG})[^<>]*>(?s:.)",
    ),
    expression("markup", rf"\b(?:{_spread('java')}|{_spread('vb')}|{_spread('live')}){_spread('script')}\s{{0,4}}:"),
    expression("markup", r"data\s{0,4}:\s{0,4}text\s{0,4}/\s{0,4}html"),
)
"""Active HTML as the gateway's contract lists it. A tag goes with its attributes; what stands between tags is text."""

_TOKENS: Final = (
    r"<\|?/?(?:start|end)_of_(?:turn|image|audio)\|?>",
    r"</?(?:bos|eos|pad|s|image_soft_token|audio_soft_token|escape)>",
    r"<(?:start|end)_function_(?:declaration|call|response)>",
    r"<\|?/?(?:turn|tool|tool_call|tool_calls|tool_response|tool_result|channel|think|image|audio|video|system|user"
    r"|assistant|im_start|im_end|im_sep|endoftext|eot_id|begin_of_text|start_header_id|end_header_id|eom_id|python_tag"
    r"|start|end|message|call|return|constrain|endofprompt|fim_prefix|fim_middle|fim_suffix)\|?>",
    r"<\|\"\|>",
    r"\[/?(?:inst|available_tools|tool_calls|tool_results)\]",
    r"<</?sys>>",
)
"""Control tokens of Gemma, and of the models that attackers have seen: ChatML, Llama, Mistral, gpt-oss."""
_TURNS: Final = (
    r"(?:^|\n)[ \t>#*_-]{0,6}(?:system|developer|assistant|model|tool|function)(?: message| prompt| response| output)?"
    r"[ \t*_]{0,4}:[ \t*_]{0,4}(?:\n|$|\S)",
    r"(?:^|\n)[ \t]{0,6}#{2,4} ?(?:system|instruction|response|assistant)[ \t]{0,4}:?[ \t]{0,4}\n",
    r"```(?:tool_output|tool_outputs|tool_code|tool_call|tool_result)",
    r"[\"']role[\"']\s{0,4}:\s{0,4}[\"'](?:system|developer|assistant|model|tool|function)[\"']",
)
"""Lines that begin another's turn, and the blocks in which prompted models call tools and get results."""
_ORDERS: Final = (
    r"\b(?:ignore|disregard|forget|override|bypass)\s{1,4}(?:(?:all|any|each|every|the|of|my|your|these|those|above"
    r"|previous|previously|prior|preceding|earlier|former|given|original|system)\s{1,4}){1,5}(?:instructions?|prompts?"
    r"|rules|guidelines|directives|messages|context|polic(?:y|ies)|constraints)\b",
    r"\b(?:reveal|show|print|repeat|output|display|leak|give me|tell me|write out)\s{1,4}(?:(?:me|us|all|of|the|your"
    r"|full|entire|whole|exact|verbatim|hidden|secret|initial|original)\s{1,4}){1,5}(?:system\s{1,4})?"
    r"(?:system\s{0,4}prompt|system\s{1,4}message|initial\s{1,4}instructions|hidden\s{1,4}instructions)\b",
    r"\byou\s{1,4}are\s{1,4}now\s{1,4}(?:in\s{1,4})?(?:dan|developer\s{1,4}mode|jailbroken|unrestricted|unfiltered)\b",
)
"""Orders to drop the instructions or to tell them, in English."""

SETS: Final[Mapping[PatternSet, tuple[Expression, ...]]] = MappingProxyType(
    {
        "markup": _MARKUP,
        "injection": tuple(expression("injection", pattern) for pattern in (*_TOKENS, *_TURNS, *_ORDERS)),
    }
)
UNTRUSTED_ONLY: Final[frozenset[str]] = frozenset({"injection"})
"""Labels of rules for text of users and tools: what a system prompt or a model's own turn says is no forgery."""
