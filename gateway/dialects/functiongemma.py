"""FunctionGemma: its prompt is written here and goes to `/v1/completions`.

The chat API can't carry what its template wants (results as mappings), and a response goes on in the model's own turn.
Layout: Google's formatting guide (ai.google.dev/gemma/docs/functiongemma). Without tools it is an ordinary Gemma 3.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.dialects.arguments import Bare, Raw, read_json
from gateway.dialects.constraints import CallSyntax
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.conversation import Turn, Turns, WireMessage, collect_turns, normalise
from gateway.dialects.dialect import FORMATS, Prepared, reply_rules
from gateway.dialects.enforcement import CallForm, Enforcement, enforce
from gateway.dialects.grammar import Marker, Text, seq
from gateway.dialects.history import AnsweredCall
from gateway.dialects.json_values import is_array, is_object
from gateway.dialects.marked_parser import MarkedParser
from gateway.dialects.marked_render import object_text
from gateway.dialects.marked_syntax import FUNCTIONGEMMA
from gateway.dialects.plain_parser import PlainParser
from gateway.dialects.plain_text import is_plain
from gateway.dialects.template_switches import template_switches
from gateway.dialects.tool_memory import ToolMemory
from gateway.dialects.tools import DeclaredFunction, ToolPlan, declarations_of, plan_tools, verbatim
from gateway.values import Variant
from gateway.wire.chat import ChatRequest
from gateway.wire.messages import AssistantMessage

_TRIGGER: Final = "You are a model that can do function calling with the following functions"
"""The sentence the model was trained on; without a full stop."""
_WITHHELD: Final = frozenset({"stop", "logprobs", "top_logprobs"})
"""`/v1/completions` has other log probabilities; stop strings count in content only."""
_OPEN, _END, _ESCAPE = FUNCTIONGEMMA.openers[0], FUNCTIONGEMMA.end, FUNCTIONGEMMA.quote


@dataclass(frozen=True, slots=True)
class _Told:
    """What becomes of a request's tools, whatever the conversation is."""

    plan: ToolPlan
    text: str
    """What the prompt says of them."""
    neutralised: bool
    enforcement: Enforcement | None
    """None: a call has to be made, and how depends on what it is begun with."""


class FunctionGemmaDialect:
    """Marked calls on `/v1/completions`."""

    def __init__(self) -> None:
        self._memory: Final = ToolMemory(_tell)

    def prepare(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, new_id: Callable[[], str]
    ) -> Prepared:
        """A prompt with declarations, calls and responses; plain chat where there are none."""
        told = self._memory.made_of(request, guard)
        plan = told.plan
        if not plan.known and not _has_calls(request):
            return self._chat(request, variant, guard, plan, new_id)
        turns = collect_turns(request.messages, variant, guard, _Responses())
        prompt, in_model_turn = _prompt(turns, told.text)
        prefix = _beginning(plan) if plan.must_call and not in_model_turn else ""
        restore = variant.family if turns.neutralised or told.neutralised else None
        enforcement = told.enforcement or enforce(request, plan, _FORM, prefix)
        rules = reply_rules(request, plan, new_id, restore=restore, own_stop=True, enforcement=enforcement)
        return Prepared(
            fields={
                "prompt": prompt + prefix,
                "add_special_tokens": False,
                "skip_special_tokens": False,
                "max_tokens": None,  # the rest of the context, as on the chat route; left out it is 16
            },
            parser=lambda: MarkedParser(FUNCTIONGEMMA, plan.known, rules, prefix=prefix),
            leaves_alone=None if plan.must_call or restore or request.stop else is_plain,
            endpoint="completions",
            withheld=_WITHHELD | FORMATS if enforcement.replaces_format else _WITHHELD,
            for_worker=enforcement.for_worker,
            judged=plan.must_call or bool(enforcement.checks),
            must_call=plan.must_call,
            legacy=plan.legacy,
        )

    def _chat(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, plan: ToolPlan, new_id: Callable[[], str]
    ) -> Prepared:
        conversation = normalise(request.messages, variant, guard)
        fields: dict[str, object] = {"messages": conversation.messages}
        fields |= template_switches(request, variant, guard, thinking=False)
        if conversation.prefill:
            fields |= {"add_generation_prompt": False, "continue_final_message": True}
        if not conversation.neutralised:
            return Prepared(fields=fields)
        rules = reply_rules(request, plan, new_id, restore=variant.family, own_stop=False)
        return Prepared(fields=fields, parser=lambda: PlainParser(rules))


def _tell(request: ChatRequest, guard: MarkerGuard) -> _Told:
    plan = plan_tools(request, verbatim)
    declarations = declarations_of(plan, guard)
    return _Told(
        plan=plan,
        text="".join(map(_declaration, declarations.functions)),
        neutralised=declarations.neutralised,
        enforcement=None if plan.must_call else enforce(request, plan, _FORM, ""),
    )


class _Responses:
    """Earlier calls and their responses, which go on in the model's turn."""

    def exchange(self, text: str, reasoning: str, calls: Sequence[AnsweredCall]) -> list[WireMessage]:
        """One message of the model's, its content text of the prompt."""
        del reasoning  # the model has none
        made = [f"{_OPEN}call:{call.name}{object_text(call.arguments, _ESCAPE)}{_END}" for call in calls]
        answered = [
            f"<start_function_response>response:{call.name}{_response(call.result)}<end_function_response>"
            for call in calls
        ]
        return [{"role": "assistant", "content": "".join([text, *made, *answered])}]


def _response(result: str) -> str:
    value = read_json(result) if result.lstrip().startswith("{") else None
    return object_text(value if isinstance(value, dict) else {"value": result}, _ESCAPE)


def _has_calls(request: ChatRequest) -> bool:
    return any(
        isinstance(message, AssistantMessage) and bool(message.tool_calls or message.function_call)
        for message in request.messages
    )


def _prompt(turns: Turns, declared: str) -> tuple[str, bool]:
    """The prompt, and whether it ends in text of the model's own turn that the client gave."""
    first = "\n".join([*([f"{_TRIGGER}{declared}"] if declared else []), *turns.system])
    pieces = ["<bos>", f"<start_of_turn>developer\n{first}<end_of_turn>\n"] if first else ["<bos>"]
    in_model_turn = False
    for turn in turns.turns:
        if turn.role == "assistant" or turn.ready:
            pieces.append(_model_text(turn) if in_model_turn else f"<start_of_turn>model\n{_model_text(turn)}")
            in_model_turn = True
            continue
        if in_model_turn:
            pieces.append("<end_of_turn>\n")
            in_model_turn = False
        pieces.append(f"<start_of_turn>user\n{_text(turn).strip()}<end_of_turn>\n")
    if not in_model_turn:
        pieces.append("<start_of_turn>model\n")
    prefilled = in_model_turn and not turns.turns[-1].ready
    return "".join(pieces), prefilled


def _model_text(turn: Turn) -> str:
    return "".join(str(message["content"]) for message in turn.ready) or _text(turn).strip()


def _text(turn: Turn) -> str:
    return "".join(segment for segment in turn.segments if isinstance(segment, str))


def _declaration(function: DeclaredFunction) -> str:
    inner: dict[str, Raw] = {"description": function.description, "parameters": _schema(function.parameters)}
    return (
        f"<start_function_declaration>declaration:{function.name}{object_text(inner, _ESCAPE)}"
        "<end_function_declaration>"
    )


def _schema(schema: Mapping[str, Any]) -> dict[str, Raw]:
    """A declared schema as values of the dialect; types in capitals."""
    written: dict[str, Raw] = {}
    for key, value in schema.items():
        if key == "properties" and is_object(value):
            written[key] = {name: _schema(member) for name, member in value.items()}
        elif key == "type":
            written[key] = str(value).upper()
        elif isinstance(value, bool):
            written[key] = Bare("true" if value else "false")
        elif is_object(value):
            written[key] = _schema(value)
        else:
            written[key] = [str(item) for item in value] if is_array(value) else str(value)
    return written


def _beginning(plan: ToolPlan) -> str:
    """The beginning of a call that has to be made, for the model to go on with."""
    return _opening(plan.declared[0].wire_name) if len(plan.declared) == 1 else f"{_OPEN}call:"


def _opening(name: str) -> str:
    return f"{_OPEN}call:{name}{{"


_FORM: Final = CallForm(
    CallSyntax("marked", _ESCAPE, FUNCTIONGEMMA.markers),
    opening=_opening,
    closing=seq(Text("}"), Marker(_END)),
    opener=_OPEN,
    end=_END,
)
