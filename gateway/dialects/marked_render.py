"""Arguments, results and schemas in the syntax of Gemma 4 and FunctionGemma."""

import re
from typing import Final

from gateway.dialects.arguments import Bare, Raw

_PLAIN_KEY: Final = re.compile(r"[^\s\"'`{}\[\](),:<>][^\"'`{}\[\](),:<>]*(?<!\s)")


def object_text(members: dict[str, Raw], quote: str, *, ordered: bool = False) -> str:
    """`{key:value,…}`; `quote` stands around strings. `ordered`: keys as they come, else sorted as templates do."""
    keys = list(members) if ordered else sorted(members, key=str.lower)
    inner = [f"{_key(key, quote)}:{value_text(members[key], quote, ordered=ordered)}" for key in keys]
    return "{" + ",".join(inner) + "}"


def value_text(value: Raw, quote: str, *, ordered: bool = False) -> str:
    """One value; strings are literal, so a text that holds `quote` must have been made harmless before."""
    match value:
        case Bare():
            return value.text
        case str():
            return f"{quote}{value}{quote}"
        case list():
            return "[" + ",".join([value_text(item, quote, ordered=ordered) for item in value]) + "]"
        case dict():
            return object_text(value, quote, ordered=ordered)


def _key(key: str, quote: str) -> str:
    return key if _PLAIN_KEY.fullmatch(key) else f"{quote}{key}{quote}"
