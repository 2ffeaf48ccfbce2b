"""Personal data: how each kind looks in folded text, and how chance matches are told apart."""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from gateway.config.model import PiiType
from gateway.filters import pii_checks
from gateway.filters.expressions import Check, Expression, alone, expression, open_tail

_SEPARATORS: Final = re.compile(r"[ .()/-]")
_DIGITS: Final = r"[0-9][ .()/+-]{0,2}[0-9][ .()/+-]{0,2}[0-9][ .()/+-]{0,2}[0-9][ .()/+-]{0,2}[0-9]"
"""What nearly every number of a person has: the cheap sign that there may be one."""


def _checked(is_valid: Callable[[str], bool], keep: str = "") -> Check:
    """Accept a match that stands alone and whose characters without separators, those of `keep` apart, are valid."""

    def check(text: str, start: int, end: int) -> tuple[int, int] | None:
        if alone(text, start, end) is None or _goes_on(text, start, end):
            return None
        found = "".join(char for char in text[start:end] if char.isalnum() or char in keep)
        return (start, end) if is_valid(found) else None

    return check


def _goes_on(text: str, start: int, end: int) -> bool:
    """Whether a decimal point, a currency sign or the like makes the number one of something else."""
    return (start > 0 and text[start - 1] in "$€£#.,_=") or (
        end + 1 < len(text) and text[end] in ".,_" and text[end + 1].isdigit()
    )


def _address(text: str, start: int, end: int) -> tuple[int, int] | None:
    before = text[start - 1] if start else ""
    after = text[end] if end < len(text) else ""
    if before.isalnum() or after.isalnum() or before in (".", ":", "-") or after in (":", "-"):
        return None
    if after == "." and end + 1 < len(text) and text[end + 1].isalnum():
        return None
    return (start, end) if pii_checks.is_address(text[start:end]) else None


def _phone(text: str, start: int, end: int) -> tuple[int, int] | None:
    """A number of 8 to 15 digits (E.164) with a plus or with the separators of telephone numbers."""
    if alone(text, start, end) is None or _goes_on(text, start, end) or (start and text[start - 1] in "-/:+"):
        return None
    said = text[start:end]
    digits = sum(char.isdigit() for char in said)
    if not 8 <= digits <= 15 or _NO_PHONE.fullmatch(said):
        return None
    return start, end


_DATE: Final = r"(?:19|20)\d\d[-./ ]\d\d[-./ ]\d\d(?:[ ]\d\d)?|\d\d[-./ ]\d\d[-./ ](?:19|20)\d\d"
_ADDRESS: Final = r"\d{1,3}(?:\.\d{1,3}){3}"
_SSN: Final = r"\d{3}[- ]\d\d[- ]\d{4}"
_FOURS: Final = r"[1-9]\d{3}[- ]\d{4}[- ].*"
"""Cards and accounts are written in groups of four digits."""
_NO_PHONE: Final = re.compile(f"{_DATE}|{_ADDRESS}|{_SSN}|{_FOURS}")
_WORD: Final = "[a-z0-9_-]"
_KEYS: Final = (
    (r"[spr]k[-_]", r"(?:live[-_]|test[-_]|proj[-_]|ant[-_])?[a-z0-9_-]{20,200}", _WORD),
    (r"gk-", r"[a-z0-9._-]{1,64}-[a-z0-9_-]{32}", "[a-z0-9._-]"),
    (r"(?:akia|asia)", r"[a-z0-9]{16}", "[a-z0-9]"),
    (r"gh[pousr]_", r"[a-z0-9]{36,255}", "[a-z0-9]"),
    (r"github_pat_", r"[a-z0-9_]{22,255}", "[a-z0-9_]"),
    (r"glpat-", r"[a-z0-9_-]{20,64}", _WORD),
    (r"xox[abeprs]-", r"[a-z0-9-]{10,200}", "[a-z0-9-]"),
    (r"aiza", r"[a-z0-9_-]{35}", _WORD),
    (r"hf_", r"[a-z0-9]{30,64}", "[a-z0-9]"),
    (r"eyj", r"[a-z0-9_-]{10,500}\.eyj[a-z0-9_-]{10,1000}\.[a-z0-9_-]{10,500}", "[a-z0-9._-]"),
)
"""Head, rest, and the characters of the rest."""
_KEY_HINT: Final = r"[sprg]k[-_]|akia|asia|gh[pousr]_|github_pat|glpat-|xox[abeprs]-|aiza|hf_|eyj"

EXPRESSIONS: Final[Mapping[PiiType, tuple[Expression, ...]]] = MappingProxyType(
    {
        "email": (
            expression(
                "pii.email",
                r"[a-z0-9](?:[a-z0-9._%+'-]{0,62}[a-z0-9_+-])?"
                r"@(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.){1,4}[a-z]{2,24}",
                alone,
                r"[a-z0-9_+-]@[a-z0-9]",
                r"[a-z0-9][a-z0-9._%+'-]*(?:@(?:[a-z0-9][a-z0-9.-]*(?:\.[a-z]{2,24}(?s:.))?)?)?",
            ),
        ),
        "phone": (
            expression("pii.phone", r"(?:\+|00)[1-9](?:[ ./()-]{0,2}[0-9]){7,14}", _phone, _DIGITS),
            expression("pii.phone", r"\(?[0-9]{2,4}\)?(?:[ .-][0-9]{2,4}){2,4}", _phone, _DIGITS),
            expression("pii.phone", r"\([0-9]{2,5}\) ?[0-9]{3,4}[ -]?[0-9]{3,4}", _phone, _DIGITS),
        ),
        "credit_card": (
            expression(
                "pii.credit_card",
                r"[2-6][0-9]{12,18}|[2-6][0-9]{3}(?:[ -][0-9]{4}){3}(?:[ -][0-9]{1,3})?"
                r"|3[0-9]{3}[ -][0-9]{6}[ -][0-9]{4,5}",
                _checked(pii_checks.is_card),
                _DIGITS,
            ),
        ),
        "iban": (
            expression(
                "pii.iban",
                r"[a-z]{2}[0-9]{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?",
                _checked(pii_checks.is_iban),
                r"[a-z][a-z][0-9][0-9] ?[a-z0-9]",
            ),
        ),
        "ip": (
            expression("pii.ip", r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", _address, r"[0-9]\.[0-9]{1,3}\.[0-9]"),
            expression(
                "pii.ip",
                r"[0-9a-f]{0,4}(?::[0-9a-f]{0,4}){2,7}(?:(?:\.[0-9]{1,3}){3})?",
                _address,
                r":[0-9a-f]{0,4}:",
            ),
        ),
        "api_key": tuple(
            expression("pii.api_key", head + rest, alone, _KEY_HINT, open_tail(head, kind))
            for head, rest, kind in _KEYS
        ),
        "ssn": (
            expression(
                "pii.ssn",
                r"[0-9]{3}-[0-9]{2}-[0-9]{4}|[0-9]{3} [0-9]{2} [0-9]{4}",
                _checked(pii_checks.is_ssn),
                _DIGITS,
            ),
        ),
        "aadhaar": (
            expression(
                "pii.aadhaar", r"[2-9][0-9]{3}[ -]?[0-9]{4}[ -]?[0-9]{4}", _checked(pii_checks.is_aadhaar), _DIGITS
            ),
        ),
        "codice_fiscale": (
            expression(
                "pii.codice_fiscale",
                r"[a-z]{6}[0-9lmnp-v]{2}[a-ehlmprst][0-9lmnp-v]{2}[a-z][0-9lmnp-v]{3}[a-z]",
                _checked(pii_checks.is_codice_fiscale),
                r"[a-z]{6}[0-9lmnp-v]{2}[a-ehlmprst][0-9lmnp-v]{2}[a-z][0-9lmnp-v]",
            ),
        ),
        "cpf": (
            expression(
                "pii.cpf", r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}|[0-9]{11}", _checked(pii_checks.is_cpf), _DIGITS
            ),
        ),
        "cpr": (expression("pii.cpr", r"[0-3][0-9][01][0-9]{3}-?[0-9]{4}", _checked(pii_checks.is_cpr, "-"), _DIGITS),),
        "dni": (
            expression("pii.dni", r"(?:[0-9]{8}|[xyz][0-9]{7})-?[a-hj-np-tv-z]", _checked(pii_checks.is_dni), _DIGITS),
        ),
        "fodselsnummer": (
            expression("pii.fodselsnummer", r"[0-7][0-9]{5} ?[0-9]{5}", _checked(pii_checks.is_fodselsnummer), _DIGITS),
        ),
        "hetu": (
            expression(
                "pii.hetu",
                r"[0-3][0-9][01][0-9]{3}[-+a-fu-y][0-9]{3}[0-9a-y]",
                _checked(pii_checks.is_hetu, "+-"),
                r"[0-9]{6}",
            ),
        ),
        "nino": (
            expression(
                "pii.nino",
                r"[a-ceghj-prstw-z][a-ceghj-nprstw-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]{2} ?[a-d]",
                alone,
                r"[a-z][a-z] ?[0-9]{2} ?[0-9]{2} ?[0-9]",
            ),
        ),
        "nir": (
            expression(
                "pii.nir",
                r"[12] ?[0-9]{2} ?[0-9]{2} ?(?:[0-9]{2}|2[ab]) ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}",
                _checked(pii_checks.is_nir),
                _DIGITS,
            ),
        ),
        "personnummer": (
            expression(
                "pii.personnummer",
                r"(?:19|20)?[0-9]{2}[01][0-9]{3}[-+]?[0-9]{4}",
                _checked(pii_checks.is_personnummer, "+-"),
                _DIGITS,
            ),
        ),
        "pesel": (expression("pii.pesel", r"[0-9]{11}", _checked(pii_checks.is_pesel), _DIGITS),),
        "steuer_id": (
            expression(
                "pii.steuer_id",
                r"[1-9][0-9] ?[0-9]{3} ?[0-9]{3} ?[0-9]{3}",
                _checked(pii_checks.is_steuer_id),
                _DIGITS,
            ),
        ),
    }
)
"""Patterns are of folded text: lower case, plain digits, spaces and hyphens."""
