"""Train the dictionaries that language/crossing.py looks words up in: five minutes of one core, one command.

    python -m penstock.train.bilingual [--data DIR] [--out DIR] [--check]

They are learnt from short texts that packages of free software hold in English and in other languages (bilingual_pairs.py;
DIR keeps the packages, missing ones are downloaded), and from words written for this (bilingual_words.txt). IBM's model 1
(Brown et al. 1993) says how likely a word of one language stands for a word of another; it is trained both ways by
expectation maximisation, and a pair weighs the root of the product of both. Nothing is drawn: there is no seed, and the
same packages give the same files. --check is a tiny run on the written words alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penstock.language.dictionaries import pieces, stemmed, words_of, written
from penstock.text.stopwords import STOPWORDS
from penstock.train.bilingual_pairs import SOURCES, Pair, chinese_words, fetched, pairs

__all__ = ["LANGUAGES", "train"]

LANGUAGES = "ar bg ca cs da de el es fa fi fr he hi hu id it ja ko nl no pl pt ro ru sv tr uk vi zh".split()
ROUNDS = 6  # of expectation maximisation
DOUBT = 0.5  # counts that a word must be seen beyond, for its translation to be sure
LONGEST = 40  # words of a text
BAG_WEIGHT = 0.5  # of words that belong together in no order
LEAST = 0.04  # weight of a pair that is kept
MOST = 10  # English words for one
_NO_WORDS = re.compile(
    r"%\(\w+\)[sdrf]|%[sdrf]|\$?\{\{?[^}]*\}?\}|<[^>]+>|&\w+;|\$\w+|https?://\S+|\[%[^\]]*%\]|[@$:]\w+"
)

Entries = dict[str, list[tuple[str, float]]]


class Lines(NamedTuple):
    """Texts as numbers of words: english[n] and other[n] say the same."""

    english: list[list[int]]
    other: list[list[int]]
    weight: list[float]
    english_words: list[str]  # stem -> the word it is mostly used as
    other_words: list[str]  # stems


class Cut:
    """Cuts the texts of a language into words, before there is a dictionary to do it by."""

    def __init__(self, language: str, counts: Mapping[str, int]) -> None:
        """counts: word -> how often it is used, for a script without spaces."""
        self.language = language
        self._logs = {word: math.log(count + 1) for word, count in counts.items()}
        self._total = math.log(sum(counts.values()) + len(counts) + 1)
        self._longest = max(map(len, counts), default=0)

    def __call__(self, text: str) -> list[str]:
        words = words_of(_NO_WORDS.sub(" ", text), self.language)
        if not self._longest:
            return words
        return [piece for word in words for piece in (self._likeliest(word) if pieces(word) else [word])]

    def _likeliest(self, run: str) -> list[str]:
        """The cut of a run whose words are used most (Viterbi)."""
        size = len(run)
        best, back = [0.0] + [-math.inf] * size, [0] * (size + 1)
        for start in range(size):
            for end in range(start + 1, min(size, start + self._longest) + 1):
                known = self._logs.get(run[start:end], -3.0 if end == start + 1 else None)
                if known is not None and best[start] + known - self._total > best[end]:
                    best[end], back[end] = best[start] + known - self._total, start
        found, end = [], size
        while end:
            found.append(run[back[end] : end])
            end = back[end]
        return found[::-1]


def lines(said: Iterable[Pair], cut: Cut) -> Lines:
    """Each pair of texts once, as stems."""
    english: defaultdict[str, int] = defaultdict(lambda: len(english))
    other: defaultdict[str, int] = defaultdict(lambda: len(other))
    forms: dict[str, Counter[str]] = defaultdict(Counter)
    found = Lines([], [], [], [], [])
    seen = set[tuple[tuple[str, ...], tuple[str, ...]]]()
    for pair in said:
        ours, theirs = tuple(words_of(_NO_WORDS.sub(" ", pair.english), "en")), tuple(cut(pair.text))
        uneven = len(ours) > 4 * len(theirs) + 4 or len(theirs) > 4 * len(ours) + 4
        if not ours or not theirs or max(len(ours), len(theirs)) > LONGEST or uneven or (ours, theirs) in seen:
            continue
        seen.add((ours, theirs))
        stems = [stemmed(word, "en") for word in ours]
        for stem, word in zip(stems, ours, strict=True):
            forms[stem][word] += 1
        found.english.append([english[stem] for stem in stems])
        found.other.append([other[stemmed(word, cut.language)] for word in theirs])
        found.weight.append(BAG_WEIGHT if pair.bag else 1.0)
    names = [max(forms[stem], key=lambda word: (forms[stem][word], word)) for stem in english]
    return found._replace(english_words=names, other_words=list(other))


def model1(
    source: Sequence[list[int]], target: Sequence[list[int]], weight: Sequence[float], sizes: tuple[int, int]
) -> Any:
    """How likely each source word stands for each target word: (source words, target words, probabilities), three arrays of the
    pairs that occur. Every text has an empty source word beside its own, numbered as one more than there are."""
    empty, width = sizes
    sources, targets, places, weights, count = [], [], [], [], 0
    for some, others, value in zip(source, target, weight, strict=True):
        a, b = np.array([*some, empty]), np.array(others)
        sources.append(np.tile(a, len(b)))
        targets.append(np.repeat(b, len(a)))
        places.append(np.repeat(np.arange(count, count + len(b)), len(a)))
        weights.append(np.full(len(a) * len(b), value))
        count += len(b)
    place, worth = np.concatenate(places), np.concatenate(weights)
    both, link = np.unique(
        np.concatenate(sources).astype(np.int64) * width + np.concatenate(targets), return_inverse=True
    )
    word = both // width
    chance = 1 / np.bincount(word, minlength=empty + 1)[word]
    for _ in range(ROUNDS):
        share = chance[link]
        share = share / np.bincount(place, share, count)[place] * worth
        expected = np.bincount(link, share, len(both))
        chance = expected / (np.bincount(word, expected, empty + 1)[word] + DOUBT)
    return word, both % width, chance


def entries(found: Lines) -> Entries:
    """Stem -> English words, the likeliest first. Words that say nothing in English are left out."""
    sizes = len(found.other_words), len(found.english_words)
    there = {
        (f, e): p
        for f, e, p in zip(*model1(found.other, found.english, found.weight, sizes), strict=True)
        if p > LEAST * LEAST
    }
    pairs: dict[str, list[tuple[str, float]]] = defaultdict(list)
    for e, f, back in zip(*model1(found.english, found.other, found.weight, sizes[::-1]), strict=True):
        if e < sizes[1] and (weight := math.sqrt(there.get((f, e), 0.0) * back)) >= LEAST:
            english = found.english_words[e]
            if english not in STOPWORDS["en"] and not re.search(r"[\d_]", english + found.other_words[f]):
                pairs[found.other_words[f]].append((english, weight))
    return {
        stem: sorted(some, key=lambda pair: (-pair[1], pair[0]))[:MOST]
        for stem, some in pairs.items()
        if len(stem) < 40
    }


def own_pairs() -> list[Pair]:
    """Words written for this: a line has a word in each language, the alternatives divided by /."""
    path = Path(__file__).parent / "bilingual_words.txt"
    rows = [line.split(" | ") for line in path.read_text("utf-8").splitlines() if not line.startswith("#")]
    (_, *names), *words = rows
    return [
        Pair(name, english, said)
        for english, *others in words
        for name, other in zip(names, others, strict=True)
        for said in other.split("/")
    ]


def train(data: Path | None, out: Path, *, only: Sequence[str] = LANGUAGES) -> Path:
    """Write a dictionary for each language, and card.json, into out. Without data: of the written words alone."""
    began = time.process_time()
    said: dict[str, list[Pair]] = {language: [] for language in only}
    for pair in chain(own_pairs(), pairs(data) if data else ()):
        if pair.language in said:
            said[pair.language].append(pair)
    files = fetched(data) if data else {}
    found = {}
    for language in only:
        counts: Mapping[str, int] = {}
        if language == "zh" and data:
            counts = chinese_words(files["nodejieba"])
        elif language in ("ja", "zh"):
            counts = Counter(
                run for pair in said[language] for word in words_of(pair.text, language) for run in pieces(word)
            )
        found[language] = entries(lines(said[language], Cut(language, counts))) if said[language] else {}
        print(
            f"{language}: {len(found[language])} words, {time.process_time() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    sizes = written(out, {language: some for language, some in found.items() if some})
    card = {
        "name": "bilingual",
        "does": "says what words of other languages may be in English",
        "languages": {language: len(some) for language, some in found.items()},
        "licence": "Apache-2.0; learnt from texts under MIT, BSD, ISC, Apache-2.0 and Unicode-3.0, named below",
        "recipe": "python -m penstock.train.bilingual",
        "trained": {"rounds": ROUNDS, "seed": None, "cpu_s": round(time.process_time() - began)},
        "data": [source._asdict() for source in SOURCES],
        "own words": "penstock/train/bilingual_words.txt: written for this",
        "not for": "translating: each word stands alone, and the likeliest is often not the one that is meant",
        "bytes": sizes,
        "sha256": {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in sizes},
    }
    (out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return out


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(tempfile.gettempdir()) / "penstock-packages")
    parser.add_argument("--out", type=Path, default=Path("bilingual"))
    parser.add_argument("--only", nargs="*", default=LANGUAGES, help="languages, where not all")
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args(arguments)
    print(train(None if given.check else given.data, given.out, only=given.only))


if __name__ == "__main__":
    main()
