"""`penstock actions`: what was asked of apps, how it stands, and the agreement of a person whose client cannot ask them."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import TYPE_CHECKING

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import NotAllowed, NotFound, PenstockError
from penstock.storage.audit import who

if TYPE_CHECKING:
    from penstock.agents.requests import ActionRequests, Held
    from penstock.assemble import House

__all__ = ["actions"]

id_argument = click.argument("number", metavar="ID")


@click.group()
def actions() -> None:
    """What was asked of apps that do things for people, and how it stands.

    \b
    Examples:
      penstock actions list shop
      penstock actions show 0197…
      penstock actions confirm 0197…
    """


@actions.command("list")
@click.argument("app")
@click.option("--state", default="", help="Only those that stand so: proposed, read_back, running, done, …")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="The latest so many.")
@show.json_option
@click.pass_obj
def list_(file: str | None, app: str, state: str, limit: int, as_json: bool) -> None:
    """List the latest requests for actions of an APP, with nobody's words in them."""
    with closing(_house(file)) as house:
        rows = [one.plain() for one in _requests(house, app).latest(limit=limit, state=state)]
    if as_json:
        show.as_json(rows)
    elif not rows:
        click.echo("nothing was asked for", err=True)
    else:
        cells = [(row["id"], row["action"], row["state"], row["asked_by"], row["created"]) for row in rows]
        show.table(cells, ("id", "action", "state", "asked by", "at"))


@actions.command("show")
@id_argument
@show.json_option
@click.pass_obj
def show_(file: str | None, number: str, as_json: bool) -> None:
    """Show the steps of one request."""
    with closing(_house(file)) as house:
        requests, held = _held(house, number)
        steps = requests.steps(held.request.id)
        house.audit.write("journal.read", actor=who(), target=held.request.id)
    if as_json:
        told = [{"step": one.step, "state": one.state, "by": one.by, "at": one.at, "why": one.why} for one in steps]
        show.as_json(held.request.plain() | {"steps": told})
        return
    click.echo(show.clean(held.request.read_back or held.request.action))
    show.table([(str(one.step), one.state, one.by, one.why) for one in steps], ("step", "state", "by", "why"))


@actions.command()
@id_argument
@click.pass_obj
def confirm(file: str | None, number: str) -> None:
    """Agree to what a client of the Model Context Protocol asked for, once you have read what it is. It takes a terminal."""
    if not sys.stdin.isatty():
        raise NotAllowed(
            "only a person at a terminal can agree", hint=f"penstock actions confirm {show.clean(number)[:64]}"
        )
    with closing(_house(file)) as house:
        requests, held = _held(house, number)
        _check_ours(held)
        back = requests.read_back(held.person, held.conversation, held.request.id)
        click.echo(show.clean(back.text))
        if not click.confirm("Do you agree?", err=True):
            requests.withdraw(held.person, held.conversation, held.request.id)
            click.echo("it was taken back: nothing was done")
            return
        done = requests.confirm(held.person, held.conversation, held.request.id, back.token)
        house.audit.write("action.confirmed", actor=who(), target=done.id, action=done.action, state=done.state)
    click.echo(show.clean(f"{done.state}: {done.reason}" if done.reason else done.state))
    if done.state != "done":
        click.get_current_context().exit(1)


@actions.command()
@id_argument
@click.pass_obj
def withdraw(file: str | None, number: str) -> None:
    """Take back what a client of the Model Context Protocol asked for."""
    with closing(_house(file)) as house:
        requests, held = _held(house, number)
        _check_ours(held)
        requests.withdraw(held.person, held.conversation, held.request.id)
    click.echo("it was taken back: nothing was done")


def _check_ours(held: Held) -> None:
    from penstock.server.mcp_actions import PREFIX

    if not held.conversation.startswith(PREFIX):
        raise NotAllowed("this was asked for in a conversation, and only the person who has it can agree")


def _house(file: str | None) -> House:
    from penstock.assemble import assemble

    return assemble(load(file, keys=False))


def _requests(house: House, app: str) -> ActionRequests:
    if app not in house.bots:
        raise NotFound(
            f"there is no app '{app[:80]}' that does anything", hint=f"known: {', '.join(house.bots) or 'none'}"
        )
    return house.requests_of(app)


def _held(house: House, number: str) -> tuple[ActionRequests, Held]:
    for app in house.bots:
        requests = _requests(house, app)
        try:
            return requests, requests.held(number)
        except PenstockError as error:
            if not isinstance(error, NotFound):
                raise
    raise NotFound(f"there is no request '{show.clean(number)[:64]}'", hint="penstock actions list APP")
