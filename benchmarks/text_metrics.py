"""ROUGE takes at most 1/20 of the CPU time of rouge-score where words are stemmed, and BLEU, chrF and TER less than sacrebleu's.

    python -m benchmarks.text_metrics [DATA] [--pairs 1000] [--rounds 5]

1,000 passages of 60 words of this documentation, each beside a copy in which twelve places were dropped, added to or moved. Both
sides take turns, metric by metric; medians of CPU time over the rounds. What either remembers of words and sentences is forgotten
before each turn. Values are compared first: one that differs by more than 1e-9 ends the benchmark.

With DATA, which holds retrieval/xquad, metrics also tell in 12 languages which of two passages a question was asked of.
"""

from __future__ import annotations

import argparse
import gc
import gzip
import json
import logging
import random
import re
import statistics
import string
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a
from sacrebleu.tokenizers.tokenizer_re import TokenizerRegexp
from sacrebleu.tokenizers.tokenizer_ter import TercomTokenizer

from benchmarks.measure import ROOT, show, versions, write
from penstock.evaluate import porter, segment
from penstock.evaluate.exact import token_f1
from penstock.evaluate.meteor import meteor
from penstock.evaluate.overlap import bleu, chrf
from penstock.evaluate.rouge import rouge
from penstock.evaluate.ter import ter
from penstock.evaluate.text_metrics import METRICS

SEED = 7
WORDS = 60
EDITS = 12

Pair = tuple[str, str]
Values = Callable[[str, str], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class Contest:
    """The same metric from two sides; theirs is None where nobody else was asked."""

    name: str
    ours: Values
    theirs: Values | None = None


def pairs_of(count: int) -> list[Pair]:
    """Passages of the documentation and edited copies of them."""
    pages = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "reference")
    words = " ".join(page.read_text("utf-8") for page in pages).split()
    draw = random.Random(SEED)
    found = []
    for _ in range(count):
        start = draw.randrange(len(words) - WORDS)
        passage = words[start : start + WORDS]
        copy = list(passage)
        for _ in range(EDITS):
            at, kind = draw.randrange(len(copy)), draw.randrange(3)
            if kind == 0:
                del copy[at]
            elif kind == 1:
                copy.insert(at, draw.choice(words))
            else:
                length = draw.randint(1, 5)
                part, copy[at : at + length] = copy[at : at + length], []
                to = draw.randrange(len(copy) + 1)
                copy[to:to] = part
        found.append((" ".join(passage), " ".join(copy)))
    return found


def forget() -> None:
    """Both sides remember words or sentences that they have cut before."""
    for memory in (porter.STEMS, porter.ROUGE_STEMS, segment._western_chunks):
        memory.clear()
    for kind in (Tokenizer13a, TokenizerRegexp, TercomTokenizer):
        kind.__call__.cache_clear()
    gc.collect()


def contests() -> list[Contest]:
    theirs_bleu, theirs_chrf = BLEU(effective_order=True), CHRF()
    theirs_chrf_2, theirs_ter = CHRF(word_order=2), TER()
    found = [
        Contest("BLEU", lambda a, r: (bleu(a, r).percent,), lambda a, r: (theirs_bleu.sentence_score(a, [r]).score,)),
        Contest("chrF", lambda a, r: (chrf(a, r).percent,), lambda a, r: (theirs_chrf.sentence_score(a, [r]).score,)),
        Contest(
            "chrF++",
            lambda a, r: (chrf(a, r, words=2).percent,),
            lambda a, r: (theirs_chrf_2.sentence_score(a, [r]).score,),
        ),
        Contest("TER", lambda a, r: (ter(a, r).percent,), lambda a, r: (theirs_ter.sentence_score(a, [r]).score,)),
    ]
    found += [
        Contest(
            f"{' '.join(kinds)}{', stemmed' if stem else ''}",
            partial(_ours, kinds, stem),
            partial(_theirs, RougeScorer(kinds, use_stemmer=bool(stem)), kinds),
        )
        for stem in ("en", "")
        for kinds in (("rouge1",), ("rouge2",), ("rougeL",), ("rougeLsum",), ("rouge1", "rouge2", "rougeL"))
    ]
    found.append(Contest("token F1", lambda a, r: (token_f1(a, r, rules="original").value,), _squad))
    found.append(Contest("METEOR", lambda a, r: (meteor(a, r).value,)))
    return found


def _ours(kinds: tuple[str, ...], stem: str, answer: str, reference: str) -> tuple[float, ...]:
    scores = rouge(answer, reference, kinds=kinds, stem=stem, rules="original")
    return tuple(scores[kind].value for kind in kinds)


def _theirs(scorer: Any, kinds: tuple[str, ...], answer: str, reference: str) -> tuple[float, ...]:
    scores = scorer.score(reference, answer)
    return tuple(scores[kind].fmeasure for kind in kinds)


def _squad(answer: str, reference: str) -> tuple[float, ...]:
    """Token F1 written as SQuAD's evaluation describes it, to compare values and cost."""

    def tokens(text: str) -> list[str]:
        text = "".join(char for char in text.lower() if char not in set(string.punctuation))
        return re.sub(r"\b(a|an|the)\b", " ", text).split()

    own, wanted = tokens(answer), tokens(reference)
    same = sum((Counter(own) & Counter(wanted)).values())
    if not same:
        return (float(own == wanted),)
    return (2 * same / (len(own) + len(wanted)),)


def microseconds(values: Values, pairs: list[Pair]) -> float:
    forget()
    began = time.process_time()
    for answer, reference in pairs:
        values(answer, reference)
    return (time.process_time() - began) / len(pairs) * 1e6


def compared(contest: Contest, pairs: list[Pair], rounds: int) -> dict[str, float]:
    """Largest difference of values, and medians of CPU microseconds for a pair."""
    row = {}
    if contest.theirs:
        row["differs_by"] = max(
            abs(one - other)
            for answer, reference in pairs
            for one, other in zip(contest.ours(answer, reference), contest.theirs(answer, reference), strict=True)
        )
        if row["differs_by"] > 1e-9:
            raise SystemExit(f"{contest.name} differs by {row['differs_by']}")
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(microseconds(contest.ours, pairs))
        if contest.theirs:
            theirs.append(microseconds(contest.theirs, pairs))
    row["ours_us"] = statistics.median(ours)
    if theirs:
        row["theirs_us"] = statistics.median(theirs)
        row["times_as_fast"] = statistics.median(their / our for our, their in zip(ours, theirs, strict=True))
    return row


def languages_of(data: Path, questions: int = 100) -> dict[str, dict[str, float]]:
    """Language -> AUROC of the recall of each metric: a question beside its passage, or beside another of about its length."""
    found = {}
    for folder in sorted((data / "retrieval" / "xquad").iterdir()):
        texts = {row["_id"]: row["text"] for row in _rows(folder / "corpus.jsonl.gz")}
        asked = {row["_id"]: row["text"] for row in _rows(folder / "queries.jsonl.gz")}
        wanted = [line.split("\t")[:2] for line in (folder / "qrels.tsv").read_text("utf-8").splitlines()[1:]]
        by_length = sorted(texts, key=lambda name: len(texts[name]))
        draw = random.Random(SEED)
        own, others = [], []
        for question, passage in draw.sample(wanted, questions):
            near = by_length.index(passage)
            around = [name for name in by_length[max(0, near - 8) : near + 9] if name != passage]
            own.append((asked[question], texts[passage]))
            others.append((asked[question], texts[draw.choice(around)]))
        row: dict[str, float] = {"questions": questions}
        for name in ("token_f1", "rouge1", "chrf", "bertscore"):
            good, bad = (
                [METRICS[name].score(passage, [q]).recall or 0.0 for q, passage in pairs] for pairs in (own, others)
            )
            row[name] = sum((g > b) + (g == b) / 2 for g in good for b in bad) / questions**2
        strangers = zip(own, own[1:] + own[:1], strict=True)
        row["strangers"] = statistics.mean(
            METRICS["bertscore"].score(q, [other]).value for (q, _), (other, _) in strangers
        )
        found[folder.name] = row
        print(folder.name, row, flush=True)
    return found


def _rows(path: Path) -> list[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("data", type=Path, nargs="?")
    chosen = parser.parse_args()
    logging.disable(logging.CRITICAL)
    pairs = pairs_of(chosen.pairs)
    rows = {}
    for contest in contests():
        slow = contest.name == "TER"
        rows[contest.name] = compared(contest, pairs[:100] if slow else pairs, 3 if slow else chosen.rounds)
        print(contest.name, rows[contest.name], flush=True)
    show(
        f"CPU time of one pair of {WORDS} words, in microseconds",
        {"ours": "ours_us", "theirs": "theirs_us", "times as fast": "times_as_fast", "differs by": "differs_by"},
        rows,
    )
    languages = languages_of(chosen.data) if chosen.data else {}
    if languages:
        show(
            "A question beside its passage or another: AUROC of recall; and the mean BERTScore of two questions",
            {name: name for name in ("token_f1", "rouge1", "chrf", "bertscore", "strangers")},
            languages,
        )
    write(
        "text_metrics",
        claim=__doc__,
        command=f"python -m benchmarks.text_metrics{' DATA' if languages else ''}",
        figures={
            "versions": versions(["penstock", "sacrebleu", "rouge-score", "nltk", "numpy"]),
            "pairs": chosen.pairs,
            "words": WORDS,
            "edits": EDITS,
            "rounds": chosen.rounds,
            "ter_pairs_and_rounds": [100, 3],
            "metrics": rows,
            "question_and_passage": languages,
        },
    )


if __name__ == "__main__":
    main()
