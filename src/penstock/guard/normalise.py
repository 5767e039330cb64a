"""What a text says to a model that reads past its disguise: look-alike letters, invisible ones, spacing, encodings.

The result is a set of views. The first is the whole text in plain letters, without accents; the others are what was
decoded in it. Every view knows where in the original each of its characters came from. Nothing here judges: a
detector reads the views. The work is linear in the text, and what is decoded is bounded.
"""

from __future__ import annotations

import base64
import binascii
import html
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import unquote

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Normalised", "View", "language_likeness", "normalised"]

LAYERS = 3  # of one encoding inside another
MOST_VIEWS = 24
LONGEST_BLOB = 65_536  # characters of one encoded stretch; the rest of a longer one is left undecoded

_Edit = tuple[int, int, str]  # a stretch of a view, and what it says


@dataclass(frozen=True, slots=True)
class View:
    """One reading of a text. how names the layers that were taken off, outermost first; () is the plain view."""

    text: str
    how: tuple[str, ...]
    starts: NDArray[np.int32]  # of each character: where it begins in the original
    ends: NDArray[np.int32]  # and where it ends there

    def span(self, start: int, end: int) -> tuple[int, int]:
        """The stretch of the original that text[start:end] came from."""
        if not len(self.starts):
            return 0, 0
        first, last = min(start, len(self.starts) - 1), min(max(end, start + 1), len(self.starts))
        return int(self.starts[first:last].min()), int(self.ends[first:last].max())


@dataclass(frozen=True, slots=True)
class Normalised:
    original: str
    views: tuple[View, ...]  # the plain one first
    hidden: int  # characters of the original that no reader sees

    @property
    def plain(self) -> View:
        return self.views[0]


def normalised(text: str) -> Normalised:
    """Read a text as plain letters, and whatever is encoded, spaced out, reversed or hidden in it."""
    plain, hidden = _plain(text)
    views, seen, left = [plain], {plain.text}, 2 * len(text) + 8192
    waiting = [(view, 1) for view in _smuggled(text)] if not text.isascii() else []
    waiting = [(view, 1) for view in _readings(plain)] + waiting
    while waiting and len(views) <= MOST_VIEWS:
        view, layer = waiting.pop(0)
        left -= len(view.text)
        if left < 0:
            break
        if view.text in seen or not view.text.strip():
            continue
        seen.add(view.text)
        views.append(view)
        if layer < LAYERS:
            waiting += [(deeper, layer + 1) for deeper in _readings(view)]
    return Normalised(text, tuple(views), hidden)


# ---------------------------------------------------------------- letters

# What looks like a Latin letter and is none, beyond what NFKC and accents settle. Pairs: the letter, its look-alikes.
_ALWAYS = (
    "aɑᴀɐ bʙᖯ cᴄↄ dᴅɖɗ eᴇǝɛ fꜰƒ gɢɡ hʜɦ iɪıɩ jᴊʝ kᴋ lʟɭłƚ mᴍɱ nɴŋɲ oᴏøɵ pᴘ qꞯ rʀɹɾ sꜱʂ tᴛʈŧ uᴜʊ vᴠʋ wᴡ xᕁ yʏƴ zᴢʐƶ "
    "AᎪꓮ BᏴꓐ CᏟꓚ DᎠꓓ EᎬꓰ FꓝᖴϜ GᏀꓖ HᎻꓧ IᏆꓲ JᎫꓙ KᏦꓗ LᏞꓡŁ MᎷꓟ NꓠŊ OꓳØ PᏢꓑ RᎡꓣ SᏚꓢ TᎢꓔŦ UꓴՍ VᏙꓦ WᎳꓪ XꓫᚷƵ YᎩꓬ ZᏃꓜ"
)
_MIXED = (  # Cyrillic, Greek and Armenian: letters of their own, unless they stand among Latin ones
    "aаα bьЬ cсϲ dԁ eеєε gԍց hһհ iіιїі jјϳ kкκ lӏⅼ mм nпη oоοօσ pрρ qԛգ rгѓ sѕ tтτ uυս vѵν wԝωш xхχ yуγү zᴢ "
    "AАΑ BВΒ CСϹ EЕΕ HНΗ IІΙӀ JЈ KКΚ MМΜ NΝ OОΟՕ PРΡ SЅՏ TТΤ XХΧ YУΥҮ ZΖ"
)
_UNSEEN = set("\u00ad\u034f\u115f\u1160\u17b4\u17b5\u3164\uffa0\u180b\u180c\u180d\u180e\ufffc")


class _Letters(dict[str, str]):
    """Character -> what it reads as; filled as characters are met."""

    def __missing__(self, character: str) -> str:
        self[character] = read = _read(character)
        return read


def _read(character: str) -> str:
    code, category = ord(character), unicodedata.category(character)
    if category in ("Cf", "Cs") or character in _UNSEEN or 0xFE00 <= code <= 0xFE0F or 0xE0000 <= code <= 0xE0FFF:
        return ""
    if category == "Cc":
        return character if character in "\t\n\r" else ""
    if category == "Zs" or character == "\u2800":
        return " "
    if category in ("Zl", "Zp"):
        return "\n"
    if 0x1F1E6 <= code <= 0x1F1FF:
        return chr(code - 0x1F1E6 + ord("a"))  # regional indicators
    for first in (0x1F150, 0x1F170):  # negative circled, negative squared
        if first <= code < first + 26:
            return chr(code - first + ord("a"))
    if 0x300 <= code <= 0x36F or 0x1AB0 <= code <= 0x1AFF or 0x20D0 <= code <= 0x20FF or 0x64B <= code <= 0x652:
        return ""  # accents, and the vowel signs that Arabic may leave out
    folded = unicodedata.normalize("NFKC", character)
    apart = unicodedata.normalize("NFD", folded)
    if apart != folded and ("a" <= apart[0].lower() <= "z" or "\u0370" <= apart[0] <= "\u03ff"):
        folded = "".join(c for c in apart if not unicodedata.combining(c))
    return _LIKE.get(folded, folded)


_LIKE = {other: group[0] for group in _ALWAYS.split() for other in group[1:]} | {
    "ß": "ss", "æ": "ae", "œ": "oe", "Æ": "AE", "Œ": "OE", "đ": "d", "Đ": "D", "þ": "th", "ð": "d", "\u2044": "/",
    "\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2010": "-", "\u2011": "-", "\u2012": "-", "\u2013": "-",
    "\u2014": "-", "\u2212": "-", "\u02bc": "'", "\u2022": "*",
}  # fmt: skip
_AMONG_LATIN = {other: group[0] for group in _MIXED.split() for other in group[1:]}
_LETTERS = _Letters({chr(code): chr(code) for code in (9, 10, 13, *range(32, 127))})
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_OTHER_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]*[\u0370-\u058f][A-Za-z\u0370-\u058f]*")


def _plain(text: str) -> tuple[View, int]:
    places = np.arange(len(text), dtype=np.int32)
    if text.isascii() and not _CONTROL.search(text):
        return View(text, (), places, places + 1), 0
    pieces = list(map(_LETTERS.__getitem__, text))
    lengths = np.fromiter(map(len, pieces), np.int32, len(pieces))
    starts = np.repeat(places, lengths)
    read = "".join(pieces)
    hidden = sum(1 for character, piece in zip(text, pieces, strict=True) if not piece and not _accent(character))
    return View(_among_latin(read), (), starts, starts + 1), hidden


@cache
def _accent(character: str) -> bool:
    return unicodedata.category(character) == "Mn" and not 0xFE00 <= ord(character) <= 0xE01EF


def _among_latin(text: str) -> str:
    """Read Cyrillic and Greek look-alikes as Latin where they stand in Latin words, or pose as words of a Latin text."""
    words = [match.span() for match in _OTHER_WORD.finditer(text)]
    if not words:
        return text
    posing = all(c in _AMONG_LATIN or c.isascii() for start, end in words for c in text[start:end])
    letters = list(text)
    for start, end in words:
        word = text[start:end]
        if all(c in _AMONG_LATIN or c.isascii() for c in word) and (posing or any(c.isascii() for c in word)):
            letters[start:end] = [_AMONG_LATIN.get(c, c) for c in word]
    return "".join(letters)


# ---------------------------------------------------------------- what no reader sees

_TAGS = re.compile(r"[\U000e0020-\U000e007e]+")
_SELECTORS = re.compile(r"[\ufe00-\ufe0f\U000e0100-\U000e01ef]{4,}")
_ZERO_WIDTH = re.compile(r"[\u200b\u200c\u200d\u2060\ufeff]{16,}")


def _smuggled(text: str) -> Iterator[View]:
    for match in _TAGS.finditer(text):
        if text[max(0, match.start() - 1) : match.start()] == "\U0001f3f4":
            continue  # the flags of England, Scotland and Wales are written so
        yield _decoded(match, "".join(chr(ord(c) - 0xE0000) for c in match[0]), "tags")
    for match in _SELECTORS.finditer(text):
        codes = [ord(c) for c in match[0]]
        data = bytes(c - 0xFE00 if c <= 0xFE0F else c - 0xE0100 + 16 for c in codes)
        if said := _said(data):
            yield _decoded(match, said, "selectors")
    for match in _ZERO_WIDTH.finditer(text):
        kinds = sorted(set(match[0]))
        if len(kinds) != 2:
            continue
        bits = "".join(str(kinds.index(c)) for c in match[0])
        for digits in (bits, bits.translate({48: "1", 49: "0"})):
            if said := _said(_from_bits(digits)):
                yield _decoded(match, said, "zero-width")


def _decoded(match: re.Match[str], said: str, how: str) -> View:
    size = len(said)
    return View(said, (how,), np.full(size, match.start(), np.int32), np.full(size, match.end(), np.int32))


def _from_bits(bits: str) -> bytes:
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits) - 7, 8))


def _said(data: bytes) -> str:
    """Bytes as text, where they are text that somebody could read; "" otherwise."""
    if len(data) < 4:
        return ""
    if data.count(0) * 3 > len(data):  # PowerShell encodes UTF-16
        data = data.replace(b"\0", b"")
    if len(data) > 256 and not _readable(data[:200].decode("utf-8", "ignore")):
        return ""
    try:
        said = data.decode("utf-8")
    except UnicodeDecodeError as error:
        if error.start < 12 or error.start < 0.9 * len(data):
            return ""
        said = data[: error.start].decode("utf-8")
    return said if _readable(said) else ""


_BLOB = re.compile(r"[A-Za-z0-9+/=_\\\-\s]+")


def _readable(text: str) -> bool:
    if not text:
        return False
    shown = sum(c.isprintable() or c in "\t\n\r" for c in text)
    wordlike = sum(c.isalpha() or c == " " for c in text)
    if shown < 0.97 * len(text):
        return False
    if len(text) >= 16 and _BLOB.fullmatch(text):
        return True  # one encoding inside another
    least = 4.4 if len(text) > 24 else 5.2  # a few letters fall into words by chance
    return wordlike >= 0.6 * len(text) and (not text.isascii() or _language(text) > least)


# ---------------------------------------------------------------- readings of a view


def _readings(view: View) -> Iterator[View]:
    text = view.text
    for how, find in _BLOBS:
        for start, end, said in find(text):
            first, last = view.span(start, start + len(text[start:end].rstrip(" ,:;\n")))
            size = len(said)
            yield View(said, (*view.how, how), np.full(size, first, np.int32), np.full(size, last, np.int32))
    for how, find in _EDITS:
        if edits := list(find(text)):
            yield _edited(view, edits, how)
    yield from _turned(view)
    yield from _comments(view)


def _edited(view: View, edits: list[_Edit], how: str, around: int = 160) -> View:
    """The view with stretches replaced, from a little before the first of them to a little after the last."""
    first, last = max(0, edits[0][0] - around), min(len(view.text), edits[-1][1] + around)
    texts, starts, ends, done = [], [], [], first
    for start, end, said in edits:
        texts += [view.text[done:start], said]
        original = view.span(start, end)
        starts += [view.starts[done:start], np.full(len(said), original[0], np.int32)]
        ends += [view.ends[done:start], np.full(len(said), original[1], np.int32)]
        done = end
    texts.append(view.text[done:last])
    return View(
        "".join(texts),
        (*view.how, how),
        np.concatenate([*starts, view.starts[done:last]]),
        np.concatenate([*ends, view.ends[done:last]]),
    )


# ---------------------------------------------------------------- encodings of bytes

_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{12,}(?:\r?\n[A-Za-z0-9+/_-]{12,})*")
_BASE32 = re.compile(r"[A-Z2-7]{24,}")
_HEX = re.compile(r"(?:(?:\\x|0x|%|\\u00|U\+00)?[0-9A-Fa-f]{2}[ ,:;\n]?){6,}")
_NUMBERS = re.compile(r"(?:\b1?\d{2}[ ,;.-]{1,2}){6,}1?\d{2}\b")
_BITS = re.compile(r"(?:[01]{8}[ ,]?){4,}")
_MORSE = re.compile(r"(?:[.\-·_]{1,6}[ /|]{1,3}){6,}[.\-·_]{1,6}")
_ASCII85 = re.compile(r"<~([!-uz\s]{10,}?)~>")
_ESCAPED = re.compile(r"(?:%[0-9A-Fa-f]{2}|[A-Za-z0-9_.~+-]){3,}")

_MORSE_LETTERS = dict(
    zip(
        ".- -... -.-. -.. . ..-. --. .... .. .--- -.- .-.. -- -. --- .--. --.- .-. ... - ..- ...- .-- -..- -.-- --.. "
        "----- .---- ..--- ...-- ....- ..... -.... --... ---.. ----.".split(),
        "abcdefghijklmnopqrstuvwxyz0123456789",
        strict=True,
    )
)


def _base64(text: str) -> Iterator[_Edit]:
    for match in _BASE64.finditer(text):
        blob = match[0][:LONGEST_BLOB].replace("\r", "").replace("\n", "")
        if blob.isalpha() and (blob.islower() or blob.isupper()):
            continue  # a long word
        blob = blob.replace("-", "+").replace("_", "/")
        blob = blob[: len(blob) - 1] if len(blob) % 4 == 1 else blob
        if said := _said(base64.b64decode(blob + "=" * (-len(blob) % 4))):
            yield match.start(), match.end(), said


def _base32(text: str) -> Iterator[_Edit]:
    for match in _BASE32.finditer(text):
        blob = match[0][:LONGEST_BLOB]
        blob = blob[: len(blob) - len(blob) % 8] if len(blob) % 8 in (1, 3, 6) else blob
        if said := _said(base64.b32decode(blob + "=" * (-len(blob) % 8))):
            yield match.start(), match.end(), said


def _hex(text: str) -> Iterator[_Edit]:
    for match in _HEX.finditer(text):
        digits = re.sub(r"\\x|0x|\\u00|U\+00|[%\s,:;]", "", match[0][:LONGEST_BLOB])
        if said := _said(binascii.unhexlify(digits[: len(digits) & ~1])):
            yield match.start(), match.end(), said


def _numbers(text: str) -> Iterator[_Edit]:
    for match in _NUMBERS.finditer(text):
        codes = [int(number) for number in re.findall(r"\d+", match[0][:LONGEST_BLOB])]
        if said := _said(bytes(code for code in codes if code < 128)):
            yield match.start(), match.end(), said


def _bits(text: str) -> Iterator[_Edit]:
    for match in _BITS.finditer(text):
        if said := _said(_from_bits(re.sub(r"[ ,]", "", match[0][:LONGEST_BLOB]))):
            yield match.start(), match.end(), said


def _morse(text: str) -> Iterator[_Edit]:
    for match in _MORSE.finditer(text):
        blob = match[0][:LONGEST_BLOB].replace("_", "-").replace("·", ".")
        words = [[_MORSE_LETTERS.get(code, "") for code in word.split()] for word in re.split(r" ?[/|] ?| {3,}", blob)]
        said = " ".join("".join(word) for word in words)
        if sum(map(len, words)) >= 6 and all(letter for word in words for letter in word):
            yield match.start(), match.end(), said


def _ascii85(text: str) -> Iterator[_Edit]:
    for match in _ASCII85.finditer(text) if "<~" in text and "~>" in text else ():
        try:
            said = _said(base64.a85decode(match[1][:LONGEST_BLOB]))
        except ValueError:
            continue
        if said:
            yield match.start(), match.end(), said


def _percent(text: str) -> Iterator[_Edit]:
    for match in _ESCAPED.finditer(text) if text.count("%") > 2 else ():
        said = unquote(match[0][:LONGEST_BLOB].replace("+", " "), errors="ignore")
        if match[0].count("%") > 2 and said.count(" ") >= 2 and _readable(said):
            yield match.start(), match.end(), said


_BLOBS: tuple[tuple[str, Callable[[str], Iterator[_Edit]]], ...] = (
    ("base64", _base64),
    ("base32", _base32),
    ("hex", _hex),
    ("numbers", _numbers),
    ("binary", _bits),
    ("morse", _morse),
    ("ascii85", _ascii85),
    ("percent", _percent),
)

# ---------------------------------------------------------------- letters apart, digits for letters, words in pieces

_APART = re.compile(r"(?<![^\W_])(?:[^\W\d_](?:[ ]{1,4}|[.\-_*|/,~+]|[ ][.\-*/,][ ])){4,}[^\W\d_](?![^\W_])")
_ENTITIES = re.compile(r"(?:&#x?[0-9A-Fa-f]{1,6};?){1,400}")
_LEET = re.compile(r"[^\s\"'(){}\[\]<>=:;,.?]+")
_PIECES = re.compile(r"(?<![A-Za-z])[A-Za-z]+(?:[.\-_*|~+^\"'`\\]{1,2}[A-Za-z]+){1,12}")
_JOINED = re.compile(r"[\"'][ ]{0,2}\+[ ]{0,2}[\"']")
_DIGITS = dict(zip("01345789@$!|+", "oieastbgasilt", strict=True))
_LEET_TABLE = str.maketrans(_DIGITS)
_LEET_TABLE_L = str.maketrans(_DIGITS | {"1": "l", "!": "l"})

# What an order to a model is made of: words in pieces are joined only when one of these comes out.
_TELLING = re.compile(
    r"ignor|disregard|forget|instruct|previous|prior|system|prompt|reveal|secret|password|bypass|overrid|jailbreak|"
    r"pretend|developer|unrestrict|uncensor|filter|anweisung|vergiss|instrucc|anterior|olvid|oublie|precedent|consigne|"
    r"dimentic|istruzion|precedenti|instruct|negeer|vorige|esquec|instruc|zignoruj|polecen|glom|talimat|unut|onceki"
)


def _apart(text: str) -> Iterator[_Edit]:
    for match in _APART.finditer(text):
        words = re.split(r"[ ]{2,}|[ ]?[|/,][ ]?", match[0]) if re.search(r"[^\W_][ ][^\W_]", match[0]) else [match[0]]
        said = " ".join("".join(c for c in word if c.isalpha()) for word in words)
        yield match.start(), match.end(), _spaced(said)


def _entities(text: str) -> Iterator[_Edit]:
    if text.count("&#") > 2:
        for match in _ENTITIES.finditer(text):
            yield match.start(), match.end(), html.unescape(match[0])


def _leet(text: str) -> Iterator[_Edit]:
    found, sure = [], 0
    for match in _LEET.finditer(text):
        word = match[0]
        if (
            not 3 <= len(word) <= 40
            or word.isalpha()
            or word[:2] in ("0x", "0b")
            or sum(c.isalpha() for c in word) * 4 < len(word)
        ):
            continue
        if "@" in word and text[match.end() : match.end() + 1] == ".":
            continue  # an address
        if (read := _unleet(word)).isalpha() and len(read) > 2 and _language(read) > 4.6:
            found.append((match.start(), match.end(), read))
            sure += not word.strip("0123456789!|+$@").isalpha()  # "room42" is none
    if sure >= 3 or any(_TELLING.search(read) and not _TELLING.search(text[a:b].lower()) for a, b, read in found):
        yield from found


def _unleet(word: str) -> str:
    first, second = word.lower().translate(_LEET_TABLE), word.lower().translate(_LEET_TABLE_L)
    if word.strip("!|+$@").isalpha():
        return ""  # "yes!" is no cipher
    return first if first == second or _language(first) >= _language(second) else second


def _pieces(text: str) -> Iterator[_Edit]:
    for match in _PIECES.finditer(text):
        said = "".join(c for c in match[0] if c.isalpha())
        parts = re.split(r"[^A-Za-z]+", match[0].lower())
        if _TELLING.search(said.lower()) and not any(_TELLING.search(part) for part in parts):
            yield match.start(), match.end(), said


def _literals(text: str) -> Iterator[_Edit]:
    for match in _JOINED.finditer(text):
        yield match.start(), match.end(), ""


_EDITS: tuple[tuple[str, Callable[[str], Iterator[_Edit]]], ...] = (
    ("spaced", _apart),
    ("entities", _entities),
    ("leet", _leet),
    ("pieces", _pieces),
    ("literals", _literals),
)

_COMMON = (
    "the and all any you your are now this that these those with from for not but was were have has had will would can "
    "could should what when who how why which there their they them his her its our out off into over about before after "
    "above below then than only also just more most some such other same here where is in it of to on as at be by do go "
    "he if me my no or so up us we an am did does done say says said tell told give show write print repeat reveal output "
    "ignore forget disregard bypass override follow obey stop start act pretend previous prior earlier first last new "
    "every rule rules instructions instruction prompt prompts system message messages password secret key hidden user "
    "assistant model language answer question please word words text sentence without never always must send email file "
    "und die der das alle nicht mit los las que con por una les des est pas vous tous toutes non gli che per"
).split()
_WORDS = frozenset(_COMMON)
_LONGEST_WORD = max(map(len, _COMMON))


def _spaced(text: str) -> str:
    """Put spaces back into letters that ran together, at common words; a stretch that is none of them stays whole."""
    return " ".join(_split(word) if len(word) > 12 else word for word in text.split())


def _split(word: str) -> str:
    low, size = word.lower()[:2000], min(len(word), 2000)
    best = [(0.0, 0)] * (size + 1)  # letters outside known words so far, and where the last piece began
    for end in range(1, size + 1):
        best[end] = (best[end - 1][0] + 1.0, -(end - 1) - 1)  # one more letter of no word
        for start in range(max(0, end - _LONGEST_WORD), end):
            if low[start:end] in _WORDS and best[start][0] + 0.3 < best[end][0]:
                best[end] = (best[start][0] + 0.3, start + 1)
    pieces: list[str] = []
    end, loose = size, size
    while end > 0:
        mark = best[end][1]
        if mark > 0:
            if loose > end:
                pieces.append(word[end:loose])
            pieces.append(word[mark - 1 : end])
            end = loose = mark - 1
        else:
            end -= 1
    if loose > 0:
        pieces.append(word[:loose])
    return " ".join(reversed(pieces))


# ---------------------------------------------------------------- turned letters: Caesar, Atbash, reversed

# How often one letter follows another in English and German text, 0 (never) to 9, by row and column " abc…z".
_FOLLOWS = np.array(
    [
        [int(digit) for digit in row]
        for row in (
            "476665655644565653567556144", "625652454525757051767653253", "564228232631632620654722053",
            "570417008606510710536510030", "861147233721424610552532040", "864565444603557342765344442",
            "861207630702513720646612021", "863028246603524620654600030", "772118120703444610546503041",
            "654656553204658641577250204", "471117213412111731241821111", "763218234703525620666613041",
            "773367431703733640356532062", "775228321701352660154513061", "853576473525425610266432043",
            "744554643414667550756655332", "771337525602732760755621030", "631211311211231212134921111",
            "765457453605455630466533054", "853627335604444652367523042", "862317227600422620555514044",
            "655645553502657250777320142", "561129020700110720030110040", "771127107701315710442404000",
            "764616324712312471127332331", "944326141500443740364203002", "663117242703541520236835134",
        )
    ],
    np.float32,
)  # fmt: skip
_USUAL = _FOLLOWS[:, 1:].mean(0) - 4  # of each letter by itself, for the shifts worth a closer look
_LINE = re.compile(r"[^\n:\"]+")  # or what follows a colon, or stands in quotes
_ALPHABET = "abcdefghijklmnopqrstuvwxyz"
_ROT = {k: str.maketrans(_ALPHABET, _ALPHABET[k:] + _ALPHABET[:k]) for k in range(1, 26)}
_ATBASH = str.maketrans(_ALPHABET, _ALPHABET[::-1])
_WORD = re.compile(r"[a-z]+")


def language_likeness(text: str) -> float:
    """How much the Latin letters of a text follow each other as in a language, 0 to 9: prose 6 to 7, ciphers below 5."""
    return _language(text)


def _language(text: str) -> float:
    codes = _codes(text)
    return float(_FOLLOWS[codes[:-1], codes[1:]].mean()) if len(codes) > 2 else 0.0


def _codes(text: str) -> NDArray[np.int64]:
    """Letters as 1 to 26, whatever else as one 0 between them."""
    data = np.frombuffer(f" {text} ".lower().encode("ascii", "replace"), np.uint8).astype(np.int64) - 96
    data[(data < 1) | (data > 26)] = 0
    keep = np.ones(len(data), bool)
    keep[1:] = (data[1:] != 0) | (data[:-1] != 0)
    return data[keep]


def _turned(view: View) -> Iterator[View]:
    """Lines that read as a language only when their letters are shifted, mirrored, or read backwards."""
    found: dict[str, list[tuple[int, int, str]]] = {}
    for match in _LINE.finditer(view.text):
        line = match[0][:4000]
        if len(line) < 12:
            continue
        codes = _codes(line)
        letters = codes[codes > 0]
        if len(letters) < 12 or len(letters) < 0.5 * len(line) or len(letters) > 14 * len(line.split()):
            continue
        here = float(_FOLLOWS[codes[:-1], codes[1:]].mean())
        if here < 5.6 and (turned := _shifted(line, letters, here)):
            found.setdefault(turned[0], []).append((match.start(), match.start() + len(line), turned[1]))
            continue
        known = _known(line)
        if known < 0.25 and _known(line[::-1]) > known + 0.3:
            found.setdefault("reversed", []).append((match.start(), match.start() + len(line), line[::-1]))
    for how, lines in found.items():
        texts, starts, ends = [], [], []
        for start, end, said in lines:
            step = -1 if how == "reversed" else 1
            texts.append(said + "\n")
            first, last = view.starts[start:end][::step], view.ends[start:end][::step]
            starts += [first, first[-1:]]
            ends += [last, last[-1:]]
        yield View("".join(texts), (*view.how, how), np.concatenate(starts), np.concatenate(ends))


def _shifted(line: str, letters: NDArray[np.int64], here: float) -> tuple[str, str] | None:
    counts = np.bincount(letters - 1, minlength=26)
    shifts = np.array([_USUAL @ np.roll(counts, k) for k in range(26)])
    likely = [int(k) for k in np.argsort(-shifts)[:6] if k]
    low = line.lower()
    readings = [(f"rot{k}", low.translate(_ROT[k])) for k in dict.fromkeys((13, *likely))]
    readings.append(("atbash", low.translate(_ATBASH)))
    how, said = max(readings, key=lambda reading: _language(reading[1]))
    better = _language(said) - here
    return (how, said) if better > 1.0 or (better > 0.5 and _known(said) > _known(line) + 0.25) else None


def _known(text: str) -> float:
    """The share of its words that are very common ones."""
    words = _WORD.findall(text.lower())
    return sum(word in _WORDS for word in words) / len(words) if len(words) >= 4 else 0.0


# ---------------------------------------------------------------- comments


def _comments(view: View) -> Iterator[View]:
    """What HTML keeps from whoever looks at the page."""
    place = view.text.find("<!--")
    while place >= 0:
        end = view.text.find("-->", place + 4)
        last = len(view.text) if end < 0 else end
        yield View(
            view.text[place + 4 : last],
            (*view.how, "comment"),
            view.starts[place + 4 : last],
            view.ends[place + 4 : last],
        )
        place = view.text.find("<!--", last)
