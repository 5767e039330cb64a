"""`penstock talk`: a conversation with a bot, typed or from a file."""

from __future__ import annotations

import asyncio
import secrets
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any, BinaryIO

import click
from click.shell_completion import CompletionItem

from penstock.cli import show
from penstock.cli.rows import Row, answer_rows
from penstock.config import load
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.types import Answer, Caller, Turn
from penstock.writing import TOOL

if TYPE_CHECKING:
    from penstock.assemble import House

__all__ = ["talk"]

MOST_SAID = 1_000


def _apps(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The bots of the settings, for shells."""
    with suppress(PenstockError):
        apps = load(context.find_root().params.get("file"), keys=False).apps
        return [CompletionItem(name) for name, app in apps.items() if app.bot and name.startswith(incomplete)]
    return []


@click.command()
@click.argument("app", shell_complete=_apps)
@click.option("--conversation", metavar="ID", default="", help="Go on with a conversation, instead of beginning one.")
@click.option(
    "--jsonl", type=click.File("rb"), metavar="FILE",
    help="Conversations, each a row with `said`, a list of messages; they come back with their replies; - reads standard input.",
)  # fmt: skip
@show.role_option
@show.json_option
@click.pass_obj
def talk(
    file: str | None, app: str, conversation: str, jsonl: BinaryIO | None, roles: tuple[str, ...], as_json: bool
) -> None:  # fmt: skip
    """Talk with the bot of an app.

    What it offers is numbered: type the number, or anything else. An empty line, Ctrl-D or Ctrl-C ends it; what was said is
    kept, and `--conversation` goes on with it.

    \b
    Examples:
      penstock talk shop
      penstock talk shop --jsonl conversations.jsonl > replies.jsonl
    """
    from penstock.assemble import assemble

    if jsonl and conversation:
        raise click.UsageError("go on with --conversation, or play the rows of --jsonl, not both.")
    house, caller = assemble(load(file, keys=False)), Caller("anonymous", roles)
    try:
        _check(house, app)
        if jsonl:
            answer_rows(jsonl, lambda row: _played(house, app, caller, row), unit="conversation")
        else:
            _converse(house, app, caller, conversation or secrets.token_hex(16), as_json=as_json)
    finally:
        house.close()


def _check(house: House, app: str) -> None:
    if app not in house.bots:
        known = ", ".join(house.bots)
        hint = f"known: {known}" if known else f'[apps.{app}] bot = "bot.py" in penstock.toml'
        raise NotFound(f"there is no app '{app}' with a bot", hint=hint)
    house.bot(app)


def _said(house: House, app: str, caller: Caller, conversation: str, text: str) -> Answer:
    from penstock.answer import whole

    async def asked() -> Answer:
        try:
            return await whole(house.answerer(app).stream(Turn(text, caller, conversation=conversation)))
        finally:
            house.clients.close()  # their loop ends here

    return asyncio.run(asked())


def _converse(house: House, app: str, caller: Caller, conversation: str, *, as_json: bool) -> None:
    click.echo(f"Talking with {click.style(app, bold=True)}. An empty line ends the conversation.", err=True)
    offered: tuple[str, ...] = ()
    waiting = ""
    while text := _typed(offered):
        try:
            waiting = _told_by_person(house, waiting)
            answer = _said(house, app, caller, conversation, text)
        except PenstockError as error:
            click.echo(str(error), err=True)
            continue
        offered, waiting = answer.quick_replies, answer.waiting
        if as_json:
            show.as_json(plain(answer))
        else:
            _show(answer)
        if answer.over:
            break
    click.echo(f"To go on: penstock talk {app} --conversation {conversation}", err=True)


def _told_by_person(house: House, waiting: str) -> str:
    """What a person has replied meanwhile. Returns what is still waited for."""
    if waiting:
        with suppress(NotFound):
            outcome = house.review.hand_overs.outcome(waiting)
            if outcome.text:
                click.echo(f"{click.style('A person:', bold=True)} {show.clean(outcome.text)}\n")
            return "" if outcome.is_over else waiting
    return ""


def _show(answer: Answer) -> None:
    click.echo(show.clean(answer.text))
    quoted = [answer.citations[n] for n in answer.quoted if not answer.citations[n].passage_id.startswith(TOOL)]
    for n, citation in enumerate(quoted, 1):
        click.echo(click.style(f"  [{n}] ", dim=True) + show.place(citation))
    for n, text in enumerate(answer.quick_replies, 1):
        click.echo(click.style(f"  {n}) ", fg="cyan") + show.clean(text))
    click.echo()


def _typed(offered: tuple[str, ...]) -> str:
    """What somebody types, or the reply of that number; "" when Ctrl-C or the end of the input comes instead."""
    try:
        if sys.stdin.isatty():
            said = click.prompt(click.style("?", fg="cyan"), default="", show_default=False, prompt_suffix=" ")
        else:
            said = sys.stdin.readline()
    except (click.Abort, KeyboardInterrupt):
        return ""
    said = str(said).strip()
    return offered[int(said) - 1] if said.isdecimal() and 0 < int(said) <= len(offered) else said


def _played(house: House, app: str, caller: Caller, row: Row) -> Row:
    said = row.get("said")
    if not isinstance(said, list) or not said or not all(isinstance(text, str) for text in said):
        raise BadRequest("a row must have `said`, a list of messages")
    if len(said) > MOST_SAID:
        raise BadRequest(f"a conversation has {len(said):,} messages, the limit is {MOST_SAID:,}")
    conversation = secrets.token_hex(16)
    turns: list[dict[str, Any]] = []
    for text in said:
        try:
            answer = _said(house, app, caller, conversation, text.encode("utf-8", "replace").decode())
        except PenstockError as error:
            turns.append({"said": text, **error.body()})
            continue
        turns.append({"said": text, **plain(answer)})
    identity = {"id": row["id"]} if "id" in row else {}
    return identity | {"conversation": conversation, "turns": turns}


def plain(answer: Answer) -> dict[str, Any]:
    """What a reader of the file wants to know of a reply."""
    citations = [{"source": one.source, "quote": one.quote, "date": one.date} for one in answer.citations]
    return {
        "text": answer.text, "status": answer.status.value, "quick_replies": list(answer.quick_replies), "citations": citations,
        "waiting": answer.waiting, "over": answer.over, "conversation": answer.conversation,
    }  # fmt: skip
