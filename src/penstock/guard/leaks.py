"""Whether an answer tells what it must not: a marker word for word in any of its disguises, or much of the instructions.

`Leaks` watches a stream and stops it. It reads letters and digits only, without case, accents and look-alikes, so that
spacing, dots between letters and leetspeak change nothing; encodings are looked for as they would be written.
`leaked` judges a whole answer, in other words too. Translations are beyond both.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import math
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, NamedTuple
from urllib.parse import unquote

from penstock.guard.outlet import HELD

__all__ = ["Leaks", "Told", "leaked"]

HELD_COPY: Final = 40  # characters that are held back at most, of what may become a copy
GRAM: Final = 20  # letters and digits that are compared at once
STEP: Final = 4
GAP: Final = 8  # letters that may differ between two stretches of one copy
COPY: Final = 60  # letters of a copy that is one; about twelve words
ENCODED_COPY: Final = 32
SHARE: Final = 0.5  # of the instructions, told in pieces
SHORTEST_MARKER: Final = 6

_ALIKE: Final = dict(zip(
    "0134579@$lаеорсухікмтвнԁѕјαορνικεтγυ", "oieastgasiaeopcyxikmtbhdsjaopviketyu", strict=True,
))  # fmt: skip


class _Folds(dict[int, str]):
    """A character as it is compared: a small letter or digit without disguise, or nothing."""

    def __missing__(self, code: int) -> str:
        sign = chr(code)
        plain = unicodedata.normalize("NFKD", sign)[:1].lower()[:1]
        plain = _ALIKE.get(plain, plain)
        plain = plain if plain.isalnum() else ""
        if len(self) < 20_000:
            self[code] = plain
        return plain


_FOLDS: Final = _Folds()


def folded(text: str) -> str:
    return text.translate(_FOLDS)


def _encodings(data: bytes) -> Iterator[str]:
    """How bytes look encoded, wherever in a longer text they stand."""
    yield data.hex()
    for shift, first in ((0, 0), (1, 2), (2, 3)):
        usable = (shift + len(data)) // 3 * 4
        yield base64.b64encode(b"\0" * shift + data).decode()[first:usable]


@lru_cache(maxsize=64)
def _forms(marker: str) -> tuple[str, ...]:
    """A marker in every disguise, folded."""
    found = {
        folded(marker),
        folded(marker[::-1]),
        folded(codecs.encode(marker, "rot13")),
        folded(codecs.encode(marker, "rot13")[::-1]),
    }
    found.add(
        folded(
            marker.translate(
                {**{ord("a") + n: ord("z") - n for n in range(26)}, **{ord("A") + n: ord("Z") - n for n in range(26)}}
            )
        )
    )
    for written in {marker, marker.lower(), marker.upper(), marker[::-1]}:
        data = written.encode("utf-8", "replace")
        found |= {folded(form) for form in _encodings(data)}
        found.add(folded(base64.b32encode(data).decode().rstrip("=")[: len(data) * 8 // 5]))
        found.add(folded(base64.b85encode(data).decode()))
        for coded in (
            "".join(f"{byte:d}" for byte in data),
            "".join(f"{byte:o}" for byte in data),
            "".join(f"{byte:08b}" for byte in data),
        ):
            found.add(folded(coded))
        twice = base64.b64encode(data)
        found.add(folded(base64.b64encode(twice).decode().rstrip("=")[: len(twice) // 3 * 4]))
    return tuple(sorted(form for form in found if len(form) >= SHORTEST_MARKER))


@lru_cache(maxsize=64)
def _prefixes(marker: str) -> frozenset[str]:
    return frozenset(form[:size] for form in _forms(marker) for size in range(1, len(form) + 1))


class _Guarded(NamedTuple):
    plain: dict[str, int]  # stretches of the instructions, and the number of each
    coded: frozenset[str]  # of what they look like encoded
    copy: int
    size: int


@lru_cache(maxsize=16)
def _guarded(protected: tuple[str, ...]) -> _Guarded:
    plain: dict[str, int] = {}
    coded: set[str] = set()
    size = 0
    for text in protected:
        text = text[:50_000]
        letters = folded(text)
        size += len(letters)
        for number in range(0, len(letters) - GRAM + 1, STEP):
            plain.setdefault(letters[number : number + GRAM], len(plain))
        others = [
            letters[::-1],
            folded(codecs.encode(text, "rot13")),
            *map(folded, _encodings(text.encode("utf-8", "replace"))),
        ]
        for other in others:
            coded |= {other[n : n + GRAM] for n in range(0, len(other) - GRAM + 1, STEP)}
    return _Guarded(plain, frozenset(coded - plain.keys()), max(24, min(COPY, int(size * 0.6))), size)


class Told(NamedTuple):
    """What was told and where: text[start:end] of the stream."""

    kind: str  # CANARY or LEAK
    start: int
    end: int
    rule: str


class Leaks:
    """Watches one stream. Once something is told, nothing more may leave."""

    def __init__(self, protected: Sequence[str] = (), markers: Sequence[str] = ()) -> None:
        self.told: Told | None = None
        self._guarded = _guarded(tuple(protected))
        forms = {form for marker in markers for form in _forms(marker)}
        self._forms = forms
        self._longest = max(map(len, forms), default=0)
        self._prefixes = frozenset().union(*map(_prefixes, markers))
        self._firsts = re.compile(f"[{re.escape(''.join({form[0] for form in forms}))}]") if forms else None
        self._begun: list[int] = []  # letters at which a marker may have begun, counted from the first of all
        self._matched = 0  # letters that were matched with markers
        self._idle = not self._forms and not self._guarded.plain
        self.sure = 0  # up to here in the stream nothing is told
        self._size = 0  # of the stream as far as it came
        self._letters, self._before = "", 0  # folded, and how many letters went before them
        self._places: list[int] = []  # of each of those letters in the stream
        self._seen = 0  # letters that were compared
        self._run = (0, -1, 0, -1)  # first letter and last hit of the copy that goes on: plain, encoded
        self._hits: set[int] = set()

    def feed(self, text: str) -> None:
        """Read on."""
        start = self._size
        self._size += len(text)
        if self._idle:
            self.sure = self._size
            return
        if self.told or not text:
            return
        kept = text.translate(_FOLDS)
        if len(kept) == len(text):
            self._places += range(start, start + len(text))
        else:
            self._places += [start + n for n, sign in enumerate(text) if _FOLDS[ord(sign)]]
        self._letters += kept
        self._look()
        self.sure = max(self.sure, self.told.start if self.told else self._hold(self._size))
        self._forget()

    def close(self) -> None:
        """Nothing comes after this."""
        if not self.told:
            self.sure = self._size

    def tells(self, text: str) -> bool:
        """Whether a short text by itself, such as an address, has something of what must not be told."""
        if self._idle:
            return False
        letters = folded(text)
        if any(form in letters for form in self._forms):
            return True
        known = self._guarded
        return any(
            letters[n : n + GRAM] in known.plain or letters[n : n + GRAM] in known.coded
            for n in range(len(letters) - GRAM + 1)
        )

    def _look(self) -> None:
        """Compare the letters that are new."""
        both = [found for found in (self._marker(), self._copy()) if found]
        self.told = min(both, key=lambda found: found.end) if both else None

    def _marker(self) -> Told | None:
        if self._firsts is None:
            return None
        letters, before, prefixes, begun = self._letters, self._before, self._prefixes, self._begun
        at, size = self._matched - before, len(self._letters)
        while at < size:
            if not begun:
                found = self._firsts.search(letters, at)
                if found is None:
                    break
                at = found.start()
            still = []
            for start in (*begun, at + before):
                written = letters[start - before : at + 1]
                if written in prefixes:
                    still.append(start)
                    if written in self._forms:
                        first, end = self._places[start - before], self._places[at] + 1
                        return Told("CANARY", max(first, end - HELD), end, "a marker of the instructions")
            begun = still
            at += 1
        self._begun, self._matched = begun, size + before
        return None

    def _copy(self) -> Told | None:
        known = self._guarded
        if not known.plain:
            return None
        letters, plain, coded = self._letters, known.plain, known.coded
        first, last, coded_first, coded_last = self._run
        at = self._seen - self._before
        stop = len(letters) - GRAM + 1
        for n in range(at, stop):
            gram = letters[n : n + GRAM]
            here = n + self._before
            number = plain.get(gram)
            if number is not None:
                if last < 0 or here - last > GAP:
                    first = here
                last = here
                self._hits.add(number)
                enough = last + GRAM - first >= known.copy
                if enough or (len(self._hits) * STEP >= SHARE * known.size and len(self._hits) * STEP >= known.copy):
                    return self._copied(first, here, "repeats the instructions")
            elif gram in coded:
                if coded_last < 0 or here - coded_last > GAP:
                    coded_first = here
                coded_last = here
                if coded_last + GRAM - coded_first >= ENCODED_COPY:
                    return self._copied(coded_first, here, "repeats the instructions in disguise")
        self._seen = max(self._seen, stop + self._before)
        self._run = (first, last, coded_first, coded_last)
        return None

    def _copied(self, first: int, last: int, rule: str) -> Told:
        """The first stretch of a copy has left by the time it is known for one."""
        end = self._places[last + GRAM - 1 - self._before] + 1
        beyond = max(0, first + GRAM - self._before)
        start = self._places[beyond] if beyond < len(self._places) and first + GRAM <= last + GRAM - 1 else end
        return Told("LEAK", max(start, end - HELD_COPY), end, rule)

    def _hold(self, end: int) -> int:
        """From where on nothing leaves yet."""
        hold = max(self._places[self._begun[0] - self._before], end - HELD) if self._begun else end
        first, last, coded_first, coded_last = self._run
        known = self._before + len(self._letters)
        for begin, final in ((first, last), (coded_first, coded_last)):
            if final >= 0 and known - (final + GRAM) <= GAP:
                spot = begin + GRAM - 1 - self._before
                hold = min(hold, max(self._places[spot] + 1 if spot >= 0 else 0, end - HELD_COPY))
        return hold

    def _forget(self) -> None:
        keep = max(self._longest, COPY + 3 * GRAM) + 16
        if len(self._letters) > 4 * keep:
            drop = len(self._letters) - keep
            self._letters, self._places = self._letters[drop:], self._places[drop:]
            self._before += drop


# ---------------------------------------------------------------- whole answers

_WORD: Final = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_BLOB: Final = re.compile(r"[A-Za-z0-9+/_-]{16,}={0,2}|(?:[0-9a-fA-F]{2}[ :]?){12,}")
_COMMON: Final = frozenset(
    "a about after all also always am an and any are as at be because been before but by can cannot could did do "
    "does for from had has have he her his how "
    "i if in into is it its just like may me more must my never no not of on only or other our out over please "
    "should so some such than that the their them "
    "then there these they this to too under up use used user users very was we were what when where which while "
    "who will with would you your yes let "
    "help answer answers question questions assistant ai model here make sure get want need know tell ask asked "
    "via per each".split()
)
_ABOUT_ITSELF: Final = re.compile(  # in an answer: that it has instructions, or what they are
    r"\b(?:my|these|the|initial|system|hidden|original|secret|internal) (?:\w+ )?"
    r"(?:instructions?|prompt|guidelines|directives?|rules|configuration|setup|orders)\b|"
    r"\b(?:i(?:'m| am| was| have been|'ve been)|they|you|who)(?: \w+)? "
    r"(?:instructed|told|asked|configured|programmed|set up|supposed|directed|ordered|given)\b|"
    r"\b(?:system message|text above|message above|i must (?:never|not))\b|^\W*(?:\w+ )?(?:rules|instructions|"
    r"system prompt)\b|"
    r"\b(?:meine|interne|geheime) (?:\w+ )?(?:anweisung|regel|vorgabe|instruktion)\w*|\bmir wurde (?:gesagt|"
    r"aufgetragen)|\bich soll\b|"
    r"\b(?:mes|les) (?:consignes|instructions|règles)\b|\bon m'a (?:dit|demandé)|\bmis instrucciones\b|"
    r"\bme (?:han dicho|pidieron)\b|"
    r"\b(?:minhas|as) instruções\b|\ble mie istruzioni\b|\bmijn (?:instructies|regels)\b|мои инструкции|我的(?:指令|规则|"
    r"提示)|私の指示",
    re.IGNORECASE | re.MULTILINE,
)
_CONFIDENTIAL: Final = re.compile(  # in the instructions: that something is not to be told
    r"\b(?:never|not|don't|nor) (?:be )?(?:\w+ )?(?:tell|say|mention|reveal|share|shared|disclose|disclosed|name|"
    r"expose|leak|repeat|give \w+ away|give away)\b|"
    r"\b(?:only|just) (?:be )?(?:used |known |seen )?(?:by|for|to) (?:\w+ )?(?:staff|employees|us|partners|"
    r"admins?)\b|\bno (?:reveles|digas|menciones|compartas)\b|"
    r"\b(?:secret|confidential|internal|hidden|private|classified)\b|\bgeheim\w*|\bintern\w*|\b(?:nenne|verrate|"
    r"sage)\w* nie|nicht verraten|"
    r"\bconfidentiel\w*|\bne (?:\w+ )?jamais (?:dire|révéler|mentionner)|\bconfidencial\w*|\bsecret[oa]s?\b|"
    r"\bsegredo\b|\briservat\w*|секрет|机密|秘密",
    re.IGNORECASE,
)
_DISTINCT: Final = re.compile(
    r"(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[\w-]{4,}|(?<![\d.,-])\d{4,}(?![\d.,-]\d)|"
    r"(?<![.!?:] )(?<!^)\b[A-ZÀ-Þ][a-zß-ɏ]+ [A-ZÀ-Þ][a-zß-ɏ]+\b"
)


def _stem(word: str) -> str:
    for ending in (
        "ational",
        "ations",
        "ation",
        "ingly",
        "ments",
        "ment",
        "ings",
        "ing",
        "edly",
        "ies",
        "ied",
        "ers",
        "er",
        "ed",
        "es",
        "ly",
        "s",
        "e",
    ):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)]
    return word


def _words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def _content(words: Sequence[str]) -> list[str]:
    return [_stem(word) for word in words if word not in _COMMON and (len(word) > 2 or word.isdigit())]


def _views(output: str) -> Iterator[str]:
    """The answer, and what it says under its disguises."""
    yield output
    yield output[::-1]
    yield codecs.encode(output, "rot13")
    if "%" in output:
        yield unquote(output)
    if re.search(r"(?:\b\w[ .\-_*]){8,}", output):
        gaps = re.sub(r"(?<=\w)[ .\-_*](?=\w\b)", "", output)
        yield re.sub(r"[ .\-_*]{2,}", " ", gaps)
    leet = output.translate(str.maketrans("013457@$", "oieastas"))
    if leet != output:
        yield leet
    joined = re.sub(r"(?<=[A-Za-z0-9+/])\s*\n\s*(?=[A-Za-z0-9+/])", "", output)
    decoded = []
    for blob in _BLOB.findall(joined)[:64]:
        bare = re.sub(r"[ :]", "", blob)
        try:
            data = (
                bytes.fromhex(bare)
                if re.fullmatch(r"(?:[0-9a-fA-F]{2})+", bare)
                else base64.b64decode(
                    bare.rstrip("=").replace("-", "+").replace("_", "/") + "=" * (-len(bare.rstrip("=")) % 4)
                )
            )
        except (ValueError, binascii.Error):
            continue
        decoded.append(data.decode("utf-8", "ignore"))
    if decoded:
        whole = " ".join(decoded)
        yield whole
        yield codecs.encode(whole, "rot13")
        yield whole[::-1]


def _overlap(view: str, protected: str) -> float:
    """How sure it is that one view of an answer tells the instructions."""
    words, theirs = _words(view), _words(protected)
    if len(theirs) < 3:
        return 1.0 if theirs and " ".join(theirs) in " ".join(words) else 0.0
    shingles = {tuple(theirs[n : n + 3]) for n in range(len(theirs) - 2)}
    copied = len(shingles & {tuple(words[n : n + 3]) for n in range(len(words) - 2)})
    enough = copied > 3 or copied >= 0.5 * len(shingles)
    verbatim = min(1.0, copied / min(len(shingles), 30) * 1.25) if enough else 0.0
    wanted, said = set(_content(theirs)), _content(words)
    common = wanted & set(said)
    confided = _confided(view, protected)
    if len(common) < 2 and not confided:
        return verbatim
    contained = len(common) / max(1, len(wanted))
    focus = sum(word in wanted for word in said) / max(1, len(said))
    rules = [rule for rule in (set(_content(_words(sentence))) for sentence in _sentences(protected)) if len(rule) > 1]
    breadth = sum(len(rule & common) >= max(2, 0.35 * len(rule)) for rule in rules) / max(1, len(rules))
    itself = _ABOUT_ITSELF.search(view) is not None
    sure = 2.4 * contained + 2.8 * focus + 3.3 * breadth + itself * (2.9 + 1.7 * focus) + 2.2 * confided - 4.2
    return max(verbatim, 1 / (1 + math.exp(-sure)))  # weights fitted on a dozen prompts, leaving each out in turn


def _confided(view: str, protected: str) -> bool:
    """Whether a name or number is told that the instructions call confidential."""
    said = view.casefold()
    return any(
        found[0].casefold() in said
        for sentence in _sentences(protected)
        if _CONFIDENTIAL.search(sentence)
        for found in _DISTINCT.finditer(sentence)
    )


def leaked(output: str, protected: str) -> float:
    """How sure it is that a whole answer tells what the instructions say, 0 to 1; 0.5 is where it counts.

    In other words too, as far as they keep the names, numbers and most nouns. Takes some milliseconds.
    """
    output, protected = output[:100_000], protected[:20_000]
    if not output.strip() or not protected.strip():
        return 0.0
    return max(_overlap(view, protected) for view in _views(output))


def _sentences(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<=[.!?。！？])\s+|\n+", text) if len(part.strip()) > 12] or [
        text.strip()[:2000]
    ]
