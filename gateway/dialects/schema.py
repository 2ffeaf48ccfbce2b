"""A tool's JSON Schema → the smaller one that Gemma's declarations can show.

Gemma's templates show types, descriptions, enums of strings, properties, items and what is required. What else a schema
says they drop, or turn into broken text: unions, references, lists of types, a missing type (executed, Gemma 4's
template). So references are inlined, unions cut to their first branch, and the rest becomes words at the end of the
description. The client's own schema stays as it is: arguments are typed and judged by that.
"""

import json
from collections.abc import Mapping
from typing import Any, Final

from gateway.dialects.json_values import is_array, is_object, json_type, type_name
from gateway.errors import InvalidRequest

Declaration = dict[str, Any]

_MAX_DEPTH: Final = 32
_MAX_REFERENCES: Final = 8
"""References inside each other; deeper ones are a cycle, or as good as one."""
_MAX_NODES: Final = 5_000
_ANY: Final = "(any JSON value)"
_WORDS: Final = {
    "default": "Default",
    "minimum": "Minimum",
    "maximum": "Maximum",
    "exclusiveMinimum": "Greater than",
    "exclusiveMaximum": "Less than",
    "multipleOf": "Multiple of",
    "minLength": "Minimum length",
    "maxLength": "Maximum length",
    "pattern": "Pattern",
    "format": "Format",
    "minItems": "Minimum number of items",
    "maxItems": "Maximum number of items",
    "uniqueItems": "Unique items",
    "minProperties": "Minimum number of keys",
    "maxProperties": "Maximum number of keys",
}


def declaration_of(parameters: Mapping[str, Any] | None, param: str) -> Declaration:
    """The schema to declare, its top an object. Raises InvalidRequest with `param` and the place in the schema."""
    if not parameters:
        return {"type": "object", "properties": {}}
    node = _Normaliser(parameters, param).node(parameters, "", 0, ())
    if node["type"] != "object":
        raise InvalidRequest("The parameters of a function must be an object schema.", param=param)
    return node


class _Normaliser:
    def __init__(self, root: Mapping[str, Any], param: str) -> None:
        self._root = root
        self._param = param
        self._nodes = 0

    def node(self, schema: object, path: str, depth: int, references: tuple[str, ...]) -> Declaration:
        self._nodes += 1
        if self._nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise self._refused("is too large or too deep", path)
        if schema is True or schema == {}:
            return {"type": "string", "description": _ANY}
        if not is_object(schema):
            raise self._refused("is not a JSON Schema", path)
        merged, references = self._flat(schema, path, references)
        if merged is None:
            return {"type": "object"}
        notes: list[str] = []
        merged, nullable = self._first_branch(merged, path, references, notes)
        kind, null_type = self._type(merged, path, notes, top=not path)
        node: Declaration = {"type": kind}
        if nullable or null_type:
            node["nullable"] = True
        self._enum(merged, node, notes)
        self._children(merged, node, path, depth, references)
        extra = merged.get("additionalProperties")
        if kind == "object" and is_object(extra) and extra:
            notes.append(f"Any other keys, each with a value of type {_name(extra)}.")
        notes += [f"{words}: {_words(merged[key])}." for key, words in _WORDS.items() if key in merged]
        description = merged.get("description")
        text = " ".join([*([description] if isinstance(description, str) and description else []), *notes])
        if text:
            node["description"] = text
        return node

    def _flat(
        self, schema: Mapping[str, Any], path: str, references: tuple[str, ...]
    ) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
        """The schema with its reference and its `allOf` merged in; None where references form a cycle."""
        merged: dict[str, Any] = {}
        parts: list[object] = [{key: value for key, value in schema.items() if key not in {"$ref", "allOf"}}]
        if "$ref" in schema:
            reference = schema["$ref"]
            if reference in references or len(references) >= _MAX_REFERENCES:
                return None, references
            parts.append(self._resolve(reference, path))
            references = (*references, str(reference))
        branches = schema.get("allOf")
        parts += branches if is_array(branches) else []
        for part in parts:
            if not is_object(part):
                raise self._refused("is not a JSON Schema", path)
            flat: Mapping[str, Any] | None = part
            if part is not parts[0] and ("$ref" in part or "allOf" in part):
                self._nodes += 1
                if self._nodes > _MAX_NODES:
                    raise self._refused("is too large or too deep", path)
                flat, references = self._flat(part, path, references)
            if flat is None:
                return None, references
            _merge(merged, flat)
        return merged, references

    def _first_branch(
        self, merged: dict[str, Any], path: str, references: tuple[str, ...], notes: list[str]
    ) -> tuple[dict[str, Any], bool]:
        """A union cut to its first alternative that isn't null; the others are named in the notes."""
        union = merged.pop("anyOf", None) or merged.pop("oneOf", None)
        merged.pop("oneOf", None)
        if not is_array(union):
            return merged, merged.get("nullable") is True
        branches: list[dict[str, Any]] = []
        nullable = merged.get("nullable") is True
        for branch in union:
            flat, _ = self._flat(branch, path, references) if is_object(branch) else ({}, ())
            flat = {"type": "object"} if flat is None else flat
            if flat.get("type") == "null":
                nullable = True
            else:
                branches.append(flat)
        if not branches:
            return merged, nullable
        if len(branches) > 1:
            notes.append(f"Or: {', '.join(_name(branch) for branch in branches[1:])}.")
        _merge(merged, branches[0])
        return merged, nullable

    def _type(self, merged: Mapping[str, Any], path: str, notes: list[str], *, top: bool) -> tuple[str, bool]:
        """The one type to declare, and whether null is another."""
        declared = merged.get("type")
        names: list[object] = list(declared) if is_array(declared) else [declared] if declared is not None else []
        types = [name for each in names if (name := json_type(each))]
        if len(types) < len(names):
            raise self._refused(f"has an unknown type {_words(declared)}", path)
        if "any" in names:
            notes.append(_ANY)
        real = [name for name in types if name != "null"]
        if len(real) > 1:
            notes.append(f"Or: {', '.join(real[1:])}.")
        if real:
            return real[0], "null" in types
        if types:
            notes.append("Always null.")
            return "string", True
        return _inferred(merged, notes, top=top), False

    def _enum(self, merged: Mapping[str, Any], node: Declaration, notes: list[str]) -> None:
        values = [merged["const"]] if "const" in merged else merged.get("enum")
        if not is_array(values) or not values:
            return
        if None in values:
            node["nullable"] = True
        given = [value for value in values if value is not None]
        if node["type"] == "string" and all(isinstance(value, str) for value in given):
            node["enum"] = given
        else:
            notes.append(f"One of: {', '.join(_words(value) for value in given)}.")

    def _children(
        self, merged: Mapping[str, Any], node: Declaration, path: str, depth: int, references: tuple[str, ...]
    ) -> None:
        if node["type"] == "array":
            prefix = merged.get("prefixItems")
            items = merged.get("items", prefix[0] if is_array(prefix) and prefix else True)
            items = True if items is False else items
            items = items[0] if is_array(items) and items else items
            node["items"] = self.node(items, f"{path}.items", depth + 1, references)
        if node["type"] != "object":
            return
        properties = merged.get("properties", {})
        if not is_object(properties):
            raise self._refused("has properties that are no object", path)
        node["properties"] = {
            key: self.node(properties[key], f"{path}.properties.{key}", depth + 1, references)
            for key in sorted(properties)
        }
        required = merged.get("required")
        if is_array(required) and required:
            node["required"] = sorted({key for key in required if isinstance(key, str)})

    def _resolve(self, reference: object, path: str) -> object:
        node: object = self._root
        if isinstance(reference, str) and (reference == "#" or reference.startswith("#/")):
            for step in reference[2:].split("/") if reference != "#" else ():
                name = step.replace("~1", "/").replace("~0", "~")
                node = node.get(name) if is_object(node) else None
            if node is not None:
                return node
        raise self._refused(f"refers to {_words(reference)}, which is not in it", path)

    def _refused(self, what: str, path: str) -> InvalidRequest:
        return InvalidRequest(f"The schema {what}.", param=f"{self._param}{path}")


def _merge(into: dict[str, Any], part: Mapping[str, Any]) -> None:
    """Adds what `into` lacks; properties and required names are united."""
    for key, value in part.items():
        known = into.get(key)
        if key == "properties" and is_object(known) and is_object(value):
            into[key] = {**value, **known}
        elif key == "required" and is_array(known) and is_array(value):
            into[key] = [*known, *value]
        elif key not in into:
            into[key] = value


def _inferred(merged: Mapping[str, Any], notes: list[str], *, top: bool) -> str:
    if top or "properties" in merged or "additionalProperties" in merged:
        return "object"
    if "items" in merged or "prefixItems" in merged:
        return "array"
    values = [merged["const"]] if "const" in merged else merged.get("enum")
    types = {type_name(value) for value in values if value is not None} if is_array(values) else set[str]()
    if len(types) == 1:
        return types.pop()
    if not types:
        notes.append(_ANY)
    return "string"


def _name(branch: Mapping[str, Any]) -> str:
    declared = branch.get("type")
    if isinstance(declared, str):
        return declared
    return "value" if "const" not in branch else _words(branch["const"])


def _words(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
