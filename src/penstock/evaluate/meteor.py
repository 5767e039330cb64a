"""METEOR: the words that an answer and a reference have in common, each with one partner, and in how few pieces they lie.

Banerjee and Lavie (2005), with the weights of that paper or of Lavie and Agarwal (2007). Words are matched by their form, then by
their stem. The third stage of the papers, synonyms, is left out: we ship no WordNet. So values are lower than those of METEOR's own
program where an answer says the same in other words.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from heapq import heapify, heappop, heappush
from typing import Literal, NamedTuple, get_args

from penstock.errors import BadRequest
from penstock.evaluate.text_score import Score, best, checked
from penstock.evaluate.words import stemmed, words

__all__ = ["Version", "aligned", "chunks", "meteor"]

Version = Literal["2005", "2007"]

MOST_PAIRS = 200_000  # pairs of equal words among which the best partners are looked for


class _Weights(NamedTuple):
    alpha: float  # of precision against recall; .9 is nearly all recall
    beta: float  # how fast the penalty grows with the pieces
    gamma: float  # the largest penalty


_WEIGHTS = {"2005": _Weights(0.9, 3.0, 0.5), "2007": _Weights(0.81, 0.83, 0.28)}


def meteor(answer: str, references: str | Sequence[str], *, version: Version = "2007", language: str = "en") -> Score:
    """METEOR against the reference that suits best. detail: matches, and the chunks they lie in.

    version: whose weights. Those of 2007 were fitted to human judgements of English translations. language: whose stemmer;
    "" compares forms alone. Raises BadRequest for a version or language that there is not.
    """
    weights = _WEIGHTS.get(version)
    if weights is None:
        raise BadRequest(f"METEOR has no version {version!r} here", hint=f"one of {', '.join(get_args(Version))}")
    own = words(answer)
    return best([_meteor(own, words(text), weights, language) for text in checked(answer, references)])


def _meteor(own: list[str], wanted: list[str], weights: _Weights, language: str) -> Score:
    partners = aligned(own, wanted, language=language)
    pieces = chunks(partners)
    matches = len(own) - partners.count(-1)
    detail = {"matches": matches, "chunks": pieces}
    if not matches:
        return Score(0.0, 0.0, 0.0, detail)
    precision, recall = matches / len(own), matches / len(wanted)
    mean = precision * recall / (weights.alpha * precision + (1 - weights.alpha) * recall)
    penalty = weights.gamma * (pieces / matches) ** weights.beta
    return Score((1 - penalty) * mean, precision, recall, detail)


def chunks(partners: Sequence[int]) -> int:
    """Stretches of neighbouring words whose partners are neighbours in the same order."""
    pieces, last = 0, -2
    for partner in partners:
        if partner >= 0 and partner != last + 1:
            pieces += 1
        last = partner if partner >= 0 else -2
    return pieces


def aligned(own: Sequence[str], wanted: Sequence[str], *, language: str = "en") -> list[int]:
    """For each word the place of its partner, or -1: as many partners as there can be, forms before stems, in few chunks.

    To find the fewest chunks is hard; the longest common stretch is taken first, then the longest of what is left (Wise 1993,
    "greedy string tiling"). Of equals the one that lies straightest is taken.
    """
    partners, taken = [-1] * len(own), [False] * len(wanted)
    _match(own, wanted, partners, taken)
    if language and -1 in partners and not all(taken):
        _match(stemmed(own, language), stemmed(wanted, language), partners, taken)
    return partners


def _match(own: Sequence[str], wanted: Sequence[str], partners: list[int], taken: list[bool]) -> None:
    """Give partners to words that are equal and have none; changes both lists."""
    own_places, places = _free(own, partners, -1), _free(wanted, taken, False)
    pairs: set[tuple[int, int]] = set()
    both = sorted(own_places.keys() & places.keys(), key=lambda word: len(own_places[word]) * len(places[word]))
    for word in both:
        if len(pairs) + len(own_places[word]) * len(places[word]) > MOST_PAIRS:
            for here, there in zip(own_places[word], places[word], strict=False):  # too many: first to first, and so on
                partners[here], taken[there] = there, True
        else:
            pairs |= {(here, there) for here in own_places[word] for there in places[word]}
    slope = len(wanted) / max(1, len(own))

    def rank(start: tuple[int, int], length: int) -> tuple[float, float, int, int, int]:
        here, there = start
        attached = (here > 0 and there > 0 and partners[here - 1] == there - 1) + (
            here + length < len(own) and partners[here + length] == there + length
        )
        return -length - attached, abs(there - here * slope), here, there, length

    stretches = []
    for here, there in pairs:
        if (here - 1, there - 1) not in pairs:
            length = 1
            while (here + length, there + length) in pairs:
                length += 1
            stretches.append(rank((here, there), length))
    heapify(stretches)
    while stretches:
        *_, here, there, length = heappop(stretches)
        free = [partners[here + n] < 0 and not taken[there + n] for n in range(length)]
        if all(free):
            for n in range(length):
                partners[here + n], taken[there + n] = there + n, True
            continue
        start = 0
        for n in range(length + 1):  # what is free of it, in one or more parts
            if n == length or not free[n]:
                if n > start:
                    heappush(stretches, rank((here + start, there + start), n - start))
                start = n + 1


def _free(words: Sequence[str], state: Sequence[Hashable], free: Hashable) -> dict[str, list[int]]:
    places: dict[str, list[int]] = {}
    for at, word in enumerate(words):
        if state[at] == free:
            places.setdefault(word, []).append(at)
    return places
