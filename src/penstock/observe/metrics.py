"""The numbers that Prometheus reads: counted here in plain dictionaries, written out with its own library when asked for.

What each request takes is counted as it ends. What takes reading, such as how many sentences were in the sources, is counted from
what the journal has stored, in its background. Labels are names of the settings and words of ours, so there are never many.
Several processes that serve together leave their numbers in files beside each other; whoever is asked adds them up.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Any

import orjson

from penstock.observe.journal import Row

__all__ = ["Metrics"]

# name -> what it counts, its labels
COUNTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "answers": ("Answers of apps that have ended, by how.", ("app", "status")),
    "claims": ("Sentences that were looked for in the sources, by what was found.", ("app", "label")),
    "faults": ("Faults of answers; one may have several.", ("app", "fault")),
    "guard_decisions": ("Texts that the guard found something in, by what was done.", ("model", "surface", "decision")),
    "journal_stored_requests": ("Requests that the journal has stored.", ()),
    "exported_requests": ("Requests that an OpenTelemetry receiver has taken.", ()),
    "export_lost_requests": ("Requests that no receiver will see.", ("reason",)),
    "export_rejected_spans": ("Spans that a receiver has taken, and thrown away.", ()),
    "export_failures": ("Times that a receiver did not take what it was sent.", ()),
}
GAUGES: dict[str, str] = {
    "journal_waiting_requests": "Requests that wait to be stored.",
    "export_waiting_requests": "Requests that wait to be sent to an OpenTelemetry receiver.",
}
Numbers = Mapping[tuple[str, ...], float]  # a name of these and its labels -> how many
NONE: Numbers = {
    ("exported_requests",): 0, ("export_rejected_spans",): 0, ("export_failures",): 0, ("export_waiting_requests",): 0,
    ("export_lost_requests", "full"): 0, ("export_lost_requests", "refused"): 0, ("export_lost_requests", "closed"): 0,
}  # fmt: skip
BUCKETS_MS = (10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1e3, 2.5e3, 5e3, 1e4, 3e4, 6e4, 1.2e5, 3e5)


class _Totals:
    """What was counted of one model, outcome and whether it came from the cache."""

    __slots__ = (
        "cost_pico_usd", "duration_ms", "durations", "first_ms", "firsts", "input_tokens", "output_tokens", "requests"
    )  # fmt: skip

    def __init__(self) -> None:
        self.requests = self.input_tokens = self.output_tokens = self.cost_pico_usd = 0
        self.duration_ms = self.first_ms = 0.0
        self.durations, self.firsts = [0] * (len(BUCKETS_MS) + 1), [0] * (len(BUCKETS_MS) + 1)

    def plain(self) -> list[float]:
        sums = [
            self.requests,
            self.input_tokens,
            self.output_tokens,
            self.cost_pico_usd,
            self.duration_ms,
            self.first_ms,
        ]
        return [*sums, *self.durations, *self.firsts]


class Metrics:
    """Counts what has ended. With a folder, its numbers are shared with the other processes that use it."""

    def __init__(self, folder: Path | None = None, *, worker: int = 0) -> None:
        self._folder, self._worker = folder, worker
        self._noted: Counter[tuple[str, ...]] = Counter()
        self.others: list[Callable[[], Numbers]] = [lambda: NONE]  # who counts for themselves
        self.budgets: Callable[[], Iterable[tuple[str, str, float]]] = tuple  # budget, limit, how much of it is used
        self._models: dict[tuple[str, str, bool], _Totals] = {}
        self._calls: dict[tuple[str, str], int] = {}
        self.running = 0
        self._lock = threading.Lock()

    def count(self, row: Row, calls: Iterable[tuple[str, str]], *, model: str) -> None:
        """One request has ended. model: its name in the settings; calls: (model, outcome) of each upstream that was asked."""
        key = (model, row.outcome, row.cached)
        with self._lock:
            totals = self._models.get(key)
            if totals is None:
                totals = self._models[key] = _Totals()
            totals.requests += 1
            totals.input_tokens += row.input_tokens
            totals.output_tokens += row.output_tokens
            totals.cost_pico_usd += row.cost_pico_usd
            totals.duration_ms += row.duration_ms
            totals.durations[bisect_left(BUCKETS_MS, row.duration_ms)] += 1
            if row.first_ms:
                totals.first_ms += row.first_ms
                totals.firsts[bisect_left(BUCKETS_MS, row.first_ms)] += 1
            for call in calls:
                self._calls[call] = self._calls.get(call, 0) + 1

    def note(self, rows: Sequence[Row], label: Callable[[Row], str]) -> None:
        """Read what the journal has stored. label: the name that a request is counted under."""
        found: Counter[tuple[str, ...]] = Counter({("journal_stored_requests",): len(rows)})
        for row in rows:
            for seen in orjson.loads(row.guarded) if row.guarded else ():
                found["guard_decisions", label(row), seen.get("surface", ""), seen.get("decision", "")] += 1
            if not row.answer:
                continue
            answer = orjson.loads(row.answer)
            if "status" not in answer:  # of an experiment alone
                continue
            found["answers", row.app, answer["status"]] += 1
            for fault in answer.get("faults", ()):
                found["faults", row.app, fault] += 1
            for claim, count in answer.get("claims", {}).items():
                found["claims", row.app, claim] += count
        with self._lock:
            self._noted.update(found)

    def text(self) -> bytes:
        """The numbers of all processes in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collector(self._added_up(), self.budgets()))
        return generate_latest(registry)

    def own(self) -> list[Any]:
        """The numbers of this process, as families of Prometheus' library."""
        return list(_Collector(self._plain(), self.budgets()).collect())

    def share(self) -> None:
        """Leave the numbers where the other processes find them."""
        if self._folder:
            with suppress(OSError):
                self._folder.mkdir(parents=True, exist_ok=True)
                path = self._folder / f"{self._worker}.json"
                beside = path.with_suffix(".part")
                beside.write_bytes(orjson.dumps(self._plain()))
                beside.replace(path)

    def _plain(self) -> dict[str, dict[str, Any]]:
        others: dict[tuple[str, ...], float] = {}
        for counted in self.others:
            others |= counted()
        with self._lock:
            return {
                "noted": {_joined(key): [value] for key, value in {**self._noted, **others}.items()},
                "models": {_joined(map(str, key)): totals.plain() for key, totals in self._models.items()},
                "calls": {_joined(key): [value] for key, value in self._calls.items()},
                "running": {"": [self.running]},
            }

    def _added_up(self) -> dict[str, dict[str, list[float]]]:
        total: dict[str, dict[str, list[float]]] = self._plain()
        own = f"{self._worker}.json"
        for path in self._folder.glob("*.json") if self._folder else ():
            if path.name == own:
                continue
            with suppress(OSError, ValueError):
                for kind, entries in orjson.loads(path.read_bytes()).items():
                    for key, values in entries.items():
                        known = total[kind].get(key, [0.0] * len(values))
                        total[kind][key] = [a + b for a, b in zip(known, values, strict=True)]
        return total


def _joined(parts: Iterable[str]) -> str:
    return orjson.dumps(list(parts)).decode()


class _Collector:
    """The numbers as Prometheus' client library wants them."""

    def __init__(self, total: dict[str, dict[str, list[float]]], budgets: Iterable[tuple[str, str, float]]) -> None:
        self._total, self._budgets = total, list(budgets)

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily(
            "penstock_requests", "Requests that have ended.", labels=["model", "outcome", "cached"]
        )
        by_model: dict[str, list[float]] = {}
        for key, numbers in self._total["models"].items():
            model, outcome, cached = orjson.loads(key)
            requests.add_metric([model, outcome, cached.lower()], numbers[0])
            known = by_model.setdefault(model, [0.0] * len(numbers))
            by_model[model] = [a + b for a, b in zip(known, numbers, strict=True)]
        yield requests
        tokens = CounterMetricFamily("penstock_tokens", "Tokens.", labels=["model", "direction"])
        cost = CounterMetricFamily("penstock_cost_usd", "Money spent, in US dollars.", labels=["model"])
        for model, (_, given, made, pico, *_) in by_model.items():
            tokens.add_metric([model, "input"], given)
            tokens.add_metric([model, "output"], made)
            cost.add_metric([model], pico / 1e12)
        yield from (tokens, cost)
        calls = CounterMetricFamily("penstock_upstream_calls", "Calls of upstreams.", labels=["model", "outcome"])
        for key, (count,) in self._total["calls"].items():
            calls.add_metric(orjson.loads(key), count)
        yield calls
        wide = len(BUCKETS_MS) + 1
        for name, text, place in (
            ("request_duration", "From a request's arrival to the end of its answer.", 4),
            ("first_piece", "From a request's arrival to the first piece of its answer.", 5),
        ):
            family = HistogramMetricFamily(f"penstock_{name}_seconds", text, labels=["model"])
            for model, numbers in by_model.items():
                at = 6 if place == 4 else 6 + wide
                bounds = (*(f"{bound / 1000:g}" for bound in BUCKETS_MS), "+Inf")
                counts = accumulate(numbers[at : at + wide])
                family.add_metric([model], list(zip(bounds, counts, strict=True)), numbers[place] / 1000)
            yield family
        running = self._total["running"][""][0]
        yield GaugeMetricFamily("penstock_running_requests", "Requests that run now.", value=running)
        yield from self._noted()

    def _noted(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        numbers = [(orjson.loads(key), value) for key, (value,) in self._total["noted"].items()]
        for name, (text, labels) in COUNTS.items():
            counted = CounterMetricFamily(f"penstock_{name}", text, labels=labels)
            for (kind, *values), number in numbers:
                if kind == name:
                    counted.add_metric(values, number)
            yield counted
        for name, text in GAUGES.items():
            number = sum(number for (kind, *_), number in numbers if kind == name)
            yield GaugeMetricFamily(f"penstock_{name}", text, value=number)
        used = GaugeMetricFamily(
            "penstock_budget_used_ratio",
            "How much of a budget is used or held, from 0 to 1.",
            labels=["budget", "limit"],
        )
        for budget, limit, ratio in self._budgets:
            used.add_metric([budget, limit], ratio)
        yield used
