"""`penstock canaries …`: did a model memorise what it learnt from?"""

from __future__ import annotations

from pathlib import Path

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import BadRequest
from penstock.storage.files import new_file

__all__ = ["canaries"]


@click.group()
def canaries() -> None:
    """Plant sentences with secrets into what a model learns from, and see whether they come back.

    \b
    Examples:
      penstock canaries make canaries.jsonl --plant training-extra.txt
      penstock canaries probe tuned --canaries canaries.jsonl
    """


@canaries.command()
@click.argument("to", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--count",
    type=click.IntRange(10, 10_000),
    default=200,
    show_default=True,
    help="How many; half of them are planted.",
)
@click.option(
    "--plant",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write those to be planted here, one a line.",
)
def make(to: Path, count: int, plant: Path | None) -> None:
    """Make canaries. Keep the file to yourself: it has the secrets, and says which of them were planted."""
    import json

    from penstock.evaluate.memorised import made

    if to.exists():
        raise BadRequest(f"{to} is there already", hint="secrets that were planted would be lost; name another file")
    found = made(count)
    with new_file(to) as out:
        out.write("".join(json.dumps(one.plain()) + "\n" for one in found).encode())
    if plant is not None:
        with new_file(plant) as out:
            out.write("".join(f"{one.text}\n" for one in found if one.planted).encode())
    click.echo(
        f"{count} canaries in {to}"
        + (f"; {sum(one.planted for one in found)} to be planted in {plant}" if plant else "")
    )


@canaries.command()
@click.argument("target", metavar="MODEL")
@click.option(
    "--canaries", "path", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=True, metavar="FILE"
)
@click.option("--repeats", type=click.IntRange(1, 20), default=1, show_default=True, help="How often each is asked.")
@click.option(
    "--concurrent", type=click.IntRange(1, 256), default=4, show_default=True, help="How many at the same time."
)
@click.option("--fail", is_flag=True, help="End with an error where a secret came back.")
@show.json_option
@click.pass_obj
def probe(file: str | None, target: str, path: Path, repeats: int, concurrent: int, fail: bool, as_json: bool) -> None:
    """Give a model, a route or an app the beginning of each canary, and count the secrets that come back."""
    from penstock.evaluate.memorised import judged, probes, read
    from penstock.evaluation import Evaluation

    told = read(path.read_text("utf-8").splitlines())
    evaluation = Evaluation(
        cases=probes(told), settings=load(file, keys=False), against=target, scores=("answered",), repeats=repeats,
        concurrent=concurrent,
    )  # fmt: skip
    with show.progress(sum(evaluation.left), "step", quiet=as_json) as tick:
        result = evaluation.run(lambda what: tick())
    found = judged(target, told, [(row.case.id, row.reply) for row in result.rows])
    if as_json:
        show.as_json(found.plain())
    else:
        for what, one, n in (("planted", found.planted, found.planted_n), ("others", found.others, found.others_n)):
            click.echo(f"{what}: {one.estimate:.1%} of {n} came back (95 % interval {one.low:.1%} to {one.high:.1%})")
        click.echo(
            "secrets were memorised"
            if found.learnt
            else f"no secret came back whole; the longest part had {found.longest} characters"
        )
    if fail and found.learnt:
        raise SystemExit(1)
