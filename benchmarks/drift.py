"""The charts keep to the false alarms that were allowed, and see what ADWIN, DDM, EDDM and Page-Hinkley see late or never.

    python -m benchmarks.drift [DATA] [--streams N]

Streams are drawn here, N of each kind for the charts and half as many for the others, with a warm-up of 1,500 events and, where
there is a change, at event 2,731 or 5,000 (half each). DATA holds verify/drift (gzipped JSON Lines); its streams are only measured,
at the settings that everybody gets. The other detectors run as they come, and at the most eager setting that gives at most as many
false alarms as were allowed on streams without a change. Texts are embedded by the shipped encoder. Figures of time are CPU seconds
of one thread.
"""

from __future__ import annotations

import argparse
import gzip
import json
import statistics
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import commit, show, versions, write
from penstock.encoder import shipped
from penstock.observe.charts import FALSE_ALARMS, WARM_UP, Alarm, ChartBank, Detector
from penstock.observe.detectors import ADWIN, DDM, EDDM, PageHinkley
from penstock.observe.text_drift import TextWatch, compare

Draw = np.random.Generator
Values = NDArray[Any]
Make = Callable[[Draw, int], Values]

LENGTH = 7000
CHANGES_AT = (2731, 5000)
AFTER = 4000
NEVER = 99_999


def following(draw: Draw, n: int, *weights: float) -> Values:
    """Autoregressive, of variance 1."""
    noise, values = draw.normal(size=n + 200), np.zeros(n + 200)
    for at in range(len(weights), n + 200):
        values[at] = noise[at] + sum(w * values[at - k] for k, w in enumerate(weights, 1))
    kept: Values = values[200:] / values[200:].std()
    return kept


def wave(draw: Draw, n: int, period: int) -> Values:
    values: Values = np.sin(2 * np.pi * (np.arange(n) + draw.integers(period)) / period)
    return values


def hours(draw: Draw, n: int, period: int, first: int, end: int) -> Values:
    """One in a stretch of each period, zero elsewhere."""
    phases = (np.arange(n) + draw.integers(period)) % period
    return ((phases >= first) & (phases < end)) * 1.0


def bursts(draw: Draw, n: int) -> Values:
    values, variance = np.zeros(n), 1.0
    for at in range(n):
        values[at] = np.sqrt(variance) * draw.normal()
        variance = 0.1 + 0.1 * values[at] ** 2 + 0.8 * variance
    return values


def switching(draw: Draw, n: int) -> Values:
    return 2.0 * (np.cumsum(draw.random(n) < 0.02) % 2) + draw.normal(size=n)


def seldom(share: float) -> Make:
    return lambda draw, n: (draw.random(n) < share) * 1.0


def gauss(draw: Draw, n: int) -> Values:
    return draw.normal(size=n)


def latency(draw: Draw, n: int) -> Values:
    return draw.lognormal(6, 0.6, n)


QUIET: dict[str, tuple[Make, int]] = {  # and their period, where it is told
    "normal": (gauss, 0),
    "AR(0.6)": (lambda d, n: following(d, n, 0.6), 0),
    "AR(0.9)": (lambda d, n: following(d, n, 0.9), 0),
    "AR(-0.5)": (lambda d, n: following(d, n, -0.5), 0),
    "AR(0.5, 0.3)": (lambda d, n: following(d, n, 0.5, 0.3), 0),
    "exp of AR(0.9)": (lambda d, n: np.exp(following(d, n, 0.9)), 0),
    "daily, period told": (lambda d, n: 0.8 * wave(d, n, 1440) + gauss(d, n), 1440),
    "daily, not told": (lambda d, n: 0.8 * wave(d, n, 1440) + gauss(d, n), 0),
    "daily, strong, told": (lambda d, n: 4 * wave(d, n, 1440) + gauss(d, n), 1440),
    "daily square wave, told": (lambda d, n: 0.6 * np.sign(wave(d, n, 1440)) + gauss(d, n), 1440),
    "daily with AR(0.6), told": (lambda d, n: 0.8 * wave(d, n, 1440) + following(d, n, 0.6), 1440),
    "office hours, told": (lambda d, n: latency(d, n) * (1.0 + hours(d, n, 1440, 480, 1080)), 1440),
    "nightly job, told": (lambda d, n: gauss(d, n) + 3.0 * hours(d, n, 288, 0, 12), 288),
    "period 24, not told": (lambda d, n: wave(d, n, 24) + gauss(d, n), 0),
    "period 288, not told": (lambda d, n: 0.8 * wave(d, n, 288) + gauss(d, n), 0),
    "lognormal": (latency, 0),
    "Student 2": (lambda d, n: d.standard_t(2, n), 0),
    "Cauchy": (lambda d, n: d.standard_cauchy(n), 0),
    "Pareto 1.5": (lambda d, n: d.pareto(1.5, n) + 1, 0),
    "latency, two kinds": (lambda d, n: np.where(d.random(n) < 0.05, d.lognormal(7.5, 0.5, n), d.lognormal(6, 0.4, n)), 0),
    "two modes": (lambda d, n: gauss(d, n) + 4 * (d.random(n) < 0.3), 0),
    "errors 1 %": (seldom(0.01), 0),
    "errors 5 %": (seldom(0.05), 0),
    "errors 20 %": (seldom(0.2), 0),
    "successes 90 %": (seldom(0.9), 0),
    "errors, daily, told": (
        lambda d, n: (d.random(n) < 0.05 * (1 + 0.8 * np.sin(2 * np.pi * np.arange(n) / 1440))) * 1.0, 1440
    ),
    "errors, neighbours alike": (lambda d, n: (following(d, n, 0.8) > 1.5) * 1.0, 0),
    "Poisson 0.2": (lambda d, n: d.poisson(0.2, n) * 1.0, 0),
    "Poisson 3": (lambda d, n: d.poisson(3, n) * 1.0, 0),
    "negative binomial": (lambda d, n: d.negative_binomial(1, 0.2, n) * 1.0, 0),
    "stars 1 to 5": (lambda d, n: d.choice(5, n, p=[0.05, 0.05, 0.1, 0.3, 0.5]) + 1.0, 0),
    "zeros and lognormal": (lambda d, n: np.where(d.random(n) < 0.8, 0.0, d.lognormal(size=n)), 0),
    "GARCH": (bursts, 0),
    "Markov switching": (switching, 0),
}  # fmt: skip

CHANGED: dict[str, tuple[Make, Callable[[Values, Draw], Values], int]] = {
    "mean +0.3": (gauss, lambda x, d: x + 0.3, 0),
    "mean +0.5": (gauss, lambda x, d: x + 0.5, 0),
    "mean -0.5": (gauss, lambda x, d: x - 0.5, 0),
    "mean +1": (gauss, lambda x, d: x + 1.0, 0),
    "spread x1.5": (gauss, lambda x, d: x * 1.5, 0),
    "spread x0.6": (gauss, lambda x, d: x * 0.6, 0),
    "latency +20 %": (latency, lambda x, d: x * 1.2, 0),
    "latency, longer tail": (latency, lambda x, d: np.where(d.random(len(x)) < 0.05, x * 6, x), 0),
    "errors 5 to 10 %": (seldom(0.05), lambda x, d: seldom(0.1)(d, len(x)), 0),
    "errors 2 to 5 %": (seldom(0.02), lambda x, d: seldom(0.05)(d, len(x)), 0),
    "successes 95 to 90 %": (seldom(0.95), lambda x, d: seldom(0.9)(d, len(x)), 0),
    "AR(0.6), mean +1": (lambda d, n: following(d, n, 0.6), lambda x, d: x + 1.0, 0),
    "daily, told, mean +0.6": (lambda d, n: 0.8 * wave(d, n, 1440) + gauss(d, n), lambda x, d: x + 0.6, 1440),
    "daily, not told, mean +0.6": (lambda d, n: 0.8 * wave(d, n, 1440) + gauss(d, n), lambda x, d: x + 0.6, 0),
}

OTHERS: dict[str, tuple[type, list[dict[str, float]], bool]] = {  # settings: the default first, then from eager to patient
    "ADWIN": (ADWIN, [{"delta": d} for d in (0.002, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.002)], False),
    "Page-Hinkley": (PageHinkley, [{"limit": 50}, *({"limit": x, "allowance": 0.15} for x in (12, 16, 20, 25, 30, 40, 60))], False),
    "DDM": (DDM, [{"deviations": d} for d in (3.0, 3.0, 3.5, 4.0, 4.5, 5.0, 6.0)], True),
    "EDDM": (EDDM, [{"limit": x} for x in (0.9, 0.8, 0.7, 0.6, 0.5, 0.4)], True),
}  # fmt: skip


def drawn(name: str, seed: int) -> Draw:
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def quiet(streams: int) -> dict[str, Any]:
    """False alarms of the charts on every kind of stream without a change, in 10,000 events after a warm-up."""
    found = {}
    for name, (make, period) in QUIET.items():
        alarms = events = 0
        for seed in range(streams):
            alarms_here = len(ChartBank(period=period).watch(make(drawn(name, seed), LENGTH)))
            alarms += alarms_here
            events += LENGTH - max(WARM_UP, period) * (1 + alarms_here)
        found[name] = {"alarms": alarms, "events": events, "per_10k": alarms / events * 1e4}
    return found


def delays(make_detector: Callable[[int], Detector], name: str, streams: int) -> dict[str, float]:
    make, change, period = CHANGED[name]
    late, early = [], 0
    for seed in range(streams):
        draw, at = drawn(name, seed), CHANGES_AT[seed % 2]
        values = make(draw, at + AFTER)
        values[at:] = change(values[at:], draw)
        positions = [alarm.position - at for alarm in make_detector(period).watch(values)]
        early += sum(position < 0 for position in positions)
        late.append(next((position for position in positions if position >= 0), NEVER))
    return {
        "median": statistics.median(late), "p90": float(np.quantile(late, 0.9)),
        "missed": sum(one == NEVER for one in late) / streams, "early_alarms": early,
    }  # fmt: skip


def false_alarms(make_detector: Callable[[], Detector], make: Make, streams: int) -> float:
    counts = [len(make_detector().watch(make(drawn("equal", seed), LENGTH))) for seed in range(streams)]
    return sum(counts) / (streams * LENGTH) * 1e4


def others(streams: int) -> dict[str, Any]:
    """Each as it comes, and at equal false alarms: of normal values, or errors of 5 % where it takes nothing else."""
    found: dict[str, Any] = {}
    for name, (kind, settings, binary) in OTHERS.items():
        make = seldom(0.05) if binary else gauss
        rates = [false_alarms(lambda kind=kind, s=s: kind(**s), make, streams) for s in settings]  # type: ignore[misc]
        equal = next((n for n in range(1, len(settings)) if rates[n] <= FALSE_ALARMS), None)
        changes = [change for change in CHANGED if not binary or "errors" in change or "successes" in change]
        found[name] = {}
        for label, n in (("as it comes", 0), ("at equal false alarms", equal)):
            if n is None:
                continue
            table = {c: delays(lambda period, k=kind, s=settings[n]: k(**s), c, streams) for c in changes}  # type: ignore[misc]
            found[name][label] = {"setting": settings[n], "per_10k": rates[n], "delays": table}
    return found


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        yield from map(json.loads, lines)


def shared_streams(path: Path) -> dict[str, Any]:
    kinds: dict[str, dict[str, Any]] = defaultdict(lambda: {"false": 0, "events": 0, "delays": []})
    for row in rows_of(path):
        kind, change = kinds[row["kind"]], (row["change_points"] or [len(row["values"])])[0]
        period = row.get("period") or 0
        alarms: list[Alarm] = ChartBank(period=period).watch(row["values"])
        kind["false"] += sum(alarm.position < change for alarm in alarms)
        kind["events"] += change - max(WARM_UP, period)
        if row["change_points"]:
            kind["delays"].append(next((a.position - change for a in alarms if a.position >= change), NEVER))
    return {
        name: {"false": one["false"], "events": one["events"], "per_10k": one["false"] / one["events"] * 1e4}
        | ({"median": statistics.median(one["delays"]), "missed": one["delays"].count(NEVER)} if one["delays"] else {})
        for name, one in kinds.items()
    }


def shared_texts(path: Path) -> dict[str, Any]:
    """Alarms within 300 texts of a change, and how well the surprise of the last 300 of 900 tells changed streams from others."""
    encoder, by_mix, surprises = shipped(), defaultdict(list), defaultdict(list)
    began, texts, looked = time.process_time(), 0, 0.0
    for row in rows_of(path):
        vectors = encoder.embed(row["texts"])
        texts += len(vectors)
        start = time.process_time()
        alarms = TextWatch().watch(vectors)
        looked += time.process_time() - start
        change = (row["change_points"] or [len(vectors)])[0]
        false = sum(alarm.position < change for alarm in alarms)
        late = next((alarm.position - change for alarm in alarms if alarm.position >= change), NEVER)
        by_mix[row["mix"]].append((false, late))
        surprises[row["mix"]].append(compare(vectors[:600], vectors[600:900], level=0.01).surprise)
    embedding = time.process_time() - began - looked
    null = np.array(surprises[0.0])
    found: dict[str, Any] = {
        "embedding_ms_per_text": embedding / texts * 1e3, "watching_ms_per_text": looked / texts * 1e3,
        "false_alarms": sum(false for rows in by_mix.values() for false, _ in rows), "streams": sum(map(len, by_mix.values())),
    }  # fmt: skip
    for mix, rows in sorted(by_mix.items()):
        late = [one for _, one in rows]
        higher = np.array(surprises[mix])[:, None] - null[None]
        found[f"{mix:.0%}"] = {
            "streams": len(rows), "within_300": sum(one < 300 for one in late) / len(rows), "median": statistics.median(late),
            "auroc": float((higher > 0).mean() + (higher == 0).mean() / 2),
        }  # fmt: skip
    return found


def speed() -> dict[str, float]:
    """Events in a CPU second."""
    draw = np.random.default_rng(0)
    kinds = {
        "normal": gauss(draw, 1_000_000),
        "errors": seldom(0.05)(draw, 1_000_000),
        "AR(0.6)": following(draw, 300_000, 0.6),
    }
    found = {}
    for name, values in kinds.items():
        began = time.process_time()
        ChartBank().watch(values)
        found[f"{name}, many at once"] = len(values) / (time.process_time() - began)
        bank = ChartBank(reference=values[:2000])
        few = values[2000:22_000].tolist()
        began = time.process_time()
        for value in few:
            bank.update(value)
        found[f"{name}, one by one"] = len(few) / (time.process_time() - began)
    day, told = gauss(draw, 1_000_000), wave(draw, 1_000_000, 1440)
    periods = {
        "period 24 found": (day + wave(draw, 1_000_000, 24), 0),
        "period 288 not found": (day + 0.8 * wave(draw, 1_000_000, 288), 0),
        "period 1440 told": (day + 0.8 * told, 1440), "square wave of 1440 told": (day + 0.6 * np.sign(told), 1440),
        "period 10080 told": (day + 0.8 * wave(draw, 1_000_000, 10_080), 10_080),
    }  # fmt: skip
    for name, (values, period) in periods.items():
        began = time.process_time()
        ChartBank(period=period).watch(values)
        found[f"{name}, many at once"] = len(values) / (time.process_time() - began)
    for name, detector in (("ADWIN", ADWIN()), ("Page-Hinkley", PageHinkley())):
        began = time.process_time()
        detector.watch(kinds["normal"][:30_000])
        found[name] = 30_000 / (time.process_time() - began)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="?", type=Path)
    parser.add_argument("--streams", type=int, default=40)
    asked = parser.parse_args()
    began = commit()
    found: dict[str, Any] = {
        "versions": versions(["numpy", "penstock"]), "streams_of_a_kind": asked.streams, "allowed_per_10k": FALSE_ALARMS,
        "warm_up": WARM_UP, "speed_events_per_cpu_s": speed(),
    }  # fmt: skip
    print(json.dumps(found["speed_events_per_cpu_s"], indent=1), flush=True)
    if asked.data:
        found["shared_streams"] = shared_streams(asked.data / "verify" / "drift" / "streams.jsonl.gz")
        show("Shared streams", {"false, in 10,000": "per_10k", "median": "median"}, found["shared_streams"])
        found["shared_texts"] = shared_texts(asked.data / "verify" / "drift" / "text_streams.jsonl.gz")
        print(json.dumps(found["shared_texts"], indent=1), flush=True)
    found["charts_delays"] = {
        name: delays(lambda period: ChartBank(period=period), name, asked.streams) for name in CHANGED
    }
    show("Until a change is seen", {"median": "median", "90 %": "p90", "missed": "missed"}, found["charts_delays"])
    found["charts_quiet"] = quiet(asked.streams)
    show("No change", {"alarms": "alarms", "events": "events", "in 10,000": "per_10k"}, found["charts_quiet"])
    found["others"] = others(asked.streams // 2)
    write(
        "drift",
        claim=__doc__,
        command=f"python -m benchmarks.drift --streams {asked.streams}",
        figures=found,
        commit_measured=began,
    )


if __name__ == "__main__":
    main()
