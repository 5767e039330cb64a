"""Values of penstock.toml are changed where they stand: the rest stays byte for byte, and what would not load is not written."""

import os
import re
import stat
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hypothesis import example, given, settings
from hypothesis import strategies as st
from serving import write

from penstock import settings_file
from penstock.config import Settings, load
from penstock.errors import BadSetting, Conflict, NotFound, StorageError
from penstock.settings_file import KEPT, change, digest, lines, previewed, problem, read_again, undo, undoable
from penstock.storage import files

FILE = """# Ours
home = "data"   # where things are kept

[guard.default]  # everybody's
personal_data = 'mask' # the officer wants it so
# types that matter
types = {EMAIL_ADDRESS = "redact"}

# About the shop
[documents.handbook]
paths = [ "handbook",  # one
  "more" ]
[[documents.handbook.rules]]
match = "a*"

[[documents.handbook.rules]]
match = "b*"
[guard.strict]
secrets = "block"

# the end
"""
POLICY = ("guard", "default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "penstock.toml").write_text(FILE)
    return tmp_path


def read(folder: Path) -> Settings:
    return load(folder / "penstock.toml", environment={})


def changed(folder: Path, values: dict[Any, Any], **environment: str) -> str:
    """The text after a change."""
    now = read(folder)
    change(now, values, expected=digest(now), environment=environment)
    return (folder / "penstock.toml").read_bytes().decode()


def test_a_value_is_replaced_where_it_stands(folder: Path):
    found = changed(folder, {(*POLICY, "personal_data"): "block"})

    assert found == FILE.replace("'mask' #", '"block" #')
    assert read(folder).guard["default"].personal_data == "block"


def test_a_new_value_stands_at_the_end_of_its_table_and_above_what_is_said_of_the_next(folder: Path):
    found = changed(folder, {(*POLICY, "secrets"): "block"})

    said = 'types = {EMAIL_ADDRESS = "redact"}\n'
    assert found == FILE.replace(said, said + 'secrets = "block"\n')


@pytest.mark.parametrize(
    ("values", "old", "new"),
    [
        (
            {(*POLICY, "types", "PERSON"): "block"},
            '{EMAIL_ADDRESS = "redact"}',
            '{ EMAIL_ADDRESS = "redact", PERSON = "block" }',
        ),
        ({(*POLICY, "types"): {}}, '{EMAIL_ADDRESS = "redact"}', "{}"),
        ({(*POLICY, "types"): None}, 'types = {EMAIL_ADDRESS = "redact"}\n', ""),
        ({(*POLICY, "personal_data"): None}, "personal_data = 'mask' # the officer wants it so\n", ""),
        ({("home",): "there"}, '"data"   #', '"there"   #'),
        ({("log", "level"): "info"}, "# the end\n", '# the end\n\n[log]\nlevel = "info"\n'),
        (
            {("guard", "strict", "topics", "hate"): "block"},
            'secrets = "block"\n',
            'secrets = "block"\ntopics = { hate = "block" }\n',
        ),
        ({("guard", "new"): {}}, "# the end\n", "# the end\n\n[guard.new]\n"),
        ({("guard", "strict"): None}, '[guard.strict]\nsecrets = "block"\n', ""),
        ({("documents", "handbook", "rules", 1, "match"): "c*"}, '"b*"', '"c*"'),
        ({("documents", "handbook", "ocr"): False}, '  "more" ]\n', '  "more" ]\nocr = false\n'),
        ({("documents", "handbook", "paths"): ["handbook", "more"]}, "", ""),
        ({("guard", "strict", "allow"): ["ä\"\n'"]}, '"block"\n\n', '"block"\nallow = ["ä\\"\\n\'"]\n\n'),
        (
            {("models", "house"): {"model": "m", "parallel": 2, "input_usd_per_million": 0.5}},
            "# the end\n",
            '# the end\n\n[models.house]\nmodel = "m"\nparallel = 2\ninput_usd_per_million = 0.5\n',
        ),
    ],
)
def test_only_what_is_changed_is_changed(folder: Path, values: dict[Any, Any], old: str, new: str):
    assert changed(folder, values) == FILE.replace(old, new, 1)


LIST = """[guard.strict]
block = [ "zero", # first
  "foo", # because of ticket 12
  # the next one was asked for by legal
  "bar"  # no comma
  # the end
] # of the list
"""


@pytest.mark.parametrize(
    ("said", "old", "new"),
    [
        (("zero", "foo", "bar", "baz", "x"), '"bar"  # no comma\n', '"bar",  # no comma\n  "baz",\n  "x",\n'),
        (("zero", "bar"), '  "foo", # because of ticket 12\n', ""),
        (("zero", "foo"), '  "bar"  # no comma\n', ""),
        (("foo", "bar"), '[ "zero", # first', "[  # first"),
        (("new", "zero", "foo", "bar"), '[ "zero"', '[ "new", "zero"'),
        (("zero", "foo", "new", "bar"), "ticket 12\n", 'ticket 12\n  "new",\n'),
        (("zero", "fo#o", "bar"), '"foo"', '"fo#o"'),
    ],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_comments_in_a_list_stay(tmp_path: Path, said: tuple[str, ...], old: str, new: str, newline: str):
    (tmp_path / "penstock.toml").write_bytes(LIST.replace("\n", newline).encode())

    changed(tmp_path, {("guard", "strict", "block"): said})

    text = (tmp_path / "penstock.toml").read_bytes().decode()
    assert text == LIST.replace(old, new).replace("\n", newline)


@given(
    old=st.lists(st.sampled_from(["a", "#", ",", "]", 'q"', "z"]), max_size=6),
    new=st.lists(st.sampled_from(["a", "#", ",", "]", 'q"', "z"]), max_size=6),
    gaps=st.lists(st.sampled_from(["", " ", "\n", " # one,\n", "\n  # two ]\n  "]), min_size=14, max_size=14),
    comma=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_any_list_becomes_any_other_and_comments_on_lines_of_their_own_stay(
    old: list[str], new: list[str], gaps: list[str], comma: bool
):
    inner = "".join(
        gap + settings_file._spelled(one) + behind + ("," if comma or n + 1 < len(old) else "")
        for n, (one, gap, behind) in enumerate(zip(old, gaps, gaps[7:], strict=False))
    )
    text = f"list = [{inner}{gaps[6]}]\n"
    after = settings_file._changed(text, {("list",): new}, Path("x.toml"))

    assert tomllib.loads(after)["list"] == new
    assert after.count("# two ]") == text.count("# two ]")


def test_where_comments_would_be_lost_nothing_is_changed():
    text = "[a]\nx = { y = [1, # one\n 2] }\nz = [[1, # one\n 2], 3]\n"
    for key, value in ((("a", "x", "y"), [3]), (("a", "z"), 1), (("a", "z"), [[1], 3])):
        with pytest.raises(BadSetting, match="cannot be changed from here"):
            settings_file._changed(text, {key: value}, Path("x.toml"))


def test_tables_are_found_however_they_are_written(folder: Path):
    file = folder / "penstock.toml"
    file.write_text('guard.default.secrets = "mask"\nhome = "data"\n\n[server]\nport = 1\n')
    found = changed(folder, {(*POLICY, "injection"): "review", ("guard", "new", "secrets"): "block"})
    assert found.startswith('guard.default.secrets = "mask"\nguard.default.injection = "review"\nhome')
    assert set(read(folder).guard) == {"default", "new"}

    file.write_text('guard = { default = { secrets = "mask" }, old = {} }\n')
    found = changed(folder, {(*POLICY, "injection"): "review", ("guard", "new"): {}, ("guard", "old"): None})
    assert found == 'guard = { default = { secrets = "mask", injection = "review" }, new = {} }\n'

    file.write_text('[guard.default.topics]\nhate = "block"\n')
    found = changed(folder, {(*POLICY, "secrets"): "block"})
    assert tomllib.loads(found)["guard"]["default"] == {"topics": {"hate": "block"}, "secrets": "block"}


def test_without_a_settings_file_one_is_made_where_settings_would_be_read(tmp_path: Path, monkeypatch: Any):
    monkeypatch.chdir(tmp_path)
    nothing = load(environment={})
    assert (digest(nothing), problem(nothing)) == ("", "")

    written = change(nothing, {(*POLICY, "secrets"): "block"}, expected="")

    assert written.file == tmp_path / "penstock.toml"
    assert written.file.read_text() == '[guard.default]\nsecrets = "block"\n'
    assert load(environment={}).guard["default"].secrets == "block"


def test_a_change_against_an_older_text_is_refused(folder: Path):
    now = read(folder)
    seen = digest(now)
    written = change(now, {("home",): "one"}, expected=seen)

    with pytest.raises(Conflict, match="in the meantime"):
        change(now, {("home",): "two"}, expected=seen)
    assert change(now, {("home",): "two"}, expected=written.digest).keys == ("home",)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({(*POLICY, "secrets"): "perhaps"}, "must be one of allow, mask, block"),
        ({(*POLICY, "secretz"): "mask"}, "unknown key 'guard.default.secretz'"),
        ({("apps", "shop", "guard"): "nowhere"}, "no such policy"),
        ({("home", "inner"): "x"}, "laid out|must be|no path"),
        ({("home",): float("nan")}, "no number"),
        ({("home",): object()}, "no value"),
        ({("home",): "\ud800"}, "characters"),
    ],
)
def test_nothing_is_written_that_would_not_load(folder: Path, values: dict[Any, Any], says: str):
    with pytest.raises(BadSetting, match=says):
        changed(folder, values)
    assert (folder / "penstock.toml").read_text() == FILE
    assert not undoable(read(folder))


def test_what_a_change_would_make_can_be_seen_before(folder: Path):
    seen = previewed(read(folder), {("guard", "new"): {"secrets": "block"}}, environment={})

    assert (seen.guard["new"].secrets, seen.folder) == ("block", folder)
    assert (folder / "penstock.toml").read_text() == FILE


def test_a_change_can_be_taken_back_one_after_the_other(folder: Path):
    now = read(folder)
    assert not undoable(now)
    texts = [FILE, *(changed(folder, {(*POLICY, "secrets"): value}) for value in ("block", "allow", "mask"))]

    for before in reversed(texts[:-1]):
        assert undoable(now) == ("guard.default.secrets",)
        assert undo(now, expected=digest(now)).keys == ("guard.default.secrets",)
        assert (folder / "penstock.toml").read_text() == before
    with pytest.raises(NotFound):
        undo(now, expected=digest(now))


def test_what_somebody_wrote_by_hand_is_not_taken_back(folder: Path):
    changed(folder, {(*POLICY, "secrets"): "block"})
    file, seen = folder / "penstock.toml", digest(read(folder))
    file.write_text(file.read_text() + "# by hand\n")

    assert not undoable(read(folder))
    with pytest.raises(Conflict):
        undo(read(folder), expected=seen)
    with pytest.raises(NotFound):
        undo(read(folder), expected=digest(read(folder)))
    assert file.read_text().endswith("# by hand\n")


def test_a_number_of_earlier_texts_is_kept_for_the_owner_alone(folder: Path):
    for n in range(KEPT + 3):
        changed(folder, {("server", "port"): n})

    kept = sorted((folder / "data/settings").glob("*.toml"))
    assert len(kept) == KEPT
    assert {stat.S_IMODE(one.stat().st_mode) for one in kept} == {0o600}


def test_the_file_keeps_its_mode_and_a_link_stays_a_link(folder: Path):
    real = folder / "real.toml"
    (folder / "penstock.toml").rename(real)
    real.chmod(0o640)
    (folder / "penstock.toml").symlink_to("real.toml")

    changed(folder, {(*POLICY, "secrets"): "block"})

    assert (folder / "penstock.toml").is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert 'secrets = "block"' in real.read_text()


def test_beside_a_link_that_was_found_relative_paths_start_where_they_do_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    here = tmp_path / "here"
    write(here, {"penstock.toml": "", "key": "sk-here"})
    (here / "inside").mkdir()
    (here / "inside/penstock.toml").symlink_to("../penstock.toml")
    monkeypatch.chdir(here / "inside")
    now = load(environment={})
    values = {("models", "m"): {"provider": "openai", "api_key": "file:key"}}
    with pytest.raises(BadSetting):  # the server would not start with it
        change(now, values, expected=digest(now), environment={})
    write(here, {"inside/key": "sk-inside"})

    change(now, values, expected=digest(now), environment={})

    for found in (load(environment={}), read_again(now), previewed(now, {}, environment={})):
        assert (found.models["m"].api_key, found.home_path) == ("sk-inside", here / "inside/.penstock")
    assert (here / "inside/penstock.toml").is_symlink()


def test_a_file_that_is_read_only_is_left_alone(folder: Path):
    (folder / "penstock.toml").chmod(0o444)

    assert "read-only" in problem(read(folder))
    with pytest.raises(StorageError, match="read-only"):
        changed(folder, {(*POLICY, "secrets"): "block"})
    assert (folder / "penstock.toml").read_text() == FILE
    assert lines({(*POLICY, "secrets"): "block", (*POLICY, "allow"): None}) == '[guard.default]\nsecrets = "block"\n'


@pytest.mark.parametrize("number", [28, 16, 30, 13])  # no space, busy, read-only, no permission
def test_where_the_disk_refuses_the_file_is_whole(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int):
    replace = os.replace

    def refusing(source: Any, target: Any) -> None:
        if Path(target).name == "penstock.toml":
            raise OSError(number, os.strerror(number))
        replace(source, target)

    first = changed(folder, {(*POLICY, "injection"): "review"})
    monkeypatch.setattr(files.os, "replace", refusing)
    with pytest.raises(StorageError, match="disk is full" if number == 28 else "cannot be changed from here"):
        changed(folder, {(*POLICY, "secrets"): "block"})

    assert (folder / "penstock.toml").read_text() == first
    assert not list(folder.glob("*.part"))
    monkeypatch.undo()
    assert undo(read(folder), expected=digest(read(folder))).keys == (
        "guard.default.injection",
    )  # what came to nothing stands in nobody's way
    assert (folder / "penstock.toml").read_text() == FILE


def test_of_many_who_change_it_at_once_nobody_is_lost(folder: Path):
    def write(n: int) -> None:
        while True:
            now = read(folder)
            try:
                change(now, {("budgets", f"b{n}", "requests_per_day"): n + 1}, expected=digest(now))
            except Conflict:
                continue
            return

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {name: budget.requests_per_day for name, budget in read(folder).budgets.items()} == {
        f"b{n}": n + 1 for n in range(6)
    }


def test_while_somebody_else_is_changing_it_nobody_waits_for_ever(folder: Path, monkeypatch: pytest.MonkeyPatch):
    changed(folder, {("server", "port"): 1})
    monkeypatch.setattr(settings_file, "LOCK_S", 0.05)
    with FileLock(folder / "data/settings/lock"), pytest.raises(Conflict, match="somebody else"):
        changed(folder, {("server", "port"): 2})


# ---------------------------------------------------------------- whatever the file looks like

CHOICES = {"secrets": ["allow", "mask", "block"], "injection": ["allow", "review", "block"]}
WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=8), max_size=3)
VALUES = st.one_of(
    *(st.tuples(st.just((key,)), st.sampled_from(values)) for key, values in CHOICES.items()),
    st.tuples(st.just(("allow",)), WORDS),
    st.tuples(st.just(("help_line",)), st.text(st.characters(codec="utf-8", exclude_characters="\r"), max_size=20)),
    st.tuples(st.just(("keep_text",)), st.booleans()),
    st.tuples(st.just(("sensitivity", "hate")), st.floats(0, 1)),
    st.tuples(st.just(("topics", "hate")), st.sampled_from(["allow", "review", "block"])),
)
NAMES = st.sampled_from(["default", "strict", "a.b", "third"])
COMMENTS = st.sampled_from(["", "", "\n", "# said\n", "\n# said = [\n\n", "  # [guard.x]\n", '# """\n'])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Settings as different people write them."""
    parts = [draw(COMMENTS), draw(st.sampled_from(["", "home = 'data'  # here\n", 'home = """data"""\n']))]
    for name in draw(st.lists(NAMES, unique=True)):
        shown, style = f'"{name}"' if "." in name else name, draw(st.sampled_from(["table", "dotted", "inline"]))
        said = dict(draw(st.lists(VALUES, max_size=4)))
        spelled = {".".join(key): settings_file._spelled(value) for key, value in said.items()}
        if style == "inline":
            entries = [draw(COMMENTS), f"{shown} = {{ {', '.join(f'{k} = {v}' for k, v in spelled.items())} }}"]
            parts.insert(1, f"{entries[0]}guard.{entries[1]}\n")
            continue
        header = (
            "" if style == "dotted" else f"{draw(COMMENTS)}[guard.{shown}]{draw(st.sampled_from(['', ' # [x]']))}\n"
        )
        rows = [f"{draw(COMMENTS)}{draw(st.sampled_from(['', '  ']))}%s{k} = {v}\n" for k, v in spelled.items()]
        if style == "dotted":
            parts.insert(1, "".join(row % f"guard.{shown}." for row in rows if "%" not in row.replace("%s", "")))
        else:
            odd = ['help_line = """\n# no comment"""\n'] if "help_line" not in spelled and draw(st.booleans()) else []
            parts += [header, *(row.replace("%s", "", 1) for row in rows), *odd]
        parts.append(draw(COMMENTS))
    parts.append(draw(st.sampled_from(["", "[server]\nport = 1", "[[documents.a.rules]]\nmatch = '''\n[x]'''\n# end"])))
    text = "".join(parts)
    text = text.replace("\n", "\r\n") if draw(st.booleans()) else text
    return draw(st.sampled_from(["", "\ufeff"])) + text


def alike(one: str, other: str) -> int:
    """How many signs two texts begin with that are the same."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


@settings(max_examples=150, deadline=None)
@example(text="", name="default", said=(("secrets",), "mask"), remove=False)
@given(text=texts(), name=NAMES, said=VALUES, remove=st.booleans())
def test_what_is_set_is_read_back_and_the_rest_stays_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, text: str, name: str, said: Any, remove: bool
):
    folder = tmp_path_factory.mktemp("any")
    file = folder / "penstock.toml"
    file.write_bytes(text.encode())
    now = read(folder)
    key, value = ("guard", name, *said[0]), None if remove else said[1]

    written = change(now, {key: value}, expected=digest(now), environment={})

    new, before = file.read_bytes().decode(), tomllib.loads(text.removeprefix("\ufeff"))
    after = tomllib.loads(new.removeprefix("\ufeff"))
    inner: Any = after
    for part in key[:-1]:
        inner = inner.get(part, {})
    assert inner.get(key[-1]) == value
    old: Any = before
    for part in key[:-1]:
        old = old.get(part, {})
    assert bool(written.keys) == (old.get(key[-1]) != value)
    start = alike(text, new)
    end = alike(text[start:][::-1], new[start:][::-1])
    gone = text[start : len(text) - end]  # nothing, where a line came anew
    if old.get(key[-1]) is None and len(key) == 3 and not re.search(rf"""{re.escape(name)}"? = {{""", text):
        assert not gone
    if len(key) == 3:  # nothing else that is set has gone
        inner.pop(key[-1], None)
        old.pop(key[-1], None)
        assert settings_file._filled(before) == settings_file._filled(after)
    for line in text.splitlines():
        assert not line.lstrip().startswith("#") or line in new or "no comment" in line
    if written.keys:
        undo(now, expected=written.digest, environment={})
        assert file.read_bytes() == text.encode()
