"""A result as one HTML page that needs nothing else, with pictures. Every picture stands beside the figures it shows."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

from penstock.evaluate.compared import Comparison, Moved
from penstock.evaluate.gate import Held
from penstock.evaluate.report import headline, leading, number, ranged, why_unscored, worst
from penstock.evaluate.result import Part, Result, Summary, case_values
from penstock.evaluate.run import Row
from penstock.evaluate.scored import About

__all__ = ["compared_page", "document", "e", "line_with", "page"]

SHOWN = 20  # worst cases
CUT = 1_500  # characters of one text
BINS = 10
_SHARP = 'vector-effect="non-scaling-stroke"'  # lines keep their width, however a picture is stretched
STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; --mark: light-dark(#1f5fa8, #8abaf0);
  --band: light-dark(#1f5fa855, #8abaf055); --good: light-dark(#1a7a3c, #6fce8d); --bad: light-dark(#b3261e, #ff9a90); }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { overflow-wrap: anywhere; } h2 { margin-top: 2.5rem; } h3 { margin: 1.5rem 0 .25rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1rem; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.p { width: 34%; min-width: 6rem; } svg { display: block; width: 100%; }
svg.bar { height: 1.5rem; } svg.hist { height: 5rem; max-width: 30rem; }
.axis { display: flex; justify-content: space-between; max-width: 30rem; font-size: .8rem; }
.dim { opacity: .75; font-size: .9rem; } .good { color: var(--good); } .bad { color: var(--bad); }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font: inherit; }
dl { margin: 0; } dt { font-size: .8rem; opacity: .75; } dd { margin: 0 0 .4rem; }
code { overflow-wrap: anywhere; } td:first-child code { overflow-wrap: normal; }
summary { cursor: pointer; } summary h3 { display: inline-block; margin: .2rem 0; }
@media (min-width: 40rem) { td:first-child code { white-space: nowrap; } }
@media (max-width: 40rem) {
  .w { display: none; } th, td { padding: .3rem .25rem; font-size: .9rem; } td.p { width: 26%; min-width: 4rem; }
  td.n { white-space: normal; } }
"""


def page(result: Result, holds: Sequence[Held] = ()) -> str:
    """An evaluation."""
    summaries = result.summaries()
    name = leading(result, summaries)
    parts = [
        _head(result), _gates(holds), _overview(summaries), _agreement(result), _worst(result, name) if name else "",
        _unscored(result, summaries), "<h2>Each score</h2>",
        *(_one(result, one, is_open=one.about.name == name) for one in summaries if one.all.n), _notes(summaries),
    ]  # fmt: skip
    return document(f"Evaluation: {result.target or result.cases.name}", "".join(parts))


def compared_page(comparison: Comparison) -> str:
    """Two results beside each other."""
    first, second = (one.target or one.cases.name or "given answers" for one in (comparison.first, comparison.second))
    rows = "".join(
        f"<tr><td>{_name(one.about)}{_arrow(one.about)}</td><td class=n>{number(one.first, one.about)}</td>"
        f"<td class=n>{number(one.second, one.about)}</td><td class='p w'>{_apart(one)}</td>"
        f"<td class=n>{number(one.second - one.first, one.about)}</td><td class='n w'>{one.p_holm:.2g}</td>"
        f"<td class='n w'>{one.wins} / {one.losses}</td><td class={_tone(one.decision)}>{e(one.decision)}</td></tr>"
        for one in comparison.differences
    )
    words = "".join(f"<li>{e(one.words)}</li>" for one in comparison.differences)
    same = comparison.first.cases.digest == comparison.second.cases.digest
    told = comparison.preference
    judged = "" if told is None else (
        f"<p>{e(told.judge)} prefers the second on {told.second} cases, the first on {told.first}, and neither on {told.ties}; "
        f"{told.unscored} could not be judged. Share of the second, ties half: {told.share.estimate:.0%} "
        f"({told.share.low:.0%} to {told.share.high:.0%}). The answer that stood first was preferred {told.first_place:.0%} of the "
        "time.</p>"
    )  # fmt: skip
    body = f"""<h1>{e(second)} beside {e(first)}</h1>
<p>{comparison.shared} cases that both answered{"" if same else "; the two sets differ, and what is the same is compared"}.</p>
<table><tr><th>score</th><th class=n>before</th><th class=n>after</th><th class=w>difference, 95 %</th><th class=n>by</th>
<th class="n w">p (Holm)</th><th class="n w">better / worse on</th><th>decision</th></tr>{rows}</table>{judged}
<ul class=dim>{words}</ul>
{_moves("Worse", comparison.losses, comparison.by, first, second)}
{_moves("Better", comparison.wins, comparison.by, first, second)}"""
    return document(f"Comparison: {second} beside {first}", body)


def document(title: str, body: str) -> str:
    """A page that needs nothing else."""
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{e(title)}</title><style>{STYLE}</style>
{body}
</html>
"""


# ---------------------------------------------------------------- parts of the page


def _head(result: Result) -> str:
    versions = ", ".join(f"{e(name)} {e(value)}" for name, value in result.versions.items())
    cost = f" The answers cost {result.cost_usd:.4f} USD." if result.target else ""
    judge = f" Judged by {e(str(result.settings['judge']))}" if result.settings.get("judge") else ""
    judge += (
        f", which cost {result.judge_cost_usd:.4f} USD." if judge and result.judge_cost_usd else "." if judge else ""
    )
    warning = "" if result.complete else "<p class=bad><b>Not finished: what follows is of a part.</b></p>"
    twice = (
        f" {len(result.cases.duplicates)} pairs of cases ask the same, and are not in one group: intervals are too short by that."
        if result.cases.duplicates
        else ""
    )
    return (
        f"<h1>{e(result.target or 'Given answers')}</h1>{warning}<p>{e(headline(result))}.{cost}{judge}{twice}</p>"
        f"<p class=dim>Cases <code>{result.cases.digest[:12]}</code>, begun {e(result.began)}, {result.seconds:.0f} s. "
        f"{versions}</p>"
    )


def _gates(holds: Sequence[Held]) -> str:
    if not holds:
        return ""
    failed = sum(not one.holds for one in holds)
    title = (
        f"<b class=bad>{failed} of {len(holds)} limits do not hold</b>"
        if failed
        else "<b class=good>All limits hold</b>"
    )
    rows = "".join(
        f"<li class={'good' if one.holds else 'bad'}>{'✓' if one.holds else '✗'} {e(one.words)}</li>" for one in holds
    )
    return f"<h2>Limits</h2><p>{title}</p><ul>{rows}</ul>"


def _overview(summaries: Sequence[Summary]) -> str:
    several = any(one.gap is not None for one in summaries)
    rows = "".join(
        f"<tr><td><a href='#{e(one.about.name)}'>{_name(one.about)}</a>{_arrow(one.about)}</td>"
        f"<td class=p>{_bar(one.all, one.about)}</td><td class=n>{number(one.all.mean if one.all.n else None, one.about)}</td>"
        f"<td class='n w'>{ranged(one.all, one.about)}</td><td class=n>{one.all.n}</td>"
        f"<td class='n w'>{one.all.unscored or ''}</td>"
        + (f"<td class=n>{'' if one.gap is None else number(one.gap, one.about)}</td>" if several else "")
        + "</tr>"
        for one in summaries
    )
    gap = "<th class=n>gap<span class=w> to English</span></th>" if several else ""
    return (
        "<h2>Scores</h2><table><tr><th>score</th><th></th><th class=n>mean</th><th class='n w'>95 % interval</th>"
        f"<th class=n>cases</th><th class='n w'>unscored</th>{gap}</tr>{rows}</table>"
        "<p class=dim>↓ lower is better. A case counts once, however often it was asked. An answer without a score enters no mean; "
        "limits count it as the worst. Of one case, or one group, there is no interval.</p>"
    )


def _agreement(result: Result) -> str:
    said = "".join(
        f"<li>with {'itself, in the other order' if one['with'] == 'itself' else 'people'}: kappa {one['kappa']:.2f} "
        f"({one['low']:.2f} to {one['high']:.2f}), the same on {one['same']:.0%} of {one['n']} answers</li>"
        for one in result.agreements()
    )
    return f"<h3>How far the judge agrees</h3><ul>{said}</ul>" if said else ""


def _one(result: Result, summary: Summary, *, is_open: bool) -> str:
    about = summary.about
    values = list(case_values(result.rows, about.name).values())
    lines = [
        f"<details{' open' if is_open else ''}><summary><h3><code>{e(about.name)}</code>{_arrow(about)}</h3> "
        f"{number(summary.all.mean, about)}</summary><p id='{e(about.name)}'></p>"
        f"<p class=dim>{e(about.what[:1].upper())}{e(about.what[1:])}. {e(about.note)}</p>",
        _histogram(values, about),
    ]
    told = []
    if summary.median is not None:
        told.append(f"median {number(summary.median, about)}, 95th percentile {number(summary.p95, about)}")
    if summary.within is not None:
        told.append(f"standard deviation within a case {number(summary.within, about)}")
    for name, one in (("at least one", summary.pass_at_k), ("all", summary.pass_hat_k)):
        if one is not None:
            sign = "@" if name == "at least one" else "^"
            told.append(f"pass{sign}{summary.k} ({name} of {summary.k}) {one.mean:.3f} ({ranged(one, about)})")
    lines.append(f"<p>{'; '.join(told)}</p>" if told else "")
    if len(summary.by_language) > 1:
        lines.append(_parts("language", summary.by_language, about))
    if summary.gap is not None:
        where = f", in '{e(summary.worst_language)}'" if summary.worst_language else ""
        lines.append(
            f"<p>The gap to English, unscored answers counted as the worst, is <b>{number(summary.gap, about)}</b>{where}.</p>"
        )
    if summary.by_tag:
        lines.append(f"<details><summary>by tag</summary>{_parts('tag', summary.by_tag, about)}</details>")
    return f"{''.join(lines)}</details>"


def _parts(what: str, parts: Any, about: About) -> str:
    rows = "".join(
        f"<tr><td>{e(name)}</td><td class=p>{_bar(part, about)}</td><td class=n>{number(part.mean if part.n else None, about)}</td>"
        f"<td class='n w'>{ranged(part, about)}</td><td class=n>{part.n}</td><td class='n w'>{part.unscored or ''}</td></tr>"
        for name, part in parts.items()
    )
    return (
        f"<table><tr><th>{what}</th><th></th><th class=n>mean</th><th class='n w'>95 % interval</th><th class=n>cases</th>"
        f"<th class='n w'>unscored</th></tr>{rows}</table>"
    )


def _worst(result: Result, name: str) -> str:
    found = worst(result, name, most=SHOWN)
    about = result.abouts[name]
    if not found:
        return f"<h2>Worst cases</h2><p>By {e(name)} no case is worse than it could be.</p>"
    rows = "".join(f"<tr><td class=n>{number(value, about)}</td><td>{_case(row)}</td></tr>" for value, row in found)
    return f"<h2>Worst cases by {e(name)}</h2><table><tr><th class=n>mean</th><th>case</th></tr>{rows}</table>"


def _case(row: Row) -> str:
    case, reply = row.case, row.reply
    assert reply is not None
    said = [("question", case.question), (f"said ({reply.state})" if reply.state != "answered" else "said", reply.text)]
    said += [("expected", " — or — ".join(case.expected))] if case.expected else []
    why = "; ".join(f"{name}: {one.why}" for name, one in row.scores.items() if one.why and one.state == "scored")
    said += [("why", why)] if why else []
    about = ", ".join(filter(None, (case.language, *case.tags)))
    parts = "".join(f"<dt>{e(name)}</dt><dd><pre>{e(_cut(text))}</pre></dd>" for name, text in said)
    return f"<div class=dim><code>{e(case.id)}</code> {e(about)}</div><dl>{parts}</dl>"


def _unscored(result: Result, summaries: Sequence[Summary]) -> str:
    rows = "".join(
        f"<tr><td>{_name(one.about)}</td><td>{e(why or 'no reason given')}</td><td class=n>{count}</td></tr>"
        for one in summaries
        for why, count in why_unscored(result.rows, one.about.name)[:5]
    )
    if not rows:
        return ""
    return f"<h2>Not scored</h2><table><tr><th>score</th><th>why</th><th class=n>answers</th></tr>{rows}</table>"


def _notes(summaries: Sequence[Summary]) -> str:
    rows = "".join(f"<tr><td>{_name(one.about)}</td><td>{e(one.about.note)}</td></tr>" for one in summaries)
    return f"<h2>What the scores do not show</h2><table>{rows}</table>"


def _moves(title: str, moved: Sequence[Moved], by: str, first: str, second: str) -> str:
    if not moved:
        return ""
    rows = ""
    for one in moved:
        said = [
            ("question", one.case.question),
            *zip((first, second), (reply.text for reply in one.replies), strict=True),
        ]
        said += [("expected", " — or — ".join(one.case.expected))] if one.case.expected else []
        parts = "".join(f"<dt>{e(name)}</dt><dd><pre>{e(_cut(text))}</pre></dd>" for name, text in said)
        values = f"{one.first:.3g} → {one.second:.3g}"
        rows += f"<tr><td class=n>{values}</td><td><code>{e(one.case.id)}</code><dl>{parts}</dl></td></tr>"
    return f"<h2>{title} by {e(by)}</h2><table>{rows}</table>"


# ---------------------------------------------------------------- pictures


def _bar(part: Part, about: About) -> str:
    """A mean on the scale of its score, with its interval; nothing where the scale has no end."""
    if not part.n or not math.isfinite(about.high):
        return ""
    at, low, high = (_place(value, about.low, about.high) for value in (part.mean, part.low, part.high))
    words = f"{about.name}: mean {number(part.mean, about)}, 95 % interval {ranged(part, about)}"
    return line_with(at, low, high, words, zero=None)


def _apart(difference: Any) -> str:
    """A difference about 0, on a scale as wide as it needs."""
    if difference.apart is None:
        return ""
    one = difference.apart
    reach = max(abs(one.low), abs(one.high), 1e-12) * 1.1
    at, low, high = (_place(value, -reach, reach) for value in (one.estimate, one.low, one.high))
    return line_with(at, low, high, difference.words, zero=50.0)


def line_with(at: float, low: float, high: float, words: str, *, zero: float | None) -> str:
    """A value and its interval on a line from 0 to 100, with what it says in words."""
    middle = (
        f'<line x1="{zero}" x2="{zero}" y1="0" y2="10" stroke="currentColor" opacity=".5" {_SHARP}/>'
        if zero is not None
        else ""
    )
    return (
        f'<svg class=bar viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{e(words)}">'
        f"<title>{e(words)}</title>"
        f'<line x1="0" x2="100" y1="5" y2="5" stroke="currentColor" opacity=".25" {_SHARP}/>'
        f'{middle}<rect x="{low:.2f}" width="{max(high - low, 0.4):.2f}" y="2.5" height="5" fill="var(--band)"/>'
        f'<line x1="{at:.2f}" x2="{at:.2f}" y1="1" y2="9" stroke="var(--mark)" stroke-width="2" {_SHARP}/></svg>'
    )


def _place(value: float | None, low: float, high: float) -> float:
    return 0.0 if value is None else min(100.0, max(0.0, 100 * (value - low) / (high - low)))


def _histogram(values: Sequence[float], about: About) -> str:
    """How the values of the cases are spread, in ten bins."""
    low, high = about.low, about.high
    if not math.isfinite(high):
        low, high = min(values), max(values)
        if low == high:
            return f"<p>{number(low, about)} on every case.</p>"
    counts = [0] * BINS
    for value in values:
        counts[min(BINS - 1, max(0, int(BINS * (value - low) / (high - low))))] += 1
    most = max(counts)
    edges = [number(low + (high - low) * n / BINS, about) for n in range(BINS + 1)]
    bars = "".join(
        f'<rect x="{10 * n + 0.5}" width="9" y="{40 - 38 * count / most:.2f}" height="{38 * count / most:.2f}" '
        f'fill="var(--mark)"><title>{edges[n]} to {edges[n + 1]}: {count}</title></rect>'
        for n, count in enumerate(counts)
        if count
    )
    words = ", ".join(f"{edges[n]} to {edges[n + 1]}: {count}" for n, count in enumerate(counts) if count)
    title = f"How {len(values)} cases are spread over {about.name}"
    return (
        f'<svg class=hist viewBox="0 0 100 40" preserveAspectRatio="none" role="img" aria-label="{e(title)}">'
        f"<title>{e(title)}</title><desc>{e(words)}</desc>{bars}"
        f'<line x1="0" x2="100" y1="40" y2="40" stroke="currentColor" opacity=".5" {_SHARP}/>'
        f"</svg><div class='axis dim'><span>{edges[0]}</span><span>{_count(most)} in the highest</span>"
        f"<span>{edges[-1]}</span></div>"
    )


def _count(n: int) -> str:
    return f"{n} case{'' if n == 1 else 's'}"


def _arrow(about: About) -> str:
    return "" if about.higher_is_better else " <span title='lower is better'>↓</span>"


def _tone(decision: str) -> str:
    return {"better": "good", "worse": "bad"}.get(decision, "dim")


def _cut(text: str) -> str:
    return text if len(text) <= CUT else f"{text[: CUT - 1]}…"


def _name(about: About) -> str:
    """A score's name, which may be broken where it has a line."""
    return f"<code>{e(about.name).replace('_', '_<wbr>')}</code>"


def e(text: str) -> str:
    """Text as text, without what no page may have in it."""
    return html.escape(text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd"))
