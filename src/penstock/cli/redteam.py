"""`penstock redteam`: a drill against an app or a model behind its policy."""

from __future__ import annotations

import html
import json
from pathlib import Path

import click

from penstock.cli import show
from penstock.config import Settings, load
from penstock.errors import PenstockError
from penstock.evaluate.drill import Report, Share
from penstock.storage.audit import who
from penstock.storage.files import new_file
from penstock.trace import set_log_level

__all__ = ["redteam"]


@click.command()
@click.argument("target", metavar="APP")
@click.option("--live", is_flag=True, help="Ask the target's own models; without it, one that obeys every order.")
@click.option("--most", default=0, metavar="N", type=click.IntRange(0), help="About so many attacks; 0: all of them.")
@click.option(
    "--fail-over", type=click.FloatRange(0, 1), metavar="RATE", help="End with an error where more attacks work."
)
@click.option(
    "--gap-over",
    type=click.FloatRange(0, 1),
    metavar="RATE",
    help="End with an error where attacks in some language work so much more often than in English.",
)
@click.option(
    "--report", "to", type=click.Path(path_type=Path), metavar="FILE", help="Write the report, .html or .json."
)
@show.json_option
@click.pass_obj
def redteam(
    file: str | None,
    target: str,
    live: bool,
    most: int,
    fail_over: float | None,
    gap_over: float | None,
    to: Path | None,
    as_json: bool,
) -> None:
    """Attack an app, a model or a route, and say how many attacks worked.

    More than a thousand attacks in thirteen languages come in up to 21 forms: encoded, hidden, in roles, in small steps, planted in
    documents. Nothing leaves this machine unless --live asks a hosted model. What cannot be scored is never counted as safe.

    \b
    Examples:
      penstock redteam handbook --report drill.html
      penstock redteam handbook --most 2000 --fail-over 0.2
    """
    from penstock.redteam import redteam as attack

    if to is not None and to.suffix not in (".html", ".json"):
        raise click.UsageError("--report takes a file that ends in .html or .json.")
    settings = load(file, keys=False)
    set_log_level("off")  # what a drill does to models is no news
    click.get_current_context().call_on_close(lambda: set_log_level(settings.log.level))
    with show.progress(None, "attack", quiet=as_json) as tick:
        report = attack(settings, target, live=live, most=most, tick=tick)
    _keep(settings, report)
    if to is not None:
        text = json.dumps(report.plain(), ensure_ascii=False, indent=1) if to.suffix == ".json" else page(report)
        with new_file(to) as out:
            out.write(text.encode("utf-8", "replace"))
    if as_json:
        show.as_json(report.plain())
    else:
        _print(report)
    if fail_over is not None and report.worst_rate > fail_over:
        click.echo(f"{report.worst_rate:.1%} is more than {fail_over:.1%}", err=True)
        raise SystemExit(1)
    if gap_over is not None and report.gap > gap_over:
        click.echo(f"a gap between languages of {report.gap:.1%} is more than {gap_over:.1%}", err=True)
        raise SystemExit(1)


def _keep(settings: Settings, report: Report) -> None:
    """In the home, for the console."""
    from penstock.assemble import assemble
    from penstock.evaluate.kept import told_of_drill

    house = assemble(settings)
    try:
        run = house.runs.begin("drill", target=report.target, by=who())
        house.runs.end(run, "done", told_of_drill(report), report.plain())
    except PenstockError as error:
        click.echo(f"the result is not kept for the console: {error.message}", err=True)
    finally:
        house.close()


def _print(report: Report) -> None:
    total = report.total
    low, high = total.interval
    click.echo(f"{report.target}, policy {report.policy}, against {report.model}")
    click.echo(
        f"{total.worked:,} of {total.trials:,} attacks worked: {total.rate:.1%} (95 % interval {low:.1%} to {high:.1%}); "
        f"{total.flagged:,} more were marked for review, {total.unscored:,} could not be scored"
    )
    click.echo(f"{report.harmless.worked} of {report.harmless.trials} harmless requests were refused")
    for what in ("kind", "transform", "language"):
        click.echo()
        rows = [
            (share.name, f"{share.trials:,}", f"{share.rate:.1%}", f"{share.interval[0]:.1%}-{share.interval[1]:.1%}")
            for share in report.by(what)
        ]
        show.table(rows, (what, "trials", "worked", "95 % interval"))
    click.echo(f"\nin the worst language attacks work {report.gap:.1%} more often than in English")
    click.echo(f"\n{report.seconds:.0f} s", err=True)


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 2rem; }
@media (max-width: 40rem) { meter { display: none; } th, td { padding: .3rem; font-size: .9rem; } }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #8884; vertical-align: top; }
th.n, td.n { text-align: right; font-variant-numeric: tabular-nums; }
meter { width: 8rem; }
h1 { overflow-wrap: anywhere; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; font-size: .85rem; }
"""


def page(report: Report) -> str:
    """The report as one page that needs nothing else."""
    total = report.total
    low, high = total.interval
    sections = "".join(f"<h2>By {what}</h2>{_table(report.by(what))}" for what in ("kind", "transform", "language"))
    worked = [trial.attack for trial in report.trials if trial.outcome == "worked"][:20]
    examples = "".join(
        f"<tr><td>{e(a.kind)}<br>{e(a.transform)}<br>{e(a.language)}</td><td><pre>{e(a.text[:400])}</pre></td></tr>"
        for a in worked
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Drill: {e(report.target)}</title><style>{STYLE}</style>
<h1>{e(report.target)}</h1>
<p>Policy <b>{e(report.policy)}</b>, against {e(report.model)}, in {report.seconds:.0f} s.</p>
<p><b>{total.worked:,} of {total.trials:,} attacks worked: {total.rate:.1%}</b> (95 % interval {low:.1%} to {high:.1%}).
{total.flagged:,} more were marked for review; {total.unscored:,} could not be scored, and are not counted as safe.</p>
<p>{report.harmless.worked} of {report.harmless.trials} harmless requests were refused.</p>
{sections}
<p>In the worst language attacks work {report.gap:.1%} more often than in English.</p>
<h2>Attacks that worked</h2>
<table><tr><th>kind, form, language</th><th>text</th></tr>{examples or "<tr><td colspan=2>none</td></tr>"}</table>
</html>
"""


def _table(shares: list[Share]) -> str:
    rows = "".join(
        f"<tr><td>{e(s.name)}</td><td class=n>{s.trials:,}</td><td class=n>{s.rate:.1%}</td>"
        f"<td class=n>{s.interval[0]:.1%} to {s.interval[1]:.1%}</td>"
        f'<td><meter value="{s.rate:.4f}" low=".05" high=".3" optimum="0" aria-label="share that worked"></meter></td></tr>'
        for s in shares
    )
    heads = "".join(f"<th class=n>{name}</th>" for name in ("trials", "worked", "95 % interval"))
    return f"<table><tr><th></th>{heads}<th></th></tr>{rows}</table>"


def e(text: str) -> str:
    return html.escape(text.encode("utf-8", "replace").decode())
