"""Which digits are a number of their kind: check digits and dates. Each function takes a match without its separators."""

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
_VERHOEFF_TURN: Final = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415")
_IBAN_LENGTHS: Final[Mapping[str, int]] = MappingProxyType(
    {
        pair[:2]: int(pair[2:])
        for pair in (
            "ad24 ae23 al28 at20 az28 ba20 be16 bg22 bh22 br29 by28 ch21 cr22 cy28 cz24 de22 dk18 do28 ee20 eg29 es24 "
            "fi18 fo18 fr27 gb22 ge22 gi23 gl18 gr27 gt28 hr21 hu28 ie22 il23 iq23 is26 it27 jo30 kw30 kz20 lb28 lc32 "
            "li21 lt20 lu20 lv21 ly25 mc27 md24 me22 mk19 mr27 mt31 mu30 nl18 no15 pk24 pl28 ps29 pt25 qa29 ro24 rs22 "
            "sa24 sc31 se24 si19 sk24 sm27 st25 sv28 tl23 tn24 tr26 ua29 va22 vg24 xk20"
        ).split()
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
    """Danish: ddmmyy-nnnn. Without the hyphen modulus 11 must hold, as it does for most; numbers since 2007 need not."""
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
