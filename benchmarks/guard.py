"""Before the encoder is asked, all looks at a text take 15 ms of CPU time per KB, 30 in the worst of a hundred; the rules .6.

    python -m benchmarks.guard [--peers PYTHON] [--llm-guard PYTHON] [--rounds 3] [--without-http] [--before FOLDER]

Texts of about a kilobyte of nine kinds; each part, the whole and the others see the same ones. Every system has a process of
its own, they take turns, and each text is new to a process, which has warmed up on others: nothing it keeps of a text helps.
A figure is the median over texts, and the 99th of a hundred, of what a text took in the median round. Over HTTP a model with a
guard and one without are asked in turn, one client at a time; FOLDER is a checkout of another commit, to see what a model that
has no policy cost there. PYTHON is an interpreter that has presidio-analyzer and datafog, or llm-guard.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from benchmarks.measure import ROOT, Row, System, in_turn, report, show, versions, write

KIB = 1024
OF_EACH = 24  # texts of a kind, where there are so many
WARM = 2  # texts of each kind that are not counted; before those, a hundred with personal data
PARTS = (
    "look prompt", "look document", "look tool", "look prompt, no encoder", "look document, no encoder", "check prompt",
    "secrets", "personal", "names", "injection prompt", "injection prompt, no encoder", "injection document, no encoder",
    "moderation", "moderation, no encoder", "gate", "gate, 4 characters", "masking and restoring",
)  # fmt: skip
OTHERS = ("presidio, 17 recognisers, no model", "datafog, patterns")
OF_LLM_GUARD = ("llm-guard Secrets", "llm-guard InvisibleText")
COLUMNS = {"ms/KB p50": "p50", "p99": "p99"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--system", help=argparse.SUPPRESS)
    parser.add_argument("--texts", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--peers", metavar="PYTHON", help="of an environment with presidio-analyzer and datafog")
    parser.add_argument("--llm-guard", metavar="PYTHON", help="of an environment with llm-guard")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", metavar="WORDS", help="systems whose names begin so; nothing is written")
    parser.add_argument("--without-http", action="store_true")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout of another commit")
    options = parser.parse_args()
    if options.system:
        report(measured(options.system, **json.loads(options.texts.read_text("utf-8"))))
        return
    busy = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "texts.json"
        kinds = texts()
        file.write_text(json.dumps({"kinds": kinds, "warm": warming()}), "utf-8")
        names = {sys.executable: PARTS, options.peers: OTHERS, options.llm_guard: OF_LLM_GUARD}
        systems = [
            System(name, python, ("benchmarks.guard", "--system", name, "--texts", str(file)))
            for python, own in names.items()
            if python
            for name in own
            if name.startswith(options.only)
        ]
        rows = in_turn(systems, options.rounds)
    found = {name: figures([row for row in rows if row["system"] == name], kinds) for name in _names(rows)}
    show("CPU time", COLUMNS, found)
    show("by kind, p50", {kind: kind for kind in kinds}, {name: one["kinds"] for name, one in found.items()})
    asked = {name: one["encoder"] for name, one in found.items() if one["encoder"].get("texts")}
    show("the encoder", {name: name for name in next(iter(asked.values()), {})}, asked)
    served = {} if options.without_http or options.only else over_http(kinds, options.before)
    if served:
        show("over HTTP, one client", {name: name for name in next(iter(served.values()))}, served)
    if not options.only:
        write(
            "guard",
            claim=__doc__,
            command="python -m benchmarks.guard --peers PYTHON --llm-guard PYTHON --before FOLDER",
            figures={
                "conditions": {
                    "texts": {kind: len(own) - WARM for kind, own in kinds.items()},
                    "rounds": options.rounds,
                    "threads": 1,
                    "load average before": round(busy, 2),
                },
                "versions": versions(("penstock", "onnxruntime", "google-re2", "phonenumberslite", "numpy"))
                | {name: version for row in rows for name, version in row["versions"].items()},
                "cpu": found,
                "http": served,
            },
        )


def _names(rows: Iterable[Row]) -> list[str]:
    return list(dict.fromkeys(row["system"] for row in rows))


def figures(rows: Sequence[Row], kinds: dict[str, list[str]]) -> Row:
    """p50 and p99 over the texts, each in its median round; p50 by kind; what the encoder did."""
    taken = {
        kind: [statistics.median(ms) for ms in zip(*(row["ms"][kind] for row in rows), strict=True)] for kind in kinds
    }
    every = sorted(ms for own in taken.values() for ms in own)
    encoder: Row = {}
    if rows[0]["encoder"]:
        encoder = {key: round(statistics.median(row["encoder"][key] for row in rows), 4) for key in rows[0]["encoder"]}
    return {
        "p50": round(statistics.median(every), 3),
        "p99": round(every[int(len(every) * 0.99)], 3),
        "kinds": {kind: round(statistics.median(own), 3) for kind, own in taken.items()},
        "encoder": encoder,
    }


# ---------------------------------------------------------------- the texts


def texts() -> dict[str, list[str]]:
    """Kind -> texts of about a kilobyte."""
    from benchmarks.guard_quality import harmless
    from benchmarks.mixed_folder import DOMAINS, Writer, article, as_markdown
    from benchmarks.personal import rows

    chance = random.Random(11)
    prose = (as_markdown(article(Writer(d, chance), name, 1200)) for name, d in list(DOMAINS.items()) * OF_EACH)
    mails = rows(6, held=True)
    chance.shuffle(mails)
    short = harmless()
    chance.shuffle(short)
    code = [file.read_text("utf-8") for file in sorted((ROOT / "src" / "penstock").rglob("*.py"))]
    chance.shuffle(code)

    def of(*languages: str) -> list[str]:
        """Texts without anything in them, and half as many with something."""
        empty = [one.text for one in short if one.language in languages]
        private = [row["text"] for row in mails if row["lang"] in languages][: len(empty) // 2]
        return [text for _ in range(5) for text in chance.sample(empty + private, len(empty + private))]

    kinds = {
        "prose": [text for article_ in prose if (text := article_[:KIB])],
        "questions and notes": joined(of("en", "de", "es", "fr", "it", "pt")),
        "code": [
            text[at : at + KIB] for text in code if len(text) > 4 * KIB for at in (chance.randrange(len(text) - KIB),)
        ],
        "personal data": joined(row["text"] for row in mails),
        "Chinese": joined(of("zh")),
        "Arabic": joined(of("ar")),
        "Russian": joined(of("ru")),
        "tables": [_table(chance) for _ in range(OF_EACH + WARM)],
        "JSON": [_json(chance) for _ in range(OF_EACH + WARM)],
    }
    return {kind: own[: OF_EACH + WARM] for kind, own in kinds.items()}


def warming() -> list[str]:
    """Texts with personal data of every language, which are not counted."""
    from benchmarks.personal import rows

    return [row["text"] for row in random.Random(2).sample(rows(1, held=False), 100)]


def joined(pieces: Iterable[str]) -> list[str]:
    """One after the other, until there is a kilobyte."""
    found, text = [], ""
    for piece in pieces:
        text += piece + "\n"
        if len(text.encode()) >= 0.85 * KIB:
            found.append(text)
            text = ""
    return found


WORDS = (
    "pump",
    "valve",
    "order",
    "filter",
    "delivered",
    "open",
    "north",
    "invoice",
    "paid",
    "gasket",
    "crate",
    "returned",
)


def _table(chance: random.Random) -> str:
    lines = ["| number | item | date | amount | state | reference |", "|---|---|---|---|---|---|"]
    while len("\n".join(lines)) < KIB:
        lines.append(
            f"| {chance.randrange(10**5)} | {chance.choice(WORDS)} {chance.choice(WORDS)} | 2024-{chance.randrange(1, 13):02d}-"
            f"{chance.randrange(1, 29):02d} | {chance.randrange(10**5) / 100:.2f} | {chance.choice(WORDS)} | "
            f"{chance.randbytes(6).hex()} |"
        )
    return "\n".join(lines)


def _json(chance: random.Random) -> str:
    rows: list[Any] = []
    while len(json.dumps(rows)) < KIB:
        rows.append({
            "id": chance.randrange(10**9), "kind": chance.choice(WORDS), "tags": chance.sample(WORDS, 3),
            "at": chance.random() * 1e9, "note": " ".join(chance.sample(WORDS, 5)), "open": chance.random() < 0.5,
            "hash": chance.randbytes(8).hex(),
        })  # fmt: skip
    return json.dumps(rows, indent=chance.choice((None, 1)))


# ---------------------------------------------------------------- inside the process that is measured


class Watched:
    """An encoder that counts what it is asked and how long it takes."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.dim, self.id, self.familiarity = inner, inner.dim, inner.id, inner.familiarity
        self.texts = self.bytes = 0
        self.seconds = 0.0

    def embed(self, pieces: Sequence[str]) -> Any:
        began = time.process_time()
        vectors = self.inner.embed(pieces)
        self.seconds += time.process_time() - began
        self.texts += len(pieces)
        self.bytes += sum(len(piece.encode()) for piece in pieces)
        return vectors


def measured(system: str, kinds: dict[str, list[str]], warm: list[str]) -> Row:
    """Milliseconds per KB for each text, and what the encoder was asked."""
    find, watched, packages = SYSTEMS[system](system)
    for text in warm + [text for own in kinds.values() for text in own[:WARM]]:
        find(text)
    for one in watched:
        one.texts = one.bytes = 0
        one.seconds = 0.0
    taken: dict[str, list[float]] = {}
    with_encoder = count = size = 0
    for kind, own in kinds.items():
        taken[kind] = []
        for text in own[WARM:]:
            before = sum(one.texts for one in watched)
            began = time.process_time()
            find(text)
            passed = time.process_time() - began
            taken[kind].append(passed * 1e3 / (len(text.encode()) / KIB))
            with_encoder += sum(one.texts for one in watched) > before
            count += 1
            size += len(text.encode())
    encoder: Row = {}
    if asked := sum(one.bytes for one in watched):
        seconds = sum(one.seconds for one in watched)
        encoder = {
            "texts": with_encoder / count,
            "share of their bytes": asked / size,
            "ms per KB it reads": seconds * 1e3 / (asked / KIB),
            "ms per KB of all texts": seconds * 1e3 / (size / KIB),
        }
    return {"ms": taken, "encoder": encoder, "versions": versions(packages)}


Made = tuple[Callable[[str], object], list[Watched], tuple[str, ...]]


def _part(name: str) -> Made:
    """A part of the guard by its name in PARTS."""
    from penstock.encoder import shipped
    from penstock.guard.check import check
    from penstock.guard.crossing import gate_rules
    from penstock.guard.gate import Gate
    from penstock.guard.guard import Guard
    from penstock.guard.injection import Injection
    from penstock.guard.masking import Restoring, Scope, masked
    from penstock.guard.moderation import Moderation
    from penstock.guard.policy import Policies
    from penstock.types import Surface

    guard, policy = Guard(), Policies({})["default"]
    what, _, rest = name.partition(" ")
    surface = cast(Surface, rest.removesuffix(", no encoder") or "prompt")
    watched: list[Watched] = []

    def encoder() -> Any:
        watched.append(Watched(shipped()))
        return watched[-1]

    opened = None if name.endswith("no encoder") else encoder
    injection, moderation = Injection(encoder=opened), Moderation(encoder=opened)
    guard.__dict__.update(injection=injection, moderation=moderation)
    rules, personal = gate_rules(policy), guard.personal

    def gated(text: str, size: int) -> None:
        gate = Gate(rules)
        for at in range(0, len(text), size):
            gate.feed(text[at : at + size])
        gate.close()

    def there_and_back(text: str) -> None:
        scope = Scope()
        changed = masked(text, found[text], scope).text
        restoring = Restoring(scope)
        assert restoring.feed(changed) + restoring.close() == text

    found: dict[str, Any] = {}
    if what == "masking":  # what was found is given
        found = {text: guard.private(text, policy).changes for own in (*texts().values(), warming()) for text in own}
    finds: dict[str, Callable[[str], object]] = {
        "look": lambda text: guard.look(text, policy, surface=surface),
        "check": lambda text: check(guard, text, policy, surface=surface),
        "secrets": guard.secrets.find,
        "personal": personal.find,
        "names": guard.names.find,
        "injection": lambda text: injection.score(text, surface),
        "moderation": moderation.scores,
        "moderation,": moderation.scores,
        "gate": lambda text: gated(text, len(text)),
        "gate,": lambda text: gated(text, 4),
        "masking": there_and_back,
    }
    return finds[what], watched, ()


def _presidio(name: str) -> Made:
    """The recognisers that are on from the start, without the ones that need a model."""
    import logging
    import warnings

    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    import presidio_analyzer as presidio
    import spacy
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    class Blank(SpacyNlpEngine):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.nlp = {"en": spacy.blank("en")}

        def load(self) -> None: ...

        def is_loaded(self) -> bool:
            return True

    blank = Blank()
    registry = presidio.RecognizerRegistry(supported_languages=["en"])
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=blank)
    registry.recognizers = [one for one in registry.recognizers if "Spacy" not in type(one).__name__]
    engine = presidio.AnalyzerEngine(registry=registry, nlp_engine=blank, supported_languages=["en"])
    return lambda text: engine.analyze(text, language="en"), [], ("presidio-analyzer", "spacy")


def _datafog(name: str) -> Made:
    from datafog import engine  # type: ignore[import-not-found]

    return lambda text: engine.scan(text, engine="regex"), [], ("datafog",)


def _llm_guard(name: str) -> Made:
    import logging

    import structlog

    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    from llm_guard import input_scanners

    scanner = getattr(input_scanners, name.split()[-1])()
    return scanner.scan, [], ("llm-guard", "bc-detect-secrets")


SYSTEMS: dict[str, Callable[[str], Made]] = {
    **dict.fromkeys(PARTS, _part),
    OTHERS[0]: _presidio,
    OTHERS[1]: _datafog,
    **dict.fromkeys(OF_LLM_GUARD, _llm_guard),
}


# ---------------------------------------------------------------- over HTTP

ROUNDS, ASKED, STREAMED = 3, 40, 6
PLAIN, BEHIND = "mock", "mock-behind"


def over_http(kinds: dict[str, list[str]], before: Path | None) -> dict[str, Row]:
    """What a request and a streamed chunk take, without a guard and with one, and without one in another commit."""
    from benchmarks.gateway.targets import start_mock

    some = random.Random(3).sample(
        kinds["questions and notes"] + kinds["prose"] + kinds["personal data"], 3 * OF_EACH - 6
    )
    short = [line for text in some for line in text.splitlines() if 60 < len(line) < 240]
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(start_mock(1))
        now = stack.enter_context(_up(home / "now", upstream, ROOT))
        doors = {"no guard": (now, PLAIN), "guard": (now, BEHIND)}
        if before:
            doors["no guard, before"] = (
                stack.enter_context(_up(home / "before", upstream, before, guard=False)),
                PLAIN,
            )
        rows: list[Row] = []
        for number in range(ROUNDS + 1):
            chosen = random.Random(number)
            line, page, spoken = chosen.sample(short, ASKED), chosen.sample(some, ASKED), chosen.sample(short, STREAMED)
            for name, (target, model) in doors.items():
                row = {
                    "system": name,
                    **_requests(target, model, _anew(line, number), "a line"),
                    **_requests(target, model, _anew(page, number), "1 KB"),
                    **_requests(target, model, _anew(page, number), "1 KB that comes again"),
                    **_streams(target, f"{model}-200-20", _anew(spoken, number)),
                }
                if number:  # the first warms up
                    rows.append(row)
    return {
        name: {
            key: round(statistics.median(row[key] for row in rows if row["system"] == name), 3)
            for key in rows[0]
            if key != "system"
        }
        for name in doors
    }


def _anew(asked: Sequence[str], number: int) -> list[str]:
    """The texts as nobody has sent them before in other rounds."""
    return [f"Case {number}.{place}: {text}" for place, text in enumerate(asked)]


@contextlib.contextmanager
def _up(folder: Path, upstream: str, checkout: Path, *, guard: bool = True) -> Iterator[Any]:
    """`penstock up` of a checkout, with a model and, where it knows how, the same one behind a guard."""
    from benchmarks.gateway.targets import Launch, free_port, penstock, start

    folder.mkdir()
    port = free_port()
    made = penstock(folder, upstream, port)
    file = folder / "penstock.toml"
    lines = file.read_text("utf-8").split("[keys.bench]")
    for name in ("mock", "mock-200-20") if guard else ():
        behind = name.replace(PLAIN, BEHIND)
        lines[0] += f'[models.{behind}]\nprovider = "openai"\nmodel = "{name}"\nbase_url = "{upstream}"\n'
        lines[0] += 'api_key = "sk-upstream"\nguard = "default"\n'
        lines[0] += "input_usd_per_million = 0.15\noutput_usd_per_million = 0.60\n"
    file.write_text("[keys.bench]".join(lines), "utf-8")
    launch = Launch(
        made.name, made.command, key=made.key, environment={**made.environment, "PYTHONPATH": str(checkout / "src")}
    )
    with start(launch, folder, port, core=0) as target:
        yield target


def _posted(
    target: Any, model: str, text: str, *, stream: bool
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    door = http.client.HTTPConnection(*_host_and_port(target.door.url), timeout=60)
    body = json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "stream": stream})
    headers = {"content-type": "application/json", "authorization": f"Bearer {target.door.key}"}
    door.connect()
    door.request("POST", "/v1/chat/completions", body, headers)
    return door, door.getresponse()


def _host_and_port(url: str) -> tuple[str, int]:
    host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
    return host, int(port)


def _requests(target: Any, model: str, asked: Sequence[str], named: str) -> Row:
    taken, before = [], target.cpu_s()
    for text in asked:
        began = time.perf_counter()
        door, answer = _posted(target, model, text, stream=False)
        said = answer.read()
        taken.append((time.perf_counter() - began) * 1e3)
        assert answer.status == 200 or b"blocked_by_guard" in said, said[:300]
        door.close()
    time.sleep(0.2)  # what it still writes down belongs to the answer
    taken.sort()
    return {
        f"{named}: ms": statistics.median(taken),
        f"{named}: ms p95": taken[int(len(taken) * 0.95)],
        f"{named}: CPU ms": (target.cpu_s() - before) * 1e3 / len(taken),
    }


def _streams(target: Any, model: str, asked: Sequence[str]) -> Row:
    """When the first piece comes, how late each character is against the time it was due, CPU time."""
    first, late, before, streams = [], [], target.cpu_s(), 0
    for text in asked:
        began = time.perf_counter()
        door, answer = _posted(target, model, text, stream=True)
        if answer.status != 200:
            door.close()
            continue
        heard = False
        for line in answer:
            if not line.startswith(b'data: {"'):
                continue
            choices = json.loads(line[6:])["choices"]
            said = (choices and choices[0]["delta"].get("content")) or ""
            if said and not heard:
                first.append((time.perf_counter() - began) * 1e3)
                heard = True
            late += [
                (time.monotonic() - float(due.split()[0])) * 1e3 for due in said.split("due=")[1:] if len(due) > 17
            ]
        streams += 1
        door.close()
    time.sleep(0.2)
    return {
        "first chunk ms": statistics.median(first),
        "a chunk late by ms": statistics.median(late),
        "CPU ms per stream of 50 chunks": (target.cpu_s() - before) * 1e3 / streams,
    }


if __name__ == "__main__":
    main()
