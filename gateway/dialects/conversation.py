"""Any conversation that OpenAI accepts, made one that the family's chat template accepts.

Gemma 1 to 3n: turns alternate, the user begins, there is no system role (the text goes into the first user turn), and
null contents raise. Gemma 4: one real system message, at the front. What the templates do otherwise (executed, Google's
templates of Gemma 3 and Gemma 4): raise, which the worker answers with 400; or write a turn of a role the model has
never seen; or drop a message without a word.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from msgspec import Struct

from gateway.dialects.content import ContentReader, Segment, append_text, content_of
from gateway.dialects.control_tokens import MarkerGuard
from gateway.dialects.history import AnsweredCall, answered_calls
from gateway.errors import InvalidRequest
from gateway.values import Variant
from gateway.wire.messages import (
    AnyMessage,
    AssistantMessage,
    DeveloperMessage,
    FunctionMessage,
    SystemMessage,
    ToolMessage,
    UserMessage,
)

Role = Literal["user", "assistant"]
WireMessage = dict[str, object]
"""A message of the worker's JSON body."""

_BETWEEN_TURNS: Final = "\n\n"
_EMPTY_TURN: Final = "."
"""Stands where a template wants a user's turn and the client gave none."""


class Conversation(Struct, frozen=True):
    messages: list[WireMessage]
    neutralised: bool
    """Some control token was made plain text: the reply must go through a `MarkerRestorer`."""
    prefill: bool
    """The last message is the assistant's: the worker continues it (`add_generation_prompt` false,
    `continue_final_message` true). Its trailing white space is gone: templates trim it, and vLLM then finds the end of
    the message in the wrong place or not at all."""


class ToolHistory(Protocol):
    """Writes the calls and results of earlier turns in the dialect's own form."""

    def exchange(self, text: str, reasoning: str, calls: Sequence[AnsweredCall]) -> list[WireMessage] | tuple[str, str]:
        """What the assistant said and called, and what came back, all harmless text.

        Either messages of a template that renders calls, or the texts of a model's and a user's turn.
        """
        ...


@dataclass(slots=True)
class Turn:
    """What one side said, without a word of the other in between."""

    role: Role
    segments: list[Segment] = field(default_factory=list[Segment])
    ready: list[WireMessage] = field(default_factory=list[WireMessage])
    """Messages with calls or results, which stay as they are."""
    reasoning: str = ""


def normalise(
    messages: Sequence[AnyMessage],
    variant: Variant,
    guard: MarkerGuard,
    *,
    tools: ToolHistory | None = None,
    declarations: str = "",
) -> Conversation:
    """The conversation as `variant`'s chat template accepts it.

    `declarations` is text that the dialect adds after the client's system text. Raises UnsupportedModality or
    InvalidRequest, with `param` naming the message and part at fault.
    """
    plain = plain_messages(messages, system_role=variant.family == "gemma4", declarations=declarations)
    if plain is not None:
        return Conversation(plain, neutralised=False, prefill=False)
    turns = collect_turns(messages, variant, guard, tools)
    system = _BETWEEN_TURNS.join([*turns.system, declarations] if declarations else turns.system)
    make = _with_system_role if variant.family == "gemma4" else _alternating
    wire = make(system, turns.turns)
    return Conversation(wire, neutralised=turns.neutralised, prefill=_trim_prefill(wire))


@dataclass(frozen=True, slots=True)
class Turns:
    """A conversation by turns, neighbours of one role merged, all text harmless."""

    system: list[str]
    turns: list[Turn]
    neutralised: bool


def collect_turns(
    messages: Sequence[AnyMessage], variant: Variant, guard: MarkerGuard, tools: ToolHistory | None
) -> Turns:
    """The conversation by turns, for dialects that write the prompt themselves. Raises as `normalise` does."""
    reader = ContentReader(variant, guard)
    answered = answered_calls(messages, reader)
    collector = _Collector(reader, tools, answered, keep_reasoning=variant.thinking)
    for index, message in enumerate(messages):
        collector.add(message, index)
    system, turns = collector.finish()
    return Turns(system, turns, reader.neutralised)


def plain_messages(
    messages: Sequence[AnyMessage], *, system_role: bool, declarations: str = ""
) -> list[WireMessage] | None:
    """The common case in one pass: an optional system text, then user and assistant in turn, strings without `<`."""
    wire: list[WireMessage] = []
    system = None
    expect_user = True
    for message in messages:
        text = message.content
        if type(text) is not str or not text or text.isspace() or "<" in text:
            return None
        kind = type(message)
        if kind is UserMessage and expect_user:
            wire.append({"role": "user", "content": text})
        elif kind is AssistantMessage and not expect_user and _text_only(message):
            wire.append({"role": "assistant", "content": text})
        elif kind in (SystemMessage, DeveloperMessage) and not wire and system is None:
            system = text
            continue
        else:
            return None
        expect_user = not expect_user
    if expect_user:
        return None
    if declarations:
        system = declarations if system is None else f"{system}{_BETWEEN_TURNS}{declarations}"
    if system is not None and system_role:
        wire.insert(0, {"role": "system", "content": system})
    elif system is not None:
        wire[0]["content"] = f"{system}{_BETWEEN_TURNS}{wire[0]['content']}"
    return wire


def _text_only(message: AnyMessage) -> bool:
    return isinstance(message, AssistantMessage) and not (
        message.tool_calls or message.function_call or message.reasoning or message.reasoning_content
    )


class _Collector:
    """Gathers system texts and merges neighbours of one role into turns."""

    def __init__(
        self,
        reader: ContentReader,
        tools: ToolHistory | None,
        answered: Mapping[int, Sequence[AnsweredCall]],
        *,
        keep_reasoning: bool,
    ) -> None:
        self._reader = reader
        self._tools = tools
        self._answered = answered
        self._keep_reasoning = keep_reasoning
        self._system: list[str] = []
        self._late: list[str] = []
        """System texts since the last turn."""
        self._turns: list[Turn] = []

    def add(self, message: AnyMessage, index: int) -> None:
        match message:
            case SystemMessage() | DeveloperMessage():
                text = self._reader.joined_text(message.content, f"messages[{index}].content")
                if text.strip():
                    self._late.append(text)
            case UserMessage():
                self._merge("user", self._reader.segments(message.content, index))
            case AssistantMessage():
                self._assistant(message, index)
            case ToolMessage() | FunctionMessage():
                pass  # stands with its call

    def finish(self) -> tuple[list[str], list[Turn]]:
        """The system texts and the turns.

        A system message that follows the assistant's last turn asks for something now: it becomes the user's turn.
        """
        late, self._late = self._late, []
        if late and self._turns and self._turns[-1].role == "assistant":
            self._merge("user", [_BETWEEN_TURNS.join(late)])
        else:
            self._system += late
        return self._system, self._turns

    def _assistant(self, message: AssistantMessage, index: int) -> None:
        text = self._reader.joined_text(message.content or message.refusal, f"messages[{index}].content")
        reasoning = ""
        if self._keep_reasoning:
            thought = message.reasoning if message.reasoning is not None else message.reasoning_content
            reasoning = self._reader.text(thought or "", f"messages[{index}].reasoning")
        if index in self._answered:
            self._exchange(text, reasoning, index)
        elif text.strip() or reasoning:
            self._merge("assistant", [text], reasoning)

    def _exchange(self, text: str, reasoning: str, index: int) -> None:
        if self._tools is None:
            raise InvalidRequest("This model has no tool calls.", param=f"messages[{index}]")
        written = self._tools.exchange(text.strip(), reasoning, self._answered[index])
        if isinstance(written, list):
            self._push(Turn("user", ready=written))
        else:
            self._merge("assistant", [written[0]])
            self._merge("user", [written[1]])

    def _merge(self, role: Role, segments: list[Segment], reasoning: str = "") -> None:
        last = self._turns[-1] if self._turns else None
        if last is None or last.role != role or last.ready or last.reasoning or reasoning:
            self._push(Turn(role, segments, reasoning=reasoning))
            return
        for position, segment in enumerate(segments):
            if isinstance(segment, str):
                append_text(last.segments, segment, _BETWEEN_TURNS if position == 0 else "\n")
            else:
                last.segments.append(segment)
        self._flush_late()

    def _push(self, turn: Turn) -> None:
        self._turns.append(turn)
        self._flush_late()

    def _flush_late(self) -> None:
        self._system += self._late
        self._late.clear()


def _alternating(system: str, turns: Sequence[Turn]) -> list[WireMessage]:
    """User and assistant in turn, the user first and the system text at its front."""
    wire = [_message(turn) for turn in turns]
    if not turns or turns[0].role == "assistant":
        wire.insert(0, {"role": "user", "content": system.strip() or _EMPTY_TURN})
    elif system:
        segments = list(turns[0].segments)
        if isinstance(segments[0], str):
            segments[0] = f"{system}{_BETWEEN_TURNS}{segments[0]}"
        else:
            segments.insert(0, system)
        wire[0]["content"] = content_of(segments)
    return wire


def _with_system_role(system: str, turns: Sequence[Turn]) -> list[WireMessage]:
    """One system message at the front; nothing else is asked for."""
    wire: list[WireMessage] = [{"role": "system", "content": system}] if system else []
    for turn in turns:
        wire += turn.ready or [_message(turn)]
    return wire or [{"role": "user", "content": _EMPTY_TURN}]


def _message(turn: Turn) -> WireMessage:
    message: WireMessage = {"role": turn.role, "content": content_of(turn.segments)}
    if turn.reasoning:
        message["reasoning"] = turn.reasoning
    return message


def _trim_prefill(wire: Sequence[WireMessage]) -> bool:
    """Whether the last message is the assistant's; trims its end."""
    last = wire[-1]
    content = last["content"]
    if last["role"] != "assistant" or not isinstance(content, str) or not content.strip():
        return False
    last["content"] = content.rstrip()
    return True
