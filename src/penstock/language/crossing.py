"""Questions in another language than the passages, which are in English, without a translation engine.

Each word of a question becomes the English words that it may stand for: from a dictionary (by its stem, its parts where it is
a compound, or a stem that begins like it), from the words of the index that sound like it, or itself. Which of them the
passages hold is for whoever searches to say; nothing else of the index is known here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache, cached_property
from itertools import islice

from penstock.language.dictionaries import Dictionary, dictionary, languages, words_of
from penstock.language.dictionaries import stemmed as stem_of
from penstock.language.sounds import Sounds, latin, names_in
from penstock.text.stopwords import STOPWORDS
from penstock.types import Crossed

__all__ = ["Dictionaries"]

MOST_WORDS = 48  # of a question that are looked up
ITSELF = 0.7  # weight of a word that the passages hold as it is, beside its translations
ALIKE, LEAST_ALIKE = 0.8, 0.45  # weight of a word that sounds the same; likeness below which two words do not
NEARLY = 0.5  # share of a translation's weight that is left to a word of nearly the same stem
ABSENT = 0.3  # and to a word that no passage holds, in what the question is taken to mean
SHORTEST, LONGEST = 3, 40  # letters of a word that others may sound like, or that may be a compound
MOST_ALIKE = 5
FLATTER = 0.5  # exponent of every weight: a dictionary is surer than it should be
LEAST_COMPOUND = 8  # letters
READ_AS = {  # languages without a dictionary, by that of a near one; a short text is easily taken for one of them
    "af": "nl", "be": "uk", "gl": "pt", "lb": "de", "mk": "bg", "mr": "hi", "ms": "id", "ne": "hi", "sk": "cs",
}  # fmt: skip
COMPOUNDS = ("da", "de", "fi", "hu", "nl", "no", "sv")
LINKS = ("", "s", "es", "n", "en", "e", "er", "ens")  # between the parts of a compound

_MORE_STOP = {  # beside those of text/stopwords
    "ar": "ما ماذا من متى أين كيف كم هل لماذا هو هي هم الذي التي الذين تم يتم كان كانت يكون في على إلى عن مع هذا هذه "
    "ذلك تلك قد لقد أو و ثم بين بعد قبل عند كل بعض أي أية وما ومن لا لم لن أن إن أنه أنها إذا حتى مثل خلال حول "
    "يمكن يمكنني يوجد توجد فيها فيه عليه له لها لهم",
    "hi": "क्या कौन कौनसा कौनसी किस किसने किसके किसकी किसका किसे कब कहाँ कहां क्यों कैसे कितना कितने कितनी हो होता होती होते हुआ हुई "
    "हुए गया गई गए किया करना करने करता करती करते कर जो जिस जिसे जिसने सकता सकती सकते सकें चाहिए",
    "ja": " ".join(map(chr, range(0x3041, 0x3097))) + " です ました した する から まで 何 誰 いつ どこ どの なぜ どう",
    "ru": "какой какая какое какие каков какова каковы какую каким какими сколько чей чья чьё чьи ли",
    "tr": "hangi hangisi hangileri nedir kimdir kimin neden nasıl kaç nerede nereye nereden ne kim zaman",
    "uk": "який яка яке які скільки коли де хто що як чому чи в у на з із до та і й або за від про для не є",
    "zh": "的 了 是 在 有 和 与 及 或 为 被 把 对 从 到 向 于 以 由 用 将 让 给 跟 比 也 都 就 还 又 很 更 不 没 没有 "
    "我 你 您 他 她 它 我们 你们 他们 它们 这 那 这个 那个 这些 那些 此 其 该 之 所 者 什么 哪 哪个 哪些 哪里 "
    "哪儿 哪位 哪种 哪一 谁 怎么 怎样 如何 为什么 为何 多少 几 吗 呢 吧 啊 么 会 能 能够 可以 可 要 应 应该 得 地 "
    "着 过 个 位 种 些 时 时候 当 何时 何 是否 还是 并 而 但 但是 因为 所以 如果 则 中 上 下 里 内 后 前 等 某 每 "
    "各 请 请问 想 一 一个 自己 曾 曾经 已 已经 正在 才 只",
}  # fmt: skip


@cache
def _stop(language: str) -> frozenset[str]:
    """The words of a language that say nothing by themselves, as dictionaries write them."""
    listed = (*STOPWORDS.get(language, ()), *_MORE_STOP.get(language, "").split())
    return frozenset(word for one in listed for word in words_of(one, language))


class Dictionaries:
    """The shipped dictionaries over one index. Safe to share between threads; satisfies `Crosser`."""

    def __init__(self, words: Callable[[], Sequence[str]]) -> None:
        """words: of the index. They are asked for once, with the first question that needs them."""
        self._words = words

    @cached_property
    def _sounds(self) -> Sounds:
        return Sounds(self._words())

    def cross(self, question: str, language: str, held: Callable[[str], bool]) -> Crossed | None:
        """See `Crosser`. About 1 ms; the first question in a language 20 ms more, over an index 25 µs for each of its words."""
        language = READ_AS.get(language, language)
        if language not in languages():
            return None
        known, english, stop = dictionary(language), STOPWORDS["en"], _stop(language)
        found, asked = list[tuple[tuple[str, float], ...]](), list[str]()
        words = [*known.cut(question), *(names_in(question) if language == "zh" else ())]
        for word in list(dict.fromkeys(word for word in words if word not in stop))[:MOST_WORDS]:
            first, *parts = _translated(word, known) or [()]
            said = {one: weight for one, weight in first if one not in english}
            if held(word):
                said[word] = max(said.get(word, 0.0), ITSELF if said else 1.0)
            else:
                said |= {one: max(said.get(one, 0.0), weight) for one, weight in self._like(word, held)}
            if not said and word.isascii() and word not in english:
                said[word] = 1.0
            for some in (said, *({one: weight for one, weight in part if one not in english} for part in parts)):
                if some:
                    found.append(tuple((one, weight**FLATTER) for one, weight in some.items()))
                    asked.append(max(some, key=lambda one: some[one] * (1.0 if held(one) else ABSENT)))
        return Crossed(tuple(asked), tuple(found)) if asked else None

    def _like(self, word: str, held: Callable[[str], bool]) -> list[tuple[str, float]]:
        """The words of the index that a word sounds like, each with a weight."""
        spelt = latin(word)
        if not SHORTEST <= len(spelt) <= LONGEST or not re.fullmatch("[a-z]+", spelt):
            return []
        near = ((one, likeness) for one, likeness in self._sounds.like(spelt, LEAST_ALIKE) if held(one))
        return [(one, ALIKE * likeness**2) for one, likeness in islice(near, MOST_ALIKE)]


def _translated(word: str, known: Dictionary) -> list[Sequence[tuple[str, float]]]:
    """What a dictionary says of a word, and of each of its parts where it is a compound; or else of a word that begins like it."""
    stem = stem_of(word, known.language)
    found: list[Sequence[tuple[str, float]]] = [known[stem]] if stem in known else []
    if known.language in COMPOUNDS and LEAST_COMPOUND <= len(word) <= LONGEST:
        said = {one for one, _ in known[stem]}
        found += [known[part] for part in _parts(word, known) if said.isdisjoint(one for one, _ in known[part][:2])]
    if not found and (near := _begins_like(stem, known)):
        found = [[(one, weight * NEARLY) for one, weight in near]]
    return found


def _parts(word: str, known: Dictionary) -> list[str]:
    """The stems of two or three words that make up one; the longest first part wins."""
    for end in range(len(word) - 3, 3, -1):
        first = word[:end]
        for link in LINKS:
            if first.endswith(link) and len(first) - len(link) >= 4:
                stem = stem_of(first[: len(first) - len(link)] if link else first, known.language)
                if stem not in known:
                    continue
                rest = word[end:]
                last = stem_of(rest, known.language)
                if last in known:
                    return [stem, last]
                if len(rest) >= 8 and (more := _parts(rest, known)):
                    return [stem, *more]
    return []


def _begins_like(stem: str, known: Dictionary) -> Sequence[tuple[str, float]]:
    for end in range(len(stem) - 1, max(4, len(stem) * 2 // 3) - 1, -1):
        if stem[:end] in known:
            return known[stem[:end]]
    return ()
