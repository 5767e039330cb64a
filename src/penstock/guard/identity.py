"""Check digits: which strings can be a card, an account, a wallet or a person's number. Nothing here reads a text.

Every function takes the characters alone, without spaces or dashes, in ASCII. The sums are a few lines each; python-stdnum,
which cleans its input first and so takes ten times as long, is what the tests compare them with. It does what is longer.
"""

from __future__ import annotations

import hashlib
from datetime import date
from operator import mul
from typing import Final

from stdnum import verhoeff as _verhoeff
from stdnum.it import codicefiscale as _codicefiscale

__all__ = [
    "IBAN_LENGTHS",
    "aadhaar",
    "bank_account",
    "brazilian",
    "card",
    "card_issuer",
    "chinese",
    "dutch",
    "fiscal_code",
    "german_tax",
    "korean",
    "korean_check",
    "luhn",
    "nif",
    "nino",
    "nir",
    "pesel",
    "swedish",
    "us_social",
    "wallet",
]

# Characters of an IBAN by country, from the registry of SWIFT.
IBAN_LENGTHS: Final = {
    country: int(length)
    for length, countries in {
        "15": "NO", "16": "BE", "18": "DK FI FO GL NL SD", "19": "MK SI", "20": "AT BA EE KZ LT LU MN XK",
        "21": "CH HR LI LV", "22": "BG BH CR DE GB GE IE ME RS VA", "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG", "25": "LY PT ST", "26": "IS TR", "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HU LB NI PL SV", "29": "BR EG FK PS QA UA", "30": "JO KW MU YE", "31": "MT SC",
        "32": "LC", "33": "RU",
    }.items()
    for country in countries.split()
}  # fmt: skip
_BASE58: Final = {
    letter: value for value, letter in enumerate("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz")
}
_BECH32: Final = {letter: value for value, letter in enumerate("qpzry9x8gf2tvdw0s3jn54khce6mua7l")}
_CHINESE_WEIGHTS: Final = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
_KOREAN_WEIGHTS: Final = (2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5)


_DOUBLED: Final = dict(zip("0123456789", (0, 2, 4, 6, 8, 1, 3, 5, 7, 9), strict=True))
_IN_TENS: Final = {ord(letter): str(value) for value, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 10)}


def luhn(digits: str) -> bool:
    """The check digit that cards have, and Swedish numbers."""
    return (sum(map(int, digits[-1::-2])) + sum([_DOUBLED[digit] for digit in digits[-2::-2]])) % 10 == 0


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        date(year, month, day)
    except ValueError:
        return False
    return True


# ---------------------------------------------------------------- money


def bank_account(text: str) -> bool:
    """Whether this is an IBAN: a country that has them, its length, and the remainder of ISO 7064 (97, 10)."""
    text = text.upper()
    if IBAN_LENGTHS.get(text[:2]) != len(text) or not text[2:4].isdigit():
        return False
    return int((text[4:] + text[:4]).translate(_IN_TENS)) % 97 == 1


def card(digits: str) -> bool:
    """The check digit of a payment card (ISO/IEC 7812), and 12 to 19 digits, not all alike."""
    return 12 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def card_issuer(digits: str) -> str:
    """Whose card begins so and has this many digits; "" where no large scheme does."""
    size, two, four = len(digits), int(digits[:2]), int(digits[:4])
    if digits[0] == "4" and size in (13, 16, 19):
        return "Visa"
    if size == 16 and (51 <= two <= 55 or 2221 <= four <= 2720):
        return "Mastercard"
    if size == 15 and two in (34, 37):
        return "American Express"
    if size in (16, 19) and (four == 6011 or two == 65 or 6440 <= four <= 6499):
        return "Discover"
    if (size in (16, 19) and 3528 <= four <= 3589) or (size == 15 and four in (2131, 1800)):
        return "JCB"
    if (size in (14, 16, 19) and (two in (36, 38, 39) or 300 <= four // 10 <= 305)) or (size == 16 and two in (54, 55)):
        return "Diners Club"
    if size in (16, 19) and two in (62, 60, 81, 82, 50):
        return "UnionPay, RuPay, Elo or Maestro"
    if size == 16 and (2200 <= four <= 2204 or 56 <= two <= 69):
        return "Mir or Maestro"
    return ""


def wallet(text: str) -> str:
    """What kind of address of a crypto currency this is; "" where the checksum is wrong. Ethereum's hex has none to check."""
    if text[:2] in ("0x", "0X"):
        known = len(text) == 42 and all(letter in "0123456789abcdefABCDEF" for letter in text[2:])
        return "Ethereum address" if known and len(set(text[2:].lower())) > 3 else ""
    prefix = text[:3].lower()
    if prefix in ("bc1", "tb1", "ltc") and 14 <= len(text) <= 90:
        return "bech32 address, checksum right" if _bech32(text) else ""
    if 26 <= len(text) <= 36 and _base58check(text):
        return "base58 address, checksum right"
    return ""


def _base58check(text: str) -> bool:
    number = 0
    for letter in text:
        value = _BASE58.get(letter)
        if value is None:
            return False
        number = number * 58 + value
    if number >= 1 << 200:
        return False
    data = number.to_bytes(25, "big")
    return hashlib.sha256(hashlib.sha256(data[:21]).digest()).digest()[:4] == data[21:]


def _bech32(text: str) -> bool:
    if text not in (text.lower(), text.upper()):
        return False
    name, _, rest = text.lower().rpartition("1")
    values = [_BECH32.get(letter, -1) for letter in rest]
    if -1 in values or len(values) < 7:
        return False
    state = 1
    for value in [ord(letter) >> 5 for letter in name] + [0] + [ord(letter) & 31 for letter in name] + values:
        top = state >> 25
        state = (state & 0x1FFFFFF) << 5 ^ value
        for bit, term in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            if top >> bit & 1:
                state ^= term
    return state in (1, 0x2BC830A3)  # bech32, and bech32m of taproot


# ---------------------------------------------------------------- persons


def us_social(digits: str) -> bool:
    """A social security number that could have been given out. There is no check digit."""
    return digits[:3] not in ("000", "666") and digits[0] != "9" and digits[3:5] != "00" and digits[5:] != "0000"


def nino(text: str) -> bool:
    """A British national insurance number: the prefixes that are given out, and A to D at the end. No check digit."""
    text = text.upper()
    if text[0] in "DFIQUV" or text[1] in "DFIOQUV" or text[:2] in ("BG", "GB", "KN", "NK", "NT", "TN", "ZZ"):
        return False
    return text[2:8].isdigit() and text[8] in "ABCD"


def german_tax(digits: str) -> bool:
    """The German Steuer-ID: which digits repeat, and ISO 7064 (11, 10)."""
    counts = sorted(map(digits[:10].count, set(digits[:10])))
    if digits[0] == "0" or counts[-1] not in (2, 3) or counts[-2:-1] != [1]:
        return False
    rest = 10
    for digit in digits[:10]:
        rest = ((int(digit) + rest) % 10 or 10) * 2 % 11
    return (11 - rest) % 10 == int(digits[10])


def nir(text: str) -> bool:
    """The French number of social security: 13 characters that make sense, and a key of two digits."""
    text = text.upper()
    if text[0] not in "123478" or not ("01" <= text[3:5] <= "12" or "20" <= text[3:5] <= "42" or text[3:5] >= "50"):
        return False
    body = text[:13].replace("2A", "19").replace("2B", "18") if text[5:7] in ("2A", "2B") else text[:13]
    return body.isdigit() and 97 - int(body) % 97 == int(text[13:])


def nif(text: str) -> bool:
    """The Spanish DNI or NIE, by its letter."""
    text = text.upper()
    number = str("XYZ".find(text[0])) + text[1:8] if text[0] in "XYZ" else text[:8]
    return number.isdigit() and text[8:] == "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


def fiscal_code(text: str) -> bool:
    """The Italian codice fiscale of a person, 16 characters, the last of them a check letter."""
    return len(text) == 16 and bool(_codicefiscale.is_valid(text.upper()))


def dutch(digits: str) -> bool:
    """The Dutch BSN, by the test of eleven."""
    total = sum(map(mul, map(int, digits), (9, 8, 7, 6, 5, 4, 3, 2, -1)))
    return len(set(digits)) > 1 and total % 11 == 0


def brazilian(digits: str) -> bool:
    """The Brazilian CPF, by its two check digits."""
    numbers = [int(digit) for digit in digits]
    first = sum(map(mul, numbers, range(10, 1, -1))) * 10 % 11 % 10
    second = sum(map(mul, numbers, range(11, 1, -1))) * 10 % 11 % 10
    return len(set(digits)) > 1 and numbers[9:] == [first, second]


def pesel(digits: str) -> bool:
    """The Polish PESEL: a birth date and a check digit."""
    if sum(map(mul, map(int, digits), (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1))) % 10:
        return False
    century, month = divmod(int(digits[2:4]), 20)
    return _is_date((1900, 2000, 2100, 2200, 1800)[century] + int(digits[:2]), month, int(digits[4:6]))


def swedish(digits: str) -> bool:
    """The Swedish personnummer, 10 digits or 12, or a coordination number: a birth date and a check digit."""
    short = digits[-10:]
    year, month, day = int(short[:2]), int(short[2:4]), int(short[4:6])
    if len(digits) == 12 and digits[:2] not in ("18", "19", "20"):
        return False
    return _is_date(2000 + year if not year % 4 else 1999, month, day - 60 if day > 60 else day) and luhn(short)


def aadhaar(digits: str) -> bool:
    """The Indian Aadhaar: Verhoeff's check digit, no palindrome."""
    return digits[0] not in "01" and digits != digits[::-1] and bool(_verhoeff.is_valid(digits))


def korean(digits: str) -> bool:
    """A Korean registration number that could be one: a birth date and a century. Since 2020 the rest may be random."""
    year, month, day = int(digits[:2]), int(digits[2:4]), int(digits[4:6])
    century = {"1": 1900, "2": 1900, "5": 1900, "6": 1900, "3": 2000, "4": 2000, "7": 2000, "8": 2000}.get(
        digits[6], 1800
    )
    return _is_date(century + year, month, day)


def korean_check(digits: str) -> bool:
    """Whether the check digit is right too, as it was until 2020."""
    total = sum(weight * int(digit) for weight, digit in zip(_KOREAN_WEIGHTS, digits, strict=False))
    return (11 - total % 11) % 10 == int(digits[12])


def chinese(text: str) -> bool:
    """The Chinese id of 18 characters: a birth date and a check character."""
    year, month, day = int(text[6:10]), int(text[10:12]), int(text[12:14])
    if not 1880 <= year <= 2100 or text[0] not in "12345678" or not _is_date(year, month, day):
        return False
    total = sum(weight * int(digit) for weight, digit in zip(_CHINESE_WEIGHTS, text, strict=False))
    return "10X98765432"[total % 11] == text[17].upper()
