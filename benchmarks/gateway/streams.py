"""With 200 streams at once, the gateway adds at most 5 ms to the first token and to each later one, in 99 of 100 cases.

    python -m benchmarks.gateway.streams [--litellm PROGRAM] [--portkey FOLDER] [--sglang PYTHON] [--references PYTHON]

The upstream takes 200 ms to the first token and 20 ms for each further one, and writes into each when it was due; the clients
compare that with the clock. What they see without a gateway is measured too, since the upstream's own timers are not exact.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence

from benchmarks.gateway.load import load
from benchmarks.gateway.mock import PIECES
from benchmarks.gateway.targets import Target, add_options, all_started, cores, on_core
from benchmarks.measure import Row, medians, show, versions, write

CLIENTS = 200
SPREAD_S = 0.3  # the clients arrive within this time, so that their tokens are not all due at the same moment
MODEL = "mock-200-20"
SETTLE_S = 0.2

COLUMNS = {
    "first token p50 ms": "first_p50_ms",
    "p99": "first_p99_ms",
    "added p50": "added_first_p50_ms",
    "added p99": "added_first_p99_ms",
    "late p50 ms": "late_p50_ms",
    "late p99": "late_p99_ms",
    "added late p99": "added_late_p99_ms",
    "tokens/s": "tokens_per_s",
    "CPU µs/token": "cpu_us_per_token",
    "peak MB": "peak_mb",
    "errors": "errors",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.5, help="of asking, in each round")
    options = parser.parse_args()
    busy = os.getloadavg()[0]
    with all_started(options) as targets:
        with on_core(cores(options).rest):
            rows = measured(targets, rounds=options.rounds, seconds=options.seconds)
        found = medians(rows)
        for target in targets[1:]:
            found[target.name]["peak_mb"] = round(target.peak_mb(), 1)
        for name in found:
            found[name]["errors"] = sum(row["errors"] for row in rows if row["system"] == name)
    show("200 streams at once", COLUMNS, found)
    figures = {
        "conditions": {
            "clients": CLIENTS,
            "first token": "200 ms",
            "each further token": "20 ms",
            "tokens": PIECES,
            "rounds": options.rounds,
            "seconds per round": options.seconds,
            "load average before": round(busy, 2),
        },
        "versions": versions(("penstock", "uvicorn", "httptools", "uvloop", "orjson"))
        | {target.name: target.version for target in targets if target.version},
        "medians": found,
        "rounds": rows,
    }
    if options.keep:
        options.keep.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    elif not options.without_penstock:
        write("gateway_streams", claim=__doc__, command="python -m benchmarks.gateway.streams …", figures=figures)


def measured(targets: Sequence[Target], *, rounds: int, seconds: float) -> list[Row]:
    """One row per target and round. Raises RuntimeError when a target answers nothing at all."""
    for target in targets:
        load(target.door, clients=16, seconds=0.3, stream=True)
    rows: list[Row] = []
    for number in range(1, rounds + 1):
        own: dict[str, Row] = {}
        for target in targets[:: 1 if number % 2 else -1]:
            own[target.name] = {"round": number, "system": target.name, **figures_of(target, seconds)}
        for row in own.values():
            for key in ("first_p50_ms", "first_p99_ms", "late_p99_ms"):
                row[f"added_{key}"] = row[key] - own["direct"][key]
        rows += own.values()
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return rows


def figures_of(target: Target, seconds: float) -> Row:
    before = target.cpu_s()
    outcome = load(target.door, clients=CLIENTS, seconds=seconds, model=MODEL, stream=True, spread_s=SPREAD_S)
    time.sleep(SETTLE_S)
    if not outcome.answers:
        raise RuntimeError(f"{target.name} answers nothing: {outcome.errors} errors, {outcome.wrong}")
    row: Row = {
        "first_p50_ms": outcome.first_p50_ms,
        "first_p99_ms": outcome.first_p99_ms,
        "late_p50_ms": outcome.late_p50_ms,
        "late_p99_ms": outcome.late_p99_ms,
        "tokens_per_s": outcome.pieces_per_s,
        "errors": outcome.errors,
    }
    return row | ({"cpu_us_per_token": (target.cpu_s() - before) / outcome.pieces * 1e6} if target.process else {})


if __name__ == "__main__":
    main()
