"""`penstock review sample` and `penstock review estimate`: which rows to look at, and what that says of all of them."""

from __future__ import annotations

import csv
import io
import json
import math
import secrets
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from penstock.cli import show
from penstock.cli.rows import Row, parsed_rows
from penstock.config import Settings, load
from penstock.errors import BadRequest, Unreadable
from penstock.storage.files import new_file

if TYPE_CHECKING:
    from penstock.review.estimating import Estimate, Judged

__all__ = ["estimate", "print_estimate", "read_rows", "sample"]

ADDED = ("probability", "cell", "cell_size")
TRUE, FALSE, NONE = ("true", "1", "yes"), ("false", "0", "no"), ("", "null", "none", "na")


def read_rows(file: BinaryIO) -> Iterator[tuple[int, Row]]:
    """(number of its line, row) of JSON Lines, or of CSV where the file is called so. Raises BadRequest or Unreadable."""
    name = str(getattr(file, "name", ""))
    if not name.endswith(".csv"):
        yield from parsed_rows(file)
        return
    text = io.TextIOWrapper(file, "utf-8-sig", newline="")
    try:
        reader = csv.DictReader(text, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise BadRequest(f"line {reader.line_num} has not as many cells as the first")
            yield reader.line_num, dict(row)
    except (csv.Error, UnicodeDecodeError) as error:
        raise Unreadable(f"{name} is no CSV in UTF-8: {error}") from error
    finally:
        text.detach()  # who opened the file closes it


@click.command()
@click.argument("file", type=click.File("rb"), metavar="FILE")
@click.option("-n", "n", required=True, type=click.IntRange(1), metavar="N", help="How many rows people will look at.")
@click.option("--id", "id_", default="id", show_default=True, metavar="FIELD", help="The field with a row's id.")
@click.option(
    "--stratum", default="stratum", show_default=True, metavar="FIELD", help="The field with its group, if any."
)
@click.option(
    "--risk", default="risk", show_default=True, metavar="FIELD", help="The field with its risk, 0 to 1, if any."
)
@click.option("--seed", type=int, help="Draw the same rows again; without it by chance.")
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help="Write there: .jsonl or .csv; else print JSON Lines."
)
def sample(file: BinaryIO, n: int, id_: str, stratum: str, risk: str, seed: int | None, out: Path | None) -> None:
    """Draw the rows that people should look at, so that their verdicts say how often all rows are wrong.

    FILE has a row for everything there is, JSON Lines or CSV; - reads JSON Lines from standard input. A row with a higher risk is
    drawn more often, and each drawn row gets its `probability`, so that the estimate stays unbiased, whether the risks are right
    or not. Rows come in random order: whoever stops early has a sample too.

    \b
    Examples:
      penstock review sample answers.jsonl -n 200 --stratum language --out sample.jsonl
      penstock review sample answers.csv -n 50 --risk doubt > sample.jsonl
    """
    from penstock.review.sampling import Item, draw, plan

    if out is not None and out.suffix not in (".jsonl", ".csv"):
        raise click.UsageError("--out takes a file that ends in .jsonl or .csv.")
    rows: list[Row] = []
    items: list[Item] = []
    seen: set[str] = set()
    for line, row in read_rows(file):
        item = Item(_id(row, id_, line, seen), str(row.get(stratum, "") or ""), _risk(row, risk, line))
        for name in ADDED:
            if name in row:
                raise BadRequest(f"line {line} has a field '{name}', which a sample adds", hint="rename it")
        rows.append(row)
        items.append(item)
    if seed is None:
        seed = secrets.randbits(31)
    places = {item.id: place for place, item in enumerate(items)}
    drawn = draw(items, planned := plan(items, n), seed=seed)
    told: list[Row] = [
        {**rows[places[one.item.id]], "probability": one.probability, "cell": one.cell, "cell_size": one.cell_size}
        for one in drawn
    ]
    _write(told, out)
    click.echo(
        f"{len(drawn)} of {len(items):,} rows from {len(planned.cells)} cells, seed {seed}. Add `verdict` to each, then:\n"
        f"  penstock review estimate {out or 'FILE'}",
        err=True,
    )


def _id(row: Row, field: str, line: int, seen: set[str]) -> str:
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRequest(f"line {line} has no id in '{field}'", hint="--id FIELD says which field has it")
    if str(value) in seen:
        raise BadRequest(f"line {line} has the id '{str(value)[:40]}', which another line has too")
    seen.add(str(value))
    return str(value)


def _risk(row: Row, field: str, line: int) -> float:
    value = row.get(field)
    if value is None or value == "":
        return 0.5
    number = _number(value)
    if not 0 <= number <= 1:
        raise BadRequest(f"line {line} has the risk {str(value)[:40]!r}", hint="a number from 0 to 1")
    return number


def _number(value: Any) -> float:
    """A number, from CSV as text; NaN for what is none."""
    try:
        return math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _write(rows: Sequence[Row], out: Path | None) -> None:
    if out is None:
        for row in rows:
            click.echo(json.dumps(row, ensure_ascii=False))
        return
    text = io.StringIO(newline="")
    if out.suffix == ".csv":
        names = dict.fromkeys((*(name for row in rows for name in row), "verdict"))
        writer = csv.DictWriter(text, list(names), restval="")
        writer.writeheader()
        plain = [
            {n: v if isinstance(v, str | int | float) or v is None else json.dumps(v) for n, v in row.items()}
            for row in rows
        ]
        writer.writerows(plain)
    else:
        text.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with new_file(out) as file:
        file.write(text.getvalue().encode("utf-8", "replace"))


@click.command()
@click.argument("file", required=False, type=click.File("rb"), metavar="[FILE]")
@click.option("--draw", metavar="ID", help="A sample of the journal, as `penstock review queue list` shows it.")
@click.option("--verdict", default="verdict", show_default=True, metavar="FIELD", help="The field with the verdict.")
@click.option(
    "--stratum", default="stratum", show_default=True, metavar="FIELD", help="The field with the group, if any."
)
@click.option(
    "--confidence",
    default=0.95,
    show_default=True,
    type=click.FloatRange(0.5, 1, max_open=True),
    help="Of the interval.",
)
@click.option(
    "--fail-over", type=click.FloatRange(0, 1), metavar="RATE", help="End with an error where the rate may be higher."
)
@show.json_option
@click.pass_obj
def estimate(
    settings_file: str | None, file: BinaryIO | None, draw: str | None, verdict: str, stratum: str, confidence: float,
    fail_over: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Say how often everything is wrong, from the rows that people judged.

    FILE has the rows of `penstock review sample` with a verdict each, JSON Lines or CSV; any rows with a `probability` above 0
    will do, however they were drawn. A verdict is one of `review.labels`, or true for wrong and false for right. One that
    says neither counts as unscored, and the output says how much those could change. Rows without a verdict are pending.

    --fail-over compares with the upper end of the interval, so that few verdicts are no excuse.

    \b
    Examples:
      penstock review estimate judged.jsonl
      penstock review estimate --draw 0193…  --fail-over 0.05
    """
    from penstock.review.estimating import estimate as estimated

    if (file is None) == (draw is None):
        raise click.UsageError("estimate from a FILE, or from a --draw.")
    settings = load(settings_file, keys=False)
    if file is not None:
        judged = [_judged(row, line, verdict, stratum, settings) for line, row in read_rows(file)]
    else:
        judged = _of_draw(settings, draw or "")
    found = estimated(judged, confidence=confidence)
    if as_json:
        show.as_json(found.plain())
    else:
        print_estimate(found)
    if fail_over is not None and found.all.high > fail_over:
        click.echo(f"it may be {found.all.high:.1%}, which is more than {fail_over:.1%}", err=True)
        raise SystemExit(1)


def _of_draw(settings: Settings, draw: str) -> list[Judged]:
    from contextlib import closing

    from penstock.assemble import assemble

    with closing(assemble(settings)) as house:
        return house.review.queue.judged(draw)


def _judged(row: Row, line: int, verdict: str, stratum: str, settings: Settings) -> Judged:
    from penstock.review.estimating import Judged

    probability = _number(row.get("probability"))
    if not 0 < probability <= 1:
        raise BadRequest(f"line {line} has no `probability` above 0 and up to 1", hint="penstock review sample adds it")
    size = _number(row.get("cell_size") or 0)
    wrong, pending = _wrong(row.get(verdict), line, settings)
    whole = int(size) if size >= 1 and size < 1e15 else 0
    return Judged(probability, wrong, str(row.get(stratum, "") or ""), str(row.get("cell", "") or ""), whole, pending)


def _wrong(value: Any, line: int, settings: Settings) -> tuple[bool | None, bool]:
    """Whether a verdict says that something is wrong, None where it says neither; and whether there is none yet."""
    review = settings.review
    said = json.dumps(value) if isinstance(value, bool | int) else "" if value is None else str(value).strip()
    if said in review.labels:
        return (None if said in review.unscored else said in review.failures), False
    if said.lower() in NONE:
        return None, True
    for words, wrong in ((TRUE, True), (FALSE, False)):
        if said.lower() in words:
            return wrong, False
    raise BadRequest(
        f"line {line} has the verdict {said[:40]!r}",
        hint=f"one of {', '.join(review.labels)}, or true for wrong, or false",
    )


def print_estimate(found: Estimate) -> None:
    """An estimate as a table."""
    rate, low, high = found.all.rate, found.all.low, found.all.high
    click.echo(
        f"{click.style(f'{rate:.2%}', bold=True)} of {found.all.items:,.0f} are wrong, "
        f"{found.confidence:.0%} interval {low:.2%} to {high:.2%}"
    )
    rows = [
        (
            one.name or "(none)", one.judged, one.wrong, one.unscored, one.pending, f"{one.items:,.0f}",
            "" if math.isnan(one.rate) else f"{one.rate:.2%}", f"{one.low:.2%}-{one.high:.2%}",
        )
        for one in (*found.strata, found.all)
    ]  # fmt: skip
    show.table(rows, ("stratum", "judged", "wrong", "unscored", "pending", "of", "rate", "interval"))
    if found.all.unscored:
        click.echo(f"{found.all.unscored} unscored: if all of them were wrong, it would be {found.worst:.2%}", err=True)
    if found.covered < 1:
        click.echo(
            f"nothing was judged in cells with {1 - found.covered:.1%} of the items: they are left out", err=True
        )
    sys.stdout.flush()
