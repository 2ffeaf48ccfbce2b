"""What a JSON Schema says about one place in a call's arguments."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, Self

from gateway.dialects.json_values import is_array, is_object, json_type, type_name

_ALL_TYPES: Final = frozenset({"string", "number", "integer", "boolean", "null", "object", "array"})
_TYPED_BY: Final = frozenset({"type", "properties", "items", "prefixItems", "enum", "const"})
_MAX_BRANCHES: Final = 64


class SchemaView:
    """The types that a JSON Schema allows at one place, resolved only as far as somebody looks."""

    __slots__ = ("_any_item", "_members", "_other_member", "_root", "_schemas", "types")

    def __init__(self, schemas: Iterable[object], root: Mapping[str, Any]) -> None:
        self._root = root
        self._schemas = [branch for schema in schemas for branch in self._branches(schema)]
        self.types: Final = self._types()
        self._members: dict[str, SchemaView] = {}
        """Of declared keys that have been asked for."""
        self._other_member: SchemaView | None = None
        self._any_item: SchemaView | None = None
        """Of every element, where all are alike."""

    @classmethod
    def of(cls, schema: Mapping[str, Any] | None) -> Self:
        """The view of a whole schema."""
        return cls([schema] if schema else [], schema or {})

    def member(self, key: str) -> "SchemaView":
        """The value under `key` of an object here."""
        known = self._members.get(key)
        if known is not None:
            return known
        found: list[object] = []
        declared = False
        for schema in self._schemas:
            properties = schema.get("properties")
            if is_object(properties) and key in properties:
                found.append(properties[key])
                declared = True
            elif "additionalProperties" in schema:
                found.append(schema["additionalProperties"])
        if declared:
            view = self._members[key] = SchemaView(found, self._root)
            return view
        if self._other_member is None:
            self._other_member = SchemaView(found, self._root)
        return self._other_member

    def item(self, index: int) -> "SchemaView":
        """The element `index` of an array here."""
        if self._any_item is not None:
            return self._any_item
        found: list[object] = []
        for schema in self._schemas:
            prefix = schema.get("prefixItems")
            if is_array(prefix) and index < len(prefix):
                found.append(prefix[index])
            elif "items" in schema:
                found.append(schema["items"])
        view = SchemaView(found, self._root)
        if not any("prefixItems" in schema for schema in self._schemas):
            self._any_item = view
        return view

    @property
    def keys(self) -> list[str]:
        """Names of the declared properties, in the schema's order."""
        names: list[str] = []
        for schema in self._schemas:
            properties = schema.get("properties")
            if is_object(properties):
                names += properties
        return list(dict.fromkeys(names))

    @property
    def required(self) -> list[str]:
        """Names that must be there; empty where branches differ."""
        if len(self._schemas) != 1:
            return []
        required = self._schemas[0].get("required")
        return [name for name in required if isinstance(name, str)] if is_array(required) else []

    def allows(self, kind: str) -> bool:
        """Whether a value of the JSON type `kind` may stand here."""
        return kind in self.types or (kind == "integer" and "number" in self.types)

    @property
    def any_type(self) -> bool:
        """Whether the schema says nothing about the type."""
        return self.types is _ALL_TYPES

    @property
    def string_only(self) -> bool:
        """Whether nothing but a string may stand here."""
        return self.types == frozenset({"string"})

    def _branches(self, schema: object) -> list[Mapping[str, Any]]:
        """The schema and what it is composed of, flat; bounded, because references may form cycles."""
        found: list[Mapping[str, Any]] = []
        waiting: list[object] = [schema]
        for _ in range(_MAX_BRANCHES):
            if not waiting:
                break
            node = waiting.pop(0)
            if not is_object(node):
                continue
            parts: list[object] = []
            if isinstance(reference := node.get("$ref"), str):
                parts.append(self._resolve(reference))
            for union in ("allOf", "anyOf", "oneOf"):
                if is_array(branches := node.get(union)):
                    parts += branches
            waiting += parts
            if not parts or not node.keys().isdisjoint(_TYPED_BY):
                found.append(node)
        return found

    def _resolve(self, reference: str) -> object:
        node: object = self._root
        if not reference.startswith("#"):
            return None
        for step in reference[1:].split("/")[1:]:
            name = step.replace("~1", "/").replace("~0", "~")
            node = node.get(name) if is_object(node) else None
        return node

    def _types(self) -> frozenset[str]:
        found: set[str] = set()
        for schema in self._schemas:
            own = _declared_types(schema)
            if own is None:
                return _ALL_TYPES
            found |= own
        return frozenset(found) if found else _ALL_TYPES


def _declared_types(schema: Mapping[str, Any]) -> set[str] | None:
    declared = schema.get("type")
    types: set[str] = set()
    if isinstance(declared, str) and declared.lower() != "any":
        types = {json_type(declared) or "string"}
    elif is_array(declared):
        types = {name for each in declared if (name := json_type(each))}
    elif "const" in schema:
        types = {type_name(schema["const"])}
    elif is_array(enum := schema.get("enum")):
        types = {type_name(value) for value in enum}
    elif "properties" in schema:
        types = {"object"}
    elif "items" in schema or "prefixItems" in schema:
        types = {"array"}
    if types and (schema.get("nullable") is True or ("default" in schema and schema["default"] is None)):
        types.add("null")  # a parameter whose default is null takes null, whatever its type says
    return types or None
