"""An objective that burns and a measure that is not as usual are told in time, and a service that is in order is left alone.

    python -m benchmarks.objectives [--series N] [--services N]

Traffic is simulated, by the minute for objectives and by ten minutes for measures: a daily and a weekly season in how much is asked
and in what is measured, errors and values that vary by chance, and hours that differ among themselves. Objectives are watched for
30 days, measures for four weeks, after which one thing changes. What runs are the rules and detectors as the server runs them; what
following a journal costs is measured by itself.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.measure import versions, write
from penstock.config import ChannelSettings, Secret
from penstock.observe.anomalies import FALSE_ALARMS_A_YEAR, Usual, unusual
from penstock.observe.counts import HOUR_S, MINUTE_S, SLOT_S, Counts, Observed, Slot
from penstock.observe.journal import Journal, Row
from penstock.observe.lookout import Lookout
from penstock.observe.objectives import Objective, standing
from penstock.observe.tally import Tally
from penstock.storage.database import Database

SEED = 11
WEEK_S = 7 * 86_400
START = 1_800_000_000 // WEEK_S * WEEK_S  # of a week, so that phases are the same in all series
SLOTS_A_DAY, SLOTS_AN_HOUR = 86_400 // SLOT_S, HOUR_S // SLOT_S


def traffic(slot: int, per_hour: float) -> float:
    """Requests to be expected in ten minutes: a third at night, two in five at the weekend."""
    day = 0.65 + 0.35 * math.sin(2 * math.pi * ((slot / SLOTS_A_DAY) % 1 - 0.35))
    weekend = 0.4 if int(slot / SLOTS_A_DAY) % 7 >= 5 else 1.0
    return per_hour / SLOTS_AN_HOUR * day * weekend


class Measured(NamedTuple):
    """How a measure behaves. sigma: of single values' logarithms; season: amplitude; hours: how much hours differ, with memory."""

    name: str
    centre: float
    sigma: float
    season: float
    hours: float
    memory: float


MEASURES = {
    "cost": Measured("cost", math.log(0.004), 0.8, 0.10, 0.04, 0.5),
    "length": Measured("length", math.log(250), 0.7, 0.10, 0.04, 0.5),
    "latency": Measured("latency", math.log(2500), 0.6, 0.25, 0.08, 0.7),
    "refusals": Measured("refusals", 0.02, 0.0, 0.25, 0.15, 0.5),
}
CHANGES: dict[str, Callable[[float], float]] = {
    "cost": lambda centre: centre + math.log(1.5),
    "length": lambda centre: centre + math.log(1.5),
    "latency": lambda centre: centre + math.log(1.3),
    "refusals": lambda centre: 3 * centre,
}


def slots_of(
    kind: Measured, per_hour: float, days: int, seed: int, *, first: int, changed_from: int
) -> Iterator[tuple[int, Slot]]:
    """(number, values) of every ten minutes."""
    random, wander = np.random.default_rng(seed), 0.0
    for number in range(days * SLOTS_A_DAY):
        if number % SLOTS_AN_HOUR == 0:
            wander = kind.memory * wander + math.sqrt(1 - kind.memory**2) * random.normal(0, kind.hours)
        season = kind.season * math.sin(2 * math.pi * ((number / SLOTS_A_DAY) % 1 - 0.3))
        season += kind.season / 2 * (int(number / SLOTS_A_DAY) % 7 >= 5)
        centre = CHANGES[kind.name](kind.centre) if number >= changed_from else kind.centre
        n = int(random.poisson(traffic(number, per_hour)))
        if not n:
            continue
        if kind.name == "refusals":
            k = int(random.binomial(n, min(centre * math.exp(season + wander), 1.0)))
            yield first + number, Slot(n, float(k), float(k))
            continue
        values = random.normal(centre + season + wander, kind.sigma, n)
        yield first + number, Slot(n, float(values.sum()), float((values**2).sum()))


def alarms_of(kind: Measured, per_hour: float, days: int, seed: int, *, changed_from: int = 1 << 60) -> list[int]:
    """The slots, counted from the first, in which an alarm begins. One lasts until its measure was as usual for an hour."""
    observed, usual, found, quiet = Observed(), None, [], SLOTS_AN_HOUR
    first = START // SLOT_S
    for number, slot in slots_of(kind, per_hour, days, seed, first=first, changed_from=changed_from):
        hour = number // SLOTS_AN_HOUR
        if usual is None or usual.hour != hour:
            usual = Usual.learnt(observed, hour)
            if usual is not None:
                observed.foretell(hour, usual.expected)
        put(observed, number, slot)
        if usual is None:
            continue
        if unusual(kind.name, "app", observed, usual, (number + 1) * SLOT_S - 1):
            if quiet >= SLOTS_AN_HOUR:
                found.append(number - first)
            quiet = 0
        else:
            quiet += 1
    return found


def put(observed: Observed, number: int, slot: Slot) -> None:
    """As if its values had been added one by one."""
    observed.slots[number] = slot
    observed.slots.pop(number - 160, None)
    observed.hours.add(number // SLOTS_AN_HOUR, slot.n, slot.total, slot.squares)


def measures(per_hour: float, series: int) -> dict[str, Any]:
    """Of each measure: false alarms in four weeks, and hours from a change to its alarm within three days."""
    found = {}
    for name, kind in MEASURES.items():
        false, first_week, delays = 0, 0, []
        for n in range(series):
            changed = 28 * SLOTS_A_DAY + n * 7 % SLOTS_A_DAY  # at all times of the day
            alarms = alarms_of(kind, per_hour, 31, SEED * 1000 + n, changed_from=changed)
            false += sum(alarm < changed for alarm in alarms)
            first_week += sum(alarm < 8 * SLOTS_A_DAY for alarm in alarms)
            later = [alarm for alarm in alarms if alarm >= changed]
            delays.append((later[0] - changed + 1) / SLOTS_AN_HOUR if later else math.inf)
        years = series * 27 / 365.25
        found[name] = {
            "series_years": round(years, 2), "false_alarms": false, "of_them_in_the_first_week": first_week,
            "false_alarms_a_year": round(false / years, 3), "median_delay_hours": finite(statistics.median(delays)),
            "p90_delay_hours": finite(sorted(delays)[math.ceil(0.9 * series) - 1]), "missed": sum(map(math.isinf, delays)),
        }  # fmt: skip
        print(per_hour, name, found[name], flush=True)
    return found


def finite(value: float) -> float | None:
    return round(value, 2) if math.isfinite(value) else None


# ---------------------------------------------------------------- objectives


def services(target: float, per_hour: float, share_of_budget: float, count: int) -> dict[str, Any]:
    """Thirty days of services that burn their budget at this rate, by chance: how many alerts begin."""
    objective, alerts = Objective("x", "availability", target), {"page": 0, "ticket": 0}
    for n in range(count):
        random, counts, firing_until = np.random.default_rng(SEED * 100 + n), Counts(30 * 86_400.0), -math.inf
        bad_share = (1 - target) * share_of_budget
        for minute in range(30 * 1440):
            at = START + 60 * minute
            calls = int(random.poisson(traffic(minute // 10, per_hour) / 10))
            bad = int(random.binomial(calls, bad_share)) if calls else 0
            put_minute(counts, at, calls - bad, bad)
            if not bad:  # a rule begins to fire with a bad one
                continue
            severity = standing(objective, "", lambda w, c=counts, t=at: c.counted(w, now=t)).severity  # type: ignore[misc]
            if severity:
                alerts[severity] += at > firing_until
                firing_until = at + HOUR_S
    return {"service_months": count, **{f"{name}s_a_month": round(value / count, 4) for name, value in alerts.items()}}


def outage(target: float, per_hour: float, share: float, count: int) -> dict[str, Any]:
    """From the begin of errors at this share, after days without any: minutes to the first alert, and what it was."""
    objective, minutes, kinds = Objective("x", "availability", target), [], []
    for n in range(count):
        random, counts = np.random.default_rng(SEED * 100 + n), Counts(30 * 86_400.0)
        began = 4 * 1440 + n * 97 % 1440
        for minute in range(began + 3 * 1440):
            at = START + 60 * minute
            calls = int(random.poisson(traffic(minute // 10, per_hour) / 10))
            bad = int(random.binomial(calls, share)) if calls and minute >= began else 0
            put_minute(counts, at, calls - bad, bad)
            severity = standing(objective, "", lambda w, c=counts, t=at: c.counted(w, now=t)).severity if bad else ""  # type: ignore[misc]
            if severity:
                minutes.append(minute - began + 1)
                kinds.append(severity)
                break
    pages = sum(kind == "page" for kind in kinds)
    whole = sorted([*minutes, *[math.inf] * (count - len(minutes))])
    return {
        "services": count, "told": len(minutes), "by_a_page": pages, "median_minutes": finite(statistics.median(whole)),
        "p90_minutes": finite(whole[math.ceil(0.9 * count) - 1]),
    }  # fmt: skip


def put_minute(counts: Counts, at: int, good: int, bad: int) -> None:
    counts.minutes.add(at // MINUTE_S, good, bad)
    counts.hours.add(at // HOUR_S, good, bad)


# ---------------------------------------------------------------- what it costs


def cost(subjects: int = 40, rows: int = 100_000) -> dict[str, Any]:
    """Following a journal, one look at many series, writing down, and beginning again: CPU time."""
    kinds: tuple[Any, ...] = ("availability", "latency", "cost", "refusals", "first_piece")
    objectives = [Objective(kind, kind, 0.99, within_ms=1000.0, most_pico_usd=10**10) for kind in kinds]
    draw = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as folder:
        database = Database(Path(folder) / "penstock.db")
        journal = Journal(database, Path(folder) / "journal")
        now = float(START + 40 * 86_400)
        for n in range(rows):
            at = now - 30 * 86_400 * (1 - n / rows)
            failed = bool(draw.random() < 0.005)
            journal.write(request(f"r{n}", at, failed=failed, app=f"app{n % subjects}"), [])
            if n % 5000 == 0:
                journal.drain()
        journal.drain()
        tally = Tally(database, objectives)

        def rebuild() -> None:
            while tally.follow(now, most=20_000) >= 20_000:
                tally.save()
            tally.save()

        followed, series, kept = timed(rebuild), len(tally.counts), len(tally.observed)
        del tally
        gc.collect()
        before = resident_mb()
        tally = Tally(database, objectives)
        loaded = timed(lambda: tally.follow(now))
        gc.collect()
        memory = resident_mb() - before
        looks = [timed(lambda: tally.standings(now, burning=True)) for _ in range(20)]
        idle = [timed(lambda: tally.follow(now)) for _ in range(20)]
        hour = int(now // HOUR_S)
        busiest = max(tally.observed.values(), key=lambda observed: len(observed.hours))
        learnt = [timed(lambda: Usual.learnt(busiest, hour)) for _ in range(20)]
        journal.close()
        database.close()
    return {
        "rows": rows, "series": series, "measures": kept, "hours_of_history": len(busiest.hours),
        "count_and_save_us_per_row": round(followed / rows * 1e6, 2),
        "look_ms": round(statistics.median(looks) * 1e3, 2),
        "look_us_per_series": round(statistics.median(looks) / series * 1e6, 1),
        "follow_nothing_new_ms": round(statistics.median(idle) * 1e3, 3),
        "begin_again_ms": round(loaded * 1e3, 1), "memory_mb": round(memory, 1),
        "learn_an_hour_ms": round(statistics.median(learnt) * 1e3, 2),
    }  # fmt: skip


def delivery(times: int = 10) -> dict[str, Any]:
    """Seconds from the request that makes it a burn to the webhook's receipt, in real time, each time in a new home."""
    arrived = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            arrived.set()
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    channels, took = {"hook": ChannelSettings(url=Secret(f"http://127.0.0.1:{server.server_port}/"))}, []
    for number in range(times):
        arrived.clear()
        with tempfile.TemporaryDirectory() as folder:
            database = Database(Path(folder) / "penstock.db")
            journal = Journal(database, Path(folder) / "journal")
            lookout, stop = Lookout(database, Path(folder) / "lock", [OBJECTIVE], channels), threading.Event()
            thread = threading.Thread(target=lookout.run, args=(stop,))
            thread.start()
            time.sleep(4 + 0.37 * number)  # at any point of its rounds
            for n in range(5):
                journal.write(request(f"r{n}", time.time(), failed=True, app="app"), [])
            began = time.monotonic()
            arrived.wait(60)
            took.append(time.monotonic() - began)
            stop.set()
            thread.join(20)
            journal.close()
            database.close()
    server.shutdown()
    server.server_close()
    return {"times": times, "median_s": round(statistics.median(took), 2), "longest_s": round(max(took), 2)}


OBJECTIVE = Objective("availability", "availability", 0.99)


def request(number: str, at: float, *, failed: bool, app: str) -> Row:
    outcome, status = ("failed", 500) if failed else ("ok", 200)
    return Row(
        number, number, at, "", "", "", app, "small", "chat", False, status, outcome, "", False, 100.0, 800.0, 10, 100, 0, 0,
        10**9, "",
    )  # fmt: skip


def resident_mb() -> float:
    """Memory of this process now; nan where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
    except (OSError, ValueError):
        return math.nan


def timed(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--series", type=int, default=30)
    parser.add_argument("--services", type=int, default=20)
    given = parser.parse_args()
    figures: dict[str, Any] = {"cost": cost()}
    print(figures["cost"], flush=True)
    figures["delivery"] = delivery()
    print(figures["delivery"], flush=True)
    figures["in_order_for_30_days"] = {}
    for target, per_hour, share in (
        (0.999, 20, 0.5), (0.999, 200, 0.5), (0.999, 2000, 0.5), (0.99, 20, 0.5), (0.99, 200, 0.5), (0.999, 200, 0.1),
    ):  # fmt: skip
        name = f"target {target}, {per_hour} an hour, burning {share} of its budget"
        figures["in_order_for_30_days"][name] = services(target, per_hour, share, given.services)
        print(name, figures["in_order_for_30_days"][name], flush=True)
    figures["errors_begin"] = {}
    for target, per_hour, share in (
        (0.999, 20, 1.0), (0.999, 200, 1.0), (0.999, 2000, 1.0), (0.999, 2000, 0.05), (0.999, 2000, 0.01), (0.999, 2000, 0.002),
        (0.99, 200, 0.2),
    ):  # fmt: skip
        name = f"target {target}, {per_hour} an hour, errors {share}"
        figures["errors_begin"][name] = outage(target, per_hour, share, given.services)
        print(name, figures["errors_begin"][name], flush=True)
    figures["measures"] = {f"{per_hour} an hour": measures(per_hour, given.series) for per_hour in (20, 100, 1000)}
    figures["conditions"] = {
        "changes": "cost and length x 1.5, latency + 30 %, refusals 2 -> 6 %",
        "season": "a third of the traffic at night, 0.4 of it at the weekend; the measure moves by 10 to 25 % in a day",
        "hours": {name: {"differ_by": kind.hours, "memory": kind.memory} for name, kind in MEASURES.items()},
        "promised_false_alarms_a_year": FALSE_ALARMS_A_YEAR,
    }
    path = write(
        "objectives",
        claim=__doc__.splitlines()[0],
        command=f"python -m benchmarks.objectives --series {given.series} --services {given.services}",
        figures={**figures, "versions": versions(["numpy", "orjson"])},
    )
    print(path)


if __name__ == "__main__":
    main()
