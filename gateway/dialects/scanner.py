"""Arguments between two markers, in the syntax that Gemma 4 and FunctionGemma share: `{key:value,…}` → JSON text.

A table of states, one character at a time, except inside strings, which pass in whole pieces. JSON text comes out as
soon as it is certain and only ever grows: `"key":` together with the first of its value, strings as they arrive, bare
scalars at their terminator. Taken as they come: white space, trailing commas, keys and values in double quotes, other
spellings of literals, `(` and `)` for the outer braces.

What the grammar has no place for stops the scanner: it is `broken` then, and `pending` has the text since the last
certain point, from which a `fork` can try another reading.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import Final, Self

from gateway.dialects.arguments import bare_json, is_number, quote, spelled_literal, string_json
from gateway.dialects.events import MAX_NESTING
from gateway.dialects.schema_view import SchemaView

_MAX_KEY_CHARS: Final = 1024
_MAX_SCALAR_CHARS: Final = 512
_CLOSERS: Final = {"}": "{", ")": "{", "]": "["}
_SPACE: Final = frozenset(" \n\t\r")
_STRING_END: Final = " \n\t\r}])"
"""What may stand between a string's last character and the end of a call that forgot to close it."""
_RUN_CHARS: Final = 64
# What is common enough to be taken at once, by the state that it comes in.
_LITERAL: Final = r"(-?(?:0|[1-9]\d{0,64})(?:\.\d{1,64})?|true|false|null),"
_MEMBER_RUN: Final = re.compile(rf"[ \n\t\r,]{{2,}}|([a-zA-Z_][\w-]{{0,64}}):{_LITERAL}")
_ITEM_RUN: Final = re.compile(rf"[ \n\t\r]{{2,}}|{_LITERAL}")
_SPACE_RUN: Final = re.compile(r"[ \n\t\r]{2,}")
_KEY_RUN: Final = re.compile(rf"[^:{{}}\[\],()]{{2,{_RUN_CHARS}}}")
_QUOTED_KEY_RUN: Final = re.compile(rf'[^"]{{2,{_RUN_CHARS}}}')
_BARE_RUN: Final = re.compile(rf"[^,}}\])]{{2,{_RUN_CHARS}}}")
_QUOTED_RUN: Final = re.compile(r'(?:[^"]++|"[ \n\t\r]*+(?=[^ \n\t\r,}\])]))+')
"""With the quotes that end nothing, by what follows them."""
_QUOTED_END_RUN: Final = re.compile(r'(?:[ \n\t\r]*+")+')
"""Quotes behind one that ends nothing therefore; the last of them may."""


class State(IntEnum):
    # integers are hashed faster than members of an Enum
    KEY = auto()
    BARE_KEY = auto()
    QUOTED_KEY = auto()
    MARKED_KEY = auto()
    COLON = auto()
    VALUE = auto()
    BARE = auto()
    QUOTED = auto()
    QUOTED_END = auto()
    STRING = auto()
    AFTER = auto()
    DONE = auto()
    BROKEN = auto()


class _Frame:
    """An open object or array."""

    __slots__ = ("count", "opener", "view")

    def __init__(self, opener: str, view: SchemaView, count: int = 0) -> None:
        self.opener = opener
        self.view = view
        self.count = count


@dataclass(frozen=True, slots=True)
class _Place:
    """A certain point: what is expected, what is open, under which key."""

    state: State
    frames: list[_Frame]
    key: str


class ArgumentScanner:
    """Scans one call's arguments, from behind the outer `{` on. `out` takes the JSON text."""

    def __init__(self, view: SchemaView, *, start: "_Place | None" = None) -> None:
        """Begins behind the outer brace; at `start` it stands where another scanner broke and takes more."""
        self.out: list[str] = [] if start else ["{"]
        self.state = start.state if start else State.KEY
        self.extra = ""
        """What came after the outer `}`."""
        self._lenient = start is not None
        """Whether bare text is a string, and not a reason to look for a better reading."""
        self._stack = list(start.frames) if start else [_Frame("{", view)]
        self._key = start.key if start else ""
        self._view = view
        self._text: list[str] = []
        self._run: list[str] = []
        self._streams = False
        self._mark = self.state
        self._since: list[str] = []
        self._from = self._position = 0
        self._on: dict[State, tuple[Callable[[str], None], re.Pattern[str] | None]] = {
            State.KEY: (self._in_key_place, _MEMBER_RUN),
            State.BARE_KEY: (self._in_bare_key, _KEY_RUN),
            State.QUOTED_KEY: (self._in_quoted_key, _QUOTED_KEY_RUN),
            State.COLON: (self._at_colon, None),
            State.VALUE: (self._at_value, _ITEM_RUN),
            State.BARE: (self._in_bare, _BARE_RUN),
            State.QUOTED: (self._in_quoted, _QUOTED_RUN),
            State.QUOTED_END: (self._after_quoted, _QUOTED_END_RUN),
            State.AFTER: (self._after_value, _SPACE_RUN),
        }

    @property
    def in_string(self) -> bool:
        """Whether the next text belongs to a marked string."""
        return self.state in (State.STRING, State.MARKED_KEY)

    @property
    def in_key(self) -> bool:
        """Whether that string is a key."""
        return self.state is State.MARKED_KEY

    @property
    def broken(self) -> bool:
        """Whether something came that the grammar has no place for."""
        return self.state is State.BROKEN

    @property
    def mark(self) -> State:
        """Where `pending` begins: KEY, VALUE or AFTER."""
        return self._mark

    @property
    def depth(self) -> int:
        """Open containers."""
        return len(self._stack)

    @property
    def keys(self) -> list[str]:
        """The schema's keys of the innermost open object."""
        return self._stack[-1].view.keys if self._stack else []

    def pending(self) -> str:
        """The text since the last certain point."""
        return "".join(self._since)

    def fork(self) -> Self:
        """A scanner that stands at the last certain point and takes bare text for strings."""
        frames = [_Frame(frame.opener, frame.view, frame.count) for frame in self._stack]
        return type(self)(self._view, start=_Place(self._mark, frames, self._key))

    def text(self, text: str) -> None:
        """Takes a piece of text."""
        if self.state is State.STRING:
            self._string_piece(text)
            return
        if self.state is State.MARKED_KEY:
            self._text.append(text)
            self._since.append(text)
            return
        self._from = position = 0
        while position < len(text) and self.state is not State.BROKEN:
            if self.state is State.DONE:
                self.extra += text[position:].lstrip(_STRING_END)
                return
            take, common = self._on[self.state]
            run = common.match(text, position) if common else None
            if run and self._takes_run(run):
                position = run.end()
                continue
            self._position = position
            take(text[position])
            position += 1
        self._since.append(text[self._from :])

    def _takes_run(self, run: re.Match[str]) -> bool:
        """Takes at once what its characters would add up to; False: each has to be looked at."""
        match self.state:
            case State.KEY | State.VALUE | State.AFTER if run.lastindex is None:
                return True
            case State.KEY:
                return self._takes_scalar(run[2], run.end(), run[1])
            case State.VALUE:
                return self._stack[-1].opener == "[" and self._takes_scalar(run[1], run.end())
            case State.QUOTED_END:
                self._text += ['"', *self._run, *run[0][:-1]]
                self._run = []
            case State.BARE | State.QUOTED if self._lenient or self.state is State.QUOTED:
                self._text.extend(run[0])
            case _ if len(self._text) < _MAX_SCALAR_CHARS - _RUN_CHARS:
                self._text.extend(run[0])
            case _:
                return False
        return True

    def _takes_scalar(self, text: str, end: int, key: str | None = None) -> bool:
        """A number or literal up to the comma behind it, under `key` or as an item."""
        frame = self._stack[-1]
        view = self._view if key is None else frame.view.member(key)
        if view.string_only:
            return False
        if key is not None:
            self._key = key
        self._view = view
        self.out.append(self._prefix() + bare_json(text, view))
        self._position = end - 1
        self._expect_next()
        return True

    def quote(self, marker: str) -> None:
        """Takes the marker that stands around strings."""
        match self.state:
            case State.STRING:
                self._end_string()
            case State.MARKED_KEY:
                self._key = "".join(self._text)
                self._since.append(marker)
                self.state = State.COLON
            case State.KEY:
                self._text = []
                self._since.append(marker)
                self.state = State.MARKED_KEY
            case State.VALUE:
                self._begin_string()
            case State.DONE:
                self.extra += marker
            case _:
                self._since.append(marker)
                self.state = State.BROKEN

    def end_scalar(self) -> None:
        """A bare scalar at the end of the text is complete; it may turn out to be none."""
        if self.state is State.BARE:
            self._end_bare()

    def close(self) -> None:
        """Closes what is open; a key without value and a bare scalar without terminator are dropped.

        A string that never ended gives back the closing brackets at its end.
        """
        match self.state:
            case State.STRING:
                self._drop_closing_brackets()
                self._end_string()
            case State.QUOTED | State.QUOTED_END:
                self._end_quoted()
            case _:
                pass
        while self._stack:
            self.out.append("}" if self._stack.pop().opener == "{" else "]")
        self.state = State.DONE

    # Objects and keys

    def _in_key_place(self, char: str) -> None:
        if char in _SPACE or char == ",":
            return
        if char in "})":
            self._close_container(char)
        elif char == '"':
            self._text = []
            self.state = State.QUOTED_KEY
        elif char in ":{[(]":
            self.state = State.BROKEN
        else:
            self._text = [char]
            self.state = State.BARE_KEY

    def _in_bare_key(self, char: str) -> None:
        if char == ":":
            self._key = "".join(self._text).strip()
            self._expect_value()
        elif char in "{}[],()" or len(self._text) > _MAX_KEY_CHARS:
            self.state = State.BROKEN
        else:
            self._text.append(char)

    def _in_quoted_key(self, char: str) -> None:
        if char == '"':
            self._key = "".join(self._text)
            self.state = State.COLON
        elif len(self._text) > _MAX_KEY_CHARS:
            self.state = State.BROKEN
        else:
            self._text.append(char)

    def _at_colon(self, char: str) -> None:
        if char == ":":
            self._expect_value()
        elif char not in _SPACE:
            self.state = State.BROKEN

    def _expect_value(self) -> None:
        self._view = self._stack[-1].view.member(self._key)
        self._certain(State.VALUE)

    # Values

    def _at_value(self, char: str) -> None:
        array = self._stack[-1].opener == "["
        if char in _SPACE or (char == "," and array):
            return
        if char == "]" and array:
            self._close_container(char)
        elif char in "{[" and (self._lenient or not self._view.string_only):
            self._open_container(char)
        elif char == '"':
            self._text = []
            self.state = State.QUOTED
        elif char in ",}])'`" or char in "{[":
            self.state = State.BROKEN
        else:
            self._text = [char]
            self.state = State.BARE

    def _in_bare(self, char: str) -> None:
        if char in ",}])":
            self._end_bare()
            if self.state is State.AFTER:
                self._after_value(char)
        elif len(self._text) > _MAX_SCALAR_CHARS and not self._lenient:
            self.state = State.BROKEN
        else:
            self._text.append(char)

    def _end_bare(self) -> None:
        text = "".join(self._text).strip()
        if self._lenient or (not self._view.string_only and _is_literal(text)):
            self._emit(bare_json(text, self._view))
        else:
            self.state = State.BROKEN

    def _in_quoted(self, char: str) -> None:
        if char == '"' and not self._escaped():
            self._run = []
            self.state = State.QUOTED_END
        else:
            self._text.append(char)

    def _escaped(self) -> bool:
        slashes = 0
        for char in reversed(self._text):
            if char != "\\":
                break
            slashes += 1
        return slashes % 2 == 1

    def _after_quoted(self, char: str) -> None:
        if char in _SPACE:
            self._run.append(char)
        elif char in ",}])":
            self._end_quoted()
            self._after_value(char)
        else:
            self._text += ['"', *self._run]
            self.state = State.QUOTED
            self._in_quoted(char)

    def _end_quoted(self) -> None:
        text = "".join(self._text)
        if "\\" in text:
            text = _unescaped(text)
        self._emit(string_json(text, self._view))

    def _begin_string(self) -> None:
        self._text = []
        self._run = []
        self._streams = "string" in self._view.types
        if self._streams:
            self.out.append(self._prefix() + '"')
        self.state = State.STRING

    def _string_piece(self, text: str) -> None:
        body = text.rstrip(_STRING_END)
        if body:
            self._string_text("".join([*self._run, body]))
            self._run = []
        if len(body) < len(text):
            self._run.append(text[len(body) :])

    def _string_text(self, text: str) -> None:
        if self._streams:
            self.out.append(quote(text)[1:-1])
        else:
            self._text.append(text)

    def _end_string(self) -> None:
        self._string_text("".join(self._run))
        self._run = []
        if self._streams:
            self.out.append('"')
            self._settle()
        else:
            self._emit(string_json("".join(self._text), self._view))

    def _drop_closing_brackets(self) -> None:
        run = "".join(self._run).rstrip()
        for frame in reversed(self._stack):
            if not run or _CLOSERS.get(run[-1]) != frame.opener:
                break
            run = run[:-1].rstrip()
        self._run = [run]

    def _after_value(self, char: str) -> None:
        if char == ",":
            self._expect_next()
        elif char in _CLOSERS:
            self._close_container(char)
        elif char not in _SPACE:
            self.state = State.BROKEN

    def _expect_next(self) -> None:
        frame = self._stack[-1]
        if frame.opener == "[":
            self._view = frame.view.item(frame.count)
            self._certain(State.VALUE)
        else:
            self._certain(State.KEY)

    # Containers and output

    def _open_container(self, char: str) -> None:
        if len(self._stack) >= MAX_NESTING:
            self.state = State.BROKEN
            return
        self.out.append(self._prefix() + char)
        self._stack.append(_Frame(char, self._view))
        self._expect_next()

    def _close_container(self, char: str) -> None:
        if _CLOSERS[char] != self._stack[-1].opener:
            self.state = State.BROKEN
            return
        self.out.append("}" if self._stack.pop().opener == "{" else "]")
        self._certain(State.AFTER if self._stack else State.DONE)

    def _prefix(self) -> str:
        """What stands before the next value; counts it."""
        frame = self._stack[-1]
        comma = "," if frame.count else ""
        frame.count += 1
        return comma if frame.opener == "[" else f"{comma}{quote(self._key)}:"

    def _emit(self, value: str) -> None:
        self.out.append(self._prefix() + value)
        self._settle()

    def _settle(self) -> None:
        """The value is out: what follows is looked at on its own."""
        self.state = self._mark = State.AFTER
        self._since = []
        self._from = self._position

    def _certain(self, state: State) -> None:
        self.state = self._mark = state
        self._since = []
        self._from = self._position + 1


def _is_literal(text: str) -> bool:
    return is_number(text) or spelled_literal(text) is not None


def _unescaped(text: str) -> str:
    try:
        decoded: object = json.loads(f'"{text}"', strict=False)
    except ValueError:
        return text
    return decoded if isinstance(decoded, str) else text
