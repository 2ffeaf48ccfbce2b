"""What tool declarations say goes through the rules like what messages say."""

from typing import Any

import pytest

from gateway.errors import InvalidRequest
from gateway.filters.conversation import TextKind
from gateway.filters.declared_texts import MAX_DEPTH, screen_function
from gateway.wire.chat import Function


def shout(text: str, kind: TextKind) -> str:
    assert kind == "trusted"
    return text.upper()


def test_every_text_is_screened_and_the_structure_stays() -> None:
    """Descriptions, titles, values and names of properties change together; types and references don't."""
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {"city": {"type": "string", "description": "where", "enum": ["here", "there"], "pattern": "a+"}},
        "required": ["city"],
        "$defs": {"point": {"$ref": "#/x", "default": {"note": ["deep", 1, None, True]}}},
    }
    screened = screen_function(Function(name="go", description="drive", parameters=schema), shout)
    assert screened.name == "go"
    assert screened.description == "DRIVE"
    assert screened.parameters == {
        "TYPE": "object",
        "PROPERTIES": {"CITY": {"TYPE": "string", "DESCRIPTION": "WHERE", "ENUM": ["HERE", "THERE"], "PATTERN": "a+"}},
        "REQUIRED": ["CITY"],
        "$DEFS": {"POINT": {"$REF": "#/x", "DEFAULT": {"NOTE": ["DEEP", 1, None, True]}}},
    }


def test_a_bottomless_schema_is_refused() -> None:
    """As a 400, before it can exhaust the stack."""
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(MAX_DEPTH + 2):
        schema = {"properties": {"x": schema}}
    with pytest.raises(InvalidRequest):
        screen_function(Function(name="go", parameters=schema), shout)
