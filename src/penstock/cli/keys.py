"""`penstock keys …`: API keys, made and taken back."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import replace
from typing import Any

import click
from click.shell_completion import CompletionItem

from penstock.cli import show
from penstock.cli.spend import cut, ledger, usd
from penstock.config import BudgetSettings, Settings, described_keys, is_loopback, load, moment
from penstock.errors import BadRequest, PenstockError
from penstock.keys import Key, Keys, allowed
from penstock.models.budgets import limits_of_key
from penstock.models.limits import USD, Limit, window_at
from penstock.storage.database import Database
from penstock.types import Caller

__all__ = ["keys"]


class _Home:
    """What the verbs here need of a home: its keys and its journal."""

    def __init__(self, file: str | None) -> None:
        settings = load(file, keys=False)
        self.settings: Settings = replace(settings, keys=described_keys(settings))
        database = Database(settings.home_path / "penstock.db")
        click.get_current_context().call_on_close(database.close)
        self.keys, self.ledger = Keys(database, self.settings.keys), ledger(file)

    def all(self) -> list[Key]:
        return [*self.keys.stated(), *self.keys.all()]

    def spent(self) -> list[dict[str, int]]:
        """Picodollars by key: today, and this month."""
        now = time.gmtime()
        today = time.strftime("%Y-%m-%d", now)
        since = (moment(today), moment(f"{today[:7]}-01"))
        return [{row.name: row.cost_pico_usd for row in self.ledger.spent("key", since=start)} for start in since]


def _names(context: click.Context, option: click.Parameter, begun: str) -> list[CompletionItem]:
    """Names of stored keys that begin so, for the shell. Whatever is wrong, it is not the time to say so."""
    try:
        home = load(context.find_root().params.get("file"), keys=False).home_path
        with closing(sqlite3.connect(f"{(home / 'penstock.db').as_uri()}?mode=ro", uri=True)) as database:
            rows = database.execute("select name from keys where not revoked order by name").fetchall()
    except (PenstockError, sqlite3.Error):
        return []
    return [CompletionItem(name) for (name,) in rows if name.startswith(begun)]


def _ahead(context: click.Context, option: click.Parameter, value: str | None) -> float:
    try:
        return moment(value, ahead=True) if value else 0.0
    except BadRequest as error:
        raise click.BadParameter(f"{error.message}: {error.hint}.", context, option) from error


key_argument = click.argument("name", shell_complete=_names)
money, count = click.FloatRange(0, min_open=True), click.IntRange(1)


@click.group()
def keys() -> None:
    """Make, list and take back API keys.

    With the first key every request needs one. Changes reach a running server within two seconds.
    """


@keys.command()
@click.argument("name")
@click.option("--team", default="", metavar="TEAM", help="The team it belongs to, for budgets and reports.")
@click.option("--tenant", default="", metavar="TENANT", help="The tenant it belongs to, for access lists.")
@click.option("--role", "roles", multiple=True, metavar="ROLE", help="A role for access lists; may be repeated.")
@click.option("--admin", is_flag=True, help="It may change documents, versions, keys and budgets over HTTP.")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="PATTERN",
    help="The only models, routes and apps it may use: a name, or a pattern such as 'gpt-*'; may be repeated.",
)
@click.option("--expires", callback=_ahead, metavar="TIME", help="When it stops working: 30d, 12h, or 2027-01-31.")
@click.option("--usd-per-day", type=money, metavar="USD", help="Money in one day, UTC.")
@click.option("--usd-per-month", type=money, metavar="USD", help="Money in one calendar month, UTC.")
@click.option("--usd", type=money, metavar="USD", help="Money altogether.")
@click.option("--tokens-per-day", type=count, metavar="N", help="Tokens in one day, input and output.")
@click.option("--requests-per-minute", type=count, metavar="N", help="Requests in a minute.")
@click.option("--tokens-per-minute", type=count, metavar="N", help="Tokens in a minute.")
@click.option("--concurrent", type=count, metavar="N", help="Requests that run at the same time.")
@show.json_option
@click.pass_obj
def create(
    file: str | None,
    name: str,
    team: str,
    tenant: str,
    roles: tuple[str, ...],
    admin: bool,
    models: tuple[str, ...],
    expires: float,
    usd_per_day: float | None,
    usd_per_month: float | None,
    usd: float | None,
    tokens_per_day: int | None,
    requests_per_minute: int | None,
    tokens_per_minute: int | None,
    concurrent: int | None,
    as_json: bool,
) -> None:
    """Make a key, and show its secret this once.

    The first key may be anybody's: whoever can use this terminal can go on managing documents and keys with it. Over
    HTTP that takes a key made with --admin.

    \b
    Examples:
      penstock keys create me --admin
      penstock keys create shop --team sales --model 'gpt-*' --usd-per-month 50 --expires 90d
    """
    home = _Home(file)
    first = not home.all()
    budget = BudgetSettings(
        limit_usd_per_day=usd_per_day or 0.0,
        limit_usd_per_month=usd_per_month or 0.0,
        limit_usd=usd or 0.0,
        limit_tokens_per_day=tokens_per_day or 0,
        requests_per_minute=requests_per_minute or 0,
        tokens_per_minute=tokens_per_minute or 0,
        concurrent=concurrent or 0,
    )
    key, secret = home.keys.create(
        name, team=team, tenant=tenant, roles=roles, admin=admin, models=models, expires=expires, budget=budget
    )
    _hand_over(home, key, secret, as_json=as_json)
    if first:
        before = " On this machine alone none was needed before." if is_loopback(home.settings.server.host) else ""
        click.echo(f"\nThis is the first key: from now on every request needs one.{before}", err=True)
    if not admin and not any(one.admin and one.state == "active" for one in home.all()):
        click.echo(
            "No key is an admin's: documents and keys can be changed in this terminal, and over HTTP only after\n"
            "  penstock keys create NAME --admin",
            err=True,
        )


def _hand_over(home: _Home, key: Key, secret: str, *, as_json: bool) -> None:
    if as_json:
        show.as_json({**key.plain(), "secret": secret})
        return
    settings, caller = home.settings, Caller(models=key.models)
    host = f"[{settings.server.host}]" if ":" in settings.server.host else settings.server.host
    scheme = "https" if settings.server.tls_cert else "http"
    address = f"{scheme}://{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{settings.server.port}"  # noqa: S104
    named = (*settings.routes, *settings.models, *settings.apps, *settings.documents)
    model = next((name for name in named if allowed(name, caller)), "NAME")
    body = f'{{"model": "{model}", "messages": [{{"role": "user", "content": "Hello"}}]}}'
    ends = f" It works until {_time(key.expires)}." if key.expires else ""
    click.echo(f"""{click.style(secret, bold=True)}

This is the key '{key.name}', shown this once: only its digest is kept.{ends}

  curl {address}/v1/chat/completions -H "authorization: Bearer {secret}" \\
    -H "content-type: application/json" -d '{body}'

  export OPENAI_BASE_URL={address}/v1 OPENAI_API_KEY={secret}

A server that is running takes it within two seconds.""")


@keys.command("list")
@show.json_option
@click.pass_obj
def list_(file: str | None, as_json: bool) -> None:
    """List the keys with their limits and what they spent, in US dollars, today and this month (UTC)."""
    home = _Home(file)
    found, (today, month) = home.all(), home.spent()
    if as_json:
        show.as_json([_plain(key, today, month) for key in found])
        return
    if not found:
        click.echo("no key yet, and none is needed on this machine alone: penstock keys create NAME")
        return
    heads = ("name", "state", "team", "models", "limits", "today", "month")
    rows = [
        (
            key.name, _state(key), cut(key.team, 12), cut(", ".join(key.models) or "all", 18), cut(_limits(key), 24),
            usd(today.get(key.name, 0)), usd(month.get(key.name, 0)),
        )
        for key in found
    ]  # fmt: skip
    shown = [n for n, head in enumerate(heads) if head not in ("team", "limits") or any(row[n] for row in rows)]
    show.table([[row[n] for n in shown] for row in rows], [heads[n] for n in shown])


@keys.command("show")
@key_argument
@show.json_option
@click.pass_obj
def show_(file: str | None, name: str, as_json: bool) -> None:
    """Show one key: its rights, its limits and what is used of them."""
    home = _Home(file)
    key = next((key for key in home.all() if key.name == name), None) or home.keys.get(name)
    today, month = home.spent()
    used = [(limit, _used(home, limit)) for limit in limits_of_key(key.name, key.budget)]
    if as_json:
        limits = [
            {"limit": str(limit), "used": amount / USD if limit.unit == "pico_usd" else amount}
            for limit, amount in used
            if amount is not None
        ]
        show.as_json({**_plain(key, today, month), "limits": limits})
        return
    rows = [
        ("state", _state(key) + ("" if key.stored else ", in the settings file")), ("begins with", key.shown),
        ("team", key.team), ("tenant", key.tenant), ("roles", ", ".join(key.roles)), ("models", ", ".join(key.models) or "all"),
        ("made", _time(key.created)), ("expires", _time(key.expires)), ("revoked", _time(key.revoked)),
        ("before it works until", _time(key.old_until) if key.old_until > time.time() else ""),
        ("spent today", f"{usd(today.get(name, 0))} USD"), ("spent this month", f"{usd(month.get(name, 0))} USD"),
        *(("limit", f"{limit}{_of(limit, amount)}") for limit, amount in used),
    ]  # fmt: skip
    click.echo(click.style(show.clean(name), bold=True))
    for head, text in rows:
        if text:
            click.echo(f"  {head:22}{show.clean(text)}")


@keys.command()
@key_argument
@click.option(
    "--grace", callback=_ahead, metavar="TIME", help="How long the old secret works too: 24h; else not at all."
)
@show.json_option
@click.pass_obj
def rotate(file: str | None, name: str, grace: float, as_json: bool) -> None:
    """Give a key a new secret, and show it this once. Its rights, limits and spend stay."""
    home = _Home(file)
    key, secret = home.keys.rotate(name, grace_s=max(0.0, grace - time.time()) if grace else 0.0)
    _hand_over(home, key, secret, as_json=as_json)
    until = f"works until {_time(key.old_until)}" if grace else "works no more"
    click.echo(f"\nThe old secret {until}.", err=True)


@keys.command()
@key_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@show.json_option
@click.pass_obj
def revoke(file: str | None, name: str, yes: bool, as_json: bool) -> None:
    """Make a key work no more. It stays in the list, and what it spent in the journal."""
    home = _Home(file)
    home.keys.get(name)
    if not yes:
        click.confirm(f"Revoke '{name}'? Whoever uses it is refused within two seconds.", abort=True, err=True)
    key = home.keys.revoke(name)
    show.as_json(key.plain()) if as_json else click.echo(f"{name} is revoked")
    if not any(one.state == "active" for one in home.all()):
        click.echo(
            "No key is left that works, so every request is refused. Without any key in the list none is needed again:\n"
            f"  penstock keys remove {name}",
            err=True,
        )


@keys.command()
@key_argument
@click.option("--yes", is_flag=True, help="Do not ask.")
@show.json_option
@click.pass_obj
def remove(file: str | None, name: str, yes: bool, as_json: bool) -> None:
    """Forget a key that is revoked or expired, so that its name is free again.

    Where the last one is forgotten, a server on this machine alone needs no key any more.
    """
    home = _Home(file)
    if not yes and home.keys.get(name).state != "active":
        last = len(home.all()) == 1
        click.confirm(
            f"Forget '{name}'?" + (" It is the last one: no request needs a key then." if last else ""),
            abort=True,
            err=True,
        )
    home.keys.remove(name)
    show.as_json({"removed": name}) if as_json else click.echo(f"{name} is forgotten")


# ---------------------------------------------------------------- in words


def _plain(key: Key, today: dict[str, int], month: dict[str, int]) -> dict[str, Any]:
    spent = {"today": today.get(key.name, 0) / USD, "month": month.get(key.name, 0) / USD}
    return {**key.plain(), "spent_usd": spent}


def _state(key: Key) -> str:
    return "admin" if key.admin and key.state == "active" else key.state


def _limits(key: Key) -> str:
    def short(limit: Limit) -> str:
        amount = f"{limit.most / USD:g} USD" if limit.unit == "pico_usd" else f"{limit.most:,} {limit.unit}"
        return amount + {"minute": "/min", "day": "/day", "month": "/month", "ever": "", "now": ""}[limit.window]

    return ", ".join(short(limit) for limit in limits_of_key(key.name, key.budget))


def _used(home: _Home, limit: Limit) -> int | None:
    """What the journal has booked. What is used of a minute, and what runs, only the server knows."""
    if limit.window in ("minute", "now"):
        return None
    return home.ledger.used(limit.name, window_at(limit.window, time.time()))


def _of(limit: Limit, used: int | None) -> str:
    if used is None:
        return ""
    return f", {usd(used)} USD used" if limit.unit == "pico_usd" else f", {used:,} used"


def _time(unix: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix)) if unix else ""
