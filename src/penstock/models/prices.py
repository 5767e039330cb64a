"""What a call costs, in whole picodollars, from the settings or from kept price data that is installed with Penstock."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from penstock.types import Usage

if TYPE_CHECKING:
    from penstock.config import ModelSettings

__all__ = ["FREE", "Known", "Price", "look_up"]

ONE = Usage()  # a call, and nothing that is counted beside tokens


@dataclass(frozen=True, slots=True)
class Rate:
    """Picodollars per token, for inputs of at least `above` tokens."""

    above: int
    input: int
    output: int
    cached: int  # input that the provider read from its cache
    written: int  # input that it wrote there
    heard: int = -1  # input that is audio; -1: as other input


@dataclass(frozen=True, slots=True)
class Price:
    """What a model costs. The rate of the longest step that the input reaches holds for all of its tokens."""

    rates: tuple[Rate, ...]  # shortest first
    per_call: int = 0  # picodollars; for each picture or search of a call
    per_second: int = 0  # of audio that is heard
    per_character: int = 0  # of text that is spoken

    def of(self, usage: Usage) -> int:
        """Picodollars for one call."""
        rate = self.rates[0]
        if len(self.rates) > 1:
            rate = max((r for r in self.rates if r.above <= usage.input_tokens), key=lambda r: r.above, default=rate)
        plain = usage.input_tokens - usage.cached_tokens - usage.cache_write_tokens
        cost = (
            max(0, plain) * rate.input
            + usage.cached_tokens * rate.cached
            + usage.cache_write_tokens * rate.written
            + usage.output_tokens * rate.output
            + self.per_call * usage.units
        )
        if usage.audio_tokens and rate.heard >= 0:
            cost += min(usage.audio_tokens, max(0, plain)) * (rate.heard - rate.input)
        if usage.seconds or usage.characters:
            cost += self._audio(usage)
        return cost

    def most(self, input_tokens: int, output_tokens: int, more: Usage = ONE) -> int:
        """Picodollars that a call of this size costs at most. more: what is counted in it beside tokens."""
        cost = 0
        for rate in self.rates:
            paid = max(rate.input, rate.written, rate.heard if more.audio_tokens else 0)
            cost = max(cost, input_tokens * paid + output_tokens * rate.output)
        return cost + self.per_call * more.units + self._audio(more)

    def _audio(self, usage: Usage) -> int:
        return math.ceil(self.per_second * usage.seconds) + self.per_character * usage.characters


FREE = Price((Rate(0, 0, 0, 0, 0),))


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a model. price is None where nobody has said what it costs."""

    price: Price | None
    context_tokens: int = 0
    max_output_tokens: int = 0


def look_up(settings: ModelSettings, provider: str, model: str) -> Known:
    """The price and sizes of a model: what the settings say, completed from the price data. Needs no network.

    provider: its id in the price data; "" where there can be none, as for a server of one's own.
    """
    said = _said(settings)
    if provider == "local":
        return Known(said or FREE, settings.context_tokens, settings.max_output_tokens)
    if (said and settings.context_tokens) or not provider:
        return Known(said, settings.context_tokens, settings.max_output_tokens)
    found = _find(provider, model)
    if found is None:
        return Known(said, settings.context_tokens, settings.max_output_tokens)
    return Known(
        said or _kept(found.get_prices(datetime.now(UTC))),
        settings.context_tokens or found.context_window or 0,
        settings.max_output_tokens,
    )


def _said(settings: ModelSettings) -> Price | None:
    given = (settings.input_usd_per_million, settings.output_usd_per_million, settings.usd_per_call)
    beside = (settings.usd_per_minute, settings.usd_per_million_characters)
    if all(price is None for price in (*given, *beside)):
        return None
    paid, made, cached = (_pico(price) for price in (*given[:2], settings.cached_input_usd_per_million))
    if settings.cached_input_usd_per_million is None:
        cached = paid
    return Price(
        (Rate(0, paid, made, cached, paid),),
        round((settings.usd_per_call or 0.0) * 10**12),
        round((settings.usd_per_minute or 0.0) * 10**12 / 60),
        _pico(settings.usd_per_million_characters),
    )


def _pico(usd_per_million: Any) -> int:
    return round(float(usd_per_million or 0) * 10**6)


def _find(provider: str, model: str) -> Any:
    from genai_prices.data_snapshot import get_snapshot  # half a second the first time: only where a price is needed

    try:
        return get_snapshot().find_provider_model(model, None, provider, None)[1]
    except LookupError:
        return None


def _kept(prices: Any) -> Price | None:
    paid, made = getattr(prices, "input_mtok", None), getattr(prices, "output_mtok", None)
    per_call = getattr(prices, "requests_kcount", None)
    hours, characters = getattr(prices, "input_audio_hours", None), getattr(prices, "input_mchars", None)
    if all(price is None for price in (paid, made, per_call, hours, characters)):
        return None
    cached = getattr(prices, "cache_read_mtok", None)
    written = getattr(prices, "cache_write_mtok", None)
    heard = getattr(prices, "input_audio_mtok", None)
    steps = {0} | {tier.start for price in (paid, made, cached, written) for tier in getattr(price, "tiers", ())}

    def at(price: Any, step: int) -> int:
        base = getattr(price, "base", price)
        reached = [tier.price for tier in getattr(price, "tiers", ()) if tier.start <= step]
        return _pico(reached[-1] if reached else base)

    rates = tuple(
        Rate(
            step,
            at(paid, step),
            at(made, step),
            at(paid if cached is None else cached, step),
            at(paid if written is None else written, step),
            -1 if heard is None else at(heard, step),
        )
        for step in sorted(steps)
    )
    return Price(rates, _base(per_call, 10**9), _base(hours, 10**12 / 3600), _base(characters, 10**6))


def _base(price: Any, picodollars: float) -> int:
    return round(float(getattr(price, "base", price) or 0) * picodollars)
