"""The normal, t, chi-squared, beta and binomial distributions: tails, and the quantiles that undo them.

Tails are computed as such and not as one less the rest, so that a p-value of 1e-40 is one. The incomplete gamma and beta
functions are series and continued fractions (Press et al. 2007, "Numerical Recipes", chapter 6).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

from penstock.errors import BadRequest

__all__ = [
    "beta_cdf",
    "beta_quantile",
    "binomial_cdf",
    "chi2_quantile",
    "chi2_tail",
    "kolmogorov_tail",
    "normal_cdf",
    "normal_quantile",
    "normal_tail",
    "t_quantile",
    "t_tail",
]

_STANDARD = NormalDist()
_TINY = 1e-300
_SMALLEST = 1e-16  # relative; a series or a fraction has come to its end
_MOST_TERMS = 1_000_000


# ---------------------------------------------------------------- normal


def normal_cdf(z: float) -> float:
    """P(Z <= z)."""
    return 0.5 * math.erfc(-z / math.sqrt(2))


def normal_tail(z: float) -> float:
    """P(Z > z)."""
    return 0.5 * math.erfc(z / math.sqrt(2))


def normal_quantile(p: float) -> float:
    """z with P(Z <= z) = p. For a small upper tail take -normal_quantile(tail). Raises BadRequest outside of 0 to 1."""
    _a_probability(p)
    if p in (0.0, 1.0):
        return -math.inf if p == 0 else math.inf
    return _STANDARD.inv_cdf(p)


# ---------------------------------------------------------------- chi-squared


def chi2_tail(x: float, freedom: float) -> float:
    """P(X > x) with so many degrees of freedom."""
    _positive(freedom, "degrees of freedom")
    if math.isnan(x):
        raise BadRequest("a chi-squared value must be a number")
    if x <= 0:
        return 1.0
    return _upper_gamma(freedom / 2, x / 2) if math.isfinite(x) else 0.0


def chi2_quantile(p: float, freedom: float) -> float:
    """x with P(X <= x) = p."""
    _a_probability(p)
    _positive(freedom, "degrees of freedom")
    if p in (0.0, 1.0):
        return 0.0 if p == 0 else math.inf
    high = max(freedom, 1.0)
    while chi2_tail(high, freedom) > 1 - p:
        high *= 2
    if p < 0.5:
        return _solved(lambda x: -_upper_gamma(freedom / 2, x / 2, lower=True), -p, 0.0, high)
    return _solved(lambda x: chi2_tail(x, freedom), 1 - p, 0.0, high)


def _upper_gamma(a: float, x: float, *, lower: bool = False) -> float:
    """The regularised incomplete gamma function Q(a, x), or P(a, x)."""
    if x <= 0:
        return 0.0 if lower else 1.0
    scale = math.exp(-x + a * math.log(x) - math.lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        for n in range(1, _MOST_TERMS):
            term *= x / (a + n)
            total += term
            if term < total * _SMALLEST:
                break
        below = min(1.0, total * scale)
        return below if lower else 1 - below
    b = x + 1 - a
    c, d = 1 / _TINY, 1 / b
    fraction = d
    for n in range(1, _MOST_TERMS):
        step = -n * (n - a)
        b += 2
        d = 1 / _not_zero(step * d + b)
        c = _not_zero(b + step / c)
        fraction *= d * c
        if abs(d * c - 1) < 4 * _SMALLEST:
            break
    above = min(1.0, fraction * scale)
    return 1 - above if lower else above


# ---------------------------------------------------------------- beta, t, binomial


def beta_cdf(x: float, a: float, b: float) -> float:
    """P(X <= x) of a beta distribution: the regularised incomplete beta function."""
    _positive(a, "a")
    _positive(b, "b")
    if math.isnan(x):
        raise BadRequest("a share must be a number")
    return _beta(x, 1 - x, a, b)


def beta_quantile(p: float, a: float, b: float) -> float:
    """x with P(X <= x) = p."""
    _a_probability(p)
    _positive(a, "a")
    _positive(b, "b")
    if p in (0.0, 1.0):
        return p
    if p < 0.5:
        return _solved(lambda x: -_beta(x, 1 - x, a, b), -p, 0.0, 1.0)
    return _solved(lambda x: _beta(1 - x, x, b, a), 1 - p, 0.0, 1.0)


def t_tail(t: float, freedom: float) -> float:
    """P(T > t) with so many degrees of freedom."""
    _positive(freedom, "degrees of freedom")
    if math.isnan(t):
        raise BadRequest("a t value must be a number")
    if math.isinf(t):
        return 0.0 if t > 0 else 1.0
    square = t * t
    half = 0.5 * _beta(freedom / (freedom + square), square / (freedom + square), freedom / 2, 0.5)
    return half if t >= 0 else 1 - half


def t_quantile(p: float, freedom: float) -> float:
    """t with P(T <= t) = p."""
    _a_probability(p)
    _positive(freedom, "degrees of freedom")
    if p in (0.0, 1.0):
        return -math.inf if p == 0 else math.inf
    if p > 0.5:
        return _above_half(1 - p, freedom)
    return -_above_half(p, freedom) if p < 0.5 else 0.0


def _above_half(tail: float, freedom: float) -> float:
    high = 1.0
    while t_tail(high, freedom) > tail and high < 1e150:
        high *= 2
    return _solved(lambda t: t_tail(t, freedom), tail, 0.0, high)


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(X <= k) of n trials."""
    _a_probability(p)
    if k < 0:
        return 0.0
    if k >= n:
        return 1.0
    return _beta(1 - p, p, n - k, k + 1)


def _beta(x: float, y: float, a: float, b: float) -> float:
    """I_x(a, b) with y = 1 - x, given apart so that neither is lost where the other is next to 1."""
    if x <= 0:
        return 0.0
    if y <= 0:
        return 1.0
    scale = math.exp(
        math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * _log(x, y) + b * _log(y, x)
    )  # fmt: skip
    if x < (a + 1) / (a + b + 2):
        return min(1.0, scale * _beta_fraction(x, a, b) / a)
    return max(0.0, 1 - scale * _beta_fraction(y, b, a) / b)


def _log(x: float, y: float) -> float:
    return math.log1p(-y) if x > 0.5 else math.log(x)


def _beta_fraction(x: float, a: float, b: float) -> float:
    c, d = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    fraction = d
    for m in range(1, _MOST_TERMS):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 / _not_zero(1 + step * d)
            c = _not_zero(1 + step / c)
            fraction *= d * c
        if abs(d * c - 1) < 4 * _SMALLEST:
            break
    return fraction


# ---------------------------------------------------------------- Kolmogorov


def kolmogorov_tail(x: float) -> float:
    """P(K > x) of the limit of sqrt(n) times the Kolmogorov-Smirnov distance."""
    if x <= 0:
        return 1.0
    if x < 1.18:  # here the other form of the same theta function is the quick one
        base = math.exp(-((math.pi / x) ** 2) / 8)
        return 1 - math.sqrt(2 * math.pi) / x * math.fsum(base ** ((2 * k - 1) ** 2) for k in range(1, 6))
    return min(1.0, 2 * math.fsum((-1.0) ** (k - 1) * math.exp(-2 * (k * x) ** 2) for k in range(1, 20)))


# ---------------------------------------------------------------- in common


def _solved(tail: Callable[[float], float], wanted: float, low: float, high: float) -> float:
    """Where a falling function takes a value, by halving until there is no number in between."""
    while True:
        middle = math.sqrt(low) * math.sqrt(high) if low > 0 and high > 4 * low else (low + high) / 2
        if low == 0 and high < 1e-3:
            middle = max(high * high, high * 1e-9, 5e-324)  # far down, where halving would take a thousand steps
        if not low < middle < high:
            return middle if low <= middle <= high else (low + high) / 2
        if tail(middle) > wanted:
            low = middle
        else:
            high = middle


def _not_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def _a_probability(p: float) -> None:
    if not 0 <= p <= 1:
        raise BadRequest(f"a probability must be between 0 and 1, not {p}")


def _positive(value: float, name: str) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise BadRequest(f"{name} must be positive, not {value}")
