"""The same answer to the same request."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from penstock.models.kept import Kept, Scope
from penstock.types import Model, ModelEvent, ModelRequest

__all__ = ["Cached"]


class Cached:
    """Tells a kept answer again to a request that is the same in all that matters. Satisfies `Model`.

    Only answers that came to their own end are kept. One that is told again costs nothing, and has the same events.
    """

    def __init__(self, inner: Model, kept: Kept, scope: Scope) -> None:
        self._inner, self._kept, self._scope = inner, kept, scope

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        key = self._scope.key(request)
        answer = self._kept.get(key) if key else None
        if answer is not None:
            request.record.cached = True
            for event in answer:
                yield event
            return
        events = self._inner.stream(request)
        if key:
            events = self._kept.keeping(events, key, request.dialect)
        try:
            async for event in events:
                yield event
        finally:
            await events.aclose()
