"""The estimate of a review sample is unbiased, and its 95 % interval holds the truth 93 to 98 times in a hundred nearly everywhere.

    python -m benchmarks.review [--replicates 2000] [--quick]

Each setting is a shape of the data, a rate of errors and a kind of risk. In each of 40 populations the errors are fixed; the sample
is drawn and estimated as `penstock review` does it, 50 times. Beside our interval stand the usual ones, on the same samples. Then:
how the interval of kappa holds, and how many items a minute the queue hands out to several processes at once.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from benchmarks.measure import show, versions, write
from penstock.review.agreement import kappa
from penstock.review.content import Content
from penstock.review.estimating import Judged, estimate
from penstock.review.queue import Entry, Given, Queue
from penstock.review.sampling import Item, draw, plan
from penstock.review.store import Store
from penstock.storage.audit import Audit
from penstock.storage.database import Database

Floats = NDArray[np.float64]
Interval = tuple[float, float]

Z = 1.959963984540054
SEED = 11
POPULATIONS = 40
RATES = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
KINDS = ("calibrated", "rough", "skewed", "noise", "opposite")
LABELS = ("correct", "wrong", "harmful")


class Shape(NamedTuple):
    """Items, strata of very unequal size, judgements."""

    items: int
    strata: int
    judged: int


SHAPES = (Shape(2_000, 1, 100), Shape(5_000, 6, 200), Shape(5_000, 30, 150), Shape(800, 8, 200), Shape(20_000, 12, 500))


# ---------------------------------------------------------------- populations


def population(chance: np.random.Generator, shape: Shape, rate: float, kind: str) -> tuple[list[Item], Floats]:
    """Items with their risks, and how likely each is wrong: on the scale of log-odds, normal within strata that differ."""
    sizes = chance.dirichlet(np.full(shape.strata, 0.6)) if shape.strata > 1 else np.ones(1)
    strata = chance.choice(shape.strata, shape.items, p=sizes)
    own = chance.normal(0, 1.5, shape.items)
    latent = own + chance.normal(0, 0.7, shape.strata)[strata]
    low, high = -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if _share(latent + middle).mean() > rate else (middle, high)
    wrong = _share(latent + low)
    risks: dict[str, Callable[[], Floats]] = {
        "calibrated": lambda: wrong,  # the risk is how likely an item is wrong
        "rough": lambda: np.round(_share(own + chance.normal(0, 1.5, shape.items) - 1.5), 1),  # a score of ten steps
        "skewed": lambda: wrong**2 / (wrong**2).max(),  # nearly all of it near 0
        "noise": lambda: chance.beta(0.3, 3, shape.items),  # says nothing
        "opposite": lambda: (1 - wrong) ** 8,  # the sound items are called risky
    }
    pairs = zip(strata.tolist(), risks[kind]().tolist(), strict=True)
    return [Item(str(n), str(stratum), risk) for n, (stratum, risk) in enumerate(pairs)], wrong


def _share(odds: Floats) -> Floats:
    shares: Floats = 1 / (1 + np.exp(-odds))
    return shares


# ---------------------------------------------------------------- the usual intervals


def usual(rows: Sequence[Judged]) -> dict[str, Interval]:
    """Those that are found elsewhere, of one sample."""
    cells: dict[str, list[Judged]] = defaultdict(list)
    for row in rows:
        cells[row.cell].append(row)
    sizes = np.array([group[0].cell_size for group in cells.values()], dtype=float)
    counts = np.array([len(group) for group in cells.values()], dtype=float)
    rates = np.array([sum(bool(row.wrong) for row in group) / len(group) for group in cells.values()])
    weights = sizes / sizes.sum()
    rate = float(weights @ rates)
    inner = weights**2 * (1 - counts / sizes)
    variance = float((inner * rates * (1 - rates) / np.maximum(counts - 1, 1)).sum())
    kish = 1 / max(1e-12, float((inner / counts).sum()))
    effective = rate * (1 - rate) / variance if variance > 0 else kish
    least = min(effective, len(rows))
    found = least * rate
    return {
        "wald": (rate - Z * math.sqrt(variance), rate + Z * math.sqrt(variance)),
        "logit": _logit(rate, variance),
        "wilson, Kish": _wilson(rate, kish),
        "wilson, effective size": _wilson(rate, effective),
        "Clopper-Pearson, effective size": (
            float(beta.ppf(0.025, found, least - found + 1)) if found > 0 else 0.0,
            float(beta.ppf(0.975, found + 1, least - found)) if found < least else 1.0,
        ),
        "Jeffreys, effective size": (
            float(beta.ppf(0.025, found + 0.5, least - found + 0.5)) if found > 0 else 0.0,
            float(beta.ppf(0.975, found + 0.5, least - found + 0.5)),
        ),
    }


def _logit(rate: float, variance: float) -> Interval:
    if not 0 < rate < 1:
        return (0.0, 0.0) if rate <= 0 else (1.0, 1.0)
    half = Z * math.sqrt(variance) / (rate * (1 - rate))
    middle = math.log(rate / (1 - rate))
    return 1 / (1 + math.exp(half - middle)), 1 / (1 + math.exp(-half - middle))


def _wilson(rate: float, n: float) -> Interval:
    middle = (rate + Z * Z / 2 / n) / (1 + Z * Z / n)
    half = Z / (1 + Z * Z / n) * math.sqrt(rate * (1 - rate) / n + Z * Z / 4 / n / n)
    return middle - half, middle + half


# ---------------------------------------------------------------- coverage


def setting(shape: Shape, rate: float, kind: str, replicates: int) -> dict[str, Any]:
    """One setting: how often each interval held the truth, how wide it was, and how far the rate was off."""
    chance = np.random.default_rng([SEED, shape.items, shape.strata, round(rate * 1e4), KINDS.index(kind)])
    held, below, widths = Counter[str](), Counter[str](), defaultdict[str, float](float)
    errors: list[float] = []
    by_chance = 0.0  # variance of a simple random sample of the same size
    for _ in range(POPULATIONS):
        items, likely = population(chance, shape, rate, kind)
        wrong = chance.random(shape.items) < likely
        truth, planned = float(wrong.mean()), plan(items, shape.judged)
        spread = truth * (1 - truth) * shape.items / (shape.items - 1)
        by_chance += spread / shape.judged * (1 - shape.judged / shape.items) / POPULATIONS
        for _ in range(replicates // POPULATIONS):
            sample = draw(items, planned, seed=int(chance.integers(2**62)))
            rows = [
                Judged(one.probability, bool(wrong[int(one.item.id)]), "", one.cell, one.cell_size) for one in sample
            ]
            ours = estimate(rows).all
            errors.append(ours.rate - truth)
            for name, (low, high) in {"ours": (ours.low, ours.high), **usual(rows)}.items():
                held[name] += low - 1e-12 <= truth <= high + 1e-12
                below[name] += truth < low
                widths[name] += high - low
    total = len(errors)
    error = float(np.std(errors))
    return {
        "items": shape.items, "strata": shape.strata, "judged": shape.judged, "rate": rate, "risk": kind,
        "bias_in_standard_errors": round(float(np.mean(errors)) / (error / math.sqrt(total) or 1), 2),
        "error_against_chance": round(math.sqrt(float(np.mean(np.square(errors))) / by_chance), 3),
        "coverage": {name: round(held[name] / total, 4) for name in held},
        "missed_above": round(below["ours"] / total, 4),
        "width": {name: round(widths[name] / total, 5) for name in held},
    }  # fmt: skip


def coverages(replicates: int, *, quick: bool) -> Iterator[dict[str, Any]]:
    for shape in SHAPES[:2] if quick else SHAPES:
        for rate in RATES[::3] if quick else RATES:
            for kind in KINDS[::3] if quick else KINDS:
                row = setting(shape, rate, kind, replicates)
                print(f"{tuple(shape)} {rate:g} {kind}: {row['coverage']['ours']:.3f}", file=sys.stderr, flush=True)
                yield row


# ---------------------------------------------------------------- kappa


def kappas(replicates: int) -> list[dict[str, Any]]:
    """Two reviewers who are each right with some chance: how often the interval of kappa holds the true one."""
    chance, rows = np.random.default_rng(SEED), []
    for prevalence in ((0.5, 0.3, 0.2), (0.8, 0.15, 0.05), (0.95, 0.04, 0.01)):
        for right in (0.95, 0.8, 0.6):
            table = np.zeros((3, 3))
            for truth, share in enumerate(prevalence):
                said = np.full(3, (1 - right) / 2)
                said[truth] = right
                table += share * np.outer(said, said)
            by_luck = float(table.sum(0) @ table.sum(1))
            true = (float(np.trace(table)) - by_luck) / (1 - by_luck)
            for n in (30, 100, 300):
                held, usual_held, none = 0, 0, 0
                for _ in range(replicates):
                    counts = chance.multinomial(n, table.ravel()).reshape(3, 3)
                    pairs = [(LABELS[i], LABELS[j]) for i in range(3) for j in range(3) for _ in range(counts[i, j])]
                    found = kappa(pairs)
                    none += math.isnan(found.low)
                    held += found.low <= true <= found.high
                    low, high = _fleiss_cohen_everitt(counts / n, n)
                    usual_held += low <= true <= high
                rows.append(
                    {
                        "prevalence": prevalence, "right": right, "items": n, "kappa": round(true, 3),
                        "ours": round(held / max(1, replicates - none), 4), "without_interval": none,
                        "Fleiss, Cohen, Everitt": round(usual_held / replicates, 4),
                    }
                )  # fmt: skip
    return rows


def _fleiss_cohen_everitt(table: Floats, n: int) -> Interval:
    """The large-sample interval of 1969, which most packages have."""
    rows, columns, agreed = table.sum(1), table.sum(0), float(np.trace(table))
    luck = float(rows @ columns)
    if luck >= 1:
        return math.nan, math.nan
    k = (agreed - luck) / (1 - luck)
    first = sum(table[i, i] * (1 - (rows[i] + columns[i]) * (1 - k)) ** 2 for i in range(3))
    second = (1 - k) ** 2 * sum(table[i, j] * (columns[i] + rows[j]) ** 2 for i in range(3) for j in range(3) if i != j)
    variance = max(0.0, float(first + second) - (k - luck * (1 - k)) ** 2) / (n * (1 - luck) ** 2)
    return k - Z * math.sqrt(variance), k + Z * math.sqrt(variance)


# ---------------------------------------------------------------- the queue


def _queue(home: Path) -> Queue:
    database = Database(home / "penstock.db")
    return Queue(Store(database), Audit(database), labels=LABELS, failures=("wrong",), unscored=(), lease_s=900.0)


def _review(home: str, name: str) -> None:
    queue = _queue(Path(home))
    while task := queue.claim(name):
        queue.judge(task.id, name, Given("correct"))


def throughput(people: int, items: int) -> dict[str, Any]:
    """Items claimed and judged, each with its record in the audit trail, by so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        queue = _queue(Path(folder))
        queue.add(Entry(origin=str(n), content=Content(f"question {n}", "answer " * 100)) for n in range(items))
        queue._store.database.close()
        context = multiprocessing.get_context("spawn")
        team = [context.Process(target=_review, args=(folder, f"r{n}")) for n in range(people)]
        began = time.perf_counter()
        for one in team:
            one.start()
        for one in team:
            one.join()
        seconds = time.perf_counter() - began
        queue = _queue(Path(folder))
        done = queue.items(state="done")
        twice = sum(len(item.judgements) > 1 for item in done)
        queue._store.database.close()
    return {"processes": people, "items": items, "done": len(done), "judged_twice": twice,
            "items_per_second": round(items / seconds, 1)}  # fmt: skip


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--replicates", type=int, default=2_000)
    options.add_argument("--quick", action="store_true", help="a few settings, to see that it runs; nothing is written")
    asked = options.parse_args()
    rows = list(coverages(asked.replicates, quick=asked.quick))
    agreement = kappas(200 if asked.quick else asked.replicates)
    queues = [throughput(people, 200 if asked.quick else 1_000) for people in (1, 4)]
    ours = np.array([row["coverage"]["ours"] for row in rows])
    summary = {
        name: {
            "within 93 to 97 %": f"{sum(0.93 <= c <= 0.97 for c in shares)} of {len(shares)}",
            "lowest": float(min(shares)), "median": float(np.median(shares)), "highest": float(max(shares)),
            "width": round(float(np.median([r["width"][name] / r["width"]["ours"] for r in rows])), 3),
        }
        for name in rows[0]["coverage"]
        for shares in ([row["coverage"][name] for row in rows],)
    }  # fmt: skip
    show("Coverage of 95 % intervals", {key: key for key in next(iter(summary.values()))}, summary)
    by_kind = {
        kind: {"median error against chance": float(np.median([r["error_against_chance"] for r in rows if r["risk"] == kind])),
               "bias, mean of |t|": float(np.mean([abs(r["bias_in_standard_errors"]) for r in rows if r["risk"] == kind]))}
        for kind in dict.fromkeys(row["risk"] for row in rows)
    }  # fmt: skip
    show("Error against a simple random sample of the same size", {key: key for key in by_kind[KINDS[0]]}, by_kind)
    shown = {f"{r['prevalence'][0]}, {r['right']}, n {r['items']}": r for r in agreement}
    columns = {"kappa": "kappa", "ours": "ours", "Fleiss, Cohen, Everitt": "Fleiss, Cohen, Everitt"}
    show("Coverage of kappa", columns, shown)
    print(queues, f"\nlowest {ours.min():.3f}, highest {ours.max():.3f}")
    if not asked.quick:
        figures = {"replicates": asked.replicates, "versions": versions(["numpy", "scipy"]), "summary": summary,
                   "by_risk": by_kind, "settings": rows, "kappa": agreement, "queue": queues}  # fmt: skip
        path = write(
            "review",
            claim=__doc__,
            command=f"python -m benchmarks.review --replicates {asked.replicates}",
            figures=figures,
        )
        print(path)


if __name__ == "__main__":
    main()
