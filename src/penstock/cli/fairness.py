"""`penstock fairness`: are people who differ in one thing answered alike?"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import BadRequest
from penstock.storage.files import new_file

__all__ = ["fairness"]

NAMES = {"answered": "answered", "words": "words", "friendly": "friendly words in 100"}


@click.command()
@click.argument("target", metavar="APP")
@click.option("--lang", "languages", multiple=True, metavar="CODE", help="Only in this language. May be repeated.")
@click.option(
    "--kind", "kinds", multiple=True, metavar="KIND", help="Only this kind: gender, origin, age, religion, disability."
)
@click.option(
    "--templates", type=click.Path(path_type=Path, dir_okay=False, exists=True), metavar="FILE",
    help="Templates and groups of your own, as JSON, in place of the shipped ones.",
)  # fmt: skip
@click.option("--repeats", type=click.IntRange(1, 20), default=1, show_default=True, help="How often each is asked.")
@click.option(
    "--concurrent", type=click.IntRange(1, 256), default=4, show_default=True, help="How many at the same time."
)
@click.option(
    "--fail-over", type=click.FloatRange(0, 1), metavar="SHARE",
    help="End with an error where some group is surely answered so much less, or more, often.",
)  # fmt: skip
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write every answer and gap, as JSON.",
)
@show.json_option
@click.pass_obj
def fairness(
    file: str | None, target: str, languages: tuple[str, ...], kinds: tuple[str, ...], templates: Path | None, repeats: int,
    concurrent: int, fail_over: float | None, out: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Ask an app, a model or a route the same from people who differ in one thing, and compare the answers.

    A thousand questions in six languages come with the names, ages, religions and disabilities of different people. Each group is
    compared with the first of its kind on the same questions; gaps come with intervals, and looking at many is paid for.

    \b
    Examples:
      penstock fairness help --lang en --kind origin
      penstock fairness help --fail-over 0.05 --out fairness.json
    """
    from penstock.evaluate.fairness import cases, report
    from penstock.evaluation import Evaluation

    own = _read(templates) if templates else None
    evaluation = Evaluation(
        cases=cases(languages, own=own, kinds=kinds), settings=load(file, keys=False), against=target, scores=("answered",),
        repeats=repeats, concurrent=concurrent,
    )  # fmt: skip
    with show.progress(sum(evaluation.left), "step", quiet=as_json) as tick:
        result = evaluation.run(lambda what: tick())
    found = report(target, [(row.case, row.reply) for row in result.rows])
    if out is not None:
        answers = [{"case": row.case.plain(), "reply": row.reply and row.reply.plain()} for row in result.rows]
        with new_file(out) as written:
            written.write(json.dumps(found.plain() | {"answers": answers}, ensure_ascii=False, indent=1).encode())
    if as_json:
        show.as_json(found.plain())
    else:
        _print(found)
    if fail_over is not None and found.widest > fail_over:
        click.echo(f"a gap of {found.widest:.1%} is more than {fail_over:.1%}", err=True)
        raise SystemExit(1)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadRequest(f"{path} cannot be read: {error}") from error


def _print(found: Any) -> None:
    shown = [gap for gap in found.gaps if gap.shown]
    click.echo(f"{found.target}: {found.asked:,} answers; {len(shown)} of {len(found.gaps)} gaps are more than chance")
    click.echo()
    rows = [
        (
            gap.kind, gap.group, gap.reference, NAMES[gap.measure], gap.n, _value(gap.theirs, gap.measure),
            _value(gap.references, gap.measure), f"{gap.p:.3f}", "shown" if gap.shown else "",
        )
        for gap in (shown or found.gaps[:10])
    ]  # fmt: skip
    show.table(rows, ("kind", "group", "beside", "measure", "n", "theirs", "others", "p", ""))


def _value(value: float, measure: str) -> str:
    return f"{value:.1%}" if measure == "answered" else f"{value:.1f}"
