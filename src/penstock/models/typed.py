"""A model's stream as values, whatever it comes as: for whoever reads what a model says instead of passing it on."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

from penstock.models import speak_chat
from penstock.types import Model, ModelEvent, ModelRequest, Stopped, Wire

__all__ = ["typed"]


async def typed(model: Model, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
    """The events of a streamed chat request without any Wire. Raises what the model raises."""
    reader = speak_chat.Reader()
    async with aclosing(model.stream(request)) as events:
        async for event in events:
            if type(event) is Wire:
                for said in reader.feed(event.data):
                    if type(said) is not Stopped:
                        yield said
            else:
                yield event
