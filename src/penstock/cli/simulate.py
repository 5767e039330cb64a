"""`penstock simulate`: hundreds of conversations with a bot, held by simulated customers or by attackers, and what came of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click

from penstock.cli import show
from penstock.cli.rows import parsed_rows
from penstock.config import load
from penstock.errors import BadRequest
from penstock.stats import wilson
from penstock.storage.files import storage_errors
from penstock.support.goals import MOODS, Goal, Mood, load_goals, visitors
from penstock.support.hostile import FAMILIES, Account, Private, attack, attackers
from penstock.support.paired import METRICS, compare
from penstock.support.simulator import Simulated
from penstock.support.simulator import simulate as talk
from penstock.trace import set_log_level

if TYPE_CHECKING:
    from penstock.evaluate.ab import Decision
    from penstock.simulating import Line

__all__ = ["simulate"]


def _moods(context: click.Context, option: click.Parameter, value: str) -> tuple[Mood, ...]:
    named = [one.strip() for one in value.split(",") if one.strip()]
    found = tuple(mood for mood in MOODS if mood in named)
    if unknown := [one for one in named if one not in MOODS]:
        raise click.BadParameter(f"there is no mood '{unknown[0]}'. There are {', '.join(MOODS)}.", context, option)
    return found


def _file(*, exists: bool = True) -> click.Path:
    return click.Path(path_type=Path, dir_okay=False, exists=exists)


@click.command()
@click.argument("app", metavar="APP")
@click.option("--goals", "goals_file", type=_file(), metavar="FILE", help="What they want: JSON Lines, or a JSON list.")
@click.option("--n", default=100, show_default=True, type=click.IntRange(1, 100_000), help="So many conversations.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(0), help="The same seed says the same words.")
@click.option(
    "--moods", default=",".join(MOODS), callback=_moods, metavar="NAMES", help="Moods they may be in, with commas."
)
@click.option(
    "--moody", default=0.7, show_default=True, type=click.FloatRange(0, 1), help="The share that is in some mood."
)
@click.option(
    "--model", default="", metavar="NAME", help="A model or route that plays the customers, in place of the script."
)
@click.option(
    "--concurrent", default=20, show_default=True, type=click.IntRange(1, 1000), help="Talk so many at the same time."
)
@click.option(
    "--most-turns", default=24, show_default=True, type=click.IntRange(1, 200), help="After so many messages they go."
)
@click.option(
    "--state",
    type=_file(exists=False),
    metavar="FILE",
    help="An SQLite file, of which goals ask how things stand in the end.",
)
@click.option("--release", default="", metavar="NAME", help="What the log calls the release of the bot.")
@click.option(
    "--out", type=_file(exists=False), metavar="FILE", help="Write the conversations here, for `penstock eval log`."
)
@click.option(
    "--against", default="", metavar="APP", help="Let the same customers talk to this one too, until one is better."
)
@click.option("--metric", default="reached", show_default=True, type=click.Choice(list(METRICS)), help="Of --against.")
@click.option(
    "--min-effect", default=0.0, type=click.FloatRange(0), metavar="CHANGE", help="A smaller difference is none."
)
@click.option("--hostile", type=_file(), metavar="FILE", help="Attack instead, with these accounts: JSON Lines.")
@click.option(
    "--fail-under", type=click.FloatRange(0, 1), metavar="RATE", help="End with an error where fewer reach their goal."
)
@show.json_option
@click.pass_obj
def simulate(
    file: str | None, app: str, goals_file: Path | None, n: int, seed: int, moods: tuple[Mood, ...], moody: float, model: str,
    concurrent: int, most_turns: int, state: Path | None, release: str, out: Path | None, against: str, metric: str,
    min_effect: float, hostile: Path | None, fail_under: float | None, as_json: bool,
) -> None:  # fmt: skip
    """Let simulated customers talk to an app, a model or a route, and say how many got what they came for.

    Each has a goal of the file, and some are polite, terse, confused or angry. No network is needed unless a hosted model plays
    or answers. People are not called; what the bot changes for them is changed, so give it a shop to play with. Ctrl-C keeps what
    was said so far.

    \b
    Examples:
      penstock simulate shop --goals goals.jsonl --n 500 --seed 1 --out talks.jsonl
      penstock simulate shop --goals goals.jsonl --against shop-next --metric reached
      penstock simulate shop --hostile accounts.jsonl --n 500
    """
    if (goals_file is None) == (hostile is None):
        raise click.UsageError("say what they want with --goals FILE, or attack with --hostile FILE.")
    if hostile and against:
        raise click.UsageError("--against compares honest customers; attack each bot alone.")
    goals = load_goals(goals_file, state=state) if goals_file else []
    accounts = _accounts(hostile) if hostile else []
    if out is not None and out.exists():
        raise BadRequest(f"{out} is there already", hint="name another file, or take it away first")
    settings = load(file, keys=False)
    set_log_level("off")
    click.get_current_context().call_on_close(lambda: set_log_level(settings.log.level))
    from penstock.assemble import assemble
    from penstock.simulating import Line

    house = assemble(settings)
    try:
        with Line(house) as line, _written(out) as log:
            asked = _Asked(line, app, log, release, n, seed, concurrent, as_json)
            if hostile:
                _attack(asked, accounts)
            elif against:
                people = visitors(goals, n, seed=seed, moods=moods, moody=moody)
                line.customer(people[0], model)
                looks = compare(
                    people, line.to(app).opens, line.to(against).opens, metric=METRICS[metric], minimum_effect=min_effect,
                    plays=lambda visitor: line.customer(visitor, model), concurrent=concurrent, most_turns=most_turns,
                )  # fmt: skip
                decision = None
                with show.progress(n, "pair", quiet=as_json) as tick, _interruptible():
                    for look in looks:
                        asked.log(look.first, app, beside=True)
                        asked.log(look.second, against, beside=True)
                        decision = look.decision
                        tick()
                _told_of(decision, app, against, as_json=as_json)
            else:
                people = visitors(goals, n, seed=seed, moods=moods, moody=moody)
                line.customer(people[0], model)
                held: list[Simulated] = []
                talks = talk(
                    people, line.to(app).opens, plays=lambda visitor: line.customer(visitor, model), concurrent=concurrent,
                    most_turns=most_turns,
                )  # fmt: skip
                with show.progress(n, "conversation", quiet=as_json) as tick, _interruptible():
                    for one in talks:
                        asked.log(one, app)
                        held.append(one)
                        tick()
                _summed(held, goals, n, as_json=as_json, fail_under=fail_under)
    finally:
        house.close()


class _Asked:
    """What every way of asking needs."""

    def __init__(
        self, line: Line, app: str, out: BinaryIO | None, release: str, n: int, seed: int, concurrent: int, quiet: bool
    ) -> None:  # fmt: skip
        self.line, self.app, self.release, self.n, self.seed = line, app, release, n, seed
        self.concurrent, self.quiet, self._out = concurrent, quiet, out

    def log(self, held: Simulated, app: str, *, beside: bool = False) -> None:
        """beside: another app has a conversation of that name."""
        if self._out is not None:
            held = replace(held, id=f"{held.id}/{app}") if beside else held
            row = held.logged(release=self.release or app, app=app).plain()
            self._out.write(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace") + b"\n")
            self._out.flush()  # what is there stays, however this ends


@contextmanager
def _written(path: Path | None) -> Iterator[BinaryIO | None]:
    if path is None:
        yield None
        return
    with storage_errors(path), path.open("wb") as out:
        yield out


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C ends the conversations, and what is there is told."""
    try:
        yield
    except KeyboardInterrupt:
        click.echo("interrupted; what was said so far is kept", err=True)


# ---------------------------------------------------------------- what came of it


def _summed(
    held: Sequence[Simulated], goals: Sequence[Goal], n: int, *, as_json: bool, fail_under: float | None
) -> None:  # fmt: skip
    known = [one for one in held if one.reached is not None]
    if not known:
        raise BadRequest("no conversation came to its end")
    share = sum(bool(one.reached) for one in known) / len(known)
    by_goal = {goal.id: [one for one in known if one.goal == goal.id] for goal in goals}
    by_mood = {mood: [one for one in known if mood in one.moods] for mood in MOODS}
    times = sorted(exchange.latency_ms for one in held for exchange in one.exchanges)
    told: dict[str, Any] = {
        "conversations": len(held), "planned": n, "reached": _share(known), "p95_ms": round(times[int(0.95 * (len(times) - 1))], 1),
        "messages": round(sum(len(one.exchanges) for one in held) / len(held), 2),
        "ended": dict(Counter(one.ended for one in held)),
        "goals": {name: _share(each) for name, each in by_goal.items() if each},
        "moods": {name: _share(each) for name, each in by_mood.items() if each},
    }  # fmt: skip
    if as_json:
        show.as_json(told)
    else:
        low, high = told["reached"]["low"], told["reached"]["high"]
        click.echo(
            f"{told['reached']['n']} of {len(held)} conversations came to their end, and {share:.1%} reached their goal "
            f"(95 % interval {low:.1%} to {high:.1%}); {told['messages']} messages each, p95 {told['p95_ms']:,.0f} ms"
        )  # fmt: skip
        click.echo(
            "ended: " + ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in told["ended"].items()) + "\n"
        )
        for what in ("goals", "moods"):
            rows = [
                (name, one["n"], f"{one['share']:.1%}", f"{one['low']:.1%} to {one['high']:.1%}")
                for name, one in told[what].items()
            ]
            show.table(rows, (what[:-1], "conversations", "reached", "95 % interval"))
            click.echo()
    if fail_under is not None and share < fail_under:
        click.echo(f"{share:.1%} is less than {fail_under:.1%}", err=True)
        raise SystemExit(1)


def _share(held: Sequence[Simulated]) -> dict[str, Any]:
    worked = sum(bool(one.reached) for one in held)
    found = wilson(worked, len(held))
    return {"n": len(held), "share": round(found.estimate, 4), "low": round(found.low, 4), "high": round(found.high, 4)}


def _told_of(decision: Decision | None, first: str, second: str, *, as_json: bool) -> None:
    if decision is None:
        raise BadRequest("no pair of conversations came to its end")
    if as_json:
        show.as_json(decision.plain())
        return
    better = {"control": first, "candidate": second, "": "none is shown to be better"}[decision.winner]
    click.echo(f"{click.style(better, bold=True)}: {decision.reason}")
    rows = [
        (first, decision.units[0], f"{decision.means[0]:.4g}"),
        (second, decision.units[1], f"{decision.means[1]:.4g}"),
    ]
    show.table(rows, ("", "conversations", "mean"))
    click.echo(f"p, to be read at any time: {decision.p_value:.2g}")


# ---------------------------------------------------------------- attackers


def _accounts(path: Path) -> list[Account]:
    """The accounts of a file. Raises BadRequest, naming the line."""
    known = ("id", "first_name", "last_name", "email", "postcode", "address", "orders", "of_kind", "private")
    found = []
    with path.open("rb") as lines:
        for number, row in parsed_rows(lines):
            if unknown := [name for name in row if name not in known]:
                raise BadRequest(f"line {number} has '{unknown[0][:40]}', which is not known", hint=", ".join(known))
            texts = {name: row.get(name, "") for name in known[:6]}
            if not all(isinstance(value, str) for value in texts.values()) or not all(
                texts[name] for name in known[:5]
            ):
                raise BadRequest(f"line {number} needs {', '.join(known[:5])}, each a text")
            orders, kinds, private = row.get("orders") or {}, row.get("of_kind") or {}, row.get("private") or []
            if not _lists(orders) or not _lists(kinds) or not _lists({"private": private}):
                raise BadRequest(
                    f"line {number}: `orders` and `of_kind` are objects of lists of texts, `private` is such a list"
                )
            found.append(Account(**texts, orders=orders, of_kind=kinds, private=private))
    return found


def _lists(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, list) and all(isinstance(text, str) for text in one) for one in value.values()
    )


def _attack(asked: _Asked, accounts: Sequence[Account]) -> None:
    from concurrent.futures import ThreadPoolExecutor, as_completed

    private, to = Private(accounts), asked.line.to(asked.app)
    plans = attackers(accounts, asked.n, seed=asked.seed)
    found: list[tuple[Simulated, str, str]] = []
    tried: Counter[str] = Counter()
    with ThreadPoolExecutor(asked.concurrent) as pool, show.progress(asked.n, "attack", quiet=asked.quiet) as tick:
        running = {
            pool.submit(attack, family, me, other, to.door(), seed=seed): (family, me)
            for family, me, other, seed in plans
        }
        try:
            for done in as_completed(running):
                family, me = running[done]
                held = done.result()
                asked.log(held, asked.app)
                tried[family] += 1
                found += [(held, family, one.value) for one in private.disclosed(held, mine=[me.id])]
                tick()
        except KeyboardInterrupt:
            click.echo("interrupted; what was said so far is kept", err=True)
            for one in running:
                one.cancel()
    bad = Counter(family for _, family, _ in found)
    conversations = len({held.id for held, *_ in found})
    if asked.quiet:
        rows = [{"conversation": held.id, "family": family, "value": value} for held, family, value in found]
        show.as_json(
            {"attacks": sum(tried.values()), "disclosed": conversations, "families": dict(tried), "findings": rows}
        )
    else:
        click.echo(f"in {conversations} of {sum(tried.values())} attacks something of another customer was said\n")
        show.table(
            [(name, tried[name], bad[name]) for name in FAMILIES if tried[name]],
            ("family", "attacks", "values disclosed"),
        )
        for held, family, value in found[:20]:
            click.echo(show.clean(f"{held.id} ({family}): {value}"), err=True)
    if conversations:
        raise SystemExit(1)
