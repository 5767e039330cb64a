"""Pictures of drift that need no other program: vectors of texts in two dimensions, and a stream of numbers with its alarms.

They are SVG with a title and a description; what they show stands in a table too, for who does not see them.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from penstock.errors import BadRequest
from penstock.observe.baseline import Floats
from penstock.observe.charts import Alarm

__all__ = ["MOST_POINTS", "line", "parts", "principal", "scatter", "tsne"]

MOST_POINTS = 2000  # that the exact t-SNE takes: its cost grows with the square
WIDTH, HEIGHT, MARGIN = 720, 420, 48
# told apart by people who see no red or green, and by their shapes (Okabe and Ito 2008)
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def principal(vectors: NDArray[np.float32]) -> tuple[Floats, list[float]]:
    """The first two principal components, (n, 2), and the share of the variance that each explains."""
    centred = np.asarray(vectors, float) - np.mean(vectors, axis=0)
    if centred.ndim != 2 or len(centred) < 3 or centred.shape[1] < 2:
        raise BadRequest("a picture takes at least three vectors of two dimensions")
    values, axes = np.linalg.eigh(centred.T @ centred)
    first = axes[:, [-1, -2]]
    first = first * np.sign(first[np.abs(first).argmax(0), [0, 1]])  # the same picture on every machine
    total = float(values.sum()) or 1.0
    return centred @ first, [float(max(values[-1], 0)) / total, float(max(values[-2], 0)) / total]


def tsne(vectors: NDArray[np.float32], *, perplexity: float = 30.0, steps: int = 500) -> Floats:
    """Neighbours kept together in two dimensions, (n, 2) (van der Maaten and Hinton 2008), exactly; it begins at the principal
    components, so that it gives the same picture every time. Raises BadRequest above 2,000 vectors."""
    if len(vectors) > MOST_POINTS:
        raise BadRequest(f"t-SNE takes at most {MOST_POINTS:,} vectors, not {len(vectors):,}", hint="take a sample")
    start, _ = principal(vectors)
    n = len(start)
    rows = np.asarray(vectors, float)
    near = _neighbours(_squares(rows), min(perplexity, (n - 1) / 3))
    places = start / (float(start[:, 0].std()) or 1.0) * 1e-4
    speed, gains = np.zeros_like(places), np.ones_like(places)
    rate = max(n / 12.0 / 4, 50.0)
    near, force = near.astype(np.float32), np.empty((n, n), np.float32)
    for step in range(steps):
        weight = np.float32(12.0 if step < steps // 4 else 1.0)  # early exaggeration
        small = places.astype(np.float32)
        lengths = (small * small).sum(1)
        kernel = small @ (-2 * small.T)  # squared distances
        kernel += lengths[:, None]
        kernel += lengths + np.float32(1)
        np.reciprocal(kernel, out=kernel)
        np.fill_diagonal(kernel, 0)
        np.multiply(near, weight, out=force)
        force -= kernel * (1 / kernel.sum())
        force *= kernel
        gradient = (4 * (force.sum(1)[:, None] * small - force @ small)).astype(float)
        gains = np.maximum(np.where(np.sign(gradient) != np.sign(speed), gains + 0.2, gains * 0.8), 0.01)
        speed = (0.5 if step < steps // 4 else 0.8) * speed - rate * gains * gradient
        places = places + speed
        places = places - places.mean(0)
    return places


def _squares(rows: Floats) -> Floats:
    """Squared distances, (n, n)."""
    lengths = (rows * rows).sum(1)
    squares: Floats = np.maximum(lengths[:, None] + lengths[None] - 2 * rows @ rows.T, 0.0)
    return squares


def _neighbours(squares: Floats, perplexity: float) -> Floats:
    """Joint probabilities of neighbours, with the width of each row such that it has this perplexity."""
    n, wanted = len(squares), math.log(max(perplexity, 1.0))
    others = squares + np.where(np.eye(n, dtype=bool), np.inf, 0.0)
    others = others - others.min(1, keepdims=True)
    finite = np.where(np.isinf(others), 0.0, others)
    sharp, low, high = np.ones(n), np.zeros(n), np.full(n, np.inf)
    for _ in range(60):
        weights = np.exp(-others * sharp[:, None])
        total = weights.sum(1)
        entropy = np.log(total) + sharp * (finite * weights).sum(1) / total
        wide = entropy > wanted
        low, high = np.where(wide, sharp, low), np.where(wide, high, sharp)
        sharp = np.where(np.isinf(high), sharp * 2, (low + high) / 2)
    weights = np.exp(-others * sharp[:, None])
    weights /= weights.sum(1, keepdims=True)
    joint: Floats = np.maximum((weights + weights.T) / (2 * n), 1e-12)
    return joint


# ---------------------------------------------------------------- SVG


def scatter(places: Floats, groups: Sequence[int], names: Sequence[str], *, title: str) -> str:
    """Points as SVG, each group with a colour and a shape of its own. groups: of each point, an index into names."""
    low, high = places.min(0), places.max(0)
    size = np.where(high > low, high - low, 1.0)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    at = MARGIN + (places - low) / size * room
    marks = [_mark(x, HEIGHT - y, group) for (x, y), group in zip(at.tolist(), groups, strict=True)]
    legend = [
        f'{_mark(MARGIN + 8, 18 + 18 * n, n)}<text x="{MARGIN + 22}" y="{23 + 18 * n}">{html.escape(name)}</text>'
        for n, name in enumerate(names)
    ]
    counts = ", ".join(f"{name}: {list(groups).count(n)} points" for n, name in enumerate(names))
    return _svg(title, counts, "".join(marks + legend), height=HEIGHT)


def _mark(x: float, y: float, group: int) -> str:
    colour = COLOURS[group % len(COLOURS)]
    if group % 3 == 0:
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}" fill-opacity=".7"/>'
    if group % 3 == 1:
        return f'<path d="M{x - 4:.1f} {y + 3.5:.1f}h8l-4 -7.5z" fill="{colour}" fill-opacity=".7"/>'
    return f'<rect x="{x - 3.2:.1f}" y="{y - 3.2:.1f}" width="6.4" height="6.4" fill="{colour}" fill-opacity=".7"/>'


def parts(values: Floats, count: int = 120) -> list[tuple[int, int, float]]:
    """A stream in at most so many parts: (first event, last event, mean of what is finite there, NaN for none)."""
    edges = np.unique(np.linspace(0, len(values), min(count, len(values)) + 1).astype(int)).tolist()
    found = []
    for a, b in pairwise(edges):
        there = values[a:b][np.isfinite(values[a:b])]
        found.append((a, b - 1, float(there.mean()) if len(there) else math.nan))
    return found


def line(values: Floats, alarms: Sequence[Alarm], *, title: str) -> str:
    """A stream of numbers as SVG: means of its parts, and where alarms were."""
    means = parts(values)
    known = [mean for *_, mean in means if math.isfinite(mean)] or [0.0]
    low, high, n = min(known), max(known), max(len(values), 2)
    size = high - low or 1.0

    def x(event: float) -> float:
        return MARGIN + event / (n - 1) * (WIDTH - 2 * MARGIN)

    steps = [
        f"{x((a + b) / 2):.1f},{HEIGHT - MARGIN - (mean - low) / size * (HEIGHT - 2 * MARGIN):.1f}"
        for a, b, mean in means
        if math.isfinite(mean)
    ]
    drawn = [f'<polyline points="{" ".join(steps)}" fill="none" stroke="{COLOURS[0]}" stroke-width="1.5"/>']
    for number, alarm in enumerate(alarms, 1):
        place = f"{x(alarm.position):.1f}"
        drawn.append(
            f'<path d="M{place} {MARGIN}V{HEIGHT - MARGIN}" stroke="{COLOURS[1]}" stroke-width="2" stroke-dasharray="6 4"/>'
            f'<text x="{place}" y="{MARGIN - 8}" text-anchor="middle">{number}</text>'
        )
    drawn += [
        f'<text x="{MARGIN}" y="{HEIGHT - 12}">0</text>',
        f'<text x="{WIDTH - MARGIN}" y="{HEIGHT - 12}" text-anchor="end">{len(values) - 1:,}</text>',
        f'<text x="4" y="{HEIGHT - MARGIN}">{low:.3g}</text><text x="4" y="{MARGIN}">{high:.3g}</text>',
    ]
    said = f"{len(values):,} events, means from {low:.4g} to {high:.4g}, {len(alarms)} {'alarm' if len(alarms) == 1 else 'alarms'}"
    return _svg(title, said, "".join(drawn), height=HEIGHT)


def _svg(title: str, description: str, inside: str, *, height: int) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" '
        f'aria-label="{html.escape(title)}. {html.escape(description)}" font-family="system-ui, sans-serif" font-size="13">'
        f"<title>{html.escape(title)}</title><desc>{html.escape(description)}</desc>"
        f'<g fill="currentColor">{inside}</g></svg>'
    )
