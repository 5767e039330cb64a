"""`penstock ab …`: experiments with two versions: how large, what a rule would do, and what one has shown; those of a server."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from penstock.cli import ab_live, show
from penstock.cli.rows import parsed_rows
from penstock.errors import BadRequest, Unreadable
from penstock.evaluate.ab import Decision, Guardrail, Plan
from penstock.evaluate.power import Metric, Sized, effect_for, power_of, size_for
from penstock.evaluate.replay import LOOKS, Analysis, Observation, analyse
from penstock.evaluate.sequential import RULES, RuleName, rule_of
from penstock.evaluate.simulation import normal, rate, simulate
from penstock.stats import Interval

__all__ = ["ab"]

COLOURS = {"continue": "cyan", "winner": "green", "no_difference": "yellow", "harm": "red", "invalid": "magenta"}
WORDS = {
    "continue": "goes on", "winner": "winner", "no_difference": "no difference shown", "harm": "stopped for harm",
    "invalid": "invalid",
}  # fmt: skip
CELL = 1 << 20  # characters in one cell of a CSV file


@click.group()
def ab() -> None:
    """Compare two versions in production: plan, watch as often as you like, decide.

    \b
    Examples:
      penstock ab power --baseline 0.80 --effect 0.02
      penstock ab simulate --baseline 0.80 --effect 0.02 --per-arm 10000
      penstock ab analyse results.csv --per-arm 10000 --min-effect 0.02
      penstock ab status new-prompt
    """


for command in (ab_live.list_, ab_live.status, ab_live.history, ab_live.stop, ab_live.start):
    ab.add_command(command)

rule_option = click.option(
    "--rule", default="planned", show_default=True, type=click.Choice(RULES), help="How looks are paid for."
)
alpha_option = click.option(
    "--alpha", default=0.05, show_default=True, type=click.FloatRange(0, 0.5, min_open=True, max_open=True),
    help="How often a difference may be found where there is none.",
)  # fmt: skip
baseline_option = click.option(
    "--baseline", required=True, type=float, metavar="MEAN", help="Rate or mean of the control."
)
deviation_option = click.option(
    "--sd", "deviation", type=float, metavar="SD", help="Standard deviation, of what is not a rate."
)


@ab.command()
@baseline_option
@click.option(
    "--effect", type=float, metavar="CHANGE", help="The change that you want to see; without it, the one you will."
)
@click.option(
    "--per-arm", type=click.IntRange(1, 10**12), metavar="N", help="Units in each arm; without it, those it takes."
)
@click.option(
    "--power", "power_", default=0.9, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True)
)
@deviation_option
@click.option("--correlation", default=0.0, metavar="RHO", type=float, help="With what is known from before (CUPED).")
@alpha_option
@show.json_option
def power(
    baseline: float, effect: float | None, per_arm: int | None, power_: float, deviation: float | None,
    correlation: float, alpha: float, as_json: bool,
) -> None:  # fmt: skip
    """Say how many units an effect takes, which effect so many units show, or how likely they show it.

    Beside one look at the end stands the rule `planned`, with a look after every unit: it takes some more at most, and far fewer on
    average.

    \b
    Examples:
      penstock ab power --baseline 0.80 --effect 0.02
      penstock ab power --baseline 0.80 --per-arm 10000
      penstock ab power --baseline 12.5 --sd 4 --effect 0.5 --correlation 0.6
    """
    metric = Metric(baseline, deviation, correlation)
    if effect is None and per_arm is None:
        raise click.UsageError("give --effect, --per-arm, or both.")
    rules: tuple[RuleName, ...] = ("fixed", "planned")
    found: dict[str, tuple[float, Sized]] = {}
    for rule in rules:
        if effect is None:
            shown = effect_for(metric, per_arm or 0, power=power_, rule=rule, alpha=alpha)
            if math.isinf(shown):
                raise BadRequest(f"{per_arm} units in each arm show no effect with a power of {power_:g}")
            found[rule] = shown, power_of(metric, shown, per_arm or 0, rule=rule, alpha=alpha)
        elif per_arm is None:
            found[rule] = effect, size_for(metric, effect, power=power_, rule=rule, alpha=alpha)
        else:
            found[rule] = effect, power_of(metric, effect, per_arm, rule=rule, alpha=alpha)
    if as_json:
        show.as_json({rule: {"effect": shown, **sized._asdict()} for rule, (shown, sized) in found.items()})
        return
    names = {"fixed": "one look at the end", "planned": "a look after every unit"}
    rows = [
        (names[rule], f"{shown:.4g}", f"{sized.units:,}", f"{sized.power:.1%}", f"{sized.mean_units:,.0f}")
        for rule, (shown, sized) in found.items()
    ]
    show.table(rows, ("", "effect", "units per arm", "power", "on average"))


@ab.command("simulate")
@baseline_option
@click.option(
    "--effect", required=True, type=float, metavar="CHANGE", help="The change that is there in half of the experiments."
)
@click.option(
    "--per-arm", required=True, type=click.IntRange(50, 1_000_000), metavar="N", help="Units planned in each arm."
)
@click.option("--replicates", default=10_000, show_default=True, type=click.IntRange(10, 1_000_000), metavar="N")
@rule_option
@deviation_option
@alpha_option
@click.option(
    "--futility", is_flag=True, help="Also stop where the effect can hardly be shown any more (rule `planned`)."
)
@click.option("--seed", default=0, metavar="N", type=click.IntRange(0))
@show.json_option
def simulate_(
    baseline: float, effect: float, per_arm: int, replicates: int, rule: RuleName, deviation: float | None,
    alpha: float, futility: bool, seed: int, as_json: bool,
) -> None:  # fmt: skip
    """Run thousands of experiments, with and without the effect, each looked at after every single observation.

    Prints how often somebody wins where there is no difference, how often the right one wins where there is, and after how many
    units. Ten thousand of each with 10,000 units in each arm take about a minute on one core.

    \b
    Examples:
      penstock ab simulate --baseline 0.80 --effect 0.02 --per-arm 10000
      penstock ab simulate --baseline 12.5 --sd 4 --effect 0.5 --per-arm 2000 --rule always --replicates 1000
    """
    bounds = rule_of(rule, alpha)
    draws = [
        rate(baseline, baseline + change) if deviation is None else normal(baseline, baseline + change, deviation)
        for change in (0.0, effect)
    ]
    with show.progress(2 * replicates, "experiment", quiet=as_json) as tick:
        null, real = (
            simulate(
                draw, bounds, units_per_arm=per_arm, replicates=replicates, seed=seed + n, tick=tick,
                minimum_effect=abs(effect) if futility else 0.0,
            )
            for n, draw in enumerate(draws)
        )  # fmt: skip
    right = real.right if effect >= 0 else real.wrong
    figures = {
        "false_positives": _plain(null.decided),
        "mean_stop_without_effect": _plain(null.length),
        "power": _plain(right),
        "mean_stop_with_effect": _plain(real.length),
    }
    if as_json:
        conditions = {
            "baseline": baseline,
            "effect": effect,
            "per_arm": per_arm,
            "replicates": replicates,
            "rule": rule,
            "alpha": alpha,
        }
        show.as_json({**conditions, "deviation": deviation, "futility": futility, "seed": seed, **figures})
        return
    rows = [
        ("false positives, no effect", *_percent(null.decided)),
        ("units per arm at the stop, no effect", *_count(null.length)),
        (f"power, effect {effect:+g}", *_percent(right)),
        (f"units per arm at the stop, effect {effect:+g}", *_count(real.length)),
    ]
    show.table(rows, (f"{replicates:,} experiments, rule {rule}", "", "95 % interval"))


def _plain(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _percent(interval: Interval) -> tuple[str, str]:
    return f"{interval.estimate:.2%}", f"{interval.low:.2%} to {interval.high:.2%}"


def _count(interval: Interval) -> tuple[str, str]:
    return f"{interval.estimate:,.0f}", f"{interval.low:,.0f} to {interval.high:,.0f}"


# ---------------------------------------------------------------- a file of results


@ab.command("analyse")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--per-arm", type=click.IntRange(1, 10**12), metavar="N", help="Units that were planned in each arm.")
@click.option(
    "--control", default="control", show_default=True, metavar="ARM", help="The arm that the others are held against."
)
@rule_option
@alpha_option
@click.option(
    "--min-effect", default=0.0, type=click.FloatRange(0), metavar="CHANGE", help="A smaller change does not matter."
)
@click.option("--better", default="higher", show_default=True, type=click.Choice(["higher", "lower"]))
@click.option(
    "--guardrail", "guardrails", multiple=True, metavar="COLUMN:BETTER:MARGIN",
    help="A column that must not get worse, such as latency_s:lower:0.1; may be repeated.",
)  # fmt: skip
@click.option("--weights", metavar="ARM=W,…", help="How units were dealt out, to see whether some got lost.")
@click.option("--value", default="value", show_default=True, metavar="COLUMN", help="What is compared.")
@click.option(
    "--sd", "deviation", default=0.0, type=click.FloatRange(0), metavar="SD",
    help="Of a unit, as planned: progress is then told by how sure the difference is, and not by units.",
)  # fmt: skip
@click.option("--no-before", is_flag=True, help="Do not use what is known from before.")
@show.json_option
def analyse_(
    file: Path, per_arm: int | None, control: str, rule: RuleName, alpha: float, min_effect: float, better: Any,
    guardrails: tuple[str, ...], weights: str | None, value: str, deviation: float, no_before: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Say what an experiment has shown, as somebody would who looked at it all the time.

    FILE is CSV or JSON Lines (.jsonl) with the columns `unit`, `arm` and `value`, and maybe `before` (of the unit, from before
    the experiment: takes variance out), `time` (rows are put in its order) and `stage` (times during which the weights were the
    same). Several rows of one unit count as one. A value is a number, or true or false.

    \b
    Rules:
      planned  up to --per-arm units, looked at all the time (O'Brien-Fleming bounds)
      always   without a planned size or end (a confidence sequence); wider
      fixed    one look, at all rows: only right if nobody looked before

    \b
    Examples:
      penstock ab analyse results.csv --per-arm 10000 --min-effect 0.02
      penstock ab analyse results.jsonl --per-arm 5000 --guardrail latency_s:lower:0.1 --weights control=1,new=1
      penstock ab analyse results.csv --rule fixed --json
    """
    if per_arm is None and rule == "planned":
        raise click.UsageError("the rule `planned` needs --per-arm; without a plan, use --rule always.")
    rails = tuple(_guardrail(text) for text in guardrails)
    plan = Plan(
        units=per_arm or 10_000,
        rule=rule,
        alpha=alpha,
        better=better,
        minimum_effect=min_effect,
        guardrails=rails,
        deviation=deviation,
    )
    rows = _observations(file, value, [one.name for one in rails])
    with show.progress(LOOKS, "look", quiet=as_json) as tick:
        found = analyse(rows, plan, control=control, weights=_weights(weights), use_before=not no_before, tick=tick)
    if as_json:
        show.as_json(found.plain())
        return
    _print(found)


def _print(found: Analysis) -> None:
    rows = []
    for name, one in found.decisions.items():
        state = WORDS[one.outcome] + (f": {name if one.winner == 'candidate' else found.control}" if one.winner else "")
        click.echo(f"{click.style(show.clean(state), fg=COLOURS[one.outcome], bold=True)}: {show.clean(one.reason)}")
        for arm, units, mean in zip((found.control, name), one.units, one.means, strict=True):
            rows.append((arm, f"{units:,}", f"{mean:.4g}", "", "", ""))
        rows.append((f"{name} less {found.control}", "", f"{one.difference:+.4g}", *_ends(one), f"{one.p_value:.2g}"))
        rows += [
            (
                f"guardrail {rail.name}: {rail.status}",
                "",
                f"{rail.difference:+.4g}",
                f"{rail.interval[0]:+.4g}",
                f"{rail.interval[1]:+.4g}",
                "",
            )
            for rail in one.guardrails
        ]
    click.echo()
    show.table(rows, ("", "units", "mean", "from", "to", "p, at any look"))
    for name, one in found.decisions.items():
        at = found.stopped_after[name]
        notes = [f"decided after {at:,} of {found.rows:,} rows" if at < found.rows else f"{found.rows:,} rows"]
        if abs(one.adjusted - one.difference) > 1e-12:
            notes.append(f"without what stopping early adds: {one.adjusted:+.4g}")
        if one.variance_cut:
            notes.append(f"what is known from before took {one.variance_cut:.0%} off the variance")
        click.echo(show.clean(f"{name}: {'; '.join(notes)}"), err=True)
    for number, what in (
        (found.in_two_arms, "units were in two arms and left out"),
        (found.without_value, "rows had no value and were left out"),
        (found.in_later_stages, "rows of units from an earlier stage were left out"),
        (found.without_before, "units had no `before`: the mean of the others stands in"),
    ):
        if number:
            click.echo(click.style(f"{number:,} {what}", fg="yellow"), err=True)


def _ends(one: Decision) -> tuple[str, str]:
    return f"{one.interval[0]:+.4g}", f"{one.interval[1]:+.4g}"


def _guardrail(text: str) -> Guardrail:
    name, _, rest = text.partition(":")
    better, _, margin = rest.partition(":")
    if not name or better not in ("higher", "lower"):
        raise BadRequest(f"{text!r} is no guardrail", hint="COLUMN:BETTER:MARGIN, such as latency_s:lower:0.1")
    try:
        return Guardrail(name=name, better="higher" if better == "higher" else "lower", margin=float(margin or 0))
    except ValueError as error:
        raise BadRequest(f"the margin of {text!r} is no number") from error


def _weights(text: str | None) -> Mapping[str, float] | None:
    if text is None:
        return None
    found = {}
    for part in text.split(","):
        arm, _, weight = part.partition("=")
        try:
            found[arm.strip()] = float(weight)
        except ValueError as error:
            raise BadRequest(f"{part!r} is no weight", hint="--weights control=1,new=1") from error
        if not (found[arm.strip()] > 0 and math.isfinite(found[arm.strip()])):
            raise BadRequest(f"a weight is above 0, not {weight}")
    return found


def _observations(file: Path, value: str, guardrails: list[str]) -> list[Observation]:
    """The rows of a file, in the order of their time."""
    found: list[tuple[float, Observation]] = []
    read = _csv_rows if file.suffix.lower() in (".csv", ".tsv") else _json_rows
    seen_columns: set[str] = set()
    for number, row in read(file):
        seen_columns |= row.keys()
        unit, arm = (_label(row.get(name), name, number) for name in ("unit", "arm"))
        observation = Observation(
            unit, arm, _number(row.get(value), value, number), _number(row.get("before"), "before", number),
            tuple(_number(row.get(name), name, number) for name in guardrails), _stage(row.get("stage")),
        )  # fmt: skip
        found.append((_time(row.get("time"), number), observation))
    if not found:
        raise BadRequest(f"{file} has no rows")
    if missing := [name for name in (value, *guardrails) if name not in seen_columns]:
        raise BadRequest(f"{file} has no column {missing[0]!r}", hint=f"it has {', '.join(sorted(seen_columns)[:12])}")
    return [observation for _, observation in sorted(found, key=lambda one: one[0])]


def _csv_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    csv.field_size_limit(CELL)
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter="\t" if file.suffix.lower() == ".tsv" else ",", strict=True)
            for row in reader:
                if None in row or None in row.values():
                    raise BadRequest(f"line {reader.line_num}: it has not as many cells as the first line")
                yield reader.line_num, row
    except UnicodeDecodeError as error:
        raise Unreadable(f"{file} is not UTF-8 text") from error
    except csv.Error as error:
        raise BadRequest(f"{file} is not CSV: {error}") from error


def _json_rows(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open("rb") as lines:
        yield from parsed_rows(lines)


def _label(value: Any, name: str, number: int) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRequest(f"line {number} has no `{name}`", hint="each row needs `unit`, `arm` and a value")
    return str(value).encode("utf-8", "replace").decode()


def _stage(value: Any) -> str:
    return "" if value is None else str(value)


def _number(value: Any, name: str, number: int) -> float | None:
    """A number, true or false; None where there is nothing."""
    if value is None or (isinstance(value, str) and value.strip() == ""):
        return None
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return float(value.strip().lower() == "true")
    try:
        found = float(value) if isinstance(value, str | int | float) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found) or abs(found) > 1e100:
        raise BadRequest(f"line {number}: `{name}` is no number that can be reckoned with")
    return found


def _time(value: Any, number: int) -> float:
    """Seconds, from a number or a date; rows without any keep the order of the file."""
    if value is None or value == "":
        return 0.0
    try:
        return float(value)
    except (TypeError, ValueError):
        pass
    try:
        moment = datetime.fromisoformat(str(value).strip())
    except ValueError as error:
        raise BadRequest(f"line {number}: `time` is neither a number nor a date such as 2027-01-31T12:00:00") from error
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
