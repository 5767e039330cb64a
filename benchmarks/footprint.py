"""Small to install, quick to start: clone to first cited answer in a minute, 250 MB on disk, 250 MB in memory.

    python -m benchmarks.footprint

A fresh clone of the committed state is installed into an environment of its own; that needs the package index.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT, show, write

IMPORT = """
import sys, time
before, started = len(sys.modules), time.process_time()
import penstock
penstock.Penstock
print(len(sys.modules) - before, time.process_time() - started)
import json
print(json.dumps(sorted(name for name in ("numpy", "onnxruntime", "torch", "httpx2") if name in sys.modules)))
"""
LIMITS = {
    "clone to first answer, s": 60.0, "core install, MB": 250.0, "import penstock, modules": 300, "import penstock, CPU-s": 0.3,
    "server ready, s": 2.0, "resident after 20 answers, MB": 250.0,
}  # fmt: skip


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        clone = Path(name) / "penstock"
        figures = {**first_answer(clone), **installed(clone), **imported(clone), **serving(clone)}
    show("footprint", {"measured": "measured", "at most": "limit"},
         {key: {"measured": figures[key], "limit": limit} for key, limit in LIMITS.items()})  # fmt: skip
    write(
        "footprint",
        claim=__doc__,
        command="python -m benchmarks.footprint",
        figures={"figures": figures, "limits": LIMITS},
    )


def first_answer(clone: Path) -> dict[str, Any]:
    """Type the two lines that the README says, and wait for the first cited answer."""
    started = time.monotonic()
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(clone)], check=True)
    cloned = time.monotonic()
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PENSTOCK_", "VIRTUAL_ENV"))}
    process = subprocess.Popen(
        ["make", "up"], cwd=clone, env=environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    answered = 0.0
    for line in process.stdout:
        if line.strip().startswith("[1]") and not answered:
            answered = time.monotonic()
        if "Penstock is up" in line:
            break
    up = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as Ctrl-C does: to make and to what it started
    process.stdout.read()
    process.wait(30)
    return {
        "clone to first answer, s": round(answered - started, 1),
        "of that cloning, s": round(cloned - started, 1),
        "clone to serving, s": round(up - started, 1),
    }


def installed(clone: Path) -> dict[str, Any]:
    """What the core install adds to an empty environment, without extras; pip's own files are not counted."""
    bare, core = clone.parent / "bare", clone.parent / "core"
    for folder in (bare, core):
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    pip = [core / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    subprocess.run([*map(str, pip), str(clone)], check=True)
    return {"core install, MB": round((_size(core) - _size(bare)) / 1e6, 1)}


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc")


def imported(clone: Path) -> dict[str, Any]:
    python = clone.parent / "core" / "bin" / "python"
    runs = []
    for _ in range(5):
        done = subprocess.run([python, "-c", IMPORT], capture_output=True, text=True, check=True, cwd=clone.parent)
        modules, seconds = done.stdout.split()[:2]
        runs.append((int(modules), float(seconds)))
        heavy = json.loads(done.stdout.splitlines()[1])
    return {
        "import penstock, modules": runs[0][0],
        "import penstock, CPU-s": round(sorted(seconds for _, seconds in runs)[2], 3),
        "heavy packages it loads": heavy,
    }


def serving(clone: Path) -> dict[str, Any]:
    """Start the server over an index that is there, ask it twenty times, look at its memory."""
    penstock, home = clone.parent / "core" / "bin" / "penstock", clone.parent / "home"
    environment = os.environ | {"PENSTOCK_HOME": str(home)}
    subprocess.run(
        [penstock, "up", "--demo", "--no-serve"], env=environment, check=True, capture_output=True, cwd=clone.parent
    )
    times = []
    for _ in range(3):
        started = time.monotonic()
        process = subprocess.Popen(
            [penstock, "up", "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True, cwd=clone.parent
        )
        assert process.stdout
        address = next(found[1] for line in process.stdout if (found := re.search(r"is up: (http://\S+)", line)))
        with urllib.request.urlopen(f"{address}/readyz") as response:
            assert response.status == 200
        times.append(time.monotonic() - started)
        for n in range(20):
            body = {
                "model": "penstock-docs",
                "messages": [{"role": "user", "content": f"How do I go back to version {n}?"}],
            }
            request = urllib.request.Request(
                f"{address}/v1/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
            )
            urllib.request.urlopen(request).read()
        resident = _resident_mb(process.pid)
        process.terminate()
        process.stdout.read()
        process.wait(30)
    return {"server ready, s": round(sorted(times)[1], 2), "resident after 20 answers, MB": resident}


def _resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return round(int(found[1]) / 1024, 1)


if __name__ == "__main__":
    main()
