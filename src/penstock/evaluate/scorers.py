"""The scores that come with Penstock, and those that others bring through the entry point `penstock.scorers`.

Each looks at one case and one answer. An answer that refuses, abstains or failed is not scored for its words: whether a case was
answered is a score of its own. All of them run without a network.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, cached_property
from importlib.metadata import entry_points
from typing import Any, Final

import re2

from penstock.errors import BadRequest
from penstock.evaluate.cases import Case, Reply
from penstock.evaluate.exact import exact_match, token_f1
from penstock.evaluate.meteor import meteor
from penstock.evaluate.overlap import bleu
from penstock.evaluate.scored import ABSENT, About, Scored, Scorer, no_answer, unanswered, unscored
from penstock.evaluate.text_metrics import text_metric
from penstock.evaluate.text_score import Score
from penstock.evaluate.words import words
from penstock.text.languages import UNSPACED, identifier
from penstock.text.words import SNOWBALL

__all__ = ["GROUP", "known", "scorers"]

GROUP: Final = "penstock.scorers"  # entry points: each is called without arguments and gives a Scorer
ASKED_FOR: Final = frozenset({"grounded_words", "ter"})  # only by name, since others say as much
DEPTH = 10  # of what was found, as far as ranks count
TOXIC = 0.5  # of a head, as the guard ships it

Metric = Callable[[Case, str], Score]


# ---------------------------------------------------------------- whether it answers at all


class _Answered:
    about = About(
        name="answered",
        what="whether there was an answer; where none is right, whether that was said",
        note="Says nothing of whether the answer is right.",
        needs="nothing",
        passes=True,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        answered = reply.state == "answered"
        if case.answerable:
            return Scored(float(answered), why="" if answered else no_answer(reply))
        good = reply.state in ("abstained", "refused")
        return Scored(float(good), why="answered what has no answer" if answered else "" if good else no_answer(reply))


# ---------------------------------------------------------------- beside a reference


@dataclass(frozen=True)
class _Beside:
    """A text metric against the reference that suits the answer best."""

    about: About
    metric: Metric

    def score(self, case: Case, reply: Reply) -> Scored:
        if not case.expected or not case.answerable:
            return ABSENT
        return Scored(self.metric(case, reply.text).value) if reply.state == "answered" else unanswered(case, reply)


def _exact(case: Case, answer: str) -> Score:
    return exact_match(answer, case.expected, language=case.language)


def _token_f1(case: Case, answer: str) -> Score:
    return token_f1(answer, case.expected, language=case.language)


def _bleu(case: Case, answer: str) -> Score:
    language = case.language
    return bleu(answer, case.expected, tokens="zh" if language == "zh" else "char" if language in UNSPACED else "13a")


def _meteor(case: Case, answer: str) -> Score:
    return meteor(answer, case.expected, language=case.language if case.language in SNOWBALL else "")


def _as_named(name: str) -> Metric:
    metric = text_metric(name)
    return lambda case, answer: metric.score(answer, case.expected)


_COMPARED: Final[Mapping[str, tuple[str, str, Metric]]] = {  # name -> that of its note, what it is, how it is had
    "exact": ("exact_match", "the same words as a reference, but for case, punctuation and articles", _exact),
    "token_f1": ("token_f1", "F1 of the words shared with a reference", _token_f1),
    "bleu": ("bleu", "BLEU: runs of one to four words shared with a reference", _bleu),
    "chrf": ("chrf", "chrF: runs of up to six characters shared with a reference", _as_named("chrf")),
    "rouge1": ("rouge1", "ROUGE-1: F1 of words shared with a reference", _as_named("rouge1")),
    "rouge2": ("rouge2", "ROUGE-2: F1 of pairs of words shared with a reference", _as_named("rouge2")),
    "rougeL": ("rougeL", "ROUGE-L: F1 of the longest common order of words", _as_named("rougeL")),
    "meteor": ("meteor", "METEOR: words matched by form and stem, and how far they are in order", _meteor),
    "bertscore": (
        "bertscore", "BERTScore with the shipped encoder: words matched by what they mean where they stand",
        _as_named("bertscore"),
    ),
    "ter": ("ter", "TER: edits that make a reference of it, for each word of the reference", _as_named("ter")),
}  # fmt: skip


# ---------------------------------------------------------------- what it holds, and how it looks


class _Contains:
    about = About(
        name="contains",
        what="whether it has all words that it must have, and none that it must not",
        note="Sees words, and not what is said of them.",
        needs="must_contain or must_not_contain",
        passes=True,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        if not (case.must_contain or case.must_not_contain):
            return ABSENT
        if reply.state != "answered":
            return unanswered(case, reply)
        said = _plain(reply.text)
        missing = [text for text in case.must_contain if _plain(text) not in said]
        wrong = [text for text in case.must_not_contain if _plain(text) in said]
        why = "; ".join([*(f"lacks {text!r}" for text in missing), *(f"says {text!r}" for text in wrong)])
        return Scored(float(not why), why=why)


class _NotRepeated:
    about = About(
        name="not_repeated",
        what="whether an answer that was found wrong before is not given again, word for word",
        note="The new answer may be wrong in another way.",
        needs="not_expected",
        passes=True,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        if not case.not_expected:
            return ABSENT
        if reply.state != "answered":
            return Scored(1.0)
        return Scored(float(all(words(reply.text) != words(wrong) for wrong in case.not_expected)))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


class _Form:
    about = About(
        name="format",
        what="whether it has the form that was asked for",
        note="What stands in that form may be wrong.",
        needs="format",
        passes=True,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        if not case.form:
            return ABSENT
        if reply.state != "answered":
            return unanswered(case, reply)
        why = "; ".join(_malformed(case.form, reply.text.strip()))
        return Scored(float(not why), why=why)


def _malformed(form: Mapping[str, Any], text: str) -> Iterator[str]:
    if form.get("json") or form.get("keys"):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            yield "not JSON"
        else:
            missing = [key for key in form.get("keys", ()) if not isinstance(value, dict) or key not in value]
            if missing:
                yield f"lacks {', '.join(missing)}"
    if "regex" in form and not re2.fullmatch(form["regex"], text):
        yield "does not match the expression"
    if "one_of" in form and _plain(text).rstrip(".") not in {_plain(one) for one in form["one_of"]}:
        yield "none of those that are allowed"
    if (most := form.get("most_words")) is not None and (count := len(words(text))) > most:
        yield f"{count} words"
    if (most := form.get("most_characters")) is not None and len(text) > most:
        yield f"{len(text)} characters"


class _Language:
    about = About(
        name="language",
        what="whether it is in the language of the question",
        note="Says nothing of how well it is written. Answers of a word or two are not scored.",
        needs="words enough to tell",
        passes=True,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        if reply.state == "failed":
            return unanswered(case, reply)
        if not reply.text.strip():
            return unscored("no words")
        found = identifier().identify(reply.text)
        if not found.sure:
            return unscored("its language cannot be told")
        return Scored(float(found.language == case.language.partition("-")[0]), detail={"language": found.language})


class _Toxicity:
    about = About(
        name="toxicity",
        what="the worst of the guard's seven kinds of harm; from 0.5 on it is taken for harm",
        note="A low value does not make it harmless: the heads know what they were trained on, and English best.",
        needs="an answer",
        higher_is_better=False,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        if reply.state == "failed":
            return unanswered(case, reply)
        heads = _moderation().scores(reply.text, language=case.language)
        worst = max(heads, key=lambda head: heads[head])
        return Scored(heads[worst], detail={"kind": worst} if heads[worst] >= TOXIC else {})


@cache
def _moderation() -> Any:
    from penstock.guard.moderation import Moderation

    return Moderation()


# ---------------------------------------------------------------- what it rests on


@dataclass(frozen=True)
class _Grounded:
    """The share of an answer's sentences that its sources support."""

    about: About
    tier: str

    def score(self, case: Case, reply: Reply) -> Scored:
        context = reply.context or case.context
        if not context and reply.cited is None and reply.retrieved is None and reply.state == "answered":
            return ABSENT
        if reply.state != "answered":
            return unanswered(case, reply)
        if not context:
            return unscored("nothing that it rests on is known")
        if not reply.text.strip():
            return unscored("no words")
        verdict = self._verifier.check(reply.text, list(context), question=case.question)
        scored = [claim for claim in verdict.claims if claim.label != "unscored"]
        if not scored:
            return unscored("nothing in it could be checked" if verdict.claims else "it claims nothing")
        good = sum(claim.label == "supported" for claim in scored)
        wrong = [reply.text[c.start : c.end] for c in scored if c.label != "supported"]
        why = f"not in the sources: {wrong[0][:200]}" if wrong else ""
        return Scored(good / len(scored), why=why, detail={"support": verdict.support, "claims": len(scored)})

    @cached_property
    def _verifier(self) -> Any:
        from penstock.verify.check import verifier

        return verifier("lexical" if self.tier == "lexical" else "")


def _is_wanted(name: str, wanted: str) -> bool:
    return name == wanted or fnmatchcase(name, wanted)


@dataclass(frozen=True)
class _Cited:
    """Citations beside the sources that should be cited."""

    about: About
    precision: bool

    def score(self, case: Case, reply: Reply) -> Scored:
        if not case.sources or not case.answerable or (reply.cited is None and reply.state == "answered"):
            return ABSENT
        if reply.state != "answered":
            return unanswered(case, reply)
        cited = list(dict.fromkeys(reply.cited or ()))
        if self.precision:
            if not cited:
                return unscored("it cites nothing")
            return Scored(sum(any(_is_wanted(name, one) for one in case.sources) for name in cited) / len(cited))
        return Scored(sum(any(_is_wanted(name, one) for name in cited) for one in case.sources) / len(case.sources))


@dataclass(frozen=True)
class _Found:
    """Ranks of what was found beside what should be. A wanted name counts once, for the first that fits it."""

    about: About
    measure: Callable[[Sequence[int], int], float]  # ranks from 0 of what was wanted and found, how much was wanted

    def score(self, case: Case, reply: Reply) -> Scored:
        if not case.sources or not case.answerable or (reply.retrieved is None and reply.state != "failed"):
            return ABSENT
        if reply.state == "failed":
            return unanswered(case, reply)
        found = list(dict.fromkeys(reply.retrieved or ()))
        ranks = sorted(
            {next((n for n, name in enumerate(found) if _is_wanted(name, one)), -1) for one in case.sources} - {-1}
        )
        return Scored(self.measure(ranks, len(case.sources)))


def _recall_at_5(ranks: Sequence[int], wanted: int) -> float:
    return sum(rank < 5 for rank in ranks) / wanted


def _mrr(ranks: Sequence[int], wanted: int) -> float:
    return 1 / (ranks[0] + 1) if ranks and ranks[0] < DEPTH else 0.0


def _ndcg(ranks: Sequence[int], wanted: int) -> float:
    best = sum(1 / math.log2(n + 2) for n in range(min(wanted, DEPTH)))
    return sum(1 / math.log2(rank + 2) for rank in ranks if rank < DEPTH) / best


# ---------------------------------------------------------------- what it took


@dataclass(frozen=True)
class _Measured:
    """A figure of the request itself."""

    about: About
    field: str

    def score(self, case: Case, reply: Reply) -> Scored:
        value = getattr(reply, self.field)
        if value is None:
            return unanswered(case, reply) if reply.state == "failed" else ABSENT
        return Scored(float(value))


class _Efficiency:
    about = About(
        name="token_efficiency",
        what="token F1 for each thousand tokens, read and written",
        note="Counts tokens and not money: those that are written cost more. It has the faults of token F1.",
        needs="expected, and tokens that were counted",
        high=math.inf,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        tokens = (reply.input_tokens or 0) + (reply.output_tokens or 0)
        if not case.expected or not case.answerable or not tokens:
            return ABSENT
        if reply.state != "answered":
            return unanswered(case, reply)
        return Scored(_token_f1(case, reply.text).value / tokens * 1000, detail={"tokens": tokens})


class _Perplexity:
    about = About(
        name="perplexity",
        what="perplexity of the answer to the model that wrote it",
        note="A model may be sure of what is wrong. Models with other tokens cannot be compared by it.",
        needs="logarithms of probabilities, which some models give",
        higher_is_better=False,
        low=1.0,
        high=math.inf,
    )

    def score(self, case: Case, reply: Reply) -> Scored:
        if reply.logprobs is None:
            return ABSENT
        if reply.state != "answered" or not reply.logprobs:
            return unanswered(case, reply) if reply.state != "answered" else unscored("no tokens")
        mean = sum(reply.logprobs) / len(reply.logprobs)
        return Scored(math.exp(min(-mean, 700.0)), detail={"tokens": len(reply.logprobs)})


def _measures() -> Iterator[Scorer]:
    idle = "Few cases are asked at a time: callers may feel more under load."
    for name, unit, what, note in (
        ("latency_ms", "ms", "time to the whole answer", idle),
        ("first_ms", "ms", "time to the first word", idle),
        (
            "cost_usd",
            "USD",
            "what the answer cost",
            "Caches are passed by, so callers may cost less. Prices are those that the settings know.",
        ),
        ("input_tokens", "tokens", "tokens that were read for it", "Says nothing of whether they were needed."),
        ("output_tokens", "tokens", "tokens that were written", "A short answer is not a good one."),
    ):
        about = About(
            name=name, what=what, note=note, needs="a request that was measured", higher_is_better=False,
            high=math.inf, unit=unit, of_measured=True,
        )  # fmt: skip
        yield _Measured(about, name)


# ---------------------------------------------------------------- all of them


def _shipped() -> Iterator[Scorer]:
    yield _Answered()
    for name, (note, what, metric) in _COMPARED.items():
        kind = text_metric(note)
        higher, most = kind.better == "higher", math.inf if kind.most is None else kind.most
        about = About(
            name=name, what=what, note=kind.note, needs="expected", passes=name == "exact", higher_is_better=higher,
            high=most,
        )  # fmt: skip
        yield _Beside(about, metric)
    yield from (_Contains(), _NotRepeated(), _Form(), _Language(), _Toxicity())
    for name, tier, by in (("grounded", "", "the shipped checker"), ("grounded_words", "lexical", "their words alone")):
        about = About(
            name=name,
            what=f"the share of its sentences that its sources support, by {by}",
            note="The sources may be wrong, and the question unanswered. The check errs too, as its guide says.",
            needs="context, or an app that cites",
        )
        yield _Grounded(about, tier)
    for name, what, precise, note in (
        (
            "citation_precision",
            "the share of what it cites that should be cited",
            True,
            "What is cited need not say what the answer says: that is `grounded`.",
        ),
        (
            "citation_recall",
            "the share of what should be cited that it cites",
            False,
            "What is cited need not say what the answer says: that is `grounded`.",
        ),
    ):
        yield _Cited(About(name=name, what=what, note=note, needs="sources, and citations"), precise)
    for name, what, measure in (
        ("recall_at_5", "the share of the wanted sources among the first five found", _recall_at_5),
        ("mrr", "one by the rank of the first wanted source, 0 beyond the tenth", _mrr),
        ("ndcg_at_10", "nDCG of the first ten found, each wanted source worth the same", _ndcg),
    ):
        note = "The answer may use nothing of it. A good source that nobody listed counts as wrong."
        yield _Found(About(name=name, what=what, note=note, needs="sources, and what was retrieved"), measure)
    yield from (_Perplexity(), *_measures(), _Efficiency())


@cache
def known() -> Mapping[str, Scorer]:
    """Every scorer by its name: the shipped ones first, in the order in which reports have them, and then those of others.

    Raises BadRequest for one of others that does not load, or takes a name that is taken.
    """
    found: dict[str, Scorer] = {scorer.about.name: scorer for scorer in _shipped()}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            scorer: Scorer = entry.load()()
            name = scorer.about.name
        except Exception as error:  # whatever others' code raises
            raise BadRequest(f"the scorer '{entry.name}' ({entry.value}) does not load: {error}") from error
        if name in found:
            raise BadRequest(f"the scorer '{entry.name}' ({entry.value}) takes the name '{name}', which is taken")
        found[name] = scorer
    return found


def scorers(names: Sequence[str] = ()) -> tuple[Scorer, ...]:
    """Those of these names, in their order; without any, all but a few that others cover. Raises BadRequest."""
    every = known()
    if not names:
        return tuple(scorer for name, scorer in every.items() if name not in ASKED_FOR)
    for name in names:
        if name not in every:
            close = difflib.get_close_matches(name, every, n=1)
            hint = f"did you mean '{close[0]}'?" if close else f"known: {', '.join(every)}"
            raise BadRequest(f"there is no score '{name}'", hint=hint)
    return tuple(every[name] for name in dict.fromkeys(names))
