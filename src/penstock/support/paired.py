"""Two releases of a bot before the same simulated customers, compared while they talk, by bounds that hold at every look.

Each customer talks to both, with the same seed, so that what differs is the releases. Pairs count in the order of the customers and
not in that in which they come to an end: else the quick ones would be judged first.

For what is a yes or a no the test is exact at any size: without a difference, of the pairs in which one release alone succeeds,
each is as likely to be either's, and a mixture over what else it could be is a bet that nobody wins often (Ville 1939). All else
rests on the normal limit, as `evaluate.sequential` has it.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import fmean
from typing import Final, Literal, NamedTuple

import numpy as np

from penstock.errors import BadRequest
from penstock.evaluate.ab import Decision, Outcome
from penstock.evaluate.sequential import FEWEST_UNITS, Always, log_evidence
from penstock.support.goals import Visitor
from penstock.support.simulator import MOST_TURNS, Ask, Customer, Scripted, Simulated, converse

__all__ = ["METRICS", "Look", "Metric", "Pairs", "compare"]

MIXTURE: Final = 2.0  # every share of wins is as likely as another, in the bet against one half


@dataclass(frozen=True, slots=True)
class Metric:
    """One figure of a conversation. of: None where it has none, and then the pair does not count. rate: 0 or 1."""

    name: str
    better: Literal["higher", "lower"]
    of: Callable[[Simulated], float | None]
    rate: bool = False


def _latency(held: Simulated) -> float | None:
    return fmean(one.latency_ms for one in held.exchanges) if held.exchanges else None


METRICS: Final = {
    one.name: one
    for one in (
        Metric("reached", "higher", lambda held: None if held.reached is None else float(held.reached), rate=True),
        Metric("handed_over", "lower", lambda held: float(held.handed_over), rate=True),
        Metric("gave_up", "lower", lambda held: float(held.ended in ("gave_up", "left", "too_long")), rate=True),
        Metric("messages", "lower", lambda held: float(len(held.exchanges))),
        Metric("latency_ms", "lower", _latency),
    )
}


@dataclass
class Pairs:
    """What is known of pairs so far: sums, and nothing of who they were."""

    metric: Metric
    planned: int
    alpha: float = 0.05
    minimum_effect: float = 0.0  # a smaller difference does not matter; 0: any does
    n: int = 0
    first: float = 0.0
    second: float = 0.0
    squares: float = 0.0  # of the differences
    wins: int = 0  # of rates: pairs in which the second alone has a 1
    losses: int = 0
    least_p: float = 1.0
    rule: Always = field(init=False)

    def __post_init__(self) -> None:
        if self.planned < 1 or not (self.minimum_effect >= 0 and math.isfinite(self.minimum_effect)):
            raise BadRequest("a comparison plans at least one pair, and a smallest difference of 0 or more")
        self.rule = Always(self.alpha)

    def update_by(self, first: float, second: float) -> None:
        """One pair more."""
        self.n += 1
        self.first += first
        self.second += second
        self.squares += (second - first) ** 2
        if self.metric.rate:
            self.wins += second > first
            self.losses += second < first
        self.least_p = min(self.least_p, self._p_value())

    def decision(self) -> Decision:
        """How it stands. It may be asked after every pair."""
        n = max(self.n, 1)
        difference = (self.second - self.first) / n
        error = self._error()
        half = float(self.rule.critical(np.array([self.n / self.planned]))[0]) * error if self.n else math.inf
        interval = (difference - half, difference + half)
        outcome, winner, reason = self._outcome(difference, interval)
        return Decision(
            outcome=outcome, winner=winner, reason=reason, units=(self.n, self.n), means=(self.first / n, self.second / n),
            difference=difference, interval=interval, adjusted=difference, p_value=self.least_p,
            information=self.n / self.planned,
        )  # fmt: skip

    def _error(self) -> float:
        if self.n < 2:
            return math.inf
        mean = (self.second - self.first) / self.n
        variance = max(self.squares - self.n * mean * mean, 0.0) / (self.n - 1) / self.n
        spare = (
            (self.n + 1) / (self.n + 2) ** 2 / self.n if self.metric.rate else 0.0
        )  # equal pairs and one that is not
        return math.sqrt(max(variance, spare))

    def _p_value(self) -> float:
        if self.metric.rate:
            counts = [np.array(float(self.wins)), np.array(float(self.losses))]
            return min(1.0, math.exp(-float(log_evidence(counts, [0.5, 0.5], mass=MIXTURE))))
        error = self._error()
        if self.n < FEWEST_UNITS or not 0 < error < math.inf:
            return 1.0
        return self.rule.p_value((self.second - self.first) / self.n / error, self.n / self.planned)

    def _outcome(
        self, difference: float, interval: tuple[float, float]
    ) -> tuple[Outcome, Literal["", "control", "candidate"], str]:  # fmt: skip
        said = f"{difference:+.4g} ({interval[0]:+.4g} to {interval[1]:+.4g}) in {self.metric.name}, after {self.n:,} pairs"
        if self.least_p <= self.alpha and difference:
            gain = difference if self.metric.better == "higher" else -difference
            if gain > 0:
                return "winner", "candidate", f"the second is better: {said}"
            return "winner", "control", f"the second is worse: {said}"
        least = self.minimum_effect
        if least and self.n >= FEWEST_UNITS and -least < interval[0] and interval[1] < least:
            return "no_difference", "", f"the difference is smaller than the {least:g} that would matter: {said}"
        if self.n >= self.planned:
            return "no_difference", "", f"the plan is at its end, and what is left may be chance: {said}"
        return "continue", "", f"nothing is sure yet: {said}"


class Look(NamedTuple):
    """One pair more, and how things stand since."""

    first: Simulated
    second: Simulated
    decision: Decision


def compare(
    people: Sequence[Visitor], first: Callable[[Visitor], Ask], second: Callable[[Visitor], Ask], *,
    metric: Metric = METRICS["reached"], alpha: float = 0.05, minimum_effect: float = 0.0,
    plays: Callable[[Visitor], Customer] = Scripted, concurrent: int = 20, most_turns: int = MOST_TURNS,
) -> Iterator[Look]:  # fmt: skip
    """Let each talk to both releases, and look after each. Ends once the decision is something else than `continue`."""
    pairs = Pairs(metric, max(1, len(people)), alpha, minimum_effect)
    stop = threading.Event()

    def both(visitor: Visitor) -> tuple[Simulated, Simulated]:
        one, other = (
            converse(visitor, opens(visitor), customer=plays(visitor), most_turns=most_turns, stop=stop)
            for opens in (first, second)
        )
        return one, other

    coming, running = iter(people), deque[Future[tuple[Simulated, Simulated]]]()
    with ThreadPoolExecutor(max(1, concurrent), thread_name_prefix="customer") as pool:
        try:
            while True:
                while len(running) < concurrent and (visitor := next(coming, None)) is not None:
                    running.append(pool.submit(both, visitor))
                if not running:
                    return
                one, other = running.popleft().result()
                a, b = metric.of(one), metric.of(other)
                if a is not None and b is not None:
                    pairs.update_by(a, b)
                look = Look(one, other, pairs.decision())
                yield look
                if look.decision.outcome != "continue":
                    return
        finally:
            stop.set()
            for waiting in running:
                waiting.cancel()
