"""A support evaluation in words: lines for the terminal, Markdown for pull requests."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from penstock.evaluate.report import md_line, plain_md
from penstock.support.metrics import METRICS, said
from penstock.support.report import FEWEST, Agreed, Figure, Finding, Group, Moved, Report

__all__ = [
    "agreement_words", "arrow", "day", "difference", "headline", "interval", "markdown", "moved_words", "not_told", "place",
    "probability",
]  # fmt: skip

SHOWN_FINDINGS = 20
SHOWN_GROUPS = 8
SHOWN_METRICS = (
    "accuracy",
    "hallucination",
    "relevance",
    "resolved",
    "escalated",
    "silent_failure",
    "unsatisfied_predicted",
    "latency_p95",
)


def headline(report: Report) -> str:
    """What was evaluated, in one line."""
    when = f", {day(report.began)} to {day(report.ended)}" if report.began is not None else ""
    part = "" if report.complete else "; NOT FINISHED: this is of a part of the log"
    few = "" if report.conversations >= FEWEST else f"; too few to tell anything (fewer than {FEWEST})"
    some = f"{report.conversations:,} conversation{'' if report.conversations == 1 else 's'}"
    return f"{report.name}: {some}, {report.turns:,} turns{when}{part}{few}"


def day(at: float | None) -> str:
    """UTC."""
    if at is None:
        return "-"
    try:
        return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}"
    except (OverflowError, OSError, ValueError):
        return "-"


def interval(figure: Figure) -> str:
    """From where to where, with what is not known open; "-" where nothing is."""
    if figure.low is None and figure.high is None:
        return "-"
    unit = figure.about.unit
    if figure.high is None:
        return f"from {said(figure.low, unit)}"
    return f"{said(figure.low, unit)} to {said(figure.high, unit)}"


def arrow(metric: str) -> str:
    return " ↓" if METRICS[metric].better == "lower" else ""


def place(finding: Finding) -> str:
    """Where it stands."""
    return f"{finding.conversation}, turn {finding.turn}"


def moved_words(one: Moved, against: str) -> str:
    """One difference, and how sure it is."""
    about = METRICS[one.metric]
    apart_by = f" ({found})" if (found := difference(one)) else ""
    change = f"{about.label}: {said(one.before, about.unit)} → {said(one.after, about.unit)}{apart_by}"
    if not one.sure:
        return f"{change}; not sure (q {probability(one.q)})"
    tone = "worse" if one.worse else "better" if about.better else "changed"
    return f"{change}: surely {tone} than {against} (q {probability(one.q)})"


def difference(one: Moved) -> str:
    """By how much, with its interval; "" where only the quantiles are known."""
    unit = METRICS[one.metric].unit
    if one.low is None or one.high is None:
        return ""
    if unit == "share":
        return f"{100 * one.difference:+.1f} points, {100 * one.low:+.1f} to {100 * one.high:+.1f}"
    text = f"{one.difference:+,.2f}, {one.low:+,.2f} to {one.high:+,.2f}"
    return f"{text} {unit}" if unit in ("ms", "tokens", "turns", "usd") else text


def probability(value: float) -> str:
    """As people read it: "< 0.001", "= 0.04"."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}" if value < 0.1 else f"= {value:.2f}"


def not_told(figures: Sequence[Figure]) -> str:
    """Which figures have no value, and why; "" for none."""
    parts = []
    for one in figures:
        if one.value is None:
            why = "; ".join(f"{count:,} × {reason}" for reason, count in one.unscored)
            parts.append(f"{one.about.label} ({why})" if why else one.about.label)
    return ", ".join(parts)


def agreement_words(one: Agreed) -> str:
    """How far a metric and people agree, or two of them."""
    who = (
        f"{METRICS[one.metric].label} and people"
        if one.between == "people"
        else f"{one.between} on {METRICS[one.metric].label}"
    )
    if one.kappa is None and one.spearman is None:
        return f"{who}: n = {one.n}, too few, or all the same: nothing can be told"
    parts = [f"kappa {one.kappa:.2f} ({one.kappa_low:.2f} to {one.kappa_high:.2f})"] if one.kappa is not None else []
    if one.spearman is not None:
        ends = f" ({one.spearman_low:.2f} to {one.spearman_high:.2f})" if one.spearman_low is not None else ""
        parts.append(f"Spearman {one.spearman:.2f}{ends}")
    return f"{who}: {', '.join(parts)}, n = {one.n}"


# ---------------------------------------------------------------- Markdown


def markdown(report: Report) -> str:
    """For a pull request."""
    lines = [f"### {plain_md(headline(report))}", ""]
    if report.against:
        alarms = report.alarms
        lines += [
            f"**{len(alarms)} figures are surely worse than {plain_md(report.against)}**"
            if alarms
            else f"**Nothing is surely worse than {plain_md(report.against)}**",
            "",
        ]
        lines += [
            f"- {'❌' if one.worse else '✅'} {plain_md(moved_words(one, report.against))}"
            for one in report.moved
            if one.sure
        ]
        lines.append("")
    people = {one.metric: one for one in report.agreed if one.between == "people"}
    heads = ["figure", "value", "95 % interval", "n", *(["people: kappa"] if people else [])]
    lines += [md_line(heads), md_line(["---"] * len(heads))]
    for figure in report.all.figures:
        cells = [f"{figure.about.label}{arrow(figure.metric)}", _value(figure), interval(figure), f"{figure.n:,}"]
        if people:
            beside = people.get(figure.metric)
            cells.append(f"{beside.kappa:.2f} (n = {beside.n})" if beside and beside.kappa is not None else "")
        lines.append(md_line(cells))
    lines += [
        "",
        f"↓ lower is better. A figure in brackets comes from fewer than {FEWEST} conversations or customers and tells nothing.",
        "",
    ]
    for by in ("release", "intent", "language"):
        lines += _groups(report.of(by), by)
    lines += _findings(report.findings)
    if report.suggestions:
        lines += ["**What to try**", ""]
        lines += [f"- {plain_md(one.title)}: {plain_md(one.why)}" for one in report.suggestions] + [""]
    if report.agreed:
        lines += ["**People beside it**", "", *(f"- {plain_md(agreement_words(one))}" for one in report.agreed), ""]
    lines += [f"- {plain_md(note)}" for note in report.notes]
    lines += ["", "<details><summary>How each figure is made, and what it does not show</summary>", ""]
    for figure in report.all.figures:
        about = figure.about
        lines.append(
            f"- **{about.label}**: {plain_md(about.what)} {plain_md(about.method)} *Does not show:* {plain_md(about.does_not_show)}"
        )
    lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _value(figure: Figure) -> str:
    text = said(figure.value, figure.about.unit)
    return text if figure.tells or figure.value is None else f"({text})"


def _groups(groups: Sequence[Group], by: str) -> list[str]:
    if len(groups) < 2:
        return []
    shown = [
        name for name in SHOWN_METRICS if any((one := group.figure(name)) and one.value is not None for group in groups)
    ]
    heads = [by, "conversations", *(f"{METRICS[name].label}{arrow(name)}" for name in shown)]
    lines = [md_line(heads), md_line(["---"] * len(heads))]
    for group in groups[:SHOWN_GROUPS]:
        unlike = {one.metric for one in group.apart}
        figures = [(name, group.figure(name)) for name in shown]
        cells = [f"{_value(figure) if figure else '-'}{' ◆' if name in unlike else ''}" for name, figure in figures]
        lines.append(md_line([plain_md(group.name), f"{group.conversations:,}", *cells]))
    return [*lines, "", f"◆ surely unlike all other {by}s, over all groups and figures (Holm).", ""]


def _findings(findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    lines = [f"<details><summary>{len(findings):,} findings</summary>", ""]
    for one in findings[:SHOWN_FINDINGS]:
        lines.append(f"- `{one.kind}` {plain_md(place(one))}: {plain_md(one.why)}")
        if one.text:
            lines.append(f"  - said: {plain_md(one.text)}")
    return [*lines, "", "</details>", ""]
