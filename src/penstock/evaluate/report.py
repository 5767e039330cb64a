"""A result in words: a table for the terminal, Markdown for pull requests, JUnit's XML for pipelines."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from penstock.evaluate.compared import LEADING, Comparison, Moved
from penstock.evaluate.gate import Held
from penstock.evaluate.result import Part, Result, Summary, case_values
from penstock.evaluate.run import Row
from penstock.evaluate.scored import About

__all__ = [
    "compared_markdown", "headline", "junit", "leading", "markdown", "md_line", "number", "plain_md", "ranged", "why_unscored",
    "worst",
]  # fmt: skip

CUT = 400  # characters of a text in Markdown


def number(value: float | None, about: About) -> str:
    """A value as people read it in that score."""
    if value is None:
        return "-"
    if about.unit == "USD":
        return f"{value:.6f}"
    if math.isfinite(about.high):
        return f"{value:.3f}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ranged(part: Part, about: About) -> str:
    """The interval of a mean; "-" where there is none."""
    return "-" if part.low is None else f"{number(part.low, about)} to {number(part.high, about)}"


def headline(result: Result) -> str:
    """What was evaluated, in one line."""
    whom = f"{result.target or 'given answers'} on {result.cases.name or 'cases'}: {len(result.cases)} cases"
    times = f", {result.repeats} times each" if result.repeats > 1 else ""
    part = "" if result.complete else f"; NOT FINISHED: {result.asked} of {len(result.rows)} answers are there"
    return f"{whom}{times}{part}"


def why_unscored(rows: Sequence[Row], name: str) -> list[tuple[str, int]]:
    """The reasons why answers have no value in a score, the most frequent first."""
    found = Counter(row.scores[name].why for row in rows if name in row.scores and row.scores[name].state == "unscored")
    return found.most_common()


def leading(result: Result, summaries: Sequence[Summary]) -> str:
    """The score that worst cases are listed by; "" where there is none about quality."""
    there = {one.about.name for one in summaries if one.all.n}
    quality = [one.about.name for one in summaries if one.all.n and math.isfinite(one.about.high)]
    return next((name for name in LEADING if name in there), quality[0] if quality else "")


def worst(result: Result, name: str, *, most: int = 20) -> list[tuple[float, Row]]:
    """The cases that score worst, each with its mean and its worst trial. None that has the best value there is."""
    about = result.abouts[name]
    sign = 1 if about.higher_is_better else -1
    best = about.high if about.higher_is_better else about.low
    values = {id_: value for id_, value in case_values(result.rows, name).items() if value != best}
    order = sorted(values, key=lambda id_: (sign * values[id_], id_))[:most]
    found = []
    for id_ in order:
        trials = [row for row in result.rows if row.case.id == id_ and row.scores[name].state == "scored"]
        found.append((values[id_], min(trials, key=lambda row: sign * row.scores[name].value)))
    return found


# ---------------------------------------------------------------- Markdown


def markdown(result: Result, holds: Sequence[Held] = ()) -> str:
    """For a pull request."""
    summaries = result.summaries()
    lines = [f"### {plain_md(headline(result))}", ""]
    if holds:
        failed = sum(not one.holds for one in holds)
        lines += [f"**{'Passed' if not failed else f'Failed: {failed} of {len(holds)} limits do not hold'}**", ""]
        lines += [f"- {'✅' if one.holds else '❌'} {plain_md(one.words)}" for one in holds] + [""]
    several = any(one.gap is not None for one in summaries)
    heads = ["score", "mean", "95 % interval", "cases", "unscored", *(["gap to English"] if several else [])]
    lines += [md_line(heads), md_line(["---"] * len(heads))]
    for one in summaries:
        arrow = "" if one.about.higher_is_better else " ↓"
        cells = [
            f"`{one.about.name}`{arrow}",
            number(one.all.mean if one.all.n else None, one.about),
            ranged(one.all, one.about),
        ]
        cells += [str(one.all.n), str(one.all.unscored)]
        if several:
            cells.append("" if one.gap is None else f"{number(one.gap, one.about)} {one.worst_language}".rstrip())
        lines.append(md_line(cells))
    lines += ["", "↓ lower is better. Unscored answers enter no mean; limits count them as the worst."]
    if result.cost_usd or result.judge_cost_usd:
        lines.append(f"The answers cost {result.cost_usd:.4f} USD, the judge {result.judge_cost_usd:.4f} USD.")
    for same in result.agreements():
        ends = f"{same['low']:.2f} to {same['high']:.2f}, n = {same['n']}"
        lines.append(f"The judge agrees with {same['with']}: kappa {same['kappa']:.2f} ({ends}).")
    name = leading(result, summaries)
    if name and (cases := worst(result, name, most=5)):
        lines += ["", f"<details><summary>Worst cases by {name}</summary>", ""]
        for value, row in cases:
            lines.append(
                f"- `{_code(row.case.id)}` {number(value, result.abouts[name])}: {plain_md(_cut(row.case.question))}"
            )
            lines.append(f"  - said: {plain_md(_cut(row.reply.text if row.reply else ''))}")
            if row.case.expected:
                lines.append(f"  - expected: {plain_md(_cut(row.case.expected[0]))}")
        lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def compared_markdown(comparison: Comparison) -> str:
    """For a pull request: what changed, and where."""
    first, second = (one.target or one.cases.name for one in (comparison.first, comparison.second))
    lines = [f"### {plain_md(second)} beside {plain_md(first)}: {comparison.shared} cases", ""]
    heads = ["score", "before", "after", "difference", "95 % interval", "p (Holm)", "better / worse on", "decision"]
    lines += [md_line(heads), md_line(["---"] * len(heads))]
    for one in comparison.differences:
        about = one.about
        ends = "-" if one.apart is None else f"{number(one.apart.low, about)} to {number(one.apart.high, about)}"
        mark = {"better": "✅ ", "worse": "❌ "}.get(one.decision, "")
        lines.append(
            md_line(
                [
                    f"`{about.name}`{'' if about.higher_is_better else ' ↓'}", number(one.first, about), number(one.second, about),
                    number(one.second - one.first, about), ends, f"{one.p_holm:.2g}", f"{one.wins} / {one.losses}",
                    f"{mark}{one.decision}",
                ]
            )
        )  # fmt: skip
    if (told := comparison.preference) is not None:
        share = told.share
        counts = f"the second on {told.second} cases, the first on {told.first}, neither on {told.ties}"
        ends = f"{share.estimate:.0%} ({share.low:.0%} to {share.high:.0%})"
        lines += ["", f"{plain_md(told.judge)} prefers {counts}: {ends} for the second."]
    for title, moved in (("Worse", comparison.losses), ("Better", comparison.wins)):
        if moved:
            lines += ["", f"<details><summary>{title} by {comparison.by}</summary>", ""]
            lines += [line for one in moved for line in _moved(one, first, second)]
            lines += ["", "</details>"]
    return "\n".join(lines) + "\n"


def _moved(one: Moved, first: str, second: str) -> list[str]:
    head = f"- `{_code(one.case.id)}` {one.first:.3g} → {one.second:.3g}: {plain_md(_cut(one.case.question))}"
    said = [
        f"  - {plain_md(name)}: {plain_md(_cut(reply.text))}"
        for name, reply in zip((first, second), one.replies, strict=True)
    ]
    return [head, *said]


def md_line(cells: Sequence[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"


def _cut(text: str) -> str:
    plain = " ".join(text.split())
    return plain if len(plain) <= CUT else f"{plain[: CUT - 1]}…"


def plain_md(text: str) -> str:
    """Text as text: no mark of Markdown or HTML in it works."""
    return re.sub(r"([\\`*_\[\]<>#|~@])", r"\\\1", " ".join(text.split()).replace("&", "&amp;"))


def _code(text: str) -> str:
    return re.sub(r"[`|\s]+", " ", text)


# ---------------------------------------------------------------- JUnit

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: Result, holds: Sequence[Held] = ()) -> str:
    """Each limit as a test that passes or fails, and each case as one that passes, or is skipped where nothing could be scored."""
    name = f"penstock eval {result.target or result.cases.name}".strip()
    failed = sum(not one.holds for one in holds)
    gates = "".join(
        f"    <testcase classname={_attribute(name)} name={_attribute(one.name)}>"
        + (
            f"<system-out>{_xml(one.words)}</system-out>"
            if one.holds
            else f"<failure message={_attribute(one.words)}/>"
        )
        + "</testcase>\n"
        for one in holds
    )
    rows = [row for row in result.rows if row.reply is not None]
    skipped = 0
    cases = ""
    for row in rows:
        assert row.reply is not None
        said = ", ".join(f"{key} {one.value:.4g}" for key, one in row.scores.items() if one.state == "scored")
        trial = f"#{row.trial + 1}" if result.repeats > 1 else ""
        time = f' time="{row.reply.latency_ms / 1000:.3f}"' if row.reply.latency_ms is not None else ""
        inner = f"<system-out>{_xml(said)}</system-out>"
        if row.reply.state == "failed":
            skipped += 1
            inner = f"<skipped message={_attribute(f'failed: {row.reply.error}')}/>"
        head = f"classname={_attribute(result.cases.name or 'cases')} name={_attribute(row.case.id + trial)}{time}"
        cases += f"    <testcase {head}>{inner}</testcase>\n"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<testsuites name={_attribute(name)} tests="{len(holds) + len(rows)}" failures="{failed}" time="{result.seconds:.3f}">\n'
        f'  <testsuite name="limits" tests="{len(holds)}" failures="{failed}">\n{gates}  </testsuite>\n'
        f'  <testsuite name="cases" tests="{len(rows)}" failures="0" skipped="{skipped}">\n{cases}  </testsuite>\n'
        "</testsuites>\n"
    )


def _xml(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


def _attribute(text: str) -> str:
    return quoteattr(_NOT_XML.sub("\ufffd", text))
