"""The numbers that Prometheus reads: counted here in plain dictionaries, written out with its own library when asked for.

Several processes that serve together leave their numbers in files beside each other; whoever is asked adds them up.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from penstock.observe.journal import Row

__all__ = ["Metrics"]

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
SEPARATOR = "\x1f"

Numbers = dict[str, float]


class Metrics:
    """Counts what has ended. With a folder, its numbers are shared with the other processes that use it."""

    def __init__(self, folder: Path | None = None, *, worker: int = 0) -> None:
        self._folder, self._worker = folder, worker
        self._models: dict[tuple[str, str, bool], list[float]] = {}
        self._times: dict[tuple[str, str], list[int]] = {}
        self._sums: dict[tuple[str, str], float] = {}
        self._calls: dict[tuple[str, str], int] = {}
        self.running = 0
        self._lock = threading.Lock()

    def count(self, row: Row, calls: Mapping[tuple[str, str], int] | None = None) -> None:
        """One request has ended. calls: (model, outcome) -> how many upstreams were asked."""
        with self._lock:
            totals = self._models.get((row.model, row.outcome, row.cached))
            if totals is None:
                totals = self._models[row.model, row.outcome, row.cached] = [0.0] * 4
            totals[0] += 1
            totals[1] += row.input_tokens
            totals[2] += row.output_tokens
            totals[3] += row.cost_pico_usd
            self._time("request_duration", row.model, row.duration_ms / 1000)
            if row.first_ms:
                self._time("first_piece", row.model, row.first_ms / 1000)
            if calls:
                for key, amount in calls.items():
                    self._calls[key] = self._calls.get(key, 0) + amount

    def _time(self, name: str, model: str, seconds: float) -> None:
        counts = self._times.get((name, model))
        if counts is None:
            counts = self._times[name, model] = [0] * (len(BUCKETS_S) + 1)
        counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sums[name, model] = self._sums.get((name, model), 0.0) + seconds

    def text(self) -> bytes:
        """The numbers of all processes in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(_Collector(self._added_up()))
        return generate_latest(registry)

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
        with self._lock:
            return {
                "models": {SEPARATOR.join(map(str, key)): list(value) for key, value in self._models.items()},
                "times": {SEPARATOR.join(key): list(value) for key, value in self._times.items()},
                "sums": {SEPARATOR.join(key): [value] for key, value in self._sums.items()},
                "calls": {SEPARATOR.join(key): [value] for key, value in self._calls.items()},
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


class _Collector:
    """The numbers as Prometheus' client library wants them."""

    def __init__(self, total: dict[str, dict[str, list[float]]]) -> None:
        self._total = total

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        requests = CounterMetricFamily(
            "penstock_requests", "Requests that have ended.", labels=["model", "outcome", "cached"]
        )
        tokens = CounterMetricFamily("penstock_tokens", "Tokens.", labels=["model", "direction"])
        cost = CounterMetricFamily("penstock_cost_usd", "Money spent, in US dollars.", labels=["model"])
        sums: dict[str, list[float]] = {}
        for key, (count, given, made, pico) in self._total["models"].items():
            model, outcome, cached = key.split(SEPARATOR)
            requests.add_metric([model, outcome, cached.lower()], count)
            known = sums.setdefault(model, [0.0, 0.0, 0.0])
            for n, value in enumerate((given, made, pico)):
                known[n] += value
        for model, (given, made, pico) in sums.items():
            tokens.add_metric([model, "input"], given)
            tokens.add_metric([model, "output"], made)
            cost.add_metric([model], pico / 1e12)
        yield from (requests, tokens, cost)
        calls = CounterMetricFamily("penstock_upstream_calls", "Calls of upstreams.", labels=["model", "outcome"])
        for key, (count,) in self._total["calls"].items():
            calls.add_metric(key.split(SEPARATOR), count)
        yield calls
        texts = {
            "request_duration": "From a request's arrival to the end of its answer.",
            "first_piece": "From a request's arrival to the first piece of its answer.",
        }
        for name, text in texts.items():
            family = HistogramMetricFamily(f"penstock_{name}_seconds", text, labels=["model"])
            for key, counts in self._total["times"].items():
                kind, model = key.split(SEPARATOR)
                if kind == name:
                    running, buckets = 0.0, []
                    for bound, count in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
                        running += count
                        buckets.append((bound, running))
                    family.add_metric([model], buckets, self._total["sums"][key][0])
            yield family
        yield GaugeMetricFamily(
            "penstock_running_requests", "Requests that run now.", value=self._total["running"][""][0]
        )
