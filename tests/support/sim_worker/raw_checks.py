"""The checks that vLLM 0.32 runs on the raw body before it looks at types; the order is vLLM's where it can be seen."""

from collections.abc import Mapping
from typing import Any

from .errors import bad_request, ill_typed

_CACHE_SALT_FORBIDDEN = frozenset("@/\\\x00")


def check_raw(data: Mapping[str, Any], *, chat: bool, completion: bool) -> None:
    """Raises WorkerError for the first thing wrong."""
    _check_cache_salt(data.get("cache_salt"))
    _check_response_format(data.get("response_format"))
    if data.get("stream_options") and not data.get("stream"):
        raise bad_request("Stream options can only be defined when `stream=True`.", "stream_options")
    if chat:
        _check_logprobs(data, "top_logprobs")
        _check_watched_tokens(data, "set to true", missing=not data.get("logprobs"))
    if completion:
        _check_logprobs(data, "logprobs")
        _check_watched_tokens(data, "set", missing=data.get("logprobs") is None)
        if data.get("prompt") in (None, ""):
            raise bad_request("Either prompt or prompt_embeds must be provided and non-empty.", "prompt")
        if data["prompt"] == []:
            raise bad_request("prompt must contain at least one item")
    _check_structures(data.get("structured_outputs"), "structured_outputs" if completion else None)
    _check_tools(data.get("tools"), data.get("tool_choice"))
    _check_logit_bias(data.get("logit_bias"))
    messages = data.get("messages")
    for index, message in enumerate(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and message.get("content") is None and message.get("role") in ("user", "system"):
            raise ill_typed("Input should be a valid string", f"body.messages.{index}.content")


def _check_cache_salt(salt: object) -> None:
    if salt is None:
        return
    if not isinstance(salt, str) or not salt or len(salt) > 128 or _CACHE_SALT_FORBIDDEN & set(salt):
        raise bad_request("Parameter 'cache_salt' must be at most 128 characters.", "cache_salt")


def _check_response_format(wanted: object) -> None:
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema" and wanted.get("json_schema") is None:
        raise bad_request(
            "When response_format type is 'json_schema', the 'json_schema' field must be provided.", "response_format"
        )


def _check_structures(given: object, param: str | None) -> None:
    if isinstance(given, dict) and sum(given.get(kind) is not None for kind in ("json", "regex", "choice")) > 1:
        raise bad_request("You can only use one kind of constraints for structured outputs.", param)


def _check_tools(tools: object, choice: object) -> None:
    if tools == []:
        raise bad_request("`tools` must not be an empty array.", "tools")
    if choice is None or choice == "none":
        return
    if tools is None:
        raise bad_request("When using `tool_choice`, `tools` must be set.", "tool_choice")
    if isinstance(choice, dict):
        _check_named_choice(choice.get("function"), tools)
    elif choice not in ("auto", "required"):
        raise bad_request(f"Invalid value for `tool_choice`: {choice}!", "tool_choice")


def _check_named_choice(function: object, tools: object) -> None:
    if not isinstance(function, dict):
        raise bad_request("Invalid value for `function` in `tool_choice`!", "tool_choice.function")
    if not isinstance(function.get("name"), str) or not function["name"]:
        raise bad_request("Invalid `name` in `function` in `tool_choice`!", "tool_choice.function.name")
    declared = (
        [tool.get("function", {}).get("name") for tool in tools if isinstance(tool, dict)]
        if isinstance(tools, list)
        else []
    )
    if function["name"] not in declared:
        raise bad_request(
            "The tool specified in `tool_choice` does not match any of the specified `tools`", "tool_choice"
        )


def _check_logprobs(data: Mapping[str, Any], field: str) -> None:
    """`top_logprobs` of a chat, `logprobs` of a completion."""
    value = data.get(field)
    if value is None:
        return
    if not isinstance(value, (int, float)):
        raise bad_request(f"`{field}` must be an integer.", field)
    if value < 0 and value != -1:
        raise bad_request(f"`{field}` must be a positive value or -1.", field)
    if field == "top_logprobs" and value and not data.get("logprobs"):
        raise bad_request("when using `top_logprobs`, `logprobs` must be set to true.", "top_logprobs")


def _check_watched_tokens(data: Mapping[str, Any], how: str, *, missing: bool) -> None:
    if data.get("logprob_token_ids") and missing:
        raise bad_request(f"when using `logprob_token_ids`, `logprobs` must be {how}.", "logprob_token_ids")


def _check_logit_bias(bias: object) -> None:
    if not isinstance(bias, dict):
        return
    for key, value in bias.items():
        if not isinstance(value, (int, float)):
            raise ill_typed("Input should be a valid number", f"body.logit_bias.{key}")
    bad = [key for key in bias if not key.lstrip("-").isdigit()]
    if bad:
        raise bad_request(
            f"logit_bias contains key(s) that cannot be converted to integer token IDs: {bad}", "logit_bias"
        )
