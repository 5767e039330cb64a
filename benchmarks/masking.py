"""Tokens that a model re-cased, inflected or wrapped in markdown are restored in 99 % of cases, at 15 µs a piece of a stream.

    python -m benchmarks.masking
    python -m benchmarks.masking --peers PYTHON   # one with langchain-experimental and fuzzysearch beside it

Texts are written here: sentences with names, addresses and numbers at known places, so that only masking and restoring are
measured, not finding. CPU time, medians of rounds.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measure import show, versions, write
from penstock.config import DocumentsSettings, WebSettings
from penstock.documents.library import Library
from penstock.guard.masking import Restoring, Scope, masked, restored
from penstock.guard.pseudonyms import LABELS, Shape
from penstock.guard.vault import Vault
from penstock.storage.database import Database
from penstock.storage.envelope import Encryption, Envelope, FileKeys
from penstock.testing import WordEmbedder
from penstock.types import Finding

ROUNDS = 7
LIKE = frozenset({"PERSON", "EMAIL_ADDRESS", "PHONE_NUMBER", "IBAN_CODE"})
FILLER = (
    "The parcel left the warehouse on time and the carrier confirmed that it would arrive within three working days. ",
    "Please look at the order again and tell the customer what the next step is, in two or three short sentences. ",
    "Nothing in the handbook speaks against a refund here, provided that the goods come back unused and complete. ",
)


def text_of(kilobytes: int, seed: int = 3) -> tuple[str, list[Finding]]:
    """A text with five values in each kilobyte, and where they are."""
    chance, text, findings = random.Random(seed), "", []
    given, family = ("Anna", "Peter", "Olga", "Mehmet", "Chiara"), ("Schmidt", "Petrova", "Yılmaz", "Rossi", "Huber")

    def value(kind: str) -> str:
        match kind:
            case "PERSON":
                return f"{chance.choice(given)} {chance.choice(family)}"
            case "EMAIL_ADDRESS":
                return f"{chance.choice(given).lower()}{chance.randrange(99)}@firma.de"
            case "PHONE_NUMBER":
                return f"+44 7911 {chance.randrange(100_000, 999_999)}"
            case _:
                return "DE89 3704 0044 0532 0130 00"

    while len(text) < kilobytes * 1024:
        for kind in ("PERSON", "EMAIL_ADDRESS", "PERSON", "PHONE_NUMBER", "IBAN_CODE"):
            words = value(kind)
            text += f"It was {words} who said so. "
            start = len(text) - len(words) - len(" who said so. ")
            findings.append(Finding(kind, start, start + len(words), action="pseudonymise"))
            text += chance.choice(FILLER)
    return text, findings


# ---------------------------------------------------------------- what is restored


ENDINGS = [
    "",
    "s",
    "'s",
    "’s",
    "es",
    "en",
    "-нын",
    "'nın",
    "'ın",
    "-lle",
    "-ról",
    "-ом",
    "에게",
    "さん",
    "的",
    ",",
    ".",
    "?",
]
WRAPPED = [
    ("", ""), ("**", "**"), ("*", "*"), ("_", "_"), ("`", "`"), ("~~", "~~"), ("***", "***"), ("[", "](mailto:x)"), ("> ", "\n"),
    ("- ", "\n"), ("| ", " |"), ("<b>", "</b>"), ("&lt;", "&gt;"), ("<", ">"), ("„", "“"), ("«", "»"), ("「", "」"), ("(", ")"),
]  # fmt: skip


def damage(chance: random.Random) -> dict[str, Callable[[str], tuple[str, str]]]:
    """Kinds of damage: a token -> what a model wrote, and what must come of it, with \\0 for the value."""

    def recased(t: str) -> str:
        way: Callable[[str], str] = chance.choice([str.lower, str.upper, str.title, str.capitalize, str.swapcase])
        return way(t)

    def around(t: str, ending: str = "") -> tuple[str, str]:
        before, after = chance.choice(WRAPPED)
        return f"{before}{t}{ending}{after}", f"{before}\0{ending}{after}"

    def separated(t: str) -> str:
        return t.replace("_", chance.choice(["\\_", " ", "-", "‑", "\n", "_\n", "", "&#95;", "\u00a0"]))

    return {
        "untouched": lambda t: (t, "\0"),
        "re-cased": lambda t: (recased(t), "\0"),
        "inflected": lambda t: (lambda e: (t + e, f"\0{e}"))(chance.choice(ENDINGS)),
        "in markdown, html or quotes": lambda t: around(t),
        "escaped, spaced or broken": lambda t: (separated(t), "\0"),
        "all of these at once": lambda t: around(separated(recased(t)), chance.choice(ENDINGS)),
        "label said in other words": lambda t: (chance.choice([
            t.replace("_", ": "), t.replace("_", " no. "), t.replace("_", " (") + ")", t[:-1] + "_" + t[-1], t[:-1] + " " + t[-1],
        ]), "\0"),
    }  # fmt: skip


def cases(count: int) -> list[tuple[str, str, str]]:
    """(kind of damage, what the model said, what must come of it)"""
    chance, made = random.Random(20_26), []
    for kind, damaged in damage(chance).items():
        for n in range(count):
            token = ("PERSON_1A", "EMAIL_2A", "PERSON_13B")[n % 3]
            value = {"PERSON_1A": "Anna Schmidt", "EMAIL_2A": "anna@firma.de", "PERSON_13B": "Frau Petrova"}[token]
            said, meant = damaged(token)
            made.append(
                (kind, f"As {said} wrote, all is well.", f"As {meant} wrote, all is well.".replace("\0", value))
            )
    return made


def a_scope() -> Scope:
    scope = Scope()
    scope.token("PERSON", "Anna Schmidt")
    scope.token("EMAIL_ADDRESS", "anna@firma.de")
    for n in range(10):
        scope.token("EMAIL_ADDRESS", f"{n}@firma.de")
    scope.token("PERSON", "Olga Petrova")
    scope.token("PERSON", "Frau Petrova")
    return scope


def restored_share(said: list[tuple[str, str, str]]) -> dict[str, float]:
    scope, right = a_scope(), dict[str, list[bool]]()
    for kind, text, meant in said:
        pieces = Restoring(scope)
        stream = "".join(pieces.feed(text[n : n + 4]) for n in range(0, len(text), 4)) + pieces.close()
        right.setdefault(kind, []).append(restored(text, scope) == stream == meant)
    return {kind: round(100 * statistics.mean(some), 2) for kind, some in right.items()}


PEER = """
import json, sys, time
from langchain_experimental.data_anonymizer import deanonymizer_matching_strategies as ways
mapping = {"PERSON": {"PERSON_1A": "Anna Schmidt", "PERSON_13B": "Frau Petrova"}, "EMAIL_ADDRESS": {"EMAIL_2A": "anna@firma.de"}}
said = json.load(sys.stdin)
found = {}
for name in ("exact_matching_strategy", "case_insensitive_matching_strategy", "combined_exact_fuzzy_matching_strategy"):
    way, right, started = getattr(ways, name), {}, time.process_time()
    for kind, text, meant in said:
        right.setdefault(kind, []).append(way(text, mapping) == meant)
    us = (time.process_time() - started) / len(said) * 1e6
    found["langchain " + name.removesuffix("_matching_strategy")] = {
        **{kind: round(100 * sum(some) / len(some), 2) for kind, some in right.items()}, "us each": round(us, 1)}
print(json.dumps(found))
"""


# ---------------------------------------------------------------- what it costs


def cpu_us(work: Callable[[], int]) -> float:
    """CPU microseconds for each unit that the work says it did, the median of rounds."""
    work()
    found = []
    for _ in range(ROUNDS):
        started = time.process_time()
        units = work()
        found.append((time.process_time() - started) / units * 1e6)
    return round(statistics.median(found), 2)


def masking_costs() -> dict[str, float]:
    text, findings = text_of(16)
    kilobytes = len(text) // 1024
    plain, _ = text_of(16)
    scope, alike = Scope(), Scope()
    said, looking = masked(text, findings, scope).text, masked(text, findings, alike, lookalike=LIKE).text

    def streaming(scope: Scope, said: str) -> Callable[[], int]:
        def run() -> int:
            pieces = Restoring(scope)
            for n in range(0, len(said), 4):
                pieces.feed(said[n : n + 4])
            pieces.close()
            return -(-len(said) // 4)

        return run

    def one(work: Callable[[], object], units: int = 1) -> float:
        return cpu_us(lambda: (work(), units)[1])

    return {
        "mask with tokens, us/KB": one(lambda: masked(text, findings, Scope()), kilobytes),
        "mask with tokens that are known, us/KB": one(lambda: masked(text, findings, scope), kilobytes),
        "mask a text without findings, us/KB": one(lambda: masked(plain, [], Scope()), kilobytes),
        "mask with look-alikes, us/KB": one(lambda: masked(text, findings, Scope(), lookalike=LIKE), kilobytes),
        "restore tokens, us/KB": one(lambda: restored(said, scope), kilobytes),
        "restore look-alikes, us/KB": one(lambda: restored(looking, alike), kilobytes),
        "restore a piece of four characters, tokens, us": cpu_us(streaming(scope, said)),
        "restore a piece of four characters, look-alikes, us": cpu_us(streaming(alike, looking)),
        "a shape for labels not met before, us": one(lambda: Shape(LABELS).begun("x", 0)),
    }


def vault_costs(folder: Path) -> dict[str, float]:
    database = Database(folder / "penstock.db")
    keys = Envelope(database, FileKeys(folder / "keys"))
    scope, count = Vault(database, keys).scope("acme", "chat"), iter(range(10**9))
    wall = []

    def many() -> int:
        scope.stand_ins([("EMAIL_ADDRESS", f"{next(count)}@firma.de") for _ in range(200)])
        return 200

    def single() -> int:
        started = time.perf_counter()
        for _ in range(20):
            scope.token("EMAIL_ADDRESS", f"{next(count)}@firma.de")
        wall.append((time.perf_counter() - started) / 20 * 1e3)
        return 20

    letters = "abcdefghijklmnopqrstuvwxyz"

    def persons() -> int:
        names = [
            letters[n % 26] + letters[n // 26 % 26] + letters[n // 676 % 26] for n in (next(count) for _ in range(200))
        ]
        scope.stand_ins([("PERSON", f"Anna{name} Schmidt{name[::-1]}") for name in names])
        return 200

    kilobyte = bytes(1024)
    sealed = keys.seal(kilobyte, tenant="acme", purpose="notes")

    def known() -> int:
        scope.stand_ins([("EMAIL_ADDRESS", f"{n}@firma.de") for n in range(200)])
        return 200

    def read() -> int:
        for n in range(1, 201):
            scope.value(f"EMAIL_{n}A")
        return 200

    def seal() -> int:
        for _ in range(500):
            keys.seal(kilobyte, tenant="acme", purpose="notes")
        return 500

    def unseal() -> int:
        for _ in range(500):
            keys.open(sealed, tenant="acme", purpose="notes")
        return 500

    figures = {
        "add a value, 200 in one step, us": cpu_us(many),
        "add a person, 200 in one step, us": cpu_us(persons),
        "add a value by itself, us": cpu_us(single),
        "add a value by itself, wall ms (a sync of the disk)": round(statistics.median(wall), 2),
        "find the token of a known value, us": cpu_us(known),
        "read the value of a token, us": cpu_us(read),
        "seal 1 KB, us": cpu_us(seal),
        "open 1 KB, us": cpu_us(unseal),
    }
    database.close()
    return figures


def rest_costs(folder: Path) -> dict[str, float]:
    """What encryption at rest adds to indexing and searching 400 small documents."""
    papers = folder / "papers"
    papers.mkdir()
    for n in range(400):
        (papers / f"{n}.txt").write_text(f"Note {n} of shelf {n % 17}. " + FILLER[n % 3] * 6)
    figures: dict[str, float] = {}
    for name in ("off", "on"):
        times: dict[str, list[float]] = {"index": [], "open and search": [], "search": []}
        for n in range(3):
            home = folder / f"{name}{n}"
            database = Database(home / "penstock.db")
            encryption = Encryption(Envelope(database, FileKeys(home / "keys")), "documents") if name == "on" else None

            def opened(home: Path = home, encryption: Encryption | None = encryption) -> Library:
                kept = {"notes": DocumentsSettings()}
                return Library(
                    home, WordEmbedder, folder=folder, collections=kept, web=WebSettings(), encryption=encryption
                )

            steps: dict[str, Callable[[Library], object]] = {
                "index": lambda library: library["notes"].add([str(papers)]),
                "open and search": lambda library: library["notes"].search("What is note 7?"),
            }
            for step, work in steps.items():
                library, started = opened(), time.process_time()
                work(library)
                times[step].append((time.process_time() - started) * 1e3)
            started = time.process_time()
            for m in range(50):
                library["notes"].search(f"What is note {m}?")
            times["search"].append((time.process_time() - started) / 50 * 1e3)
            library.close()
            database.close()
        figures |= {f"{step}, encryption {name}, ms": round(statistics.median(some), 2) for step, some in times.items()}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers", default="", help="a Python with langchain-experimental and fuzzysearch")
    given = parser.parse_args()
    said = cases(2_000)
    shares: dict[str, Any] = {"penstock, whole and streamed": restored_share(said)}
    if given.peers:
        done = subprocess.run(
            [given.peers, "-c", PEER], input=json.dumps(said), capture_output=True, text=True, check=True
        )
        shares |= json.loads(done.stdout.splitlines()[-1])
        listed = subprocess.run(
            [given.peers, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True
        )
        others = {
            p["name"]: p["version"]
            for p in json.loads(listed.stdout)
            if p["name"] in ("langchain-experimental", "fuzzysearch")
        }
    else:
        others = {}
    with tempfile.TemporaryDirectory() as name:
        figures = {
            "masking": masking_costs(),
            "vault": vault_costs(Path(name) / "vault"),
            "at rest": rest_costs(Path(name)),
        }
    show("restored, % of 2,000 each", {kind: kind for kind in next(iter(shares.values()))}, shares)
    for title, some in figures.items():
        show(title, {"": "value"}, {key: {"value": value} for key, value in some.items()})
    command = "python -m benchmarks.masking" + (" --peers PYTHON" if given.peers else "")
    known = versions(["cryptography"]) | others
    write("masking", claim=__doc__, command=command, figures={"versions": known, "restored": shares, **figures})


if __name__ == "__main__":
    main()
