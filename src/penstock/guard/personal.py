"""Personal data with a structure: mail addresses, phones, cards, accounts, network addresses, numbers of persons, birth dates.

One pass finds the words with digits in them; neighbours are joined to chains ("5217 6848 7870 6521"), and a chain is measured
against what it could be. Where several things fit, a check digit with a word beside it wins over a check digit, that over a
word, and that over a shape. All work is bounded by the length of the text: no pattern is tried twice from one place.
"""

from __future__ import annotations

import re
import socket
import unicodedata
from bisect import bisect_left, bisect_right
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from penstock.guard import identity
from penstock.guard.births import births
from penstock.guard.labels import OTHER, PERSONAL, VERSION, Label, labels
from penstock.guard.mails import mails
from penstock.guard.phones import Number, phone
from penstock.guard.tables import Table
from penstock.types import Finding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["TYPES", "Personal"]

TYPES: Final = (
    "EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "CRYPTO", "MAC_ADDRESS", "US_PASSPORT",
    "DATE_OF_BIRTH", "US_SSN", "UK_NINO", "DE_TAX_ID", "FR_NIR", "ES_NIF", "IT_FISCAL_CODE", "NL_BSN", "BR_CPF", "PL_PESEL",
    "SE_PERSONNUMMER", "IN_AADHAAR", "KR_RRN", "CN_ID", "URL",
)  # fmt: skip

_MOST_GROUPS: Final = 8  # in one number
_NEAR: Final = 60  # characters between a label and its number
_BEHIND: Final = 26  # and where the label follows

# ---------------------------------------------------------------- one character for one: digits, dashes, spaces, full width


@cache
def _plainer() -> tuple[re.Pattern[str], re.Pattern[str], dict[str, str]]:
    table = dict.fromkeys("\u00ad\u2060\ufeff\u00a0\u202f\u205f\u3000\u2028", " ")
    table |= dict.fromkeys(map(chr, (*range(0x2000, 0x2010), *range(0x202A, 0x202F), *range(0x2066, 0x206A))), " ")
    table |= dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe63", "-")
    table |= {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
    for code in range(0x660, 0x1FC00):
        digit = unicodedata.decimal(chr(code), None)
        if digit is not None:
            table[chr(code)] = str(digit)
    near = "".join(letter for letter in table if letter <= "\uffff")  # a class with others in it is forty times as slow
    return re.compile(f"[{re.escape(near)}]"), re.compile("[\U00010000-\U0001fc00]"), table


def _plain(text: str) -> str:
    """The text with ASCII digits, dashes and spaces. As long as before, so that offsets hold."""
    if text.isascii():
        return text
    near, far, table = _plainer()
    text = near.sub(lambda match: table[match[0]], text)
    return far.sub(lambda match: table.get(match[0], match[0]), text)


# ---------------------------------------------------------------- patterns; possessive, so that none goes back

_TOKEN: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]*+[0-9][A-Za-z0-9]*+")
_URL: Final = re.compile(r"(?:https?|ftp|wss?)://[^\s<>\"'?#]++", re.I)
_UUID: Final = re.compile(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])")
_IPV4: Final = re.compile(r"(?<![0-9A-Za-z_])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![0-9A-Za-z_]|\.[0-9A-Za-z]|-[A-Za-z])")
_COLONS: Final = re.compile(r"(?<![0-9A-Za-z:.])[0-9A-Fa-f]{0,4}+:[0-9A-Fa-f:.]{1,44}+(?![0-9A-Za-z])")
_TWO_COLONS: Final = re.compile(r":[0-9A-Fa-f]{0,4}:")  # quick to look for, before the patterns that need more time
_TWO_DOTS: Final = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}")
_DASHED: Final = re.compile(r"-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-[0-9A-Fa-f]{2}-")
_PAIRS: Final = re.compile(r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}")
_MAC: Final = re.compile(
    r"(?<![0-9A-Za-z])(?<![0-9A-Za-z]-)[0-9A-Fa-f]{2}(?:(?:-[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4})"
    r"(?![0-9A-Za-z]|-[0-9A-Za-z]|\.[0-9A-Za-z])"
)
_GAPS: Final = frozenset(
    (
        " ",
        "-",
        ".",
        "/",
        ")",
        ") ",
        " (",
        "(",
        ")-",
        " - ",
        " / ",
        "-(",
        ").",
        ") - ",
        ")/",
        "  ",
        "·",
        ". ",
        " -",
        "- ",
        "\t",
    )
)
_EXTENDED: Final = re.compile(r"([0-9]++)(?:x|ext)[0-9]++$", re.I)
_NINO: Final = re.compile(r"[A-Za-z]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[0-9]{2}[ -]?[A-Za-z](?![A-Za-z0-9])")
_FISCAL_SPACED: Final = re.compile(
    r"[A-Za-z]{3} [A-Za-z]{3} [0-9]{2}[A-Za-z][0-9]{2} [A-Za-z][0-9]{3} ?[A-Za-z](?![A-Za-z0-9])"
)
_CORSICAN: Final = re.compile(r"[12] ?[0-9]{2} ?[0-9]{2} ?2[ABab] ?[0-9]{3} ?[0-9]{3} ?[0-9]{2}(?![A-Za-z0-9])")
_NIF_LETTER: Final = re.compile(r"[-. ]?([A-Za-z])(?![A-Za-z0-9])")
_DATE_SHAPES: Final = frozenset(
    ((4, 2, 2), (2, 2, 4), (4, 1, 2), (4, 2, 1), (4, 1, 1), (1, 1, 4), (1, 2, 4), (2, 1, 4))
)
_TIGHT: Final = re.compile(
    r"[\s\\:#=.,;\-'\"“”„«»’()\[\]{}<>*|/_?!~@&+、，：（）「」『』【】・।]*+"
    r"(?:(?:no|nr|num|number|n[°ºo]|№|id|is|was|ist|lautet|est|es|è|é|e|är|jest|to|is|the|type|code|und|of|für|del|value|v|str|"
    r"numéro|número|numero|nummer|nummern|numer|номер|номера|رقم|هو|هي|है|नंबर|नम्बर|संख्या|क्रमांक|का|は|が|を|の|番号|번호|는|은|가|이|"
    r"是|为|為|号码|號碼|号|號|numarası|numaram|numarasi|no'su|mein|meine|min|mitt|mój|moja|meu|minha|mi|mon|ma|my|our|neu|new)"
    r"[\s:#=.,\-'\"“”„«»’()\[\]{}<>*|/_、，：（）「」]*+){0,3}",
    re.I,
)
_COLON: Final = frozenset((" ", ": ", ":", "：", " : ", ":\n", "=", '": "', "; ", ". ", ", ", " (", " #", ""))
_DIGIT: Final = re.compile(r"[0-9]")
_SENTENCE: Final = re.compile(r"[.!?;]\s|[。！？\n]")
_TAKEN: Final = re.compile(
    r"[^\w\n]{0,4}(?:(?:no|nr|num|number|n[°ºo]|id|is|ist|est|es|è|é|numéro|número|numero|номер|رقم)[^\w\n]{0,3}){0,2}[+(]?[0-9]",
    re.I,
)
_UNIT: Final = re.compile(
    r" ?(?:%|‰|€|\$|£|¥|₹|₽|zł|kr\b|EUR\b|USD\b|PLN\b|GBP\b|руб|тенге|元|円|원|rub\b|kg\b|km\b|ms\b|GB\b|MB\b|kB\b|bytes\b)"
)
_MONEY: Final = re.compile(r"(?:[€$£¥₹₽]|EUR|USD|GBP|INR|R\$|PLN|SEK|TRY) ?$")


class _Group(NamedTuple):
    start: int
    end: int


class _Said(NamedTuple):
    """What the words around a number say it is."""

    kinds: tuple[str, ...] = ()
    word: str = ""
    tight: bool = False  # with nothing else between the word and the number
    follows: bool = False

    @property
    def where(self) -> str:
        return f"and the word '{self.word}' {'after' if self.follows else 'before'} it"


_Offer = tuple[float, int, str, int, int, str]  # rank, groups it takes, type, start, end, rule


class _Kind(NamedTuple):
    """One thing a chain may be: how sure one is with a check digit alone, and what a language or a label adds."""

    type: str
    check: Callable[[str], bool]
    alone: float  # rank with no label: 0 is not enough
    dashed: str = ""  # the only separators it is written with, where no label is near
    language: str = ""  # in which it is taken for granted
    rule: str = "check digit right"


def _ssn(digits: str) -> bool:
    return identity.us_social(digits)


def _any_digits(digits: str) -> bool:
    return len(set(digits)) > 1


_CARD: Final = _Kind("CREDIT_CARD", identity.card, 3.0, " -")
_LONG_CARD: Final = _Kind("CREDIT_CARD", identity.card, 0)
_SSN: Final = _Kind("US_SSN", _ssn, 2.5, "-", rule="a number that could have been given out")
_BARE_SSN: Final = _Kind("US_SSN", _ssn, 0, rule="a number that could have been given out")
_PASSPORT: Final = _Kind("US_PASSPORT", _any_digits, 0, rule="nine digits")
_BSN: Final = _Kind("NL_BSN", identity.dutch, 0, language="nl", rule="test of eleven passed")
_TAX: Final = _Kind("DE_TAX_ID", identity.german_tax, 0, language="de")
_GROUPED_TAX: Final = _Kind("DE_TAX_ID", identity.german_tax, 2.0, " ")
_CPF: Final = _Kind("BR_CPF", identity.brazilian, 3.0, ".-", rule="both check digits right")
_BARE_CPF: Final = _Kind("BR_CPF", identity.brazilian, 0, language="pt", rule="both check digits right")
_PESEL: Final = _Kind("PL_PESEL", identity.pesel, 0, language="pl")
_AADHAAR: Final = _Kind("IN_AADHAAR", identity.aadhaar, 2.0, " ", language="hi")
_BARE_AADHAAR: Final = _Kind("IN_AADHAAR", identity.aadhaar, 0, language="hi")
_PERSONNUMMER: Final = _Kind("SE_PERSONNUMMER", identity.swedish, 3.0, "-", rule="a birth date and a check digit")
_BARE_PERSONNUMMER: Final = _Kind(
    "SE_PERSONNUMMER", identity.swedish, 0, language="sv", rule="a birth date and a check digit"
)
_LONG_PERSONNUMMER: Final = _PERSONNUMMER._replace(alone=2.0, language="sv")
_RRN: Final = _Kind("KR_RRN", identity.korean, 3.0, "-", rule="a birth date and a century")
_BARE_RRN: Final = _Kind("KR_RRN", identity.korean, 0, language="ko", rule="a birth date and a century")
_NIR: Final = _Kind("FR_NIR", identity.nir, 3.1, " .-", rule="key of two digits right")
_CHINESE: Final = _Kind("CN_ID", identity.chinese, 3.1, " ", rule="a birth date and a check character")

_SHAPES: Final[dict[tuple[int, ...], tuple[_Kind, ...]]] = {
    (16,): (_CARD,), (4, 4, 4, 4): (_CARD,), (15,): (_CARD, _NIR), (4, 6, 5): (_CARD,), (14,): (_CARD,), (4, 6, 4): (_CARD,),
    (13,): (_LONG_CARD, _BARE_RRN), (17,): (_LONG_CARD,), (18,): (_CHINESE, _LONG_CARD), (19,): (_LONG_CARD,),
    (4, 4, 4, 4, 3): (_CARD,), (4, 4, 4, 3): (_CARD,), (4, 4, 5): (_LONG_CARD,), (6, 13): (_LONG_CARD,), (8, 8): (_LONG_CARD,),
    (3, 2, 4): (_SSN,), (3, 3, 3): (_BARE_SSN, _BSN, _PASSPORT), (9,): (_BARE_SSN, _BSN, _PASSPORT),
    (4, 2, 3): (_BSN,), (2, 3, 4): (_BSN,), (3, 2, 2, 2): (_BSN,), (8, 1): (_BSN,), (2, 2, 2, 3): (_BSN,), (4, 3, 2): (_BSN,),
    (11,): (_PESEL, _BARE_CPF, _TAX), (2, 3, 3, 3): (_GROUPED_TAX,), (3, 4, 4): (_TAX,), (2, 9): (_TAX,),
    (3, 3, 5): (_TAX, _PESEL), (3, 3, 3, 2): (_CPF, _TAX), (9, 2): (_CPF,), (6, 5): (_PESEL,), (2, 2, 2, 5): (_PESEL,),
    (4, 4, 4): (_AADHAAR, _LONG_CARD), (12,): (_BARE_AADHAAR, _LONG_PERSONNUMMER, _LONG_CARD),
    (6, 4): (_PERSONNUMMER,), (8, 4): (_PERSONNUMMER,), (10,): (_BARE_PERSONNUMMER,),
    (6, 7): (_RRN,), (1, 2, 2, 2, 3, 3, 2): (_NIR,), (13, 2): (_NIR,), (1, 2, 2, 2, 3, 5): (_NIR,), (1, 2, 2, 2, 6, 2): (_NIR,),
    (1, 4, 2, 3, 3, 2): (_NIR,), (6, 8, 4): (_CHINESE,), (6, 4, 4, 4): (_CHINESE,), (3, 3, 4, 4, 4): (_CHINESE,),
}  # fmt: skip
_LONGEST: Final = max(map(len, _SHAPES))


class Personal:
    """Finds 22 kinds of structured personal data in 17 languages, and addresses with a password in them as URL.

    Stateless, safe in threads, linear in the text: 0.1 to 0.6 ms of CPU time for a kilobyte. The tables are made on first use.
    """

    def find(self, text: str, *, language: str = "") -> list[Finding]:
        return _Reading(_plain(text), text, language).findings()


class _Reading:
    """One text on its way through the rules."""

    def __init__(self, plain: str, text: str, language: str) -> None:
        self.plain = plain
        self.text = text
        self.language = language.lower().replace("_", "-").partition("-")[0]
        self.found: list[Finding] = []
        self.blocked: list[tuple[int, int]] = []  # what is neither to be read again nor reported
        self.words: list[Label] = []
        self.starts: list[int] = []
        self.ends: list[int] = []
        self.spoken: tuple[str, ...] = ()
        self.table = Table(plain, ())
        self.asked = (-1, -1, False)  # the last place that was looked around, and what was said there
        self.answer = _Said()

    def findings(self) -> list[Finding]:
        plain = self.plain
        if "@" in plain:
            self.found += mails(plain)
            self.blocked += [(finding.start, finding.end) for finding in self.found]
        tokens = [match.span() for match in _TOKEN.finditer(plain)]
        if tokens or ":" in plain:
            if len(tokens) > 2 or any(end - start > 1 for start, end in tokens):
                self.words = labels(plain)
                self.starts = [label.start for label in self.words]
                self.ends = [label.end for label in self.words]
                self.table = Table(plain, self.words)
            if "://" in plain:
                self.blocked += [match.span() for match in _URL.finditer(plain)]
            self._networks()
            self.found += births(plain, self.words, self.table)
            self._numbers(tokens)
        return self._settled()

    def _settled(self) -> list[Finding]:
        """In order, and of those that overlap the one that is surer."""
        kept: list[Finding] = []
        for finding in sorted(self.found, key=lambda finding: (finding.start, -finding.end)):
            if kept and finding.start < kept[-1].end:
                if finding.score > kept[-1].score:
                    kept[-1] = finding
                continue
            kept.append(finding)
        return kept

    # ------------------------------------------------------------ network

    def _networks(self) -> None:
        plain = self.plain
        if _DASHED.search(plain) or any("MAC_ADDRESS" in label.kinds for label in self.words):
            for match in _MAC.finditer(plain):
                bare = match[0].replace("-", "").replace(".", "")
                weak = bare.isdigit() or "." in match[0]  # 20-23-11-04-12-30
                if not weak or "MAC_ADDRESS" in self._said(*match.span()).kinds:
                    self._device(*match.span(), bare)
        if _TWO_COLONS.search(plain):
            for match in _COLONS.finditer(plain):
                if match.end() - match.start() == 17 and _PAIRS.fullmatch(match[0]):
                    self._device(*match.span(), match[0].replace(":", ""))
                else:
                    self._ipv6(match)
        if _TWO_DOTS.search(plain):
            for match in _IPV4.finditer(plain):
                self._ipv4(match)

    def _device(self, start: int, end: int, bare: str) -> None:
        self.blocked.append((start, end))
        if len(set(bare)) > 1:  # not 00:00:00:00:00:00, ff:ff:ff:ff:ff:ff
            self._add("MAC_ADDRESS", start, end, 0.99, "six pairs of hexadecimal digits")

    def _ipv6(self, match: re.Match[str]) -> None:
        address = match[0].rstrip(".")
        if address.count(":") < 2:
            return
        if address.endswith(":") and not address.endswith("::"):
            address = address[:-1]
        try:
            packed = socket.inet_pton(socket.AF_INET6, address)
        except (OSError, UnicodeError):
            return
        start, end = match.start(), match.start() + len(address)
        self.blocked.append((start, end))
        if packed in (bytes(16), bytes(15) + b"\x01"):
            return
        short = len(address) < 7 or not any(letter.isdigit() for letter in address)
        if short and "IP_ADDRESS" not in self._said(start, end).kinds:
            return
        self.found.append(Finding("IP_ADDRESS", start, end, 0.99, rule="an IPv6 address"))

    def _ipv4(self, match: re.Match[str]) -> None:
        plain, (start, end) = self.plain, match.span()
        parts = match[0].split(".")
        octets = [int(part) for part in parts]
        before = plain[max(0, start - 2) : start]
        if max(octets) > 255 or any(len(part) > 1 and part[0] == "0" for part in parts):
            return
        if before[-1:] == "." and before[:1].isdigit():
            return
        self.blocked.append((start, end))
        if before == "==" or (before[:1].isalpha() and before[1:] in ("-", "~", "^")):
            return
        if octets[0] == 0 or match[0] == "127.0.0.1" or octets[:3] == [255, 255, 255]:
            return
        said = self._said(start, end, version=True)
        named = "IP_ADDRESS" in said.kinds
        if not named and (
            (VERSION in said.kinds and not said.follows) or (OTHER in said.kinds and said.tight and not said.follows)
        ):
            return
        if not named and max(octets) < 20 and not (octets[0] == 10 and "/" in plain[end : end + 1]):
            return
        rule = f"an IPv4 address{', ' + said.where if named else ''}"
        self.found.append(Finding("IP_ADDRESS", start, end, 0.98 if named else 0.9, rule=rule))

    # ------------------------------------------------------------ numbers

    def _numbers(self, tokens: Sequence[tuple[int, int]]) -> None:
        plain = self.plain
        taken = sorted([*self.blocked, *((finding.start, finding.end) for finding in self.found)])
        at = claim = 0
        done = 0  # everything before it is read
        chain: list[_Group] = []
        while at < len(tokens):
            start, end = tokens[at]
            at += 1
            if start < done:
                continue
            while claim < len(taken) and taken[claim][1] <= start:
                claim += 1
            if claim < len(taken) and taken[claim][0] < end:
                done = max(done, taken[claim][1])
                self._chain(chain)
                chain = []
                continue
            word = plain[start:end]
            if not word.isdigit():
                if extended := _EXTENDED.match(word):
                    word, end = extended[1], start + extended.end(1)
                else:
                    if chain:
                        self._chain(chain)
                        chain = []
                    done = max(done, self._lettered(word, start, end))
                    continue
            if chain and plain[chain[-1].end : start] not in _GAPS:
                self._chain(chain)
                chain = []
            if end - start == 8 and plain[end : end + 1] == "-" and (uuid := _UUID.match(plain, start)):
                self._chain(chain)
                chain, done = [], uuid.end()
                continue
            chain.append(_Group(start, end))
        self._chain(chain)

    def _add(self, type_: str, start: int, end: int, score: float, rule: str) -> int:
        self.found.append(Finding(type_, start, end, score, rule=rule))
        return end

    def _lettered(self, word: str, start: int, end: int) -> int:
        """A word of letters and digits. Returns where reading goes on."""
        plain, size = self.plain, end - start
        if size == 8 and plain[end : end + 1] == "-" and (uuid := _UUID.match(plain, start)):
            return uuid.end()
        if size >= 4 and word[:2].isalpha() and word[2:4].isdigit() and (finished := self._account(word, start)):
            return finished
        if size == 16 and identity.fiscal_code(word):
            return self._add("IT_FISCAL_CODE", start, end, 1.0, "codice fiscale, check letter right")
        if size == 5 and word[2].isalpha():
            spaced = _FISCAL_SPACED.match(plain, max(0, start - 8))
            if spaced and spaced.end() > end and identity.fiscal_code(spaced[0].replace(" ", "")):
                return self._add("IT_FISCAL_CODE", *spaced.span(), 1.0, "codice fiscale, check letter right")
        if size == 9 and (finished := self._nine(word, start, end)):
            return finished
        if 4 <= size <= 9 and word[:2].isalpha() and word[2:4].isdigit():
            match = _NINO.match(plain, start)
            if match and (finished := self._insurance(match)):
                return finished
        if size == 18 and word[:17].isdigit() and word[17] in "Xx" and identity.chinese(word):
            return self._add("CN_ID", start, end, 1.0, "CN_ID: a birth date and a check character")
        if word in ("2A", "2B", "2a", "2b") or (size == 15 and word[5:7].upper() in ("2A", "2B")):
            for back in (0, 5, 6, 7, 8):
                match = _CORSICAN.match(plain, start - back) if start >= back else None
                if match and match.end() >= end and identity.nir(match[0].replace(" ", "")):
                    return self._add("FR_NIR", *match.span(), 1.0, "FR_NIR: key of two digits right")
        if 14 <= size <= 90 and (kind := identity.wallet(word)):
            return self._add("CRYPTO", start, end, 0.99, kind)
        return end

    def _account(self, word: str, start: int) -> int:
        plain = self.plain
        length = identity.IBAN_LENGTHS.get(word[:2].upper(), 0)
        if len(word) > length:
            return 0
        match = _account_of(length).match(plain, start)
        if match is None:
            return 0
        if not identity.bank_account(match[0].replace(" ", "").replace("-", "")):
            return match.end() if len(word) == length else 0
        return self._add("IBAN_CODE", start, match.end(), 1.0, "IBAN, check digits right")

    def _nine(self, word: str, start: int, end: int) -> int:
        if word[:8].isdigit() or (word[0] in "XYZxyz" and word[1:8].isdigit() and word[8].isalpha()):
            if identity.nif(word):
                said = self._said(start, end)
                if not (OTHER in said.kinds and said.tight and not said.follows) and not self._coded(start):
                    return self._add("ES_NIF", start, end, 0.95, "DNI or NIE, letter right")
        elif word[0].isalpha() and word[1:].isdigit():
            said = self._said(start, end)
            if "US_PASSPORT" in said.kinds:
                return self._add("US_PASSPORT", start, end, 0.9, f"a letter and eight digits, {said.where}")
        return 0

    def _insurance(self, match: re.Match[str]) -> int:
        said = self._said(*match.span())
        bare = match[0].replace(" ", "").replace("-", "")
        named = "UK_NINO" in said.kinds
        if not named and (not identity.nino(bare) or bare != bare.upper()):
            return 0
        if not named and (self._coded(match.start()) or (OTHER in said.kinds and said.tight)):
            return 0
        rule = (
            "a prefix and suffix that are given out"
            if not named
            else f"two letters, six digits, a letter, {said.where}"
        )
        return self._add("UK_NINO", match.start(), match.end(), 0.97 if named else 0.85, rule)

    def _coded(self, start: int) -> bool:
        """Whether it is the tail of a code: "SO-29387466", "ref#123", "a_1"."""
        before = self.plain[max(0, start - 2) : start]
        if before[-1:] in ("_", "#"):
            return True
        return before[-1:] in ("-", "/") and len(before) == 2 and before[0].isascii() and before[0].isalnum()

    # ------------------------------------------------------------ chains of digits

    def _chain(self, groups: list[_Group]) -> None:
        """Read a chain from left to right: the surest thing at each place, then on behind it."""
        if not groups or groups[-1].end - groups[0].start < 6 + (len(groups) == 1):
            return  # no number of anybody is as short
        plain = self.plain
        at, fresh = 0, True  # fresh: a phone number may begin here
        while at < len(groups):
            lengths = tuple([end - start for start, end in groups[at : at + _MOST_GROUPS]])
            if lengths[:4] == (1, 1, 1, 1):
                at, fresh = at + 3, False
                continue
            if lengths[:3] in _DATE_SHAPES and self._is_date(groups[at : at + 3]):
                at, fresh = at + 3, True
                continue
            best: _Offer | None = None
            for size in range(min(len(lengths), _LONGEST), 0, -1):
                for kind in _SHAPES.get(lengths[:size], ()):
                    offer = self._offer(kind, groups, at, size)
                    if offer and (best is None or offer[:2] > best[:2]):
                        best = offer
            if lengths[:1] in ((8,), (7,)) or lengths[:3] in ((2, 3, 3), (1, 3, 3)) or lengths[:3] == (2, 2, 2):
                offer = self._half_lettered(groups, at, lengths)
                if offer and (best is None or offer[0] > best[0]):
                    best = offer
            if fresh and (best is None or best[0] < 3.5):
                offer = self._phone(groups, at)
                if offer and (best is None or offer[0] > best[0]):
                    best = offer
            if best is None:
                at += 1
                fresh = at < len(groups) and plain[groups[at].start - 1 : groups[at].start + 1] in (" 0", "(0")
                continue
            rank, taken, type_, start, end, rule = best
            self._add(type_, start, end, min(1.0, 0.6 + rank / 10), rule)
            at, fresh = at + taken, True

    def _offer(self, kind: _Kind, groups: list[_Group], at: int, size: int) -> _Offer | None:
        plain = self.plain
        first, last = groups[at], groups[at + size - 1]
        digits = "".join([plain[start:end] for start, end in groups[at : at + size]])
        if kind.alone and not kind.check(digits):
            return None
        said = self._said(first.start, last.end)
        wanted = kind.type in said.kinds
        if not (wanted or kind.alone or PERSONAL in said.kinds or (kind.language and self.language == kind.language)):
            return None
        if not kind.alone and not kind.check(digits):
            return None
        gaps = {plain[groups[i].end : groups[i + 1].start] for i in range(at, at + size - 1)}
        start, end = first.start, last.end
        if (at and not _apart(plain[groups[at - 1].end : start], gaps)) or (
            at + size < len(groups) and not _apart(plain[end : groups[at + size].start], gaps)
        ):
            return None
        if start > 1 and plain[start - 1] in ".," and plain[start - 2].isdigit() and not (wanted and said.tight):
            return None
        if wanted:
            return 4.0, size, kind.type, start, end, f"{kind.type}: {kind.rule}, {said.where}"
        if kind.type == "US_PASSPORT":
            return None
        if PERSONAL in said.kinds and said.tight and kind is not _LONG_CARD:
            return 3.4, size, kind.type, start, end, f"{kind.type}: {kind.rule}, {said.where}"
        rank = kind.alone
        if rank and gaps and not all(gap in kind.dashed for gap in gaps):
            rank = 0
        against = OTHER in said.kinds and not said.follows and (said.tight or (kind is _CARD and size == 1))
        named = bool(said.kinds) and OTHER not in said.kinds and VERSION not in said.kinds
        if kind.type == "CREDIT_CARD":
            issuer = identity.card_issuer(digits)
            if not issuer or against:
                return None
            if not gaps and len(digits) == 14:
                rank = 0
            if rank:
                return rank - (0 if gaps else 0.4), size, kind.type, start, end, f"{issuer} card, check digit right"
            return None
        if kind is _LONG_PERSONNUMMER and digits[0] == "2":
            rank = 0  # it may as well be a time: 202403021011
        if kind is _AADHAAR and not self._speaks("hi"):
            rank = 0
        if kind.type == "KR_RRN" and rank and not identity.korean_check(digits):
            rank = 1.8 if self._speaks("ko") else 0
        if rank == 0 and kind.language and self._speaks(kind.language, given=True) and not gaps and not said.kinds:
            rank = 1.4
        if rank < 3 and (against or (OTHER in said.kinds and not gaps) or self._coded(start) or (named and said.tight)):
            return None
        if rank == 0:
            return None
        return rank, size, kind.type, start, end, f"{kind.type}: {kind.rule}"

    def _half_lettered(self, groups: list[_Group], at: int, lengths: tuple[int, ...]) -> _Offer | None:
        """What has a letter apart from its digits: "12.345.678-Z", "X-1234567-L", "AB 12 34 56 C"."""
        plain = self.plain
        if lengths[:3] == (2, 2, 2):
            for back in (3, 2):
                start = groups[at].start - back
                if (
                    start >= 0
                    and (start == 0 or not plain[start - 1].isalnum())
                    and (match := _NINO.match(plain, start))
                ):
                    count = len(self.found)
                    if self._insurance(match):
                        made = self.found[count]
                        del self.found[count:]
                        return 3.6, 3, made.type, made.start, made.end, made.rule
            return None
        size = 1 if lengths[0] > 6 else 3
        start, end = groups[at].start, groups[at + size - 1].end
        letter = _NIF_LETTER.match(plain, end)
        if letter is None:
            return None
        digits = "".join(plain[group.start : group.end] for group in groups[at : at + size])
        if len(digits) == 7:
            prefix = plain[max(0, start - 2) : start]
            if len(prefix) < 2 or prefix[0] not in "XYZxyz" or prefix[1] not in "-. ":
                return None
            digits, start = prefix[0] + digits, start - 2
        whole = digits + letter[1]
        if not identity.nif(whole):
            return None
        said = self._said(start, letter.end())
        if "ES_NIF" not in said.kinds and (
            plain[end] == " " or (OTHER in said.kinds and said.tight) or self._coded(start)
        ):
            return None
        return 3.6, size, "ES_NIF", start, letter.end(), "DNI or NIE, letter right"

    def _is_date(self, groups: list[_Group]) -> bool:
        plain = self.plain
        one, two = plain[groups[0].end : groups[1].start], plain[groups[1].end : groups[2].start]
        if one != two or one not in ("-", ".", "/", " ", ". ") or plain[groups[0].start - 1 : groups[0].start] == "+":
            return False
        numbers = [int(plain[group.start : group.end]) for group in groups]
        year = numbers.pop(0 if groups[0].end - groups[0].start == 4 else 2)
        return 1800 <= year <= 2150 and 1 <= min(numbers) <= 12 and max(numbers) <= 31

    def _phone(self, groups: list[_Group], at: int) -> _Offer | None:
        plain = self.plain
        start = groups[at].start
        if start and plain[start - 1] not in "+( " and self._coded(start):
            behind = plain[start - 1]
            index = bisect_right(self.ends, start - 1) - 1
            if (
                behind != "-"
                or index < 0
                or self.ends[index] != start - 1
                or "PHONE_NUMBER" not in self.words[index].kinds
            ):
                return None
        number = phone(plain, groups, at, self.languages())
        if number is None:
            return None
        said = self._said(number.start, number.end)
        before, after = plain[max(0, number.start - 4) : number.start], plain[number.end : number.end + 7]
        named = "PHONE_NUMBER" in said.kinds
        close = named and said.tight
        if number.rank >= 3:
            if OTHER in said.kinds and said.tight and not said.follows and not number.plus:
                return None
            rank = number.rank + 0.4 * named
        else:
            if not close and _goes_on(before, after):
                return None
            if _UNIT.match(after) or _MONEY.search(before):
                return None
            if _is_code(after) and not self._labelled(number.end + 1):
                return None
            rank = _phone_rank(number, said)
            if not rank:
                return None
        rule = f"{number.rule}, {said.where}" if named else number.rule
        return rank, number.groups, "PHONE_NUMBER", number.start, number.end, rule

    # ------------------------------------------------------------ words beside a number

    def languages(self) -> tuple[str, ...]:
        """The languages a number may be written in: the one that was named, or what the script allows."""
        if not self.spoken:
            self.spoken = (
                (self.language,) if self.language else ("",) if self.plain.isascii() else _by_script(self.plain)
            )
        return self.spoken

    def _speaks(self, language: str, *, given: bool = False) -> bool:
        return self.language == language or (not given and language in self.languages())

    def _said(self, start: int, end: int, *, version: bool = False) -> _Said:
        if (start, end, version) != self.asked:
            self.asked, self.answer = (start, end, version), self._read_around(start, end, version=version)
        return self.answer

    def _labelled(self, place: int) -> bool:
        """Whether a word for phones begins here: "0171 123456-Fax"."""
        index = bisect_left(self.starts, place)
        return index < len(self.starts) and self.starts[index] == place and "PHONE_NUMBER" in self.words[index].kinds

    def _read_around(self, start: int, end: int, *, version: bool) -> _Said:
        other = _Said()
        index = bisect_right(self.ends, start) - 1
        plain = self.plain
        nearest = True
        while index >= 0 and start - self.words[index].end <= _NEAR:
            label = self.words[index]
            index -= 1
            if label.kinds == (VERSION,) and not version:
                continue
            gap = plain[label.end : start]
            tight = gap in _COLON or (_TIGHT.fullmatch(gap) is not None and gap.count("\n") < 3)
            if not tight and _SENTENCE.search(gap):
                break
            used = not tight and _DIGIT.search(gap) is not None
            if _is_against(label.kinds):
                if used or other.kinds:
                    continue
                if tight and nearest and not _is_vague(label.word):
                    return _Said(label.kinds, label.word, tight=True)
                other = _Said(label.kinds, label.word, tight=tight)
                nearest = False
                continue
            if used and len(_DIGIT.findall(gap)) > 4 and not self._same_list(label, gap):
                break
            if other.kinds and other.tight and not _is_vague(other.word):
                break
            return _Said(label.kinds, label.word, tight=tight)
        index = bisect_left(self.starts, end)
        while index < len(self.words) and self.starts[index] - end <= _BEHIND:
            label = self.words[index]
            index += 1
            gap = plain[end : label.start]
            if _SENTENCE.search(gap) or _DIGIT.search(gap):
                break
            if gap.strip() not in ("-", "(", "（", "/") and (
                plain[label.end : label.end + 1] in (":", "=") or _TAKEN.match(plain, label.end)
            ):
                break  # it is the next number's
            if _is_against(label.kinds):
                continue
            if other.tight:
                break
            return _Said(label.kinds, label.word, tight=len(gap) < 4, follows=True)
        above = None if other.kinds else self.table.label(start)
        return _Said(above.kinds, above.word, tight=True) if above else other

    def _same_list(self, label: Label, gap: str) -> bool:
        """Whether the numbers between a label and this one are of the label's kind: "phones: 555-123-4567, 555-123-4568"."""
        return (
            bool(self.found)
            and self.found[-1].type in label.kinds
            and self.found[-1].start >= label.end
            and len(gap) < 45
        )


@cache
def _account_of(length: int) -> re.Pattern[str]:
    return re.compile(rf"[A-Za-z]{{2}}[0-9]{{2}}(?:[ -]?[A-Za-z0-9]){{{length - 4}}}(?![A-Za-z0-9])")


@cache
def _is_against(kinds: tuple[str, ...]) -> bool:
    """Whether a label only says what a number is not."""
    return set(kinds) <= {OTHER, VERSION}


def _phone_rank(number: Number, said: _Said) -> float:
    """How sure it is that this is a phone number, with what the words say; 0 where it is not."""
    if "PHONE_NUMBER" in said.kinds:
        if number.loose and not said.tight and number.digits < 9:
            return 0
        return 3.5 if said.tight else 3.3
    if number.rank <= 1 or (said.kinds and said.tight):
        return 0
    if OTHER in said.kinds:
        return number.rank if number.groups > 1 and number.rank >= 1.8 else 0
    return number.rank if not said.kinds or number.rank >= 2 else 0


def _goes_on(before: str, after: str) -> bool:
    """Whether digits with these around them are a part of a longer number, a price or a time: "1,284.50"."""
    return (before[-1:] in (".", ",", ":") and before[-2:-1].isdigit()) or (
        after[:1] in (".", ",", ":") and after[1:2].isdigit()
    )


def _is_code(after: str) -> bool:
    """Whether what follows makes it a part of a code: "4929-3813-beta"."""
    return after[:1] in ("-", "_") and after[1:2].isascii() and after[1:2].isalpha()


@cache
def _vague() -> frozenset[str]:
    return frozenset(("id", "code", "ref", "record", "entry", "row", "reference", "document", "kod", "kodu", "cod"))


def _is_vague(word: str) -> bool:
    return word.lower() in _vague()


def _apart(gap: str, inner: set[str]) -> bool:
    """Whether a number with such gaps inside ends where this gap begins."""
    return (
        gap not in inner and gap not in ("-", ".", "/") if inner else gap in (" ", "  ", "\t", " / ", " - ", "/", ". ")
    )


@cache
def _scripts() -> tuple[tuple[re.Pattern[str], str], ...]:
    return tuple(
        (re.compile(f"[{first}-{last}]"), language)
        for first, last, language in (
            ("\uac00", "\ud7a3", "ko"), ("\u3040", "\u30ff", "ja"), ("\u4e00", "\u9fff", "zh"), ("\u0600", "\u06ff", "ar"),
            ("\u0900", "\u097f", "hi"), ("\u0400", "\u04ff", "ru"),
        )
    )  # fmt: skip


def _by_script(plain: str) -> tuple[str, ...]:
    found = tuple(language for pattern, language in _scripts() if pattern.search(plain))
    return found or ("",)
