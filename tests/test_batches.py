"""Files and batches: kept, run, stopped, and gone on with after the end of a process; as OpenAI's client uses them."""

import json
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI
from openai.types import Batch
from serving import HANDBOOK, Served, serving, up, write
from upstream import TEXT, Turn, Upstream, upstream

from penstock import upkeep
from penstock.assemble import House
from penstock.config import load
from penstock.errors import StorageError
from penstock.jobs import batches as kept
from penstock.jobs import runner
from penstock.storage import backup

KEYS = {"boss": "boss-key-0123456789", "clerk": "clerk-key-0123456789"}
CHAT = "/v1/chat/completions"


def toml(above: Upstream, more: str = "") -> str:
    names = ("good", "refuse", "fail", "once", "trickle", "slow", "any")
    models = "".join(
        f'[models.{name}]\nbase_url = "{above.url}"\ninput_usd_per_million = 1\noutput_usd_per_million = 2\n'
        for name in names
    )
    keys = "".join(
        f'[keys.{name}]\nkey = "{key}"\nadmin = {str(name == "boss").lower()}\n' for name, key in KEYS.items()
    )
    return models + keys + more


@pytest.fixture(scope="module")
def above() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gate(above: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("gate"), toml(above, "[batches]\nfiles_mb = 1\n"), documents=False) as served:
        yield served


@pytest.fixture(scope="module")
def client(gate: Served) -> Iterator[OpenAI]:
    with opened(gate.url) as client:
        yield client


def opened(url: str, key: str = KEYS["clerk"]) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)


def line(custom_id: str, model: str = "good", url: str = CHAT, **body: Any) -> dict[str, Any]:
    asked = {"model": model, "messages": [{"role": "user", "content": custom_id}], **body}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": asked}


def begin(client: OpenAI, lines: Sequence[Any], endpoint: Any = CHAT, **more: Any) -> Batch:
    data = b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines)
    file = client.files.create(file=("lines.jsonl", data), purpose="batch")
    return client.batches.create(input_file_id=file.id, endpoint=endpoint, completion_window="24h", **more)


def ended(client: OpenAI, batch: Batch, *, within_s: float = 30) -> Batch:
    return until(client, batch, lambda now: now.status in kept.ENDED, within_s=within_s)


def until(client: OpenAI, batch: Batch, true: Callable[[Batch], bool], *, within_s: float = 30) -> Batch:
    end = time.monotonic() + within_s
    while not true(now := client.batches.retrieve(batch.id)):
        assert time.monotonic() < end, now
        time.sleep(0.02)
    return now


def rows(client: OpenAI, file_id: str | None) -> list[dict[str, Any]]:
    return [json.loads(row) for row in client.files.content(file_id).text.splitlines()] if file_id else []


def counts(batch: Batch) -> tuple[int, int, int]:
    assert batch.request_counts
    return batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed


# ---------------------------------------------------------------- files


def test_a_file_is_kept_listed_read_and_forgotten(client: OpenAI, gate: Served):
    data = bytes(range(256))

    file = client.files.create(file=("größe.jsonl", data), purpose="batch")

    assert (file.bytes, file.filename, file.purpose, file.object) == (256, "größe.jsonl", "batch", "file")
    assert client.files.retrieve(file.id) == file
    assert file in client.files.list().data
    assert client.files.content(file.id).read() == data
    assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    assert not (gate.house.settings.home_path / "files" / file.id).exists()


def test_files_and_batches_of_another_key_are_not_there(client: OpenAI, gate: Served):
    batch = ended(client, begin(client, [line("a")]))
    with opened(gate.url, KEYS["boss"]) as boss:
        attempts: list[Callable[[], Any]] = [
            lambda: boss.files.retrieve(batch.input_file_id),
            lambda: boss.files.content(batch.input_file_id),
            lambda: boss.files.delete(batch.input_file_id),
            lambda: boss.files.content(str(batch.output_file_id)),
            lambda: boss.batches.retrieve(batch.id),
            lambda: boss.batches.cancel(batch.id),
            lambda: boss.batches.create(input_file_id=batch.input_file_id, endpoint=CHAT, completion_window="24h"),
        ]
        for attempt in attempts:
            with pytest.raises(openai.NotFoundError):
                attempt()

        assert boss.files.list().data == []
        assert boss.batches.list().data == []
    assert client.files.retrieve(batch.input_file_id)


def test_lists_are_read_page_by_page(client: OpenAI):
    made = [client.files.create(file=(f"{n}.jsonl", b"{}"), purpose="batch").id for n in range(5)]

    first = client.files.list(limit=2)
    rest = [file.id for page in first.iter_pages() for file in page.data]
    oldest_first = [file.id for file in client.files.list(order="asc").data]

    assert [file.id for file in first.data] == [made[4], made[3]]
    assert rest[:5] == made[::-1]
    assert oldest_first == rest[::-1]
    assert client.files.list(purpose="batch_output", limit=1).data != first.data


def test_a_key_keeps_no_more_than_it_may(gate: Served, client: OpenAI):
    with pytest.raises(openai.APIStatusError) as refused:
        client.files.create(file=("large.jsonl", bytes(1_100_000)), purpose="batch")

    assert refused.value.status_code == 413
    assert "may keep 1 MB" in refused.value.message
    files = {path.name for path in (gate.house.settings.home_path / "files").iterdir()}
    assert files == {row[0] for row in gate.house.database.read("select id from files")}


def test_a_file_that_expires_is_gone(gate: Served, client: OpenAI):
    file = client.files.create(
        file=("a.jsonl", b"{}"), purpose="batch", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert file.expires_at == file.created_at + 3600
    with gate.house.database.write() as w:
        w.execute("update files set expires = 1 where id = ?", (file.id,))

    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(file.id)
    gate.house.files.sweep()

    assert not (gate.house.settings.home_path / "files" / file.id).exists()


@pytest.mark.parametrize(
    "form",
    [
        {"data": {"purpose": "batch"}},
        {"data": {"purpose": "fine-tune"}, "files": {"file": ("a", b"{}")}},
        {"files": {"file": ("a", b"{}")}},
        {"json": {"purpose": "batch"}},
        {"data": {"purpose": "batch", "expires_after[seconds]": "soon"}, "files": {"file": ("a", b"{}")}},
    ],
)
def test_an_upload_that_is_not_whole_is_refused(gate: Served, form: dict[str, Any]):
    answer = gate.client(KEYS["clerk"]).post("/v1/files", **form)

    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("path", ["/v1/files/..%2F..%2Fpenstock.db/content", "/v1/files/penstock.db/content"])
def test_no_id_leads_out_of_the_folder(gate: Served, path: str):
    assert gate.client(KEYS["boss"]).get(path).status_code == 404


# ---------------------------------------------------------------- running


def test_a_batch_is_run_and_its_output_is_as_openai_has_it(client: OpenAI, gate: Served):
    batch = begin(client, [line(f"r-{n}", max_tokens=n + 1) for n in range(5)], metadata={"for": "tests"})
    assert batch.status == "validating"

    batch = ended(client, batch)

    assert (batch.status, counts(batch), batch.metadata) == ("completed", (5, 5, 0), {"for": "tests"})
    assert batch.error_file_id is None
    assert batch.errors is None
    assert batch.created_at <= batch.in_progress_at <= batch.finalizing_at <= batch.completed_at <= batch.expires_at  # type: ignore[operator]
    output = rows(client, batch.output_file_id)
    assert [row["custom_id"] for row in output] == [f"r-{n}" for n in range(5)]
    assert [list(row) for row in output] == [["id", "custom_id", "response", "error"]] * 5
    assert [row["response"]["status_code"] for row in output] == [200] * 5
    assert [row["response"]["body"]["usage"]["completion_tokens"] for row in output] == [1, 2, 3, 4, 5]
    gate.house.gateway.journal.drain()
    for row in output:
        (journalled,) = gate.house.gateway.journal.requests(trace_id=row["response"]["request_id"])
        assert (journalled.key, journalled.status) == ("clerk", 200)


def test_lines_that_fail_are_errors_of_their_own(client: OpenAI):
    asked = [line("good"), line("refused", "refuse"), line("nobody", "nobody"), line("empty", messages="none")]
    batch = ended(client, begin(client, asked))

    assert (batch.status, counts(batch)) == ("completed", (4, 2, 2))
    assert {row["custom_id"] for row in rows(client, batch.output_file_id)} == {"good", "empty"}
    errors = {row["custom_id"]: row["response"] for row in rows(client, batch.error_file_id)}
    assert errors["refused"]["status_code"] == 400
    assert errors["refused"]["body"]["error"]["message"] == "refuse: as it was told to"
    assert errors["nobody"]["status_code"] == 404


def test_what_may_pass_is_tried_again(client: OpenAI, above: Upstream):
    batch = ended(client, begin(client, [line("a", "once")]))

    assert counts(batch) == (1, 1, 0)
    assert above.calls["once"] == 2


@pytest.mark.parametrize(
    ("endpoint", "body"),
    [
        ("/v1/embeddings", {"input": "Good morning"}),
        ("/v1/completions", {"prompt": "Good morning"}),
        ("/v1/responses", {"input": "Good morning"}),
        ("/v1/moderations", {"input": "Good morning"}),
    ],
)
def test_other_endpoints_are_run_too(client: OpenAI, endpoint: str, body: dict[str, Any]):
    asked = {"custom_id": "a", "method": "POST", "url": endpoint, "body": {"model": "good", **body}}
    batch = ended(client, begin(client, [asked], endpoint))

    assert (batch.endpoint, batch.status, counts(batch)) == (endpoint, "completed", (1, 1, 0))


def test_a_file_with_crooked_lines_fails_and_says_which(client: OpenAI, above: Upstream):
    before = len(above.seen)
    crooked = [
        line("a"), b"{nonsense", b"[]", line("a"), {**line("b"), "url": "/v1/embeddings"}, {**line("c"), "method": "GET"},
        {**line("d"), "body": 1}, line("e", stream=True), {**line("f"), "custom_id": 7}, b"", {**line("g"), "body": {}},
    ]  # fmt: skip
    batch = ended(client, begin(client, crooked))

    assert batch.status == "failed"
    assert batch.failed_at
    assert batch.output_file_id is None
    assert batch.error_file_id is None
    assert batch.errors
    assert [(error.code, error.line) for error in batch.errors.data or ()] == [
        ("invalid_json_line", 2), ("invalid_json_line", 3), ("duplicate_custom_id", 4), ("invalid_url", 5),
        ("invalid_method", 6), ("missing_required_parameter", 7), ("invalid_request", 8),
        ("missing_required_parameter", 9), ("missing_required_parameter", 11),
    ]  # fmt: skip
    assert len(above.seen) == before


def test_an_empty_file_fails(client: OpenAI):
    batch = ended(client, begin(client, []))

    assert batch.errors
    assert [error.code for error in batch.errors.data or ()] == ["empty_file"]


@pytest.mark.parametrize(
    "wrong",
    [{"endpoint": "/v1/files"}, {"completion_window": "soon"}, {"completion_window": "31d"}, {"metadata": {"a": 1}},
     {"input_file_id": 7}, {"output_expires_after": {"seconds": 1}}],
)  # fmt: skip
def test_a_batch_that_makes_no_sense_is_refused(gate: Served, client: OpenAI, wrong: dict[str, Any]):
    file = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
    body = {"input_file_id": file.id, "endpoint": CHAT, "completion_window": "24h"} | wrong

    answer = gate.client(KEYS["clerk"]).post("/v1/batches", json=body)

    assert answer.status_code == 400
    assert next(iter(wrong)) in answer.json()["error"]["message"]


def test_a_cancelled_batch_keeps_what_it_has(client: OpenAI):
    batch = begin(client, [line(f"r-{n}", "slow" if n > 3 else "good") for n in range(200)])
    until(client, batch, lambda now: counts(now)[1] >= 4)

    client.batches.cancel(batch.id)
    batch = ended(client, batch)

    total, completed, failed = counts(batch)
    assert batch.status == "cancelled"
    assert batch.cancelling_at
    assert batch.cancelled_at
    assert (total, failed) == (200, 0)
    assert 4 <= completed < 200
    output, errors = rows(client, batch.output_file_id), rows(client, batch.error_file_id)
    assert {row["custom_id"] for row in output + errors} == {f"r-{n}" for n in range(200)}
    assert len(output) == completed
    assert {row["error"]["code"] for row in errors} == {"batch_cancelled"}
    with pytest.raises(openai.BadRequestError, match="has ended"):
        client.batches.cancel(batch.id)


def test_a_batch_whose_time_is_over_expires(client: OpenAI, gate: Served):
    data = b"".join(json.dumps(line(f"r-{n}", "slow")).encode() + b"\n" for n in range(200))
    file = client.files.create(file=("lines.jsonl", data), purpose="batch")
    made = gate.house.batches.create(
        "clerk", endpoint=CHAT, input_id=file.id, window="1h", window_s=1.0, metadata={}, keep_s=3600
    )

    batch = ended(client, client.batches.retrieve(made.id))

    assert batch.status == "expired"
    assert {row["error"]["code"] for row in rows(client, batch.error_file_id)} == {"batch_expired"}
    assert 0 < counts(batch)[1] == len(rows(client, batch.output_file_id)) < 200
    assert client.files.retrieve(str(batch.output_file_id)).expires_at


def test_a_file_that_a_batch_reads_stays(client: OpenAI):
    batch = begin(client, [line(f"r-{n}", "slow") for n in range(50)])

    with pytest.raises(openai.BadRequestError, match="still reads this file"):
        client.files.delete(batch.input_file_id)

    client.batches.cancel(batch.id)
    ended(client, batch)
    assert client.files.delete(batch.input_file_id).deleted


def test_two_batches_share_the_places(client: OpenAI):
    long = begin(client, [line(f"r-{n}", "slow") for n in range(120)])
    short = begin(client, [line(f"r-{n}", "slow") for n in range(3)])

    assert ended(client, short).status == "completed"
    assert client.batches.retrieve(long.id).status == "in_progress"
    client.batches.cancel(long.id)
    ended(client, long)


# ---------------------------------------------------------------- keys, budgets, limits


def test_when_a_key_is_revoked_its_batch_fails_with_what_it_has(gate: Served):
    _, secret = gate.house.keys.create("temp")
    with opened(gate.url, secret) as temp:
        batch = begin(temp, [line(f"r-{n}", "slow") for n in range(200)])
        until(temp, batch, lambda now: counts(now)[1] > 0)
        gate.house.keys.revoke("temp")
        end = time.monotonic() + 20
        while (found := gate.house.batches.find(batch.id)) and found.status != "failed":
            assert time.monotonic() < end
            time.sleep(0.05)

    assert found
    assert found.problems[0].code == "needs_key"
    assert "temp" in found.problems[0].message
    output = gate.house.files.read(gate.house.files.get(found.output_id, "temp"))
    assert output.count(b"\n") == found.completed > 0


def test_without_money_the_lines_that_are_left_fail(tmp_path: Path, above: Upstream):
    cost = 12 * 1e-6 + 50 * 2e-6
    more = f"[budgets.clerk]\nkey = 'clerk'\nlimit_usd = {cost * 5.5}\n[batches]\nconcurrent = 1\n"
    with serving(tmp_path, toml(above, more), documents=False) as served, opened(served.url) as client:
        batch = ended(client, begin(client, [line(f"r-{n}", max_tokens=50) for n in range(8)]))
        errors = rows(client, batch.error_file_id)

    assert batch.status == "completed"
    assert counts(batch)[1] in (4, 5)
    assert {row["response"]["status_code"] for row in errors} == {429}
    assert {row["response"]["body"]["error"]["code"] for row in errors} == {"insufficient_quota"}


def test_a_rate_is_waited_for(tmp_path: Path, above: Upstream):
    more = "[budgets.clerk]\nkey = 'clerk'\nrequests_per_minute = 40\n"
    with serving(tmp_path, toml(above, more), documents=False) as served, opened(served.url) as client:
        batch = ended(client, begin(client, [line(f"r-{n}") for n in range(42)]))

    assert counts(batch) == (42, 42, 0)


def test_whoever_waits_in_person_goes_first(tmp_path: Path):
    with upstream(slow=[Turn(wait_s=0.1)]) as above:
        more = f'[models.one]\nmodel = "slow"\nbase_url = "{above.url}"\nmax_concurrent = 1\n'
        with serving(tmp_path, toml(above, more), documents=False) as served, opened(served.url) as client:
            batch = begin(client, [line(f"r-{n}", "one") for n in range(60)])
            until(client, batch, lambda now: counts(now)[1] > 0)
            began = time.perf_counter()
            for _ in range(3):
                client.chat.completions.create(model="one", messages=[{"role": "user", "content": "Good morning"}])
            took_s = time.perf_counter() - began
            client.batches.cancel(batch.id)
            ended(client, batch)

    assert took_s < 1.5, "each waits for the one that runs, not for the fifteen that wait"


def test_an_app_answers_lines_from_its_documents(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    with serving(tmp_path, '[documents.handbook]\npaths = ["handbook"]\n') as served, opened(served.url) as client:
        asked = line("a", "handbook")
        asked["body"]["messages"][0]["content"] = "How long can books be returned?"
        batch = ended(client, begin(client, [asked]))
        (row,) = rows(client, batch.output_file_id)

    assert "thirty days" in row["response"]["body"]["choices"][0]["message"]["content"]


# ---------------------------------------------------------------- the end of a process


def test_a_killed_process_loses_no_line_and_pays_none_twice(tmp_path: Path):
    lines = 400
    with upstream(steady=[Turn(wait_s=0.05)]) as above:
        steady = f'[models.steady]\nbase_url = "{above.url}"\ninput_usd_per_million = 1\n[batches]\nconcurrent = 8\n'
        tmp_path.joinpath("penstock.toml").write_text(toml(above, steady))
        killed = 0
        batch: Batch | None = None
        done: list[int] = []
        while True:
            with up(tmp_path) as (process, address), opened(address) as client:
                wait_ready(address)
                batch = batch or begin(client, [line(f"r-{n}", "steady") for n in range(lines)])
                if killed < 3:
                    more = (done[-1] if done else 0) + 60
                    done.append(counts(until(client, batch, lambda now, more=more: counts(now)[1] >= more))[1])  # type: ignore[misc]
                    process.send_signal(signal.SIGKILL)
                    killed += 1
                    continue
                batch = ended(client, batch, within_s=60)
                output = rows(client, batch.output_file_id)
                process.terminate()
                assert process.wait(30) == 0
                break
    asked = Counter(seen.body["messages"][0]["content"] for seen in above.seen)

    assert (batch.status, counts(batch)) == ("completed", (lines, lines, 0))
    assert [row["custom_id"] for row in output] == [f"r-{n}" for n in range(lines)]
    assert all(row["response"]["body"]["choices"][0]["message"]["content"] == TEXT for row in output)
    assert asked.keys() == {f"r-{n}" for n in range(lines)}
    assert asked.total() - lines <= 3 * 16, "what was on its way, and what had come and was not on the disk yet"
    assert max(asked.values()) <= 2


def wait_ready(address: str) -> None:
    end = time.monotonic() + 30
    while httpx2.get(f"{address}/readyz").status_code != 200:
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_stopped_server_answers_what_is_on_its_way_and_goes_on_later(tmp_path: Path, above: Upstream):
    before = above.calls["slow"]
    with serving(tmp_path, toml(above), documents=False) as served, opened(served.url) as client:
        batch = begin(client, [line(f"r-{n}", "slow") for n in range(60)])
        until(client, batch, lambda now: counts(now)[1] > 0)
    stopped = above.calls["slow"] - before
    with serving(tmp_path, toml(above), documents=False) as served, opened(served.url) as client:
        between = client.batches.retrieve(batch.id)
        batch = ended(client, batch)

    assert stopped < 60
    assert counts(between)[1] >= stopped, "what was paid for is there"
    assert above.calls["slow"] - before == 60
    assert counts(batch) == (60, 60, 0)


def test_of_several_processes_one_runs_a_batch(tmp_path: Path):
    with upstream(steady=[Turn(wait_s=0.02)]) as above:
        tmp_path.joinpath("penstock.toml").write_text(
            toml(above, f'[models.steady]\nbase_url = "{above.url}"\n[batches]\nconcurrent = 4\n')
        )
        with up(tmp_path, "--workers", "3") as (process, address):
            batches = []
            for _ in range(4):
                with opened(address) as client:  # another connection, perhaps another process
                    batches.append(begin(client, [line(f"{len(batches)}-{n}", "steady") for n in range(30)]))
            with opened(address) as client:
                over = [ended(client, batch, within_s=60) for batch in batches]
            process.terminate()
            process.wait(60)
    asked = Counter(seen.body["messages"][0]["content"] for seen in above.seen)

    assert [counts(batch) for batch in over] == [(30, 30, 0)] * 4
    assert set(asked.values()) == {1}
    assert len(asked) == 120


def test_what_a_killed_process_left_of_a_file_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "penstock.toml").write_text("")
    house = House(load(tmp_path / "penstock.toml", environment={}))
    file = house.files.add("me", "a.jsonl", b"{}", purpose="batch")
    orphan = house.files.path("file-orphan")
    orphan.write_bytes(b"half")
    house.files.sweep()
    young = orphan.exists()
    monkeypatch.setattr("penstock.jobs.files.ORPHAN_S", -1.0)
    house.files.sweep()

    assert young
    assert not orphan.exists()
    assert house.files.read(file) == b"{}"
    house.close()


def test_a_plain_gateway_asks_the_database_for_no_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    looks: list[float] = []
    unfinished = kept.Batches.unfinished
    monkeypatch.setattr(kept.Batches, "unfinished", lambda self: looks.append(time.time()) or unfinished(self))
    monkeypatch.setattr(runner, "LOOK_S", 0.05)

    with serving(tmp_path, documents=False):
        time.sleep(0.5)

    assert len(looks) == 1


def test_while_results_cannot_be_kept_nothing_more_is_asked_and_none_is_lost(
    gate: Served, client: OpenAI, above: Upstream, monkeypatch: pytest.MonkeyPatch
):
    record, full = kept.Batches.record, [True]

    def on_a_full_disk(self: kept.Batches, id: str, results: Sequence[kept.Result]) -> kept.Status:  # noqa: A002
        if results and full:
            raise StorageError("the disk is full")
        return record(self, id, results)

    monkeypatch.setattr(kept.Batches, "record", on_a_full_disk)
    before = above.calls["good"]
    batch = begin(client, [line(f"r-{n}") for n in range(100)])
    time.sleep(1.5)
    asked = above.calls["good"] - before
    full.clear()
    batch = ended(client, batch)

    assert 0 < asked < 100
    assert counts(batch) == (100, 100, 0)
    assert above.calls["good"] - before == 100


def test_a_backup_holds_the_files(tmp_path: Path, above: Upstream):
    with serving(tmp_path / "one", toml(above), documents=False) as served, opened(served.url) as client:
        file = client.files.create(file=("a.jsonl", b"{}"), purpose="batch")
        upkeep.back_up(served.house.settings, tmp_path / "saved.tar")
    backup.restore(tmp_path / "saved.tar", tmp_path / "two" / ".penstock", replace=False)
    with serving(tmp_path / "two", toml(above), documents=False) as served, opened(served.url) as client:
        assert client.files.content(file.id).read() == b"{}"


def test_while_an_upstream_rests_its_lines_wait(tmp_path: Path):
    turns = [*[Turn(500)] * 8, Turn()]
    with upstream(shaky=turns) as above:
        more = f'[models.shaky]\nbase_url = "{above.url}"\n[batches]\nconcurrent = 4\n'
        with serving(tmp_path, toml(above, more), documents=False) as served, opened(served.url) as client:
            batch = ended(client, begin(client, [line(f"r-{n}", "shaky") for n in range(12)]), within_s=60)

    assert counts(batch) == (12, 12, 0)
