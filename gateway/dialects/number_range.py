"""Numbers between two limits, digit by digit, as a grammar."""

import math
from typing import Any, Final

from gateway.dialects.grammar import Chars, Rule, Text, either, seq

_MORE_DIGITS: Final = Chars("[0-9]", 0, 5)
_FRACTION: Final = seq(Text("."), Chars("[0-9]", 1, 1), _MORE_DIGITS)
_ABOVE_ZERO: Final = seq(Text("."), Chars("[1-9]", 1, 1), _MORE_DIGITS)


def integers_between(minimum: Any, maximum: Any, above: Any, below: Any, *, digits: int) -> Rule | None:
    """All integers from `minimum` to `maximum`, over `above` and under `below`, each None or a number.

    Without a limit on one side, up to `digits` digits. None when there is no such integer.
    """
    low, high = _limits(minimum, maximum, above, below, digits)
    if low > high:
        return None
    options: list[Rule] = []
    if low < 0:
        options.append(seq(Text("-"), _positive(max(1, -high), -low)))
    if high >= 0:
        options.append(_positive(max(0, low), high))
    return either(options)


def numbers_between(minimum: Any, maximum: Any, above: Any, below: Any, *, digits: int) -> Rule | None:
    """Numbers between the limits, with up to six decimals; those between a limit and the next integer are left out."""
    low, high = _limits(minimum, maximum, above, below, digits)
    options = [integers_between(low, high, None, None, digits=digits)]
    options.append(_with_fraction((minimum, above), (maximum, below), digits, sign=""))
    mirrored = [None if limit is None else -limit for limit in (maximum, below, minimum, above)]
    options.append(_with_fraction((mirrored[0], mirrored[1]), (mirrored[2], mirrored[3]), digits, sign="-"))
    written = [option for option in options if option is not None]
    return either(written) if written else None


def _with_fraction(lower: tuple[Any, Any], upper: tuple[Any, Any], digits: int, *, sign: str) -> Rule | None:
    """Numbers of one sign, all with a point; the limits are pairs of an inclusive and an exclusive one."""
    least, above = lower
    top = 10**digits - 1
    for limit in upper:
        top = top if limit is None else min(top, math.floor(limit))
    bottom = 0 if least is None else max(0, math.ceil(least))
    bottom = bottom if above is None else max(bottom, math.floor(above) + 1)
    options: list[Rule] = []
    if bottom < top:
        options.append(seq(Text(sign), _positive(bottom, top - 1), _FRACTION))
    if above is not None and above == bottom - 1 >= 0 and bottom <= top:
        options.append(seq(Text(f"{sign}{bottom - 1}"), _ABOVE_ZERO))
    return either(options) if options else None


def _limits(minimum: Any, maximum: Any, above: Any, below: Any, digits: int) -> tuple[int, int]:
    """The least and the greatest integer."""
    low = -(10**digits) + 1
    high = 10**digits - 1
    for limit, strict in ((minimum, False), (above, True)):
        if limit is not None and not isinstance(limit, bool):
            low = max(low, math.floor(limit) + 1 if strict else math.ceil(limit))
    for limit, strict in ((maximum, False), (below, True)):
        if limit is not None and not isinstance(limit, bool):
            high = min(high, math.ceil(limit) - 1 if strict else math.floor(limit))
    return low, high


def _positive(low: int, high: int) -> Rule:
    """Integers without sign, `low` to `high`, by their number of digits."""
    options: list[Rule] = []
    for length in range(len(str(low)), len(str(high)) + 1):
        first = max(low, 10 ** (length - 1) if length > 1 else 0)
        last = min(high, 10**length - 1)
        options.append(_same_length(str(first), str(last)))
    return either(options)


def _same_length(first: str, last: str) -> Rule:
    """Digit strings of one length from `first` to `last`."""
    rest = len(first) - 1
    if not rest:
        return _digit(first, last)
    if first[1:] == "0" * rest and last[1:] == "9" * rest:
        return seq(_digit(first[0], last[0]), Chars("[0-9]", rest, rest))
    if first[0] == last[0]:
        return seq(Text(first[0]), _same_length(first[1:], last[1:]))
    options = [seq(Text(first[0]), _same_length(first[1:], "9" * rest))]
    if int(last[0]) - int(first[0]) > 1:
        middle = _digit(str(int(first[0]) + 1), str(int(last[0]) - 1))
        options.append(seq(middle, Chars("[0-9]", rest, rest)))
    options.append(seq(Text(last[0]), _same_length("0" * rest, last[1:])))
    return either(options)


def _digit(first: str, last: str) -> Rule:
    return Text(first) if first == last else Chars(f"[{first}-{last}]", 1, 1)
