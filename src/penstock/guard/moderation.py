"""Harm in a text, by kind: seven heads that look first at characters and at what words say, and ask the encoder in doubt.

The first look costs about a millisecond per kilobyte and has three parts. N-grams of characters know how people write who
abuse. A small lexicon in sixteen languages names what a word says (a protected group, scorn, a threat, denial, reporting)
and a head reads which of these stand near which, so that "I hate Mondays" and "nobody should hate women" are not hate. A
list of 15,000 English words has the weights of alt-profanity-check. The encoder reads English only, and runs on windows
that the first look finds doubtful. What the heads saw in training, and their figures, are in the card.
"""

from __future__ import annotations

import json
import re
import unicodedata
import zipfile
import zlib
from bisect import bisect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from penstock.encoder import WEIGHTS, shipped
from penstock.errors import StorageError
from penstock.guard.ngrams import Linear

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from penstock.types import Embedder

    Floats = NDArray[np.float32]

__all__ = ["HEADS", "Lexicon", "Moderation", "Terms", "Words", "card", "plain", "windows"]

HEADS = ("hate", "harassment", "violence", "sexual", "self_harm", "illegal", "toxicity")
FOLDER = WEIGHTS / "moderation"

LONGEST = 300  # characters of one window
STEP = 225  # from one window to the next, so that a sentence cut by one stands whole in its neighbour
MOST_ASKED = 24  # windows of one text that the encoder reads, the likeliest first
NEAR = 14  # words between two concepts that are read together
PAIR_BITS = 13
_MULTIPLIER = 0x9E3779B1  # 2**32 divided by the golden ratio

_TOKEN = re.compile(
    r"[^\s!-&(-,./:-@\[-`{-~\u00a1\u00ab\u00bb\u00bf\u0964\u2010-\u2027\u060c\u061b\u061f\u3000-\u303f\uff00-\uff0f\uff1a-\uff20]+"
)
_WORD = re.compile(r"\b\w\w+\b")
_QUOTE = re.compile('["“”«»„「」『』]')
_ASK = re.compile("[?？؟]")
_SPACED = re.compile(r"(?<!\w)(?:\w[ .\-_*]){2,}\w(?!\w)")
_LEET = str.maketrans("0134578@$!", "oieastbasi")
_LEETED = re.compile(r"(?<![\w@$])(?=[\w@$!]*[a-z])(?=[\w@$!]*[013457@$!])[\w@$!]*[\w@$](?![\w@$])")
_IGNORED = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufe00-\ufe0f\ufeff]")
_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")),
    ("zh", re.compile("[\u4e00-\u9fff]")),
    ("ko", re.compile("[\uac00-\ud7a3\u3131-\u318e]")),
    ("ar", re.compile("[\u0600-\u06ff]")),
    ("hi", re.compile("[\u0900-\u097f]")),
    ("ru", re.compile("[\u0400-\u04ff]")),
)
# What somebody says who hurts themselves or means to. The head for it also knows how such questions begin, "How do I … my …?", and
# took one customer's question in twenty for one; so in English what it is not nearly certain of counts beside such words alone.
_OF_ONESELF = re.compile(
    r"\b(?:suicid\w*|self.?(?:harm\w*|injur\w*)|overdos\w*|noose|rope|pills?|paracetamol|bleach|poison\w*|painless\w*|lethal"
    r"|deadly|wrists?|dead|die|dying|death|(?:end|ending) (?:it|things|my life|everything)|want out|give up on life"
    r"|(?:alive|live|living) any ?more|(?:can ?not|can't|cant) (?:go on|do this|take (?:it|this))|better off without|miss me"
    r"|never (?:wake|been born|born)|be alive|no point|disappear|worthless|hopeless|jump\w*|bridge|stop eating|not eat"
    r"|(?:kill\w*|hurt\w*|harm\w*|cut|cuts|cutting|burn\w*|scratch\w*|stab\w*|hang\w*|drown\w*|starv\w*|shoot\w*|hate)"
    r" (?:\w+ ){0,2}(?:mysel\w*|me|oneself|themsel\w*|yourself|people)|(?:cut|cutting|burn\w*|scratch\w*) (?:my|up|again|so))\b"
)
_NEARLY_CERTAIN = 3.5  # log-odds over the threshold: .97
_FREQUENT = ("common", "me", "you", "no", "must")
_LATIN = ("en", "de", "es", "fr", "it", "nl", "pl", "pt", "sv", "tr")
_LETTERS_OF = {
    **dict.fromkeys("ß", ("de",)), **dict.fromkeys("äö", ("de", "sv")), **dict.fromkeys("ü", ("de", "tr")),
    **dict.fromkeys("ñ¿¡", ("es",)), **dict.fromkeys("áíóú", ("es", "pt")), **dict.fromkeys("ãõ", ("pt",)),
    **dict.fromkeys("ç", ("fr", "pt", "tr")), **dict.fromkeys("êâô", ("fr", "pt")), **dict.fromkeys("èù", ("fr", "it")),
    **dict.fromkeys("ìò", ("it",)), **dict.fromkeys("œûîë", ("fr",)), **dict.fromkeys("ąćęłńśźż", ("pl",)),
    **dict.fromkeys("å", ("sv",)), **dict.fromkeys("ğış", ("tr",)),
}  # fmt: skip
_LETTERS = re.compile(f"[{''.join(_LETTERS_OF)}]")
_ARABIC = re.compile("^(?:و?ال|وب?|بال|لل|فال|كال|[بلفك])(?=..)")


def plain(text: str) -> str:
    """The text as its reader means it: lower case, one form per character, without hidden ones, `l 3 3 t` read out."""
    text = _IGNORED.sub("", unicodedata.normalize("NFKC", text).lower())
    text = _SPACED.sub(lambda found: re.sub(r"[ .\-_*]", "", found[0]), text)
    return _LEETED.sub(lambda found: found[0].translate(_LEET), text)


def windows(text: str) -> Iterator[str]:
    """Stretches of at most 300 characters that overlap by a quarter; a short text is one."""
    yield text[:LONGEST]
    for start in range(STEP, len(text) - (LONGEST - STEP), STEP):
        yield text[start : start + LONGEST]


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one language: what each says, alone, at the beginning of a longer word, or in a phrase."""

    exact: Mapping[str, tuple[int, ...]]
    prefixes: Mapping[str, tuple[int, ...]]
    phrases: Mapping[str, Sequence[tuple[str, bool, tuple[int, ...]]]]  # by first word: all of it, any ending, concepts
    longest: int  # of the prefixes
    shortest: int
    inside: bool  # no blanks between words: looked for everywhere

    def find(self, text: str, tokens: Sequence[str]) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Pairs of a place, counted in words or, without blanks, in characters, and what is said there."""
        return self._inside(text) if self.inside else self._words(tokens)

    def _words(self, tokens: Sequence[str]) -> Iterator[tuple[int, tuple[int, ...]]]:
        joined = " ".join(tokens)
        offset = skip = 0
        for place, token in enumerate(tokens):
            if skip:
                skip -= 1
            elif phrase := self._phrase(joined, offset, token):
                yield place, phrase[1]
                skip = phrase[0]
            elif said := self.word(token):
                yield place, said
            offset += len(token) + 1

    def _phrase(self, joined: str, offset: int, token: str) -> tuple[int, tuple[int, ...]] | None:
        for phrase, ending, said in self.phrases.get(token, ()):
            end = offset + len(phrase)
            if joined.startswith(phrase, offset) and (ending or joined[end : end + 1] in ("", " ")):
                return phrase.count(" "), said
        return None

    def word(self, token: str) -> tuple[int, ...]:
        """What one word says: the whole of it, or the longest beginning that is known."""
        if said := self.exact.get(token):
            return said
        for size in range(min(self.longest, len(token)), self.shortest - 1, -1):
            if said := self.prefixes.get(token[:size]):
                return said
        bare = _ARABIC.sub("", token)
        return self.word(bare) if bare != token else ()

    def _inside(self, text: str) -> Iterator[tuple[int, tuple[int, ...]]]:
        place = 0
        while place < len(text):
            for size in range(self.longest, 0, -1):
                if said := self.exact.get(text[place : place + size]):
                    yield place, said
                    place += size
                    break
            else:
                place += 1


class Lexicon:
    """What words say, per language, read from lines of `concept: word word* two_words`."""

    def __init__(self, text: str) -> None:
        self.concepts: list[str] = []
        self.languages: dict[str, Words] = {}
        self._votes: dict[str, dict[str, float]] = {}  # Latin script only: word -> language -> weight
        for section in re.split(r"^\[", text, flags=re.MULTILINE)[1:]:
            head, _, body = section.partition("]\n")
            language, _, kind = head.partition(" ")
            self.languages[language] = self._section(language, kind, body.splitlines())
        self.concepts += ["quote", "ask", "vulgar"]
        self.quote, self.ask, self.vulgar = range(len(self.concepts) - 3, len(self.concepts))

    def _section(self, language: str, kind: str, lines: Iterable[str]) -> Words:
        exact: dict[str, tuple[int, ...]] = {}
        prefixes: dict[str, tuple[int, ...]] = {}
        phrases: dict[str, list[tuple[str, bool, tuple[int, ...]]]] = {}
        for line in filter(None, lines):
            name, _, entries = line.partition(": ")
            for entry in entries.lower().split():
                self._vote(entry.rstrip("*"), language, weight=1.0 if name in _FREQUENT else 0.4)
                if name == "common":
                    continue
                if name not in self.concepts:
                    self.concepts.append(name)
                said = (self.concepts.index(name),)
                ending = entry.endswith("*") or kind == "prefix"
                word = entry.rstrip("*").replace("_", "" if kind == "inside" else " ")
                if " " in word:
                    phrases.setdefault(word.split()[0], []).append((word, ending, said))
                else:
                    table = prefixes if ending else exact
                    table[word] = (*table.get(word, ()), *said)
        for known in phrases.values():
            known.sort(key=lambda phrase: -len(phrase[0]))
        sizes = [len(word) for word in (exact if kind == "inside" else prefixes)] or [0]
        return Words(exact, prefixes, phrases, max(sizes), max(1, min(sizes)), kind == "inside")

    def _vote(self, word: str, language: str, *, weight: float) -> None:
        if language not in ("ar", "hi", "ja", "ko", "ru", "zh"):
            votes = self._votes.setdefault(word, {})
            votes[language] = max(weight, votes.get(language, 0.0))

    def says(self, word: str) -> set[str]:
        """What a word says alone, in any of the languages; `common` where one uses it all the time."""
        said = {self.concepts[concept] for words in self.languages.values() for concept in words.exact.get(word, ())}
        return said | ({"common"} if max(self._votes.get(word, {}).values(), default=0) == 1 else set())

    def _candidates(self, text: str, tokens: Sequence[str]) -> list[str]:
        """The languages a text may be in, likeliest first: by script, or by the words and letters of those in Latin script."""
        letters = max(1, sum(map(len, tokens)))
        for language, script in _SCRIPTS:
            found = len(script.findall(text))
            if found * 4 > letters or (language == "ja" and found > 2):
                return [language]
        votes = dict.fromkeys(_LATIN, 0.0)
        for token in tokens:
            for language, weight in self._votes.get(token, {}).items():
                votes[language] += weight
        for letter in _LETTERS.findall(text):
            for language in _LETTERS_OF[letter]:
                votes[language] += 0.5
        best = max(votes.values())
        likely = [language for language in _LATIN if votes[language] >= best - (1.0 if len(tokens) <= 40 else 0.0)]
        return sorted(likely, key=lambda language: -votes[language])

    def read(
        self, text: str, *, vulgar: frozenset[int] = frozenset(), language: str = ""
    ) -> tuple[str, list[tuple[int, int]]]:
        """The language of a text that `plain` made, and the concepts in it: (place in words, concept), in order."""
        tokens = [token.strip("'’-") for token in _TOKEN.findall(text)]
        candidates = [language] if language in self.languages else self._candidates(text, tokens)
        readings = {each: list(self.languages[each].find(text, tokens)) for each in candidates}
        spoken = max(candidates, key=lambda each: len(readings[each]))  # the first of those that find most
        found = [(place, concept) for place, said in readings[spoken] for concept in said]
        inside = self.languages[spoken].inside
        if vulgar:
            found += self._vulgar(text, tokens, vulgar, inside=inside)
        starts = [] if inside else [match.start() for match in _TOKEN.finditer(text)]
        for mark, concept in ((_QUOTE, self.quote), (_ASK, self.ask)):
            places = (match.start() for match in mark.finditer(text))
            found += [(place if inside else bisect(starts, place), concept) for place in places]
        found.sort()
        return spoken, [(place // 2, concept) for place, concept in found] if inside else found

    def _vulgar(
        self, text: str, tokens: Sequence[str], vulgar: frozenset[int], *, inside: bool
    ) -> Iterator[tuple[int, int]]:
        if inside:
            for size in (2, 3, 4):
                for place in range(len(text) - size + 1):
                    if token_hash(text[place : place + size]) in vulgar:
                        yield place, self.vulgar
        else:
            for place, token in enumerate(tokens):
                if token_hash(token) in vulgar:
                    yield place, self.vulgar

    def pairs(self, found: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
        """Buckets of what stands alone, of ordered neighbours by distance, and of three in a row; ascending, each once."""
        buckets = set()
        count = len(self.concepts)
        for index, (place, concept) in enumerate(found):
            buckets.add(concept)
            for later, other in found[index + 1 : index + 13]:
                distance = later - place
                if distance > NEAR:
                    break
                reach = 0 if distance <= 1 else 1 if distance <= 3 else 2 if distance <= 7 else 3
                buckets.add(_mixed(((concept * count + other) << 2 | reach) + count))
                buckets.add(_mixed((concept * count + other) + (1 << 14)))
        for (_, first), (_, second), (_, third) in zip(found, found[1:], found[2:], strict=False):
            buckets.add(_mixed(((first * count + second) * count + third) + (1 << 17)))
        if found:
            buckets.add(_mixed(found[0][1] + (1 << 15)))
            buckets.add(_mixed(found[-1][1] + (1 << 16)))
        return np.array(sorted(buckets), np.int64)


def _mixed(value: int) -> int:
    return 64 + (value * _MULTIPLIER >> 8) % ((1 << PAIR_BITS) - 64)  # the first 64 are the concepts themselves


@dataclass(frozen=True, slots=True)
class Terms:
    """English words with the weights of a linear model over TF-IDF; words are kept as hashes, ascending."""

    hashes: NDArray[np.uint32]
    weights: NDArray[np.int8]
    rarity: NDArray[np.uint8]  # inverse document frequency, in sixteenths
    scale: float
    bias: float

    def logit(self, tokens: Sequence[str]) -> float:
        """What the words of a text sum to, seen as a vector of length 1."""
        if not tokens:
            return self.bias
        said, counts = np.unique(np.array([token_hash(token) for token in tokens], np.uint32), return_counts=True)
        places = np.minimum(np.searchsorted(self.hashes, said), len(self.hashes) - 1)
        known = self.hashes[places] == said
        values = counts[known] * self.rarity[places[known]] / 16.0
        length = float(np.linalg.norm(values))
        return float(values @ self.weights[places[known]]) * self.scale / length + self.bias if length else self.bias


def token_hash(token: str) -> int:
    """32 bits that stand for a word, so that nobody has to read a list of insults."""
    return zlib.crc32(token.encode("utf-8", "surrogatepass"))


class Cheap:
    """The first look: n-grams, concepts and words, and the weights that join them."""

    def __init__(self, lexicon: Lexicon, ngrams: Linear, pairs: Linear, terms: Terms, vulgar: frozenset[int]) -> None:
        self.lexicon, self.ngrams, self.pairs, self.terms, self.vulgar = lexicon, ngrams, pairs, terms, vulgar

    def look(self, window: str, *, language: str = "") -> Looked:
        """What is seen in one window."""
        text = plain(window)
        spoken, found = self.lexicon.read(text, vulgar=self.vulgar, language=language)
        near = self.pairs.weights[self.lexicon.pairs(found)].astype(np.float32).sum(0) * self.pairs.scale
        beside = self.beside(text, spoken, found)
        return Looked(spoken, joined(self.ngrams.logits(text), near + self.pairs.bias, beside), beside)

    def beside(self, text: str, language: str, found: Sequence[tuple[int, int]]) -> Floats:
        """What stands beside the logits: the words' logit, vulgar words, whether it is English, how much was read."""
        english = language == "en"
        words = self.terms.logit(_WORD.findall(text)) if english else self.terms.bias
        vulgar = sum(concept == self.lexicon.vulgar for _, concept in found)
        return np.array([words, np.log1p(vulgar), english, np.log1p(len(found))], np.float32)


@dataclass(frozen=True, slots=True)
class Looked:
    """What the first look saw in one window."""

    language: str
    features: Floats  # what the heads are joined over
    beside: Floats


def joined(ngrams: Floats, near: Floats, beside: Floats) -> Floats:
    """The logits of both readings, once for all languages and once more for English, and what stands beside them."""
    logits = np.clip(np.concatenate((ngrams, near)), -8, 8)
    return np.concatenate((logits, logits * beside[2], beside, beside[:1] * beside[2])).astype(np.float32)


def asked(vector: Floats, first: Floats, beside: Floats) -> Floats:
    """What the second head reads: the encoder's vector, the first look's logits, and what stood beside those."""
    return np.concatenate((vector * 8, np.clip(first, -8, 8) / 3, beside)).astype(np.float32)


class Moderation:
    """Scores a text for each head. The weights are read with the first text, the encoder with the first that is unsure."""

    def __init__(self, folder: Path = FOLDER, *, encoder: Callable[[], Embedder] | None = shipped) -> None:
        self._folder, self._open = folder, encoder
        self.seen = self.asked = 0  # windows that were read, and those of them that the encoder was asked about

    def scores(self, text: str, *, language: str = "") -> dict[str, float]:
        """0 to 1 for each of `HEADS`, the worst window's; 0.5 is the threshold that Penstock ships. language: ISO 639-1."""
        if not text.strip():
            return dict.fromkeys(HEADS, 0.0)
        read = list(windows(text))
        looks = [self._cheap.look(window, language=language) for window in read]
        weights = self._weights
        logits = np.stack([look.features for look in looks]) @ weights["join"] + weights["join_bias"]
        english = np.array([look.language == "en" for look in looks])
        margins = logits[:, :-1] * weights["slope"][english.astype(int)] + weights["offset"][english.astype(int)]
        unsure = np.flatnonzero(english & (logits[:, -1] > weights["low"]))
        self.seen += len(read)
        if len(unsure) and self._encoder is not None:
            unsure = unsure[np.argsort(-logits[unsure, -1], kind="stable")][:MOST_ASKED]
            self.asked += len(unsure)
            vectors = self._encoder.embed([read[place] for place in unsure])
            rows = np.stack([asked(v, logits[p, :-1], looks[p].beside) for v, p in zip(vectors, unsure, strict=True)])
            margins[unsure] = (margins[unsure] + self._second(rows)) / 2
        head = HEADS.index("self_harm")
        for place in np.flatnonzero(english & (margins[:, head] > 0) & (margins[:, head] < _NEARLY_CERTAIN)):
            if _OF_ONESELF.search(plain(read[place])) is None:
                margins[place, head] = -margins[place, head] / _NEARLY_CERTAIN  # still seen, and below the threshold
        shares = 1 / (1 + np.exp(-margins.max(0).astype(np.float64)))
        return {head: float(share) for head, share in zip(HEADS, shares, strict=True)}

    def _second(self, rows: Floats) -> Floats:
        """How far windows are over each threshold, in log-odds, as the encoder sees them."""
        weights = self._weights
        hidden = np.maximum(rows @ weights["hidden"].astype(np.float32) + weights["hidden_bias"], 0)
        logits = hidden @ weights["output"].astype(np.float32) + weights["output_bias"]
        margins: Floats = logits * weights["second_slope"] + weights["second_offset"]
        return margins

    @cached_property
    def _encoder(self) -> Embedder | None:
        return self._open and self._open()

    @cached_property
    def _weights(self) -> dict[str, NDArray[Any]]:
        try:
            with np.load(self._folder / "heads.npz", allow_pickle=False) as file:
                return dict(file)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise StorageError(f"the moderation heads in {self._folder} cannot be loaded: {error}") from error

    @cached_property
    def _cheap(self) -> Cheap:
        weights = self._weights
        try:
            lexicon = Lexicon((self._folder / "concepts.txt").read_text("utf-8"))
        except OSError as error:
            raise StorageError(f"the words of the moderation heads cannot be read: {error}") from error
        return Cheap(
            lexicon,
            Linear(weights["ngrams"], weights["ngrams_scale"], weights["ngrams_bias"]),
            Linear(weights["pairs"], weights["pairs_scale"], weights["pairs_bias"]),
            Terms(
                weights["terms"],
                weights["terms_weights"],
                weights["terms_rarity"],
                *weights["terms_scale_bias"].tolist(),
            ),
            frozenset(weights["vulgar"].tolist()),
        )


def card() -> dict[str, Any]:
    """What the heads were trained on, under which licences, and what was measured of them."""
    loaded: dict[str, Any] = json.loads((FOLDER / "card.json").read_text("utf-8"))
    return loaded
