"""Look-alikes: values of the same form that belong to nobody, where there is a range kept free for that.

Addresses at the domains of RFC 2606 and 9637, telephone numbers of the ranges that regulators keep for film and print, numbers
whose check digits are wrong. None is made where no such form is known.
"""

from __future__ import annotations

import importlib
import random
import re
from collections.abc import Iterable, Iterator, Mapping

from penstock.guard.pseudonyms import label_of, spelled

__all__ = ["made", "renamed", "spelled", "words", "written"]

_LATIN = (
    "Robin Kim Sasha Noa Jules Charlie Micha Toni Luca Camille Maxime Alexis Eden Rowan Quinn Avery Jordan Morgan Taylor Casey "
    "Riley Skyler Marlow Remy Ellis Arden Briar Tamsin Linden Peyton".split(),
    "Halden Brennick Lindqvall Morwen Veltkamp Tallinder Ostrander Fennimore Karsholt Wendlow Marchetto Dubrenne Salvarez Torvick "
    "Kestner Almgren Radlow Vasseur Bellwin Thornby Grauwald Nordhagen Pellerin Castillard Zeidler Ravensky Ferrow".split(),
)  # fmt: skip
_NAMES = {
    "LATIN": _LATIN,
    "CYRILLIC": (
        "Саша Женя Валя Слава Мира Лада Яна Тим Лев Ника Рада Глеб".split(),
        "Велинских Тормазов Лазовских Гремин Долгих Седых Черных Верхоглядов Польских Зимин Шатровых Боровских".split(),
    ),
    "ARABIC": (
        "نور رضا صفاء وسام إحسان بهاء ضياء نضال رجاء سناء".split(),
        "الحلواني البستاني الصافي النجدي الوردي الزيتوني الساحلي القمري الريحاني البدري".split(),
    ),
    "DEVANAGARI": (
        "किरण सोनम हरमन मनु जसलीन नवीन अमन सुमन चंचल पंकज".split(),
        "वर्धन त्रिलोक मेहरा सागर बंसल कपिला दिनकर राठी सोनकर विरानी".split(),
    ),
    "CJK": ("子涵 文博 一诺 明轩 思远 若曦 晓光 静好".split(), "欧阳 司徒 上官 慕容 诸葛 端木 夏侯 皇甫".split()),
    "HIRAGANA": ("ひなた あおい みお そら なぎ かなで".split(), "星ヶ丘 月見里 風早 花筏 雪吹 水無瀬".split()),
    "HANGUL": ("하늘 가람 누리 보람 다온 라온 새론 아라".split(), "남궁 독고 황보 제갈 선우 사공 서문 동방".split()),
}  # fmt: skip
_ADDRESSES = ("example.com", "example.org", "example.net")
_PHONES: Mapping[str, tuple[tuple[str, int], ...]] = {  # country -> beginnings, and how many digits are free after each
    "1": tuple((f"{area}55501", 2) for area in (202, 212, 303, 312, 404, 415, 512, 602, 617, 702, 808, 907)),
    "44": (("7700900", 3), ("1632960", 3), ("2079460", 3)),
    "33": (("19900", 4), ("26191", 4), ("35301", 4), ("46571", 4), ("53649", 4), ("63998", 4)),
    "49": (("3023125", 3), ("6990009", 3), ("4066969", 3), ("2214710", 3), ("8999998", 3)),
    "46": (("701740", 3), ("3139006", 2), ("40628", 4), ("8465004", 2)),
    "61": (("491570", 3), ("255501", 3), ("370101", 3)),
}
_TESTED = {
    "CREDIT_CARD": "luhn", "IBAN_CODE": "iban", "US_SSN": "us.ssn", "DE_TAX_ID": "de.idnr", "FR_NIR": "fr.nir", "ES_NIF": "es.nif",
    "IT_FISCAL_CODE": "it.codicefiscale", "NL_BSN": "nl.bsn", "PL_PESEL": "pl.pesel", "SE_PERSONNUMMER": "se.personnummer",
    "BR_CPF": "br.cpf", "CN_ID": "cn.ric", "CN_RIC": "cn.ric", "IN_AADHAAR": "in_.aadhaar", "KR_RRN": "kr.rrn", "UK_NINO": "",
}  # fmt: skip


def words(text: str) -> Iterator[str]:
    """The words of a text, in lower case: no look-alike of a name is one of them."""
    return (found[0].lower() for found in re.finditer(r"[^\W\d_]+", text))


def made(kind: str, value: str, chance: random.Random) -> str:
    """A value of the same form as this one; "" where there is none. Another one each time."""
    match label_of(kind):
        case "EMAIL":
            given, family = (chance.choice(names).lower() for names in _LATIN)
            return f"{given}.{family}{chance.randrange(100)}@{chance.choice(_ADDRESSES)}"
        case "PHONE":
            return _phone(value, chance)
        case "IBAN" | "CARD" | "IDNUMBER" | "PASSPORT" | "ACCOUNT":
            return _failing(kind, value, chance)
        case "DATE" | "BIRTHDAY":
            return _date(value, chance)
        case "IPADDRESS":
            if ":" in value:
                return "2001:db8:" + ":".join(f"{chance.randrange(1, 1 << 16):x}" for _ in range(6))
            return f"{chance.choice(('192.0.2', '198.51.100', '203.0.113'))}.{chance.randrange(1, 255)}"
        case "MACADDRESS":
            octets = f"00005e0053{chance.randrange(256):02x}"
            return _laid_out(value, octets.upper() if value.upper() == value else octets, "[0-9A-Fa-f]")
        case "URL":
            return f"https://{chance.choice(_LATIN[1]).lower()}{chance.randrange(100)}.example/"
        case "USERNAME":
            return f"{chance.choice(_LATIN[0]).lower()}{chance.randrange(1000, 10_000)}"
        case _:
            return ""


def _phone(value: str, chance: random.Random) -> str:
    digits = re.sub(r"[^0-9]", "", value)
    if len(digits) < 6:
        return ""
    foreign = value.lstrip("( ").startswith(("+", "00"))
    bare = digits[2:] if foreign and not value.lstrip("( ").startswith("+") else digits
    country = next((c for c in _PHONES if foreign and bare.startswith(c)), "")
    if not foreign and len(digits) == 10 and digits[0] not in "01":
        start, free = chance.choice(_PHONES["1"])
        return _laid_out(value, start + _number(free, chance), "[0-9]")
    if not country:
        free = max(6, len(digits) - 3)
        return _laid_out(value, "999" + _number(free, chance), "[0-9]") if foreign else f"+999 {_number(free, chance)}"
    start, free = chance.choice(_PHONES[country])
    number = country + start + _number(free, chance)
    return (
        _laid_out(value, number, "[0-9]")
        if len(number) == len(bare) == len(digits)
        else f"+{country} {number[len(country) :]}"
    )


def _number(digits: int, chance: random.Random) -> str:
    return "".join(chance.choice("0123456789") for _ in range(digits))


def _laid_out(value: str, characters: str, place: str) -> str:
    """Characters in the places that a value has them, with what stands between them there."""
    there = len(re.findall(place, value))
    if there != len(characters):
        return characters if there == 0 or place != "[0-9]" else f"+{characters}"
    rest = iter(characters)
    return re.sub(place, lambda _: next(rest), value)


def _masked(value: str) -> str:
    return re.sub(r"[A-Z]", "X", re.sub(r"[a-z]", "x", re.sub(r"[0-9]", "0", value)))


def _digits(masked: str, chance: random.Random, most: int) -> str:
    """Some of the last zeros of a masked value made into a number."""
    places = [found.start() for found in re.finditer("0", masked)][-most:]
    made = list(masked)
    for place in places:
        made[place] = str(chance.randrange(10))
    return "".join(made)


def _failing(kind: str, value: str, chance: random.Random) -> str:
    """A number of this form that begins with zeros and fails its check. An IBAN stays in its country."""
    masked = value[:2] + _masked(value[2:]) if kind == "IBAN_CODE" else _masked(value)
    free = masked.count("0")
    if free < 4:
        return ""
    for _ in range(8):
        candidate = _digits(masked, chance, min(max(free - 3, 3), 9))
        if not _valid(kind, candidate):
            return candidate
    return ""


def _valid(kind: str, value: str) -> bool:
    name = _TESTED.get(kind, "luhn")
    if not name:
        return False
    number = re.sub(r"[^0-9A-Za-z]", "", value)
    return bool(importlib.import_module(f"stdnum.{name}").is_valid(number))


def _date(value: str, chance: random.Random) -> str:
    """Another day, written in the same way; months that are words stay."""

    def other(found: re.Match[str]) -> str:
        digits = found[0]
        day, month, year = chance.randrange(1, 13), chance.randrange(1, 13), chance.randrange(1930, 2030)
        if len(digits) == 8:
            return f"{year}{month:02}{day:02}" if digits[:2] in ("19", "20") else f"{day:02}{month:02}{year}"
        if len(digits) == 4:
            return str(year)
        if len(digits) == 2:
            return f"{day:02}"
        return str(chance.randrange(1, 10)) if len(digits) == 1 else digits

    changed = re.sub(r"[0-9]+", other, value)
    return changed if changed != value else ""


# ---------------------------------------------------------------- names


def renamed(value: str, known: Mapping[str, str], chance: random.Random) -> dict[str, str]:
    """The words of a person's name, in lower case, each with another name; those that have one keep it."""
    names = dict(known)
    spans = list(spelled(value))
    family_first = "," in value
    for n, (start, end) in enumerate(spans):
        word = value[start:end]
        if word.casefold() in names or len(word) == 1:
            continue
        given, family = _NAMES[_script(word)]
        last = n == 0 if family_first else n == len(spans) - 1
        if _script(word) in ("CJK", "HIRAGANA", "HANGUL") and len(spans) == 1:
            names[word.casefold()] = chance.choice(family) + chance.choice(given)
        else:
            names[word.casefold()] = chance.choice(family if last else given)
    return names


def written(value: str, names: Mapping[str, str]) -> str:
    """A name with other words in it, written as it was: titles, order, case, and what stands between."""
    pieces, at = [], 0
    for start, end in spelled(value):
        word = value[start:end]
        like = names.get(word.casefold()) or (next(iter(names.values()), "X")[0] if len(word) == 1 else "")
        if not like:
            return ""
        pieces += [
            value[at:start],
            like.upper() if word.isupper() and len(word) > 1 else like.lower() if word.islower() else like,
        ]
        at = end
    return "".join([*pieces, value[at:]]) if pieces else ""


def _script(word: str) -> str:
    """Which list of names a word belongs to."""
    code = max(map(ord, word))
    ranges: Iterable[tuple[int, int, str]] = (
        (0x400, 0x52F, "CYRILLIC"), (0x600, 0x6FF, "ARABIC"), (0x900, 0x97F, "DEVANAGARI"), (0x3040, 0x30FF, "HIRAGANA"),
        (0x3400, 0x9FFF, "CJK"), (0xAC00, 0xD7AF, "HANGUL"),
    )  # fmt: skip
    return next((name for first, last, name in ranges if first <= code <= last), "LATIN")
