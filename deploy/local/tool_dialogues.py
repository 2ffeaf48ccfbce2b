"""Made-up dialogues with tools, in OpenAI's terms, for training: seeded, from the scenes of `tool_scenes.yaml`.

What a small model has to learn is form and copying, not facts. So names of tools and parameters change from dialogue to
dialogue, values are drawn from wide pools or made up, and every kind of answer is asked of the same declarations: a
call of one tool or another, two calls, and none.
"""

import json
import random
import re
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.local.vocabulary_words import VocabularyWords

SCENES = Path(__file__).with_name("tool_scenes.yaml")
Json = Any
"""Any JSON value."""

_SLOT = re.compile(r"\{([a-z_]+(?:\.[a-z_]+)?)(2?)\}")
_AND = ("{a} {b}", "{a} And {b}", "{a} Also: {b}", "First: {a} Then: {b}", "{a} After that, {b}")
_FOLDERS = ("/etc/", "/srv/data/", "docs/", "src/", "", "/home/anna/")
_UNUSED: Sequence[tuple[str, Json]] = (
    ("verbose", {"type": "boolean"}),
    ("timeout", {"type": "integer"}),
    ("style", {"type": "string", "enum": ["short", "long"]}),
    ("mode", {"type": "string", "enum": ["fast", "careful"]}),
    ("unit", {"type": "string", "enum": ["metric", "imperial"]}),
    ("note", {"type": "string"}),
    ("limit", {"type": "integer"}),
    ("dry_run", {"type": "boolean"}),
)
"""Optional parameters that no question asks for: what isn't said isn't in the call."""
_NAMES = frozenset({"city", "name", "company", "song", "team"})
_THINGS = frozenset({"food", "product", "tag", "topic", "room"})
_TEXTS = frozenset({"message", "chore", "event"})
"""Pools of proper names, things and short texts, which nobody can list: most values are drawn from all words instead.
A model that was taught with the pools alone wrote their words for others that begin alike."""
_REFUSALS = ("Sorry, I have no function for that.", "I am sorry, I can't do that with the functions that I have.")
_SHARES = {"one": 52, "same twice": 19, "two tools": 14, "plain": 12, "beyond": 3}
"""Per cent of the kinds of question; `beyond`: what none of the declared tools can do."""


@dataclass(frozen=True, slots=True)
class Dialogue:
    """A conversation as an OpenAI client holds it, which ends in an answer of the assistant's."""

    tools: Sequence[Json]
    messages: Sequence[Json]
    answers: int
    """How many of the assistant's messages are to be learned; what comes later is cut off."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A scene's tool under names of this day."""

    scene: Mapping[str, Json]
    declaration: Json
    names: Mapping[str, str]
    """The scene's parameters (`a`, `a.b`) by what they are called here."""

    @property
    def name(self) -> str:
        return str(self.declaration["function"]["name"])


@dataclass(frozen=True, slots=True)
class Call:
    """A call, what came of it, and what there is to say about it."""

    tool: Tool
    arguments: dict[str, Json]
    result: str
    told: str


class DialogueMaker:
    """Draws dialogues; the same random numbers give the same ones."""

    def __init__(self, rng: random.Random, vocabulary: VocabularyWords) -> None:
        self._rng = rng
        self._vocabulary = vocabulary
        self._data: Mapping[str, Json] = yaml.safe_load(SCENES.read_text(encoding="utf-8"))
        self._pools: Mapping[str, Sequence[str]] = self._data["pools"]

    def group(self, size: int) -> list[Dialogue]:
        """`size` dialogues with the same tools and the same system text, if any: their prompts begin alike."""
        rng = self._rng
        count = rng.choices((0, 1, 2, 3, 4, 5), (3, 18, 36, 26, 12, 5))[0]
        tools = [self._tool(scene) for scene in rng.sample(self._data["scenes"], count)]
        system = [{"role": "system", "content": rng.choice(self._data["systems"])}] if rng.random() < 0.2 else []
        return [self._dialogue(tools, system) for _ in range(size)]

    def _dialogue(self, tools: Sequence[Tool], system: Sequence[Json]) -> Dialogue:
        messages = list(system)
        if self._rng.random() < 0.04:
            messages += self._exchange(tools)
        messages += self._exchange(tools)
        answers = sum(message["role"] == "assistant" for message in messages)
        if messages[-2]["role"] == "tool" and self._rng.random() < 0.75:
            answers -= 1
        return Dialogue([tool.declaration for tool in tools], messages, answers)

    def _exchange(self, tools: Sequence[Tool]) -> list[Json]:
        """A question and all that follows until it is answered."""
        kind = self._rng.choices(tuple(_SHARES), tuple(_SHARES.values()))[0]
        if not tools or kind == "plain":
            return self._said(*self._plain())
        if kind == "beyond":
            return self._refused(tools)
        tool = self._rng.choice(tools)
        if kind == "same twice":
            question, calls = self._twice(tool)
        elif kind == "two tools":
            question, calls = self._both(tool, self._rng.choice(tools))
        else:
            question, calls = self._ask(tool, "asks")
        return self._called(question, calls)

    def _said(self, question: str, answer: str) -> list[Json]:
        return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]

    def _refused(self, tools: Sequence[Tool]) -> list[Json]:
        """A question for a tool that is not there. A search of the web has an answer to everything."""
        declared = {str(tool.scene["names"][0]) for tool in tools}
        if "search_web" in declared:
            return self._said(*self._plain())
        near = declared.union(*(group for group in self._data["alike"] if declared.intersection(group)))
        others = [scene for scene in self._data["scenes"] if scene["names"][0] not in near]
        question, _ = self._ask(self._tool(self._rng.choice(others)), "asks")
        return self._said(question, self._rng.choice(_REFUSALS))

    def _called(self, question: str, calls: Sequence[Call]) -> list[Json]:
        ids = [f"call_{number}" for number in range(len(calls))]
        made = [
            {"id": i, "type": "function", "function": {"name": c.tool.name, "arguments": json.dumps(c.arguments)}}
            for i, c in zip(ids, calls, strict=True)
        ]
        return [
            {"role": "user", "content": question},
            {"role": "assistant", "content": None, "tool_calls": made},
            *({"role": "tool", "tool_call_id": i, "content": c.result} for i, c in zip(ids, calls, strict=True)),
            {"role": "assistant", "content": " ".join(call.told for call in calls)},
        ]

    def _plain(self) -> tuple[str, str]:
        """A question that needs no tool, and its answer."""
        rng = self._rng
        if rng.random() < 0.25:
            country, capital = rng.choice(list(self._data["capitals"].items()))
            return f"What is the capital of {country}?", f"The capital of {country} is {capital}."
        if rng.random() < 0.2:
            word, opposite = rng.choice(list(self._data["opposites"].items()))
            return f"What is the opposite of {word}?", f"The opposite of {word} is {opposite}."
        question, answer = rng.choice(list(self._data["plain"].items()))
        return question, answer

    def _twice(self, tool: Tool) -> tuple[str, list[Call]]:
        if "pairs" in tool.scene and self._rng.random() < 0.75:
            return self._ask(tool, "pairs")
        return self._both(tool, tool)

    def _both(self, first: Tool, second: Tool) -> tuple[str, list[Call]]:
        a, calls_a = self._ask(first, "asks")
        b, calls_b = self._ask(second, "asks")
        return self._rng.choice(_AND).format(a=a, b=b), [*calls_a, *calls_b]

    def _ask(self, tool: Tool, kind: str) -> tuple[str, list[Call]]:
        """A question of the scene's, one call for `asks` and two for `pairs`."""
        ask = self._rng.choice(tool.scene[kind])
        words, implied = (ask, {}) if isinstance(ask, str) else (ask["say"], ask["with"])
        slots = list(_SLOT.finditer(words))
        first = {slot[1]: self._draw(_source(tool.scene["takes"], slot[1])) for slot in slots if not slot[2]}
        second = {slot[1]: self._other(tool, slot[1], first[slot[1]]) for slot in slots if slot[2]}
        question = _SLOT.sub(lambda slot: _spoken((second if slot[2] else first)[slot[1]]), words)
        values = [first | implied] if kind == "asks" else [first | implied, first | second | implied]
        return self._worded(question), [self._call(tool, each) for each in values]

    def _worded(self, question: str) -> str:
        """People don't all write alike."""
        rng = self._rng
        if rng.random() < 0.12:
            question = question[0].lower() + question[1:]
        if rng.random() < 0.1:
            question = f"{rng.choice(('Please. ', 'Hi! ', 'Hello, ', 'Hey, ', 'Could you help me? '))}{question}"
        return question.rstrip(".?") if rng.random() < 0.1 else question

    def _other(self, tool: Tool, slot: str, taken: Json) -> Json:
        """A value of this slot that is not the first call's."""
        for _ in range(100):
            drawn = self._draw(_source(tool.scene["takes"], slot))
            if drawn != taken:
                return drawn
        raise ValueError(f"{tool.name}: no second value for {slot}")

    def _call(self, tool: Tool, values: Mapping[str, Json]) -> Call:
        """The call with these values, in the alphabetical order of the dialect's declarations, and a made-up result."""
        arguments: dict[str, Json] = {}
        for parameter in sorted(tool.declaration["function"]["parameters"]["properties"]):
            canonical = next((key for key, name in tool.names.items() if name == parameter and "." not in key), "")
            if not canonical:
                continue
            inner = {key.partition(".")[2]: values[key] for key in sorted(values) if key.startswith(f"{canonical}.")}
            if canonical in values:
                arguments[parameter] = values[canonical]
            elif inner:
                arguments[parameter] = inner
        given = {key: self._draw(source) for key, source in tool.scene["gives"].items()}
        known = {**values, **given}
        tell = self._rng.choice([each for each in tool.scene["tells"] if _slots(each) <= known.keys()])
        told = _SLOT.sub(lambda slot: _spoken(known[slot[1]]), tell)
        plain = len(given) == 1 and self._rng.random() < 0.4
        return Call(tool, arguments, _spoken(next(iter(given.values()))) if plain else json.dumps(given), told)

    def _tool(self, scene: Mapping[str, Json]) -> Tool:
        """The scene's tool: one of its names, its parameters shuffled, renamed and described at random."""
        rng = self._rng
        names: dict[str, str] = {}
        for parameter in scene["takes"]:
            others = scene.get("also", {}).get(parameter, [])
            names[parameter] = rng.choice(others) if others and rng.random() < 0.5 else parameter
        if len(set(names.values())) < len(names):
            names = {parameter: parameter for parameter in scene["takes"]}
        order = list(scene["takes"])
        if rng.random() < 0.4:
            rng.shuffle(order)
        described = rng.random() < 0.4
        properties = {names[each]: self._schema(scene["takes"][each], each, described=described) for each in order}
        needed = scene.get("needs", list(scene["takes"]))
        for unused in rng.sample(_UNUSED, rng.choices((0, 1, 2), (60, 30, 10))[0]):
            properties.setdefault(unused[0], unused[1])
        parameters: Json = {"type": "object", "properties": properties, "required": [names[each] for each in needed]}
        name = _styled(rng.choice(scene["names"]), rng)
        function = {"name": name, "description": scene["does"], "parameters": parameters}
        return Tool(scene, {"type": "function", "function": function}, names)

    def _schema(self, source: Json, name: str, *, described: bool) -> dict[str, Json]:
        if isinstance(source, dict):
            inner = {key: self._schema(each, key, described=False) for key, each in source.items()}
            return {"type": "object", "properties": inner, "required": list(inner)}
        kind, _, rest = source.partition(" ")
        schema: dict[str, Json] = {"type": kind}
        if kind == "enum":
            schema = {"type": "string", "enum": rest.split("|")}
        elif kind == "list":
            schema = {"type": "array", "items": {"type": "integer" if ".." in rest else "string"}}
        if described:
            schema["description"] = {"date": "YYYY-MM-DD", "time": "HH:MM"}.get(rest, f"The {name.replace('_', ' ')}")
        return schema

    def _draw(self, source: str) -> Json:
        """A value of what a scene writes: `string city`, `integer 1..9`, `enum a|b`, or without the type."""
        rng = self._rng
        kind, _, rest = source.partition(" ")
        if kind == "list":
            return self._several(rest)
        if kind == "enum":
            return rng.choice(rest.split("|"))
        source = rest or kind
        if ".." in source:
            low, high = source.split("..")
            return round(rng.uniform(float(low), float(high)), 1) if "." in low else rng.randint(int(low), int(high))
        if source not in self._pools:
            return self._made_up(source)
        return self._unheard_of(source) if rng.random() < 0.6 else rng.choice(self._pools[source])

    def _unheard_of(self, pool: str) -> str:
        """A value that its pool doesn't have, if it is one of those that nobody can list."""
        rng, known = self._rng, self._vocabulary
        if pool in _NAMES:
            parts = rng.choices((1, 2), (75, 25))[0]
            made = [self._odd().capitalize() if rng.random() < 0.4 else rng.choice(known.names) for _ in range(parts)]
        elif pool in _THINGS:
            parts = rng.choices((1, 2), (75, 25))[0]
            made = [self._odd() if rng.random() < 0.35 else rng.choice(known.words) for _ in range(parts)]
        elif pool in _TEXTS:
            made = [rng.choice(known.words) for _ in range(rng.randint(2, 6))]
            made[0] = made[0].capitalize() if pool == "message" else made[0]
        else:
            return rng.choice(self._pools[pool])
        return " ".join(made)

    def _several(self, source: str) -> list[Json]:
        values: list[Json] = []
        for _ in range(self._rng.randint(1, 4)):
            if (value := self._draw(source)) not in values:
                values.append(value)
        return values

    def _made_up(self, kind: str) -> str:
        rng = self._rng
        match kind:
            case "date":
                made = f"20{rng.randint(24, 30)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
            case "time":
                made = f"{rng.randint(0, 23):02}:{rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50)):02}"
            case "code":
                letters = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(1, 3)))
                made = f"{letters}{rng.choice(('-', ''))}{rng.randint(10, 99999)}"
            case "short":
                made = "".join(rng.choices(string.ascii_uppercase, k=rng.randint(3, 5)))
            case "email":
                made = f"{self._word()}@{self._word()}.{rng.choice(('com', 'org', 'net', 'example'))}"
            case "phone":
                area, number = rng.randint(100, 999), rng.randint(1000, 999999)
                made = rng.choice(
                    (f"+{rng.randint(1, 99)} {area} {number}", f"{area}-{number:04}", f"0{area} {number}")
                )
            case "url":
                made = f"https://{self._word()}.org/{self._word()}"
            case "path":
                made = f"{rng.choice(_FOLDERS)}{self._word()}.{rng.choice(('txt', 'md', 'py', 'json', 'log', 'csv'))}"
            case "word":
                made = self._odd() if rng.random() < 0.5 else rng.choice(self._vocabulary.words)
            case _:
                raise ValueError(f"no pool and no kind of value is called {kind}")
        return made

    def _odd(self) -> str:
        return self._blend() if self._rng.random() < 0.6 else self._word()

    def _blend(self) -> str:
        """The beginning of one word and the end of another: spelled like a word, of several tokens."""
        begin, end = self._rng.sample(self._vocabulary.words, 2)
        return begin[: 1 + len(begin) // 2] + end[1 + len(end) // 2 :]

    def _word(self) -> str:
        pairs = zip(self._rng.choices("bdfgklmnprstvz", k=3), self._rng.choices("aeiou", k=3), strict=True)
        return "".join(a + b for a, b in pairs)[: self._rng.randint(4, 6)]


def _source(takes: Mapping[str, Json], slot: str) -> str:
    """Where the values of `a` or `a.b` come from."""
    outer, _, inner = slot.partition(".")
    source = takes[outer]
    return str(source[inner] if inner else source)


def _slots(words: str) -> set[str]:
    return {slot[1] for slot in _SLOT.finditer(words)}


def _spoken(value: Json) -> str:
    """A value as people write it."""
    if isinstance(value, list):
        items = [str(item) for item in value]
        return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
    return str(value)


def _styled(name: str, rng: random.Random) -> str:
    """Snake case mostly; camel case and hyphens are in use, too."""
    style = rng.random()
    if style < 0.75:
        return name
    first, *others = re.split("[_-]", name)
    return "-".join((first, *others)) if style > 0.93 else first + "".join(part.capitalize() for part in others)
