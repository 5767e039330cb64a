"""Who answers a request that is part of an experiment: decided at the door, in some microseconds, from what is in memory.

How the experiments stand is read every few seconds, beside the requests. While it cannot be read, what was last known holds;
where nothing is known, everybody gets what they asked for.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final, NamedTuple

import orjson

from penstock.config import ABSettings
from penstock.evaluate.assignment import Experiment, assign
from penstock.evaluate.live import CONTROL, HOLDOUT, Experiments, Live, definition_of, digest_of
from penstock.types import Dialect, ModelRequest

__all__ = ["DIALECTS", "Arms", "Deal", "Stamp", "conversation_of", "digests_in", "stamp_of", "told_of", "unit_of"]

DIALECTS: Final[frozenset[Dialect]] = frozenset({"chat", "completions", "messages", "responses"})
EVERY_S = 2.0
LONGEST_OPENING = 4096  # characters of a conversation's first message that tell it from others
PREFIX = "ab."  # of the versions in a request's row


class Stamp(NamedTuple):
    """What a request's row says of its part in an experiment."""

    arm: str
    stage: int
    unit: str  # the digest of its conversation; "" where the row says itself who it was


def stamp_of(text: Any) -> Stamp | None:
    """From `arm@stage` or `arm@stage/digest`; None for anything else."""
    if not isinstance(text, str):
        return None
    arm, _, rest = text.rpartition("@")
    stage, _, unit = rest.partition("/")
    return Stamp(arm, int(stage), unit) if arm and stage.isascii() and stage.isdigit() and len(stage) < 10 else None


def unit_of(unit: str, *, key: str, person: str, request: str) -> str:
    """Who a request counts for, and of what kind they are, so that a person is never taken for a key."""
    if unit == "request":
        return f"r/{request}"
    return f"p/{person}" if person and unit == "person" else f"k/{key}"


def conversation_of(body: Mapping[str, Any], *, key: str, person: str) -> str:
    """What a conversation is known by: the name that the client gives it, else its first message.

    A name is `conversation`, as OpenAI's responses have it, or `conversation`, `conversation_id` or `session_id` in `metadata`.
    """
    said, metadata = body.get("conversation"), body.get("metadata")
    name = said.get("id") if isinstance(said, Mapping) else said
    if not name and isinstance(metadata, Mapping):
        name = next((metadata[n] for n in ("conversation", "conversation_id", "session_id") if metadata.get(n)), None)
    if isinstance(name, str) and name:
        return f"c/{name}"
    turns = body.get("messages") or body.get("input") or body.get("prompt")
    if isinstance(turns, list):
        turns = next((t.get("content") for t in turns if isinstance(t, Mapping) and t.get("role") == "user"), turns[:1])
    if isinstance(turns, list):  # parts: the text among them
        turns = next((p["text"] for p in turns if isinstance(p, Mapping) and isinstance(p.get("text"), str)), "")
    opening = turns if isinstance(turns, str) else ""
    return f"o/{key}/{person}/{opening[:LONGEST_OPENING]}"


@dataclass(frozen=True)
class Deal:
    """One experiment, as requests meet it."""

    settings: ABSettings
    live: Live
    dialects: frozenset[Dialect] = DIALECTS

    @cached_property
    def experiment(self) -> Experiment:
        """The salt of the arms is the name: who begins anew with the same arms finds everybody where they were."""
        return Experiment(name=self.live.name, arms=self.live.weights, holdout=self.settings.holdout)

    def deal(self, asked: ModelRequest) -> str:
        """Who answers in place of the target; "" for the target itself. The request's record says which arm it was."""
        live, settings = self.live, self.settings
        key, person = asked.caller.name, asked.record.person
        if settings.unit == "conversation":
            unit = conversation_of(asked.body, key=key, person=person)
            digest = f"/{digest_of(live.salt, unit)}" if live.salt else ""
        else:
            unit, digest = unit_of(settings.unit, key=key, person=person, request=asked.record.id), ""
        arm = assign(self.experiment, unit).arm or HOLDOUT
        asked.record.versions[PREFIX + live.name] = f"{arm}@{live.stage}{digest}"
        return settings.arms.get(arm, "")


class Arms:
    """The experiments that requests may be part of, by what callers name."""

    def __init__(self, experiments: Experiments, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._experiments, self._clock = experiments, clock
        self._read = -EVERY_S
        self.deals: Mapping[str, Deal] = {}

    def refresh(self, *, now: bool = False) -> None:
        """Take over how they stand, unless that was read a moment ago. Raises StorageError or Conflict, and nothing changes."""
        if not self._experiments.settings or (not now and self._clock() - self._read < EVERY_S):
            return
        self._read = self._clock()
        known = {one.name: one for one in self._experiments.all()}
        self.deals = {
            settings.target: Deal(settings, live)
            for name, settings in self._experiments.settings.items()
            if (live := known.get(name)) and live.definition == definition_of(settings) and _deals(live)
        }


def _deals(live: Live) -> bool:
    """Whether anybody may get something else than the control."""
    return live.state == "running" or (live.state == "won" and live.winner not in ("", CONTROL))


def told_of(answer: str) -> dict[str, Any]:
    """What a row's `answer` says; nothing where it cannot be read."""
    try:
        told = orjson.loads(answer) if answer else {}
    except orjson.JSONDecodeError:
        return {}
    return told if isinstance(told, dict) else {}


def digests_in(answer: str) -> list[str]:
    """The conversations that a row was part of, as experiments know them."""
    versions = told_of(answer).get("versions")
    stamps = (
        [stamp_of(said) for name, said in versions.items() if name.startswith(PREFIX)]
        if isinstance(versions, dict)
        else []
    )
    return [stamp.unit for stamp in stamps if stamp is not None and stamp.unit]
