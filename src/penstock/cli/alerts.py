"""`penstock objectives` and `penstock alerts …`: how it stands, what is wrong, and who is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from penstock.assemble import House, assemble
from penstock.cli import show
from penstock.cli.spend import cut, past
from penstock.config import load, moment
from penstock.errors import BadRequest, NotFound, PenstockError
from penstock.storage.audit import who

__all__ = ["alerts", "objectives"]

SINCE = "7d"


@contextmanager
def opened(file: str | None) -> Iterator[House]:
    house = assemble(load(file, keys=False))
    try:
        yield house
    finally:
        house.close()


@click.command()
@show.json_option
@click.pass_obj
def objectives(file: str | None, as_json: bool) -> None:
    """Show how it stands with the objectives: what was reached, what is left of the budget, how fast it burns.

    A burn rate of 1 uses up the budget by the end of the period; a page looks at the last hour, a ticket at three days.
    Without [objectives.NAME] in the settings there is one: of the requests to each app and model, 99 % are answered.

    \b
    Examples:
      penstock objectives
      penstock objectives --json
    """
    from penstock.observe.lookout import plain

    now = time.time()
    with opened(file) as house:
        tally = house.tally()
        tally.follow(now)
        found = tally.standings(now)
    if as_json:
        show.as_json([plain(one) | {"requests": tally.samples(one.objective.name, one.subject)} for one in found])
        return
    if not found:
        click.echo("nothing was asked yet; a running server writes each request down within a second")
        return
    rows = []
    for one in found:
        reached = f"{1 - one.counted.bad_share:.3%}" if one.counted.total else "-"
        hour, _, day = one.burns
        rows.append(
            (cut(one.objective.name, 24), cut(one.subject, 24), f"{one.objective.target:.4g}", reached,
             f"{one.counted.total:,}", f"{one.budget_left:.0%}", f"{hour.long_rate:.1f}", f"{day.long_rate:.1f}",
             one.severity or ("silent" if one.silent else "ok"))
        )  # fmt: skip
    show.table(rows, ("objective", "of", "target", "reached", "counted", "left", "page burn", "ticket burn", "state"))


@click.group()
def alerts() -> None:
    """What is wrong, who is told of it, and whether they can be reached.

    A running server looks every two seconds. Whom it tells say [channels.NAME] in the settings.
    """


@alerts.command("list")
@click.option(
    "--since", default=SINCE, show_default=True, callback=past, metavar="TIME", help="What ended since then, too."
)
@show.json_option
@click.pass_obj
def list_(file: str | None, since: float, as_json: bool) -> None:
    """List what is wrong now and what was, the channels, and the silences that hold."""
    now = time.time()
    with opened(file) as house:
        known = house.alerts
        firing, ended = known.firing(now=now), known.past(since=since, now=now)
        channels, silences = known.standing(), known.silences(now=now)
    if as_json:
        show.as_json(
            {
                "firing": [alert.plain() for alert in firing],
                "past": [alert.plain() for alert in ended],
                "channels": channels,
                "silences": [silence.plain() for silence in silences],
            }
        )
        return
    if firing or ended:
        rows = [
            (_time(alert.started), _time(alert.ended) if alert.ended else "", alert.severity or alert.worst,
             alert.state + (", silenced" if alert.silenced else ""), cut(alert.key, 48), cut(alert.title, 80))
            for alert in (*firing, *ended)
        ]  # fmt: skip
        show.table(rows, ("since", "until", "severity", "state", "key", "what"))
    else:
        click.echo("nothing is wrong, and nothing was")
    for silence in silences:
        click.echo(
            show.clean(f"silence {silence.id}: {silence.pattern} until {_time(silence.until)}  {silence.reason}")
        )
    for channel in channels:
        waiting = f", {channel['waiting']} wait" if channel["waiting"] else ""
        failing = f"fails since {channel['failures']} tries: {channel['error']}" if channel["failures"] else ""
        state = failing or (f"delivered {channel['delivered']}" if channel["delivered"] else "nothing delivered yet")
        click.echo(click.style(f"channel {channel['name']}: {state}{waiting}", fg="red" if failing else None), err=True)


@alerts.command()
@click.argument("channel", required=False)
@click.pass_obj
def test(file: str | None, channel: str | None) -> None:
    """Send a message to a CHANNEL, or to all, to see whether it arrives."""
    from penstock.observe.alerts import Alert
    from penstock.observe.deliver import send

    settings, now = load(file, keys=False), time.time()
    if channel and channel not in settings.channels:
        known = ", ".join(settings.channels) or "none: add [channels.NAME]"
        raise NotFound(f"there is no channel '{channel}'", hint=f"known: {known}")
    if not settings.channels:
        raise NotFound("there is no channel", hint="add [channels.NAME] with kind = webhook, slack or email")
    said = Alert("test", "test", "ticket", "this is a test of Penstock's alerts", {}, (), now, now, worst="ticket")
    failed = []
    for name, one in settings.channels.items():
        if channel in (None, name):
            try:
                send(one, [{"event": "fired", **said.plain()}], now=now)
                click.echo(f"{name}: delivered")
            except PenstockError as error:
                failed.append(name)
                click.echo(click.style(f"{name}: {error.message}", fg="red"), err=True)
    if failed:
        raise click.exceptions.Exit(1)


@alerts.command()
@click.argument("pattern", required=False)
@click.option("--for", "lasting", default="1h", show_default=True, metavar="TIME", help="How long: 30m, 2h, or a day.")
@click.option("--reason", default="", metavar="TEXT", help="Why, for the others.")
@click.option("--end", metavar="ID", help="End a silence instead.")
@click.pass_obj
def silence(file: str | None, pattern: str | None, lasting: str, reason: str, end: str | None) -> None:
    """Tell nobody of alerts whose key fits a PATTERN; they are shown all the same.

    \b
    Examples:
      penstock alerts silence "objective/*/handbook" --for 2h --reason "new index"
      penstock alerts silence --end 1f6a2c3d
    """
    if (pattern is None) == (end is None):
        raise click.UsageError("give a PATTERN, or --end with the id of a silence.")
    now = time.time()
    try:
        until = moment(lasting, ahead=True)
    except BadRequest as error:
        raise click.BadParameter(f"{error.message}: {error.hint}.", param_hint="--for") from error
    with opened(file) as house:
        if end is not None:
            house.alerts.end_silence(end, now=now)
            click.echo(f"silence {end} has ended")
            return
        made = house.alerts.silence(pattern or "", until=until, now=now, by=who(), reason=reason)
    click.echo(show.clean(f"silence {made.id}: {made.pattern} until {_time(made.until)}"))


def _time(unix: float) -> str:
    return time.strftime("%m-%d %H:%M:%S", time.gmtime(unix))
