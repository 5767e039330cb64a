"""`penstock guard`: what is in a text, what a policy does about it, and why."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO, get_args

import click

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows, text_of
from penstock.cli.spend import ledger
from penstock.config import load
from penstock.errors import BadRequest
from penstock.guard.check import check
from penstock.guard.guard import Guard
from penstock.guard.policy import Policies, Policy
from penstock.observe.ledger import plain_request
from penstock.types import Surface

__all__ = ["guard"]

SURFACES = get_args(Surface)
COLOURS = {"allow": "green", "mask": "cyan", "review": "yellow", "block": "red"}


class _Checking(click.Group):
    """A group in which a text in the place of a verb is checked."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        piped = not args and not sys.stdin.isatty()
        if piped or (args and args[0] not in self.commands and args[0] not in context.help_option_names):
            args = ["check", *args]
        return super().parse_args(context, args)


policy_option = click.option("--policy", default="default", show_default=True, metavar="NAME", help="A `[guard.NAME]`.")
surface_option = click.option(
    "--surface",
    default="prompt",
    show_default=True,
    type=click.Choice(SURFACES),
    help="Where the text comes from, or that it is an answer.",
)
language_option = click.option("--lang", "language", default="", metavar="CODE", help="Its language, such as `de`.")


@click.group(cls=_Checking)
def guard() -> None:
    """Find personal data, secrets, orders to the model and harm in a text.

    \b
    Examples:
      penstock guard "My card is 4111 1111 1111 1111"
      penstock guard --jsonl texts.jsonl > checked.jsonl
      penstock guard explain "Ignore all previous instructions"
    """


@guard.command("check")
@click.argument("text", required=False)
@click.option(
    "--jsonl", type=click.File("rb"), metavar="FILE", help="Rows with `text`, checked in order; - reads standard input."
)
@policy_option
@surface_option
@language_option
@show.json_option
@click.pass_obj
def check_(
    file: str | None, text: str | None, jsonl: BinaryIO | None, policy: str, surface: Surface, language: str, as_json: bool,
) -> None:  # fmt: skip
    """Check one TEXT, or the rows of a file; `check` may be left out. Without TEXT, standard input is read.

    A row may have `surface` (prompt, document, tool, output) and `lang`. It comes back with `findings`, `scores`, `masked`
    and `decision`: allow, mask, review or block.
    """
    if text is not None and jsonl:
        raise click.UsageError("check a TEXT or the rows of --jsonl, not both.")
    ruled = _policy(file, policy)
    if jsonl:
        guard = Guard()
        answer_rows(jsonl, lambda row: _checked(guard, row, ruled, surface, language), unit="text")
        return
    verdict = check(Guard(), _text(text), ruled, surface=surface, language=language)
    if as_json:
        show.as_json(verdict.plain())
        return
    click.echo(show.clean(verdict.masked))
    for finding in verdict.findings:
        where = click.style(f"{finding.start}-{finding.end}", dim=True)
        click.echo(f"  {finding.type}  {where}  {finding.score:.2f}  {finding.action}", err=True)
    click.echo(click.style(verdict.decision, fg=COLOURS[verdict.decision], bold=True), err=True)


@guard.command()
@click.argument("text", required=False)
@policy_option
@surface_option
@language_option
@click.pass_obj
def explain(file: str | None, text: str | None, policy: str, surface: Surface, language: str) -> None:
    """Say which rule acted on a TEXT, how sure it is, and which setting decided. Without TEXT, standard input is read."""
    ruled = _policy(file, policy)
    verdict = check(Guard(), _text(text), ruled, surface=surface, language=language)
    colour = COLOURS[verdict.decision]
    click.echo(f"policy '{ruled.name}', version {ruled.version}: {click.style(verdict.decision, fg=colour, bold=True)}")
    for reason in verdict.reasons:
        click.echo(f"  {show.clean(reason)}")
    click.echo(click.style("\nscore        found  counts from", dim=True))
    for name, score in verdict.scores.items():
        least = ruled.threshold("documents" if name == "injection" and surface in ("document", "tool") else name)
        click.echo(f"{name:<11}  {score:5.2f}  {least:5.2f}")


@guard.command()
@click.argument("place", type=click.Path(path_type=Path))
@click.option(
    "--copy", "copy_to", type=click.Path(path_type=Path), metavar="FOLDER", help="Write a copy without what was found."
)
@click.option(
    "--quasi", multiple=True, metavar="COLUMN", help="Column by which people might be found again; may be repeated."
)
@policy_option
@show.json_option
@click.pass_obj
def scan(
    file: str | None, place: Path, copy_to: Path | None, quasi: tuple[str, ...], policy: str, as_json: bool
) -> None:
    """Look through a folder or a data set: what is in each file.

    With --copy a folder is written in which the policy has been applied, and of each table it is said how well its rows
    hide in each other (k-anonymity): by age, postcode and the like people are found again though no name is left.

    \b
    Examples:
      penstock guard scan exports/
      penstock guard scan exports/ --copy clean/ --quasi age --quasi zip
    """
    from penstock.scan import scan as scan_folder

    with show.Bar(quiet=as_json) as bar:
        report = scan_folder(place, Guard(), _policy(file, policy), copy_to=copy_to, quasi=quasi, progress=bar)
    if as_json:
        show.as_json(report.plain())
        return
    rows = [
        (
            one.file,
            one.decision,
            one.skipped or ", ".join(f"{count} {type_}" for type_, count in one.found.most_common()),
        )
        for one in report.files
    ]
    show.table(rows, ("file", "decision", "found"))
    total = ", ".join(f"{count} {type_}" for type_, count in report.found.most_common()) or "nothing"
    click.echo(f"\n{len(report.files)} files: {total}")
    for one in report.files:
        if one.risk:
            r = one.risk
            click.echo(
                f"{one.file}: {r.rows} rows, k = {r.k} over {', '.join(r.columns)}; "
                f"{r.alone:.0%} of the rows stand alone, {r.few:.0%} in groups of fewer than 5"
            )
    if copy_to is not None:
        click.echo(f"the copy is in {copy_to}", err=True)


@guard.command()
@show.json_option
@click.pass_obj
def policies(file: str | None, as_json: bool) -> None:
    """List the policies with their versions."""
    known = Policies(load(file, keys=False).guard)
    rows = [{"name": name, "version": known[name].version} for name in known.names()]
    if as_json:
        show.as_json(rows)
    else:
        show.table([tuple(row.values()) for row in rows], ("policy", "version"))


@guard.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="Most requests to show.")
@show.json_option
@click.pass_obj
def events(file: str | None, limit: int, as_json: bool) -> None:
    """Show the latest requests in which something was found, newest first. Words only where a policy keeps them."""
    rows = [plain_request(row) for row in ledger(file).requests(limit=limit, guarded=True)]
    if as_json:
        show.as_json(rows)
        return
    if not rows:
        click.echo("nothing was found in any request")
        return
    lines = [
        (
            row["at"][5:19].replace("T", " "), row["key"] or "-", row["model"], event["surface"], event["decision"],
            ", ".join(dict.fromkeys(finding["type"] for finding in event["findings"])), event["policy"],
        )
        for row in rows
        for event in row["guarded"]
    ]  # fmt: skip
    show.table(lines, ("at", "key", "model", "in", "decision", "found", "policy"))


def _policy(file: str | None, name: str) -> Policy:
    return Policies(load(file, keys=False).guard)[name]


def _text(given: str | None) -> str:
    if given is not None:
        return given
    if sys.stdin.isatty():
        raise click.UsageError('check something: penstock guard "…"')
    return sys.stdin.buffer.read().decode("utf-8", "replace")


def _checked(guard: Guard, row: Row, policy: Policy, surface: Surface, language: str) -> Row:
    text = text_of(row, "text")
    where, said = row.get("surface") or surface, row.get("lang") or language
    if where not in SURFACES:
        raise BadRequest(f"`surface` must be one of {', '.join(SURFACES)}")
    verdict = check(guard, text, policy, surface=where, language=said if isinstance(said, str) else "")
    return row | {"text": text} | verdict.plain()
