"""The terminal: results on standard output, everything else on standard error, and an exit status one can rely on."""

import gzip
import io
import json
import math
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeLibrary
from serving import shipped

from penstock import __version__, encoder
from penstock.cli.main import VERBS, main
from penstock.documents.bench import bench
from penstock.documents.library import Library
from penstock.errors import BadRequest, Conflict

QUESTION = "How long can I return books?"
QUOTE = "Books can be returned within thirty days."
START = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from penstock.cli.main import main; main()"


@dataclass
class Ran:
    """What a command printed, and its exit status."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program's own `main`, in this process; the encoder is loaded once for all tests."""
    monkeypatch.setattr("penstock.documents.embedders.shipped", lambda **_: shipped())

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["penstock", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        capsys.readouterr()
        with pytest.raises(SystemExit) as exited:
            main()
        out, err = capsys.readouterr()
        code = exited.value.code
        return Ran(code if isinstance(code, int) else 0, out, err)

    return run


def process(*arguments: object, **options: Any) -> Ran:
    """The program as people start it."""
    command = [sys.executable, "-c", START, *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", timeout=60, **options)
    return Ran(ended.returncode, ended.stdout, ended.stderr)


@pytest.fixture
def added(run: Run, folder: Path) -> Path:
    """The folder with three documents, indexed as `documents`."""
    assert run("docs", "add", folder).status == 0
    return folder


# ---------------------------------------------------------------- the program


def test_results_go_to_one_stream_and_everything_else_to_the_other(folder: Path):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 not really")
    ran = process("ask", QUESTION, "--in", folder)

    assert ran.status == 0
    assert ran.out.startswith(f"{QUOTE} [1]\n")
    assert ran.err == "1 file could not be read: penstock docs list handbook\n"


def test_no_progress_bar_and_no_colours_where_nobody_looks(folder: Path):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 not really")
    ran = process("docs", "add", folder)

    assert "documents v1 is live: 3 documents" in ran.out
    assert "'broken.pdf'" in ran.err
    assert "broken.pdf" not in ran.out
    assert "\x1b" not in ran.out + ran.err
    assert "it/s" not in ran.err
    assert "file/s" not in ran.err


def test_a_reader_who_has_enough_is_no_error(added: Path):
    command = [sys.executable, "-c", START, "docs", "list", "--json"]
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        ended = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, timeout=60)

    assert (ended.returncode, ended.stderr) == (0, b"")


@pytest.mark.parametrize("arguments", [("--version",), ("-h",), ("docs", "--help"), ("config", "check")])
def test_what_goes_well_exits_with_zero(arguments: tuple[str, ...]):
    assert process(*arguments).status == 0


@pytest.mark.parametrize("arguments", [("docz",), ("docs", "ad"), ("docs", "add"), ("docs", "search", "x", "-k", "0")])
def test_a_wrong_call_exits_with_two_and_says_so_on_standard_error(arguments: tuple[str, ...]):
    ran = process(*arguments)

    assert (ran.status, ran.out) == (2, "")
    assert "Error:" in ran.err


def test_a_refusal_exits_with_one():
    ran = process("docs", "versions")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err == "error: nothing is indexed yet\nhint:  penstock docs add PATH\n"


def test_a_terminal_that_lacks_a_letter_stops_nothing(folder: Path):
    (folder / "fees.txt").write_text("The fee for the café in Tromsø is 数量 5 €.", "utf-8")
    process("docs", "add", folder)
    ran = process("docs", "search", "fee café", "--json", env=os.environ | {"PYTHONIOENCODING": "ascii"})

    assert ran.status == 0
    assert "Troms" in ran.out


def test_ctrl_c_leaves_the_live_version_as_it_is_and_the_next_run_works(run: Run, added: Path):
    for n in range(3000):
        (added / f"{n}.txt").write_text(f"Number {n} of the {n * 7919} lamps costs {n * 31} crowns in shop {n % 89}.")
    database = sqlite3.connect(".penstock/penstock.db")
    before = database.execute("select count(*) from passages").fetchone()[0]
    started = subprocess.Popen([sys.executable, "-c", START, "docs", "add", str(added)], stderr=subprocess.PIPE)
    while database.execute("select count(*) from passages").fetchone()[0] < before + 50:
        assert started.poll() is None
        time.sleep(0.005)
    started.send_signal(signal.SIGINT)
    _, err = started.communicate(timeout=30)
    database.close()

    assert started.returncode == 130
    assert b"interrupted; nothing half done is kept" in err
    assert b"Traceback" not in err
    assert [(v["name"], v["live"]) for v in run("docs", "versions", "--json").json] == [("v1", True)]
    assert run("ask", QUESTION, "--json").json["status"] == "answer"
    for n in range(3, 3000):
        (added / f"{n}.txt").unlink()
    report = run("docs", "sync", "--json").json
    assert (report["version"], len(report["added"])) == ("v2", 3)
    assert run("doctor").status == 0


def test_the_version_is_the_packages(run: Run):
    assert run("--version").out == f"penstock, version {__version__}\n"


@pytest.mark.parametrize(("typed", "meant"), [("aks", "ask"), ("doc", "docs"), ("restor", "restore")])
def test_an_unknown_verb_suggests_the_nearest(run: Run, typed: str, meant: str):
    ran = run(typed)

    assert ran.status == 2
    assert f"there is no command '{typed}'. Did you mean '{meant}'?" in ran.err


def test_every_verb_says_what_it_does(run: Run):
    overview = run("--help").out
    verbs = [(verb,) for verb in VERBS] + [
        ("docs", verb) for verb in re.findall(r"^  ([a-z]+)  ", run("docs").err, re.M)
    ]

    assert len(verbs) == len(VERBS) + 10
    for verb in verbs:
        text = run(*verb, "--help").out

        assert verb[0] in overview
        assert re.search(r"^  [A-Z][^\n]+", text, re.M), verb
        assert all(line.split("  ")[-1].strip() for line in text.splitlines() if line.startswith("  --"))


@pytest.mark.parametrize("verb", [("ask",), ("docs", "add")])
def test_the_verbs_that_people_begin_with_show_examples(run: Run, verb: tuple[str, ...]):
    assert re.search(r"Examples:\n +penstock \w+", run(*verb, "--help").out)


@pytest.mark.parametrize(
    ("shell", "word"), [("bash", "complete"), ("zsh", "#compdef penstock"), ("fish", "complete --no-files")]
)
def test_completion_prints_what_the_shell_needs(run: Run, shell: str, word: str):
    ran = run("completion", shell)

    assert ran.status == 0
    assert word in ran.out
    assert "_PENSTOCK_COMPLETE" in ran.out


def test_completion_knows_verbs_and_options():
    asked = os.environ | {"_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": "penstock docs s", "COMP_CWORD": "2"}
    installed = Path(sys.executable).with_name("penstock")
    ended = subprocess.run([installed], env=asked, capture_output=True, text=True, timeout=60)

    assert ended.stdout.split() == ["plain,search", "plain,sync"]


def test_an_unknown_shell_is_refused_with_those_there_are(run: Run):
    assert "'bash', 'zsh', 'fish'" in run("completion", "tcsh").err


# ---------------------------------------------------------------- ask


def test_an_answer_comes_with_its_numbered_source(run: Run, added: Path):
    ran = run("ask", QUESTION)

    assert ran.status == 0
    assert ran.out.splitlines()[0] == f"{QUOTE} [1]"
    assert re.search(r"\[1\] returns\.md · .*characters 11-52", ran.out)
    assert re.search(r"confidence 0\.\d\d", ran.out)


def test_what_is_not_in_the_documents_is_said_and_the_nearest_are_shown(run: Run, added: Path):
    ran = run("ask", "What is the capital of Peru?")

    assert ran.status == 0
    assert "not in your documents" in ran.out.lower() or "Nearest passages:" in ran.out


def test_an_answer_as_json_has_its_exact_quote(run: Run, added: Path):
    found = run("ask", QUESTION, "--json").json
    citation = found["citations"][0]
    text = (added / "returns.md").read_text()

    assert (found["text"], found["status"]) == (QUOTE, "answer")
    assert citation["source"] == "returns.md"
    assert text[citation["start"] : citation["end"]] == citation["quote"] == QUOTE
    assert 0 < found["confidence"] <= 1


def test_a_folder_can_be_asked_at_once(run: Run, folder: Path):
    assert run("ask", QUESTION, "--in", folder, "--json").json["text"] == QUOTE


def test_several_places_are_asked_as_one(run: Run, folder: Path, tmp_path: Path):
    other = tmp_path / "gifts.md"
    other.write_text("# Gifts\n\nGift cards are valid for three years.\n")
    both = ("--in", folder, "--in", other, "--json")

    assert run("ask", "How long are gift cards valid?", *both).json["citations"][0]["source"] == "gifts.md"
    assert run("ask", QUESTION, *both).json["citations"][0]["source"] == "returns.md"


def test_a_place_that_is_not_there_is_refused_before_anything_is_made(run: Run, folder: Path):
    for wrong in (folder / "none", "", "ftp://example.com/a", "x" * 5000):
        for verb in (("ask", QUESTION, "--in"), ("docs", "add"), ("up", "--no-serve")):
            ran = run(*verb, wrong)

            assert ran.status == 1
            assert f"there is no file or folder '{wrong}'" in ran.err
    assert not Path(".penstock").exists()


@pytest.mark.parametrize("name", ["../../escape", "", "a/b", "-", "x" * 65])
def test_a_name_that_could_leave_the_home_folder_is_refused(run: Run, folder: Path, name: str):
    assert "cannot name a collection" in run("docs", "add", folder, "--to", name).err
    assert not Path(".penstock").exists()


def test_questions_from_a_file_are_answered_in_order(run: Run, added: Path):
    questions = [QUESTION, "How long do parcels to Norway take?", "What is the capital of Peru?"]
    lines = [json.dumps({"id": n, "question": question}) for n, question in enumerate(questions)]
    Path("questions.jsonl").write_text("\n".join(lines) + "\n\n")
    rows = run("ask", "--jsonl", "questions.jsonl").rows

    assert [(row["id"], row["question"]) for row in rows] == list(enumerate(questions))
    assert [row["status"] for row in rows][:2] == ["answer", "answer"]
    assert rows[0]["answer"] == QUOTE
    assert rows[1]["citations"][0].keys() >= {"source", "quote", "start", "end"}
    assert rows[2]["status"] != "answer"
    assert all(0 <= row["confidence"] <= 1 for row in rows)


def test_questions_come_from_standard_input_too(run: Run, added: Path):
    rows = run("ask", "--jsonl", "-", stdin=json.dumps({"question": QUESTION}).encode()).rows

    assert [row["answer"] for row in rows] == [QUOTE]


def test_a_row_that_is_none_gets_its_error_and_stops_no_other(run: Run, added: Path):
    rows = [
        b"not json",
        b"[]",
        b'{"q": 1}',
        b'{"id": 7, "question": 3}',
        b'{"question": ""}',
        b'{"question": "x", "history": "y"}',
        b'{"question": "x", "history": [{"role": "user", "content": 5}]}',
        b'{"question": "x", "where": ["y"]}',
        b'{"question": "x", "where": {"a": {"b": 1}}}',
        b'{"question": "x", "where": {"since": "never"}}',
        b'{"question": "' + b"x" * 5000 + b'"}',
        b"[" * 100_000,
        b'{"question": "\xff\xfe"}',
    ]
    last = b'\xef\xbb\xbf{"question": "%s"}' % QUESTION.encode()
    ran = run("ask", "--jsonl", "-", stdin=b"\n".join([*rows, last]))

    assert ran.status == 0
    assert [row["error"]["code"] for row in ran.rows[:-1]] == ["bad_request"] * len(rows)
    assert ran.rows[3]["id"] == 7
    assert ran.rows[-1]["answer"] == QUOTE


def test_half_a_character_in_a_question_is_read_as_a_question_mark(run: Run, added: Path):
    rows = run("ask", "--jsonl", "-", stdin=b'{"question": "How long can I return books? \\ud800"}').rows

    assert rows[0]["answer"] == QUOTE


def test_a_follow_up_in_a_row_is_understood_from_its_history(run: Run, added: Path):
    history = [{"role": "user", "content": "How long do parcels to Norway take?"}]
    row = {"question": "And express parcels?", "history": history}
    (found,) = run("ask", "--jsonl", "-", stdin=json.dumps(row).encode()).rows

    assert found["question"] == "And express parcels?"
    assert "express" in found["understood"].lower()


def test_an_empty_file_of_questions_gives_no_answers(run: Run, added: Path):
    assert run("ask", "--jsonl", "-") == Ran(0, "", "")


def test_a_question_and_a_file_of_questions_are_not_asked_together(run: Run, added: Path):
    Path("q.jsonl").touch()

    assert run("ask", QUESTION, "--jsonl", "q.jsonl").status == 2
    assert run("ask", "--jsonl", "none.jsonl").status == 2
    assert run("ask").status == 2


def test_only_those_with_the_role_get_the_answer(run: Run, folder: Path):
    Path("penstock.toml").write_text(
        f"[documents.handbook]\npaths = ['{folder}']\n"
        "[[documents.handbook.rules]]\nmatch = 'returns*'\naccess = ['staff']\n"
    )
    run("docs", "sync")

    assert run("ask", QUESTION, "--json").json["status"] != "answer"
    assert run("ask", QUESTION, "--role", "staff", "--json").json["text"] == QUOTE


def test_an_answer_is_kept_to_the_documents_that_were_meant(run: Run, added: Path):
    found = run("ask", QUESTION, "--where", "source=shipping*", "--json").json

    assert {c["source"] for c in found["citations"] + found["nearest"]} <= {"shipping.md"}
    assert "--where takes NAME=VALUE, not 'shipping'" in run("ask", QUESTION, "--where", "shipping").err


def test_an_error_asked_for_as_json_is_json(run: Run):
    ran = run("ask", QUESTION, "--json")

    assert ran.status == 1
    assert ran.json["error"]["code"] == "not_found"
    assert ran.err == ""


# ---------------------------------------------------------------- docs


def test_what_was_added_is_reported_and_listed(run: Run, folder: Path):
    (folder / "broken.pdf").write_bytes(b"%PDF-1.4 not really")
    report = run("docs", "add", folder, "--json").json
    listed = run("docs", "list", "--json").json

    assert (report["version"], report["published"], report["documents"]) == ("v1", True, 3)
    assert report["added"] == ["hours.txt", "returns.md", "shipping.md"]
    assert [(row["source"], row["state"]) for row in listed] == [
        ("hours.txt", "indexed"),
        ("returns.md", "indexed"),
        ("shipping.md", "indexed"),
        ("broken.pdf", "skipped"),
    ]
    assert re.search(r"documents +returns\.md +indexed +1", run("docs", "list").out)


def test_an_empty_home_has_nothing_to_list_and_nothing_to_sync(run: Run):
    assert run("docs", "list").out == "nothing is indexed yet: penstock docs add PATH\n"
    assert run("docs", "list", "--json").json == []
    assert run("docs", "sync").status == 1


def test_a_sync_says_what_is_different(run: Run, added: Path):
    assert "documents: nothing has changed, 3 documents are indexed" in run("docs", "sync").out
    (added / "hours.txt").unlink()
    (added / "returns.md").write_text("# Returns\n\nBooks can be returned within sixty days.\n")
    (added / "shipping.md").rename(added / "parcels.md")
    report = run("docs", "sync", "--json").json

    assert (report["collection"], report["version"]) == ("documents", "v2")
    assert (report["changed"], report["removed"]) == (["returns.md"], ["hours.txt"])
    assert report["moved"] == ["shipping.md -> parcels.md"]


def test_a_version_can_be_built_without_making_it_live(run: Run, added: Path):
    (added / "gifts.md").write_text("# Gifts\n\nGift cards are valid for three years.\n")
    report = run("docs", "sync", "--no-publish", "--json").json
    rows = run("docs", "versions", "--json").json

    assert (report["version"], report["published"]) == ("v2", False)
    assert [(row["name"], row["live"]) for row in rows] == [("v1", True), ("v2", False)]
    assert run("docs", "use", "newest").out == "v2 is live: 4 documents\n"


def test_watching_takes_in_what_comes_until_ctrl_c(added: Path):
    command = [sys.executable, "-c", START, "docs", "sync", "--watch", "--json"]
    watching = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert watching.stdout
    watching.stdout.readline()
    (added / "gifts.md").write_text("# Gifts\n\nGift cards are valid for three years.\n")
    report = json.loads(watching.stdout.readline())
    watching.send_signal(signal.SIGINT)
    _, err = watching.communicate(timeout=30)

    assert report["added"] == ["gifts.md"]
    assert err.startswith(b"watching; Ctrl-C ends\n")
    assert watching.returncode == 130


def test_search_shows_passages_with_their_scores(run: Run, added: Path):
    found = run("docs", "search", "parcels to Norway", "-k", "2", "--json").json
    hits = found["hits"]

    assert hits[0]["passage"]["source"] == "shipping.md"
    assert len(hits) == 2
    assert re.search(r"\d\.\d{3} .*shipping\.md", run("docs", "search", "parcels to Norway").out)


def test_versions_can_be_compared_and_rolled_back(run: Run, added: Path):
    (added / "returns.md").write_text("# Returns\n\nBooks can be returned within sixty days.\n")
    run("docs", "sync")
    different = run("docs", "diff").out
    plain = run("docs", "diff", "v1", "v2", "--json").json

    assert "- returns.md: Books can be returned within thirty days." in different
    assert "+ returns.md: Books can be returned within sixty days." in different
    assert (len(plain["added"]), len(plain["removed"]), plain["same"]) == (1, 1, 2)
    assert run("docs", "use", "previous", "--json").json["name"] == "v1"
    assert run("ask", QUESTION, "--json").json["text"].startswith(QUOTE)
    assert re.search(r"\* +v1 +live", run("docs", "versions").out)


@pytest.mark.parametrize("version", ["v9", "vv", "latest", "v", "", "vv3"])
def test_a_version_that_is_not_there_is_refused(run: Run, added: Path, version: str):
    ran = run("docs", "use", version)

    assert ran.status == 1
    assert "there is no version" in ran.err


def test_golden_questions_measure_a_version(run: Run, added: Path):
    rows = [
        {"question": QUESTION, "source": "returns.md"},
        {"question": "How long do parcels to Norway take?", "contains": "no such words"},
    ]
    Path("golden.jsonl").write_text("\n".join(map(json.dumps, rows)))
    scores = run("docs", "eval", "--golden", "golden.jsonl", "--json").json

    assert (scores["version"], scores["questions"], scores["recall_at_5"], scores["ndcg_at_10"]) == ("v1", 2, 0.5, 0.5)
    assert "missed: How long do parcels to Norway take?" in run("docs", "eval", "--golden", "golden.jsonl").out
    assert "has no golden questions" in run("docs", "eval").err


def test_a_worse_version_is_not_published_and_the_terminal_says_why(run: Run, folder: Path):
    Path("golden.jsonl").write_text(json.dumps({"question": QUESTION, "source": "returns.md"}))
    Path("penstock.toml").write_text(f"[documents.handbook]\npaths = ['{folder}']\ngolden = 'golden.jsonl'\n")
    run("docs", "sync")
    (folder / "returns.md").unlink()
    ran = run("docs", "sync")

    assert ran.status == 1
    assert "v2 of 'handbook' was not published: on 1 golden questions recall@5 fell" in ran.err
    assert run("ask", QUESTION, "--json").json["text"] == QUOTE


def test_a_place_can_be_removed(run: Run, added: Path, tmp_path: Path):
    other = tmp_path / "gifts.md"
    other.write_text("# Gifts\n\nGift cards are valid for three years.\n")
    run("docs", "add", other)
    report = run("docs", "remove", other, "--json").json

    assert report["removed"] == ["gifts.md"]
    assert other.exists()
    assert "is neither a place nor a document" in run("docs", "remove", "nothing").err
    assert "would come back" in run("docs", "remove", "returns.md").err


def test_a_collection_is_removed_whole_when_it_is_named(run: Run, added: Path):
    run("docs", "add", added, "--to", "other")

    assert run("docs", "remove", "--everything", "other", "--yes", "--json").json == {"removed": "other"}
    assert {row["collection"] for row in run("docs", "list", "--json").json} == {"documents"}
    assert run("docs", "remove", "--everything", "no-such", "--yes").status == 1
    assert run("docs", "remove", "a", "--from", "b", "--everything", "--yes").status == 2
    assert run("docs", "remove").status == 2


def test_without_a_yes_nothing_is_forgotten(run: Run, added: Path):
    assert run("docs", "remove", "--everything", stdin=b"n\n").status == 130
    assert len(run("docs", "list", "--json").json) == 3
    assert run("docs", "remove", "--everything", stdin=b"y\n").status == 0


def test_with_several_collections_one_has_to_be_named(run: Run, added: Path):
    run("docs", "add", added, "--to", "other")

    assert "there are several collections: say which" in run("docs", "search", "x").err
    assert "there are several collections: say which" in run("ask", "x").err
    assert run("ask", QUESTION, "--collection", "other", "--json").json["text"] == QUOTE


# ---------------------------------------------------------------- bench

CORPUS = [
    {"_id": "d1", "title": "Returns", "text": "Books can be returned within thirty days."},
    {"_id": "d2", "title": "Shipping", "text": "Parcels to Norway take five days."},
    {"_id": "d3", "title": "", "text": "The shop in Bergen opens at nine and closes at six."},
    {"_id": "d4", "title": "Wrapping paper", "text": ""},
    {"_id": "d5", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "How long can I return books?"},
    {"_id": "q2", "text": "parcels to Norway"},
    {"_id": "q3", "text": "When does the shop open?"},
    {"_id": "q4", "text": "wrapping paper"},
]
QRELS = [
    ("q1", "d1", 2),
    ("q1", "d2", 1),
    ("q2", "d2", 1),
    ("q2", "gone", 1),
    ("q4", "d4", 1),
    ("q4", "d1", 0),
    ("q9", "d1", 1),
]


def beir(folder: Path, *, packed: bool = False, heading: bool = True, qrels: str = "qrels/test.tsv") -> Path:
    """The data set in BEIR's layout: q3 is not judged, `gone` and q9 are known to the judgements alone."""
    lines = ["query-id\tcorpus-id\tscore"] if heading else []
    files = {
        "corpus.jsonl": "\n".join(map(json.dumps, CORPUS)),
        "queries.jsonl": "\n".join(map(json.dumps, QUERIES)) + "\n\n",
        qrels: "\n".join([*lines, *("\t".join(map(str, row)) for row in QRELS)]),
    }
    for name, text in files.items():
        path = folder / (f"{name}.gz" if packed else name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    return folder


@pytest.mark.parametrize(
    "layout", [{}, {"packed": True}, {"heading": False, "qrels": "qrels.tsv"}, {"packed": True, "qrels": "qrels.tsv"}]
)
def test_a_data_set_is_measured_in_any_of_its_layouts(run: Run, tmp_path: Path, layout: dict[str, Any]):
    ran = run("docs", "bench", beir(tmp_path / "beir", **layout), "--json")
    scores = ran.json

    assert ran.status == 0
    assert list(scores) == ["bm25", "dense", "hybrid", "timings"]
    for part in ("bm25", "dense", "hybrid"):
        assert list(scores[part]) == ["ndcg@10", "recall@5", "recall@10", "recall@100", "mrr@10"]
    assert (scores["timings"]["documents"], scores["timings"]["queries"]) == (4, 4)
    assert not Path(".penstock").exists()


def test_scores_are_what_one_computes_by_hand(run: Run, tmp_path: Path):
    scores = run("docs", "bench", beir(tmp_path / "beir"), "--run", "run.json", "--json").json
    rankings = json.loads(Path("run.json").read_text())
    gains = {"q1": {"d1": 2, "d2": 1}, "q2": {"d2": 1, "gone": 1}, "q4": {"d4": 1}}
    best = {"q1": 2 + 1 / math.log2(3), "q2": 1 + 1 / math.log2(3), "q4": 1}

    assert rankings["hybrid"]["q2"][0] == "d2"
    for part in ("bm25", "dense", "hybrid"):
        runs = rankings[part]
        ndcg = [sum(gains[q].get(d, 0) / math.log2(n + 2) for n, d in enumerate(runs[q])) / best[q] for q in gains]
        recall = [len(gains[q].keys() & runs[q]) / len(gains[q]) for q in gains]
        first = [next((1 / (n + 1) for n, d in enumerate(runs[q]) if d in gains[q]), 0) for q in gains]

        assert scores[part]["ndcg@10"] == pytest.approx(sum(ndcg) / 3, abs=1e-4)
        assert scores[part]["recall@5"] == scores[part]["recall@100"] == pytest.approx(sum(recall) / 3, abs=1e-4)
        assert scores[part]["mrr@10"] == pytest.approx(sum(first) / 3, abs=1e-4)
    assert scores["hybrid"]["recall@5"] == pytest.approx((1 + 0.5 + 1) / 3, abs=1e-4)


def test_rankings_are_written_in_trecs_columns_too(run: Run, tmp_path: Path):
    run("docs", "bench", beir(tmp_path / "beir"), "--run", "out/run.trec")
    rows = [line.split() for line in Path("out/run.trec").read_text().splitlines()]

    assert {row[0] for row in rows} == {"q1", "q2", "q3", "q4"}
    assert rows[0][1:4] == ["Q0", "d1", "1"]
    assert all(len(row) == 6 for row in rows)


def test_a_table_is_for_people(run: Run, tmp_path: Path):
    assert re.search(r"hybrid +\d\.\d{4}", run("docs", "bench", beir(tmp_path / "beir")).out)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("corpus.jsonl", None, "holds no corpus.jsonl"),
        ("queries.jsonl", None, "holds no queries.jsonl"),
        ("qrels/test.tsv", None, "holds no qrels.tsv"),
        ("corpus.jsonl", b'{"_id": "a", "text": "x"}\nnonsense', "line 2 is no row with an _id"),
        ("corpus.jsonl", b'{"text": "x"}', "line 1 is no row with an _id"),
        ("corpus.jsonl", b'"text"', "line 1 is no row with an _id"),
        ("corpus.jsonl", b'{"_id": "a", "metadata": 3}', "line 1 is no row with an _id"),
        ("corpus.jsonl", b"\xff\xfe", "cannot be read"),
        ("qrels/test.tsv", b"q1\td1\t1\nq1\td1", "line 2 is not: query, document, gain"),
        ("qrels/test.tsv", b"q1\td1\t1\nq1\td1\tmuch", "line 2 is not: query, document, gain"),
    ],
)
def test_a_folder_in_another_layout_is_refused_with_the_line(
    run: Run, tmp_path: Path, file: str, content: bytes | None, message: str
):
    folder = beir(tmp_path / "beir")
    (folder / file).unlink() if content is None else (folder / file).write_bytes(content)
    ran = run("docs", "bench", folder)

    assert ran.status == 1
    assert message in ran.err


def test_a_packed_file_that_is_cut_is_refused(run: Run, tmp_path: Path):
    folder = beir(tmp_path / "beir", packed=True)
    (folder / "corpus.jsonl.gz").write_bytes((folder / "corpus.jsonl.gz").read_bytes()[:-20])

    assert "cannot be read" in run("docs", "bench", folder).err


def test_odd_rows_are_measured_like_any_other(make_library: MakeLibrary, tmp_path: Path):
    folder = beir(tmp_path / "beir", qrels="qrels.tsv")
    with (folder / "corpus.jsonl").open("a") as corpus:
        corpus.write(
            '\n{"_id": "two words", "title": "\\ud800 lamp", "text": "Lamps \\udc00 glow."}\n{"_id": 7, "text": null}\n'
        )
    with (folder / "queries.jsonl").open("a") as queries:
        queries.write('{"_id": "q5", "text": "glow \\ud800"}\n{"_id": "q6"}\n')
    (folder / "qrels.tsv").write_text("q5\ttwo words\t1\n")
    scores, runs = bench(folder, make_library())

    assert runs["bm25"]["q5"] == ["two words"]
    assert scores["bm25"]["ndcg@10"] == 1.0


def test_a_query_may_carry_a_filter(make_library: MakeLibrary, tmp_path: Path):
    folder = tmp_path / "beir"
    folder.mkdir()
    rows = [{"_id": n, "text": f"The lamp number {n} glows.", "metadata": {"shop": n}} for n in ("north", "south")]
    query = {"_id": "q", "text": "lamp glows", "metadata": {"filter": {"shop": "south"}}}
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "queries.jsonl").write_text(json.dumps(query))
    (folder / "qrels.tsv").write_text("q 0 south 1\n")
    scores, runs = bench(folder, make_library())

    assert runs["hybrid"]["q"] == ["south"]
    assert scores["hybrid"]["mrr@10"] == 1.0


def test_a_run_that_cannot_be_written_is_said(run: Run, tmp_path: Path):
    (tmp_path / "file").touch()
    ran = run("docs", "bench", beir(tmp_path / "beir"), "--run", tmp_path / "file/run.json")

    assert ran.status == 1
    assert "Traceback" not in ran.err
    assert run("docs", "bench", tmp_path / "none").status == 2


# ---------------------------------------------------------------- up, config, doctor


def test_up_indexes_and_stops_where_no_server_is_wanted(run: Run, folder: Path):
    ran = run("up", "--no-serve", folder)

    assert ran.status == 0
    assert "is live: 3 documents" in ran.out
    assert run("ask", QUESTION, "--json").json["text"] == QUOTE


def test_up_brings_what_is_configured_up_to_date(run: Run, folder: Path):
    Path("penstock.toml").write_text(f"[documents.handbook]\npaths = ['{folder}', 'gone/']\n")

    assert "handbook v1 is live: 3 documents" in run("up", "--no-serve").out
    assert "handbook: nothing has changed" in run("up", "--no-serve").out


def test_with_nothing_at_all_there_is_something_to_ask(run: Run):
    ran = run("up", "--no-serve")

    assert ran.status == 0
    assert "? What is the capital of France?" in ran.out


def test_up_refuses_the_world_without_a_key(run: Run, folder: Path):
    ran = run("up", "--no-serve", "--host", "0.0.0.0", folder)

    assert ran.status == 1
    assert "key" in ran.err


def test_settings_are_shown_without_their_secrets(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SHOP_KEY", "shop-0123456789abcdef")
    Path("penstock.toml").write_text("[server]\nport = 9000\n[keys.shop]\nkey = 'env:SHOP_KEY'\n")
    plain, as_json = run("config", "show"), run("config", "show", "--json")

    assert "server.port = 9000" in plain.out
    assert "keys.shop.key = '(set)'" in plain.out
    assert as_json.json["keys"]["shop"]["key"] == "(set)"
    assert "0123456789" not in plain.out + as_json.out


def test_settings_are_checked_with_an_exit_status(run: Run):
    assert run("config", "check").out == "no penstock.toml, the defaults: right\n"
    Path("penstock.toml").write_text("[server]\nprot = 1\n")
    ran = run("config", "check")

    assert ran.status == 1
    assert "penstock.toml: unknown key 'server.prot'" in ran.err
    assert "did you mean 'port'?" in ran.err
    assert run("config", "check", "--json").json["error"]["code"] == "bad_setting"
    assert run("--config", "none.toml", "config", "check").status == 1


def test_the_settings_file_can_be_named(run: Run, tmp_path: Path):
    (tmp_path / "mine.toml").write_text("home = 'elsewhere'")

    assert run("--config", tmp_path / "mine.toml", "config", "check", "--json").json["file"] == str(
        tmp_path / "mine.toml"
    )


def checks(ran: Ran) -> dict[str, bool]:
    return {row["check"]: row["ok"] for row in ran.json}


def test_an_empty_home_is_in_order(run: Run):
    ran = run("doctor")

    assert ran.status == 0
    assert "is empty" in ran.out
    assert not Path(".penstock").exists()


def test_a_home_in_order_is_said_to_be(run: Run, added: Path):
    ran = run("doctor", "--json")

    assert ran.status == 0
    assert all(checks(ran).values())
    assert checks(ran).keys() >= {"encoder", "home", "catalog", "segments", "collection 'documents'"}


@pytest.mark.parametrize("damage", ["flipped", "cut", "gone", "empty"])
def test_a_damaged_segment_is_found(run: Run, added: Path, damage: str):
    (segment,) = Path(".penstock/segments").rglob("*.arrays")
    data = bytearray(segment.read_bytes())
    data[len(data) // 2] ^= 1
    if damage == "gone":
        segment.unlink()
    else:
        segment.write_bytes({"flipped": bytes(data), "cut": bytes(data[:-100]), "empty": b""}[damage])
    ran = run("doctor", "--json")

    assert ran.status == 1
    assert not checks(ran)["segments"]
    assert any(segment.name in row["found"] and "restore" in row["hint"] for row in ran.json)


def test_damaged_weights_are_found(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    copy = tmp_path / "weights/minilm"
    copy.mkdir(parents=True)
    for file in (encoder.WEIGHTS / "minilm").iterdir():
        (copy / file.name).symlink_to(file)
    (copy / "tokenizer.json").unlink()
    (copy / "tokenizer.json").write_text("{}")
    monkeypatch.setattr(encoder, "WEIGHTS", tmp_path / "weights")
    ran = run("doctor")

    assert ran.status == 1
    assert "tokenizer.json is not the file that was shipped" in ran.out


@pytest.mark.parametrize("verb", [("docs", "add"), ("ask", QUESTION, "--in")])
def test_a_home_that_cannot_be_made_is_said_with_what_to_do(run: Run, folder: Path, verb: tuple[str, ...]):
    Path("in-the-way").write_text("a file")
    Path("penstock.toml").write_text("home = 'in-the-way/home'")
    ran = run(*verb, folder)

    assert ran.status == 1
    assert "in-the-way" in ran.err
    assert "Traceback" not in ran.err


# ---------------------------------------------------------------- backup and restore


def test_a_backup_is_restored_whole(run: Run, added: Path):
    size = run("backup", "saved.tar", "--json").json["bytes"]
    run("docs", "remove", "--everything", "--yes")
    ran = run("restore", "saved.tar", "--replace")

    assert size == Path("saved.tar").stat().st_size
    assert ran.status == 0
    assert run("ask", QUESTION, "--json").json["text"] == QUOTE
    assert run("doctor").status == 0
    assert Path(".penstock.before-restore/penstock.db").is_file()


def test_a_restored_home_has_its_uploads(run: Run, added: Path):
    Path(".penstock/uploads/documents").mkdir(parents=True)
    Path(".penstock/uploads/documents/prices é.txt").write_text("A lamp costs five crowns.")
    run("docs", "sync")
    run("backup", "saved.tar")
    run("restore", "saved.tar", "--replace")

    assert Path(".penstock/uploads/documents/prices é.txt").read_text() == "A lamp costs five crowns."


def test_a_home_with_something_in_it_is_not_replaced_unasked(run: Run, added: Path):
    run("backup", "saved.tar")
    ran = run("restore", "saved.tar")

    assert ran.status == 1
    assert "is not empty" in ran.err
    assert "--replace" in ran.err


def test_an_empty_home_is_restored_into_and_costs_no_older_copy(run: Run, added: Path):
    run("backup", "saved.tar")
    Path(".penstock").rename(".penstock.before-restore")
    Path(".penstock").mkdir()

    assert run("restore", "saved.tar", "--json").status == 0
    assert Path(".penstock.before-restore/penstock.db").is_file()


def test_a_backup_is_consistent_while_documents_are_added(
    run: Run, make_library: MakeLibrary, home: Path, folder: Path
):
    Path("penstock.toml").write_text(f"home = '{home}'")
    collection = make_library().create("documents")
    collection.add([str(folder)])
    done = threading.Event()

    def write() -> None:
        n = 0
        while not done.is_set():
            n += 1
            (folder / f"{n % 5}.txt").write_text(f"Lamp number {n} costs {n * 31} crowns.")
            collection.sync()

    writer = threading.Thread(target=write)
    writer.start()
    sizes = []
    try:
        while len(sizes) < 3:
            ran = run("backup", f"{len(sizes)}.tar")
            sizes += [1] if ran.status == 0 else []
            assert ran.status == 0 or "was replaced while the backup ran" in ran.err
    finally:
        done.set()
        writer.join()

    for n in range(3):
        Path("penstock.toml").write_text(f"home = 'restored-{n}'")
        assert run("restore", f"{n}.tar").status == 0
        assert run("doctor").status == 0


def test_there_is_nothing_to_back_up_in_an_empty_home(run: Run):
    assert "there is nothing to back up" in run("backup", "saved.tar").err


def test_a_damaged_home_is_not_backed_up(run: Run, added: Path):
    (segment,) = Path(".penstock/segments").rglob("*.arrays")
    segment.write_bytes(segment.read_bytes()[:-1] + b"x")
    ran = run("backup", "saved.tar")

    assert ran.status == 1
    assert "is damaged" in ran.err
    assert not Path("saved.tar").exists()


def test_a_backup_where_none_can_be_written_is_refused(run: Run, added: Path):
    assert run("backup", added).status == 1
    assert run("backup", added / "returns.md/saved.tar").status == 1


@pytest.fixture
def saved(run: Run, added: Path) -> bytes:
    run("backup", "saved.tar")
    return Path("saved.tar").read_bytes()


def members(saved: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        return {entry.name: archive.extractfile(entry).read() for entry in archive}  # type: ignore[union-attr]


def packed(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for entry, data in entries:
            entry.size = len(data) if entry.isfile() else 0
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def files(contents: dict[str, bytes]) -> list[tuple[tarfile.TarInfo, bytes]]:
    return [(tarfile.TarInfo(name), data) for name, data in contents.items()]


def refused(run: Run, archive: bytes) -> str:
    """Try to restore it elsewhere; nothing may be left of the attempt."""
    Path("elsewhere").mkdir()
    Path("elsewhere/penstock.toml").touch()
    Path("elsewhere/hostile.tar").write_bytes(archive)
    ran = run("--config", "elsewhere/penstock.toml", "restore", "elsewhere/hostile.tar")

    assert ran.status == 1
    assert sorted(path.name for path in Path("elsewhere").iterdir()) == ["hostile.tar", "penstock.toml"]
    return ran.err


@pytest.mark.parametrize("part", range(10))
def test_a_backup_that_is_cut_anywhere_is_refused(run: Run, saved: bytes, part: int):
    whole = len(saved.rstrip(b"\0"))

    assert refused(run, saved[: whole * part // 10 // 512 * 512])


def test_a_backup_cut_between_two_files_is_refused(run: Run, saved: bytes):
    contents = members(saved)
    contents.pop("backup.json")

    assert "is not a complete backup" in refused(run, packed(*files(contents)))


@pytest.mark.parametrize("name", ["penstock.db", "segments"])
def test_a_backup_with_a_flipped_bit_is_refused(run: Run, saved: bytes, name: str):
    contents = members(saved)
    name = next(found for found in contents if found.startswith(name))
    data = bytearray(contents[name])
    data[len(data) // 2] ^= 1

    assert f"{name} in" in refused(run, packed(*files(contents | {name: bytes(data)})))


@pytest.mark.parametrize(
    "facts", [b"", b"[]", b"{}", b'{"format": 1}', b'{"format": "x", "files": {}}', b"\xff", b"[" * 9999]
)
def test_a_backup_with_a_damaged_list_is_refused(run: Run, saved: bytes, facts: bytes):
    assert "has a damaged list of files" in refused(run, packed(*files(members(saved) | {"backup.json": facts})))


def test_a_backup_of_a_newer_penstock_is_refused(run: Run, saved: bytes):
    facts = json.dumps({"format": 99, "files": {}}).encode()

    assert "newer Penstock" in refused(run, packed(*files(members(saved) | {"backup.json": facts})))


@pytest.mark.parametrize("name", ["../escaped", "/tmp/penstock-escaped", "segments/../../escaped", "a/../../../b"])
def test_an_archive_never_writes_outside_its_home(run: Run, saved: bytes, name: str):
    assert f"holds '{name}', which no backup does" in refused(run, packed(*files({name: b"x"} | members(saved))))
    assert not Path("escaped").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE])
def test_an_archive_holds_plain_files_alone(run: Run, saved: bytes, kind: bytes):
    link = tarfile.TarInfo("uploads")
    link.type, link.linkname = kind, "/etc"

    assert "which no backup does" in refused(run, packed((link, b""), *files(members(saved))))


def test_a_file_that_the_list_does_not_name_is_refused(run: Run, saved: bytes):
    assert "which its list of files does not" in refused(run, packed(*files({"uploads/x": b"x"} | members(saved))))


@pytest.mark.parametrize("other", [b"", b"no archive at all" * 100, gzip.compress(b"x" * 9999)])
def test_what_is_no_backup_is_refused(run: Run, saved: bytes, other: bytes):
    assert refused(run, other)


def test_a_backup_that_is_not_there_or_a_folder_is_refused(run: Run, folder: Path):
    assert "there is no file none.tar" in run("restore", "none.tar").err
    assert "there is no file" in run("restore", folder).err
    Path("penstock.toml").write_text("home = 'penstock.toml'")
    assert "is a file, and no home folder" in run("restore", "penstock.toml").err


def test_a_backup_cannot_be_torn_by_a_file_that_vanishes(run: Run, home: Path, library: Library, folder: Path):
    from penstock.storage.backup import back_up

    library.create("documents").add([str(folder)])

    with pytest.raises(Conflict, match="was replaced while the backup ran"):
        back_up(home, home.parent / "saved.tar", lambda _: ["segments/1/gone.arrays"])
    assert not (home.parent / "saved.tar").exists()


def test_a_layout_is_refused_from_python_in_the_same_words(make_library: MakeLibrary, tmp_path: Path):
    with pytest.raises(BadRequest, match=r"holds no queries\.jsonl"):
        bench(tmp_path, make_library())


# ---------------------------------------------------------------- keys


SECRET = re.compile(r"psk-[\w-]{43}")
MODELS = '[models.small]\nbase_url = "http://127.0.0.1:9/v1"\n[models.large]\nbase_url = "http://127.0.0.1:9/v1"\n'


def test_a_new_key_is_shown_once_with_how_to_use_it(run: Run):
    Path("penstock.toml").write_text(f"{MODELS}[server]\nport = 9911\n")

    ran = run("keys", "create", "shop", "--model", "lar*", "--expires", "2999-01-31")

    secret = ran.out.splitlines()[0]
    assert SECRET.fullmatch(secret)
    assert f'curl http://127.0.0.1:9911/v1/chat/completions -H "authorization: Bearer {secret}"' in ran.out
    assert '"model": "large"' in ran.out
    assert f"export OPENAI_BASE_URL=http://127.0.0.1:9911/v1 OPENAI_API_KEY={secret}" in ran.out
    assert "It works until 2999-01-31 23:59 UTC." in ran.out
    assert "within two seconds" in ran.out
    assert secret not in run("keys", "list").out + run("keys", "show", "shop").out


def test_the_first_key_says_what_changes_and_the_second_does_not(run: Run):
    first, second = run("keys", "create", "shop"), run("keys", "create", "till")

    assert "from now on every request needs one" in first.err
    assert "On this machine alone none was needed before." in first.err
    assert "No key is an admin's" in first.err
    assert "first key" not in second.err
    assert "No key is an admin's" in second.err
    assert "admin" not in run("keys", "create", "boss", "--admin").err
    assert run("keys", "create", "more").err == ""


def test_keys_are_printed_as_json_too(run: Run):
    limits = ("--usd-per-day", "1.5", "--usd-per-month", 20, "--usd", 100, "--tokens-per-day", 9000)
    rates = ("--requests-per-minute", 60, "--tokens-per-minute", 5000, "--concurrent", 4)
    made = run(
        "keys", "create", "shop", "--role", "hr", "--role", "it", "--team", "sales", *limits, *rates, "--json"
    ).json
    (listed,) = run("keys", "list", "--json").json
    shown = run("keys", "show", "shop", "--json").json

    assert SECRET.fullmatch(made.pop("secret"))
    assert made["budget"] == {
        "limit_usd_per_day": 1.5, "limit_usd_per_month": 20.0, "limit_usd": 100.0, "limit_tokens_per_day": 9000,
        "requests_per_minute": 60, "tokens_per_minute": 5000, "concurrent": 4,
    }  # fmt: skip
    assert (made["roles"], made["team"], made["expires"], made["state"]) == (["hr", "it"], "sales", None, "active")
    assert made.items() <= listed.items()
    assert made.items() <= shown.items()
    assert shown["limits"][0] == {"limit": "1.50 USD per day", "used": 0.0}


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (("create", "a b"), 1, "'a b' cannot name a key"),
        (("create", "shop"), 1, "there is a key 'shop' already"),
        (("create", "x", "--expires", "soon"), 2, "'soon' is no time"),
        (("create", "x", "--expires", "2020-01-01"), 1, "expired already"),
        (("create", "x", "--usd", "0"), 2, "--usd"),
        (("create", "x", "--usd-per-day", "much"), 2, "--usd-per-day"),
        (("create", "x", "--requests-per-minute", "0"), 2, "--requests-per-minute"),
        (("create",), 2, "Missing argument"),
        (("show", "shp"), 1, "there is no stored key 'shp'\nhint:  known: shop"),
        (("rotate", "shp"), 1, "there is no stored key 'shp'"),
        (("rotate", "shop", "--grace", "a while"), 2, "'a while' is no time"),
        (("revoke", "shp"), 1, "there is no stored key 'shp'"),
        (("remove", "shop", "--yes"), 1, "the key 'shop' works\nhint:  first: penstock keys revoke shop"),
    ],
)
def test_what_cannot_be_done_with_a_key_says_why(run: Run, arguments: tuple[str, ...], status: int, says: str):
    run("keys", "create", "shop")

    ran = run("keys", *arguments)

    assert (ran.status, ran.out) == (status, "")
    assert says in ran.err


def test_without_keys_the_list_says_that_none_is_needed(run: Run):
    assert "none is needed on this machine alone" in run("keys", "list").out
    assert run("keys", "list", "--json").json == []


def test_keys_of_the_settings_are_listed_without_their_secret_being_there(run: Run):
    Path("penstock.toml").write_text('[keys.boss]\nkey = "env:NOT_SET_HERE"\nadmin = true\nteam = "ops"\n')

    ran = run("keys", "list")

    assert ran.status == 0
    assert ran.out.splitlines()[1].split() == ["boss", "admin", "ops", "all", "0.00", "0.00"]
    assert "in the settings file" in run("keys", "show", "boss").out
    assert "change it there" in run("keys", "revoke", "boss", "--yes").err
    assert "there is a key 'boss' already" in run("keys", "create", "boss").err
    assert run("keys", "create", "shop").err == ""  # it is neither the first nor without an admin


@pytest.mark.parametrize(
    "text", ["keys = 5", "[keys]\nboss = 5", "[keys.boss]\nkye = 'x'", "[keys.boss]\nadmin = 'yes'"]
)
def test_keys_of_the_settings_that_cannot_be_read_are_refused(run: Run, text: str):
    Path("penstock.toml").write_text(text)

    ran = run("keys", "list")

    assert (ran.status, ran.out) == (1, "")
    assert ran.err.startswith("error: penstock.toml: ")


def test_a_list_of_keys_fits_the_terminal(run: Run):
    models = [word for name in ("one-model-*", "another-model-*", "a-third-model-*") for word in ("--model", name)]
    limits = ("--usd-per-day", 12.5, "--usd-per-month", 200, "--requests-per-minute", 600, "--concurrent", 16)
    run("keys", "create", "marketing-website", "--team", "marketing and communication", *models, *limits)

    assert max(map(len, run("keys", "list").out.splitlines())) <= 100


def test_a_rotation_prints_the_new_key_and_until_when_the_old_one_works(run: Run):
    run("keys", "create", "shop")

    ran = run("keys", "rotate", "shop", "--grace", "24h")

    assert SECRET.match(ran.out)
    assert re.search(r"The old secret works until \d{4}-\d\d-\d\d \d\d:\d\d UTC\.", ran.err)
    assert "before it works until" in run("keys", "show", "shop").out
    assert "The old secret works no more." in run("keys", "rotate", "shop").err
    assert SECRET.fullmatch(run("keys", "rotate", "shop", "--json").json["secret"])


def test_to_revoke_a_key_asks_first(run: Run):
    run("keys", "create", "shop")

    assert run("keys", "revoke", "shop", stdin=b"n\n").status == 130
    assert run("keys", "list", "--json").json[0]["state"] == "active"
    ran = run("keys", "revoke", "shop", stdin=b"y\n")
    assert (ran.status, ran.out) == (0, "shop is revoked\n")
    assert "every request is refused" in ran.err
    assert run("keys", "list", "--json").json[0]["state"] == "revoked"


def test_a_key_that_is_removed_gives_its_name_back(run: Run):
    run("keys", "create", "shop")
    run("keys", "revoke", "shop", "--yes")
    assert "penstock keys remove shop" in run("keys", "create", "shop").err

    ran = run("keys", "remove", "shop", stdin=b"y\n")

    assert (ran.status, ran.out) == (0, "shop is forgotten\n")
    assert "It is the last one" in ran.err
    assert run("keys", "create", "shop").status == 0


def test_the_shell_completes_the_names_of_keys(run: Run):
    for name in ("shop", "shelf", "till"):
        run("keys", "create", name)
    run("keys", "revoke", "shelf", "--yes")
    words = {"_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": "penstock keys rotate sh", "COMP_CWORD": "3"}
    installed = Path(sys.executable).with_name("penstock")

    ended = subprocess.run([installed], env=os.environ | words, capture_output=True, text=True, timeout=60)

    assert ended.stdout.split() == ["plain,shop"]


def test_completion_makes_nothing_and_says_nothing_where_there_is_no_home():
    words = {"_PENSTOCK_COMPLETE": "bash_complete", "COMP_WORDS": "penstock keys show x", "COMP_CWORD": "3"}
    installed = Path(sys.executable).with_name("penstock")

    ended = subprocess.run([installed], env=os.environ | words, capture_output=True, text=True, timeout=60)

    assert (ended.stdout.strip(), ended.stderr) == ("", "")
    assert list(Path().iterdir()) == []


def test_a_stored_key_counts_where_a_key_is_looked_for(run: Run):
    Path("penstock.toml").write_text('[server]\nhost = "0.0.0.0"\n')
    assert "there is no key" in run("config", "check").out
    assert not Path(".penstock").exists()

    run("keys", "create", "shop")

    assert run("config", "check").status == 0
    assert [row["found"] for row in run("doctor", "--json").json if row["check"] == "keys"] == ["1 stored, active"]


# ---------------------------------------------------------------- what was spent


@pytest.fixture
def journal() -> None:
    """Requests of two keys in the home of this folder, and what they spent of a budget."""
    from penstock.observe.journal import Journal, Row
    from penstock.storage.database import Database

    def row(n: int, key: str, model: str, outcome: str, status: int, cost: int, person: str = "") -> Row:
        more = (False, 12.0, 1234.5, 120, 50, 0, 0, cost, "")
        return Row(
            f"{n:032x}", f"{n:032x}", now - n, key, person, "sales", "", model, "chat", True, status, outcome, "", *more
        )

    now, home = time.time(), Path(".penstock")
    kept = Journal(Database(home / "penstock.db"), home / "journal")
    kept.write(
        row(3, "shop", "small", "ok", 200, 1_500_000_000_000, "=1+1"), [("key/shop/limit_usd", 0, 1_500_000_000_000)]
    )
    kept.write(row(2, "shop", "large", "refused", 429, 0, "ann"), [])
    kept.write(row(1, "a-key-with-a-rather-long-name", "a-model/with-a-long-name-too", "cancelled", 499, 123_456), [])
    kept.close()


@pytest.mark.usefixtures("journal")
def test_spend_is_added_up_by_key_with_everything_below(run: Run):
    ran = run("spend")

    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["key", "requests", "answered", "input", "tokens", "output", "tokens", "USD"]
    assert lines[1] == ["shop", "2", "1", "240", "100", "1.5000"]
    assert lines[3] == ["all", "together", "3", "1", "360", "150", "1.5000"]
    assert "since" in ran.err


@pytest.mark.usefixtures("journal")
@pytest.mark.parametrize(
    ("by", "names"),
    [
        ("team", ["sales"]),
        ("model", ["small", "a-model/with-a-long-name-too", "large"]),
        ("person", ["=1+1", "", "ann"]),
    ],
)
def test_spend_is_added_up_by_whatever_is_asked(run: Run, by: str, names: list[str]):
    rows = run("spend", "--by", by, "--json").json

    assert [row["name"] for row in rows] == names
    assert sum(row["requests"] for row in rows) == 3
    assert sum(row["cost_usd"] for row in rows) == pytest.approx(1.500000123456, abs=1e-12)


@pytest.mark.usefixtures("journal")
def test_a_spreadsheet_works_nothing_out_of_what_callers_said(run: Run):
    lines = run("spend", "--by", "person", "--csv").out.splitlines()

    assert lines[0] == "person,requests,answered,input_tokens,output_tokens,cost_usd"
    assert lines[1] == "'=1+1,1,1,120,50,1.500000000000"


@pytest.mark.usefixtures("journal")
def test_spend_counts_from_a_day_on(run: Run):
    assert run("spend", "--since", "2999-01-01", "--json").json == []
    assert len(run("spend", "--since", "2020-01-01", "--json").json) == 2
    assert run("spend", "--since", "whenever").status == 2


@pytest.mark.usefixtures("journal")
def test_a_key_shows_what_it_spent(run: Run):
    run("keys", "create", "shop", "--usd", 10)

    assert "10.00 USD, 1.5000 USD used" in run("keys", "show", "shop").out
    assert run("keys", "list").out.splitlines()[1].split()[-1] == "1.5000"


@pytest.mark.usefixtures("journal")
def test_the_latest_requests_are_a_table_that_fits_the_terminal(run: Run):
    lines = run("requests").out.splitlines()

    assert [line.split()[2] for line in lines[1:]] == ["a-key-with-a-…", "shop", "shop"]
    assert lines[1].split()[3:] == ["a-model/with-a-lo…", "cancelled", "499", "120", "50", "1.23", "<0.000001"]
    assert max(map(len, lines)) <= 100


@pytest.mark.usefixtures("journal")
def test_requests_are_chosen_by_what_they_have(run: Run):
    def found(*arguments: object) -> list[str]:
        return [row["model"] for row in run("requests", *arguments, "--json").json]

    assert found("--key", "shop") == ["large", "small"]
    assert found("--outcome", "ok") == ["small"]
    assert found("--person", "ann") == ["large"]
    assert found("--limit", 1) == ["a-model/with-a-long-name-too"]
    assert run("requests", "--model", "none").out == "no such request\n"
    (row,) = run("requests", "--model", "small", "--json").json
    assert (row["trace_id"], row["cost_usd"], row["streamed"]) == (f"{3:032x}", 1.5, True)


def test_where_nothing_was_asked_nothing_is_made(run: Run):
    assert "nothing was asked since" in run("spend").out
    assert run("requests").out == "no request is written down yet\n"
    assert run("spend", "--json").json == run("requests", "--json").json == []
    assert not Path(".penstock").exists()
