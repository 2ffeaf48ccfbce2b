"""Screening of one text that comes in pieces, or whole.

Held back is only what may still become a match: the screener asks every rule from where on the end of the text is
undecided, and lets go what is before. A match is dealt with when everything up to its begin is decided, in the order of
the text; so the pieces that leave, joined, don't depend on how the text was cut, and no character of a match that
blocks or redacts ever leaves.
"""

from collections.abc import Sequence
from typing import Final

from gateway.filters.findings import Finding, RuleLabel
from gateway.filters.restoring import Placeholders
from gateway.filters.rules import Match, RuleSet
from gateway.filters.view import View

MAX_HELD_CHARS: Final = 65_536
"""More than any match can have: what makes a screener hold more, as masses of invisible characters do, is blocked."""
PIECE_CHARS: Final = 32_768
"""Longer texts are screened piece by piece: the memory that it takes doesn't grow with them."""
HELD_LABEL: Final[RuleLabel] = "held"


class Findings:
    """Counts what rules did to the texts of one side of a request."""

    def __init__(self) -> None:
        self._counts: dict[tuple[RuleLabel, str], Finding] = {}
        self.blocked_by: RuleLabel | None = None

    def add(self, finding: Finding) -> None:
        """Count a finding; the first that blocks is the one that is named."""
        key = finding.rule, finding.action
        before = self._counts.get(key)
        count = finding.count + (before.count if before else 0)
        self._counts[key] = Finding(finding.rule, finding.action, count)
        if finding.action == "block" and self.blocked_by is None:
            self.blocked_by = finding.rule

    def all(self) -> Sequence[Finding]:
        """Return one finding per rule and action."""
        return tuple(self._counts.values())


class TextScreener:
    """Screens one text. After a block nothing more comes out."""

    __slots__ = ("_base", "_before", "_findings", "_held", "_json", "_placeholders", "_quoted", "blocked", "rules")

    def __init__(
        self, rules: RuleSet, findings: Findings, *, json: bool = False, placeholders: Placeholders | None = None
    ) -> None:
        """`placeholders` keeps what rules redact that restore it."""
        self.blocked = False
        self._placeholders: Final = placeholders
        self.rules: Final = rules
        self._findings: Final = findings
        self._json: Final = json
        self._before = ""
        """The last character that reads as one before the held text: what a word's border is judged by."""
        self._held = ""
        self._base = 0
        """How much at the beginning of the held text has already left or been replaced."""
        self._quoted = False

    @property
    def is_plain(self) -> bool:
        """Whether what is held is text as it came, and more of the kind may come."""
        return not (self._json or self._base or self.blocked)

    def lend(self) -> tuple[str, str]:
        """Return the last character that has left, if any, and what is held, for somebody who goes on in its place."""
        return self._before, self._held

    def take_back(self, before: str, held: str) -> None:
        """Go on where somebody else has come to."""
        self._before, self._held = before, held

    def feed(self, text: str) -> str:
        """Take a piece; return what may leave now."""
        return self._screen(text, whole=False)

    def screen(self, text: str) -> str:
        """Take a whole text; return what may leave of it."""
        if len(text) <= PIECE_CHARS:
            return self._screen(text, whole=True)
        out = [self.feed(text[at : at + PIECE_CHARS]) for at in range(0, len(text), PIECE_CHARS)]
        return "".join(out) + self.finish()

    def finish(self) -> str:
        """Return the rest: nothing comes behind it."""
        return self._screen("", whole=True)

    def _screen(self, text: str, *, whole: bool) -> str:
        if self.blocked:
            return ""
        self._held += text
        if not self._held:
            return ""
        lead = len(self._before)
        view = View(self._before + self._held, json=self._json, quoted=self._quoted, whole=whole)
        decided = len(view.raw) if whole else self.rules.hold(view)
        decided = max(decided, lead)
        out: list[str] = []
        at = lead + self._base
        for match in self.rules.find(view):
            span = match.span
            if span.start < lead:
                continue
            if span.start >= decided:
                break
            at = self._deal_with(match, view, at, out)
            if match.action == "block":
                return "".join(out)
        if at < decided:
            out.append(view.raw[at:decided])
            at = decided
        self._keep(decided, at)
        if len(self._held) > MAX_HELD_CHARS and not whole:
            self._findings.add(Finding(HELD_LABEL, "block"))
            self._block()
        return "".join(out)

    def _deal_with(self, match: Match, view: View, at: int, out: list[str]) -> int:
        """Let the text before a match go, and treat the match; return up to where the text is done."""
        span = match.span
        if span.start > at or (span.start == at and match.action != "flag"):
            out.append(view.raw[at : span.start])
        if match.action == "flag":
            self._findings.add(Finding(span.label, "flag"))
            return max(at, span.start)
        if match.action == "block":
            self._findings.add(Finding(span.label, "block"))
            self._block()
            return at
        if span.start >= at:
            self._findings.add(Finding(span.label, "redact"))
            out.append(self._placeholder(view, span.start, match))
        elif match.restore and span.end > at:  # what an earlier match leaves of it has a place of its own
            out.append(self._placeholder(view, at, match))
        return max(at, span.end)

    def _placeholder(self, view: View, start: int, match: Match) -> str:
        kind = match.span.label.removeprefix("pii.").upper()
        said = f"[{kind}]"
        if match.restore and self._placeholders is not None:
            value = view.raw[start : match.span.end]
            said = self._placeholders.add(kind, View(value, json=True, quoted=True).text if self._json else value)
        if self._json and not view.is_quoted(start, self._quoted):
            return f'"{said}"'
        return said

    def _keep(self, decided: int, at: int) -> None:
        lead = len(self._before)
        gone, self._held = self._held[: decided - lead], self._held[decided - lead :]
        self._base = at - decided
        if not gone:
            return
        if self._json:
            last = View(gone, json=True, quoted=self._quoted).text[-1:]
            self._before = last if last.isalnum() else " "
            self._quoted = _ends_quoted(gone, self._quoted)
        elif last := last_read(gone):
            self._before = last

    def _block(self) -> None:
        self.blocked = True
        self._held = ""


def last_read(text: str) -> str:
    """Return the last character that the plain form keeps."""
    if text[-1].isascii():
        return text[-1]
    for index in range(len(text) - 1, -1, -1):
        if View(text[index]).folded.text:
            return text[index]
    return ""


def _ends_quoted(text: str, quoted: bool) -> bool:
    """Return whether JSON text that begins inside a string, or not, ends inside one."""
    escaped = False
    for char in text:
        if char == '"' and not escaped:
            quoted = not quoted
        escaped = char == "\\" and not escaped
    return quoted


def screen_text(
    rules: RuleSet, findings: Findings, text: str, *, json: bool = False, placeholders: Placeholders | None = None
) -> str:
    """Return a whole text after its rules; what stands before a block is returned, and the findings say so."""
    return TextScreener(rules, findings, json=json, placeholders=placeholders).screen(text)
