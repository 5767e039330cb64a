"""What the checker learns from: claims with evidence, from public sets whose licences allow it, and made from passages.

Made are: a question with its answer, right or of another question (who reads both must tell them apart); sentences with one
name or number exchanged; sentences whose own place was taken out of the evidence; sentences with a part left out, which still hold,
and with the end of another, which do not; and questions with passages, for relevance and for where the answer is. Evidence is
cut as `verify.evidence` cuts it, to windows of several sizes.
"""

from __future__ import annotations

import difflib
import gzip
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from penstock.text.words import term_ids
from penstock.verify.claims import blanked, claims
from penstock.verify.evidence import Pieces, Reader
from penstock.verify.lexical import compared, said
from penstock.verify.verifier import reads_with_question
from penstock.verify.words import told

__all__ = ["SETS", "Example", "Row", "examples", "fold_of", "read_rows"]


class _Set(NamedTuple):
    """One public set: how many of its rows are learnt from in a pass, and what its licence is."""

    a_pass: int
    licence: str


SETS = {
    "mnli_dev": _Set(19_700, "MultiNLI: OANC, CC BY 3.0, CC BY-SA 3.0"),
    "snli_dev_test": _Set(10_000, "SNLI: CC BY-SA 4.0"),
    "cad_nli": _Set(9_000, "counterfactually augmented NLI: Apache-2.0; SNLI: CC BY-SA 4.0"),
    "fever_dev_evidence": _Set(12_900, "FEVER: CC BY-SA 3.0"),
    "fever_symmetric": _Set(1_400, "FeverSymmetric: CC BY-SA 3.0"),
    "feverous_dev_sentences": _Set(3_000, "FEVEROUS: CC BY-SA 3.0"),
    "factcheck_gpt_stance": _Set(3_100, "Factcheck-GPT: Apache-2.0"),
    "expertqa_claims": _Set(1_900, "ExpertQA: MIT"),
    "summedits_open": _Set(2_000, "SummEdits: Apache-2.0"),
    "scitail_dev": _Set(2_100, "SciTail: Apache-2.0"),
    "scifact_rationale": _Set(770, "SciFact: CC BY 4.0, ODC-BY 1.0"),
    "faithdial_audit": _Set(1_200, "FaithDial: MIT"),
    "vitaminc_small": _Set(400, "VitaminC: CC BY-SA 3.0"),
    "advglue_mnli": _Set(260, "AdvGLUE: CC BY-SA 4.0"),
    "conjnli_adv": _Set(1_500, "ConjNLI: MIT"),
    "conjnli_dev": _Set(620, "ConjNLI: MIT"),
    "help_conj_disj": _Set(1_000, "HELP: CC BY-SA 4.0"),
    "dnc_open": _Set(2_500, "DNC: MIT, CC BY 4.0, MultiNLI's"),
    "med": _Set(2_000, "MED: CC BY-SA 4.0"),
    "breaking_nli": _Set(2_000, "Breaking NLI: CC BY-SA 4.0"),
    "qnli_dev_answerability": _Set(2_000, "QNLI (SQuAD): CC BY-SA 4.0"),
    "fm2": _Set(2_400, "FoolMeTwice: Apache-2.0; Wikipedia: CC BY-SA"),
    "begin_wow": _Set(800, "BEGIN, Wizard of Wikipedia: CC BY 4.0"),
    "begin_cmu": _Set(600, "BEGIN, CMU DoG: CC BY 4.0"),
    "q2_memnet": _Set(450, "Q²: MIT, Apache-2.0"),
    "wice_claim": _Set(700, "WiCE: ODC-BY"),
    "wice_tokens": _Set(700, "WiCE: ODC-BY"),
    "halueval_qa": _Set(300, "HaluEval: MIT"),
    "answered": _Set(3_500, "SQuAD 2.0: CC BY-SA 4.0; SQuADShifts: CC BY 4.0"),
    "exchanged": _Set(1_500, "the same"),
    "copied": _Set(700, "the same"),
    "elsewhere": _Set(1_200, "the same"),
    "shortened": _Set(1_500, "the same"),
    "spliced": _Set(1_500, "the same"),
    "questions": _Set(8_000, "the same"),
}
READER = {  # files of questions -> how many passages of each are used
    "squad2_devA": 10_000, "squad2_train_slice": 10_000, "squadshifts_new_wiki": 10_000, "squadshifts_amazon": 700,
    "squadshifts_reddit": 700,
}  # fmt: skip
ROOMS = (112, 176, 176, 256, 320)  # tokens of evidence; one is drawn for each row
PASSAGE = 112  # tokens of a passage beside a question
RELATIONS = {"entail": 0, "neutral": 1, "contradict": 2, "entailment": 0, "contradiction": 2}
FEW_LETTERS = 24  # of a difference between two claims that is taken for what one of them gets wrong

_NAME = re.compile(r"(?<=[a-z,] )[A-Z][\w'-]+(?: [A-Z][\w'-]+)*")
_NUMBER = re.compile(r"\b\d[\d,.]*\d\b|\b\d+\b")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a public set. supported: whether all that the response says is in the context."""

    source: str
    context: str
    response: str
    question: str
    supported: bool
    relation: int  # 0 supported, 1 open, 2 contradicted; -1 where the set does not say
    spans: tuple[tuple[int, int], ...] = ()  # of the response, that are not supported


@dataclass(slots=True)
class Example:
    """What the network sees at once. Tokens are numbers of pieces of words."""

    source: str
    fold: int  # 0 to 99, the same for all that have the same context
    claim: list[int]
    evidence: list[int]
    question: list[int] = field(default_factory=list)
    supported: int = -1  # 1, 0; -1: it is no claim
    relation: int = -1
    marks: list[int] | None = None  # for each token of the claim whether it is unsupported, where that is known
    answers: int = -1  # 1, 0: whether the evidence answers the claim, a question then
    start: int = -1  # of the answer, among the tokens of the evidence
    end: int = -1


def fold_of(context: str) -> int:
    plain = re.sub(r"\W+", "", context.lower())[:300]
    return int(hashlib.md5(plain.encode(), usedforsecurity=False).hexdigest()[:8], 16) % 100


def read_rows(folder: Path) -> Iterator[Row]:
    """The rows of all sets of a folder of gzipped JSON Lines, in either of the two shapes in which they come."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                context, response = row.get("context") or row.get("premise"), row.get("response") or row.get("claim")
                if context and response:
                    relation = RELATIONS.get(row.get("label3") or row.get("label_raw"), -1)
                    yield Row(
                        path.name.removesuffix(".jsonl.gz"), context, response, row.get("question") or "",
                        not row["label"], 0 if not row["label"] else relation,
                        tuple((a, b) for a, b, *_ in row.get("spans") or ()),
                    )  # fmt: skip


class Maker:
    """Turns rows and passages into examples."""

    def __init__(self, reader: Reader, seed: int) -> None:
        self.reader, self.random = reader, random.Random(seed)  # noqa: S311  draws, and no secrets
        self._kept: tuple[str, Pieces] | None = None

    def of_row(self, row: Row, marks: Sequence[tuple[int, int]] = ()) -> Iterator[Example]:
        """Each claim of a supported response; of another, the claim that shares least with the context."""
        text = blanked(row.response)
        spans = claims(text, "en") or [(0, len(text))]
        if not row.supported and len(spans) > 1:
            source = told(row.context)
            spans = [min(spans, key=lambda s: compared(said(text[s[0] : s[1]], source), source).values[0])]
        one = len(spans) == 1
        unsupported = row.spans or tuple(marks)
        for start, end in spans[:4]:
            inside = [(a - start, b - start) for a, b in unsupported if a < end and start < b]
            known: Sequence[tuple[int, int]] | None = () if row.supported else inside or None
            yield self.claim(
                row.source, text[start:end], row.context, row.question, supported=row.supported,
                relation=row.relation if one else 0 if row.supported else -1, spans=known,
            )  # fmt: skip

    def claim(
        self,
        source: str,
        claim: str,
        context: str,
        question: str,
        *,
        supported: bool,
        relation: int,
        spans: Sequence[tuple[int, int]] | None,
        room: int = 0,
    ) -> Example:
        asked = question if reads_with_question(claim, question) else ""
        read, before = self.reader.read([claim, asked])
        pieces = self._pieces(context)
        window = pieces.chosen(
            pieces.bearing(f"{asked} {claim}".strip(), [*before.ids, *read.ids]), room or self.random.choice(ROOMS)
        )
        marks = None if spans is None else [int(any(a < y and x < b for a, b in spans)) for x, y in read.offsets]
        evidence = [token for n in window for token in pieces.tokenised[n].ids]
        return Example(
            source,
            fold_of(context),
            read.ids,
            evidence,
            before.ids,
            int(supported),
            0 if supported else relation,
            marks,
        )

    def _pieces(self, context: str) -> Pieces:
        if self._kept is None or self._kept[0] != context:
            self._kept = context, Pieces([context], self.reader, "en")
        return self._kept[1]


def examples(data: Path, reader: Reader, seed: int) -> list[Example]:
    """All examples of the sets in `data`: its folders verify/nli, verify/grounding and reader."""
    maker, made = Maker(reader, seed), list[Example]()
    rows = [row for row in read_rows(data / "verify" / "nli") if row.source in SETS]
    differences = _differences(rows)
    for n, row in enumerate(rows):
        if row.source == "qnli_dev_answerability":
            made.append(_answerable(row, reader))
        elif row.source != "dnc_open" or row.relation >= 0:
            made += maker.of_row(row, differences.get(n, ()))
    for row in read_rows(data / "verify" / "grounding"):
        if row.source in SETS:
            made += maker.of_row(row)
    for name, most in READER.items():
        made += _of_passages(data / "reader" / f"{name}.json", most, maker)
    return made


def _differences(rows: Sequence[Row]) -> dict[int, tuple[tuple[int, int], ...]]:
    """For claims that are a few letters away from a supported one of the same context: where they differ from it."""
    supported = defaultdict(list)
    for row in rows:
        if row.source in ("cad_nli", "snli_dev_test") and row.supported:
            supported[fold_of(row.context), row.context].append(row.response)
    found = {}
    for n, row in enumerate(rows):
        if row.supported or row.source not in ("cad_nli", "breaking_nli"):
            continue
        others = [row.context] if row.source == "breaking_nli" else supported[fold_of(row.context), row.context]
        spans = [_differing(row.response, other) for other in others]
        small = [s for s in spans if 0 < sum(b - a for a, b in s) <= FEW_LETTERS]
        if small:
            found[n] = min(small, key=lambda s: sum(b - a for a, b in s))
    return found


def _differing(text: str, other: str) -> tuple[tuple[int, int], ...]:
    words = [(m.group().lower(), *m.span()) for m in re.finditer(r"\S+", text)]
    matcher = difflib.SequenceMatcher(None, [word for word, _, _ in words], other.lower().split(), autojunk=False)
    return tuple(
        (words[a][1], words[b - 1][2]) for kind, a, b, _, _ in matcher.get_opcodes() if kind != "equal" and b > a
    )


def _answerable(row: Row, reader: Reader) -> Example:
    """A question and a sentence that answers it, or does not."""
    question, sentence = reader.read([row.response, row.context])
    return Example("questions", fold_of(row.context), question.ids, sentence.ids[:PASSAGE], answers=int(row.supported))


# ---------------------------------------------------------------- from passages with questions


class _Asked(NamedTuple):
    question: str
    answer: str  # "" where the passage has none
    start: int


def _of_passages(path: Path, most: int, maker: Maker) -> Iterator[Example]:
    articles = json.loads(path.read_text("utf-8"))["data"]
    passages = [(n, p["context"], _asked(p)) for n, article in enumerate(articles) for p in article["paragraphs"]]
    maker.random.shuffle(passages)
    answers = defaultdict(list)
    for _, _, asked in passages:
        for one in asked:
            answers[_kind(one.answer)].append(one.answer)
    by_article = defaultdict(list)
    for article, context, _ in passages:
        by_article[article].append(context)
    places = _Places([context for _, context, _ in passages])
    for article, context, asked in passages[:most]:
        for one in asked:
            yield from _of_question(one, context, asked, answers, places, maker)
        yield from _of_sentences(context, by_article[article], maker)


def _asked(paragraph: dict[str, Any]) -> list[_Asked]:
    found = []
    for question in paragraph["qas"]:
        answer = question["answers"][0] if question.get("answers") and not question.get("is_impossible") else None
        found.append(
            _Asked(question["question"], answer["text"] if answer else "", answer["answer_start"] if answer else -1)
        )
    return found


def _kind(answer: str) -> str:
    """What sort of thing an answer is, so that a wrong one is not found by its form."""
    if not answer:
        return ""
    if re.fullmatch(r"[\d,.]+", answer):
        return "year" if re.fullmatch(r"1[5-9]\d\d|20\d\d", answer) else "number"
    if re.search(r"\d", answer):
        return "amount"
    return "name" if answer[0].isupper() else f"phrase of {min(4, len(answer.split()))}"


def _of_question(
    one: _Asked, context: str, asked: Sequence[_Asked], answers: dict[str, list[str]], places: _Places, maker: Maker
) -> Iterator[Example]:
    """The answer, right or wrong, as a claim; the question with its passage, and with one that is like it."""
    draw, reader = maker.random, maker.reader
    if one.answer and draw.random() < 0.45:
        here = [a.answer for a in asked if _kind(a.answer) == _kind(one.answer) and _different(a.answer, one.answer)]
        anywhere = answers[_kind(one.answer)]
        wrong = draw.choice(here) if here and draw.random() < 0.7 else draw.choice(anywhere)
        right = draw.random() < 0.5 or not _different(wrong, one.answer)
        claim = one.answer if right else wrong
        yield maker.claim(
            "answered", claim, context, one.question, supported=right, relation=0 if right else -1,
            spans=() if right else ((0, len(claim)),), room=PASSAGE,
        )  # fmt: skip
    if one.answer and draw.random() > 0.6:
        return
    question, passage = reader.read([one.question, context])
    if not one.answer:
        yield Example("questions", fold_of(context), question.ids, passage.ids[:PASSAGE], answers=0)
        return
    inside = [n for n, (a, b) in enumerate(passage.offsets) if a < one.start + len(one.answer) and one.start < b]
    if inside and inside[-1] - inside[0] < PASSAGE:
        first = max(
            0, min(len(passage.ids) - PASSAGE, inside[0] - draw.randint(0, PASSAGE - 1 - inside[-1] + inside[0]))
        )
        yield Example(
            "questions", fold_of(context), question.ids, passage.ids[first : first + PASSAGE],
            answers=1, start=inside[0] - first, end=inside[-1] - first,
        )  # fmt: skip
    if draw.random() < 0.6 and (other := places.like(one.question, context, draw)):
        tokens = reader.read([other])[0].ids
        first = draw.randint(0, max(0, len(tokens) - PASSAGE))
        yield Example("questions", fold_of(context), question.ids, tokens[first : first + PASSAGE], answers=0)


def _different(one: str, other: str) -> bool:
    one, other = one.lower(), other.lower()
    return one not in other and other not in one


class _Places:
    """Passages by their words, to find one that a question could be about and is not."""

    def __init__(self, passages: Iterable[str]) -> None:
        self._passages = list(dict.fromkeys(passages))
        self._by_term = defaultdict(list)
        for n, passage in enumerate(self._passages):
            for term in set(term_ids(passage, "en")):
                self._by_term[term].append(n)

    def like(self, question: str, own: str, draw: random.Random) -> str:
        scores: dict[int, float] = defaultdict(float)
        for term in set(term_ids(question, "en")):
            there = self._by_term.get(term, [])
            if 0 < len(there) < len(self._passages) / 5:
                for n in there:
                    scores[n] += 1 / len(there)
        best = sorted(scores, key=lambda n: -scores[n])[:6]
        others = [self._passages[n] for n in best if self._passages[n] != own]
        return draw.choice(others) if others else ""


def _of_sentences(context: str, article: Sequence[str], maker: Maker) -> Iterator[Example]:
    """A sentence as it stands, with something exchanged, without its place, and beside another passage of its article."""
    draw = maker.random
    spans = [(a, b) for a, b in claims(context, "en") if 6 <= len(context[a:b].split()) <= 45]
    if not spans:
        return
    start, end = draw.choice(spans)
    sentence = context[start:end]
    changed = _exchanged(sentence, context, draw)
    if changed:
        text, span = changed
        yield maker.claim("exchanged", text, context, "", supported=False, relation=-1, spans=(span,), room=PASSAGE)
        if draw.random() < 0.5:
            yield maker.claim("copied", sentence, context, "", supported=True, relation=0, spans=(), room=PASSAGE)
    if len(spans) > 3 and draw.random() < 0.3:
        rest = context[:start] + context[end:]
        yield maker.claim("elsewhere", sentence, rest, "", supported=False, relation=1, spans=None, room=PASSAGE)
    yield from _of_parts(context, spans, maker)
    others = [other for other in article if other != context]
    if others and draw.random() < 0.3:
        other = draw.choice(others)
        yield maker.claim("elsewhere", sentence, other, "", supported=False, relation=1, spans=None, room=PASSAGE)


_LEFT_OUT = re.compile(  # a part without which a sentence still holds
    r"^(?:In|On|At|By|After|Before|During|Since|However|Although|While|For)\b[^,.;]{2,60},\s+(?=[A-Z])|\s*\([^()]{2,80}\)"
    r"|,\s+(?:which|who|where|whose|including|such as|as well as|along with|with|and)\b[^,.;]{4,120}(?=[,.])"
)
_VERB = re.compile(r"\s(?=(?:is|was|are|were|has|had|have|will|can|could|would|became|said|made|took|began|led)\s)")


def _of_parts(context: str, spans: Sequence[tuple[int, int]], maker: Maker) -> Iterator[Example]:
    """A sentence without a part of it, and the beginning of one with the end of another."""
    draw = maker.random
    start, end = draw.choice(spans)
    sentence = context[start:end]
    parts = list(_LEFT_OUT.finditer(sentence))
    if parts:
        part = draw.choice(parts)
        short = (sentence[: part.start()] + sentence[part.end() :]).strip()
        if len(short.split()) > 3:
            short = short[0].upper() + short[1:]
            yield maker.claim("shortened", short, context, "", supported=True, relation=0, spans=(), room=PASSAGE)
    halves = [(context[a:b], found.start()) for a, b in spans if (found := _VERB.search(context[a:b]))]
    if len(halves) < 2:
        return
    (one, at), (other, from_) = draw.sample(halves, 2)
    spliced, place = one[:at] + other[from_:], (at, at + len(other) - from_)
    if 4 <= len(spliced.split()) <= 45:
        yield maker.claim("spliced", spliced, context, "", supported=False, relation=-1, spans=(place,), room=PASSAGE)


def _exchanged(sentence: str, context: str, draw: random.Random) -> tuple[str, tuple[int, int]] | None:
    """The sentence with one name or number exchanged for another of the same passage, or a number near it; and where."""
    found = [*_NAME.finditer(sentence), *_NUMBER.finditer(sentence)]
    if not found:
        return None
    old = draw.choice(found)
    value = old.group()
    if value[0].isdigit():
        others = [n for n in _NUMBER.findall(context) if n != value and len(n) == len(value)]
        new = draw.choice(others) if others and draw.random() < 0.5 else _near(value, draw)
    else:
        others = [n for n in _NAME.findall(context) if _different(n, value)]
        new = draw.choice(others) if others else ""
    if not new or new == value:
        return None
    return sentence[: old.start()] + new + sentence[old.end() :], (old.start(), old.start() + len(new))


def _near(number: str, draw: random.Random) -> str:
    def other(digit: re.Match[str]) -> str:
        return str((int(digit.group()) + draw.randint(1, 8)) % 10)

    return re.sub(r"\d", other, number, count=draw.choice((0, 1)))
