"""How many units an experiment takes, and which effect so many can show: for one look at the end, and for looking all the time."""

from __future__ import annotations

import math
from typing import NamedTuple

from penstock.errors import BadRequest
from penstock.evaluate.sequential import RuleName, planned_errors, planned_length, planned_power
from penstock.stats import normal_quantile, normal_tail

__all__ = ["Metric", "Sized", "effect_for", "power_of", "size_for"]

MOST = 10**12


class Metric(NamedTuple):
    """What is measured: its mean now, its standard deviation (None: a rate), and how well it is known from before."""

    baseline: float
    deviation: float | None = None
    correlation: float = (
        0.0  # of a unit's value with what is known of it from before: CUPED takes its square off the variance
    )

    def error(self, effect: float, units: int) -> float:
        """The standard error of the difference with so many units in each arm. Raises BadRequest for what cannot be."""
        if not -1 < self.correlation < 1:
            raise BadRequest(f"a correlation lies between -1 and 1, not {self.correlation:g}")
        if units < 1:
            raise BadRequest(f"there is at least one unit in each arm, not {units}")
        if self.deviation is not None:
            if not (self.deviation > 0 and math.isfinite(self.deviation)):
                raise BadRequest(f"a standard deviation is above 0, not {self.deviation:g}")
            variance = 2 * self.deviation**2
        else:
            after = self.baseline + effect
            if not (0 < self.baseline < 1 and 0 <= after <= 1):
                raise BadRequest(
                    f"a rate of {self.baseline:g} that changes by {effect:g} is none",
                    hint="rates lie between 0 and 1; for other metrics give the standard deviation",
                )
            variance = self.baseline * (1 - self.baseline) + after * (1 - after)
        return math.sqrt(variance * (1 - self.correlation**2) / units)


class Sized(NamedTuple):
    """A size, and what it gives."""

    units: int  # in each arm, at most
    power: float
    mean_units: float  # in each arm, at the stop, if the effect is there


def power_of(metric: Metric, effect: float, units: int, *, rule: RuleName = "planned", alpha: float = 0.05) -> Sized:
    """The chance that an effect is shown by so many units in each arm, and when. `always` has no formula."""
    errors = abs(effect) / metric.error(effect, units)
    if rule == "planned":
        return Sized(units, planned_power(errors, alpha), planned_length(errors, alpha) * units)
    if rule != "fixed":
        raise BadRequest(f"the power of the rule {rule!r} has no formula", hint="penstock ab simulate finds it")
    z = -normal_quantile(alpha / 2)
    return Sized(units, normal_tail(z - errors) + normal_tail(z + errors), float(units))


def size_for(
    metric: Metric, effect: float, *, power: float = 0.9, rule: RuleName = "planned", alpha: float = 0.05
) -> Sized:
    """Units in each arm to show an effect with this power."""
    if not 0 < power < 1:
        raise BadRequest(f"the power lies between 0 and 1, not {power:g}")
    if not effect:
        raise BadRequest("no number of units shows that there is no effect", hint="say which effect would matter")
    if rule == "planned":
        errors = planned_errors(power, alpha)
    elif rule == "fixed":
        errors = -normal_quantile(alpha / 2) + normal_quantile(power)
    else:
        raise BadRequest(f"the power of the rule {rule!r} has no formula", hint="penstock ab simulate finds it")
    needed = (metric.error(effect, 1) * errors / abs(effect)) ** 2
    if needed > MOST:
        raise BadRequest(f"an effect of {effect:g} takes more than {MOST:,} units")
    return power_of(metric, effect, max(2, math.ceil(needed)), rule=rule, alpha=alpha)


def effect_for(
    metric: Metric, units: int, *, power: float = 0.9, rule: RuleName = "planned", alpha: float = 0.05
) -> float:
    """The smallest rise that so many units in each arm show with this power; inf where not even the largest is shown."""
    highest = 1 - metric.baseline if metric.deviation is None else metric.error(0, units) * 100
    low, high = 0.0, highest
    if power_of(metric, high, units, rule=rule, alpha=alpha).power < power:
        return math.inf
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (
            (middle, high) if power_of(metric, middle, units, rule=rule, alpha=alpha).power < power else (low, middle)
        )
    return high
