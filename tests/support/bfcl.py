"""The Berkeley Function Calling Leaderboard's questions that have an answer, as tools and the calls to expect.

Its types are Python's, and an answer lists the acceptable values of each argument; here tools are OpenAI's and of each
argument the first acceptable value is taken.
"""

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Json = Any

CATEGORIES: Final = (
    "simple_python",
    "multiple",
    "parallel",
    "parallel_multiple",
    "live_simple",
    "live_multiple",
    "live_parallel",
    "live_parallel_multiple",
)
SAMPLE: Final = Path(__file__).parents[1] / "data" / "bfcl"
_LOCK: Final = Path(__file__).parents[2] / "deploy" / "local" / "locks" / "bfcl.lock"
_TYPES: Final = {"dict": "object", "float": "number", "tuple": "array", "any": None}
"""What JSON Schema calls it; None leaves the type open."""


@dataclass(frozen=True, slots=True)
class Case:
    """One question: the functions that are offered, and the calls that answer it."""

    id: str
    functions: list[dict[str, Json]]
    """Name, description and JSON Schema of each."""
    calls: list[tuple[str, dict[str, Json]]]


def sample(category: str) -> list[Case]:
    """The cases that are kept in the repository."""
    return [_case(json.loads(line)) for line in (SAMPLE / f"{category}.jsonl").read_text().splitlines()]


def everything(category: str) -> list[Case]:
    """All cases of the published package, which pip fetches once."""
    return [_case(record) for record in published(category)]


def published(category: str) -> list[dict[str, Json]]:
    """The package's records: `id`, `function` and `ground_truth` of each question."""
    with zipfile.ZipFile(_package()) as wheel:
        questions = _lines(wheel.read(f"bfcl_eval/data/BFCL_v4_{category}.json"))
        answers = _lines(wheel.read(f"bfcl_eval/data/possible_answer/BFCL_v4_{category}.json"))
    truths = {answer["id"]: answer["ground_truth"] for answer in answers}
    return [{"id": each["id"], "function": each["function"], "ground_truth": truths[each["id"]]} for each in questions]


def _package() -> Path:
    """The wheel, by the hash in its lock file; only the data in it is read."""
    home = Path(os.environ.get("GEMMA_GATEWAY_HOME") or Path.home() / ".cache" / "gemma-gateway") / "bfcl"
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"]
    version = _LOCK.read_text().split("bfcl-eval==", 1)[1].split()[0]
    wheel = home / f"bfcl_eval-{version}-py3-none-any.whl"
    if not wheel.exists():
        subprocess.run(
            [*command, "--require-hashes", "--requirement", str(_LOCK), "--dest", str(home)], check=True, timeout=300
        )
    return wheel


def _lines(data: bytes) -> list[dict[str, Json]]:
    return [json.loads(line) for line in data.decode().splitlines() if line.strip()]


def _case(record: dict[str, Json]) -> Case:
    functions = [{**each, "parameters": _schema(each["parameters"])} for each in record["function"]]
    schemas = {each["name"]: each["parameters"] for each in functions}
    calls = [
        (name, _arguments(arguments, schemas[name]))
        for answer in record["ground_truth"]
        for name, arguments in answer.items()
    ]
    return Case(record["id"], functions, calls)


def _schema(schema: Json) -> Json:
    """The same schema in JSON Schema's words. A parameter may be named `type`, so properties are told apart."""
    if not isinstance(schema, dict):
        return schema
    converted: dict[str, Json] = {}
    for key, value in schema.items():
        if key == "properties":
            converted[key] = {name: _schema(member) for name, member in value.items()}
        elif key in ("items", "additionalProperties"):
            converted[key] = _schema(value)
        elif key == "type" and value in _TYPES:
            if _TYPES[value]:
                converted[key] = _TYPES[value]
        else:
            converted[key] = value
    return converted


def _arguments(acceptable: dict[str, list[Json]], schema: Json) -> dict[str, Json]:
    """The first acceptable value of each argument; an empty text may stand for leaving the argument out."""
    chosen: dict[str, Json] = {}
    properties = schema.get("properties", {})
    for name, values in acceptable.items():
        member = properties.get(name, {})
        takes_empty = member.get("type") == "string" and "enum" not in member
        usable = [value for value in values if value != "" or takes_empty]
        if usable:
            chosen[name] = _value(usable[0], member)
    return chosen


def _value(value: Json, schema: Json) -> Json:
    """Objects inside an answer list acceptable values of their members, too.

    18 answers of live_multiple have a truth value or a number where the schema wants one of some texts, such as "True";
    there the schema is right: no caller could want what it forbids.
    """
    if schema.get("type") == "string" and isinstance(value, (bool, int, float)):
        return str(value)
    if isinstance(value, dict):
        if all(isinstance(member, list) for member in value.values()):
            return _arguments(value, schema)
        return value
    if isinstance(value, list):
        items = schema.get("items", {})
        return [_value(item, items if isinstance(items, dict) else {}) for item in value]
    return value
