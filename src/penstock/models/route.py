"""Which way of a route a request takes: by its tags, by what is left of its caller's money, else the usual one."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from typing import Any

from penstock.models.budgets import Budgets
from penstock.models.limits import Counters
from penstock.types import Model, ModelEvent, ModelRequest

__all__ = ["Route", "little_left", "tags_in"]

MOST_TAGS = 20


class Route:
    """Several models behind one name. Satisfies `Model`; adds nothing to what the way taken costs."""

    def __init__(
        self,
        usual: Model,
        *,
        tagged: Mapping[str, Model] | None = None,
        thrifty: Model | None = None,
        is_low: Callable[[ModelRequest], bool] = lambda request: False,
        deadline_s: float = 0.0,
    ) -> None:
        """tagged: tag -> what takes it, and nothing else; of several tags the one that is named here first decides.

        thrifty: what takes requests while is_low says so. deadline_s: for the first event; 0: none.
        """
        self._usual, self._tagged, self._thrifty, self._is_low = usual, tagged or {}, thrifty, is_low
        self._deadline_s = deadline_s

    def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        if self._deadline_s:
            request = replace(request, deadline=min(request.deadline, time.monotonic() + self._deadline_s))
        return self._way(request).stream(request)

    def _way(self, request: ModelRequest) -> Model:
        if request.tags:
            for tag, model in self._tagged.items():
                if tag in request.tags:
                    return model
        if self._thrifty is not None and self._is_low(request):
            return self._thrifty
        return self._usual


def little_left(budgets: Budgets, counters: Counters, percent: float) -> Callable[[ModelRequest], bool]:
    """Whether less than so much is left of any money that the request's caller may spend on any model.

    What running calls hold counts as spent, as it does wherever a budget is asked.
    """

    def is_low(request: ModelRequest) -> bool:
        limits = budgets.at_call(request.caller, request.record, "").money  # those that are for all models
        return any(counters.free(limit) * 100 < limit.most * percent for limit in limits)

    return is_low


def tags_in(header: str, body: Mapping[str, Any]) -> tuple[str, ...]:
    """The tags of a request: `x-penstock-tags: a,b`, and `"metadata": {"tags": "a,b"}` for clients that set no headers."""
    metadata = body.get("metadata")
    said = metadata.get("tags") if isinstance(metadata, dict) else None
    text = f"{header},{said}" if isinstance(said, str) else header
    return tuple(dict.fromkeys(tag for part in text.split(",") if (tag := part.strip())))[:MOST_TAGS] if text else ()
