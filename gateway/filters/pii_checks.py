"""Which digits are a number of their kind: check digits and dates. Functions take a match without its separators."""

from collections.abc import Mapping, Sequence
from datetime import date
from ipaddress import ip_address
from types import MappingProxyType
from typing import Final

_LETTERS: Final = "trwagmyfpdxbnjzsqvhlcke"
"""Of the Spanish DNI: the remainder of the number by 23."""
_HETU: Final = "0123456789abcdefhjklmnprstuvwxy"
_ODD: Final[Mapping[str, int]] = MappingProxyType(
    dict(zip("0123456789", (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True))
    | dict(
        zip(
            "abcdefghijklmnopqrstuvwxyz",
            (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23),
            strict=True,
        )
    )
)
"""Values of the Italian codice fiscale's odd places (decree of 23 December 1976)."""
_VERHOEFF_TURN: Final = (
    "0123456789",
    "1576283094",
    "5803796142",
    "8916043527",
    "9453126870",
    "4286573901",
    "2793806415",
)
_IBAN_LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "ad": 24,
        "ae": 23,
        "al": 28,
        "at": 20,
        "az": 28,
        "ba": 20,
        "be": 16,
        "bg": 22,
        "bh": 22,
        "br": 29,
        "by": 28,
        "ch": 21,
        "cr": 22,
        "cy": 28,
        "cz": 24,
        "de": 22,
        "dk": 18,
        "do": 28,
        "ee": 20,
        "eg": 29,
        "es": 24,
        "fi": 18,
        "fo": 18,
        "fr": 27,
        "gb": 22,
        "ge": 22,
        "gi": 23,
        "gl": 18,
        "gr": 27,
        "gt": 28,
        "hr": 21,
        "hu": 28,
        "ie": 22,
        "il": 23,
        "iq": 23,
        "is": 26,
        "it": 27,
        "jo": 30,
        "kw": 30,
        "kz": 20,
        "lb": 28,
        "lc": 32,
        "li": 21,
        "lt": 20,
        "lu": 20,
        "lv": 21,
        "ly": 25,
        "mc": 27,
        "md": 24,
        "me": 22,
        "mk": 19,
        "mr": 27,
        "mt": 31,
        "mu": 30,
        "nl": 18,
        "no": 15,
        "pk": 24,
        "pl": 28,
        "ps": 29,
        "pt": 25,
        "qa": 29,
        "ro": 24,
        "rs": 22,
        "sa": 24,
        "sc": 31,
        "se": 24,
        "si": 19,
        "sk": 24,
        "sm": 27,
        "st": 25,
        "sv": 28,
        "tl": 23,
        "tn": 24,
        "tr": 26,
        "ua": 29,
        "va": 22,
        "vg": 24,
        "xk": 20,
    }
)
"""Of the IBAN registry (SWIFT)."""


def is_card(digits: str) -> bool:
    """ISO/IEC 7812: 13 to 19 digits, Luhn; not all of one digit."""
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(digits)


def luhn(digits: str) -> bool:
    """Whether the last digit is Luhn's check digit of the others."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_iban(text: str) -> bool:
    """ISO 13616: the country's length, remainder 1 by 97."""
    if _IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    return int("".join(str(int(char, 36)) for char in text[4:] + text[:4])) % 97 == 1


def is_address(text: str) -> bool:
    """An IPv4 or IPv6 address; the unspecified one isn't anybody's."""
    try:
        return not ip_address(text).is_unspecified
    except ValueError:
        return False


def is_ssn(digits: str) -> bool:
    """US social security number: no part of zeros, no area 666 or from 900."""
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def is_date(day: str, month: str) -> bool:
    """A day of a leap year."""
    try:
        date(2000, int(month), int(day))
    except ValueError:
        return False
    return True


def is_cpr(text: str) -> bool:
    """Danish: ddmmyy-nnnn. Without the hyphen modulus 11 must hold; since 2007 it need not for all."""
    digits = text.replace("-", "")
    if not is_date(digits[:2], digits[2:4]):
        return False
    return "-" in text or _weighted(digits, (4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0


def is_personnummer(text: str) -> bool:
    """Swedish: yymmdd-nnnn, Luhn; days from 61 are coordination numbers."""
    digits = text.replace("-", "").replace("+", "")[-10:]
    day = int(digits[4:6])
    return is_date(f"{day - 60 if day > 60 else day}", digits[2:4]) and luhn(digits)


def is_fodselsnummer(digits: str) -> bool:
    """Norwegian: ddmmyynnnkk, two check digits; days from 41 are D-numbers."""
    day = int(digits[:2])
    return (
        is_date(f"{day - 40 if day > 40 else day}", digits[2:4])
        and _weighted(digits, (3, 7, 6, 1, 8, 9, 4, 5, 2, 1)) % 11 == 0
        and _weighted(digits, (5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1)) % 11 == 0
    )


def is_hetu(text: str) -> bool:
    """Finnish: ddmmyySnnnC, the remainder by 31."""
    return is_date(text[:2], text[2:4]) and _HETU[int(text[:6] + text[7:10]) % 31] == text[10]


def is_dni(text: str) -> bool:
    """Spanish DNI and NIE."""
    number = text[:-1].translate(str.maketrans("xyz", "012"))
    return _LETTERS[int(number) % 23] == text[-1]


def is_codice_fiscale(text: str) -> bool:
    """Italian: the 16th character is a check letter."""
    even = sum(int(char, 36) if char.isdigit() else ord(char) - 97 for char in text[1:15:2])
    return (even + sum(_ODD[char] for char in text[0:15:2])) % 26 == ord(text[15]) - 97


def is_nir(text: str) -> bool:
    """French: 13 characters and the complement by 97; Corsica counts as 19 and 18."""
    number = text[:13].replace("2a", "19").replace("2b", "18")
    return number.isdigit() and 97 - int(number) % 97 == int(text[13:])


def is_steuer_id(digits: str) -> bool:
    """German: ISO 7064 mod 11,10; one of the ten digits comes two or three times."""
    if max(digits[:10].count(digit) for digit in set(digits[:10])) not in (2, 3) or digits[0] == "0":
        return False
    product = 10
    for digit in digits[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(digits[10])


def is_pesel(digits: str) -> bool:
    """Polish: yymmdd, the century in the month, a check digit."""
    month = int(digits[2:4]) % 20
    return is_date(digits[4:6], f"{month}") and _weighted(digits, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def is_cpf(digits: str) -> bool:
    """Brazilian: two check digits; not all of one digit."""
    if len(set(digits)) == 1:
        return False
    for length in (9, 10):
        rest = _weighted(digits[:length], range(length + 1, 1, -1)) * 10 % 11 % 10
        if rest != int(digits[length]):
            return False
    return True


def is_aadhaar(digits: str) -> bool:
    """Indian: 12 digits, Verhoeff's check digit."""
    check = 0
    for place, digit in enumerate(reversed(digits)):
        turned = int(_VERHOEFF_TURN[place % 8][int(digit)]) if place % 8 < 7 else int("7046913258"[int(digit)])
        check = _dihedral(check, turned)
    return check == 0 and digits[0] not in "01"


def _dihedral(left: int, right: int) -> int:
    """Multiply in the dihedral group of order 10."""
    if left < 5:
        return (left + right) % 5 + (5 if right >= 5 else 0)
    return (left - right) % 5 + (0 if right >= 5 else 5)


def _weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(digits, weights, strict=False))
