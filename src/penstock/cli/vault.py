"""`penstock vault …`: the stand-ins that stay, looked up, given new keys, or erased."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import click

from penstock.cli import show
from penstock.config import load
from penstock.errors import NotFound
from penstock.guard.vault import Vault
from penstock.storage.audit import Audit
from penstock.storage.database import Database
from penstock.storage.envelope import Envelope

__all__ = ["vault"]


@contextmanager
def _open(file: str | None) -> Iterator[Vault]:
    """The vault of the home that the settings name; each look-up goes to the audit trail. Raises NotFound."""
    from penstock.assemble import key_source

    settings = load(file, keys=False)
    path = settings.home_path / "penstock.db"
    if not path.is_file():
        raise NotFound(f"there is no vault in {path.parent}", hint='scope = "tenant" in a [guard.NAME] makes one')
    with closing(Database(path)) as database, closing(Audit(database)) as audit:
        yield Vault(
            database,
            Envelope(database, key_source(settings)),
            seen=lambda lookup: audit.write("vault.read", target=f"{lookup.tenant}/{lookup.scope}/{lookup.token}"),
        )


tenant_option = click.option(
    "--tenant", default="", metavar="NAME", help="Whose; without it, those of nobody in particular."
)


@click.group()
def vault() -> None:
    """See what stand-ins stand for, give them new keys, erase them.

    A policy with `scope` other than `request` keeps its stand-ins here, sealed with keys of each tenant.
    """


@vault.command("list")
@tenant_option
@show.json_option
@click.pass_obj
def list_(file: str | None, tenant: str, as_json: bool) -> None:
    """List the scopes of a tenant."""
    with _open(file) as opened:
        names = opened.scopes(tenant)
    if as_json:
        show.as_json(names)
    else:
        click.echo("\n".join(map(show.clean, names)) or "no scope")


@vault.command("show")
@click.argument("token")
@click.argument("scope")
@tenant_option
@click.pass_obj
def show_(file: str | None, token: str, scope: str, tenant: str) -> None:
    """Show what a TOKEN of a SCOPE stands for. Who looks is written down in the audit trail."""
    with _open(file) as opened:
        if scope not in opened.scopes(tenant):
            raise NotFound(f"there is no scope '{scope}'", hint="penstock vault list")
        value = opened.scope(tenant, scope).value(token)
    if value is None:
        raise NotFound(f"'{scope}' has no '{token}'")
    click.echo(show.clean(value))


@vault.command()
@click.option("--tenant", metavar="NAME", help="Only this tenant's; without it, everybody's.")
@click.pass_obj
def rotate(file: str | None, tenant: str | None) -> None:
    """Seal everything anew with new keys, and destroy the old ones. Stand-ins stay as they are."""
    with _open(file) as opened:
        click.echo(f"{opened.rotate(tenant)} values have new keys")


@vault.command()
@tenant_option
@click.option("--scope", metavar="NAME", help="Only this scope.")
@click.option("--value", metavar="WORDS", help="Only this value, in all scopes, however it was written.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def erase(file: str | None, tenant: str, scope: str | None, value: str | None, yes: bool) -> None:
    """Erase a tenant, one of its scopes, or one value. The keys are destroyed, so that copies cannot be read either."""
    if scope and value:
        raise click.UsageError("erase a --scope or a --value, not both.")
    what = f"the scope '{scope}'" if scope else "that value" if value else f"all of the tenant '{tenant}'"
    if not yes:
        click.confirm(f"Erase {what}?", abort=True, err=True)
    with _open(file) as opened:
        count = opened.erase_value(tenant, value) if value else opened.erase(tenant, scope)
    click.echo(f"{count} values erased")
