"""Numbers for OpenTelemetry: what calls of models took, and what requests took at our door, added up since the start.

Told from rows of the journal, in the background. Needs the extra `otel`.
"""

from __future__ import annotations

import re
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from penstock.observe.conventions import FIRST_SECONDS, SECONDS, TOKENS, WRITING, Names, Served
from penstock.observe.journal import Row
from penstock.observe.otlp import NO_FAULT, attributes, calls

__all__ = ["Measures", "converted"]

CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


class _Spread:
    """A histogram."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds, self.total = bounds, 0.0
        self.counts = [0] * (len(bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class _Key(NamedTuple):
    """What a number is about. model: one of the settings, so that there are never more than those."""

    metric: str
    dialect: str
    model: str
    error: str
    token_type: str = ""


class Measures:
    """Cumulative histograms and sums by the conventions' names."""

    def __init__(self, names: Names, served: Mapping[str, Served], *, label: Callable[[Row], str]) -> None:
        """label: the name that a request is counted under, of the few that the settings have."""
        self._names, self._served, self._label = names, served, label
        self._spreads: dict[_Key, _Spread] = {}
        self._sums: dict[_Key, int] = {}
        self._lock = threading.Lock()
        self.started_ns = time.time_ns()

    def note(self, rows: Iterable[Row]) -> None:
        """Add rows."""
        with self._lock:
            for row in rows:
                if row.outcome == "lost":  # nobody knows how long it took
                    continue
                self._note_request(row, self._label(row))
                for call in calls(row):
                    self._note_call(row, call)

    def _note_request(self, row: Row, model: str) -> None:
        error = "" if row.outcome in NO_FAULT else row.error
        dialect = "app" if row.app else row.dialect
        self._spread("door", SECONDS, dialect, model, error).add(row.duration_ms / 1000)
        if row.first_ms and row.outcome == "ok":
            self._spread("door_first", FIRST_SECONDS, dialect, model, "").add(row.first_ms / 1000)

    def _note_call(self, row: Row, call: Mapping[str, Any]) -> None:
        model = call["model"] if call["model"] in self._served else call["model"].partition("/")[0]
        dialect = "chat" if row.app else row.dialect
        error = "" if call["outcome"] in NO_FAULT else call["error"]
        kind = "inference" if dialect in WRITING else "embeddings" if dialect == "embeddings" else "other"
        self._spread(kind, SECONDS, dialect, model, error).add(call["duration_ms"] / 1000)
        if kind == "inference" and call["first_ms"] and (row.streamed or row.app):
            self._spread("first_chunk", SECONDS, dialect, model, "").add(call["first_ms"] / 1000)
        given, made = call["input_tokens"], call["output_tokens"]
        for token_type, tokens in (("input", given), ("output", made)):
            if tokens:
                self._spread("tokens", TOKENS, dialect, model, "", token_type).add(tokens)
        if kind == "embeddings":
            self._spread("embedded_per_call", TOKENS, dialect, model, "").add(given)
        elif kind == "inference":
            self._spread("input_per_call", TOKENS, dialect, model, "").add(given)
            self._spread("output_per_call", TOKENS, dialect, model, "").add(made)
            for metric, tokens in (("input", given), ("output", made)):
                key = _Key(metric, dialect, model, "")
                self._sums[key] = self._sums.get(key, 0) + tokens

    def _spread(
        self, metric: str, bounds: Sequence[float], dialect: str, model: str, error: str, token_type: str = ""
    ) -> _Spread:
        key = _Key(metric, dialect, model, error, token_type)
        found = self._spreads.get(key)
        if found is None:
            found = self._spreads[key] = _Spread(bounds)
        return found

    def metrics(self, now_ns: int) -> list[Metric]:
        """All that was added up, as OTLP has it."""
        found: dict[str, Metric] = {}
        with self._lock:
            for key, spread in self._spreads.items():
                point = HistogramDataPoint(
                    start_time_unix_nano=self.started_ns, time_unix_nano=now_ns, count=sum(spread.counts),
                    sum=spread.total, bucket_counts=spread.counts, explicit_bounds=spread.bounds,
                    attributes=attributes(self._values(key)),
                )  # fmt: skip
                for name in self._names.metrics(key.metric):
                    metric = found.setdefault(name, _histogram(name, "{token}" if spread.bounds is TOKENS else "s"))
                    metric.histogram.data_points.append(point)
            for key, total in self._sums.items():
                number = NumberDataPoint(
                    start_time_unix_nano=self.started_ns, time_unix_nano=now_ns, as_int=total,
                    attributes=attributes(self._values(key)),
                )  # fmt: skip
                for name in self._names.metrics(key.metric):
                    metric = found.setdefault(name, _sum(name, "{token}"))
                    metric.sum.data_points.append(number)
        return list(found.values())

    def _values(self, key: _Key) -> dict[str, Any]:
        values: dict[str, Any] = {"operation": key.dialect, "error": key.error, "token_type": key.token_type}
        if key.metric in ("door", "door_first"):  # what callers ask for is a name of ours
            values |= {"provider": "penstock", "model": key.model}
        else:
            served = self._served.get(key.model, Served())
            named = served.model if served.model not in ("", "*") else f"{key.model}/*" if served.model else key.model
            values |= {
                "provider": served.provider or "_OTHER", "model": named, "address": served.address,
                "port": served.port or None,
            }  # fmt: skip
        if key.metric in ("input", "output"):
            values["modality"] = "unknown"  # nobody says of which tokens are pictures
        return Names(self._names.semconv).attributes(values)  # OpenInference has no metrics

    def request(self, own: Iterable[Any], resource: Resource, version: str) -> ExportMetricsServiceRequest:
        """What a receiver is sent. own: families of Prometheus's library, with our own names."""
        now = time.time_ns()
        metrics = [*self.metrics(now), *converted(own, self.started_ns, now)]
        scope = InstrumentationScope(name="penstock", version=version)
        return ExportMetricsServiceRequest(
            resource_metrics=[
                ResourceMetrics(resource=resource, scope_metrics=[ScopeMetrics(scope=scope, metrics=metrics)])
            ]
        )


def converted(families: Iterable[Any], started_ns: int, now_ns: int) -> list[Metric]:
    """Families of Prometheus's library as OTLP has them, by the same names: what reads one in Prometheus reads the other."""
    found = []
    for family in families:
        if family.type == "histogram":
            metric = _histogram(family.name, "s")
            metric.histogram.data_points.extend(_points(family, started_ns, now_ns))
        else:
            counts = family.type == "counter"
            metric = _sum(family.name, "") if counts else Metric(name=family.name, gauge=Gauge())
            points = [
                NumberDataPoint(
                    start_time_unix_nano=started_ns if counts else 0, time_unix_nano=now_ns,
                    as_double=float(sample.value), attributes=attributes(sample.labels),
                )
                for sample in family.samples
            ]  # fmt: skip
            (metric.sum if counts else metric.gauge).data_points.extend(points)
        metric.description = family.documentation
        found.append(metric)
    return found


def _points(family: Any, started_ns: int, now_ns: int) -> list[HistogramDataPoint]:
    """Cumulative buckets as counts of their own."""
    by_labels: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for sample in family.samples:
        labels = tuple(sorted((name, value) for name, value in sample.labels.items() if name != "le"))
        seen = by_labels.setdefault(labels, {"bounds": [], "counts": [], "sum": 0.0})
        if sample.name.endswith("_bucket"):
            seen["counts"].append(int(sample.value) - sum(seen["counts"]))
            if re.fullmatch(r"[0-9.e+-]+", sample.labels["le"]):
                seen["bounds"].append(float(sample.labels["le"]))
        elif sample.name.endswith("_sum"):
            seen["sum"] = float(sample.value)
    return [
        HistogramDataPoint(
            start_time_unix_nano=started_ns, time_unix_nano=now_ns, count=sum(seen["counts"]), sum=seen["sum"],
            bucket_counts=seen["counts"], explicit_bounds=seen["bounds"], attributes=attributes(dict(labels)),
        )
        for labels, seen in by_labels.items()
    ]  # fmt: skip


def _histogram(name: str, unit: str) -> Metric:
    return Metric(name=name, unit=unit, histogram=Histogram(aggregation_temporality=CUMULATIVE))


def _sum(name: str, unit: str) -> Metric:
    return Metric(name=name, unit=unit, sum=Sum(aggregation_temporality=CUMULATIVE, is_monotonic=True))
