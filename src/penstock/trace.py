"""A span, opened where work is done, and the log lines of the server.

A span carries plain values and a duration, never people's words. Whoever wants spans sets a collector; without one a
span costs a clock reading. Log lines are JSON on standard error, one event a line.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from pathlib import Path

__all__ = [
    "Span",
    "collect",
    "collected",
    "collecting",
    "log",
    "logs",
    "passed",
    "place",
    "quiet",
    "set_log_level",
    "span",
]

Value = str | int | float | bool | None


@dataclass(slots=True)
class Span:
    """One room a question passed through. started: on time.perf_counter, in seconds."""

    name: str
    values: dict[str, Value] = field(default_factory=dict)
    duration_ms: float = 0.0
    started: float = 0.0


_collector: ContextVar[Callable[[Span], None] | None] = ContextVar("collector", default=None)


class span:
    """Time a piece of work: `with span("search") as s: ...; s.values["hits"] = 5`."""

    __slots__ = ("_span",)

    def __init__(self, name: str, **values: Value) -> None:
        self._span = Span(name, values)

    def __enter__(self) -> Span:
        self._span.started = time.perf_counter()
        return self._span

    def __exit__(self, *_: object) -> None:
        opened = self._span
        opened.duration_ms = (time.perf_counter() - opened.started) * 1000
        if collector := _collector.get():
            collector(opened)


def passed(name: str, started: float, duration_ms: float, **values: Value) -> None:
    """A span of work that somebody timed themselves."""
    if collector := _collector.get():
        collector(Span(name, values, duration_ms, started))


def collecting(into: Callable[[Span], None]) -> Token[Callable[[Span], None] | None]:
    """From now on, in this task and those it starts, hand every span that closes to `into`, until `collected`."""
    return _collector.set(into)


def collected(token: Token[Callable[[Span], None] | None]) -> None:
    """The end of it. A stream that somebody else lets go of ends in another context, which never collected."""
    with suppress(ValueError):
        _collector.reset(token)


@contextmanager
def collect(into: Callable[[Span], None]) -> Iterator[None]:
    """Hand every span that closes within this block, and in the tasks it starts, to `into`."""
    token = collecting(into)
    try:
        yield
    finally:
        collected(token)


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


def place(error: BaseException) -> str:
    """Where an error was raised and from where it was called; its message may hold somebody's words."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def quiet(library: str) -> None:
    """Keep the log lines of a library from standard error, unless somebody has set up logging: they repeat what was said."""
    import logging

    logger = logging.getLogger(library)
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
