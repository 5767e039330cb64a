"""The regressions that turn what is known of a text's sentences into a probability, and the checker's card.

The one that reads what the network says is fitted on texts that taught the network nothing; each set counts the square root of
its size. Weights are held small: ones that fit the sets better carry over worse. What a regression says of each set when that set
is left out of it sets the slope, so that a probability is one on texts of other kinds too. Each figure for a set is measured with
that set left out of the regression (not out of the network, which saw other contexts of it; a set whose rows may only evaluate
was left out of both).
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from penstock.stats import expected_calibration_error
from penstock.train.checker_rows import SETS, Row, fold_of, read_rows
from penstock.verify.checker import Checker
from penstock.verify.evidence import Reader
from penstock.verify.lexical import FEATURES
from penstock.verify.marks import Marking, Word, joined
from penstock.verify.verifier import CHECKED, Checking, Lexical, Model, aggregated

__all__ = ["fitted", "write"]

HELD = 10  # of a hundred folds: those that teach the network nothing
TEXTS = (  # sets that are about texts and their sources, and not about pairs of single sentences made by rule
    "fever_dev_evidence fever_symmetric feverous_dev_sentences factcheck_gpt_stance expertqa_claims summedits_open scitail_dev "
    "scifact_rationale faithdial_audit vitaminc_small mnli_dev snli_dev_test fm2 begin_wow begin_cmu q2_memnet wice_claim"
).split()
LENGTH_TELLS = "halueval_qa"  # where the longer answer is the wrong one
SHARE = 0.5  # of what the network says, beside what the words say
STRENGTH = 5e-4  # of the regression's weights; less holds them smaller
MARK_STRENGTH = 0.05
LIMITS = tuple(n / 10 for n in range(-15, 4))  # log-odds from where on a word is marked
DOUBT = 0.7  # support of a sentence from where on none of its words is marked
SPANS = "wice_tokens"  # the set whose stretches teach which words are marked
ONLY_MEASURED = (
    "faithbench",
    "healthver",
    "qags_cnndm",
    "cliff_cnndm",
    "halueval_qa",
)  # halueval: length alone tells it


class Measured(NamedTuple):
    """One text: its numbers, sentence by sentence, and the truth."""

    source: str
    rows: Any  # (sentences, names)
    supported: bool


def measured(rows: Sequence[Row], numbers: Callable[[Row], Any]) -> list[Measured]:
    found = []
    for n, row in enumerate(rows, 1):
        values = numbers(row)
        if len(values):
            found.append(Measured(row.source, np.array(values), row.supported))
        if n % 1_000 == 0:
            print(f"{n} of {len(rows)} texts read", file=sys.stderr, flush=True)
    return found


def regression(texts: Sequence[Measured], *, without: str = "") -> dict[str, Any]:
    """Mean, scale, weights and bias over the numbers of the texts. without: a set to leave out."""
    from sklearn.linear_model import LogisticRegression

    learnt = [text for text in texts if text.source in TEXTS and text.source != without]
    x = np.stack([aggregated(text.rows) for text in learnt])
    y = np.array([text.supported for text in learnt])
    sizes = Counter(text.source for text in learnt)
    weight = np.array([sizes[text.source] ** -0.5 for text in learnt])
    mean, scale = x.mean(0), x.std(0) + 1e-6
    found = LogisticRegression(C=STRENGTH, max_iter=5_000)
    found.fit((x - mean) / scale, y, sample_weight=weight / weight.mean())
    return {"mean": mean, "scale": scale, "weights": found.coef_[0], "bias": float(found.intercept_[0])}


def beside(words: Sequence[Measured], read: Sequence[Measured], *, without: str = "") -> dict[str, Any]:
    """The regression over the words with what the network says of the support put beside it, SHARE as heavy.

    words: texts as the words see them; read: as the network does too, of contexts that it has not learnt from. A regression fitted
    on both alike leans on the network as far as it is right about sources that it has learnt from, and is worse on others.
    """
    own = regression(words, without=without)
    x = np.stack([aggregated(text.rows) for text in read if text.source in TEXTS and text.source != without])
    place, columns = len(FEATURES), [*range(len(FEATURES)), x.shape[1] - 1]
    said = (x[:, columns] - own["mean"]) / own["scale"] @ own["weights"]
    mean, scale, weights = np.zeros(x.shape[1]), np.ones(x.shape[1]), np.zeros(x.shape[1])
    mean[columns], scale[columns], weights[columns] = own["mean"], own["scale"], own["weights"]
    mean[place], scale[place], weights[place] = x[:, place].mean(), x[:, place].std() + 1e-6, SHARE * said.std()
    return {"mean": mean, "scale": scale, "weights": weights, "bias": own["bias"]}


def odds(model: dict[str, Any], text: Measured) -> float:
    return float((aggregated(text.rows) - model["mean"]) / model["scale"] @ model["weights"] + model["bias"])


def fitted(
    texts: Sequence[Measured], names: Sequence[str], regressed: Callable[..., dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, tuple[Any, Any]]]:
    """The regression, as `Model.load` reads it; and for each set what one without it gives, and the truth.

    regressed: fits one, without a set where that is named.
    """
    from sklearn.linear_model import LogisticRegression

    apart: dict[str, tuple[Any, Any]] = {}
    for source in sorted({text.source for text in texts}):
        model = regressed(without=source)
        own = [text for text in texts if text.source == source]
        apart[source] = np.array([odds(model, text) for text in own]), np.array([text.supported for text in own])
    known = [apart[source] for source in TEXTS if source in apart]
    slope = LogisticRegression(C=1e4)
    slope.fit(
        np.concatenate([scores for scores, _ in known])[:, None],
        np.concatenate([truth for _, truth in known]),
        sample_weight=np.concatenate([np.full(len(truth), len(truth) ** -0.5) for _, truth in known]),
    )
    by, more = float(slope.coef_[0, 0]), float(slope.intercept_[0])
    scores = {source: (1 / (1 + np.exp(-(own * by + more))), truth) for source, (own, truth) in apart.items()}
    whole = regressed()
    values = {
        "names": list(names), "mean": whole["mean"].tolist(), "scale": whole["scale"].tolist(),
        "weights": (whole["weights"] * by).tolist(), "bias": whole["bias"] * by + more, "threshold": best_threshold(scores),
    }  # fmt: skip
    return values, scores


def marking(rows: Sequence[Row], words: Callable[[Row], list[Word]]) -> dict[str, Any]:
    """The regression that marks words, as `Marking.load` reads it. rows: texts with stretches that are not supported.

    Half of the contexts teach it, the others choose the limit at which most characters are marked rightly (mean F1 of texts).
    """
    from sklearn.linear_model import LogisticRegression

    seen = [(row, found) for row in rows if row.spans and (found := words(row))]
    halves: tuple[list[Any], list[Any]] = ([], [])
    for row, found in seen:
        halves[fold_of(row.context) % 2].append((row, found))

    def learnt(some: Sequence[Any]) -> dict[str, Any]:
        x = np.array([word.values for _, found in some for word in found])
        y = np.array([_in(word, row.spans) for row, found in some for word in found])
        weight = np.array([1 / len(found) for _, found in some for _ in found])
        mean, scale = x.mean(0), x.std(0) + 1e-6
        model = LogisticRegression(C=MARK_STRENGTH, max_iter=5_000)
        model.fit((x - mean) / scale, y, sample_weight=weight / weight.mean())
        return {"mean": mean.tolist(), "scale": scale.tolist(), "weights": model.coef_[0].tolist(),
                "bias": float(model.intercept_[0]), "doubt": DOUBT}  # fmt: skip

    scores = dict.fromkeys(LIMITS, 0.0)
    for one, other in (halves, halves[::-1]):
        values = learnt(one)
        for limit in LIMITS:
            tried = Marking.load(values | {"threshold": limit})
            scores[limit] += sum(_f1(tried.marked(found), row) for row, found in other) / len(seen)
    best = max(LIMITS, key=lambda limit: scores[limit])
    print(f"words marked: F1 {scores[best]:.3f} at {best}", file=sys.stderr, flush=True)
    return learnt(seen) | {"threshold": best, "character_f1": round(scores[best], 3)}


def _words(tier: Lexical, row: Row) -> list[Word]:
    return tier.words(row.response, [row.context], row.question)


def _in(word: Word, spans: Sequence[tuple[int, int]]) -> bool:
    return sum(max(0, min(word.end, b) - max(word.start, a)) for a, b in spans) * 2 >= word.end - word.start


def _f1(spans: Sequence[tuple[int, int]], row: Row) -> float:
    found, gold = (
        {n for a, b in some for n in range(a, b) if not row.response[n].isspace()}
        for some in (joined(row.response, spans), row.spans)
    )
    return 2 * len(found & gold) / (len(found) + len(gold)) if found or gold else 1.0


def gain(words: Sequence[Measured], read: Sequence[Measured], *, draws: int = 1_000, seed: int = 7) -> dict[str, Any]:
    """How much more the network's tier tells than the words alone, on the same texts, each set left out of both regressions: macro
    AUROC, with a paired bootstrap over the texts of each set (Efron and Tibshirani 1993), and beside shared words by themselves."""
    place = np.random.default_rng(seed)
    columns = [*range(len(FEATURES)), -1]
    sets: dict[str, tuple[Any, Any, Any, Any]] = {}
    for source in sorted({text.source for text in read} - {LENGTH_TELLS}):
        own = [text for text in read if text.source == source]
        x = np.stack([aggregated(text.rows) for text in own])
        one, both = regression(words, without=source), beside(words, read, without=source)
        by_words = (x[:, columns] - one["mean"]) / one["scale"] @ one["weights"]
        by_both = (x - both["mean"]) / both["scale"] @ both["weights"]
        sets[source] = by_words, by_both, x[:, 0], np.array([text.supported for text in own])
    found = {
        source: {
            "texts": len(truth),
            "shared_words": auroc(shared, truth),
            "words": auroc(a, truth),
            "checker": auroc(b, truth),
        }
        for source, (a, b, shared, truth) in sets.items()
    }
    drawn = []
    for _ in range(draws):
        differences = []
        for a, b, _, truth in sets.values():
            some = place.integers(0, len(truth), len(truth))
            if 0 < truth[some].sum() < len(truth):
                differences.append(auroc(b[some], truth[some]) - auroc(a[some], truth[some]))
        drawn.append(np.mean(differences))
    mean = float(np.mean([one["checker"] - one["words"] for one in found.values()]))
    rounded = {source: {name: round(float(value), 3) for name, value in one.items()} for source, one in found.items()}
    return {"macro_auroc": round(mean, 4), "lower": round(float(np.quantile(drawn, 0.025)), 4), "sets": rounded}


def best_threshold(scores: dict[str, tuple[Any, Any]]) -> float:
    """Where the mean over the sets of texts of the balanced accuracy is highest."""
    own = [(s, y) for source, (s, y) in scores.items() if source in TEXTS and 0 < y.mean() < 1]
    places = np.linspace(0.2, 0.8, 61)
    means = [np.mean([balanced(s >= place, y) for s, y in own]) for place in places]
    smooth = np.convolve(means, np.ones(7) / 7, "same")[3:-3]
    return round(float(places[3:-3][int(np.argmax(smooth))]), 2)


def balanced(said: Any, truth: Any) -> float:
    return float((said[truth].mean() + (~said[~truth]).mean()) / 2)


def auroc(scores: Any, truth: Any) -> float:
    """Area under the ROC curve, from ranks; equals count half (Hanley & McNeil 1982)."""
    _, place, count = np.unique(scores, return_inverse=True, return_counts=True)
    rank = (np.cumsum(count) - (count - 1) / 2)[place]
    right, wrong = int(truth.sum()), int((~truth).sum())
    return float((rank[truth].sum() - right * (right + 1) / 2) / (right * wrong))


def figures(scores: dict[str, tuple[Any, Any]], threshold: float) -> dict[str, dict[str, float]]:
    """For each set, how many texts, AUROC, balanced accuracy and calibration error."""
    return {
        source: {
            "texts": len(y),
            "auroc": round(auroc(s, y), 3),
            "balanced_accuracy": round(balanced(s >= threshold, y), 3),
            "calibration_error": round(expected_calibration_error(s.tolist(), y.tolist()), 3),
        }
        for source, (s, y) in scores.items()
        if 0 < y.mean() < 1
    }


def some(by_set: dict[str, list[Row]], most: int, seed: int) -> list[Row]:
    """Of each set at most so many rows."""
    draw = random.Random(seed)  # noqa: S311  draws, and no secrets
    return [row for own in by_set.values() for row in draw.sample(own, min(most, len(own)))]


def write(data: Path, out: Path, *, facts: dict[str, Any], most: int = 400, seed: int = 5) -> None:
    """Fit both regressions, measure them, and write support.json and card.json beside the network's files.

    most: texts of each set. Without the network's files only the one that needs no network is fitted.
    """
    out.mkdir(parents=True, exist_ok=True)
    held: dict[str, list[Row]] = defaultdict(list)
    free: dict[str, list[Row]] = defaultdict(list)
    for folder in ("nli", "grounding"):
        for row in read_rows(data / "verify" / folder):
            if row.source in TEXTS or row.source in ONLY_MEASURED:
                free[row.source].append(row)
                if fold_of(row.context) < HELD or row.source in ONLY_MEASURED:
                    held[row.source].append(row)
    lexical, reader = Lexical(), Reader()
    spans = [row for row in read_rows(data / "verify" / "grounding") if row.source == SPANS]
    texts = measured(some(free, most, seed), lambda row: lexical.numbers(row.response, [row.context], row.question))
    tiers: dict[str, tuple[list[str], list[Measured]]] = {"lexical": (list(FEATURES), texts)}
    if (out / "heads.npz").is_file():
        checking = Checking(Checker(reader, out), reader)
        texts = measured(
            some(held, most, seed), lambda row: checking.numbers(row.response, [row.context], row.question)
        )
        tiers["checker"] = [*FEATURES, *CHECKED], texts
    support, quality, gained = {}, {}, dict[str, Any]()
    for name, (names, texts) in tiers.items():
        words = tiers["lexical"][1]
        regressed = partial(regression, words) if name == "lexical" else partial(beside, words, texts)
        support[name], scores = fitted(texts, names, regressed)
        if name == "lexical":
            judged = Lexical(Model.load(support[name]))
            support["marks"] = marking(spans, partial(_words, judged))
        quality[name] = figures(scores, support[name]["threshold"])
        if name == "checker":
            gained = gain(words, texts)
            print(gained, file=sys.stderr, flush=True)
        means = {key: np.mean([one[key] for one in quality[name].values()]) for key in ("auroc", "balanced_accuracy")}
        print(name, {key: round(float(value), 3) for key, value in means.items()}, file=sys.stderr, flush=True)
    (out / "support.json").write_text(json.dumps(support) + "\n", "utf-8")
    files = [path for path in sorted(out.glob("*")) if path.name not in ("card.json", "state.pt")]
    card = {
        "name": "checker",
        "does": "reads a claim with evidence: supported, open or contradicted; what of it is unsupported; on a question, "
        "whether a passage answers it and where",
        "languages": ["en"],
        "licence": "Apache-2.0; attribution for the share-alike sets below",
        "recipe": "penstock train checker --data DIR",
        "start": "all-MiniLM-L6-v2 (Apache-2.0)",
        "trained": facts,
        "data": {name: own.licence for name, own in SETS.items()},
        "only measured, never learnt from": list(ONLY_MEASURED[:-1]),
        "quality, each set left out of the regression": quality,
        "gain over the words alone, same texts": gained,
        "bytes": {path.name: path.stat().st_size for path in files},
        "sha256": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files},
    }
    (out / "card.json").write_text(json.dumps(card, indent=1, ensure_ascii=False) + "\n", "utf-8")


if __name__ == "__main__":
    write(Path(sys.argv[1]), Path(sys.argv[2]), facts={})
