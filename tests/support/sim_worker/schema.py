"""The smallest value a JSON schema allows: what a model held by a grammar says at the least."""

import math
from typing import Any

_DEPTH = 32


def minimal_instance(schema: object, root: dict[str, Any] | None = None, depth: int = 0) -> Any:
    """A valid instance with required members only.

    `pattern` is not followed: a `default` or the first of `examples` beside it is taken.
    """
    if not isinstance(schema, dict) or depth > _DEPTH:
        return None
    root = schema if root is None else root
    inner = _meant(schema, root)
    if inner is not None:
        return minimal_instance(inner, root, depth + 1)
    if "const" in schema or schema.get("enum"):
        return schema["const"] if "const" in schema else schema["enum"][0]
    if "pattern" in schema:
        return schema.get("default", next(iter(schema.get("examples", [""]))))
    return _of_type(schema, root, depth)


def _meant(schema: dict[str, Any], root: dict[str, Any]) -> object:
    """The schema that this one stands for, when it only refers to others."""
    if "$ref" in schema:
        return _resolve(schema["$ref"], root)
    for union in ("anyOf", "oneOf"):
        if schema.get(union):
            found: object = schema[union][0]
            return found
    return _merge(schema, root) if schema.get("allOf") else None


def _of_type(schema: dict[str, Any], root: dict[str, Any], depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    match kind:
        case "object" | None:
            members = schema.get("properties", {})
            return {
                name: minimal_instance(members.get(name, {}), root, depth + 1) for name in schema.get("required", [])
            }
        case "array":
            item = schema.get("items", {"type": "null"})
            return [minimal_instance(item, root, depth + 1) for _ in range(schema.get("minItems", 0))]
        case "string":
            return _FORMATS.get(schema.get("format", ""), "x" * schema.get("minLength", 0))
        case "integer" | "number":
            return _number(schema, integral=kind == "integer")
        case "boolean":
            return False
        case _:
            return None


_FORMATS = {"date": "2026-01-01", "date-time": "2026-01-01T00:00:00Z", "time": "00:00:00Z", "email": "a@b.example"}


def _number(schema: dict[str, Any], *, integral: bool) -> int | float:
    """The allowed number nearest to 0, or nearly: bounds first, then the next multiple."""
    step = 1 if integral else 0.5
    low = schema.get("minimum", -math.inf)
    high = schema.get("maximum", math.inf)
    if "exclusiveMinimum" in schema:
        low = max(low, schema["exclusiveMinimum"] + step)
    if "exclusiveMaximum" in schema:
        high = min(high, schema["exclusiveMaximum"] - step)
    value = min(max(0, low), high)
    multiple = schema.get("multipleOf")
    if multiple:
        above = math.ceil(value / multiple) * multiple
        value = above if above <= high else math.floor(value / multiple) * multiple
    return int(value) if integral else float(value)


def _resolve(reference: str, root: dict[str, Any]) -> object:
    node: object = root
    for name in reference.removeprefix("#").strip("/").split("/"):
        if name and isinstance(node, dict):
            node = node.get(name.replace("~1", "/").replace("~0", "~"))
    return node


def _merge(schema: dict[str, Any], root: dict[str, Any]) -> dict[str, Any]:
    merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
    for part in schema["allOf"]:
        found = _resolve(part["$ref"], root) if isinstance(part, dict) and "$ref" in part else part
        if not isinstance(found, dict):
            continue
        for key, value in found.items():
            if key == "properties":
                merged[key] = {**merged.get(key, {}), **value}
            elif key == "required":
                merged[key] = [*merged.get(key, []), *value]
            else:
                merged.setdefault(key, value)
    return merged
