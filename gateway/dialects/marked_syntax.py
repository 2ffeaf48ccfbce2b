"""The markers of the two dialects that were trained on tool calls."""

from dataclasses import dataclass
from typing import Final

from gateway.values import Family


@dataclass(frozen=True, slots=True)
class MarkedSyntax:
    """How a dialect marks calls, strings and thoughts."""

    openers: tuple[str, ...]
    """Begin a call; the first is the one that the model was trained on."""
    end: str
    quote: str
    """Stands on both sides of a string."""
    turn_ends: tuple[str, ...]
    """Also end a call. The engine stops at the real tokens; here they are text that looks alike."""
    channel: str | None = None
    channel_end: str | None = None

    @property
    def markers(self) -> tuple[str, ...]:
        """All of them, for the lexer."""
        return (*self.openers, self.end, self.quote, *self.turn_ends, *self.channels)

    @property
    def channels(self) -> tuple[str, ...]:
        """The markers around thoughts, none where the model has none."""
        return (self.channel, self.channel_end) if self.channel and self.channel_end else ()


GEMMA_4: Final = MarkedSyntax(
    openers=("<|tool_call>", "<call>"),
    end="<tool_call|>",
    quote='<|"|>',
    turn_ends=("<|tool_response>", "<turn|>", "<eos>"),
    channel="<|channel>",
    channel_end="<channel|>",
)
FUNCTIONGEMMA: Final = MarkedSyntax(
    openers=("<start_function_call>",),
    end="<end_function_call>",
    quote="<escape>",
    turn_ends=("<start_function_response>", "<end_of_turn>", "<eos>"),
)


def call_markers(family: Family) -> tuple[str, ...]:
    """The markers of a family's calls and thoughts, whose ids a worker's tokenizer is asked for when it joins."""
    syntax = {"gemma4": GEMMA_4, "functiongemma": FUNCTIONGEMMA}.get(family)
    return (syntax.openers[0], syntax.end, syntax.quote, *syntax.channels) if syntax else ()
