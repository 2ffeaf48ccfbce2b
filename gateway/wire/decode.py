"""Bytes to typed requests. One pass decodes and validates; what is wrong becomes a 400 that names the field."""

import re
from typing import TypeVar

import msgspec

from gateway.errors import InvalidRequest

T = TypeVar("T")

_WHERE = re.compile(r"^(?P<what>.*?)(?: - at (?:`key` in )?`(?P<at>[^`]*)`)?$", re.DOTALL)
_MISSING = re.compile(r"^Object missing required field `(?P<field>[^`]+)`")
_TYPES = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_QUOTED = re.compile(r"`([^`]*)`")


def decode_request(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a request body. Raises InvalidRequest with `param` set where a field is at fault."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise _invalid_field(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        reason = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        message = f"The request body is not valid JSON: {reason}."
        raise InvalidRequest(message) from None
    except RecursionError:
        message = "The request body is nested too deeply."
        raise InvalidRequest(message) from None


def _invalid_field(text: str) -> InvalidRequest:
    match = _WHERE.match(text)
    what, at = (match["what"], match["at"] or "$") if match else (text, "$")
    path = at.removeprefix("$").removeprefix(".")
    missing = _MISSING.match(what)
    if missing:
        path = f"{path}.{missing['field']}" if path else missing["field"]
        return InvalidRequest(f"Missing required parameter: '{path}'.", param=path)
    if not path:
        return InvalidRequest(f"Invalid request body: {_plain(what)}.")
    return InvalidRequest(f"Invalid value for '{path}': {_plain(what)}.", param=path)


def _plain(what: str) -> str:
    """Turn "Expected `int | null`, got `bool`" into OpenAI's kind of English."""

    def name(match: re.Match[str]) -> str:
        kinds = [
            _TYPES.get(kind, f"'{kind}'") for kind in match[1].split(" | ") if kind != "null" or match[1] == "null"
        ]
        return " or ".join(kinds)

    sentence = _QUOTED.sub(name, what)
    return sentence[:1].lower() + sentence[1:]
