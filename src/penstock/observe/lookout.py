"""The lookout: follows the journal, holds it against objectives and what is usual, and has alerts delivered.

Of several processes with the same home one looks, the one that has the lock; when it ends another takes over, and goes on from what
is in the database. It runs in threads of its own, and whatever goes wrong in it, no request is the slower for it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from penstock.config import ChannelSettings
from penstock.errors import PenstockError
from penstock.observe.alerts import Alerts, Channel, Condition
from penstock.observe.counts import HOUR_S, MINUTE_S, SLOT_S
from penstock.observe.deliver import Courier
from penstock.observe.objectives import Objective, Standing
from penstock.observe.tally import MEASURES, Opinion, Tally
from penstock.storage.database import Database, Tables
from penstock.storage.files import storage_errors
from penstock.trace import log

if TYPE_CHECKING:  # who has not been asked for a day does without numpy
    from penstock.observe.anomalies import Anomaly, Usual

__all__ = ["Lookout", "anomaly_key", "described", "key_of", "plain"]

EVERY_S = 2.0
AT_ONCE = 20_000  # rows of the journal
LOCK_EVERY_S = 5.0
SAVE_EVERY_S = 30.0
QUIET_S, QUIET_TICKET_S = 120.0, 1800.0  # that a condition must be gone for, until its alert has ended
EASED = 0.6  # of the limit, below which what was unusual is usual again
LEARN_SLOTS = 24  # hours with values in them before numpy is loaded
Beside = Callable[[Callable[[], bool]], Iterable[Condition]]  # is handed whether to stop
UNITS: Mapping[str, str] = {"cost": "USD", "length": "tokens", "latency": "ms", "refusals": ""}


class Lookout:
    """The one who looks. Each process may have one; `run` waits for its turn."""

    def __init__(
        self,
        database: Database,
        lock: Path,
        objectives: Sequence[Objective],
        channels: Mapping[str, ChannelSettings],
        *,
        journal: Tables | None = None,
        repeat_s: float = 14_400.0,
        anomalies: bool = True,
        opinions: Callable[[float], Iterable[Opinion]] | None = None,
        beside: Sequence[Beside] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        """journal: where the requests are; without it, in the database.

        beside: who else looks whenever it looks, and says what people should know of. One that fails is heard again later.
        """
        self._lock = FileLock(lock, thread_local=False)
        self._clock, self._anomalies = clock, anomalies
        self._failing: set[Beside] = set()
        self._beside: dict[Beside, list[Condition]] = {one: [] for one in beside}
        self.tally = Tally(database, objectives, journal=journal, opinions=opinions)
        known = [Channel(name, channel.severities) for name, channel in channels.items()]
        self.alerts = Alerts(database, known, repeat_s=repeat_s, quiet_s=QUIET_S, quiet_ticket_s=QUIET_TICKET_S)
        self.courier = Courier(database, channels, clock=clock)
        self._usual: dict[tuple[str, str], Usual | None] = {}
        self._hour = self._slot = 0
        self._unusual: list[Condition] = []
        self._saved = clock()
        self._changed = self._behind = False

    def run(self, stop: threading.Event) -> None:
        """Look until told to stop."""
        with storage_errors(Path(self._lock.lock_file)):
            Path(self._lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        while not self._elected():
            if stop.wait(LOCK_EVERY_S):
                return
        self.courier.start()
        warned = False
        try:
            while True:
                try:
                    self.look(stop=stop.is_set)
                    warned = False
                except Exception as error:  # a background task ends here; the next look may go better
                    if not warned:
                        log("lookout failed", level="error", error=type(error).__name__)
                    warned = True
                if stop.wait(EVERY_S if not self._behind else 0.1):
                    break
            with suppress(PenstockError):
                if self._changed:
                    self.tally.save()
        finally:
            self.courier.stop(within_s=1.0)
            self._lock.release()

    def _elected(self) -> bool:
        try:
            self._lock.acquire(timeout=0)
        except (Timeout, OSError):
            return False
        return True

    def look(self, *, stop: Callable[[], bool] = lambda: False) -> int:
        """Once. Returns how many messages there are to deliver. Raises StorageError or Conflict."""
        now = self._clock()
        counted = self.tally.follow(now, most=AT_ONCE, stop=stop)
        self._changed |= bool(counted)
        self._behind = counted >= AT_ONCE
        if self._behind:  # a long journal is counted piece by piece
            self._save(now)
            return 0
        if stop():  # what was counted so far is not the whole of it
            return 0
        standings = self.tally.standings(now, burning=True)
        conditions = [_burning(standing, self.tally) for standing in standings if standing.severity]
        unknown = {key_of(one.objective.name, one.subject) for one in standings if one.silent}
        if self._anomalies:
            self._look_for_anomalies(now)
            conditions += self._unusual
        conditions += self._looked_beside(stop)
        count = self.alerts.update(conditions, now=now, unknown=unknown)
        if count:
            self.courier.wake()
        if self._changed and abs(now - self._saved) >= SAVE_EVERY_S:
            self._save(now)
        return count

    def _looked_beside(self, stop: Callable[[], bool]) -> list[Condition]:
        for one in self._beside:
            try:
                self._beside[one] = list(one(stop))
                self._failing.discard(one)
            except Exception as error:  # the lookout's own work goes on; what was known stays
                if one not in self._failing:
                    log("lookout failed beside", level="error", error=type(error).__name__)
                self._failing.add(one)
        return [condition for found in self._beside.values() for condition in found]

    def _save(self, now: float) -> None:
        self.tally.save()
        self._saved, self._changed = now, False

    # ---------------------------------------------------------------- anomalies

    def _look_for_anomalies(self, now: float) -> None:
        """When ten minutes have ended, those with what came before; when an hour begins, it is foretold."""
        hour, slot = int(now // HOUR_S), int((now - MINUTE_S) // SLOT_S)  # what ended late has ended by then
        if hour != self._hour:
            self._hour, self._usual = hour, {key: self._foretell(key, hour) for key in list(self.tally.observed)}
        if slot != self._slot:
            before = {condition.key for condition in self._unusual}
            if not self._slot:  # after a restart
                before = {alert.key for alert in self.alerts.firing(now=now)}
            self._slot, self._unusual = slot, list(self._found(slot * SLOT_S - 1.0, before))

    def _foretell(self, key: tuple[str, str], hour: int) -> Usual | None:
        observed = self.tally.observed[key]
        if len(observed.hours) < LEARN_SLOTS:
            return None
        from penstock.observe.anomalies import Usual

        usual = Usual.learnt(observed, hour)
        if usual is not None and observed.hours.foretold(hour) is None:
            observed.foretell(hour, usual.expected)
        return usual

    def _found(self, until: float, before: Collection[str]) -> Iterator[Condition]:
        for (measure, subject), usual in self._usual.items():
            if usual is None or measure not in MEASURES:
                continue
            from penstock.observe.anomalies import unusual

            eased = EASED if anomaly_key(measure, subject) in before else 1.0
            if found := unusual(measure, subject, self.tally.observed[measure, subject], usual, until, eased=eased):
                yield _unusual(found)


# ---------------------------------------------------------------- words


def key_of(objective: str, subject: str) -> str:
    return f"objective/{objective}/{subject}"


def anomaly_key(measure: str, subject: str) -> str:
    return f"anomaly/{measure}/{subject}"


def _burning(standing: Standing, tally: Tally) -> Condition:
    objective, burn = standing.objective, standing.worst
    assert burn is not None  # there is a severity
    long, short = burn.long, burn.short
    title = (
        f"{objective.name} of {standing.subject}: {long.bad:,} of {long.total:,} went wrong in the last {_span(burn.rule.long_s)},"
        f" {_times(burn.long_rate)} what the objective has room for"
    )
    said = [
        f"in the last {_span(burn.rule.short_s)}: {short.bad:,} of {short.total:,}; the objective: {described(objective)}",
        f"budget left for {_span(objective.period_s)}: {standing.budget_left:.0%}",
    ]
    facts = plain(standing) | {"said": said}
    samples = tally.samples(objective.name, standing.subject)
    return Condition(key_of(objective.name, standing.subject), standing.severity, title, facts, samples)


def _unusual(found: Anomaly) -> Condition:
    """Anomalies are tickets: something has changed, and whether that is bad is for people to say."""
    name = "share of refusals" if found.measure == "refusals" else found.measure
    seen, usual = (_value(found.measure, value) for value in (found.seen, found.usual))
    title = f"{name} of {found.subject} is {found.direction}: {seen} in the last {_span(found.hours * HOUR_S)}, usually {usual}"
    said = [
        f"{found.n:,} answers; {found.far:.1f} standard errors from what is usual at this hour, the limit is {found.limit:.1f}"
    ]
    facts: dict[str, Any] = {
        "measure": found.measure, "subject": found.subject, "direction": found.direction, "window_s": found.hours * HOUR_S,
        "usual": found.usual, "seen": found.seen, "unit": UNITS[found.measure], "answers": found.n, "far": round(found.far, 2),
        "limit": round(found.limit, 2), "said": said,
    }  # fmt: skip
    return Condition(anomaly_key(found.measure, found.subject), "ticket", title, facts, found.samples)


def described(objective: Objective) -> str:
    """An objective as a sentence."""
    within = f"{objective.within_ms / 1000:g} s"
    what = {
        "availability": "of requests are answered",
        "latency": f"of answers take at most {within}",
        "first_piece": f"of answers begin within {within}",
        "grounded": "of answers are supported by their sources",
        "refusals": "of questions get an answer",
        "satisfaction": "of opinions are good",
        "cost": f"of answers cost at most {objective.most_pico_usd / 1e12:g} USD",
    }[objective.kind]
    return f"{objective.target * 100:.10g} % {what}, over {_span(objective.period_s)}"


def plain(standing: Standing) -> dict[str, Any]:
    """An objective as it stands, as JSON. Rates are in budgets per period."""
    objective = standing.objective
    return {
        "objective": objective.name, "kind": objective.kind, "subject": standing.subject, "target": objective.target,
        "period_s": objective.period_s, "described": described(objective), "good": standing.counted.good,
        "bad": standing.counted.bad, "reached": 1 - standing.counted.bad_share if standing.counted.total else None,
        "budget_left": round(standing.budget_left, 6), "severity": standing.severity or None,
        "burns": [
            {
                "severity": burn.rule.severity, "rate": burn.rule.rate, "state": burn.state,
                "long": {"window_s": burn.rule.long_s, **burn.long._asdict(), "rate": round(burn.long_rate, 4)},
                "short": {"window_s": burn.rule.short_s, **burn.short._asdict(), "rate": round(burn.short_rate, 4)},
            }
            for burn in standing.burns
        ],
    }  # fmt: skip


def _times(rate: float) -> str:
    return f"{rate:.0f} times" if rate >= 10 else f"{rate:.1f} times"


def _span(seconds: float) -> str:
    for size, name in ((86_400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size and not seconds % size:
            count = int(seconds // size)
            return name if count == 1 and name != "minute" else f"{count} {name}{'s' * (count > 1)}"
    return f"{seconds / 60:.0f} minutes"


def _value(measure: str, value: float) -> str:
    if measure == "refusals":
        return f"{value:.1%}"
    unit = {"cost": "USD", "length": "tokens", "latency": "ms"}[measure]
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"
