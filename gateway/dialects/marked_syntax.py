"""The markers of the two dialects that were trained on tool calls."""

from dataclasses import dataclass
from typing import Final


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
        channels = (self.channel, self.channel_end) if self.channel and self.channel_end else ()
        return (*self.openers, self.end, self.quote, *self.turn_ends, *channels)


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
