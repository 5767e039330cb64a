"""What an answer says of a business's own data, claim by claim, beside the rows it was given: numbers, amounts, dates, codes,
states.

A claim is supported where a row, or a text that the answer rests on, has the same; contradicted where a row says something else in
its place; not found where nothing given has it; and unchecked where nothing was given that could tell. What the customer said
themselves is no claim. Names and other words are not looked at, but for states, and for what an export lists for the same column.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from penstock.support.conversations import Row
from penstock.support.states import DIRECTLY, said_states, state_of
from penstock.text.quantities import Date, Quantity, agrees, dates, quantities, same
from penstock.text.sentences import sentences
from penstock.verify.claims import blanked

__all__ = ["Checked", "Given", "Kind", "Outcome"]

Kind = Literal["code", "date", "amount", "number", "state", "value", "name"]
Outcome = Literal["supported", "contradicted", "not_found", "unchecked"]

MOST_LEAVES = 5_000  # values of the rows of one conversation
MOST_CLAIMS = 200  # of one answer
DEEPEST = 8
FEW = 12  # numbers up to it may count anything, where no word near them names a field
NEAR = 6  # words between a value and what names its field

_CODE = re.compile(
    r"(?<![\w.,$€£¥#/@-])(?:#(?=[\w-]*\d)[\w][\w-]{1,40}|(?=[A-Za-z-]{0,12}\d)[A-Za-z]{1,8}[-_]?\d[\w-]{2,40}"
    r"|\d{6,}(?:-\w{1,20})*|\d{3,}(?:-\d{2,})+)(?![\w@]|[.,]\d)"
)
_ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")
_PASSED_OVER = re.compile(
    r"https?://\S+|www\.\S+|\b\d{1,2}[:h]\d{2}(?::\d{2})?\s?(?:[ap]\.?m\.?\b)?|\b\d{1,2}\s?[ap]\.?m\.?\b|\b24/7\b"
    r"|\b\d+(?:st|nd|rd|th)\b|\(\d\)|^\s*\d{1,2}[.)]\s",
    re.I | re.M,
)
_WORD = re.compile(r"[^\W\d_]+")
_GREETS = re.compile(
    r"\b(?:hi|hello|dear|hey|hallo|liebe[r]?|guten (?:tag|morgen|abend)|bonjour|salut|hola|buenos d[ií]as|ciao|buongiorno|ol[áa]"
    r"|thanks|thank you|danke|merci|gracias|grazie|obrigad[oa]|bedankt|beste)[,]? (?!you\b|for\b|so\b|again\b|there\b)"
    r"(?:(?:mr|mrs|ms|herr|frau|se[ñn]or[a]?|mme|m)\.? )?([A-ZÀ-Þ][a-zß-ÿ'-]{1,20})(?=[,.!?]|$| [-–])",
    re.I,
)
_BOUND = re.compile(
    r"\b(?:over|above|under|below|from|more than|less than|at least|at most|up to|within|minimum|maximum|ab|über|unter|mindestens"
    r"|höchstens|bis zu"
    r"|más de|menos de|a partir de|hasta|mínimo|plus de|moins de|à partir de|jusqu['’]à|oltre|più di|meno di|fino a|vanaf|boven"
    r"|meer dan|tot"
    r"|mais de|menos de|acima de|até)\s*$",
    re.I,
)
_ROUGHLY = re.compile(
    r"(?:\b(?:about|around|approximately|approx\.?|roughly|nearly|almost|circa|ca\.?|etwa|ungefähr|rund|fast|knapp|environ|presque"
    r"|unos|unas|alrededor de|aproximadamente|casi|quasi|ongeveer|bijna|cerca de|quase)|[~≈])\s*\W?\s*$",
    re.I,
)
_NO_NAME = frozenset("there team everyone all sir madam again customer support you and for i we".split())
_ABOUT: dict[str, frozenset[str]] = {  # words of fields -> words that people say for them
    name: frozenset(words.split())
    for name, words in {
        "price": "price prices cost costs priced preis kostet kosten precio cuesta prix coûte prezzo costa prijs kost preço custa",
        "total": "total sum amount charged paid pay gesamt summe betrag importe suma montant somme totale importo totaal bedrag "
        "valor",
        "amount": "amount total charged paid refund refunded sum betrag importe montant importo bedrag valor",
        "stock": "stock available left inventory units lager verfügbar vorrätig existencias disponibles disponibile voorraad "
        "estoque",
        "quantity": "quantity qty items pieces units menge stück cantidad quantité quantità aantal quantidade",
        "balance": "balance credit guthaben saldo solde tegoed",
        "refund": "refund refunded refunds rückerstattung erstattet erstattung reembolso remboursement rimborso terugbetaling",
        "placed": "placed ordered order purchased bought bestellt aufgegeben pedido comandado commandé ordinato besteld",
        "ordered": "placed ordered purchased bought bestellt commandé ordinato besteld pedido",
        "delivered": "delivered delivery arrived arrive arrives geliefert zugestellt entregado livré consegnato geleverd entregue",
        "delivery": "delivered delivery arrive arrives arrival expected lieferung geliefert entrega livraison consegna levering",
        "shipped": "shipped dispatched sent left verschickt versandt enviado expédié spedito verzonden",
        "due": "due pay payable fällig vence échéance scadenza",
        "tracking": "tracking track sendungsnummer sendung seguimiento suivi tracciamento rastreio",
        "points": "points punkte puntos punti punten pontos",
        "data": "data gb usage used daten datos données dati dados",
        "nights": "night nights nacht nächte noche noches nuit nuits notte notti nachten noite noites",
        "days": "day days tag tage día días jour jours giorno giorni dag dagen dia dias",
        "guests": "guest guests persons people gäste personen huéspedes personas invités personnes ospiti persone gasten "
        "hóspedes pessoas",
        "rooms": "room rooms zimmer habitación habitaciones chambre chambres camera camere kamer kamers quarto quartos",
        "seats": "seat seats sitz plätze sitzplätze asiento asientos siège sièges places posto posti plaats plaatsen lugares",
    }.items()
}


class Leaf(NamedTuple):
    """One value of a row. words: of its field's name. numbers, days: in it."""

    row: Row
    field: str
    text: str
    words: frozenset[str]
    numbers: tuple[Quantity, ...]
    days: tuple[Date, ...]
    state: str  # what it says of something's state; ""


@dataclass(frozen=True, slots=True)
class Checked:
    """A claim: text[start:end] of an answer. row: that supports or contradicts it; instead: what stands there."""

    kind: Kind
    outcome: Outcome
    start: int
    end: int
    said: str
    row: str = ""
    field: str = ""
    instead: str = ""
    own: bool = False  # stands in a row of the customer's, and the customer had not said it

    @property
    def why(self) -> str:
        """For people."""
        if self.outcome == "contradicted":
            place = " of ".join(filter(None, (self.field, self.row)))
            return f"says {self.said}, and {place or 'what was given'} is {self.instead}"
        return f"{self.kind} {self.said} is in nothing that was given"


# ---------------------------------------------------------------- what is given


@dataclass
class Given:
    """What an answer may rest on, so far in a conversation. Grows with `add_rows`, `add_texts` and `add_said`."""

    vocabulary: Mapping[str, frozenset[str]] = field(
        default_factory=dict
    )  # column -> all that it may say, of an export
    _leaves: list[Leaf] = field(default_factory=list)
    _past: list[Leaf] = field(default_factory=list)  # what rows said before they changed
    _rows: dict[tuple[str, str], int] = field(default_factory=dict)  # (source, field) -> its place in leaves
    _seen: set[int] = field(default_factory=set)
    _lists: set[int] = field(default_factory=set)  # how long lists in rows are, and how many rows of a kind there are
    _kinds: dict[str, int] = field(default_factory=dict)
    _texts: list[str] = field(default_factory=list)
    _said: list[str] = field(default_factory=list)  # by the customer, by staff, and by tools in words
    _flat: str = ""  # all of rows, lower-cased

    @property
    def has_rows(self) -> bool:
        return bool(self._leaves)

    @property
    def texts(self) -> Sequence[str]:
        return self._texts

    @property
    def row_texts(self) -> list[str]:
        """The rows as lines, for a check of sentences."""
        lines: dict[str, list[str]] = {}
        for leaf in self._leaves:
            lines.setdefault(leaf.row.source, []).append(
                f"{leaf.field.replace('_', ' ').replace('.', ' ')}: {leaf.text}"
            )
        return [f"{source}: {'; '.join(parts)}." for source, parts in lines.items()]

    def add_rows(self, rows: Iterable[Row]) -> None:
        """Rows as they were read now. One with the name of an earlier one takes its place."""
        for row in rows:
            if id(row) in self._seen or len(self._leaves) >= MOST_LEAVES:
                continue
            self._seen.add(id(row))
            kind = row.source.partition("/")[0]
            fresh = 0
            for name, value in _flat(row.values, self._lists):
                leaf = _leaf(row, name, value)
                key = (row.source, name)
                if row.source and key in self._rows:
                    at = self._rows[key]
                    if self._leaves[at].text != leaf.text:
                        self._past.append(self._leaves[at])
                        self._leaves[at] = leaf
                    continue
                fresh += 1
                if row.source:
                    self._rows[key] = len(self._leaves)
                self._leaves.append(leaf)
            if fresh:
                self._kinds[kind] = self._kinds.get(kind, 0) + 1
            self._flat = ""

    def add_texts(self, texts: Iterable[str]) -> None:
        """Texts that answers rest on."""
        self._texts += [text for text in texts if text and text not in self._texts]

    def add_said(self, text: str) -> None:
        """What may be repeated without being a claim: what the customer said, and tools in words."""
        self._said.append(text)

    # ------------------------------------------------------------ claims

    def check(self, text: str, *, at: float | None = None) -> list[Checked]:
        """The claims of an answer, in their order. at: Unix time of the answer, for days that are counted from it."""
        plain = blanked(text)
        found: list[Checked] = []
        covered = [match.span() for match in _PASSED_OVER.finditer(plain)]
        for match in _ADDRESS.finditer(plain):
            covered.append(match.span())
            found.append(self._code(match.group(), match.start(), match.end()))
        days = [day for day in dates(plain) if not _within(day.start, covered)]
        covered += [(day.start, day.end) for day in days if day.month or day.decade]
        for match in _CODE.finditer(plain):
            if not _within(match.start(), covered) and not _amount_like(plain, match):
                covered.append(match.span())
                found.append(self._code(match.group(), *match.span()))
        for day in days:
            if not any(start <= day.start < end and (start, end) != (day.start, day.end) for start, end in covered):
                found.append(self._day(plain, day, at))
                covered.append((day.start, day.end))
        found += [
            self._number(plain, number, at)
            for number in quantities(plain)
            if math.isfinite(number.value)
            and not any(start < number.end and number.start < end for start, end in covered)
        ]
        found = [_asked(plain, one) for one in found]
        found += self._states(plain)
        found += self._listed(plain, [*covered, *((one.start, one.end) for one in found)])
        found += self._names(plain)
        return sorted(found, key=lambda one: (one.start, one.end))[:MOST_CLAIMS]

    def _code(self, said: str, start: int, end: int) -> Checked:
        bare = _bare(said)
        if any(bare in _tokens(text) for text in self._said):
            return Checked("code", "unchecked", start, end, said)
        for leaf in (*self._leaves, *self._past):
            if bare in _tokens(leaf.text):
                return Checked("code", "supported", start, end, said, leaf.row.source, leaf.field, own=True)
            if bare in _tokens(leaf.row.source) or bare in _tokens(leaf.row.label):
                return Checked("code", "supported", start, end, said, leaf.row.source, own=True)
        if any(bare in _tokens(one) for one in self._texts):
            return Checked("code", "supported", start, end, said)
        if not self._leaves:
            return Checked("code", "not_found" if self._texts else "unchecked", start, end, said)
        shape = _shape(bare)
        alike = [
            (leaf, token)
            for leaf in self._leaves
            for token in _tokens(leaf.text)
            if _shape(token) == shape and token != bare
        ]
        if alike and len({token for _, token in alike}) == 1:
            leaf, token = alike[0]
            return Checked("code", "contradicted", start, end, said, leaf.row.source, leaf.field, token)
        return Checked("code", "not_found", start, end, said)

    def _day(self, text: str, day: Date, at: float | None) -> Checked:
        said = text[day.start : day.end]
        spot = (day.start, day.end)
        leaf = next((one for one in self._leaves if any(agrees(day, other) for other in one.days)), None)
        if leaf is None:
            leaf = next((one for one in self._past if any(agrees(day, other) for other in one.days)), None)
        if leaf is not None:
            return Checked("date", "supported", *spot, said, leaf.row.source, leaf.field, own=True)
        if any(agrees(day, other) for one in self._said for other in _days_of(one)):
            return Checked("date", "unchecked", *spot, said)
        if any(agrees(day, other) for one in self._texts for other in _days_of(one)):
            return Checked("date", "supported", *spot, said)
        whole = _calendar(day)
        if whole is not None and self._is_counted(whole, at):
            return Checked("date", "supported", *spot, said)
        dated = [one for one in self._leaves if one.days]
        meant = self._meant(text, spot, dated, words=1)
        if meant is None and whole is not None and at is not None and abs((whole - _today(at)).days) <= 1:
            return Checked("date", "supported", *spot, said)
        if not self._leaves:
            return Checked("date", "not_found" if self._texts else "unchecked", *spot, said)
        if not day.month:  # a year by itself
            return Checked("date", "unchecked", *spot, said)
        if meant is None:
            return Checked("date", "not_found" if dated else "unchecked", *spot, said)
        return Checked("date", "contradicted", *spot, said, meant.row.source, meant.field, meant.text)

    def _is_counted(self, day: date, at: float | None) -> bool:
        """Whether a day is a day of a row, or today, and as many days more as a text or a row says."""
        spans = self._spans()
        if not spans:
            return False
        known = [known for leaf in self._leaves for other in leaf.days if (known := _calendar(other)) is not None]
        if at is not None:
            known.append(_today(at))
        return any(abs((day - one).days) in spans for one in known)

    def _spans(self) -> set[int]:
        """How many days rows and texts speak of."""
        some = [number for leaf in self._leaves for number in leaf.numbers]
        some += [number for text in self._texts for number in _numbers_of(text)]
        days = {round(one.value / 86_400) for one in some if one.kind == "time" and one.value >= 86_400}
        for leaf in self._leaves:
            if leaf.words & {"days", "tage", "días", "jours", "giorni", "dagen", "dias"}:
                days |= {int(one.plain) for one in leaf.numbers if 0 < one.plain < 1000}
        return days

    def _number(self, text: str, number: Quantity, at: float | None) -> Checked:
        said, spot = text[number.start : number.end].strip(), (number.start, number.end)
        number = _exact(text, number)
        kind: Kind = "amount" if number.kind == "money" else "number"
        if number.kind == "" and text[number.start].isalpha() and number.value in (0.0, 1.0, 2.0, 3.0):
            return Checked(kind, "unchecked", *spot, said)  # one of them, two more
        about = self._named(text, spot)
        alike = [leaf for leaf in self._leaves if any(_equal(number, other, leaf.words) for other in leaf.numbers)]
        if alike:
            leaf = next((one for one in alike if one.words & about), alike[0])
            wrong_place = self._misplaced(number, about, alike)
            if wrong_place is None:
                return Checked(kind, "supported", *spot, said, leaf.row.source, leaf.field, own=True)
            return Checked(
                kind, "contradicted", *spot, said, wrong_place.row.source, wrong_place.field, wrong_place.text
            )
        if any(same(number, other) for one in self._said for other in _numbers_of(one)):
            return Checked(kind, "unchecked", *spot, said)
        if any(same(number, other) for one in self._texts for other in _numbers_of(one)):
            return Checked(kind, "supported", *spot, said)
        if self._is_reckoned(number, at, text):
            return Checked(kind, "supported", *spot, said)
        stale = next(
            (one for one in self._past if any(_equal(number, other, one.words) for other in one.numbers)), None
        )
        if stale is not None:
            now = next(
                (one for one in self._leaves if one.row.source == stale.row.source and one.field == stale.field), None
            )
            if now is None or any(
                _stands(one, text) for one in (now.text, *(t for n in now.numbers for t in (f"{n.plain:g}",)))
            ):
                return Checked(kind, "supported", *spot, said, stale.row.source, stale.field)
            return Checked(kind, "contradicted", *spot, said, now.row.source, now.field, now.text)
        if not self._leaves:
            return Checked(
                kind, "not_found" if self._texts and (number.kind or number.value > FEW) else "unchecked", *spot, said
            )
        candidates = [leaf for leaf in self._leaves if any(_comparable(number, other) for other in leaf.numbers)]
        meant = self._meant(text, spot, candidates, words=1)
        if meant is not None:
            return Checked(kind, "contradicted", *spot, said, meant.row.source, meant.field, meant.text)
        if _BOUND.search(text[max(0, number.start - 24) : number.start]) and not self._texts:
            return Checked(kind, "unchecked", *spot, said)  # "free over $50" is of a policy, and none was given
        if number.kind == "money" and any(leaf.numbers for leaf in self._leaves):
            return Checked(kind, "not_found", *spot, said)
        if self._texts and (number.kind or number.value > FEW):
            return Checked(kind, "not_found", *spot, said)
        if number.kind in ("", "data") and number.value > FEW and any(one.numbers for one in self._leaves):
            return Checked(kind, "not_found", *spot, said)
        return Checked(kind, "unchecked", *spot, said)

    def _misplaced(self, number: Quantity, about: frozenset[str], alike: Sequence[Leaf]) -> Leaf | None:
        """Where a sentence names exactly one field of one row, and its value is another: 2 in stock, where 2 is the quantity."""
        if not about or number.kind not in ("", "money") or any(leaf.words & about for leaf in alike):
            return None
        of_it = [
            leaf
            for leaf in self._leaves
            if leaf.words & about and any(_comparable(number, other) for other in leaf.numbers)
        ]
        strong = [leaf for leaf in of_it if leaf.words & about & {"stock", "balance", "points"}]
        return strong[0] if len(strong) == 1 and len({leaf.text for leaf in strong}) == 1 else None

    def _is_reckoned(self, number: Quantity, at: float | None, text: str) -> bool:
        """Whether a number is a count of rows, a sum or a product of values of one field, a difference of amounts, or days from a
        day of a row until now. Where the text names one row, nothing is summed over several."""
        value = number.plain
        if (
            number.kind == ""
            and value == int(value)
            and (int(value) in self._lists or int(value) in self._kinds.values())
        ):
            return True
        if number.kind in ("time", "months") and at is not None:
            today = _today(at)
            apart = {
                abs((known - today).days)
                for leaf in self._leaves
                for day in leaf.days
                if (known := _calendar(day)) is not None
            }
            if number.kind == "time" and number.value >= 86_400 and round(number.value / 86_400) in apart:
                return True
        if number.kind not in ("", "money"):
            return False
        named = {leaf.row.source for leaf in self._leaves if leaf.row.source and self._is_named(leaf.row, text)}
        by_name: dict[str, list[float]] = {}
        for leaf in self._leaves:
            if len(leaf.numbers) == 1 and (not named or leaf.row.source in named):
                around = f"{leaf.row.source}/" if len(named) > 1 else ""
                by_name.setdefault(around + leaf.field.rpartition(".")[2], []).append(leaf.numbers[0].plain)
        counts = [int(one) for name in ("quantity", "qty", "count", "menge", "units") for one in by_name.get(name, ())]
        for some in by_name.values():
            if len(some) > 1 and _close(sum(some), value):
                return True
            if any(_close(one * count, value) for one in some for count in counts if count > 1):
                return True
            if (
                not value.is_integer()
                and len(some) <= 20
                and any(_close(abs(a - b), value) for a in some for b in some)
            ):
                return True
        cents = [one for some in by_name.values() for one in some if not one.is_integer()]
        if not value.is_integer() and len(cents) <= 12:
            return any(
                _close(a + b, value) or _close(abs(a - b), value) for n, a in enumerate(cents) for b in cents[n + 1 :]
            )
        return False

    @staticmethod
    def _is_named(row: Row, text: str) -> bool:
        tokens = {*_tokens(row.source), *_tokens(row.label)}
        return any(len(one) > 2 and any(map(str.isdigit, one)) and _place(one, text.lower()) >= 0 for one in tokens)

    def _named(self, text: str, spot: tuple[int, int]) -> frozenset[str]:
        """The words of fields that the words near a place stand for, the nearest side first: those of the same part of a
        sentence."""
        start = max(text.rfind(mark, 0, spot[0]) for mark in (". ", "\n", ";", "! ", "? ", ", ")) + 1
        end = min(
            (n for mark in (". ", "\n", ";", "! ", "? ", ", ") if (n := text.find(mark, spot[1])) >= 0),
            default=len(text),
        )
        before = [word.lower() for word in _WORD.findall(text[start : spot[0]])][-NEAR:]
        after = [word.lower() for word in _WORD.findall(text[spot[1] : end])][:NEAR]
        near = {*before, *after}
        return frozenset(name for name, words in _ABOUT.items() if near & words) | frozenset(near)

    def _meant(self, text: str, spot: tuple[int, int], candidates: Sequence[Leaf], *, words: int) -> Leaf | None:
        """The one value of the rows that a place is about, by the words near it and the row that is named; None where it is
        open."""
        if not candidates:
            return None
        about = self._named(text, spot)
        shared = [(len(leaf.words & about), leaf) for leaf in candidates]
        best = max(count for count, _ in shared)
        if best < words:
            return None
        found = [leaf for count, leaf in shared if count == best]
        if len({leaf.row.source for leaf in found}) > 1:
            found = self._of_row(text, spot, found)
        values = {leaf.text for leaf in found}
        return found[0] if len(values) == 1 else None

    def _of_row(self, text: str, spot: tuple[int, int], leaves: Sequence[Leaf]) -> list[Leaf]:
        """Those of the row whose name or code stands last before a place, or else in the text at all."""
        best: tuple[int, list[Leaf]] = (-1, [])
        for source in dict.fromkeys(leaf.row.source for leaf in leaves):
            own = [leaf for leaf in leaves if leaf.row.source == source]
            for token in {*_tokens(source), *_tokens(own[0].row.label)}:
                if len(token) > 2 and any(letter.isdigit() for letter in token):
                    place = _last_place(token, text.lower()[: spot[1]])
                    if place > best[0]:
                        best = (place, own)
        return best[1] if best[0] >= 0 else list(leaves)

    # ------------------------------------------------------------ words

    def _states(self, text: str) -> Iterator[Checked]:
        """States that the answer says something is in, beside those of the rows."""
        known = [leaf for leaf in self._leaves if leaf.state]
        if not known:
            return
        for found in said_states(text):
            here = (
                self._of_row(text, (found.start, found.end), known)
                if len({one.row.source for one in known}) > 1
                else known
            )
            of_kind = [leaf for leaf in here if DIRECTLY.get(leaf.state) == DIRECTLY.get(found.state)]
            if not of_kind:
                continue
            said = text[found.start : found.end]
            right = next(
                (leaf for leaf in of_kind if found.state == leaf.state or state_fits(found.state, leaf.text)), None
            )
            if right is not None:
                yield Checked(
                    "state", "supported", found.start, found.end, said, right.row.source, right.field, own=True
                )
            elif any(found.state == one.state or state_fits(found.state, one.text) for one in known):
                yield Checked("state", "unchecked", found.start, found.end, said)  # of another row perhaps
            elif found.done or any(state_fits(found.state, one) for one in self._texts):
                yield Checked("state", "unchecked", found.start, found.end, said)  # it was done just now
            else:
                leaf = of_kind[0]
                yield Checked(
                    "state", "contradicted", found.start, found.end, said, leaf.row.source, leaf.field, leaf.text
                )

    def _listed(self, text: str, covered: Sequence[tuple[int, int]]) -> Iterator[Checked]:
        """Values of columns of which an export lists all that they may say, where the row at hand says another."""
        if not self.vocabulary:
            return
        lower = text.lower()
        for leaf in self._leaves:
            column = leaf.field.rpartition(".")[2]
            others = self.vocabulary.get(column)
            own = leaf.text.strip().lower()
            if not others or own not in others or leaf.state or len(own) < 3 or own in _SAY_LITTLE:
                continue
            if len({one.text for one in self._leaves if one.field.rpartition(".")[2] == column}) > 1:
                continue  # several rows: which is meant is open
            place = _place(own, lower)
            if place >= 0:
                yield Checked(
                    "value",
                    "supported",
                    place,
                    place + len(own),
                    text[place : place + len(own)],
                    leaf.row.source,
                    leaf.field,
                )
                continue
            for other in sorted(others):
                place = _place(other, lower) if len(other) > 2 and other not in _SAY_LITTLE else -1
                if (
                    place < 0
                    or _within(place, covered)
                    or any(_place(other, one.lower()) >= 0 for one in (*self._said, *self._texts))
                ):
                    continue
                if any(_place(other, one.text.lower()) >= 0 for one in self._leaves):
                    continue
                said = text[place : place + len(other)]
                yield Checked(
                    "value", "contradicted", place, place + len(other), said, leaf.row.source, leaf.field, leaf.text
                )
                break

    def _names(self, text: str) -> Iterator[Checked]:
        """The name in a greeting, beside the customer's."""
        names = {
            word.lower()
            for leaf in self._leaves
            if "name" in leaf.words and (leaf.words & _OF_PERSONS or _bare_kind(leaf.row.source) in _PERSONS)
            for word in _WORD.findall(leaf.text)
        }
        if not names:
            return
        for found in _GREETS.finditer(text):
            name = found[1]
            if name.lower() in _NO_NAME or not name[0].isupper():
                continue
            if name.lower() in names:
                yield Checked("name", "supported", *found.span(1), name, own=True)
            elif not any(name.lower() in one.lower() for one in self._said):
                yield Checked(
                    "name", "contradicted", *found.span(1), name, instead=", ".join(sorted(names))[:60], field="name"
                )


_SAY_LITTLE = frozenset(
    "none yes no full high low all any new old open other standard basic custom light dark free true false active".split()
)
_OF_PERSONS = frozenset({"first", "last", "full", "given", "family", "customer", "client", "user"})
_PERSONS = frozenset(
    {
        "user",
        "users",
        "customer",
        "customers",
        "account",
        "accounts",
        "personal",
        "profile",
        "contact",
        "person",
        "persons",
    }
)


def _bare_kind(source: str) -> str:
    return source.partition("/")[0].rpartition(".")[2].lower()


def state_fits(said: str, text: str) -> bool:
    """Whether a row that says `text` may be called what was said."""
    return said in state_of(text).fits


def _asked(text: str, claim: Checked) -> Checked:
    """A number in a question is no claim, unless a row says it otherwise: "was it bought in the last 90 days?"."""
    if claim.outcome != "not_found" or claim.kind not in ("number", "date"):
        return claim
    end = min((n for mark in (". ", "!", "\n", "?") if (n := text.find(mark, claim.end)) >= 0), default=-1)
    return replace(claim, outcome="unchecked") if end >= 0 and text[end] == "?" else claim


# ---------------------------------------------------------------- values


def _flat(value: Any, lists: set[int], around: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything in a row that holds no other; `lists` is given how long its lists are."""
    if isinstance(value, Mapping) and depth < DEEPEST:
        for name, inner in value.items():
            yield from _flat(inner, lists, f"{around}.{name}" if around else str(name), depth + 1)
    elif isinstance(value, list | tuple) and depth < DEEPEST:
        lists.add(len(value))
        for n, inner in enumerate(value[:100]):
            yield from _flat(inner, lists, f"{around}.{n}" if isinstance(inner, Mapping) else around, depth + 1)
    elif value is not None and not isinstance(value, Mapping | list | tuple):
        yield around, value


def _leaf(row: Row, name: str, value: Any) -> Leaf:
    if isinstance(value, bool):
        text = "yes" if value else "no"
    elif isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        text = str(int(value))
    elif isinstance(value, Decimal):
        text = f"{value:f}"
    else:
        text = str(value)
    text = text[:2000]
    words, numbers, days, state = _told(
        name, text, isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    )
    return Leaf(row, name, text, words, numbers, days, state)


@lru_cache(maxsize=20_000)
def _told(name: str, text: str, plain: bool) -> tuple[frozenset[str], tuple[Quantity, ...], tuple[Date, ...], str]:
    words = frozenset(word.lower() for word in _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)))
    if plain:
        number = abs(float(text))  # what is given back stands below 0
        step = 10.0 ** -len(text.partition(".")[2]) if "." in text else 1.0
        return words, (Quantity(number, "", "", step, 0, len(text), False, number),), (), _state_in(words, text)
    days = tuple(one for one in dates(text) if one.month)
    numbers = tuple(n for n in quantities(text) if not any(day.start <= n.start < day.end for day in days))
    if "id" in words and not text.isdigit():
        numbers = ()
    return words, numbers, days, _state_in(words, text)


_OF_STATE = frozenset(
    {"status", "state", "condition", "zustand", "estado", "statut", "stato", "fulfilment", "fulfillment", "situação"}
)
_OF_STOCK = frozenset({"stock", "available", "availability", "inventory", "lager", "existencias", "disponible"})


def _state_in(words: frozenset[str], text: str) -> str:
    if words & _OF_STATE:
        return state_of(text).name
    if words & _OF_STOCK:
        number = re.fullmatch(r"-?\d+(?:\.\d+)?", text)
        if number:
            return "in stock" if float(text) > 0 else "out of stock"
        if text in ("yes", "no"):
            return "in stock" if text == "yes" else "out of stock"
    return ""


@lru_cache(maxsize=4096)
def _numbers_of(text: str) -> tuple[Quantity, ...]:
    return tuple(quantities(text))


@lru_cache(maxsize=4096)
def _days_of(text: str) -> tuple[Date, ...]:
    return tuple(dates(text))


@lru_cache(maxsize=8192)
def _tokens(text: str) -> frozenset[str]:
    """What may be a code in a text."""
    found = {_bare(one) for one in re.findall(r"[#\w][\w.+@-]*", text)}
    return frozenset(found | {_bare(part) for part in re.split(r"[\s/,;:()]+", text) if part})


def _bare(code: str) -> str:
    return code.strip("#.,;:()[]\"'").casefold()


def _shape(code: str) -> str:
    """What a code looks like: letters and digits, and how many."""
    if "@" in code:
        return "@"
    return re.sub(r"\d", "0", re.sub(r"[^\W\d_]", "a", code)) if any(letter.isdigit() for letter in code) else ""


def _amount_like(text: str, found: re.Match[str]) -> bool:
    """Whether a run of digits is an amount and no code: a currency or a unit stands beside it."""
    if not found.group().isdigit():
        return False
    number = next((one for one in quantities(text[max(0, found.start() - 4) : found.end() + 12]) if one.kind), None)
    return number is not None


def _within(place: int, spans: Sequence[tuple[int, int]]) -> bool:
    return any(start <= place < end for start, end in spans)


def _equal(said: Quantity, there: Quantity, words: frozenset[str]) -> bool:
    """Whether a row's number is what was said. words: of its field, which has to name the unit where the row does not."""
    if (
        said.kind not in ("", "money")
        and there.kind == ""
        and not words & _UNIT_WORDS.get(said.kind, frozenset({said.unit}))
    ):
        return False
    return same(said, there)


_UNIT_WORDS = {
    "time": frozenset(
        "day days hour hours minute minutes week weeks second seconds time tage stunden días horas jours heures giorni ore".split()
    ),
    "months": frozenset("month months year years monate jahre meses años mois ans mesi anni maanden jaar anos".split()),
    "%": frozenset(
        "percent percentage rate discount share prozent rabatt tax vat apr interest descuento remise sconto korting".split()
    ),
    "data": frozenset("data gb mb usage limit allowance used daten datos données dati".split()),
}


def _exact(text: str, number: Quantity) -> Quantity:
    """A number that ends in zeros is meant as it stands, unless words say that it is rounded: 10 nights are not 9, about 10 are.
    What is left out behind the point may be."""
    if not number.plain or _ROUGHLY.search(text[max(0, number.start - 24) : number.start]):
        return number
    return number._replace(step=min(number.step, abs(number.value / number.plain)))


def _comparable(said: Quantity, there: Quantity) -> bool:
    if said.kind == "money":
        return there.kind in ("", "money")
    if said.kind == "":
        return there.kind == ""
    return there.kind in (said.kind, "")


def _close(one: float, other: float) -> bool:
    return math.isclose(abs(one), abs(other), rel_tol=1e-9, abs_tol=0.005)


def _today(at: float) -> date:
    return datetime.fromtimestamp(at, UTC).date()


def _calendar(day: Date) -> date | None:
    try:
        return date(day.year, day.month, day.day) if day.year and day.month and day.day else None
    except ValueError:
        return None


def _place(said: str, text: str) -> int:
    """Where some words stand in a text, not as a part of others; -1 for nowhere."""
    at = text.find(said)
    while at >= 0:
        before, after = text[at - 1 : at] if at else "", text[at + len(said) : at + len(said) + 1]
        if not (before.isalnum() or after.isalnum()):
            return at
        at = text.find(said, at + 1)
    return -1


def _last_place(said: str, text: str) -> int:
    at = text.rfind(said)
    while at >= 0 and ((at and text[at - 1].isalnum()) or text[at + len(said) : at + len(said) + 1].isalnum()):
        at = text.rfind(said, 0, at)
    return at


def _stands(said: str, text: str) -> bool:
    return _place(said, text) >= 0


def sentence_around(text: str, start: int, end: int, language: str = "") -> str:
    """The sentence that a claim stands in."""
    for line in re.finditer(r"[^\n]+", text):
        if line.start() <= start < line.end():
            for one_start, one_end in sentences(text, line.start(), line.end(), language):
                if one_start <= start < one_end:
                    return text[one_start : max(one_end, end)].strip()
            return line.group().strip()
    return text[start:end]
