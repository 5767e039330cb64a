"""A span, opened where work is done, and the log lines of the server.

A span carries plain values and a duration, never people's words. Whoever wants spans sets a collector; without one a
span costs a clock reading. Log lines are JSON on standard error, one event a line.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

__all__ = ["Span", "collect", "log", "logs", "set_log_level", "span"]

Value = str | int | float | bool | None


@dataclass(slots=True)
class Span:
    """One room a question passed through."""

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    duration_ms: float = 0.0


_collector: ContextVar[Callable[[Span], None] | None] = ContextVar("collector", default=None)


@contextmanager
def span(name: str, **values: Value) -> Iterator[Span]:
    """Time a piece of work: `with span("search") as s: ...; s.values["hits"] = 5`."""
    opened, started = Span(name, values), time.perf_counter()
    try:
        yield opened
    finally:
        opened.duration_ms = (time.perf_counter() - started) * 1000
        if collector := _collector.get():
            collector(opened)


@contextmanager
def collect(into: Callable[[Span], None]) -> Iterator[None]:
    """Hand every span that closes within this block, and in the tasks it starts, to `into`."""
    token = _collector.set(into)
    try:
        yield
    finally:
        _collector.reset(token)


_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "off": 99}
_level = _LEVELS["warning"]


def set_log_level(name: str) -> None:
    """Show events of this level and above: debug, info, warning, error or off."""
    global _level
    _level = _LEVELS[name]


def logs(level: str) -> bool:
    """Whether events of this level are written."""
    return _LEVELS[level] >= _level


def log(event: str, *, level: str = "info", **values: Value) -> None:
    """Write one event as a line of JSON to standard error: {"time": …, "level": …, "event": …, values}."""
    if not logs(level):
        return
    when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + "Z"
    line = json.dumps({"time": when, "level": level, "event": event, **values}, ensure_ascii=False, default=str)
    print(line, file=sys.stderr, flush=True)
