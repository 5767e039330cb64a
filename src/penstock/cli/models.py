"""`penstock models …`: the models that callers can name, and those in files on this machine."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from penstock.cli import show
from penstock.config import load
from penstock.errors import BadRequest, NotFound, PenstockError

if TYPE_CHECKING:
    from penstock.models.measure import Measured
    from penstock.models.shelf import Shelf

__all__ = ["models"]


def _shelf(file: str | None) -> Shelf:
    from penstock.models.shelf import Shelf

    return Shelf(load(file, keys=False).home_path / "models")


def _names(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of local models that begin so, for the shell."""
    try:
        return [CompletionItem(card.name) for card in _shelf(None).cards() if card.name.startswith(begun)]
    except PenstockError:
        return []


@click.group()
def models() -> None:
    """Models: what callers can name, how fast each is, and files of your own.

    Providers and routes stand in penstock.toml. A model in a GGUF file is fetched with `pull` and needs no account.
    """


@models.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def list_(file: str | None, as_json: bool) -> None:
    """Show every model, route and local file that callers can name."""
    from penstock.assemble import assemble
    from penstock.models.shelf import PACKAGES

    settings = load(file, keys=False)
    house = assemble(settings)
    try:
        rows: list[dict[str, Any]] = house.described_models()
    finally:
        house.close()
    if as_json:
        show.as_json(rows)
        return
    if not rows:
        click.echo("no models yet")
        for name, known in PACKAGES.items():
            click.echo(f"  penstock models pull {name}   {known.size / 1e6:,.0f} MB, {known.licence}, no account")
        click.echo("or name a provider's in penstock.toml:  [models.small]")
        return
    heads = ("name", "kind", "what", "input", "output", "context")
    show.table(
        [
            (
                row["name"], row["kind"], row["what"], _usd(row["input_usd_per_million"]),
                _usd(row["output_usd_per_million"]), f"{row['context_tokens']:,}" if row["context_tokens"] else "",
            )
            for row in rows
        ],
        heads,
    )  # fmt: skip
    click.echo("prices in USD for a million tokens", err=True)


def _cases(file: str) -> list[Any]:
    """The questions of a JSON Lines file. Raises BadRequest, naming the line."""
    from penstock.models.measure import Case

    cases = []
    try:
        lines = Path(file).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadRequest(f"{file} cannot be read: {error}") from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            cases.append(Case(str(row["question"]), str(row.get("expected") or ""), str(row.get("lang") or "")))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BadRequest(f"{file}, line {number}: not an object with 'question'") from error
    if not cases:
        raise BadRequest(f"{file} holds no questions")
    return cases


class _Bar:
    """A progress bar over bytes on standard error; none where nobody looks."""

    def __init__(self) -> None:
        self._bar: Any = None

    def start(self, what: str, size: int, done: int) -> None:
        if sys.stderr.isatty():
            from tqdm import tqdm

            self.__exit__()
            self._bar = tqdm(total=size or None, initial=done, unit="B", unit_scale=True, leave=False, desc=what[-40:])

    def add(self, size: int) -> None:
        if self._bar is not None:
            self._bar.update(size)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()


def _usd(price: float | None) -> str:
    return "?" if price is None else f"{price:g}"


@models.command()
@click.argument("source")
@click.option("--name", help="What to call it here; without it, after the file.")
@click.option("--link", is_flag=True, help="Link to a file of your own instead of copying it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def pull(file: str | None, source: str, name: str | None, link: bool, as_json: bool) -> None:
    """Fetch a model to run on this machine.

    SOURCE is `smollm2`, `hub:owner/name/file.gguf`, an https address, or a file. What was interrupted goes on where it stopped.
    Running it needs the extra `local`: pip install 'penstock[local]'.
    """
    with _Bar() as bar:
        card = _shelf(file).pull(source, name=name or "", link=link, progress=bar)
    if as_json:
        show.as_json(asdict(card))
        return
    click.echo(f"{card.name} is here: {card.size / 1e6:,.0f} MB{f', {card.licence}' if card.licence else ''}")
    click.echo(f"callers name it '{card.name}':  penstock up", err=True)


@models.command()
@click.argument("name", shell_complete=_names)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove(file: str | None, name: str, yes: bool) -> None:
    """Delete the file of a local model."""
    shelf = _shelf(file)
    if not yes:
        card = shelf.card(name)
        click.confirm(f"delete {card.size / 1e6:,.0f} MB of '{name}'?", abort=True)
    shelf.remove(name)
    click.echo(f"{name} is deleted")


@models.command()
@click.argument("names", nargs=-1)
@click.option(
    "--requests", type=click.IntRange(1, 10_000), default=10, show_default=True, help="How often each is asked."
)
@click.option(
    "--concurrent", type=click.IntRange(1, 500), default=1, show_default=True, help="How many at the same time."
)
@click.option("--max-tokens", type=click.IntRange(1, 100_000), default=128, show_default=True, help="Longest answer.")
@click.option("--question", help="What is asked.")
@click.option(
    "--jsonl",
    metavar="FILE",
    help='Questions to ask once each: {"question": …, "expected": words of a right answer, "lang": its language}.',
)
@click.option(
    "--gap-over",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="End with an error where so many fewer answers are right in some language than in English.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_obj
def bench(
    file: str | None,
    names: tuple[str, ...],
    requests: int,
    concurrent: int,
    max_tokens: int,
    question: str | None,
    jsonl: str | None,
    gap_over: float | None,
    as_json: bool,
) -> None:
    """Measure models as a caller feels them: first piece, tokens per second, errors, money.

    NAMES are models or routes; without any, all of them. They are asked for real, and what that costs is shown. With --jsonl
    each is asked all the questions of a file: beside its two models, a cascade shows what it saves and how often it is right.
    Questions in several languages are counted for each of them.
    """
    from tqdm import tqdm

    from penstock.assemble import assemble
    from penstock.models.measure import QUESTION, Case, measure

    cases = _cases(jsonl) if jsonl else [Case(question or QUESTION)]
    requests = len(cases) if jsonl else requests
    house = assemble(load(file, keys=False))
    known = [name for name in house.gateway.models if not name.endswith("/*")]
    for name in names:
        if not house.gateway.has(name):
            house.close()
            raise NotFound(f"there is no model '{name}'", hint=f"known: {', '.join(known) or 'none yet'}")
    found = []
    try:
        for name in names or known:
            with tqdm(total=requests, unit="answer", leave=False, desc=name) as bar:
                model = house.gateway.model(name)

                async def asked(name: str = name, model: Any = model, bar: Any = bar) -> Any:
                    try:
                        return await measure(
                            name,
                            model,
                            requests=requests,
                            concurrent=concurrent,
                            max_tokens=max_tokens,
                            cases=cases,
                            done=bar.update,
                        )
                    finally:
                        house.clients.close()

                found.append(asyncio.run(asked()))
    finally:
        house.close()
    if as_json:
        show.as_json([asdict(row) | {"gap": round(row.gap, 4)} for row in found])
    else:
        _print_measured(found)
    for row in found:
        if gap_over is not None and row.gap > gap_over:
            click.echo(f"{row.model}: a gap between languages of {row.gap:.1%} is more than {gap_over:.1%}", err=True)
            raise SystemExit(1)


def _print_measured(found: Sequence[Measured]) -> None:
    heads = ("model", "first ms p50/p95", "whole ms p50/p95", "tokens/s", "errors", "USD", "right", "escalated")
    show.table(
        [
            (
                row.model, f"{row.first_ms[0]:,.0f} / {row.first_ms[1]:,.0f}",
                f"{row.total_ms[0]:,.0f} / {row.total_ms[1]:,.0f}", row.tokens_per_s,
                ", ".join(f"{code} {count}" for code, count in row.errors.items()) or "0", f"{row.cost_usd:.6f}",
                "" if row.right is None else f"{row.right} of {row.requests}", row.escalated or "",
            )
            for row in found
        ],
        heads,
    )  # fmt: skip
    for row in found:
        if len(row.by_language) > 1:
            click.echo(f"\n{row.model}")
            show.table(
                [
                    (language, answered, f"{right / answered:.1%}")
                    for language, (right, answered) in row.by_language.items()
                ],
                ("language", "answered", "right"),
            )
            click.echo(f"gap to English {row.gap:.1%}")
