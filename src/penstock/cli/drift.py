"""`penstock drift`: whether a stream of numbers or texts has changed, and where."""

from __future__ import annotations

import csv
import html
import io
import math
from collections.abc import Iterator
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import click
import numpy as np

from penstock.cli import show
from penstock.cli.rows import parsed_rows
from penstock.errors import BadRequest, Unreadable
from penstock.observe.charts import FALSE_ALARMS, Alarm, ChartBank
from penstock.observe.text_drift import TextAlarm, TextWatch
from penstock.storage.files import new_file

__all__ = ["drift"]

SAMPLE = 600  # texts in a picture
MISSING = ("", "nan", "null", "none", "na", "n/a", "-")
SNIPPET = 120  # letters of a text in a report

file_argument = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option(
    "--stream", "stream", required=True, type=file_argument, metavar="FILE", help="CSV or JSON Lines, in order."
)
@click.option("--column", default="", metavar="NAME", help="The values' column; not needed where there is only one.")
@click.option("--reference", type=file_argument, metavar="FILE", help="The same from a time when all was well.")
@click.option(
    "--false-alarms",
    default=FALSE_ALARMS,
    show_default=True,
    type=float,
    metavar="RATE",
    help="At most, per 10,000 events.",
)
@click.option("--period", default=0, type=click.IntRange(0), metavar="N", help="Events of a day or a week.")
@click.option(
    "--report", "to", type=click.Path(path_type=Path), metavar="FILE", help="Write a page with picture and table."
)
@click.option("--fail-on-drift", is_flag=True, help="End with status 1 where there is an alarm.")
@show.json_option
def drift(
    stream: Path, column: str, reference: Path | None, false_alarms: float, period: int, to: Path | None,
    fail_on_drift: bool, as_json: bool,
) -> None:  # fmt: skip
    """Say whether a stream of numbers or texts has changed, where, and how.

    Numbers are watched for a change of mean or spread; zeros and ones for their share. Of texts, it is what they are about. The
    first events say what is normal, 1,500 numbers or 300 texts, or a --reference does. After an alarm this is learnt anew.

    \b
    Examples:
      penstock drift --stream latency.csv --column ms --period 1440
      penstock drift --stream errors.jsonl --fail-on-drift
      penstock drift --stream questions.jsonl --column question --report drift.html
    """
    if to is not None and to.suffix != ".html":
        raise click.UsageError("--report takes a file that ends in .html.")
    raw, name = _column(stream, column)
    kind = _kind(raw, stream)
    known = _column(reference, column)[0] if reference else None
    if known is not None and _kind(known, reference) != kind:
        raise BadRequest(f"{stream} has {kind}, but {reference} does not")
    if kind == "numbers":
        found, page = _numbers(raw, known, false_alarms, period)
    else:
        if period:
            raise click.UsageError("--period is for numbers.")
        found, page = _texts(raw, known, false_alarms)
    found = {
        "stream": str(stream),
        "column": name,
        "taken_for": kind,
        "events": len(raw),
        "false_alarms": false_alarms,
    } | found
    if to is not None:
        with new_file(to) as out:
            out.write(_page(found, page()).encode("utf-8", "replace"))
    if as_json:
        show.as_json(found)
    else:
        _print(found)
    if fail_on_drift and found["alarms"]:
        raise SystemExit(1)


# ---------------------------------------------------------------- reading


def _column(path: Path, wanted: str) -> tuple[list[Any], str]:
    """(values, name of the column) of a file. Raises BadRequest, which names the line, for what cannot be read."""
    try:
        raw = path.read_bytes()
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Unreadable(f"{path} is not UTF-8 text") from error
    except OSError as error:
        raise Unreadable(f"{path}: {error.strerror}") from error
    first = text.lstrip()[:1]
    values, name = _json_lines(raw, wanted, path) if first in ("{", "[") else _csv(text, wanted, path)
    if not values:
        raise BadRequest(f"{path} has no events")
    return values, name


def _json_lines(raw: bytes, wanted: str, path: Path) -> tuple[list[Any], str]:
    rows = [row for _, row in parsed_rows(io.BytesIO(raw.removeprefix(b"\xef\xbb\xbf")))]
    names = list(
        dict.fromkeys(key for row in rows[:100] for key, value in row.items() if not isinstance(value, dict | list))
    )
    name = _chosen(names, wanted, path)
    return [row.get(name) for row in rows], name


def _csv(text: str, wanted: str, path: Path) -> tuple[list[Any], str]:
    try:
        dialect = csv.Sniffer().sniff(text[:4096], delimiters=",;\t|")
    except csv.Error:
        dialect = csv.excel
    csv.field_size_limit(10_000_000)
    rows: list[list[str]] = []
    reader = csv.reader(io.StringIO(text.replace("\0", ""), newline=""), dialect)
    try:
        rows += reader
    except csv.Error as error:
        raise BadRequest(f"{path}, line {reader.line_num}: {error}") from error
    while rows and not rows[-1]:
        rows.pop()
    if not rows:
        return [], ""
    if len(rows[0]) != 1:
        rows = [row for row in rows if row]  # with one column, an empty line is a value that is missing
    head = [cell.strip() for cell in rows[0]]
    if len(head) == 1 and not wanted and (_number(head[0]) is not None or head[0].lower() in MISSING):
        return [_cell(row[0]) if row else None for row in rows], ""  # a bare column of numbers
    name = _chosen(head, wanted, path)
    at = head.index(name)
    return [_cell(row[at]) if at < len(row) else None for row in rows[1:]], name


def _chosen(names: list[str], wanted: str, path: Path) -> str:
    if wanted:
        if wanted not in names:
            raise BadRequest(f"{path} has no column {wanted!r}", hint=f"it has {', '.join(names[:20])}")
        return wanted
    if len(names) != 1:
        raise BadRequest(f"{path} has {len(names)} columns", hint=f"choose with --column: {', '.join(names[:20])}")
    return names[0]


def _cell(cell: str) -> str | None:
    return None if cell.strip().lower() in MISSING else cell


def _number(value: Any) -> float | None:
    if isinstance(value, bool | int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    try:
        return float(value) if isinstance(value, str) and "_" not in value else None
    except ValueError:
        return None


def _kind(values: list[Any], path: Path | None) -> Literal["numbers", "texts"]:
    """Numbers where nearly all that is there are some; raises BadRequest for what is neither."""
    there = [value for value in values if value is not None]
    numbers = sum(_number(value) is not None for value in there)
    texts = sum(isinstance(value, str) for value in there)
    if not there:
        raise BadRequest(f"{path} has no values")
    if numbers >= 0.99 * len(there):
        return "numbers"
    if texts < len(there) or numbers > 0.2 * len(there):
        raise BadRequest(f"{path} has {numbers:,} numbers among {len(there):,} values: neither numbers nor texts")
    return "texts"


# ---------------------------------------------------------------- watching


def _numbers(raw: list[Any], known: list[Any] | None, rate: float, period: int) -> tuple[dict[str, Any], Any]:
    values, reference = _floats(raw), None if known is None else _floats(known)
    bank = ChartBank(false_alarms=rate, period=period, reference=reference)
    alarms = bank.watch(values)
    found = {
        "missing": bank.missing,
        "left_to_learn": bank.left_to_learn,
        "alarms": [asdict(alarm) for alarm in alarms],
    }
    return found, lambda: _numbers_page(values, alarms)


def _floats(raw: list[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([math.nan if (value := _number(one)) is None else value for one in raw])


def _texts(raw: list[Any], known: list[Any] | None, rate: float) -> tuple[dict[str, Any], Any]:
    from penstock.encoder import shipped

    places = [n for n, text in enumerate(raw) if isinstance(text, str) and text.strip()]
    encoder = shipped()
    reference = None
    if known is not None:
        kept = [text for text in known if isinstance(text, str) and text.strip()][-600:]
        reference = np.concatenate(list(_embedded(encoder, kept)))
    watch = TextWatch(false_alarms=rate, reference=reference)
    vectors = (
        np.concatenate(list(_embedded(encoder, [raw[n] for n in places]))) if places else np.zeros((0, 1), np.float32)
    )
    alarms = watch.watch(vectors) if len(vectors) else []
    shown = [
        asdict(alarm)
        | {
            "position": places[alarm.position],
            "changed_at": places[alarm.changed_at],
            "newest": [places[n] for n in alarm.newest],
        }
        for alarm in alarms
    ]
    found = {"missing": len(raw) - len(places), "left_to_learn": watch.left_to_learn, "alarms": shown}
    return found, lambda: _texts_page(vectors, alarms, [raw[n] for n in places])


def _embedded(encoder: Any, texts: list[str]) -> Iterator[Any]:
    import sys

    from tqdm import tqdm

    steps = range(0, len(texts), 64)
    for at in tqdm(steps, unit="batch", leave=False, disable=not sys.stderr.isatty()):
        yield encoder.embed([text.encode("utf-8", "replace").decode() for text in texts[at : at + 64]])


# ---------------------------------------------------------------- showing


def _print(found: dict[str, Any]) -> None:
    name = f" in {show.clean(found['column'])!r}" if found["column"] else ""
    missing = f", {found['missing']:,} of them missing" if found["missing"] else ""
    click.echo(f"{found['events']:,} {found['taken_for']}{name}{missing}; {_alarms(found)}")
    if found["alarms"]:
        show.table([_cells(alarm) for alarm in found["alarms"]], HEADS[found["taken_for"]])
    if found["left_to_learn"]:
        click.echo(_learning(found), err=True)


HEADS = {
    "numbers": ("seen at", "changed at", "what", "before", "after"),
    "texts": ("seen at", "changed at", "told apart", "p", "most unlike"),
}


def _cells(alarm: dict[str, Any]) -> tuple[str, ...]:
    seen, changed = f"{alarm['position']:,}", f"{alarm['changed_at']:,}"
    if "statistic" in alarm:
        what = f"{alarm['statistic']} {alarm['direction']}"
        return seen, changed, what, f"{alarm['before']:.4g}", f"{alarm['after']:.4g}"
    return seen, changed, f"{alarm['told_apart']:.2f}", f"{alarm['p']:.2g}", ", ".join(map(str, alarm["newest"]))


def _alarms(found: dict[str, Any]) -> str:
    return f"{len(found['alarms'])} {'alarm' if len(found['alarms']) == 1 else 'alarms'}"


def _learning(found: dict[str, Any]) -> str:
    when = "after the last alarm" if found["alarms"] else "at the end of the stream"
    return f"{when} it was still being learnt what is normal: {found['left_to_learn']:,} more events are needed"


def _numbers_page(values: Any, alarms: list[Alarm]) -> str:
    from penstock.observe.pictures import line, parts

    rows = [(f"{a:,}-{b:,}", "none" if math.isnan(mean) else f"{mean:.4g}") for a, b, mean in parts(values, 40)]
    return line(values, alarms, title="The stream, and its alarms") + _table(
        rows, ("events", "mean"), "The stream in parts"
    )


def _texts_page(vectors: Any, alarms: list[TextAlarm], texts: list[str]) -> str:
    from penstock.observe.pictures import principal, scatter, tsne

    if len(vectors) < 3:
        return ""
    shown = np.unique(np.linspace(0, len(vectors) - 1, min(SAMPLE, len(vectors))).astype(int))
    edges = (
        [0, *(alarm.changed_at for alarm in alarms), len(vectors)] if alarms else [0, len(vectors) // 2, len(vectors)]
    )
    groups = (np.searchsorted(edges, shown, "right") - 1).tolist()
    names = [f"texts {a:,}-{max(b - 1, a):,}" for a, b in pairwise(edges)]
    places, explained = principal(vectors[shown])
    rows = [
        (name, groups.count(n), *(f"{value:+.3f}" for value in places[np.array(groups) == n].mean(0)))
        for n, name in enumerate(names)
        if n in groups
    ]
    pictures = scatter(places, groups, names, title=f"Principal components, {sum(explained):.0%} of the variance")
    pictures += (
        scatter(tsne(vectors[shown]), groups, names, title="Neighbours kept together (t-SNE)") if len(shown) > 9 else ""
    )
    table = _table(rows, ("part", "points", "first component", "second component"), "Where the parts lie")
    unlike = [(n, " ".join(texts[n].split())[:SNIPPET]) for alarm in alarms for n in alarm.newest]
    return pictures + table + (_table(unlike, ("position", "text"), "Texts most unlike those before") if unlike else "")


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: bold; }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; overflow-wrap: anywhere; }
svg { max-width: 100%; height: auto; }
h1 { overflow-wrap: anywhere; }
"""


def _page(found: dict[str, Any], pictures: str) -> str:
    alarms = [_cells(alarm) for alarm in found["alarms"]]
    said = (
        f"<p>{found['events']:,} {found['taken_for']}, {found['missing']:,} missing, {_alarms(found)}. At most "
        f"{found['false_alarms']:g} false alarms in 10,000 events were allowed.</p>"
    )
    learning = f"<p>{html.escape(_learning(found))}.</p>" if found["left_to_learn"] else ""
    table = _table(alarms, HEADS[found["taken_for"]], "Alarms") if alarms else ""
    title = html.escape(f"Drift in {found['stream']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>{said}{learning}{table}{pictures}"
        "</main></body></html>\n"
    )


def _table(rows: Any, heads: tuple[str, ...], caption: str) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in heads)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(show.clean(str(cell)))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    )
