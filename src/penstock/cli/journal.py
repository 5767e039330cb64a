"""`penstock journal …`: the journal as a whole, in time and as tables."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import show
from penstock.cli.spend import past
from penstock.config import load
from penstock.errors import BadRequest, NotFound

if TYPE_CHECKING:
    from penstock.assemble import House

__all__ = ["journal"]

STEPS = {"1m": 60.0, "5m": 300.0, "1h": 3600.0, "1d": 86_400.0}


@contextmanager
def _house(file: str | None) -> Iterator[House]:
    from penstock.assemble import assemble

    settings = load(file, keys=False)
    if not (settings.home_path / "penstock.db").is_file():
        raise NotFound(f"there is no journal in {settings.home_path}", hint="it begins with the first request")
    with closing(assemble(settings)) as house:
        house.gateway.journal.drain()
        yield house


@click.group()
def journal() -> None:
    """Look at the journal as a whole. Needs the extra `analytics`: pip install 'penstock[analytics]'."""


@journal.command()
@click.option("--since", default="24h", show_default=True, callback=past, metavar="TIME", help="From when on.")
@click.option("--step", type=click.Choice(list(STEPS)), default="1h", show_default=True, help="How long a line is.")
@click.option("--app", default="", metavar="NAME", help="Only this app.")
@click.option("--model", default="", metavar="NAME", help="Only this model or route.")
@click.option("--rooms", is_flag=True, help="How long each room took, instead.")
@show.json_option
@click.pass_obj
def stats(file: str | None, since: float, step: str, app: str, model: str, rooms: bool, as_json: bool) -> None:
    """Show what happened, stretch by stretch: requests, errors, times, tokens, money, sentences that were in their sources.

    \b
    Examples:
      penstock journal stats --since 7d --step 1d
      penstock journal stats --rooms --step 5m --since 1h
    """
    with _house(file) as house:
        until = time.time()
        if rooms:
            passed = house.analytics.rooms(since=since, until=until, step_s=STEPS[step])
            if as_json:
                show.as_json([asdict(room) for room in passed])
                return
            show.table(
                [(_at(r.at), r.name, f"{r.passed:,}", f"{r.p50_ms:,.1f}", f"{r.p95_ms:,.1f}") for r in passed],
                ("from", "room", "passed", "p50 ms", "p95 ms"),
            )
            return
        found = house.analytics.series(since=since, until=until, step_s=STEPS[step], app=app, model=model)
    if as_json:
        show.as_json([asdict(moment) for moment in found])
        return
    rows = [
        (
            _at(m.at), f"{m.requests:,}", f"{1 - m.answered / m.requests:.1%}", f"{m.duration_p50_ms:,.0f}",
            f"{m.duration_p95_ms:,.0f}", f"{m.first_p50_ms:,.0f}", f"{m.input_tokens:,}", f"{m.output_tokens:,}",
            f"{m.cost_usd:.4f}", f"{m.supported / checked:.1%}" if (checked := m.supported + m.unsupported) else "",
        )
        for m in found
    ]  # fmt: skip
    heads = ("from", "requests", "unanswered", "p50 ms", "p95 ms", "first ms", "in", "out", "USD", "in sources")
    show.table(rows, heads)


@journal.command()
@click.argument("query")
@click.option("--csv", "as_csv", is_flag=True, help="Print CSV.")
@show.json_option
@click.pass_obj
def sql(file: str | None, query: str, as_csv: bool, as_json: bool) -> None:
    """Ask the tables `requests` and `spans` in DuckDB's SQL. Nobody's words are in them.

    \b
    Examples:
      penstock journal sql "select app, count(*) from requests group by 1"
      penstock journal sql "select name, quantile_cont(duration_us, .95) from spans group by 1" --csv
      penstock journal sql "describe requests"
    """
    with _house(file) as house:
        names, rows = house.analytics.sql(query)
    if as_json:
        show.as_json([dict(zip(names, map(_plain, row), strict=True)) for row in rows])
    elif as_csv:
        out = csv.writer(sys.stdout)
        out.writerows([names, *rows])
    else:
        show.table([tuple("" if value is None else str(value) for value in row) for row in rows], tuple(names))


@journal.command()
@show.json_option
@click.pass_obj
def seal(file: str | None, as_json: bool) -> None:
    """Seal the hours that are over into Parquet files now. A running server does it every hour.

    Words are never sealed: they stay in the database, and go after `journal.keep_text`.
    """
    with _house(file) as house:
        count = house.sealed.run()
        parts = house.sealed.segments()
    size, rows = sum(part.bytes for part in parts), sum(part.rows for part in parts if part.kind == "requests")
    if as_json:
        show.as_json({"sealed": count, "files": len(parts), "bytes": size, "requests": rows})
    else:
        click.echo(f"{count:,} requests sealed; {rows:,} in {len(parts)} files, {size / 1e6:,.1f} MB")


@journal.command()
@click.argument("to", type=click.Path(path_type=Path))
@click.option("--table", type=click.Choice(["requests", "spans"]), default="requests", show_default=True)
@click.option("--since", default="3650d", callback=past, metavar="TIME", help="From when on; without it, all.")
@click.pass_obj
def export(file: str | None, to: Path, table: str, since: float) -> None:
    """Write a table into a file: .parquet, .csv or .jsonl.

    \b
    Examples:
      penstock journal export requests.parquet
      penstock journal export rooms.csv --table spans --since 7d
    """
    formats = {".parquet": "format parquet, compression zstd", ".csv": "format csv, header", ".jsonl": "format json"}
    if to.suffix not in formats:
        raise BadRequest(f"{to.name} ends in none of {', '.join(formats)}")
    from penstock.observe.sealed import quoted

    part = to.with_name(f".{to.name}.part")
    with _house(file) as house, house.analytics.opened(since=since) as db:
        try:
            asked = f"select * from {table} where time >= make_timestamp({int(since * 1e6)}::bigint)"  # noqa: S608
            row = db.execute(f"copy ({asked}) to {quoted(part)} ({formats[to.suffix]})").fetchone()
            part.replace(to)
        finally:
            part.unlink(missing_ok=True)
    click.echo(f"{int(row[0]) if row else 0:,} rows in {to}")


def _at(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.gmtime(unix))


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | None) else str(value)
