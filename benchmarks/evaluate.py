"""The intervals of an evaluation hold the true mean about as often as they say, in groups too, and most scores cost milliseconds.

    python -m benchmarks.evaluate [--replicates 2000]

Coverage: sets of cases are drawn from populations whose mean is known, and the 95 % interval is taken as `penstock eval` takes
it; beside it the bootstrap that draws single cases and takes quantiles. `sure` is how often a limit that is just the true mean is
passed surely, which should be 5 % at most. Cost: CPU time for each score of an answer of about 60 words with its sources, from our
own documentation.
"""

from __future__ import annotations

import argparse
import inspect
import re
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from benchmarks.measure import show, write
from penstock.assemble import samples
from penstock.evaluate.cases import Case, Cases, Reply
from penstock.evaluate.gate import Gate, held
from penstock.evaluate.judged import OfflineJudge
from penstock.evaluate.result import Result, interval
from penstock.evaluate.run import Row
from penstock.evaluate.scored import About, Scored
from penstock.evaluate.scorers import known
from penstock.stats import bootstrap

SEED = 17
ANSWERS = 60
ROUNDS = 3
ABOUT = About(name="share", what="a share", note="None.", needs="nothing")
Draw = Callable[[np.random.Generator], tuple[list[float], list[str]]]


# ---------------------------------------------------------------- coverage


def passes(p: float, n: int) -> Draw:
    """Independent cases that pass or fail."""
    return lambda rng: ((rng.random(n) < p).astype(float).tolist(), [str(k) for k in range(n)])


def skewed(n: int) -> Draw:
    """Independent cases with token F1 as it often is: many at 1, the others low. Mean 0.55."""

    def draw(rng: np.random.Generator) -> tuple[list[float], list[str]]:
        low = rng.beta(1.5, 4.5, n)
        return np.where(rng.random(n) < 0.4, 1.0, low).tolist(), [str(k) for k in range(n)]

    return draw


def grouped(groups: int, size: int) -> Draw:
    """Groups whose members are alike: each has a mean of its own, Beta(4, 1), and its members are near it. Mean 0.8."""

    def draw(rng: np.random.Generator) -> tuple[list[float], list[str]]:
        own = rng.beta(4, 1, groups)
        values = (rng.random((groups, size)) < own[:, None]).astype(float)
        return values.ravel().tolist(), [str(k) for k in range(groups) for _ in range(size)]

    return draw


POPULATIONS: dict[str, tuple[float, Draw]] = {
    "10 cases, 80 % pass": (0.8, passes(0.8, 10)),
    "30 cases, 80 % pass": (0.8, passes(0.8, 30)),
    "30 cases, 97 % pass": (0.97, passes(0.97, 30)),
    "200 cases, 97 % pass": (0.97, passes(0.97, 200)),
    "5 cases, F1": (0.55, skewed(5)),
    "12 cases, F1": (0.55, skewed(12)),
    "30 cases, F1": (0.55, skewed(30)),
    "200 cases, F1": (0.55, skewed(200)),
    "6 groups of 5": (0.8, grouped(6, 5)),
    "15 groups of 10": (0.8, grouped(15, 10)),
    "60 groups of 5": (0.8, grouped(60, 5)),
}


def coverage(replicates: int) -> dict[str, dict[str, Any]]:
    found = {}
    for name, (mean, draw) in POPULATIONS.items():
        rng = np.random.default_rng(SEED)
        hits = plain = sure = 0
        width = 0.0
        for _ in range(replicates):
            values, clusters = draw(rng)
            own, _ = interval(values, clusters, low=0.0, high=1.0, once=True)
            assert own is not None
            hits += own.low - 1e-9 <= mean <= own.high + 1e-9
            width += own.high - own.low
            other = bootstrap(values, method="percentile", draws=1000)
            plain += other.low - 1e-9 <= mean <= other.high + 1e-9
            sure += surely(values, clusters, mean)
        found[name] = {
            "coverage": hits / replicates, "single_percentile": plain / replicates, "width": round(width / replicates, 4),
            "sure": sure / replicates,
        }  # fmt: skip
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found


def surely(values: Sequence[float], clusters: Sequence[str], limit: float) -> bool:
    """Whether a gate that asks to be sure lets such a result pass."""
    cases = [Case(id=str(n), question="?", lang="en", group=group) for n, group in enumerate(clusters)]
    rows = [Row(case, 0, Reply(), {"share": Scored(value)}) for case, value in zip(cases, values, strict=True)]
    result = Result(Cases(tuple(cases)), rows, {"share": ABOUT}, "x")
    return all(one.holds for one in held(result, Gate(limits={"share": limit}, sure=True)))


# ---------------------------------------------------------------- cost


def answers() -> list[tuple[Case, Reply]]:
    """Answers of about 60 words from our documentation, with the paragraphs around them as sources."""
    found = []
    for path in sorted(samples().rglob("*.md")):
        text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.S)
        parts = [" ".join(part.split()) for part in text.split("\n\n") if len(part.split()) > 50 and "|" not in part]
        for n in range(len(parts) - 2):
            words = parts[n].split()[:60]
            case = Case(
                id=f"{path.name}-{n}", question=f"What does {path.stem} say of {words[0]}?", expected=(" ".join(words[5:]),),
                must_contain=(words[7],), sources=(path.name,), lang="en", form={"most_words": 80},
                not_expected=("no",),
            )  # fmt: skip
            reply = Reply(
                text=" ".join(words), context=tuple(parts[n : n + 3]), cited=(path.name,), retrieved=("x.md", path.name),
                latency_ms=1.0, first_ms=1.0, cost_usd=0.0, input_tokens=900, output_tokens=80, logprobs=(-0.5,) * 80,
            )  # fmt: skip
            found.append((case, reply))
    return found[:: max(1, len(found) // ANSWERS)][:ANSWERS]


def cost() -> tuple[dict[str, dict[str, Any]], int]:
    rows = answers()
    offline = OfflineJudge()
    every: dict[str, Callable[[Case, Reply], Any]] = {name: scorer.score for name, scorer in known().items()}
    every["judge (offline)"] = offline.judged
    found = {}
    for name, score in every.items():
        score(*rows[0])  # what is loaded once
        rounds = []
        for _ in range(ROUNDS):
            began = time.process_time()
            for case, reply in rows:
                said = score(case, reply)
                assert not inspect.isawaitable(said)
            rounds.append((time.process_time() - began) / len(rows) * 1000)
        found[name] = {"ms": round(statistics.median(rounds), 4)}
        print(f"{name}: {found[name]}", file=sys.stderr, flush=True)
    return found, len(rows)


def main() -> None:
    reader = argparse.ArgumentParser()
    reader.add_argument("--replicates", type=int, default=2000)
    asked = reader.parse_args()
    costs, many = cost()
    covered = coverage(asked.replicates)
    write(
        "evaluate",
        claim=__doc__,
        command=f"python -m benchmarks.evaluate --replicates {asked.replicates}",
        figures={"answers": many, "replicates": asked.replicates, "cost": costs, "coverage": covered},
    )
    show("CPU time of a score, one answer", {"ms": "ms"}, costs)
    columns = {
        "coverage": "coverage",
        "single cases, quantiles": "single_percentile",
        "width": "width",
        "sure at the limit": "sure",
    }
    show("How often the interval holds the mean", columns, covered)


if __name__ == "__main__":
    main()
