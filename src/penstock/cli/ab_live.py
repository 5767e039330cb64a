"""`penstock ab list`, `status`, `history`, `stop` and `start`: the experiments that a server runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import click

from penstock.cli import show
from penstock.cli.alerts import opened
from penstock.storage.audit import who

__all__ = ["history", "list_", "start", "status", "stop"]

COLOURS = {"running": "cyan", "won": "green", "stopped": "yellow", "rolled_back": "red"}
SAID = {
    "continue": "nothing is sure yet", "winner": "decided", "no_difference": "no difference shown", "harm": "harm",
    "invalid": "invalid",
}  # fmt: skip


@click.command("list")
@show.json_option
@click.pass_obj
def list_(file: str | None, as_json: bool) -> None:
    """List the experiments that ran or run on a server.

    \b
    Examples:
      penstock ab list
    """
    with opened(file) as house:
        known = house.experiments
        found = [known.plain(one) for one in known.all()]
        waiting = sorted(set(house.settings.ab) - {one["name"] for one in found})
    if as_json:
        show.as_json({"experiments": found, "waiting": waiting})
        return
    if found:
        rows = [
            (one["name"], one["state"], one.get("target", "not in the settings"), _weights(one["weights"]),
             f"{sum(arm['units'] for arm in one['arms'].values()):,}", one["started"], one["reason"] or "")
            for one in found
        ]  # fmt: skip
        show.table(rows, ("experiment", "state", "of", "gets", "units", "since", "why"))
    elif not waiting:
        click.echo("there is no experiment yet: [ab.NAME] in the settings makes one")
    for name in waiting:
        click.echo(show.clean(f"{name}: begins with the next start of the server"))


@click.command()
@click.argument("name")
@show.json_option
@click.pass_obj
def status(file: str | None, name: str, as_json: bool) -> None:
    """Show how an experiment stands: who gets what, the difference with its interval, what is decided, and what happens next.

    \b
    Examples:
      penstock ab status new-prompt
      penstock ab status new-prompt --json
    """
    with opened(file) as house:
        found = house.experiments.plain(house.experiments.get(name))
    if as_json:
        show.as_json(found)
        return
    _print(found)


@click.command()
@click.argument("name")
@show.json_option
@click.pass_obj
def history(file: str | None, name: str, as_json: bool) -> None:
    """Show what became of an experiment, the latest first, through all its beginnings."""
    with opened(file) as house:
        found = house.experiments.history(name)
    if as_json:
        show.as_json(found)
        return
    show.table([(one["at"], one["event"], one["said"]) for one in found], ("at", "event", ""))


@click.command()
@click.argument("name")
@click.pass_obj
def stop(file: str | None, name: str) -> None:
    """Give everybody the control again, within seconds. Also where an arm has won.

    \b
    Examples:
      penstock ab stop new-prompt
    """
    with opened(file) as house:
        house.experiments.stop(name, by=who())
        house.audit.write("experiment.ended", actor=who(), target=name, state="stopped")
    click.echo(show.clean(f"{name} is stopped: everybody gets what they ask for"))


@click.command()
@click.argument("name")
@click.pass_obj
def start(file: str | None, name: str) -> None:
    """Begin an experiment anew, from nothing: what it showed before is forgotten, but for its history.

    \b
    Examples:
      penstock ab start new-prompt
    """
    with opened(file) as house:
        house.experiments.start(name, by=who())
        house.audit.write("experiment.started", actor=who(), target=name, changed=False)
    click.echo(show.clean(f"{name} begins anew"))


# ---------------------------------------------------------------- one page


def _print(one: Mapping[str, Any]) -> None:
    from penstock.evaluate.outcomes import BETTER, shown

    state = click.style(one["state"].replace("_", " "), fg=COLOURS[one["state"]], bold=True)
    click.echo(f"{show.clean(one['name'])}: {state} since {one['ended'] or one['started']}")
    if one["reason"]:
        click.echo(show.clean(one["reason"]))
    if "target" not in one:
        click.echo("the settings do not have it any more")
        return
    if one["changed"]:
        click.echo(
            click.style("the settings are others than it runs with: it begins anew at the next start", fg="yellow")
        )
    metric = one["metric"]
    size = f"{one['most_units']:,} units planned in each arm" if one["rule"] == "planned" else "no planned end"
    until = f", until {one['until']}" if one["until"] else ""
    click.echo(
        show.clean(f"of {one['target']}, by {one['unit']}; {metric}, {BETTER[metric]} is better; {size}{until}\n")
    )
    metrics = [metric, *one["guardrails"]]
    rows = [
        (arm, one["answers"].get(arm, ""), f"{one['weights'].get(arm, 0):.1%}" if arm != "holdout" else "",
         f"{seen['units']:,}", f"{seen['watched']:,}", *(shown(name, seen["means"].get(name)) for name in metrics))
        for arm, seen in one["arms"].items()
    ]  # fmt: skip
    show.table(rows, ("arm", "answers", "gets", "units", "watched", *metrics))
    for line in _lines(one):
        click.echo(show.clean(line))
    left_out = sum(arm["left_out"] for arm in one["arms"].values())
    if left_out:
        click.echo(
            click.style(
                f"{left_out:,} requests of units that were complete or seen elsewhere before are left out", dim=True
            )
        )
    click.echo(show.clean(f"next: {_next(one)}"))


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    """What is decided of each candidate, in words."""
    from penstock.evaluate.outcomes import shown_change

    def between(name: str, ends: list[float | None]) -> str:
        return f"({shown_change(name, ends[0])} to {shown_change(name, ends[1])})"

    for arm, found in one["decisions"].items():
        metric = one["metric"]
        yield ""
        yield (
            f"{arm} less control: {metric} {shown_change(metric, found['difference'])} {between(metric, found['interval'])},"
            f" p = {found['p_value']:.2g} at any look: {SAID[found['outcome']]}"
        )
        if found["outcome"] != "continue" and found["reason"] not in (one["reason"] or ""):
            yield f"  {found['reason']}"
        if found["outcome"] == "winner" and found["adjusted"] is not None and found["adjusted"] != found["difference"]:
            yield f"  without what stopping early adds: {shown_change(metric, found['adjusted'])}"
        if found["variance_cut"] > 0.005:
            yield f"  what is known from before took {found['variance_cut']:.0%} off the variance"
        for rail in found["guardrails"]:
            yield (
                f"  guardrail {rail['name']}: {rail['status']}, {shown_change(rail['name'], rail['difference'])}"
                f" {between(rail['name'], rail['interval'])}"
            )
        if found["mismatch"] is not None:
            yield f"  sample ratio: p = {found['mismatch']:.2g}" + (", as dealt" if found["mismatch"] >= 0.01 else "")


def _next(one: Mapping[str, Any]) -> str:
    if one["state"] == "won":
        return f"everybody gets {one['winner']}; name it in place of {one['target']}, and take the experiment out"
    if one["state"] != "running":
        return "everybody gets the control; take the experiment out of the settings, or start it anew"
    rollout = one.get("rollout")
    if rollout:
        (arm,) = (name for name in one["answers"] if name != "control")
        step, shares = one["step"], rollout["shares"]
        then = f"{shares[step + 1]:.0%}" if step + 1 < len(shares) else "everybody"
        return (
            f"{arm} has {shares[step]:.0%}; {then} after {rollout['units_per_step']:,} of its units, unless harm shows"
        )
    if one["rule"] == "planned":
        known = max((found["information"] for found in one["decisions"].values()), default=0.0)
        return f"{known:.0%} of the plan is known; it ends there at the latest, or as soon as something is sure"
    return "it goes on until something is sure"


def _weights(weights: Mapping[str, float]) -> str:
    return ", ".join(f"{arm} {share:.0%}" for arm, share in weights.items())
