"""A past for an app: requests of some days, as the lookout would have seen them come in."""

import math
import random
import time
from pathlib import Path

import orjson

from penstock.assemble import House
from penstock.config import load
from penstock.observe.journal import COLUMNS, STEPS
from penstock.observe.lookout import Lookout
from penstock.observe.quality import Looking, Quality
from penstock.types import new_id

__all__ = ["lived"]

TEXTS = ("key", "team", "person", "error", "calls", "guarded", "spans", "said", "parent")


def lived(folder: Path, *, days: int, slower_h: int = 0, an_hour: int = 12) -> None:
    """The past of an app, as the lookout saw it. slower_h: hours up to now in which answers took twice as long."""
    house = House(load(folder / "penstock.toml", environment={}))
    house.journal_tables.migrate("journal", STEPS)
    draw, now, clock = random.Random(2), time.time(), [0.0]
    beside = Looking(house.journal_tables, Quality(), clock=lambda: clock[0]).look
    look = Lookout(
        house.database, folder / "past.lock", house.objectives, {}, journal=house.journal_tables, clock=lambda: clock[0],
        beside=[beside],
    )  # fmt: skip
    into = f"insert into requests ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})"
    last = int(now // 3600)
    for hour in range(last - 24 * days, last + 1):
        rows = []
        count = round(an_hour * (1 + 0.5 * math.sin(hour * math.pi / 12)))
        for n in range(count):
            at, found = hour * 3600 + 3600 * n / count, draw.random() > 0.08
            told = {
                "status": "answer" if found else "not_found", "confidence": draw.betavariate(8, 2),
                "language": draw.choice(("en", "de")), "characters": round(draw.lognormvariate(5, 0.4)), "faults": [],
                "claims": {"supported": 2, "not_found": int(draw.random() < 0.05)}, "support": draw.betavariate(9, 1),
            }  # fmt: skip
            took = draw.lognormvariate(6, 0.4) * (2 if hour > last - slower_h else 1)
            row = dict.fromkeys(COLUMNS, 0) | dict.fromkeys(TEXTS, "") | {
                "id": new_id(), "trace_id": new_id(), "at": at, "app": "helper", "model": "helper", "dialect": "chat",
                "status": 200, "outcome": "ok", "duration_ms": took, "answer": orjson.dumps(told).decode(),
                "cost_pico_usd": round(1e9 * draw.lognormvariate(0, 0.3)),
            }  # fmt: skip
            rows += [[row[name] for name in COLUMNS]] if at < now else []
        with house.journal_tables.write() as w:
            w.executemany(into, rows)
        for minute in (12, 32, 52, 61):
            clock[0] = min(hour * 3600 + minute * 60.0, now)
            look.look()
    look.tally.save()
    house.close()
