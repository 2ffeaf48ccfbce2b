"""What a dialect does with a request: the worker's body, and the parser of what comes back."""

from collections.abc import Callable, Sequence
from typing import Final, Literal, Protocol

from msgspec import Struct

from gateway.dialects.arguments import to_json
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.conversation import WireMessage
from gateway.dialects.enforcement import Enforcement, WorkerFields
from gateway.dialects.events import ReplyParser
from gateway.dialects.history import AnsweredCall
from gateway.dialects.reply import ReplyRules
from gateway.dialects.schema_view import SchemaView
from gateway.dialects.tools import ToolPlan
from gateway.values import Family, Variant
from gateway.wire.chat import ChatRequest


class Prepared(Struct, frozen=True):
    """A request as the worker gets it."""

    fields: dict[str, object]
    """The body beyond the forwarded fields: `messages` or `prompt`, and what the dialect needs."""
    parser: Callable[[], ReplyParser] | None = None
    """Makes one parser per choice; None: nobody has to look into the reply's text."""
    leaves_alone: Callable[[str], bool] | None = None
    """Whether the parser would give out a whole reply's text as it is: then it need not be made. None: ask it."""
    endpoint: Literal["chat", "completions"] = "chat"
    withheld: frozenset[str] = frozenset()
    """Forwarded fields that the worker must not get: the parser applies them."""
    for_worker: WorkerFields | None = None
    """More of the body, by what the worker told of its markers' ids."""
    must_call: bool = False
    """A reply without a call is a failure, not an answer."""
    judged: bool = False
    """A reply may turn out to be a failure: it is asked for once more."""
    legacy: bool = False
    """The client speaks of `functions`: render the call as `function_call`."""


FORMATS: Final = frozenset({"response_format", "structured_outputs"})
"""What a client wants of text; where a call has to be made there is none."""


class Dialect(Protocol):
    """One way in which a Gemma writes tool calls."""

    def prepare(
        self, request: ChatRequest, variant: Variant, guard: MarkerGuard, new_id: Callable[[], str]
    ) -> Prepared:
        """Translates a request. Raises InvalidRequest for what the variant can't take."""
        ...


def reply_rules(
    request: ChatRequest,
    plan: ToolPlan,
    new_id: Callable[[], str],
    *,
    restore: Family | None,
    own_stop: bool,
    enforcement: Enforcement | None = None,
) -> ReplyRules:
    """What the request asks of its reply. `own_stop`: stop strings are ours to apply, not the worker's."""
    stop = request.stop if own_stop else None
    return ReplyRules(
        new_id=new_id,
        drop_calls=plan.choice == "none",
        parallel=plan.parallel,
        call_reason="function_call" if plan.legacy else "stop" if plan.named else "tool_calls",
        drop_reasoning=request.include_reasoning is False,
        stop=(stop,) if isinstance(stop, str) else tuple(stop or ()),
        restore=restore,
        checks=enforcement.checks if enforcement else {},
        promised=enforcement.promised if enforcement else frozenset(),
    )


class OpenAIHistory:
    """Earlier calls in OpenAI's own form, for chat templates that render them."""

    def exchange(self, text: str, reasoning: str, calls: Sequence[AnsweredCall]) -> list[WireMessage]:
        """The assistant's message with its calls, then one tool message for each."""
        untyped = SchemaView.of(None)
        message: WireMessage = {
            "role": "assistant",
            "content": text or None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": to_json(call.arguments, untyped)},
                }
                for call in calls
            ],
        }
        if reasoning:
            message["reasoning"] = reasoning
        results: list[WireMessage] = [
            {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": call.result} for call in calls
        ]
        return [message, *results]
