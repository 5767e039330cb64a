"""A support evaluation as one HTML page that needs nothing else. From each figure to its findings, each finding with its place, the
claim marked in its sentence, and what it was held against."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from penstock.evaluate.page import document, e, line_with
from penstock.support.metrics import METRICS, said
from penstock.support.report import FEWEST, Change, Figure, Finding, Group, Point, Report
from penstock.support.words import agreement_words, arrow, day, difference, headline, interval, probability

__all__ = ["page"]

SHOWN_FINDINGS = 300
SHOWN_CHANGES = 20
_STYLE = """<style>
td, th, h3, li, p { overflow-wrap: anywhere; } td:first-child code { white-space: normal; overflow-wrap: anywhere; }
.x { display: none; } td.n .x { font-size: .8rem; opacity: .75; }
@media (max-width: 40rem) { .x { display: block; } td.p, th.p { display: none; } td.n { overflow-wrap: normal; } }
</style>"""
_SHARP = 'vector-effect="non-scaling-stroke"'
_KINDS = {
    "wrong_fact": "wrong facts", "made_up": "made up", "wrong_name": "wrong names", "unsupported": "in none of the texts",
    "contradiction": "contradictions", "unanswered": "unanswered", "silent_failure": "silent failures",
    "irrelevant": "beside the question",
    "repetition": "repetitions", "no_empathy": "no word for an upset customer",
}  # fmt: skip


def page(report: Report) -> str:
    """All of it."""
    warning = "" if report.complete else "<p class=bad><b>Not finished: what follows is of a part of the log.</b></p>"
    notes = "".join(f"<li>{e(one)}</li>" for one in report.notes)
    fields = ", ".join(f"{e(ours)} from <code>{e(theirs)}</code>" for ours, theirs in report.fields.items())
    body = (
        f"{_STYLE}<h1>{e(report.name)}</h1>{warning}<p>{e(headline(report).removeprefix(f'{report.name}: '))}.</p>"
        + (f"<ul class=dim>{notes}</ul>" if notes else "")
        + (f"<p class=dim>Read as: {fields}.</p>" if fields else "")
        + _moved(report)
        + _overview(report)
        + "".join(_groups(report.of(by), by) for by in ("release", "intent", "language"))
        + _trends(report.trends, report.changes)
        + _suggestions(report)
        + _findings(report.findings, _linked(report))
        + _cards(report)
    )
    return document(f"Support evaluation: {report.name}", body)


def _moved(report: Report) -> str:
    if not report.moved:
        return ""
    alarms = report.alarms
    title = f"<b class=bad>{len(alarms)} surely worse</b>" if alarms else "<b class=good>Nothing is surely worse</b>"
    rows = "".join(
        f"<tr><td>{e(METRICS[one.metric].label)}{_mark(one.metric)}</td><td class=n>"
        f"{said(one.before, METRICS[one.metric].unit)}</td>"
        f"<td class=n>{said(one.after, METRICS[one.metric].unit)}<div class=x>{e(difference(one))}</div></td>"
        f"<td class='n w'>{e(difference(one)) or '-'}</td><td class='n w'>{one.n_before:,} / {one.n_after:,}</td>"
        f"<td class='n w'>{probability(one.q).removeprefix('= ')}</td>"
        f"<td class={'dim' if not one.sure else 'bad' if one.worse else 'good'}>{_told(one.sure, one.worse)}</td></tr>"
        for one in report.moved
    )
    return (
        f"<h2>Against {e(report.against)}</h2><p>{title}</p><table><tr><th>figure</th><th class=n>before</th><th class=n>now</th>"
        f"<th class='n w'>difference, 95 %</th><th class='n w'>n</th><th class='n w'>q</th><th></th></tr>{rows}</table>"
        f"<p class=dim>n: what was counted before / now. q: of all that is told up to here, the share that is false at most "
        f"(Benjamini and Hochberg, over all figures). {_looks(report)}</p>"
    )


def _looks(report: Report) -> str:
    if report.moved[0].anytime:
        return "It may be looked at as often as you like while the logs grow."
    return "It is of one look at these two logs; compare growing logs with --watched."


def _told(sure: bool, worse: bool) -> str:
    return "not sure" if not sure else "worse" if worse else "better"


def _overview(report: Report) -> str:
    people: dict[str, str] = {}
    for one in report.agreed:
        people.setdefault(one.metric, "")
        people[one.metric] += f"<div class=dim>{e(agreement_words(one))}</div>"
    there = {one.id for one in report.findings}
    rows = "".join(_row(one, people.get(one.metric, ""), there) for one in report.all.figures)
    return (
        "<h2>Figures</h2><table><tr><th>figure</th><th class=p></th>"
        "<th class=n>value</th><th class='n w'>95 % interval</th><th class=n>"
        "n</th>"
        f"<th class='n w'>from</th></tr>{rows}</table><p class=dim>↓ lower is better. <b>n</b>: what is counted; <b>from</b>: "
        f"customers, or conversations, "
        f"that it "
        f"comes from; with fewer than {FEWEST} it stands in brackets and tells nothing.</p>"
    )


def _linked(report: Report) -> frozenset[str]:
    """The findings that figures link to."""
    return frozenset(name for one in report.all.figures for name in one.evidence)


def _row(figure: Figure, beside: str, there: Collection[str]) -> str:
    links = "".join(
        f" <a href='#{e(one)}' aria-label='finding {e(one)}'>{n}</a>"
        for n, one in enumerate((one for one in figure.evidence if one in there), 1)
    )
    evidence = f"<div class=dim>see{links}</div>" if links else ""
    why = "; ".join(f"{count:,} {why}" for why, count in figure.unscored)
    unscored = f"<div class=dim>not counted: {e(why)}</div>" if why else ""
    return (
        f"<tr><td><a href='#card-{e(figure.metric)}'>{e(figure.about.label)}</a>"
        f"{_mark(figure.metric)}{beside}{evidence}{unscored}</td>"
        f"<td class=p>{_bar(figure)}</td><td class=n>{_value(figure)}"
        f"<div class=x>{e(interval(figure))}</div></td><td class='n w'>{e(interval(figure))}</td>"
        f"<td class=n>{figure.n:,}</td><td class='n w'>{figure.units:,}</td></tr>"
    )


def _value(figure: Figure) -> str:
    text = e(said(figure.value, figure.about.unit))
    return text if figure.tells or figure.value is None else f"({text})"


def _mark(metric: str) -> str:
    return " <span title='lower is better'>↓</span>" if arrow(metric) else ""


def _bar(figure: Figure) -> str:
    """On the scale of a share, or of points; nothing where a scale has no end."""
    if figure.value is None or figure.low is None or figure.high is None:
        return ""
    low, high = {"share": (0.0, 1.0), "points": (1.0, 5.0)}.get(figure.about.unit, (0.0, 0.0))
    if low == high or figure.value < low:
        return ""
    at, start, end = (
        min(100.0, max(0.0, 100 * (one - low) / (high - low))) for one in (figure.value, figure.low, figure.high)
    )
    words = f"{figure.about.label}: {said(figure.value, figure.about.unit)}, 95 % interval {interval(figure)}"
    return line_with(at, start, end, words, zero=None)


def _groups(groups: Sequence[Group], by: str) -> str:
    if len(groups) < 2:
        return ""
    names = [
        one.metric
        for one in max(groups, key=lambda group: len(group.figures)).figures
        if one.metric
        not in ("contained", "unsatisfied_given", "mood_change", "retention_7d", "retention_30d", "recontact_30d")
    ]
    heads = "".join(f"<th class=n>{e(METRICS[name].label)}{_mark(name)}</th>" for name in names)
    rows = ""
    for group in groups:
        unlike = {one.metric: one for one in group.apart}
        cells = ""
        for name in names:
            figure = group.figure(name)
            tone = "" if name not in unlike else " bad" if unlike[name].worse else " good"
            mark = " <span title='surely unlike all others'>◆</span>" if name in unlike else ""
            ends, value = (e(interval(figure)), _value(figure)) if figure else ("", "-")
            cells += f"<td class='n{tone}' title='{ends}'>{value}{mark}</td>"
        rows += f"<tr><td>{e(group.name)}</td><td class=n>{group.conversations:,}</td>{cells}</tr>"
    return (
        f"<h2>By {by}</h2><div style='overflow-x:auto' tabindex=0 role=region aria-label='By {by}'><table><tr><th>{by}</th>"
        f"<th class=n>conversations</th>{heads}</tr>{rows}</table></div><p class=dim>◆ surely unlike all other {by}s, over all "
        f"groups and "
        f"figures (Holm). In brackets: fewer than {FEWEST}, which tells nothing.</p>"
    )


def _trends(points: Sequence[Point], changes: Sequence[Change]) -> str:
    if not points:
        return ""
    by_metric: dict[str, list[Point]] = {}
    for one in points:
        by_metric.setdefault(one.metric, []).append(one)
    pictures = "".join(_trend(name, some, changes) for name, some in by_metric.items())
    rows = "".join(f"<tr><td class=n>{day(one.at)}</td><td>{e(one.what)}</td></tr>" for one in changes[:SHOWN_CHANGES])
    log = f"<h3>Changes</h3><table>{rows}</table>" if rows else ""
    return f"<h2>Over time</h2>{pictures}{log}"


def _trend(name: str, points: Sequence[Point], changes: Sequence[Change]) -> str:
    """A line with its intervals, and where something was changed."""
    about = METRICS[name]
    known = [one for one in points if one.value is not None]
    if len(known) < 2:
        return ""
    first, last = points[0].at, points[-1].at
    top = 1.0 if about.unit == "share" else max((one.high or one.value or 0.0) for one in known) * 1.05 or 1.0
    if about.unit == "points":
        top = 5.0

    def x(at: float) -> float:
        return 100 * (at - first) / max(last - first, 1.0)

    def y(value: float) -> float:
        return 39 - 38 * min(1.0, max(0.0, value / top))

    line = " ".join(f"{x(one.at):.2f},{y(one.value or 0.0):.2f}" for one in known)
    bands = "".join(
        f'<line x1="{x(one.at):.2f}" x2="{x(one.at):.2f}" y1="{y(one.low):.2f}" y2="{y(one.high):.2f}" stroke="var(--band)" '
        f'stroke-width="4" {_SHARP}/>'
        for one in known
        if one.low is not None and one.high is not None
    )
    marks = "".join(
        f'<line x1="{x(one.at):.2f}" x2="{x(one.at):.2f}" y1="0" y2="40" stroke="currentColor" stroke-dasharray="2 2" '
        f'opacity=".6" {_SHARP}>'
        f"<title>{day(one.at)}: {e(one.what)}</title></line>"
        for one in changes[:SHOWN_CHANGES]
        if first <= one.at <= last
    )
    told = "; ".join(f"{day(one.at)} {said(one.value, about.unit)} (n = {one.n})" for one in known)
    return (
        f"<h3>{e(about.label)}{_mark(name)}</h3><svg class=hist style='max-width:none' viewBox='0 0 100 40' "
        f"preserveAspectRatio='none' role=img "
        f"aria-label='{e(about.label)} over time'><title>{e(about.label)} over time</title><desc>{e(told)}</desc>{bands}{marks}"
        f'<polyline points="{line}" fill="none" stroke="var(--mark)" stroke-width="2" {_SHARP}/></svg>'
        f"<div class='axis dim' style='max-width:none'><span>{day(first)}</span><span>0 to {said(top, about.unit)}</span><span>"
        f"{day(last)}</span></div>"
    )


def _suggestions(report: Report) -> str:
    if not report.suggestions:
        return ""
    parts = "".join(
        f"<li><p><b>{e(one.title)}</b><br>{e(one.why)}</p><details><summary>as an experiment</summary><pre><code>"
        f"{e(one.settings)}</code></pre>"
        f"</details></li>"
        for one in report.suggestions
    )
    return (
        f"<h2>What to try</h2><ul>{parts}</ul><p class=dim><code>--suggestions FOLDER</code> writes each as a file for "
        "<code>penstock experiment run</code>, with its cases from the log.</p>"
    )


def _findings(findings: Sequence[Finding], linked: Collection[str]) -> str:
    """The first of them, and those that figures link to."""
    if not findings:
        return "<h2>Findings</h2><p>None.</p>"
    by_kind: dict[str, list[Finding]] = {}
    for one in (one for n, one in enumerate(findings) if n < SHOWN_FINDINGS or one.id in linked):
        by_kind.setdefault(one.kind, []).append(one)
    rest = (
        f"<p class=dim>The first {SHOWN_FINDINGS} of {len(findings):,}; <code>--json</code> has the others.</p>"
        if len(findings) > SHOWN_FINDINGS
        else ""
    )
    parts = "".join(
        f"<details{' open' if n == 0 else ''}><summary><h3>{e(_KINDS.get(kind, kind))}</h3> {len(some)}</summary>"
        f"<table>{''.join(map(_finding, some))}</table></details>"
        for n, (kind, some) in enumerate(by_kind.items())
    )
    return f"<h2>Findings</h2>{rest}{parts}"


def _finding(one: Finding) -> str:
    about = ", ".join(filter(None, (one.intent, one.language, one.release)))
    against = "".join(
        f"<dt>held against</dt><dd><code>{e(' '.join(filter(None, (each.source, each.field))))}</code> {e(each.value)}</dd>"
        for each in one.against
    )
    asked = f"<dt>customer</dt><dd><pre>{e(one.asked)}</pre></dd>" if one.asked else ""
    text = f"<dt>said</dt><dd><pre>{_marked(one)}</pre></dd>" if one.text else ""
    return (
        f"<tr id='{e(one.id)}'><td><code>{e(one.conversation)}</code><div class=dim>turn {one.turn}<br>{e(about)}</div></td>"
        f"<td>{e(one.why)}<dl>{asked}{text}{against}</dl></td></tr>"
    )


def _marked(one: Finding) -> str:
    """The sentence with its claim marked."""
    place = one.text.find(one.said) if one.said and one.said != one.text else -1
    if place < 0:
        return e(one.text)
    return f"{e(one.text[:place])}<mark>{e(one.said)}</mark>{e(one.text[place + len(one.said) :])}"


def _cards(report: Report) -> str:
    rows = "".join(
        f"<tr id='card-{e(one.metric)}'><td>{e(one.about.label)}</td><td>{e(one.about.what)} {e(one.about.method)}"
        f"<div class=dim>Interval: {e(one.interval or 'none')}.</div></td><td>{e(one.about.does_not_show)}</td></tr>"
        for one in report.all.figures
    )
    return (
        "<h2>How each figure is made, and what it does not show</h2><table><tr><th>figure</th><th>what and how</th><th>does not "
        "show</th></tr>"
        f"{rows}</table>"
    )
