"""Calls that have to be made: begun in the prompt, and kept to the tool's schema by a grammar."""

from collections.abc import Callable

from gateway.dialects.constraints import CallSyntax, arguments_rule
from gateway.dialects.grammar import Rule, Text, ebnf, either, seq
from gateway.dialects.tools import ToolPlan

_MAX_GRAMMAR_CHARS = 200_000


def forced_grammar(
    plan: ToolPlan, syntax: CallSyntax, *, begun: str, opening: Callable[[str], str], closing: str
) -> dict[str, object]:
    """The worker's `structured_outputs` for what follows `begun`; empty where a schema can't be promised.

    `opening` of a tool's name stands before its arguments, `closing` behind them.
    """
    calls: list[Rule] = []
    for index, tool in enumerate(plan.declared):
        arguments = arguments_rule(tool.parameters, syntax, f"t{index}m")
        if arguments is None:
            return {}
        calls.append(seq(Text(opening(tool.wire_name).removeprefix(begun)), arguments, Text(closing)))
    grammar = ebnf(either(calls))
    return {"structured_outputs": {"grammar": grammar}} if len(grammar) <= _MAX_GRAMMAR_CHARS else {}
