"""Claim: under half an hour of mixed traffic the gateway's memory stays flat: its second half grows by less than 2 %.

Whole and streamed answers, failing and dying upstreams, upstreams that never answer, clients that leave in the middle, and
requests that are refused, at a steady rate. Memory is what the gateway's processes have resident, looked at every few seconds.

    python -m benchmarks.gateway.soak --minutes 30
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import orjson

from benchmarks.gateway.targets import Target, _status_mb, on_core, penstock, start, start_mock
from benchmarks.measure import commit, write
from penstock.errors import PenstockError
from penstock.models.client import Client, Timeouts, Url

EVERY_S = 5.0
# what is asked, how often of a hundred, and after how many seconds the client leaves
MIX: tuple[tuple[str, bool, int, float], ...] = (
    ("mock", False, 40, 60.0),
    ("mock", True, 30, 60.0),
    ("mock-5ms", True, 12, 0.1),
    ("mock-hang", False, 3, 0.2),
    ("mock-stall", True, 3, 0.2),
    ("mock-die", True, 4, 60.0),
    ("mock-fail", False, 4, 60.0),
    ("mock-garbage", True, 2, 60.0),
    ("nothing", False, 2, 60.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=150.0, help="requests a second")
    options = parser.parse_args()
    started = commit()
    with tempfile.TemporaryDirectory() as folder, start_mock(1) as upstream:
        launch = penstock(Path(folder), upstream, port := 9_870)
        with start(launch, Path(folder), port, core=0) as target, on_core(1):
            rows, ended = asyncio.run(_soaked(target, options.minutes * 60, options.rate))
    memory = [row["memory_mb"] for row in rows]
    half = len(memory) // 2
    tenth = max(1, len(memory) // 10)
    before, after = _mean(memory[half : half + tenth]), _mean(memory[-tenth:])
    figures = {
        "requests": sum(ended.values()),
        "endings": dict(ended),
        "memory_mb": {"start": memory[0], "middle": before, "end": after, "most": max(memory)},
        "growth_percent": round((after / before - 1) * 100, 2),
    }
    conditions = {"minutes": options.minutes, "rate_per_s": options.rate, "mix": [list(part) for part in MIX]}
    figures |= {"conditions": conditions, "samples": rows[:: max(1, len(rows) // 60)]}
    command = f"python -m benchmarks.gateway.soak --minutes {options.minutes:g}"
    print(write("gateway_soak", claim=__doc__, command=command, figures=figures, commit_measured=started))


def _mean(values: list[float]) -> float:
    return round(sum(values) / len(values), 2)


async def _soaked(target: Target, seconds: float, rate: float) -> tuple[list[dict[str, Any]], Counter[str]]:
    client, ended = Client(), Counter[str]()
    began, asked = time.perf_counter(), 0
    rows: list[dict[str, Any]] = []
    running: set[asyncio.Task[None]] = set()
    chance = random.Random(7)
    weights = [share for _, _, share, _ in MIX]
    looked = 0.0
    while (passed := time.perf_counter() - began) < seconds:
        while asked < passed * rate:
            asked += 1
            model, stream, _, leaves_s = chance.choices(MIX, weights)[0]
            task = asyncio.ensure_future(_ask(client, target, ended, model, stream=stream, leaves_s=leaves_s))
            running.add(task)
            task.add_done_callback(running.discard)
        if passed - looked >= EVERY_S or not rows:
            looked = passed
            memory = sum(_status_mb(process, "VmRSS") for process in target._processes())
            rows.append({"second": round(passed), "memory_mb": round(memory, 2), "cpu_s": round(target.cpu_s(), 2)})
        await asyncio.sleep(0.02)
    await asyncio.wait(running, timeout=60) if running else None
    client.close()
    return rows, ended


async def _ask(
    client: Client, target: Target, ended: Counter[str], model: str, *, stream: bool, leaves_s: float
) -> None:
    door = target.door
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Say what a gateway does."}]}
    headers = [(b"authorization", f"Bearer {door.key}".encode()), (b"content-type", b"application/json")]
    url = Url.parse(f"{door.url.rstrip('/')}/chat/completions")
    try:
        async with asyncio.timeout(leaves_s):
            response = await client.request("POST", url, headers, orjson.dumps(body), timeouts=Timeouts(idle_s=60))
            with contextlib.closing(response):
                while await response.next():
                    pass
            ended[str(response.status)] += 1
    except TimeoutError:
        ended["left"] += 1
    except PenstockError as error:
        ended[error.code] += 1


if __name__ == "__main__":
    main()
