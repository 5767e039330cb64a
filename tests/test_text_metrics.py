"""The text metrics say what their authors' programs say, on any text, and a little more where those say nothing."""

import random
import re
import time
import unicodedata
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER

from penstock import encoder
from penstock.errors import BadRequest, TooLarge
from penstock.evaluate import bertscore as bertscores
from penstock.evaluate.bertscore import BertScore, idf_weights
from penstock.evaluate.exact import exact_match, normalised, token_f1
from penstock.evaluate.meteor import aligned, chunks, meteor
from penstock.evaluate.overlap import bleu, chrf, corpus_bleu, corpus_chrf
from penstock.evaluate.porter import stem
from penstock.evaluate.rouge import corpus_rouge, lcs_length, rouge
from penstock.evaluate.segment import Tokens, tokenized
from penstock.evaluate.ter import corpus_ter, ter
from penstock.evaluate.text_metrics import METRICS, NOTES, TextMetric, text_metric
from penstock.evaluate.text_score import Score
from penstock.evaluate.words import ascii_words, words
from penstock.testing import WordEmbedder

CAT, FELINE = "The cat sat on the mat.", "A feline rested on the rug."
KINDS = ("rouge1", "rouge2", "rouge3", "rouge9", "rougeL", "rougeLsum")

# words that the rules for tokens treat in their own ways
WORDS = st.sampled_from(
    "the the The cat cats sat on a mat ran running relational generously flies 1,000 3.5 5- x-ray (hi) don't it's . , !? ... a.b "
    ".5 5. x_y &amp; &quot; <skipped> 日本 語。 カナ “q” — naïve İstanbul ß ٣، ² €5 5€ 😀 \ud800 \0 \n \n- -\n \t \u3000".split(
        " "
    )
)
GAPS = st.sampled_from([" ", " ", " ", "", "  "])
KNOWN = st.characters(exclude_categories=("Cn",))  # what is assigned later is no letter yet to this Python
PHRASES = st.lists(st.tuples(WORDS, GAPS), max_size=25).map(lambda parts: "".join(map("".join, parts)))
TEXTS = st.one_of(PHRASES, PHRASES, st.text(KNOWN, max_size=20))


@st.composite
def pairs(draw: st.DrawFn, texts: st.SearchStrategy[str] = TEXTS) -> tuple[str, list[str]]:
    """An answer, and references of which some are the answer with its words moved, dropped and added."""
    answer = draw(texts)
    references = []
    for near in draw(st.lists(st.booleans(), min_size=1, max_size=3)):
        parts = re.split("(?<= )", answer)
        for at, length, to in draw(st.lists(st.tuples(*[st.integers(0, 30)] * 3), max_size=4)) if near else ():
            part = parts[at : at + length % 8]
            del parts[at : at + length % 8]
            parts[to:to] = part if length < 20 else draw(st.lists(WORDS.map(lambda word: word + " "), max_size=3))
        references.append("".join(parts) if near else draw(texts))
    return answer, references


CORPORA = st.lists(pairs(), min_size=1, max_size=4)


def turned(corpus: Sequence[tuple[str, list[str]]]) -> list[list[str | None]]:
    """References by their number, as sacrebleu has them; None where an answer has fewer."""
    most = max(len(references) for _, references in corpus)
    return [[own[n] if n < len(own) else None for _, own in corpus] for n in range(most)]


# ---------------------------------------------------------------- equal to sacrebleu

BLEU_OPTIONS = st.fixed_dictionaries(
    {
        "tokens": st.sampled_from(["13a", "intl", "zh", "char", "none"]),
        "smoothing": st.sampled_from(["exp", "floor", "add-k", "none"]),
        "smoothing_value": st.sampled_from([None, 0.5, 2]),
        "order": st.sampled_from([1, 2, 4, 5]),
        "effective_order": st.booleans(),
        "lowercase": st.booleans(),
    }
)


def sacrebleu(options: dict) -> BLEU:
    return BLEU(
        tokenize=options["tokens"],
        smooth_method=options["smoothing"],
        smooth_value=options["smoothing_value"],
        max_ngram_order=options["order"],
        effective_order=options["effective_order"],
        lowercase=options["lowercase"],
    )


@settings(max_examples=300)
@given(pairs(), BLEU_OPTIONS)
def test_bleu_of_an_answer_is_that_of_sacrebleu(pair: tuple[str, list[str]], options: dict):
    answer, references = pair

    wanted = sacrebleu(options).sentence_score(answer, references)
    found = bleu(answer, references, **options)

    assert found.percent == pytest.approx(wanted.score, abs=1e-9)
    assert found.detail["brevity_penalty"] == pytest.approx(wanted.bp, abs=1e-12)
    assert [found.detail["words"], found.detail["reference_words"]] == [wanted.sys_len, wanted.ref_len]


@given(CORPORA, BLEU_OPTIONS)
def test_bleu_of_a_corpus_is_that_of_sacrebleu(corpus: list[tuple[str, list[str]]], options: dict):
    answers, references = zip(*corpus, strict=True)

    wanted = sacrebleu(options).corpus_score(answers, turned(corpus))
    found = corpus_bleu(answers, references, **options)

    assert found.percent == pytest.approx(wanted.score, abs=1e-9)


@pytest.mark.parametrize("rules", ["13a", "intl", "zh"])
def test_every_character_is_parted_from_words_as_by_sacrebleu(rules: Tokens):
    peer = BLEU(tokenize=rules).tokenizer
    every = [c for c in map(chr, range(0x1FB00)) if unicodedata.category(c) != "Cn"]
    characters = [c for n, c in enumerate(every) if unicodedata.category(c)[0] != "L" or n % 40 == 0]
    lines = [" ".join(f"{c}a 1{c}1 a{c}b {c}. ,{c} -{c}- 1-{c}" for c in characters[n::200]) for n in range(200)]
    lines += [f"{c}a&lt;{c}&gt;-\n<skipped>{c}1 b{c}" for c in characters[::20]]

    assert [tokenized(line, rules) for line in lines] == [peer(line.rstrip()).split() for line in lines]


CHRF_OPTIONS = st.fixed_dictionaries(
    {
        "characters": st.sampled_from([1, 3, 6, 6, 9]),
        "words": st.sampled_from([0, 0, 1, 2, 3]),
        "beta": st.sampled_from([1, 2, 3]),
        "lowercase": st.booleans(),
        "whitespace": st.booleans(),
        "eps_smoothing": st.booleans(),
    }
)


def sacrebleu_chrf(options: dict) -> CHRF:
    renamed = {"characters": "char_order", "words": "word_order"}
    return CHRF(**{renamed.get(name, name): value for name, value in options.items()})


@settings(max_examples=300)
@given(pairs(), CHRF_OPTIONS)
def test_chrf_of_an_answer_is_that_of_sacrebleu(pair: tuple[str, list[str]], options: dict):
    answer, references = pair

    wanted = sacrebleu_chrf(options).sentence_score(answer, references)

    assert chrf(answer, references, **options).percent == pytest.approx(wanted.score, abs=1e-9)


@given(CORPORA, CHRF_OPTIONS)
def test_chrf_of_a_corpus_is_that_of_sacrebleu(corpus: list[tuple[str, list[str]]], options: dict):
    answers, references = zip(*corpus, strict=True)

    wanted = sacrebleu_chrf(options).corpus_score(answers, turned(corpus))

    assert corpus_chrf(answers, references, **options).percent == pytest.approx(wanted.score, abs=1e-9)


def test_chrf_counts_texts_with_more_letters_than_fit_into_numbers():
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 1500)))
    answer, reference = letters + letters[0] + "一丁七丈三", letters + letters[256] + "一丁七丈三"

    for order in (5, 6, 7):
        wanted = CHRF(char_order=order, word_order=2).sentence_score(answer, [reference]).score

        assert chrf(answer, reference, characters=order, words=2).percent == pytest.approx(wanted, abs=1e-9)


TER_OPTIONS = st.fixed_dictionaries(
    {name: st.booleans() for name in ("normalized", "no_punct", "asian", "case_sensitive")}
)


def sacrebleu_ter(options: dict) -> TER:
    return TER(**{"asian_support" if name == "asian" else name: value for name, value in options.items()})


@settings(max_examples=300)
@given(pairs(), TER_OPTIONS)
@example(("it's&amp; ", ["the "]), {"normalized": True, "no_punct": False, "asian": False, "case_sensitive": False})
def test_ter_of_an_answer_is_that_of_sacrebleu(pair: tuple[str, list[str]], options: dict):
    answer, references = pair

    wanted = sacrebleu_ter(options).sentence_score(answer, references)
    found = ter(answer, references, **options)

    assert found.percent == pytest.approx(wanted.score, abs=1e-9)
    assert found.detail["edits"] == wanted.num_edits


LETTERS = [st.text(letters, max_size=40).map(" ".join) for letters in ("ab", "abcdefgh", "abcdefghijklmnop")]


def same_as_sacrebleu(answer: str, reference: str) -> bool:
    return ter(answer, reference).percent == pytest.approx(TER().sentence_score(answer, [reference]).score, abs=1e-9)


@settings(max_examples=60)
@given(pairs(st.one_of(LETTERS)))
def test_ter_moves_phrases_as_sacrebleu_does(pair: tuple[str, list[str]]):
    answer, references = pair

    assert all(same_as_sacrebleu(answer, reference) for reference in references)


@pytest.mark.parametrize(("seed", "size"), [(1, 35), (2, 35), (36, 35), (14, 45), (33, 60), (44, 60), (56, 60)])
def test_ter_gives_up_moving_where_sacrebleu_does(seed: int, size: int):
    draw = random.Random(seed)
    text = [draw.choice("abcd") for _ in range(size)]
    other = list(text)
    for _ in range(6):
        at = draw.randrange(len(other))
        part, other[at : at + 4] = other[at : at + 4], []
        to = draw.randrange(len(other) + 1)
        other[to:to] = part

    assert same_as_sacrebleu(" ".join(text), " ".join(other))


def numbered(letter: str, count: int) -> str:
    return "".join(f"{letter}{n} " for n in range(count))


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_ter_looks_as_far_as_sacrebleu(more: int):
    phrase, way, others, rest = (
        numbered(*of) for of in (("p", 10 + more), ("w", 50 + more), ("o", 25 + more), ("r", 30))
    )

    assert same_as_sacrebleu(phrase + rest, rest + phrase), "how long a move is"
    assert same_as_sacrebleu("p0 p1 p2 " + way, way + "p0 p1 p2"), "how far it goes"
    assert same_as_sacrebleu(others + rest, rest), "how far from the diagonal"
    assert same_as_sacrebleu(rest, others + rest + way)
    assert same_as_sacrebleu(rest[:9], rest + way + way + others), "and from a steep one"


@given(CORPORA, TER_OPTIONS)
def test_ter_of_a_corpus_is_that_of_sacrebleu(corpus: list[tuple[str, list[str]]], options: dict):
    answers, references = zip(*corpus, strict=True)

    wanted = sacrebleu_ter(options).corpus_score(answers, turned(corpus))

    assert corpus_ter(answers, references, **options).percent == pytest.approx(wanted.score, abs=1e-9)


# ---------------------------------------------------------------- equal to rouge-score

PEERS = {stemming: RougeScorer(KINDS, use_stemmer=stemming) for stemming in (False, True)}


@settings(max_examples=300)
@given(pairs(), st.booleans())
def test_rouge_by_the_original_rules_is_that_of_rouge_score(pair: tuple[str, list[str]], stemming: bool):
    answer, references = pair

    wanted = PEERS[stemming].score_multi(references, answer)
    found = rouge(answer, references, kinds=KINDS, stem="en" if stemming else "", rules="original")

    for kind in KINDS:
        assert found[kind][:3] == pytest.approx(
            (wanted[kind].fmeasure, wanted[kind].precision, wanted[kind].recall), abs=1e-12
        )


@given(st.lists(st.lists(st.sampled_from("abcde"), max_size=12).map(" ".join), max_size=8).map("\n".join), st.data())
def test_rouge_takes_lines_in_the_order_that_rouge_score_takes(answer: str, data: st.DataObject):
    reference = data.draw(st.lists(st.text("abcdef", max_size=12).map(" ".join), max_size=8).map("\n".join))

    wanted = PEERS[False].score(reference, answer)["rougeLsum"]
    found = rouge(answer, reference, kinds=("rougeLsum",), rules="original")["rougeLsum"]

    assert found[:3] == pytest.approx((wanted.fmeasure, wanted.precision, wanted.recall), abs=1e-12)


@given(*[st.one_of(st.text(max_size=60), PHRASES).map(lambda text: text.encode("ascii", "replace").decode())] * 2)
def test_rouge_reads_ascii_as_the_original_does(answer: str, reference: str):
    ours, theirs = (rouge(answer, reference, kinds=KINDS, stem="en", rules=rules) for rules in ("unicode", "original"))

    assert ours == theirs


ENDINGS = (
    "s es ies sses ed ied eed ing y e ll at bl iz ss able al alism aliti alize alli ance anci ant ate ation ational ative ator bli "
    "biliti eli ement ence enci ent entli er ful fulli fulness ible ic ical icate iciti ion ism iti iveness ive iviti ization ize "
    "izer logi ment ness ou ous ousli ousness tional"
)
STEMS = st.text("aeiouybcdlstzwxr0é", max_size=5)


@settings(max_examples=1000)
@given(st.builds(str.__add__, STEMS, st.lists(st.sampled_from(ENDINGS.split()), max_size=3).map("".join)))
@example("dying")
@example("innings")
@example("yyyyyyyying")
def test_english_endings_are_those_that_nltk_takes_off(word: str):
    assert stem(word) == PorterStemmer().stem(word)


@given(*[st.lists(st.sampled_from("abcdefgh"), max_size=90)] * 2)
def test_the_longest_common_order_is_that_of_the_table(one: list[str], other: list[str]):
    table = np.zeros((len(one) + 1, len(other) + 1), int)
    for (i, a), (j, b) in product(enumerate(one, 1), enumerate(other, 1)):
        table[i, j] = table[i - 1, j - 1] + 1 if a == b else max(table[i - 1, j], table[i, j - 1])

    assert lcs_length(one, other) == table[-1, -1]


# ---------------------------------------------------------------- other languages


@pytest.mark.parametrize(
    ("answer", "reference", "shared"),
    [
        ("Η γάτα κάθισε στο χαλί", "Η γάτα κοιμήθηκε στο χαλί", 0.8),
        ("Кошка сидела на ковре", "Кошка лежала на ковре", 0.75),
        ("猫坐在垫子上。", "猫躺在垫子上。", 5 / 6),
        ("แมวนั่ง", "แมวนอน", 0.6),
        ("बिल्ली चटाई पर बैठी", "बिल्ली चटाई पर सोई", 0.75),
        ("Cafe\u0301 ﬁn", "café fin", 1.0),
    ],
)
def test_rouge_reads_every_script(answer: str, reference: str, shared: float):
    assert rouge(answer, reference)["rouge1"].precision == pytest.approx(shared)


def test_the_original_rules_lose_other_letters():
    assert ascii_words("Naïve Ελλάδα 5 µg") == ["na", "ve", "5", "g"]
    assert words("Naïve Ελλάδα 5 µg") == ["naïve", "ελλάδα", "5", "μg"]


def test_words_lose_the_endings_of_their_language():
    assert rouge("die Häuser", "das Haus", stem="de")["rouge1"].value == 0.5
    assert rouge("die Häuser", "das Haus")["rouge1"].value == 0
    assert meteor("los gatos duermen", "el gato duerme", language="es").detail["matches"] == 2
    with pytest.raises(BadRequest, match="'tlh'"):
        rouge("nuqneH", "nuqneH", stem="tlh")


# ---------------------------------------------------------------- exact match and token F1


def test_case_punctuation_and_articles_do_not_count():
    assert exact_match("The Eiffel Tower!", ["Big Ben", "eiffel tower"]).value == 1
    assert exact_match("Eiffel", "Eiffel Tower").value == 0
    assert normalised("  An  apple, a\tday ") == "apple day"


def test_token_f1_has_the_value_of_squad():
    found = token_f1("in the year 1945 in May", ["1945", "May 1945"])

    assert found[:3] == (pytest.approx(4 / 7), pytest.approx(2 / 5), 1.0)
    assert token_f1("the", "a").value == 1, "two texts without words are equal"
    assert token_f1("", "x").value == 0


def test_token_f1_takes_characters_where_there_are_no_spaces():
    assert token_f1("東京都です", "東京都", language="ja").value == pytest.approx(0.75)
    assert token_f1("東京都です", "東京都", language="ja", rules="original").value == 0


def test_punctuation_of_other_scripts_does_not_count():
    assert exact_match("«Москва»", "Москва", language="ru").value == 1
    assert exact_match("«Москва»", "Москва", rules="original").value == 0
    assert normalised("Das ist ein Weg an den See", language="de") == "das ist ein weg an den see"


# ---------------------------------------------------------------- METEOR


def test_meteor_has_the_published_form():
    answer = "It is a guide to action which ensures that the military always obeys the commands of the party"
    reference = "It is a guide to action that ensures that the military will forever heed Party commands"

    found = meteor(answer, reference, version="2005")

    precision, recall = 12 / 18, 12 / 16
    mean = 10 * precision * recall / (recall + 9 * precision)
    assert found.detail == {"matches": 12, "chunks": 4}
    assert found.value == pytest.approx(mean * (1 - 0.5 * (4 / 12) ** 3))
    assert meteor(answer, reference).value == pytest.approx(
        precision * recall / (0.81 * precision + 0.19 * recall) * (1 - 0.28 * (4 / 12) ** 0.83)
    )


def test_partners_keep_phrases_together():
    own, wanted = "on the mat the cat sat".split(), "the cat sat on the mat".split()

    assert aligned(own, wanted) == [3, 4, 5, 0, 1, 2]
    assert chunks(aligned(own, wanted)) == 2


def test_forms_are_matched_before_stems():
    assert aligned(["runs", "running"], ["running", "run"]) == [1, 0]
    assert aligned(["runs", "running"], ["running", "run"], language="") == [-1, 0]


@given(*[st.lists(st.sampled_from(["a", "b", "c", "run", "runs", "running"]), max_size=20)] * 2)
def test_as_many_words_have_partners_as_can(own: list[str], wanted: list[str]):
    partners = aligned(own, wanted)

    taken = [partner for partner in partners if partner >= 0]
    stems, others = [stem(word) for word in own], [stem(word) for word in wanted]
    assert len(taken) == len(set(taken)) == sum(min(stems.count(s), others.count(s)) for s in set(stems))
    assert all(stems[n] == others[partner] for n, partner in enumerate(partners) if partner >= 0)


def test_thousands_of_equal_words_find_partners():
    partners = aligned(["the"] * 3000 + ["cat"], ["the"] * 2000 + ["cat"])

    assert partners[-1] == 2000
    assert len(partners) - partners.count(-1) == 2001


# ---------------------------------------------------------------- BERTScore


def test_bertscore_is_the_mean_of_the_nearest_pieces():
    tokenizer, states = encoder.tokenizer(), encoder.shipped()

    def read(text: str) -> np.ndarray:
        return states.embed_parts([(text, tokenizer.encode(text, add_special_tokens=False).offsets)])[0][1:]

    own, wanted = read(FELINE), read(CAT)
    precision = np.mean([max(float(a @ b) for b in wanted) for a in own])
    recall = np.mean([max(float(a @ b) for a in own) for b in wanted])

    found = BertScore().score(FELINE, ["Interest rates rose.", CAT])

    assert found[:3] == pytest.approx((2 * precision * recall / (precision + recall), precision, recall), abs=1e-5)
    assert BertScore().score(CAT, CAT).value == pytest.approx(1, abs=1e-5)


def test_rare_pieces_weigh_more():
    texts = ["the dose is low", "the dose is high", "the cat is here"]
    scorer = BertScore(WordEmbedder())
    weights = idf_weights(texts, scorer)

    assert weights["the"] == 0 < weights["dose"] < weights["cat"]
    weighed = BertScore(WordEmbedder(), weights=weights)
    assert weighed.score("the dose is", "the dose was").precision == pytest.approx(1, abs=1e-3)
    assert weighed.score("the is", "the dose").value == 0, "what is everywhere weighs nothing"


def test_long_texts_are_read_in_windows(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(bertscores, "WINDOW_WORDS", 7)
    text = "One two three, four five. " * 9
    read: list[str] = []

    class Remembering(WordEmbedder):
        def embed_parts(self, items: Sequence[tuple[str, Sequence[tuple[int, int]]]]) -> list[np.ndarray]:
            read.extend(text[start:end] for text, spans in items for start, end in spans)
            return super().embed_parts(items)

    found = BertScore(Remembering()).score(text, "One two")

    assert [piece.lower() for piece in read[:-2]] == BertScore(WordEmbedder()).pieces(text)
    assert found.recall == pytest.approx(1, abs=1e-5)


# ---------------------------------------------------------------- what all have in common

EACH = pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)


@EACH
def test_every_metric_says_what_it_does_not_show(metric: TextMetric):
    assert metric.note == NOTES[metric.name]
    assert len(metric.note) > 40
    assert text_metric(metric.name) is metric


@EACH
def test_the_same_text_is_the_best_there_is(metric: TextMetric):
    same, other = metric.score(CAT, [CAT]), metric.score("Interest rates rose in May.", [CAT])

    best = 0 if metric.better == "lower" else 1
    assert same.value == pytest.approx(best, abs=0.07 if metric.name == "meteor" else 1e-6)  # one chunk of six words
    assert abs(other.value - best) > 0.5


@EACH
def test_the_nearest_reference_counts(metric: TextMetric):
    if metric.name == "bleu":
        pytest.skip("BLEU takes the runs of words of all references together")
    several = metric.score(CAT, ["Interest rates rose in May.", "The cat sat on a mat."])

    assert several.value == pytest.approx(metric.score(CAT, ["The cat sat on a mat."]).value, abs=0.03)


@EACH
@pytest.mark.parametrize(
    "answer", ["", " \n", "\0", "\ud800", "a\ud800 b", "\u202e", "😀" * 50, "é" * 5000, "a " * 400, ".," * 400]
)
def test_strange_texts_have_a_score(metric: TextMetric, answer: str):
    for other in ("", CAT, answer):
        for score in (metric.score(answer, [other]), metric.score(other, [answer])):
            assert 0 <= score.value <= (metric.most or 10_000)


@EACH
def test_an_answer_is_not_compared_with_nothing(metric: TextMetric):
    with pytest.raises(BadRequest, match="no reference"):
        metric.score(CAT, [])
    with pytest.raises(BadRequest, match="text"):
        metric.score(CAT, [None])  # type: ignore[list-item]


@EACH
def test_one_reference_may_come_bare(metric: TextMetric):
    assert metric.score(FELINE, CAT) == metric.score(FELINE, [CAT])


def test_there_is_no_other_metric():
    with pytest.raises(BadRequest, match="'bluebert'") as caught:
        text_metric("bluebert")

    assert "chrf++" in caught.value.hint


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: bleu(CAT, CAT, tokens="14a"),
        lambda: bleu(CAT, CAT, smoothing="more"),
        lambda: bleu(CAT, CAT, order=0),
        lambda: chrf(CAT, CAT, characters=0),
        lambda: rouge(CAT, CAT, kinds=("rouge0",)),
        lambda: meteor(CAT, CAT, version="1999"),
        lambda: idf_weights([], BertScore(WordEmbedder())),
    ],
)
def test_options_that_there_are_not_are_refused(wrong: Callable[[], object]):
    with pytest.raises(BadRequest):
        wrong()


@pytest.mark.parametrize("corpus", [corpus_bleu, corpus_chrf, corpus_ter, corpus_rouge])
def test_a_corpus_names_the_row_that_is_wrong(corpus: Callable[..., object]):
    with pytest.raises(BadRequest, match="row 2: there is no reference"):
        corpus([CAT, CAT], [[CAT], []])
    with pytest.raises(BadRequest, match="2 answers and references for 1"):
        corpus([CAT, CAT], [[CAT]])
    with pytest.raises(BadRequest, match="0 answers"):
        corpus([], [])
    with pytest.raises(BadRequest, match="not one text"):
        corpus(CAT, [CAT])


def test_rouge_of_a_corpus_is_the_mean_of_its_answers():
    found = corpus_rouge([CAT, FELINE], [CAT, [CAT, FELINE]], kinds=("rouge2",))["rouge2"]

    assert found == Score(1.0, 1.0, 1.0)
    assert corpus_rouge(["a b", "c"], ["a", "d"])["rouge1"] == Score(pytest.approx(1 / 3), 0.25, 0.5)


def test_texts_that_would_take_minutes_are_refused_at_once():
    million, began = "a b " * 250_000, time.process_time()

    with pytest.raises(TooLarge, match="words"):
        ter(million, CAT + million)
    with pytest.raises(TooLarge, match="every line"):
        rouge(million, million + "c", kinds=("rougeLsum",))
    with pytest.raises(TooLarge, match="pieces"):
        BertScore(WordEmbedder()).score(million, CAT)

    assert time.process_time() - began < 60
