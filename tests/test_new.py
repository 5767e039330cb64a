"""`penstock new`, and a folder with settings of its own that is served."""

import os
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from click.shell_completion import ShellComplete
from serving import HANDBOOK, up, write

from penstock.cli import new as command
from penstock.cli.main import VERBS, cli
from penstock.cli.new import applications, copy
from penstock.errors import BadRequest, Conflict, NotFound, StorageError

APPS = sorted(applications())
SHOP = """
[documents.handbook]
paths = ["handbook"]
[apps.helper]
documents = "handbook"
"""
Ran = subprocess.CompletedProcess[str]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ran]:
    """The program as people start it, in an empty folder."""
    folder = tmp_path / "here"
    folder.mkdir()

    def ran(*arguments: object, **environment: str) -> Ran:
        given = [sys.executable, "-m", "penstock", *map(str, arguments)]
        environment = {**os.environ, **environment}
        return subprocess.run(given, capture_output=True, text=True, timeout=120, cwd=folder, env=environment)

    return ran


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def completed(*words: str) -> list[str]:
    """What a shell is offered for the last of some words."""
    *before, begun = words
    complete = ShellComplete(cli, {}, "penstock", "_PENSTOCK_COMPLETE")
    return [one.value for one in complete.get_completions(before, begun)]


# ---------------------------------------------------------------- what there is


def test_the_applications_are_listed_each_with_a_sentence(run: Callable[..., Ran]):
    ran = run("new")

    assert ran.returncode == 0, ran.stderr
    assert [line.split()[0] for line in ran.stdout.splitlines()] == APPS
    assert "retail_bot" in APPS
    assert all(len(line.split(maxsplit=1)[1]) > 20 for line in ran.stdout.splitlines())


def test_shells_complete_the_applications():
    assert "new" in VERBS
    assert completed("new", "re") == ["retail_bot"]
    assert completed("new", "x") == []


# ---------------------------------------------------------------- a copy


@pytest.mark.parametrize("app", APPS)
def test_a_copy_has_all_that_the_application_has_and_no_caches(tmp_path: Path, app: str):
    source = command.APPS / app
    copy(app, tmp_path / "mine")

    assert files(tmp_path / "mine") == {
        name for name in files(source) if "__pycache__" not in name and not name.startswith(".penstock/")
    }
    assert all(
        (tmp_path / "mine" / name).read_bytes() == (source / name).read_bytes() for name in files(tmp_path / "mine")
    )
    assert not list(tmp_path.glob(".*")), "nothing is left beside it"


def test_it_says_what_to_do_next_and_where_it_is(run: Callable[..., Ran], tmp_path: Path):
    plain = run("new", "retail_bot")
    named = run("new", "retail_bot", "our shop")

    assert plain.returncode == named.returncode == 0, plain.stderr + named.stderr
    assert (tmp_path / "here/apps/retail_bot/__init__.py").is_file()
    assert "penstock up apps/retail_bot" in plain.stdout
    assert "penstock up 'our shop'" in named.stdout
    settings = tmp_path / "here/our shop/penstock.toml"
    asked = (
        [q for app in tomllib.loads(settings.read_text()).get("apps", {}).values() for q in app.get("questions", ())]
        if settings.is_file()
        else []
    )
    assert all(question in named.stdout for question in asked[:3])


def test_what_is_there_is_never_written_over(run: Callable[..., Ran], tmp_path: Path):
    run("new", "retail_bot")
    mine = tmp_path / "here/apps/retail_bot/__init__.py"
    mine.write_text("mine")
    ran = run("new", "retail_bot")

    assert ran.returncode == 1
    assert "apps/retail_bot" in ran.stderr
    assert "hint:  name another" in ran.stderr
    assert mine.read_text() == "mine"
    (tmp_path / "link").symlink_to("nowhere")
    (tmp_path / "empty").mkdir()
    for taken in ("link", "empty"):
        with pytest.raises(Conflict):
            copy("retail_bot", tmp_path / taken)
    assert files(tmp_path / "empty") == set()


def test_an_application_that_is_not_there_is_named_with_what_is(run: Callable[..., Ran]):
    close, far = run("new", "retail-bot"), run("new", "../retail_bot")

    assert (close.returncode, far.returncode) == (1, 1)
    assert "did you mean 'retail_bot'?" in close.stderr
    assert "no application" in far.stderr
    with pytest.raises(NotFound):
        copy("", Path("x"))


def test_a_copy_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(command.shutil, "copyfile", full)
    with pytest.raises(StorageError, match="No space left"):
        copy("retail_bot", tmp_path / "apps/mine")

    assert list((tmp_path / "apps").iterdir()) == []


@pytest.mark.parametrize("inside", ["mine", "mine/deeper"])
def test_where_nothing_can_be_made_it_says_so(tmp_path: Path, inside: str):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        copy("retail_bot", tmp_path / "file" / inside)
    with pytest.raises(StorageError):
        copy("retail_bot", tmp_path / "no\0name")
    with pytest.raises(BadRequest):
        copy("retail_bot", command.APPS / "retail_bot" / inside)
    assert not (command.APPS / "retail_bot" / "mine").exists()


def test_it_is_copied_from_an_installed_package_too(tmp_path: Path):
    """What a wheel is made of: each file of the package that git does not ignore."""
    package = command.APPS.parent
    wheel = tmp_path / "penstock.zip"
    with zipfile.ZipFile(wheel, "w") as packed:
        for path in package.rglob("*"):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and "weights" not in path.parts
                and ".penstock" not in path.parts
            ):
                packed.write(path, Path("penstock") / path.relative_to(package))
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(tmp_path / "installed")
    (tmp_path / "here").mkdir()
    ran = subprocess.run(
        [sys.executable, "-m", "penstock", "new", "retail_bot"], capture_output=True, text=True, timeout=120,
        cwd=tmp_path / "here", env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert files(tmp_path / "here/apps/retail_bot") == files(tmp_path / "installed/penstock/apps/retail_bot")


# ---------------------------------------------------------------- serving a folder by its own settings


def test_a_folder_with_settings_of_its_own_is_served_by_them(tmp_path: Path):
    shop = write(tmp_path / "apps/shop", {"penstock.toml": SHOP})
    write(shop / "handbook", HANDBOOK)
    write(tmp_path, {"penstock.toml": "[documents.other]\npaths = []\n"})
    with up(tmp_path, "apps/shop") as (process, address):
        asked = {"model": "helper", "messages": [{"role": "user", "content": "How long can books be returned?"}]}
        answer = httpx2.post(f"{address}/v1/chat/completions", json=asked, timeout=60).json()
        process.terminate()
        said = process.stderr.read() if process.stderr else ""

    assert "thirty days" in answer["choices"][0]["message"]["content"]
    assert "serving apps/shop/penstock.toml" in said
    assert (shop / ".penstock").is_dir(), "its home is beside its settings"
    assert not (tmp_path / ".penstock").exists()


@pytest.mark.parametrize("how", ["option", "variable", "two", "none"])
def test_other_settings_that_were_named_come_first(tmp_path: Path, how: str):
    shop = write(tmp_path / "shop", {"penstock.toml": SHOP, "notes.md": "# Notes\n\nThe shop is blue.\n"})
    write(shop / "handbook", HANDBOOK)
    write(tmp_path, {"other.toml": ""})
    write(tmp_path / "two", {"more.md": "# More\n\nThe door is red.\n"})
    options = ["--config", "other.toml"] if how == "option" else []
    places = {"two": ["shop", "two"], "none": ["shop/handbook"]}.get(how, ["shop"])
    environment = {**os.environ} | ({"PENSTOCK_CONFIG": "other.toml"} if how == "variable" else {})
    ran = subprocess.run(
        [sys.executable, "-m", "penstock", *options, "up", "--no-serve", *places], capture_output=True, text=True, timeout=120,
        cwd=tmp_path, env=environment,
    )  # fmt: skip

    assert ran.returncode == 0, ran.stderr
    assert "serving" not in ran.stderr
    assert (tmp_path / ".penstock").is_dir()


def test_a_bots_chat_and_its_page_for_phones_are_told(tmp_path: Path):
    bot = "class Small:\n    actions = ()\n    def reply(self, talk, said):\n        return Reply('Hello.')\n"
    bot += "    def look_again(self, talk, source):\n        return None\n\nbot = Small()\n"
    settings = '[apps.helper]\nbot = "bot.py"\n'
    write(tmp_path / "shop", {"penstock.toml": settings, "bot.py": f"from penstock.agents.talks import Reply\n{bot}"})
    with up(tmp_path, "shop") as (process, address):
        assert process.stdout
        said = "".join(line for line, _ in zip(process.stdout, range(4), strict=False))
        page = httpx2.get(f"{address}/app/helper", timeout=60)
        asked = httpx2.post(f"{address}/app/helper/ask", json={"question": "Hello?"}, timeout=60)

    assert f"The chat with helper: {address}/?ask=helper" in said
    assert f"On a phone: {address}/app/helper" in said
    assert page.status_code == 200
    assert "Hello." in asked.text
