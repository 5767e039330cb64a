"""A request through the gateway takes at most 110 µs of CPU time and a streamed chunk 30, with everything switched on.

    python -m benchmarks.gateway.run [--litellm PROGRAM] [--portkey FOLDER] [--sglang PYTHON] [--references PYTHON]
    python -m benchmarks.gateway.run --quick      # ten seconds, Penstock alone: the two figures of the claim

Everything is keys, limits, a budget, the journal and the metrics. The others are set up to be as quick as they can be. Each
gateway has one core, with one worker; the mock upstream and the clients share another. The gateways take turns in every round
and medians are compared. CPU time holds still on a busy machine; requests a second and times do so less.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.gateway.load import Outcome, load
from benchmarks.gateway.mock import PIECES
from benchmarks.gateway.targets import Target, add_options, all_started, cores, on_core
from benchmarks.measure import Row, medians, show, versions, write

SETTLE_S = 0.2  # what a gateway still writes down after the answer belongs to the answer


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    clients: int
    model: str = "mock"
    stream: bool = False


ONE, SIXTEEN, MANY = Case("c1", 1), Case("c16", 16), Case("c64", 64)
BURST = Case("burst", 16, stream=True)
PACED = Case("paced", 64, "mock-5ms", stream=True)

COLUMNS = {
    "CPU µs/request": "cpu_us_per_request",
    "requests/s c1": "per_s_c1",
    "c16": "per_s_c16",
    "c64": "per_s_c64",
    "added p50 ms c1": "added_p50_ms_c1",
    "CPU µs/chunk": "cpu_us_per_chunk",
    "burst chunks/s": "burst_chunks_per_s",
    "paced first chunk p50 ms": "paced_first_p50_ms",
    "p99": "paced_first_p99_ms",
    "peak MB": "peak_mb",
    "start s": "start_s",
    "errors": "errors",
}
LESS_IS_BETTER = ("cpu_us_per_request", "cpu_us_per_chunk", "added_p50_ms_c1", "peak_mb", "start_s")
MORE_IS_BETTER = ("per_s_c1", "per_s_c16", "per_s_c64", "burst_chunks_per_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    add_options(parser)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=0.7, help="of asking, in each case of each round")
    parser.add_argument(
        "--warm", type=float, default=4.0, help="seconds of asking before that; node compiles meanwhile"
    )
    parser.add_argument("--quick", action="store_true", help="CPU time alone, in one round; no results are written")
    options = parser.parse_args()
    cases: Sequence[Case] = (ONE, SIXTEEN, MANY, BURST, PACED)
    if options.quick:
        cases, options.rounds, options.seconds, options.warm = (SIXTEEN, PACED), 1, 2.0, 0.6
    busy = os.getloadavg()[0]
    with all_started(options) as targets:
        with on_core(cores(options).rest):
            rows = measured(targets, cases, rounds=options.rounds, seconds=options.seconds, warm_s=options.warm)
        found = medians(rows)
        for target in targets[1:]:
            found[target.name] |= {"peak_mb": round(target.peak_mb(), 1), "start_s": round(target.start_s, 2)}
        for name in found:
            found[name]["errors"] = sum(row["errors"] for row in rows if row["system"] == name)
    show("gateway", {name: key for name, key in COLUMNS.items() if any(key in row for row in found.values())}, found)
    figures = {
        "conditions": conditions(options, busy),
        "versions": versions(("penstock", "uvicorn", "httptools", "uvloop", "orjson"))
        | {target.name: target.version for target in targets if target.version},
        "medians": found,
        "times penstock's": compared(found),
        "rounds": rows,
    }
    if "penstock" in found and not options.quick:
        less = {name: key for name, key in COLUMNS.items() if key in LESS_IS_BETTER}
        show("so many times as much as Penstock", less, compared(found))
    if options.keep:
        options.keep.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    elif not options.quick and not options.without_penstock:
        write("gateway", claim=__doc__, command="python -m benchmarks.gateway.run …", figures=figures)


def measured(
    targets: Sequence[Target], cases: Sequence[Case], *, rounds: int, seconds: float, warm_s: float
) -> list[Row]:
    """One row per target and round. Raises RuntimeError when a target answers nothing at all."""
    for target in targets:
        load(target.door, clients=16, seconds=warm_s)
        load(target.door, clients=16, seconds=warm_s / 3, stream=True)
    rows: list[Row] = []
    for number in range(1, rounds + 1):
        own: dict[str, Row] = {target.name: {"round": number, "system": target.name, "errors": 0} for target in targets}
        for case in cases:
            for target in targets[:: 1 if number % 2 else -1]:
                own[target.name] = merged(own[target.name], figures_of(target, case, seconds))
        if ONE in cases:
            for row in own.values():
                row["added_p50_ms_c1"] = row["p50_ms_c1"] - own["direct"]["p50_ms_c1"]
        rows += own.values()
        print(f"round {number} of {rounds}", file=sys.stderr, flush=True)
    return rows


def merged(row: Row, more: Row) -> Row:
    return {**row, **more, "errors": row["errors"] + more["errors"]}


def figures_of(target: Target, case: Case, seconds: float) -> Row:
    before = target.cpu_s()
    outcome = load(target.door, clients=case.clients, seconds=seconds, model=case.model, stream=case.stream)
    time.sleep(SETTLE_S)
    cpu_us = (target.cpu_s() - before) * 1e6
    if not outcome.answers:
        raise RuntimeError(f"{target.name} answers nothing in {case.name}: {outcome.errors} errors, {outcome.wrong}")
    if outcome.errors:
        print(f"{target.name}, {case.name}: {outcome.errors} errors, {outcome.wrong}", file=sys.stderr)
    return {"errors": outcome.errors, **_named(case, outcome, cpu_us if target.process else None)}


def _named(case: Case, outcome: Outcome, cpu_us: float | None) -> Row:
    """The figures of a case, under the names that they have in the results. cpu_us: of the gateway, if there is one."""
    each = None if cpu_us is None else cpu_us / outcome.answers
    chunk = None if each is None else each / PIECES
    match case.name:
        case "burst":
            figures = {"burst_chunks_per_s": outcome.pieces_per_s, "burst_cpu_us_per_chunk": chunk}
        case "paced":
            figures = {
                "paced_chunks_per_s": outcome.pieces_per_s,
                "paced_first_p50_ms": outcome.first_p50_ms,
                "paced_first_p99_ms": outcome.first_p99_ms,
                "cpu_us_per_chunk": chunk,
            }
        case name:
            figures = {
                f"per_s_{name}": outcome.per_s,
                f"p50_ms_{name}": outcome.p50_ms,
                f"p99_ms_{name}": outcome.p99_ms,
                "cpu_us_per_request" if name == "c16" else f"cpu_us_per_request_{name}": each,
            }
    return {name: figure for name, figure in figures.items() if figure is not None}


def compared(found: Mapping[str, Row]) -> dict[str, Row]:
    """Per other gateway: how many times as much as Penstock it takes, and what share of its rates it reaches."""
    if "penstock" not in found:
        return {}
    ours = found["penstock"]
    return {
        name: {
            key: round(row[key] / ours[key], 3)
            for key in (*LESS_IS_BETTER, *MORE_IS_BETTER)
            if key in row and key in ours
        }
        for name, row in found.items()
        if name not in ("penstock", "direct")
    }


def conditions(options: argparse.Namespace, busy: float) -> dict[str, Any]:
    return {
        "cores": "one for each gateway in turn, one for the upstream and the clients",
        "workers": 1,
        "rounds": options.rounds,
        "seconds per case": options.seconds,
        "seconds of warming up": options.warm,
        "request": "chat completion, 2 messages, 205 bytes; answers of 0.5 KB, streams of 50 chunks of 0.2 KB",
        "c1, c16, c64": "so many clients, each asking again as soon as it is answered",
        "burst": "16 clients, chunks as fast as they go",
        "paced": "64 clients, a chunk each 5 ms",
        "load average before": round(busy, 2),
    }


if __name__ == "__main__":
    main()
