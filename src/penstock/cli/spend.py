"""`penstock spend` and `penstock requests`: what the journal says."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Any, get_args

import click

from penstock.assemble import SEALED, assemble
from penstock.cli import show
from penstock.config import load, moment
from penstock.errors import BadRequest, NotFound
from penstock.observe.journal import Row
from penstock.observe.ledger import Ledger, Per, Spent, added_up, plain_request

__all__ = ["cut", "ledger", "requests", "spend", "usd"]

SINCE = "7d"
BAR = 32  # characters of a timeline


def ledger(file: str | None) -> Ledger:
    """The journal that the settings name."""
    house = assemble(load(file, keys=False))
    click.get_current_context().call_on_close(house.close)
    return house.ledger


def past(context: click.Context, option: click.Parameter, value: str) -> float:
    """A day or a duration as a Unix time."""
    try:
        return moment(value)
    except BadRequest as error:
        raise click.BadParameter(f"{error.message}: {error.hint}.", context, option) from error


@click.command()
@click.option("--by", default="key", show_default=True, type=click.Choice(get_args(Per)), help="What to add up by.")
@click.option(
    "--since",
    default=SINCE,
    show_default=True,
    callback=past,
    metavar="TIME",
    help="From when on: 7d, 12h, 2027-01-31.",
)
@click.option("--energy", is_flag=True, help="An estimate of energy and carbon instead, with both ends.")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV, for spreadsheets.")
@show.json_option
@click.pass_obj
def spend(file: str | None, by: Per, since: float, energy: bool, as_csv: bool, as_json: bool) -> None:
    """Show what was spent: requests, tokens and money.

    Days are those of UTC. A person is who the application says: the request's `user` or `safety_identifier`.

    \b
    Examples:
      penstock spend --by team --since 30d
      penstock spend --by day --since 2027-01-01 --csv > spend.csv
    """
    if energy:
        _energy(file, by, since, as_json=as_json)
        return
    rows = ledger(file).spent(by, since=since)
    if as_json:
        show.as_json([row.plain() for row in rows])
    elif as_csv:
        _write_csv(by, rows)
    elif not rows:
        click.echo(f"nothing was asked since {_time(since)}; a running server writes each request down within a second")
    else:
        heads = (by, "requests", "answered", "input tokens", "output tokens", "USD")
        if len(rows) > 1:
            rows = [*rows, added_up(rows, "all together")]
        numbers = [
            (cut(row.name, 36) or "-", *(f"{count:,}" for count in row[1:5]), usd(row.cost_pico_usd)) for row in rows
        ]
        _table(numbers, heads, numbers_from=1)
        click.echo(click.style(f"since {_time(since)}", dim=True), err=True)


@click.command()
@click.argument("trace", required=False)
@click.option("--words", is_flag=True, help="With TRACE: the question and the answer, where the app keeps them.")
@click.option("--key", metavar="NAME", help="Only requests with this key.")
@click.option("--team", metavar="NAME", help="Only requests of this team.")
@click.option("--person", metavar="NAME", help="Only requests for this person.")
@click.option("--app", metavar="NAME", help="Only requests for this app.")
@click.option("--model", metavar="NAME", help="Only requests for this model or route.")
@click.option(
    "--outcome",
    type=click.Choice(["ok", "refused", "failed", "cancelled", "lost"]),
    help="Only requests that ended like this.",
)
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Most requests to show.")
@show.json_option
@click.pass_obj
def requests(
    file: str | None,
    trace: str | None,
    words: bool,
    key: str | None,
    team: str | None,
    person: str | None,
    app: str | None,
    model: str | None,
    outcome: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """Show the latest requests, newest first; with TRACE, the id of a request or trace, the rooms that one passed through.

    Times are in UTC. With --json each request has its trace id, its error and the upstreams that were asked. Words are kept only
    where an app says so (`keep_text`); whoever reads them is written down in the audit trail.
    """
    if trace is not None:
        _one(file, trace, words=words, as_json=as_json)
        return
    if words:
        raise click.UsageError("--words needs a TRACE.")
    said = {"key": key, "team": team, "person": person, "app": app, "model": model, "outcome": outcome}
    wanted = {name: value for name, value in said.items() if value is not None}
    rows = ledger(file).requests(wanted, limit=limit)
    if as_json:
        show.as_json([plain_request(row) for row in rows])
    elif not rows:
        click.echo("no such request" if wanted else "no request is written down yet")
    else:
        heads = ("at", "key", "model", "outcome", "in", "out", "seconds", "USD")
        _table([_request(row) for row in rows], heads, numbers_from=4)


def _one(file: str | None, trace: str, *, words: bool, as_json: bool) -> None:
    rows = _found(file, trace)
    if not rows:
        raise NotFound(f"there is no request '{trace}'", hint="penstock requests --json shows their ids")
    told = [plain_request(row) for row in rows]
    if words:
        house = assemble(load(file, keys=False))
        try:
            for one, row in zip(told, rows, strict=True):
                one["said"] = house.texts.read(row.said)
            house.audit.write("journal.read", target=trace)
        finally:
            house.close()
    if as_json:
        show.as_json(told)
        return
    for one, row in zip(told, rows, strict=True):
        click.echo(
            f"{one['at']}  {one['app'] or one['model']}  {' '.join(_request(row)[3:4])}  {row.duration_ms:,.1f} ms"
        )
        if answer := one["answer"]:
            click.echo(
                "  ".join(f"{name} {_value(value)}" for name, value in answer.items() if value not in ("", 0, [], {}))
            )
        for name in ("question", "answer") if words and one["said"] else ():
            click.echo(f"\n{name}: {show.clean(one['said'][name])}")
        if one["spans"]:
            click.echo()
            show.table([_room(span, row.duration_ms) for span in one["spans"]], ("room", "from ms", "ms", "", ""))
        click.echo()


def _found(file: str | None, trace: str) -> list[Row]:
    """The requests of a trace or an id, those that have left the database for the sealed files too."""
    settings = load(file, keys=False)
    if not (settings.home_path / SEALED).is_dir():
        return ledger(file).request(trace)
    with closing(assemble(settings)) as house:
        return house.review.requests.past.find(trace)


def _room(span: dict[str, Any], whole_ms: float) -> tuple[str, ...]:
    """One line of a timeline."""
    start, size = (round(BAR * min(1.0, span[name] / max(whole_ms, 1e-9))) for name in ("at_ms", "duration_ms"))
    bar = " " * min(start, BAR - 1) + "█" * max(1, min(size, BAR - start))
    values = "  ".join(f"{name} {_value(value)}" for name, value in span["values"].items())
    return span["name"], f"{span['at_ms']:,.1f}", f"{span['duration_ms']:,.1f}", bar.ljust(BAR), values


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_value(inner)}" for name, inner in value.items())
    return (
        ", ".join(map(str, value))
        if isinstance(value, list)
        else f"{value:g}"
        if isinstance(value, float)
        else str(value)
    )


def _request(row: Row) -> Sequence[str]:
    outcome = row.outcome if row.outcome in ("ok", "lost") else f"{row.outcome} {row.status}"
    return (
        time.strftime("%m-%d %H:%M:%S", time.gmtime(row.at)), cut(row.key, 14) or "-", cut(row.model, 18),
        outcome + (", cached" if row.cached else ""), _count(row.input_tokens), _count(row.output_tokens),
        f"{row.duration_ms / 1000:.2f}", usd(row.cost_pico_usd),
    )  # fmt: skip


def usd(pico: int) -> str:
    """Money as people read it; of small sums, as many digits as say something."""
    amount = pico / 10**12
    if 0 < amount < 1e-6:
        return "<0.000001"
    return f"{amount:.2f}" if amount >= 100 or not pico else f"{amount:.4f}" if amount >= 0.01 else f"{amount:.6f}"


def _count(number: int) -> str:
    return str(number) if number < 100_000 else f"{number / 1000:.0f}k"


def cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _time(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix))


def _table(rows: Sequence[Sequence[str]], heads: Sequence[str], *, numbers_from: int) -> None:
    """A table whose later columns are numbers, which stand at the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    head, *cells = (
        [cell.rjust(widths[n]) if n >= numbers_from else cell for n, cell in enumerate(row)] for row in (heads, *rows)
    )
    show.table(cells, head)


def _energy(file: str | None, by: Per, since: float, *, as_json: bool) -> None:
    """What models took, as far as their rows are in the database."""
    from penstock.observe.energy import NOTHING, Energy, of_request

    found: dict[str, Energy] = {}
    with closing(assemble(load(file, keys=False))) as house:
        for name, row in house.ledger.made(by, since=since):
            found[name] = found.get(name, NOTHING) + of_request(row, house.energy)
    if as_json:
        show.as_json([{"name": name, **asdict(energy)} for name, energy in found.items()])
        return
    rows = [
        (cut(name, 36) or "-", f"{e.wh:,.2f}", f"{e.low_wh:,.2f} to {e.high_wh:,.2f}", f"{e.grams:,.1f}")
        for name, e in sorted(found.items(), key=lambda one: -one[1].wh)
    ]
    show.table(rows, (by, "Wh", "probably", "g CO2e"))
    click.echo(click.style("an estimate: docs/guides/observing.md says how it is made", dim=True), err=True)


def _write_csv(by: str, rows: Sequence[Spent]) -> None:
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow([by, "requests", "answered", "input_tokens", "output_tokens", "cost_usd"])
    for name, *counts, cost in rows:
        harmless = f"'{name}" if name[:1] in "=+-@\t\r" and name else name  # a spreadsheet would work it out
        out.writerow([harmless, *counts, f"{cost / 10**12:.12f}"])
