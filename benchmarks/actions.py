"""An action that reads costs about 1 ms of CPU time, one that writes, is read back and agreed to about 2, after 100,000 others.

    python -m benchmarks.actions

What is counted is all of the machine: arguments checked, who may, rates, the log, the transactions, the words sealed where that is
switched on. The actions themselves read or write one row. Wall time is given beside it, since the disk's is no CPU time.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from benchmarks.measure import show, versions, write
from penstock.agents.actions import Action, Context, Found, Money, Person, Rate, Text, action
from penstock.agents.requests import ActionRequests
from penstock.agents.states import replay
from penstock.assemble import House
from penstock.config import EncryptionSettings, Settings

EACH, BEFORE, ROUNDS = 400, 100_000, 3
RATE = Rate(1_000_000, 60.0)
Order = Annotated[str, "The number on the bill.", Text(pattern=r"#W\d{3,7}")]


def declared(booked: dict[str, Decimal]) -> list[Action]:
    @action("reads", here=True, rate=RATE)
    def look(context: Context, order: Order) -> dict[str, Any]:
        """Look at an order."""
        assert context.rows is not None
        row = context.rows.execute("select state, cents from orders where id = ?", (order,)).fetchone()
        return {"state": row[0], "amount": Decimal(row[1]) / 100}

    def facts(context: Context, values: Any) -> dict[str, Any]:
        assert context.rows is not None
        (cents,) = context.rows.execute("select cents from orders where id = ?", (values.order,)).fetchone()
        return {"amount": Decimal(cents) / 100}

    @action("writes", here=True, rate=RATE, facts=facts, read_back="Cancel {order}, it is {reason}; {amount} go back")
    def cancel(context: Context, order: Order, reason: Literal["late", "not needed"]) -> str:
        """Cancel an order."""
        assert context.rows is not None
        context.rows.execute("update orders set state = 'cancelled' where id = ?", (order,))
        return order

    def find(context: Context, values: Any) -> Found | None:
        return Found() if context.key in booked else None

    @action("writes", find=find, rate=RATE, read_back="Send {amount} for {order}")
    def send(context: Context, order: Order, amount: Annotated[Decimal, Money()]) -> None:
        """Send money elsewhere."""
        booked[context.key] = amount

    return [look, cancel, send]


def timed(run: Callable[[int], object]) -> dict[str, float]:
    """ms of CPU time and of wall time, each for one of so many."""
    cpu, wall = time.process_time(), time.perf_counter()
    for n in range(EACH):
        run(n)
    return {
        "cpu_ms": (time.process_time() - cpu) / EACH * 1e3,
        "wall_ms": (time.perf_counter() - wall) / EACH * 1e3,
    }


def fill(requests: ActionRequests, anna: Person) -> None:
    """Requests of before, of the same person: copies of one that was done."""
    one = requests.propose(anna, "before", "look", {"order": "#W100"})
    columns = (
        "tenant, person, action, effect, confirms, state, digest, words, outcome, proof, owner, begun, expires,"
        " created, changed, steps"
    )
    counted = f"with recursive n(i) as (select 1 union all select i + 1 from n where i < {BEFORE})"
    with requests._database.write() as w:
        w.execute(
            f"insert into action_requests (id, conversation, key, {columns}) {counted}"
            f" select printf('%032x', i), 'c' || i, 'k' || i, {columns} from n, action_requests where id = ?",
            (one.id,),
        )
        w.execute(
            f"insert into action_log (request, step, state, by, at, digest, why) {counted}"
            " select printf('%032x', i), step, state, by, at, digest, why from n, action_log where request = ?"
            " order by i, step",
            (one.id,),
        )
        w.execute("update action_requests set created = created - 3600 where id <> ?", (one.id,))


def measured(folder: Path, *, sealed: bool) -> Iterator[tuple[str, dict[str, float]]]:
    house = House(Settings(home=str(folder), folder=folder, encryption=EncryptionSettings(content=sealed)))
    with house.database.write() as w:
        w.execute("create table orders (id text primary key, state text, cents integer) strict")
        w.executemany("insert into orders values (?, 'paid', 2599)", [(f"#W{100 + n}",) for n in range(EACH)])
    requests, anna = house.actions(declared({})), Person("anna", "verified")
    fill(requests, anna)
    words = ", sealed" if sealed else ""

    def agreed(name: str, n: int, arguments: dict[str, Any]) -> None:
        asked = requests.propose(anna, f"{name} {n % 20}", name, arguments, key=f"call {n}")
        done = requests.confirm(
            anna, f"{name} {n % 20}", asked.id, requests.read_back(anna, f"{name} {n % 20}", asked.id).token
        )
        assert done.state == "done"

    yield f"read{words}", timed(lambda n: requests.propose(anna, f"look {n % 20}", "look", {"order": f"#W{100 + n}"}))
    yield (
        f"write in the same database{words}",
        timed(lambda n: agreed("cancel", n, {"order": f"#W{100 + n}", "reason": "late"})),
    )
    yield f"write elsewhere{words}", timed(lambda n: agreed("send", n, {"order": f"#W{100 + n}", "amount": "2.50"}))
    if not sealed:
        steps = requests.steps()
        cpu = time.process_time()
        replay(steps)
        spent = (time.process_time() - cpu) * 1e3
        yield (
            "replay of 100,000 steps",
            {"cpu_ms": spent * 100_000 / len(steps), "wall_ms": spent * 100_000 / len(steps)},
        )
    assert requests.check() == []
    requests.close()
    house.database.close()


def main() -> None:
    rounds: dict[str, list[dict[str, float]]] = {}
    for _ in range(ROUNDS):
        for sealed in (False, True):
            with tempfile.TemporaryDirectory() as name:
                for what, row in measured(Path(name), sealed=sealed):
                    rounds.setdefault(what, []).append(row)
    figures = {
        what: {key: round(statistics.median(row[key] for row in rows), 3) for key in ("cpu_ms", "wall_ms")}
        for what, rows in rounds.items()
    }
    show("Actions, each", {"CPU ms": "cpu_ms", "wall ms": "wall_ms"}, figures)
    write(
        "actions",
        claim=__doc__,
        command="python -m benchmarks.actions",
        figures={
            "versions": versions(["cryptography", "orjson", "filelock"]),
            "conditions": f"median of {ROUNDS} rounds of {EACH} each, after {BEFORE} requests of the same person, temporary folder",
            "each": figures,
        },
    )


if __name__ == "__main__":
    main()
