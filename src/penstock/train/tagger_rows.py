"""Sentences with made-up people in them, and as many without: what the tagger learns from.

Each language has a file of sentences with slots, half of them about people and half about nobody. They are filled, put into
forms, tables and records, joined with lines of real software, written in capitals or small letters. A sentence about people
comes again with "the customer" or "room 12" where the person or the address stood, so that the words around are no proof.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from penstock.train.tagger_things import Things, things_of
from penstock.train.tagger_values import (
    BRANDS,
    COMPANIES,
    Values,
)

__all__ = ["Row", "Rows", "Sentences", "sentences"]

FOLDER = Path(__file__).parent / "tagger_sentences"
SPACELESS = ("ja", "zh")

NUMBERS = """AA99 9999 9999 9999 9999 99|AA99999999999999999999|9999 9999 9999 9999|9999-9999-9999-9999|9999999999999999|999-99-9999
AA 99 99 99 A|A99999999|99999999A|99999999999|999999999|999.999.999-99|999999-9999|AAAAAA99A99A999A|9 99 99 99 999 999 99
99999999999999999X|999999999999999999|999999-9999999|9999 9999 9999|192.168.99.99|99 999 999 9999""".replace(
    "\n", "|"
).split("|")


class Row(NamedTuple):
    """A text, the labelled stretches of it, and the stretches that rules find."""

    text: str
    spans: list[tuple[int, int, str]]  # start, end, type
    taken: list[tuple[int, int]]


class _Piece(NamedTuple):
    text: str
    kind: str = ""  # "" is plain, "taken" is what rules find


@dataclass(frozen=True, slots=True)
class Sentences:
    """The file of one language: sentences about people, about nobody, and lists."""

    people: list[str]
    nobody: list[str]
    fields: dict[str, list[str]]  # what forms call a name, an address, ...
    lists: dict[str, list[str]] = field(default_factory=dict)


def sentences(language: str, folder: Path = FOLDER) -> Sentences:
    parts: dict[str, list[str]] = {}
    part: list[str] = []
    for line in (folder / f"{language}.txt").read_text("utf-8").splitlines():
        if line.startswith("["):
            part = parts.setdefault(line.strip("[]"), [])
        elif line:
            part.append(line)
    fields = {
        name: [label.strip() for label in labels.split("|")]
        for name, labels in (f.split(":", 1) for f in parts["fields"])
    }
    lists = {
        n: "|".join(parts[n]).split("|")
        for n in ("nouns", "places", "honorifics", "orgs", "months", "days", "countries", "things", "and")
    }
    lists |= {name: parts[name] for name in ("streets", "addresses")}
    return Sentences(parts["people"], parts["nobody"], fields, lists)


# ---------------------------------------------------------------- inflection, roughly


ENDINGS = {  # by language and case, the longest that fits; "" is for a word that ends in none of them
    "ru g": "ова-овой ева-евой ина-иной ов-ова ев-ева ин-ина ий-ия ия-ии й-я а-ы я-и -а",
    "ru d": "ова-овой ева-евой ина-иной ов-ову ев-еву ин-ину ий-ию ия-ии й-ю а-е я-е -у",
    "ru i": "ова-овой ева-евой ина-иной ов-овым ев-евым ин-иным ий-ием ия-ией й-ем а-ой я-ей -ом",
    "pl g": "ski-skiego cki-ckiego ska-skiej cka-ckiej ek-ka ia-ii a-y -a",
    "pl d": "ski-skiemu cki-ckiemu ska-skiej cka-ckiej ek-kowi ia-ii a-ie -owi",
    "pl i": "ski-skim cki-ckim ska-ską cka-cką ek-kiem a-ą -em",
    "pl v": "ski-ski cki-cki ek-ku a-o -ie",
}


def _bent(word: str, endings: str) -> str:
    for pair in endings.split():
        old, new = pair.split("-")
        if word.endswith(old):
            return word[: len(word) - len(old)] + new if old or word[-1:] not in "оеуиыьъэюou." else word
    return word


def _inflected(name: str, case: str, language: str) -> str:
    if not case:
        return name
    if case == "l":
        return name.lower()
    if case == "e":
        return name + ("'" if name.endswith(("s", "x", "z", "ß")) else "s")
    endings = ENDINGS.get(f"{language} {'g' if case == 'l2' else case}", "")
    return " ".join(_bent(word, endings) if word[:1].isupper() else word for word in name.split(" "))


# ---------------------------------------------------------------- rows


class Rows:
    """Makes rows in one language. natural: lines of real software in that language, with nobody in them."""

    def __init__(
        self,
        language: str,
        given: Sentences,
        values: Values,
        natural: Sequence[str],
        chance: random.Random,
        *,
        missed: float = 0.15,
        things: Things | None = None,
    ) -> None:
        self.language, self.given, self.values, self.natural, self.chance = language, given, values, natural, chance
        self.things = things or things_of(language)
        self.missed = missed  # share of structured values that rules did not find
        self.space = "" if language in SPACELESS else " "

    # ------------------------------------------------ values

    def pick(self, items: Sequence[str]) -> str:
        return items[int(self.chance.random() * len(items))]

    def name(self) -> str:
        """A full name, in one of the ways people write them."""
        v, c, roll = self.values, self.chance, self.chance.random()
        if roll < 0.4:
            return self.pick(v.names)
        abroad = 0.07 if self.language in ("ja", "zh", "ko", "ru", "ar", "hi") else 0.12
        if roll < 0.4 + abroad:
            person = c.choice(v.foreign)
        elif v.transliterated and roll < 0.45 + abroad:
            return c.choice(v.transliterated).full
        else:
            person = c.choice(v.people)
        if self.language in ("ja", "zh", "ko") and person.full != f"{person.given} {person.family}":
            return person.full
        g, f = self.unheard(person.given), self.unheard(person.family)
        full = person.full if (g, f) == (person.given, person.family) else f"{g} {f}"
        initial, more = f"{g[:1]}.", c.choice(v.people).given
        if self.language == "ru" and c.random() < 0.4:
            return c.choice(
                [
                    f"{f} {g}",
                    f"{f} {initial}{more[:1]}.",
                    f"{f} {initial} {more[:1]}.",
                    f"{initial} {more[:1]}. {f}",
                    f"{f} {initial}",
                ]
            )
        style = c.random()
        if style < 0.72:
            return full
        return c.choice([
            f"{f}, {g}", f"{f.upper()} {g}", f"{initial} {f}", f"{g} {more[:1]}. {f}", f"{f} {g}", f"{g} {more} {f}",
            f"{g}-{more} {f}", f"{g} {f}-{c.choice(v.people).family}", f"{g} {f.upper()}",
            f"{initial}{more[:1]}. {f}", f"{f} {initial}",
        ])  # fmt: skip

    def given_name(self) -> str:
        c = self.chance
        if self.missed and c.random() < 0.06:  # a person may have a name that is a word; what is held out has none
            return self.pick(self.things.ambiguous)
        return self.unheard(c.choice(self.values.foreign if c.random() < 0.1 else self.values.people).given)

    def family_name(self) -> str:
        c = self.chance
        return self.unheard(c.choice(self.values.foreign if c.random() < 0.1 else self.values.people).family)

    def unheard(self, name: str) -> str:
        """Now and then a name that nobody has: it begins like one and ends like another, and no table knows it."""
        c = self.chance
        if self.language in ("ja", "zh", "ko") or len(name) < 4 or not name.isalpha() or c.random() > 0.12:
            return name
        person = c.choice(self.values.people)
        other = c.choice([person.given, person.family])
        return (
            name[: c.randint(2, 4)] + other[-c.randint(2, 4) :].lower() if len(other) > 3 and other.isalpha() else name
        )

    def _number(self) -> str:
        c = self.chance
        return str(c.choice([c.randint(1, 12), c.randint(1, 100), c.randint(1, 1000), c.randint(1, 30)]))

    def address(self) -> str:
        """An address, on several lines or on one."""
        text: str
        v, c = self.values, self.chance
        few = self.language in ("ar", "tr", "hi")
        roll = c.random()
        if roll < (0.3 if few else 0.04):
            text = c.choice(v.american)
        elif roll < 0.62 and self.language != "tr":
            text = c.choice(v.addresses)
        else:
            text = self._own_address()
        if "\n" in text:
            join = c.choice(["\n", ", ", ", ", ", ", " ", " ", "; ", " - ", ",\n", "、" if self.space == "" else ", "])
            text = re.sub(r",?\s*\n\s*", join, text)
        if c.random() < 0.06:
            text += ("，" if self.language == "zh" else ", ") + self.pick(self.given.lists["countries"])
        return text

    def _own_address(self) -> str:
        """One of the language's patterns: <this|or this>, and slots."""
        v, c = self.values, self.chance

        def slot(found: re.Match[str]) -> str:
            match found[1]:
                case "f":
                    return self.family_name()
                case "g":
                    return self.given_name()
                case "c":
                    return self.pick(v.cities)
                case "z":
                    return c.choice(v.postcodes)
                case "st":
                    return c.choice(v.streets)
                case "x":
                    return str(c.randint(1, 60))
                case "n9":
                    return str(c.randint(1, 9))
            return str(c.randint(1, 250)) + (c.choice(["a", "b", "/3", "-7", " B"]) if c.random() < 0.12 else "")

        text = self.pick(self.given.lists["addresses"]).replace("{line}", self.pick(self.given.lists["streets"]))
        text = re.sub(r"<([^<>]*)>", lambda m: c.choice(m[1].split("|")), text.replace("\\n", "\n"))
        return re.sub(r"\{(\w+)\}", slot, text)

    def company(self) -> str:
        v, c = self.values, self.chance
        roll = c.random()
        if roll < 0.2:
            return c.choice(COMPANIES)
        if roll < 0.35:
            return c.choice(v.companies)
        made = self.pick(self.given.lists["orgs"])
        return re.sub(r"\{(\w)\}", lambda m: self.family_name() if m[1] == "s" else self.pick(v.cities), made)

    def date(self, *, birth: bool = False) -> str:
        c = self.chance
        d, m, y = c.randint(1, 28), c.randint(1, 12), c.randint(1935, 2012) if birth else c.randint(2015, 2027)
        month = self.pick(self.given.lists["months"])
        if self.language in ("ja", "zh", "ko"):
            a, b, e = {"ko": ("년 ", "월 ", "일")}.get(self.language, ("年", "月", "日"))
            return c.choice(
                [
                    f"{y}{a}{m}{b}{d}{e}",
                    f"{y}{a}{m}{b}{d}{e}",
                    f"{y}-{m:02}-{d:02}",
                    f"{y}/{m:02}/{d:02}",
                    f"{m}{b}{d}{e}" if not birth else f"{y}.{m}.{d}",
                ]
            )
        forms = [
            f"{d:02}.{m:02}.{y}",
            f"{y}-{m:02}-{d:02}",
            f"{d:02}/{m:02}/{y}",
            f"{d} {month} {y}",
            f"{d}-{m:02}-{y}",
            f"{d}.{m}.{y}",
            f"{d:02}/{m:02}/{y % 100:02}",
        ]
        if self.language == "en":
            forms += [
                f"{month} {d}, {y}",
                f"{month[:3]} {d}, {y}",
                f"{m}/{d}/{y}",
                f"{d} {month[:3]} {y}",
                f"{d}th of {month}",
            ]
        elif self.language == "de":
            forms += [f"{d}. {month} {y}", f"{d}. {month}"]
        elif self.language in ("es", "pt"):
            forms += [f"{d} de {month} de {y}", f"{d} de {month}"]
        return c.choice(forms)

    def structured(self) -> str:
        """An identity, card or account number of no particular country."""
        c = self.chance

        def one(found: re.Match[str]) -> str:
            return c.choice("0123456789" if found[0] == "9" else "ABCDEFGHJKLMNPRSTUVWXYZ")

        return re.sub("[9A]", one, c.choice(NUMBERS))

    def code(self) -> str:
        c = self.chance
        n = c.randint(1000, 99999999)
        return c.choice(
            [
                f"#{n}",
                f"INV-{n}",
                f"{n}",
                f"SO-{n}",
                f"ORD{n}",
                f"{c.choice('ABCDEFTX')}{n}",
                f"{c.randint(2018, 2027)}-{n % 99999}",
                f"{c.choice(['LH', 'BA', 'TK', 'AF'])} {n % 9999}",
                f"{n:x}",
                f"PO{n}",
                f"{n % 9999}-{n % 7919:04}-{n % 6421:04}",
                "".join(c.choices("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", k=c.randint(6, 18))),
            ]
        )

    def price(self) -> str:
        c = self.chance
        n = c.choice([c.randint(1, 99), c.randint(100, 9999), c.randint(1000, 500000)])
        return c.choice(
            [
                f"{n} €",
                f"{n},{c.randint(0, 99):02} €",
                f"${n}",
                f"${n:,}.{c.randint(0, 99):02}",
                f"{n} USD",
                f"£{n}",
                f"{n} kr",
                f"{n} zł",
                f"{n} ₽",
                f"¥{n}",
                f"{n}元",
                f"{n}円",
                f"{n}원",
                f"R$ {n},00",
                f"₹{n}",
                f"{n} TL",
                f"EUR {n}",
                f"{n:,}",
            ]
        )

    def time(self) -> str:
        c = self.chance
        h, m = c.randint(0, 23), c.choice([0, 0, 15, 30, 45])
        if self.language in ("ja", "zh", "ko") and c.random() < 0.7:
            a, b = {"ja": ("時", "分"), "zh": ("点", "分"), "ko": ("시", "분")}[self.language]
            return f"{h}{a}" + (f"{m}{b}" if m else "")
        return c.choice(
            [
                f"{h}:{m:02}",
                f"{h}:{m:02}",
                f"{h % 12 + 1} {c.choice(['am', 'pm'])}"
                if self.language == "en"
                else f"{h}h{m or ''}"
                if self.language in ("fr", "pt")
                else f"{h}.{m:02}",
            ]
        )

    # ------------------------------------------------ one slot

    def value(self, slot: str) -> _Piece:
        kind, _, case = slot.partition(".")
        c, lists = self.chance, self.given.lists

        def structured(text: str) -> _Piece:
            return _Piece(text, "" if c.random() < self.missed else "taken")

        match kind:
            case "n":
                return _Piece(_inflected(self.name(), case, self.language), "PERSON")
            case "g":
                return _Piece(_inflected(self.given_name(), case, self.language), "PERSON")
            case "s":
                return _Piece(_inflected(self.family_name(), case, self.language), "PERSON")
            case "h":
                return _Piece(self.pick(lists["honorifics"]))
            case "a":
                return _Piece(self.address(), "ADDRESS")
            case "o":
                return _Piece(self.company(), "ORGANIZATION")
            case "c":
                return _Piece(self.pick(self.values.cities), "LOCATION")
            case "k":
                return _Piece(self.pick(lists["countries"]), "LOCATION")
            case "b":
                return _Piece(self.date(birth=True), "taken" if c.random() < 0.5 else "DATE_OF_BIRTH")
            case "d":
                return _Piece(self.date())
            case "t":
                return structured(c.choice(self.values.phones))
            case "e":
                return structured(c.choice(self.values.mails))
            case "i":
                return structured(self.structured())
            case "u":
                return _Piece(c.choice(self.values.mails).split("@")[0])
            case "q":
                return _Piece(self.code())
            case "p":
                return _Piece(self.price())
            case "w":
                return _Piece(self.time())
            case "j":
                return _Piece(c.choice(BRANDS))
            case "m":
                return _Piece(self.pick(lists["months"]))
            case "y":
                return _Piece(self.pick(lists["days"]))
            case "z":
                return _Piece(self.pick(lists["nouns"]))
            case "yr":
                return _Piece(str(c.randint(1950, 2027)))
            case "#":
                return _Piece(self._number())
        raise ValueError(f"{{{slot}}} is no slot")

    def pieces(self, sentence: str, *, people: bool = True) -> list[_Piece]:
        """A sentence with its slots filled. Without people, somebody or some place stands where a person or address did."""
        pieces: list[_Piece] = []
        titled = False
        for plain, slot in re.findall(r"([^{]*)(?:\{([^}]+)\})?", sentence.replace("\\n", "\n")):
            if plain:
                pieces.append(_Piece(plain))
            if not slot:
                continue
            if not people and slot[0] in "ngs":
                nobody = self.company() if self.chance.random() < 0.12 else self.pick(self.given.lists["nouns"])
                if self.language not in SPACELESS and self.chance.random() < 0.15:
                    nobody = self.chance.choice(
                        [
                            nobody.title(),
                            nobody.upper(),
                            nobody.capitalize(),
                            self.pick(self.values.cities),
                            self.chance.choice(BRANDS),
                        ]
                    )
                pieces.append(_Piece(nobody))
            elif not people and slot == "a":
                pieces.append(_Piece(self.pick(self.given.lists["places"])))
            elif not people and slot == "b":
                pieces.append(_Piece(self.date()))
            elif slot == "h" and people:
                pieces.append(self.value("h"))
                titled = True
                continue
            elif slot != "h":
                piece = self.value(slot)
                if titled and slot[0] == "n" and len(pieces) > 1 and not pieces[-1].text.strip():
                    gap, title = pieces.pop(), pieces.pop()
                    piece = _Piece(
                        title.text + gap.text + piece.text, "PERSON"
                    )  # with a whole name a title is part of it
                pieces.append(piece)
            titled = False
        return pieces

    # ------------------------------------------------ forms, tables, records

    def form(self, *, people: bool = True) -> list[_Piece]:
        """Labels and values as forms, records and tables have them; without people the values are missing or others."""
        c, fields = self.chance, self.given.fields
        personal = c.sample(
            ["name", "name", "given", "surname", "address", "birth", "phone", "mail", "id", "company", "city"],
            k=c.randint(1, 5),
        )
        names = list(dict.fromkeys(personal)) + c.sample(
            ["order", "date", "other", "other", "country", "order"], k=c.randint(0, 3)
        )
        if people and not {"name", "given", "surname", "address", "birth"} & set(names):
            names.append("name")
        if c.random() < 0.5:
            c.shuffle(names)
        slots = {"name": "n", "given": "g", "surname": "s", "address": "a", "birth": "b", "phone": "t", "mail": "e", "id": "i",
                 "company": "o", "city": "c", "country": "k", "order": "q", "date": "d"}  # fmt: skip

        def cell(name: str) -> _Piece:
            personal = name in ("name", "given", "surname", "address", "birth")
            if name == "other":
                return _Piece(
                    c.choice(
                        [
                            self._number(),
                            self.price(),
                            self.pick(fields["values"]),
                            f"{self._number()} kg",
                            f"{self._number()} cm",
                        ]
                    )
                )
            if not people and personal:
                return _Piece(
                    c.choice(["", "", "-", "n/a", "___", "...", self.pick(fields["values"]), "?", "[ ]", "XXX"])
                )
            if not people and name in ("phone", "mail", "id") and c.random() < 0.5:
                return _Piece("")
            piece = self.value(slots[name])
            if c.random() < 0.06:
                piece = _Piece("")
            return piece

        labels = [self.pick(fields[name]) for name in names]
        if c.random() < 0.15:
            labels = [label.lower() for label in labels]
        elif c.random() < 0.08:
            labels = [label.upper() for label in labels]
        style = c.random()
        colon = "：" if self.language in SPACELESS and c.random() < 0.6 else ":"
        out: list[_Piece] = []
        if style < 0.14:  # a header line and rows
            between = c.choice([",", ";", "\t", " | ", ", ", "|"])
            out.append(_Piece(between.join(labels) + "\n"))
            for number in range(c.randint(1, 4)):
                out.append(_Piece("\n" if number else ""))
                for place, name in enumerate(names):
                    quote = '"' if between in (",", ";", ", ") and (name == "address" or c.random() < 0.1) else ""
                    out += [_Piece((between if place else "") + quote), _flat(cell(name)), _Piece(quote)]
            return out
        if style < 0.24:  # JSON
            out.append(_Piece("{"))
            keys = [label.lower().replace(" ", "_") if c.random() < 0.5 else label for label in labels]
            if c.random() < 0.3:
                keys = [c.choice([name, f"user_{name}", f"{name}_1", f"customer.{name}"]) for name in names]
            for place, (key, name) in enumerate(zip(keys, names, strict=True)):
                out += [_Piece(", " if place else ""), _Piece(f'"{key}": "'), _flat(cell(name)), _Piece('"')]
            return [*out, _Piece("}")]
        if style < 0.3:  # key=value
            mark = c.choice(["=", "=", ":", "->", " = "])
            for place, (label, name) in enumerate(zip(labels, names, strict=True)):
                out += [
                    _Piece(c.choice([" ", "; ", "&", ", "]) if place else ""),
                    _Piece(label.replace(" ", "_") + mark),
                    _flat(cell(name)),
                ]
            return out
        if style < 0.36:  # a page
            for label, name in zip(labels, names, strict=True):
                out += [_Piece(f"<tr><th>{label}</th><td>"), _flat(cell(name)), _Piece("</td></tr>")]
            return out
        if style < 0.42:  # a table of two columns
            for place, (label, name) in enumerate(zip(labels, names, strict=True)):
                out += [_Piece(("\n" if place else "") + f"| {label} | "), _flat(cell(name)), _Piece(" |")]
            return out
        between = c.choice(
            ["\n", "\n", "\n", ", ", "; ", " | ", " ", "\n\n", " - ", "，" if self.space == "" else ", "]
        )
        mark = (
            c.choice([f"{colon} ", f"{colon} ", colon, " ", f" {colon} ", f"{colon}\n", " - ", "\t"])
            if between != " "
            else c.choice([f"{colon} ", " "])
        )
        bullet = c.choice(["", "", "", "- ", "* ", "• "])
        for place, (label, name) in enumerate(zip(labels, names, strict=True)):
            if bold := c.random() < 0.05:
                label = f"**{label}**"
            value = cell(name)
            out += [
                _Piece(between if place else ""),
                _Piece(bullet + label + mark),
                value if "\n" in between and not bold else _flat(value),
            ]
        return out

    def log(self, *, people: bool = True) -> list[_Piece]:
        """A line that a machine wrote."""
        c = self.chance
        stamp = c.choice(
            [
                f"{self.date()} {self.time()}",
                f"2026-0{c.randint(1, 9)}-{c.randint(10, 28)}T{c.randint(10, 23)}:{c.randint(10, 59)}:{c.randint(10, 59)}Z",
                f"[{c.randint(100000, 999999)}]",
            ]
        )
        level = c.choice("INFO WARN ERROR DEBUG info: warning: notice".split())
        where = c.choice(
            "app.auth db.pool payment.worker http crm-sync scheduler mail.queue nginx kernel sshd[211] api/v2/users".split()
        )
        what = c.choice(
            [
                "request took {#} ms",
                "status={#} path=/orders/{q}",
                "retry {#} of {#}",
                "created record {q}",
                "login failed for {u} from {i}",
                "cache miss {q}",
                "exit code {#}",
                "id={q} latency={#}ms status=OK",
                "queue length {#}",
                "job {q} finished in {#} s",
                'File "app.py", line {#}, in main',
                "commit {q} by {u}",
            ]
        )
        who = c.choice(
            [
                "user {n} signed in",
                'customer="{n}" order={q}',
                "name={n} id={q}",
                "sent mail to {n} <{e}>",
                'ship_to="{a}" order={q}',
                "updated profile of {n}",
                "assignee: {n}",
                "patient {n} checked in",
                "Payment from {n} received: {p}",
            ]
        )
        return [_Piece(f"{stamp} {level} {where} "), *self.pieces(who if people else what)]

    # ------------------------------------------------ rows

    def row(self, *, people: bool) -> Row:
        """One row, of one part or of several."""
        c = self.chance
        parts = [self._part(people=people)]
        while c.random() < 0.38 and len(parts) < 5:
            parts.insert(c.randint(0, len(parts)), self._part(people=people and c.random() < 0.45))
        join = c.choice([self.space, self.space, "\n", "\n\n", "  "]) if len(parts) > 1 else ""
        pieces = parts[0]
        for part in parts[1:]:
            pieces = [*pieces, _Piece(join or "\n" if not self.space and c.random() < 0.3 else join), *part]
        return self._written(pieces, people=people)

    def _part(self, *, people: bool) -> list[_Piece]:
        c, roll = self.chance, self.chance.random()
        if people:
            if roll < 0.5:
                return self.pieces(c.choice(self.given.people))
            if roll < 0.68:
                return self.anywhere()
            if roll < 0.77:
                return self.listing()
            return self.form() if roll < 0.94 else self.log()
        if roll < 0.24 and self.natural:
            return [_Piece(self.pick(self.natural))]
        if roll < 0.42:
            return self.pieces(c.choice(self.given.nobody))
        if roll < 0.59:
            return self.pieces(c.choice(self.given.people), people=False)
        if roll < 0.68:
            return self.anywhere(people=False)
        if roll < 0.8:
            return self.listing(people=False)
        if roll < 0.9:
            return self.of_things()
        return self.form(people=False) if roll < 0.96 else self.log(people=False)

    def anywhere(self, *, people: bool = True) -> list[_Piece]:
        """A name or an address in a line that has nothing to do with it, so that it is known by itself and not by the words
        around; without people, ordinary words in capitals, companies, places and codes stand there."""
        c = self.chance
        pieces = [_Piece(self.pick(self.natural))] if c.random() < 0.6 else self.pieces(c.choice(self.given.nobody))
        line, others = pieces[0].text, pieces[1:]
        if c.random() < 0.25:
            line = ""
        words = line.split(" ") if self.space else re.findall(r"[a-zA-Z0-9]+|.", line)
        place = c.choice([0, len(words), c.randint(0, len(words)), c.randint(0, len(words))])
        gone = c.randint(0, 2)
        if people:
            roll = c.random()
            what = self.value("n" if roll < 0.7 else "a" if roll < 0.87 else "g" if roll < 0.93 else "s")
            slots = [what]
            if what.kind == "PERSON" and c.random() < 0.2:
                slots += [
                    _Piece(c.choice([", ", " & ", " / ", "; ", "、" if not self.space else " - "])),
                    self.value("n"),
                ]
            elif c.random() < 0.15:
                slots += [
                    _Piece(c.choice([" (", ", ", " "])),
                    self.value(c.choice(["i", "t", "e", "a", "d"])),
                    _Piece(c.choice([")", ""])),
                ]
        else:
            some = " ".join(self.pick(self.natural).split(" ")[: c.randint(1, 3)]) if self.natural else "Alpha"
            made = [
                some.title(),
                some,
                some.upper(),
                c.choice(BRANDS),
                self.code(),
                self.price(),
                self.date(),
                self.time(),
                f"{self._number()} {self._unit()}",
            ]
            slots = [
                c.choice(
                    [
                        _Piece(c.choice(made)),
                        _Piece(c.choice(made)),
                        self.value("o"),
                        self.value("c"),
                        self.value("k"),
                        self.value("z"),
                    ]
                )
            ]
        before, after = self.space.join(words[:place]), self.space.join(words[place + gone :])
        mark = (
            c.choice(
                [self.space, self.space, self.space, ": ", ", ", "\n", " - ", '"', "(", "：" if not self.space else " "]
            )
            if before
            else ""
        )
        close = {'"': '"', "(": ")"}.get(
            mark, c.choice([self.space, self.space, ", ", ". ", "\n", ": "]) if after else c.choice(["", "", "."])
        )
        return [_Piece(before + mark), *slots, _Piece(close + after), *others]

    def listing(self, *, people: bool = True) -> list[_Piece]:
        """A label and several of something: people after one, things after another, so that it is not the row that decides."""
        c, things = self.chance, self.things
        short = [line for line in (self.pick(self.natural) for _ in range(8)) if len(line) < 24] if self.natural else []
        labels = [*short[:2], self.pick(self.given.lists["things"]), self.pick(self.given.lists["nouns"])]
        known = c.random() < 0.6
        if people:
            label = self.pick(things.people) if known else c.choice(labels)
            slot = "g" if known and c.random() < 0.4 else "n"
            items = [self.value(slot if c.random() < 0.9 or not known else "g") for _ in range(c.randint(2, 6))]
        else:
            label = self.pick(things.labels) if known else c.choice(labels)
            items = self.some_things(c.randint(2, 6))
        colon = (
            c.choice([": ", ": ", ": ", " ", " - ", "\n"])
            if self.space
            else c.choice(["：", "：", "は", ":"][: 4 if self.language == "ja" else 2])
        )
        bare = c.random() < (0.2 if people else 0.15) and (not people or slot == "n")
        out = [] if bare else [_Piece(label[:1].upper() + label[1:] + colon)]
        return [*out, *self.joined(items), _Piece(c.choice(["", "", "."]))]

    def joined(self, items: Sequence[_Piece]) -> list[_Piece]:
        c = self.chance
        comma = (
            {"ja": "、", "zh": "、", "ar": "، "}.get(self.language, ", ")
            if c.random() < 0.8
            else c.choice([" / ", "; ", "\n", " · ", "\n- ", " v "])
        )
        last = f"{self.space}{self.given.lists['and'][0]}{self.space}" if c.random() < 0.6 else comma
        out: list[_Piece] = []
        for place, item in enumerate(items):
            out += [_Piece("" if not place else last if place == len(items) - 1 else comma), item]
        return out

    def some_things(self, count: int) -> list[_Piece]:
        """So many of one kind: words that are names as well, things of one group or of several, places, invented words."""
        c, things, roll = self.chance, self.things, self.chance.random()
        kind = ""
        if roll < 0.2:
            texts = [self.pick(things.ambiguous) for _ in range(count)]
        elif roll < 0.3:
            texts = [self.pick(self.given.lists["things"]) for _ in range(count)]
        elif roll < 0.62:
            group = c.choice(things.groups)
            texts = [self.pick(group) for _ in range(count)]
        elif roll < 0.7:
            texts = [self.pick(c.choice(things.groups)) for _ in range(count)]
        elif roll < 0.82:
            kind, group = "LOCATION", self.values.cities
            if things.places and c.random() < 0.5:
                group = c.choice(things.places)
            texts = [self.pick(group) for _ in range(count)]
        elif roll < 0.92 and self.natural:
            texts = [self.invented() for _ in range(count)]
        else:
            texts = [c.choice([*BRANDS, *COMPANIES]) for _ in range(count)]
            kind = "ORGANIZATION" if all(text in COMPANIES for text in texts) else ""
        roll = c.random()
        if roll < 0.55:
            texts = [text[:1].upper() + text[1:] for text in texts]
        elif roll < 0.62:
            texts = [text.title() for text in texts]
        elif roll < 0.67 and not kind:
            texts = [text.lower() for text in texts]
        return [_Piece(text, kind) for text in texts]

    def invented(self) -> str:
        """A word that nobody has heard, or a real one: the beginning of one ordinary word, the end of another."""
        words = [word for word in re.split(r"[\W\d_]+", self.pick(self.natural)) if len(word) > 3]
        others = [word for word in re.split(r"[\W\d_]+", self.pick(self.natural)) if len(word) > 3]
        if not words or not others:
            return self.pick(self.things.ambiguous)
        c = self.chance
        word, other = c.choice(words), c.choice(others)
        return word if not self.space or c.random() < 0.5 else word[: c.randint(2, 4)] + other[-c.randint(2, 4) :]

    def of_things(self) -> list[_Piece]:
        """A sentence with a thing in it, or a few."""
        c = self.chance
        out: list[_Piece] = []
        parts = self.pick(self.things.sentences).split("{x}")
        single = len(parts) > 2 or c.random() < 0.35
        for place, plain in enumerate(parts):
            out.append(_Piece(plain))
            if place < len(parts) - 1:
                out += self.joined(self.some_things(1 if single else c.randint(2, 5)))
        return out

    def _unit(self) -> str:
        own = {
            "ru": "кг см л мм м шт",
            "ar": "كغ سم لتر",
            "hi": "किलो सेमी लीटर",
            "ja": "キロ センチ 個 台",
            "zh": "公斤 厘米 个 升",
            "ko": "킬로 센티 개 대",
        }
        return self.chance.choice(f"kg cm mm km/h GB MB % °C ml min {own.get(self.language, 'm l g')}".split())

    def _written(self, pieces: Sequence[_Piece], *, people: bool) -> Row:
        c, roll = self.chance, self.chance.random()
        change: Callable[[str], str] = str
        if self.language not in ("ja", "zh", "ko", "ar", "hi"):
            if roll < (0.07 if people else 0.04):
                change = str.lower
            elif roll < (0.11 if people else 0.09):
                change = str.upper
            elif roll > 0.95 and not people:
                change = str.title
        text, spans, taken = "", [], []
        for piece in pieces:
            written = change(piece.text)
            start = len(text)
            text += written
            if piece.kind == "taken":
                taken.append((start, len(text)))
            elif piece.kind and written.strip():
                spans.append((start, len(text), piece.kind))
        if not self.space and c.random() < 0.2:
            changed = text.replace("，", ",").replace("：", ":").replace("、", ",")
            text = changed if len(changed) == len(text) else text
        return Row(text, spans, taken)


def _flat(piece: _Piece) -> _Piece:
    return _Piece(re.sub(r",?\s*\n\s*", ", ", piece.text), piece.kind)
