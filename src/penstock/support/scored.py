"""One conversation in numbers: what each metric counts in it, and what is wrong in it. No words, but those of findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from penstock.errors import BadRequest
from penstock.support.report import Evidence, Finding

__all__ = ["Scored"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """counts: metric -> (sum, how many), so that a mean over conversations is the sum of the first over that of the second.

    customer: a digest, the same in each of their conversations; "" where the log does not say. values: of each turn or answer, for
    what is held against people's ratings: metric -> {place of the turn: value}.
    """

    id: str
    release: str = ""
    language: str = ""
    intent: str = ""
    customer: str = ""
    started: float | None = None
    ended: float | None = None
    turns: int = 0
    answers: int = 0
    counts: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    latencies_ms: tuple[float, ...] = ()
    unscored: Mapping[str, tuple[str, int]] = field(default_factory=dict)  # metric -> (why, how often)
    values: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    escalated: bool = False
    resolved: bool = False
    upset: float | None = None  # at the end
    question: str = ""  # the first one; "" where words are not kept
    vector: tuple[int, ...] = ()  # of it, -127 to 127, where intents are to be found

    def plain(self) -> dict[str, Any]:
        """As JSON, which `read` reads."""
        told = asdict(self)
        told["findings"] = [one.plain() for one in self.findings]
        told["values"] = {name: {str(at): value for at, value in some.items()} for name, some in self.values.items()}
        return {name: value for name, value in told.items() if value not in ("", (), [], {}, None)}

    @classmethod
    def read(cls, told: Mapping[str, Any]) -> Scored:
        """Raises BadRequest for what is none."""
        try:
            values = dict(told)
            values["counts"] = {name: (float(a), float(b)) for name, (a, b) in told.get("counts", {}).items()}
            values["unscored"] = {name: (str(why), int(n)) for name, (why, n) in told.get("unscored", {}).items()}
            values["values"] = {
                name: {int(at): float(one) for at, one in some.items()} for name, some in told.get("values", {}).items()
            }
            values["latencies_ms"] = tuple(map(float, told.get("latencies_ms", ())))
            values["vector"] = tuple(map(int, told.get("vector", ())))
            values["findings"] = tuple(_finding(one) for one in told.get("findings", ()))
            return cls(**values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise BadRequest(f"this is no scored conversation: {error}") from error


def _finding(told: Mapping[str, Any]) -> Finding:
    values = {name: value for name, value in told.items() if name != "id"}
    values["against"] = tuple(Evidence(**one) for one in told.get("against", ()))
    return Finding(**values)
