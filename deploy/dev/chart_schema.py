"""The JSON schema of the chart's values, made from what they mirror.

`config` and `models` are the gateway's own configuration: their schema comes from `gateway/config/model.py`, field by
field, descriptions included. The rest is what values.yaml shows: its defaults tell the types, and what a default can't
tell (null, a choice, a map of anything) stands in the tables here. Everything is closed but what Kubernetes defines.
"""

import ast
import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import yaml

from gateway.config import model
from gateway.config.provider_section import OPTIONS, SECRETS
from gateway.values import DialectName, Variant

Schema = dict[str, Any]

VARIABLE: Final = r"^\$\{[A-Za-z_][A-Za-z0-9_]*\}$"
SECRET: Final[Schema] = {"type": "string", "pattern": VARIABLE}
"""Secrets are the environment's: the file that everybody may read only names the variable."""
SPECIAL: Final[Mapping[tuple[type, str], Schema]] = {
    (model.RedisSettings, "url"): {
        "type": "string",
        "pattern": r"^(\$\{[A-Za-z_][A-Za-z0-9_]*\}|[a-z+]+://([^:@/]*(:\$\{[A-Za-z_][A-Za-z0-9_]*\})?@)?[^@]+)$",
    },
    (model.Settings, "fallback_providers"): {
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "required": ["model"],
            "additionalProperties": False,
            "properties": {
                "model": {"type": "string"},
                "variant": {"type": "string"},
                "context_length": {"type": ["integer", "string"], "pattern": VARIABLE},
                **{name: SECRET if name in SECRETS else {"type": "string"} for name in sorted(OPTIONS)},
            },
        },
    },
    (model.ModelSettings, "workers"): {
        "type": "array",
        "items": {
            "anyOf": [
                {"$ref": f"#/definitions/{kind.__name__}"}
                for kind in (model.WorkerSettings, model.DnsWorkers, model.KubernetesWorkers)
            ]
        },
    },
    (model.ModelSettings, "dialect"): {"enum": ["auto", *typing.get_args(DialectName)]},
    (model.KeySettings, "secret_sha256"): {
        "type": "string",
        "pattern": r"^([0-9a-fA-F]{64}|\$\{[A-Za-z_][A-Za-z0-9_]*\})$",
    },
}
"""Where the file says it otherwise than the dataclass that it becomes."""
ONLY_IN_THE_FILE: Final[Mapping[type, Mapping[str, Schema]]] = {
    model.KeySettings: {"secret": SECRET},
    model.ModelSettings: {"engine": {"$ref": "#/definitions/engine"}},
}
NOT_IN_THE_FILE: Final = {
    (model.Settings, "no_auth"),
    (model.Settings, "models"),
    (model.ModelSettings, "discovery"),
    (model.ModelSettings, "adapter_of"),
}

FREE_MAPS: Final = frozenset(
    {
        "affinity",
        "annotations",
        "behavior",
        "commonAnnotations",
        "commonLabels",
        "labels",
        "nodeSelector",
        "podAnnotations",
        "podLabels",
        "podSecurityContext",
        "resources",
        "secretStoreRef",
        "securityContext",
        "strategy",
    }
)
"""Keys whose value is Kubernetes' business (or an operator's labels): any map."""
NULLABLE: Final[Mapping[str, Schema]] = {
    "audios": {"type": ["integer", "null"], "minimum": 0},
    "count": {"type": ["integer", "null"], "minimum": 0},
    "gpuMemoryUtilization": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "images": {"type": ["integer", "null"], "minimum": 0},
    "maxNumBatchedTokens": {"type": ["integer", "null"], "minimum": 1},
    "maxNumQueuedReqs": {"type": ["integer", "null"], "minimum": 1},
    "maxNumSeqs": {"type": ["integer", "null"], "minimum": 1},
    "memoryGb": {"type": ["number", "null"], "exclusiveMinimum": 0},
    "requestsInFlight": {"type": ["integer", "null"], "minimum": 1},
    "startupSeconds": {"type": ["integer", "null"], "minimum": 1},
    "terminationGracePeriodSeconds": {"type": ["integer", "null"], "minimum": 1},
    "topologySpreadConstraints": {"type": ["array", "null"], "items": {"type": "object"}},
    "ttlSecondsAfterFinished": {"type": ["integer", "null"], "minimum": 0},
    "videos": {"type": ["integer", "null"], "minimum": 0},
}
CHOICES: Final[Mapping[str, Schema]] = {
    "accelerator": {"enum": ["gpu", "cpu"]},
    "engineDiscovery": {"enum": ["dns", "kubernetes", "service"]},
    "level": {"enum": ["performance", "balanced", "efficiency"]},
    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "readinessPath": {"enum": ["auto", "/readyz", "/healthz"]},
    "schedulingPolicy": {"enum": ["auto", "fcfs", "priority"]},
    "digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "maxUnavailable": {"type": ["integer", "string"]},
    "apiKeyVariable": {"type": "string", "pattern": "^([A-Za-z_][A-Za-z0-9_]*)?$"},
    "passwordVariable": {"type": "string", "pattern": "^([A-Za-z_][A-Za-z0-9_]*)?$"},
    "cpuPercent": {"type": "integer", "minimum": 1, "maximum": 100},
    "objective": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1},
    "minSuccessRate": {"type": "number", "minimum": 0, "maximum": 1},
    "maxRank": {"enum": [1, 8, 16, 32, 64, 128, 256, 320, 512]},
}
ITEMS: Final[Mapping[str, Schema]] = {
    "accessModes": {"enum": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"]},
    "allowedDomains": {"type": "string"},
    "extraArgs": {"type": "string"},
    "extraObjects": {"type": ["object", "string"]},
    "hostnames": {"type": "string"},
    "hosts": {"type": "string"},
    "modules": {
        "type": "object",
        "required": ["name", "path"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "path": {"type": "string"}},
    },
    "objectives": {
        "type": "object",
        "required": ["name", "priority"],
        "additionalProperties": False,
        "properties": {"name": {"type": "string"}, "priority": {"type": "integer"}},
    },
}
"""What lists hold where it isn't one of Kubernetes' objects."""


def values_schema(values: Path) -> Schema:
    """Return the schema of the whole values file."""
    tree = yaml.safe_load(values.read_text())
    properties = {key: _of_default(key, value) for key, value in tree.items() if key not in {"config", "models"}}
    properties["config"] = {"$ref": f"#/definitions/{model.Settings.__name__}"}
    properties["models"] = {"type": "array", "items": {"$ref": f"#/definitions/{model.ModelSettings.__name__}"}}
    properties["engineDefaults"] = {"$ref": "#/definitions/engine"}
    properties["global"] = {"type": "object"}
    secrets = properties["secrets"]["properties"]
    secrets["create"] = {"type": "object", "additionalProperties": {"type": "string", "minLength": 8}}
    definitions: dict[str, Schema] = {"engine": _of_default("engineDefaults", tree["engineDefaults"])}
    _define(model.Settings, definitions)
    _define(model.ModelSettings, definitions)
    for kind, required in (
        (model.WorkerSettings, "url"),
        (model.DnsWorkers, "dns"),
        (model.KubernetesWorkers, "kubernetes"),
    ):
        _define(kind, definitions)
        definitions[kind.__name__]["required"] = [required]
    definitions[model.ModelSettings.__name__]["required"] = ["name"]
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart gemma-gateway",
        "description": "Made by deploy/dev/chart-data from values.yaml and gateway/config/model.py.",
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "definitions": definitions,
    }


PLAIN: Final[Mapping[type, Schema]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer", "minimum": 0},
    float: {"type": "number"},
    str: {"type": "string"},
}


def _of_default(key: str, value: object) -> Schema:
    """The schema of a key of values.yaml, by its default and the tables."""
    known = NULLABLE.get(key) if value is None else CHOICES.get(key, PLAIN.get(type(value)))
    if known is not None:
        return dict(known)
    match value:
        case list():
            return {"type": "array", "items": ITEMS.get(key, {"type": "object"})}
        case dict() if key in FREE_MAPS or not value:
            return {"type": "object"}
        case dict():
            inner = {name: _of_default(name, item) for name, item in value.items()}
            return {"type": "object", "additionalProperties": False, "properties": inner}
        case _:
            raise TypeError(f"the default of {key} doesn't tell its type: add it to a table of {__name__}")


def _define(kind: type, definitions: dict[str, Schema]) -> Schema:
    """Put a section of the configuration among the definitions; returns the reference to it."""
    name = kind.__name__
    reference: Schema = {"$ref": f"#/definitions/{name}"}
    if name in definitions:
        return reference
    properties: dict[str, Schema] = {}
    definitions[name] = {
        "type": "object",
        "description": _plain(inspect.getdoc(kind) or ""),
        "additionalProperties": False,
        "properties": properties,
    }
    hints, notes = typing.get_type_hints(kind), _field_notes(kind)
    for item in dataclasses.fields(kind):
        if (kind, item.name) in NOT_IN_THE_FILE:
            continue
        schema = SPECIAL.get((kind, item.name)) or _of_type(hints[item.name], definitions)
        if item.name in notes and "$ref" not in schema:
            schema = {"description": notes[item.name], **schema}
        properties[item.name] = schema
    properties.update(ONLY_IN_THE_FILE.get(kind, {}))
    return reference


SCALARS: Final[Mapping[object, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": ["integer", "string"], "pattern": VARIABLE},
    float: {"type": ["number", "string"], "pattern": VARIABLE},
    bytes: {"type": "string"},
    datetime: {"type": "string"},
    Variant: {"type": "string"},
    model.Secret: SECRET,
    types.NoneType: {"type": "null"},
}
"""A number may come from the environment as well."""


def _of_type(hint: Any, definitions: dict[str, Schema]) -> Schema:
    """The schema of a field, by its annotation."""
    if isinstance(hint, typing.NewType):
        return _of_type(hint.__supertype__, definitions)
    if (scalar := SCALARS.get(hint)) is not None:
        return dict(scalar)
    if dataclasses.is_dataclass(hint):
        return _define(hint, definitions)  # type: ignore[arg-type]  # a class, as all hints here
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in {types.UnionType, typing.Union}:
        return _of_union(arguments, definitions)
    schema: Schema | None = None
    if origin is Literal:
        schema = {"enum": list(arguments)}
    elif origin is tuple:
        schema = {"type": "array", "items": _of_type(arguments[0], definitions)}
    elif origin is Mapping:
        schema = {"type": "object", "additionalProperties": _of_type(arguments[1], definitions)}
    if schema is not None:
        return schema
    raise TypeError(f"no schema for {hint}: add it to {__name__}")


def _of_union(members: tuple[Any, ...], definitions: dict[str, Schema]) -> Schema:
    """One of several types; dataclasses among them are told apart by `kind`, which their docstrings name."""
    sections = {kind: member for member in members if (kind := _kind(member)) is not None}
    if len(sections) > 1:
        branches = []
        for kind, member in sections.items():
            _define(member, definitions)
            definitions[member.__name__]["properties"]["kind"] = {"const": kind}
            then = {"$ref": f"#/definitions/{member.__name__}"}
            branches.append({"if": {"properties": {"kind": {"const": kind}}}, "then": then})
        kinds = {"kind": {"enum": list(sections)}}
        return {"type": "object", "required": ["kind"], "properties": kinds, "allOf": branches}
    schemas = [_of_type(member, definitions) for member in members]
    if all(set(schema) == {"type"} for schema in schemas):
        return {"type": [schema["type"] for schema in schemas]}
    return {"anyOf": schemas}


def _kind(member: Any) -> str | None:
    found = re.match(r"`kind: (\w+)`", inspect.getdoc(member) or "") if dataclasses.is_dataclass(member) else None
    return None if found is None else found[1]


def _field_notes(kind: type) -> dict[str, str]:
    """The strings under the fields of a dataclass, which Python itself forgets."""
    body = ast.parse(inspect.getsource(kind)).body[0]
    if not isinstance(body, ast.ClassDef):
        return {}
    notes: dict[str, str] = {}
    for statement, following in zip(body.body, body.body[1:], strict=False):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            match following:
                case ast.Expr(value=ast.Constant(value=str(text))):
                    notes[statement.target.id] = _plain(text)
                case _:
                    pass
    return notes


def _plain(text: str) -> str:
    return " ".join(text.split())
