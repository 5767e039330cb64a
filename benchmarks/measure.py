"""What the benchmarks share: CPU time, one process per system, rounds in turn, the machine, and the results file.

Everything is CPU time (user and system, children included), so that figures hold on a machine that is busy with other work.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

__all__ = ["Stopwatch", "System", "commit", "in_turn", "medians", "peak_mb", "report", "show", "versions", "write"]

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"

Row = dict[str, Any]

ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS"), "1"),
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
    "RAYON_NUM_THREADS": "1",
}
NO_NETWORK = {"HF_HUB_OFFLINE": "1", "HAYSTACK_TELEMETRY_ENABLED": "False", "DO_NOT_TRACK": "1"}


# ---------------------------------------------------------------- inside the process that is measured


class Stopwatch:
    """CPU seconds of this process and its finished children since the last lap; the first lap starts with the process."""

    def __init__(self) -> None:
        self._last = 0.0

    def lap(self) -> float:
        times = os.times()
        now = sum(times[:4])
        now = max(now, time.process_time())  # finer than the clock ticks of os.times
        passed, self._last = now - self._last, now
        return passed


def peak_mb() -> float:
    """Largest resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def versions(names: Iterable[str]) -> dict[str, str]:
    """Versions of the packages that are installed here."""
    found = {}
    for name in names:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def report(row: Mapping[str, Any]) -> None:
    """Hand the figures to the process that asked for them: one line of JSON, the last on standard output."""
    print(json.dumps(row), flush=True)


# ---------------------------------------------------------------- around it


@dataclass(frozen=True, slots=True)
class System:
    """One of the things compared: how its process is started."""

    name: str
    python: str
    arguments: tuple[str, ...]

    def run(self) -> Row:
        """Run it once, alone, on one thread. Raises RuntimeError with the end of its error output when it fails."""
        environment = os.environ | ONE_THREAD | NO_NETWORK
        command = [self.python, "-m", *self.arguments]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name} failed:\n{done.stderr[-3000:]}")
        row: Row = json.loads(done.stdout.strip().splitlines()[-1])
        return {"system": self.name, **row}


def in_turn(systems: Sequence[System], rounds: int, *, finish: Callable[[Row], None] = lambda row: None) -> list[Row]:
    """A B C A B C …: what slows the machine down for a while slows all of them. finish: adds derived figures to a row."""
    rows = []
    for number in range(1, rounds + 1):
        for system in systems:
            row = {"round": number, **system.run()}
            finish(row)
            rows.append(row)
            print(f"round {number}: {system.name}", file=sys.stderr, flush=True)
    return rows


def medians(rows: Sequence[Row]) -> dict[str, Row]:
    """Per system, the median of every figure over its rounds."""
    found: dict[str, Row] = {}
    for name in dict.fromkeys(row["system"] for row in rows):
        own = [row for row in rows if row["system"] == name]
        figures = [key for key, value in own[0].items() if isinstance(value, int | float) and key != "round"]
        found[name] = {key: _rounded(statistics.median(row[key] for row in own)) for key in figures}
    return found


def _rounded(value: float) -> float:
    return float(f"{value:.6g}") if isinstance(value, float) else value


def machine() -> Row:
    """Processor, cores and system, and whether the processor has fast int8."""
    model, flags = platform.processor() or platform.machine(), set[str]()
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
            elif key.strip() in ("flags", "Features"):
                flags |= set(value.split())
    except OSError:
        pass  # not Linux
    fast = sorted(flags & {"avx2", "avx512f", "avx512_vnni", "avx_vnni", "asimddp"})
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "instructions": fast,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def commit() -> str:
    """The commit that is checked out."""
    command = ["git", "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def write(
    name: str, *, claim: str | None, command: str, figures: Mapping[str, Any], commit_measured: str | None = None
) -> Path:
    """Write results/NAME.json: the claim, when, how and where it was measured, and every number.

    commit_measured: for a long run, the commit it started from; otherwise the one that is checked out now.
    """
    head = {
        "claim": (claim or "").splitlines()[0],
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "command": command,
        "commit": commit_measured or commit(),
        "machine": machine(),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({**head, **figures}, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def show(title: str, columns: Mapping[str, str], rows: Mapping[str, Row]) -> None:
    """Print a table in Markdown. columns: heading -> figure."""
    lines = [["", *columns]]
    for name, row in rows.items():
        lines.append([name, *(_shown(row.get(key, "")) for key in columns.values())])
    widths = [max(len(line[n]) for line in lines) for n in range(len(lines[0]))]

    def line(cells: Sequence[str]) -> str:
        first, *others = (
            cell.ljust(w) if n == 0 else cell.rjust(w) for n, (cell, w) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join([first, *others])} |"

    print(f"\n{title}\n")
    print(line(lines[0]))
    print("|" + "|".join("-" * (w + 1) + (":" if n else "-") for n, w in enumerate(widths)) + "|")
    print("\n".join(line(cells) for cells in lines[1:]))


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)
