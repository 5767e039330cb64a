"""`penstock experiment …`: variants on the same cases, and a decision."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import BadRequest

if TYPE_CHECKING:
    from penstock.evaluate.decision import Decision
    from penstock.evaluation import Evaluation
    from penstock.experiments import Experiment

__all__ = ["experiment"]


@click.group()
def experiment() -> None:
    """Compare prompts, models, routes or versions of an index on the same cases, and decide.

    A file says what is compared: the cases, whom they are put to, what counts as correct, and variants: tables that are laid over
    penstock.toml.

    \b
    Examples:
      penstock experiment run experiments/smaller-model.toml
      penstock experiment prompts support --app help --cases cases.jsonl --correct "token_f1 >= 0.5"
    """


@experiment.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder for the results; without it, beside the file.",
)
@show.json_option
@click.pass_obj
def run(file: str | None, path: Path, out: Path | None, as_json: bool) -> None:
    """Put the cases to every variant and decide. What is done already is not asked again.

    The folder gets a result for each variant, which `penstock eval compare` reads too, and the decision as JSON and Markdown.
    """
    from penstock.experiments import read

    _run(read(path), out or path.with_suffix(""), file, as_json)


@experiment.command()
@click.argument("name")
@click.option("--app", "against", required=True, metavar="APP", help="The app that uses the prompt.")
@click.option("--cases", type=click.Path(path_type=Path, dir_okay=False, exists=True), required=True, metavar="FILE")
@click.option("--correct", default="judge >= 0.75", show_default=True, help="What counts as a correct answer.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Folder for the results; without it, ./NAME-styles."
)
@show.json_option
@click.pass_obj
def prompts(
    file: str | None, name: str, against: str, cases: Path, correct: str, out: Path | None, as_json: bool
) -> None:
    """Compare a prompt told without examples, with one, with several, and step by step."""
    from penstock.evaluate.decision import Correct
    from penstock.experiments import styles

    rule = Correct.parse(correct)
    judge = "offline" if rule.score == "judge" else ""
    told = styles(name, load(file, keys=False), cases=cases, against=against, correct=rule, judge=judge)
    _run(told, out or Path(f"{name}-styles"), file, as_json)


@experiment.command("show")
@click.argument("folder", type=click.Path(path_type=Path, exists=True))
@show.json_option
def show_(folder: Path, as_json: bool) -> None:
    """Show a decision that was made."""
    path = folder / ("decision.json" if as_json else "decision.md")
    if not path.is_file():
        raise BadRequest(f"there is no decision in {folder}", hint="penstock experiment run FILE")
    text = path.read_text("utf-8")
    if as_json:
        show.as_json(json.loads(text))
    else:
        click.echo(text, nl=False)


def _run(told: Experiment, folder: Path, file: str | None, as_json: bool) -> None:
    bars: list[Any] = []

    def said(name: str, evaluation: Evaluation) -> Callable[[str], object]:
        asked, scored = evaluation.left
        while bars:
            bars.pop().close()
        if not sys.stderr.isatty() or as_json:
            return lambda what: None
        from tqdm import tqdm

        bar = tqdm(total=asked + scored, unit="step", leave=False, desc=name)
        bars.append(bar)
        return lambda what: bar.update()

    try:
        decision = told.run(folder, file, said)
    except KeyboardInterrupt:
        click.echo(f"what was done is in {folder}; the same command goes on there", err=True)
        raise
    finally:
        while bars:
            bars.pop().close()
    if as_json:
        show.as_json(decision.plain())
    else:
        _print(decision)
        click.echo(f"\n{folder / 'decision.md'}", err=True)


def _print(decision: Decision) -> None:
    click.echo(click.style(decision.words, bold=True))
    click.echo()
    lines = [line for line in decision.markdown().splitlines() if line.startswith("|")]
    rows = [tuple(cell.strip().replace("**", "") for cell in line.strip("|").split("|")) for line in lines]
    show.table(rows[2:], rows[0])
    click.echo(f"\ncorrect: {decision.correct}; 95 % intervals")
