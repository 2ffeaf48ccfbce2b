"""What an engine is told so that calls fit their tools' schemas: `structured_outputs` of vLLM, xgrammar's formats.

Three cases. A call that has to be made is begun in the prompt and goes on under a grammar. With `strict` tools the
model is free until it begins a call. With tools beside a JSON `response_format` it makes calls or writes that JSON.
Markers are written as the model's own tokens where the worker has told their ids: in ordinary characters, which is all
that a grammar of text gives, a model has never seen them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.dialects.argument_check import ArgumentCheck
from gateway.dialects.constraints import ArgumentsRule, CallSyntax, arguments_rule
from gateway.dialects.grammar import Anything, MarkerIds, Rule, Text, Times, ebnf, either, seq
from gateway.dialects.tools import ToolPlan
from gateway.wire.chat import ChatRequest, JsonObjectFormat, JsonSchemaFormat

WorkerFields = Callable[[MarkerIds], dict[str, object]]
"""Fields of a worker's request, by what it told of its markers."""
_MAX_GRAMMAR_CHARS: Final = 200_000


@dataclass(frozen=True, slots=True)
class CallForm:
    """How a dialect writes a call."""

    syntax: CallSyntax
    opening: Callable[[str], str]
    """What stands before the arguments of a tool of this name."""
    closing: Rule
    following: Callable[[str], str] | None = None
    """What stands between a call's arguments and those of the next; None: the next begins like the first."""
    opener: str = ""
    """The marker that `opening` begins with, and nothing else in a reply."""
    end: str = ""
    """The marker that `closing` ends with."""
    channel: tuple[str, ...] = ()
    """The markers around thoughts."""


@dataclass(frozen=True, slots=True)
class Enforcement:
    """What is done to keep a request's calls to their schemas."""

    for_worker: WorkerFields | None = None
    checks: Mapping[str, ArgumentCheck] = field(default_factory=dict[str, ArgumentCheck])
    """The client's names of tools, each with the judge of its arguments."""
    promised: frozenset[str] = frozenset()
    """Tools whose calls the worker's grammar keeps: their arguments may leave before they are complete."""
    replaces_format: bool = False
    """The client's `response_format` is part of what the worker gets."""


def enforce(
    request: ChatRequest, plan: ToolPlan, form: CallForm, begun: str, *, in_thought: bool = False
) -> Enforcement:
    """Decide. `begun` is the beginning of a call in the prompt; empty: the model begins.

    Raises InvalidRequest for a schema that has to be kept and is none.
    """
    if plan.choice == "none":
        return Enforcement()
    place = "functions[{}].parameters" if plan.legacy else "tools[{}].function.parameters"
    checks = {
        tool.name: ArgumentCheck(tool, place.format(tool.position))
        for tool in plan.declared
        if plan.must_call or tool.strict
    }
    own_format = request.structured_outputs is not None
    schema = None if own_format or plan.must_call else _format_schema(request)
    if not begun and schema is None and (not checks or own_format or plan.must_call):
        return Enforcement(checks=checks)  # nothing is asked of the engine: the usual request, so no grammar is built
    rules = [arguments_rule(tool.parameters, form.syntax, f"t{index}m") for index, tool in enumerate(plan.declared)]
    kept = frozenset(
        tool.name
        for tool, rule in zip(plan.declared, rules, strict=True)
        if tool.name in checks and rule and rule.promised
    )
    calls = _Calls(plan, form, rules)
    if begun:
        for_worker = calls.forced(begun)
        return Enforcement(for_worker, checks, kept if for_worker else frozenset(), replaces_format=True)
    if schema is not None:
        for_worker = calls.or_json(schema, in_thought=in_thought)
        return Enforcement(for_worker, checks, kept if for_worker else frozenset(), replaces_format=True)
    for_worker = calls.once_begun()
    return Enforcement(for_worker, checks, kept if for_worker else frozenset())


def _format_schema(request: ChatRequest) -> dict[str, Any] | None:
    """The schema of the JSON that `response_format` asks for; None: it asks for none."""
    match request.response_format:
        case JsonObjectFormat():
            return {"type": "object"}
        case JsonSchemaFormat(json_schema=asked):
            return asked.schema or {"type": "object"}
        case _:
            return None


class _Calls:
    def __init__(self, plan: ToolPlan, form: CallForm, rules: Sequence[ArgumentsRule | None]) -> None:
        self._plan = plan
        self._form = form
        self._rules = [rule.rule if rule else None for rule in rules]

    def forced(self, begun: str) -> WorkerFields | None:
        """One call, its beginning aside."""
        rule = self._any_call(strip=begun, free=True)
        return None if rule is None else lambda ids: _grammar(ebnf(rule, ids))

    def once_begun(self) -> WorkerFields | None:
        """Free text in which calls keep to their schemas, from their opening on."""
        return self._marked_calls() if self._form.opener else self._written_calls()

    def or_json(self, schema: dict[str, Any], *, in_thought: bool) -> WorkerFields | None:
        """Nothing but calls, or JSON of this schema; thoughts before them."""
        form = self._form
        content = {"type": "json_schema", "json_schema": schema, "max_whitespace_cnt": 1}
        if not form.opener:
            calls = self._any_call(strip="", free=False)
            if calls is None:
                return None
            written = {"type": "or", "elements": [{"type": "grammar", "grammar": ebnf(calls)}, content]}
            return lambda _: _structural_tag(written)
        inner = self._any_call(strip=form.opener, free=True, closed=False)

        def for_worker(ids: MarkerIds) -> dict[str, object]:
            if inner is None or not {form.opener, form.end, *form.channel} <= ids.keys():
                return {}
            calls = _tag(ids[form.opener], ebnf(inner, ids), ids[form.end])
            repeated = {"type": "plus", "content": calls} if self._plan.parallel else calls
            answer: dict[str, object] = {"type": "or", "elements": [repeated, content]}
            return _structural_tag(_after_thought(answer, form.channel, ids, in_thought=in_thought))

        return for_worker

    def _marked_calls(self) -> WorkerFields | None:
        form, once = self._form, not self._plan.parallel
        inner = self._any_call(strip=form.opener, free=True, closed=False)

        def for_worker(ids: MarkerIds) -> dict[str, object]:
            if inner is None:
                return {}
            if form.opener in ids and form.end in ids:
                begin, tag = ids[form.opener], _tag(ids[form.opener], ebnf(inner, ids), ids[form.end])
                kind, key = "token_triggered_tags", "trigger_tokens"
                return _structural_tag({"type": kind, key: [begin], "tags": [tag], "stop_after_first": once})
            tag = _tag(form.opener, ebnf(inner), form.end)
            triggered = {"type": "triggered_tags", "triggers": [form.opener], "tags": [tag]}
            return _structural_tag({**triggered, "stop_after_first": once})

        return for_worker

    def _written_calls(self) -> WorkerFields | None:
        """Tools of calls that are text. All must be strict: a list of calls would keep others to their schemas, too."""
        if None in self._rules or not all(tool.strict for tool in self._plan.declared):
            return None
        form = self._form
        begins = [form.opening(tool.wire_name) for tool in self._plan.declared]
        tags = [
            {
                "type": "tag",
                "begin": begin,
                "content": {"type": "grammar", "grammar": ebnf(seq(rule, self._more()))},
                "end": form.closing.text,
            }
            for begin, rule in zip(begins, self._rules, strict=True)
            if rule is not None and isinstance(form.closing, Text)
        ]
        once = not self._plan.parallel
        return lambda _: _structural_tag(
            {"type": "triggered_tags", "triggers": begins, "tags": tags, "stop_after_first": once}
        )

    def _any_call(self, *, strip: str, free: bool, closed: bool = True) -> Rule | None:
        """A call of one of the tools, without the beginning `strip`.

        `free`: where a schema's shape can't be told, any text up to the end marker will do. Not `closed`: the end
        marker is somebody else's.
        """
        form = self._form
        calls: list[Rule] = []
        for tool, rule in zip(self._plan.declared, self._rules, strict=True):
            opening = Text(form.opening(tool.wire_name).removeprefix(strip))
            closing = form.closing if closed else Text("}")
            if rule is not None and not self._is_free(tool.name):
                calls.append(seq(opening, rule, self._more() if not strip else Text(""), closing))
            elif not (free and form.end):
                return None
            else:
                body = Anything((form.opener, form.end))
                calls.append(seq(opening, body, closing if closed else Text("")))
        return either(calls)

    def _is_free(self, name: str) -> bool:
        """Whether nobody asks for this tool's schema to be kept."""
        return not self._plan.must_call and bool(self._form.end) and name not in self._strict

    @property
    def _strict(self) -> frozenset[str]:
        return frozenset(tool.name for tool in self._plan.declared if tool.strict)

    def _more(self) -> Rule:
        """Further calls in a list."""
        following = self._form.following
        if following is None or not self._plan.parallel:
            return Text("")
        calls = [
            seq(Text(following(tool.wire_name)), rule)
            for tool, rule in zip(self._plan.declared, self._rules, strict=True)
            if rule is not None
        ]
        return Times(either(calls), 0, None)


def _tag(begin: int | str, grammar: str, end: int | str) -> dict[str, object]:
    return {
        "type": "tag",
        "begin": _edge(begin),
        "content": {"type": "grammar", "grammar": grammar},
        "end": _edge(end),
    }


def _edge(marker: int | str) -> object:
    return {"type": "token", "token": marker} if isinstance(marker, int) else marker


def _after_thought(
    answer: dict[str, object], channel: tuple[str, ...], ids: MarkerIds, *, in_thought: bool
) -> dict[str, object]:
    if not channel:
        return answer
    begin, end = (ids[marker] for marker in channel)
    thought: dict[str, object] = {"type": "any_tokens", "exclude_tokens": [begin, end]}
    closed = {"type": "sequence", "elements": [thought, {"type": "token", "token": end}]}
    whole = {"type": "sequence", "elements": [{"type": "token", "token": begin}, closed]}
    before = closed if in_thought else {"type": "optional", "content": whole}
    return {"type": "sequence", "elements": [before, answer]}


def _grammar(text: str) -> dict[str, object]:
    return {"structured_outputs": {"grammar": text}} if len(text) <= _MAX_GRAMMAR_CHARS else {}


def _structural_tag(form: Mapping[str, object]) -> dict[str, object]:
    text = json.dumps({"type": "structural_tag", "format": form})
    return {"structured_outputs": {"structural_tag": text}} if len(text) <= _MAX_GRAMMAR_CHARS else {}
