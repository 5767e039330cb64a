"""Settings: one typed tree from penstock.toml and the environment, and a clear refusal of everything else."""

import json
import string
from contextlib import suppress
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from penstock.config import DocumentsSettings, ModelSettings, Settings, defaults_of, describe, load, typed, variables
from penstock.errors import BadSetting
from penstock.upkeep import missing

EVERYTHING = """
home = "state"

[server]
host = "0.0.0.0"
port = 9000
public_hosts = ["docs.example.com"]
drain_s = 5

[log]
level = "info"

[embedder]
model = "https://models.example.com/v1"
name = "bge-m3"
api_key = "env:MODELS_KEY"

[web]
delay_s = 0.5

[documents.handbook]
paths = ["handbook/", "https://example.com/sitemap.xml"]
refresh = "1h"
access = ["staff"]

[[documents.handbook.rules]]
match = "hr/**"
access = ["hr"]
stale_after = "365d"

[apps.support]
documents = "handbook"

[keys.shop]
key = "env:SHOP_KEY"
roles = ["staff"]
admin = true
"""
SECRETS = {"MODELS_KEY": "sk-models-0123456789", "SHOP_KEY": "shop-0123456789abcdef"}


def settings_of(text: str, **environment: str) -> Settings:
    Path("penstock.toml").write_text(text, "utf-8")
    return load(environment=environment)


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(BadSetting) as caught:
        settings_of(text, **environment)
    return str(caught.value)


# ---------------------------------------------------------------- what is read


def test_with_no_file_everything_has_its_default():
    settings = load(environment={})

    assert settings == Settings(folder=Path.cwd())
    assert settings.home_path == Path.cwd() / ".penstock"


def test_every_section_of_a_file_is_read_into_its_type():
    settings = settings_of(EVERYTHING, **SECRETS)

    assert (settings.server.port, settings.server.drain_s) == (9000, 5.0)
    assert settings.server.public_hosts == ("docs.example.com",)
    assert settings.embedder.api_key == "sk-models-0123456789"
    handbook = settings.documents["handbook"]
    assert (handbook.refresh, handbook.access) == (3600.0, ("staff",))
    assert (handbook.rules[0].match, handbook.rules[0].stale_after) == ("hr/**", 365 * 86400.0)
    assert settings.apps["support"].documents == "handbook"
    assert settings.keys["shop"].admin is True


def test_the_settings_file_of_the_nearest_folder_above_is_found(monkeypatch: pytest.MonkeyPatch):
    deep = Path("a/b")
    deep.mkdir(parents=True)
    Path("penstock.toml").write_text("home = 'far'")
    Path("a/penstock.toml").write_text("home = 'near'")
    monkeypatch.chdir(deep)
    settings = load(environment={})

    assert settings.home_path == Path.cwd().parent / "near"


def test_relative_paths_start_from_the_settings_file(tmp_path: Path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.toml").write_text("home = 'state'")

    assert load(elsewhere / "mine.toml", environment={}).home_path == elsewhere / "state"
    assert load(environment={"PENSTOCK_CONFIG": str(elsewhere / "mine.toml")}).folder == elsewhere


def test_a_home_may_be_absolute_or_start_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))

    assert settings_of(f"home = '{tmp_path}/x'").home_path == tmp_path / "x"
    assert settings_of("home = '~/y'").home_path == tmp_path / "y"


def test_a_byte_order_mark_is_passed_over():
    Path("penstock.toml").write_bytes("\ufeffhome = 'state'".encode())

    assert load(environment={}).home == "state"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [('"90s"', 90.0), ('"15m"', 900.0), ('"1.5h"', 5400.0), ('"7 d"', 604_800.0), ("30", 30.0), ("0", 0.0)],
)
def test_durations_are_written_with_their_unit(written: str, seconds: float):
    assert settings_of(f"[documents.x]\nrefresh = {written}").documents["x"].refresh == seconds


@given(st.integers(0, 3000), st.sampled_from("smhd"))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: str):
    seconds = settings_of(f'[documents.x]\nrefresh = "{number}{unit}"').documents["x"].refresh

    assert seconds == number * {"s": 1, "m": 60, "h": 3600, "d": 86400}[unit]


# ---------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("hom = 'x'", "hom", "home"),
        ("[servr]\nport = 1", "servr", "server"),
        ("[server]\nprot = 1", "server.prot", "port"),
        ("[documents.handbook]\npath = ['x']", "documents.handbook.path", "paths"),
        ("[[documents.handbook.rules]]\nmach = 'x'", "documents.handbook.rules[0].mach", "match"),
        ("[apps.a]\ndocument = 'x'", "apps.a.document", "documents"),
        ("[keys.a]\nrole = ['x']", "keys.a.role", "roles"),
    ],
)
def test_an_unknown_key_is_refused_by_name_with_the_nearest_known_one(text: str, key: str, nearest: str):
    message = refusal(text)

    assert f"penstock.toml: unknown key '{key}'" in message
    assert f"did you mean '{nearest}'?" in message


def test_a_key_like_no_other_is_answered_with_those_there_are():
    assert "known here: level" in refusal("[log]\nzzzz = 1")


def test_what_only_the_program_knows_is_no_key():
    assert "unknown key 'folder'" in refusal("folder = '/tmp'")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("home = 3", "'home' must be a string, not 3"),
        ("server = 3", "'server' must be a table"),
        ("documents = []", "'documents' must be a table"),
        ("documents.a = 'x'", "'documents.a' must be a table"),
        ("[server]\nport = '80'", "'server.port' must be a whole number"),
        ("[server]\nport = 80.5", "'server.port' must be a whole number"),
        ("[server]\nport = true", "'server.port' must be"),
        ("[server]\nport = 99999", "the highest port is 65535"),
        ("[server]\ndrain_s = 'long'", "'server.drain_s' must be a number"),
        ("[server]\npublic_hosts = 'a'", "'server.public_hosts' must be a list"),
        ("[server]\npublic_hosts = ['a', 3]", "'server.public_hosts[1]' must be a string"),
        ("[web]\nallow_private = 'yes'", "'web.allow_private' must be true or false"),
        ("[web]\ndelay_s = nan", "'web.delay_s' must be a number, zero or more"),
        ("[web]\ndelay_s = -1", "'web.delay_s' must be a number, zero or more"),
        ("[web]\nmax_pages = -1", "'web.max_pages' must be a number, zero or more"),
        ("[log]\nlevel = 'loud'", "'log.level' must be one of debug, info, warning, error, off"),
        ("[documents.a]\nrefresh = 'daily'", "'documents.a.refresh' must be a duration such as"),
        ("[documents.a]\nrefresh = -5", "'documents.a.refresh' must be a duration such as"),
        ("[documents.a]\nrefresh = '9999999d'", "of a century at most"),
        ("[documents.a]\nrules = ['x']", "'documents.a.rules[0]' must be a table"),
        ("[documents.'a/../b']\npaths = []", "'a/../b' cannot name a collection"),
        ("[documents.'']\npaths = []", "'' cannot name a collection"),
        ("[apps.a]\ndocuments = 'hanbook'\n[documents.handbook]", "did you mean 'handbook'?"),
        ("[keys.a]\nkey = 'short'", "keys.a.key is shorter than 16 characters"),
        ("home = ''", "home is '', which is no path"),
        ("home = '~nobody-of-that-name/x'", "there is no such user"),
        ("[documents.a]\npaths = ['~nobody-of-that-name/x']", "documents.a.paths"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key(text: str, message: str):
    assert message in refusal(text)


@pytest.mark.parametrize("text", ["a = 1\nb = = 2", "a = 1\n[server\n", "a = 1\na = 2\n"])
def test_broken_toml_is_refused_with_file_and_line(text: str):
    message = refusal(text)

    assert "penstock.toml is not valid TOML" in message
    assert "line 2" in message


@pytest.mark.parametrize("text", ["a = " + "[" * 5000, "a = " + "9" * 5000, "a = 2026-99-99"])
def test_toml_that_breaks_its_parser_is_refused_too(text: str):
    assert "is not valid TOML" in refusal(text)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1"])
def test_a_file_in_another_encoding_is_refused(encoding: str):
    Path("penstock.toml").write_bytes("home = 'Büro'".encode(encoding))

    with pytest.raises(BadSetting, match="is not in UTF-8"):
        load(environment={})


def test_a_file_that_was_named_must_be_there(tmp_path: Path):
    for absent in (tmp_path / "none.toml", tmp_path, "~nobody-of-that-name/x", "a\0b"):
        with pytest.raises(BadSetting):
            load(absent, environment={})
    with pytest.raises(BadSetting, match="there is no settings file"):
        load(environment={"PENSTOCK_CONFIG": "none.toml"})


def test_a_current_folder_that_is_gone_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    with pytest.raises(BadSetting, match="the current folder is gone"):
        load(environment={})
    monkeypatch.chdir(tmp_path)


# ---------------------------------------------------------------- secrets


def test_a_secret_is_read_from_the_variable_it_names():
    settings = settings_of("[embedder]\napi_key = 'env:MY_KEY'", MY_KEY="sk-1")

    assert settings.embedder.api_key == "sk-1"


@pytest.mark.parametrize("environment", [{}, {"MY_KEY": ""}])
def test_a_secret_whose_variable_is_not_set_is_refused_with_what_to_do(environment: dict[str, str]):
    message = refusal("[embedder]\napi_key = 'env:MY_KEY'", **environment)

    assert "'embedder.api_key' reads the variable MY_KEY, which is not set" in message
    assert "export MY_KEY" in message


def test_a_secret_is_read_from_the_file_it_names_beside_the_settings(tmp_path: Path):
    file = tmp_path / "penstock.toml"
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys/models").write_text("sk-1\n")
    file.write_text("[embedder]\napi_key = 'file:keys/models'")

    assert load(file, environment={}).embedder.api_key == "sk-1"
    assert (
        load(file, environment={"PENSTOCK_EMBEDDER_API_KEY": f"file:{tmp_path}/keys/models"}).embedder.api_key == "sk-1"
    )


@pytest.mark.parametrize(
    ("path", "why"),
    [("none", "No such file"), ("keys", "Is a directory"), ("empty", "which is empty"), ("", "no path")],
)
def test_a_secret_whose_file_says_nothing_is_refused(tmp_path: Path, path: str, why: str):
    (tmp_path / "keys").mkdir()
    (tmp_path / "empty").write_text(" \n")
    (tmp_path / "penstock.toml").write_text(f"[embedder]\napi_key = 'file:{path}'")

    with pytest.raises(BadSetting, match=why):
        load(tmp_path / "penstock.toml", environment={})


def test_values_that_come_over_http_read_no_file(tmp_path: Path):
    (tmp_path / "key").write_text("sk-1")

    assert typed(ModelSettings, {"api_key": f"file:{tmp_path}/key"}, "the body").api_key == f"file:{tmp_path}/key"


def test_a_description_never_holds_a_secret():
    described = json.dumps(describe(settings_of(EVERYTHING, **SECRETS)))

    assert "(set)" in described
    assert not any(secret in described for secret in SECRETS.values())


def test_a_secret_of_the_wrong_type_is_not_repeated():
    assert "8315" not in refusal("[embedder]\napi_key = 8315")


# ---------------------------------------------------------------- the environment


def test_the_environment_goes_over_the_file():
    settings = settings_of("[server]\nport = 9000\nhost = 'a'", PENSTOCK_SERVER_PORT="9001", PENSTOCK_HOME="other")

    assert (settings.server.port, settings.server.host, settings.home) == (9001, "a", "other")


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("PENSTOCK_SERVER_PORT", "08080", 8080),
        ("PENSTOCK_SERVER_DRAIN_S", "2", 2.0),
        ("PENSTOCK_SERVER_DRAIN_S", "2.5", 2.5),
        ("PENSTOCK_SERVER_PUBLIC_HOSTS", "a, b,", ("a", "b")),
        ("PENSTOCK_WEB_ALLOW_PRIVATE", "TRUE", True),
        ("PENSTOCK_WEB_ALLOW_PRIVATE", "0", False),
        ("PENSTOCK_LOG_LEVEL", "debug", "debug"),
        ("PENSTOCK_EMBEDDER_API_KEY", "env:PATH_TO_KEY", "sk-2"),
    ],
)
def test_a_variable_is_read_as_the_type_of_its_setting(name: str, text: str, value: object):
    settings = load(environment={name: text, "PATH_TO_KEY": "sk-2"})
    section, inner = variables()[name]

    assert getattr(getattr(settings, section), inner) == value


def test_an_empty_variable_is_as_good_as_none():
    assert load(environment={"PENSTOCK_SERVER_PORT": "", "PENSTOCK_HOME": ""}).server.port == 8080


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("PENSTOCK_SERVER_PORT", "http", "'PENSTOCK_SERVER_PORT' must be a whole number, not 'http'"),
        ("PENSTOCK_SERVER_PORT", "٨٠", "must be a whole number"),
        ("PENSTOCK_SERVER_PORT", "80.5", "must be a whole number"),
        ("PENSTOCK_WEB_DELAY_S", "inf", "must be a number"),
        ("PENSTOCK_WEB_ALLOW_PRIVATE", "maybe", "must be true or false"),
        ("PENSTOCK_SERVER_PROT", "80", "did you mean 'PENSTOCK_SERVER_PORT'?"),
        ("PENSTOCK_SERVR_PORT", "80", "did you mean 'PENSTOCK_SERVER_PORT'?"),
        ("PENSTOCK_HOMES", "x", "did you mean 'PENSTOCK_HOME'?"),
    ],
)
def test_a_wrong_variable_is_refused_by_name(name: str, text: str, message: str):
    with pytest.raises(BadSetting) as caught:
        load(environment={name: text})

    assert message in str(caught.value)


def test_variables_that_are_no_settings_are_left_to_their_owners():
    assert load(environment={"PENSTOCK_KEY": "abc", "PENSTOCK_BUILD": "7"}) == Settings(folder=Path.cwd())


def test_every_plain_setting_has_a_variable():
    described = describe(Settings())
    expected = {"PENSTOCK_HOME"} | {
        f"PENSTOCK_{section}_{name}".upper()
        for section, values in described.items()
        if section not in ("documents", "models", "routes", "apps", "budgets", "keys") and isinstance(values, dict)
        for name in values
    }

    assert set(variables()) == expected


# ---------------------------------------------------------------- the whole tree


def sections(kind: type = Settings) -> list[type]:
    """Each class of the tree, once."""
    below = [
        inner
        for hint in get_type_hints(kind).values()
        for inner in (hint, *get_args(hint))
        if is_dataclass(inner) and isinstance(inner, type)
    ]
    return [kind, *(found for inner in below for found in sections(inner))]


def test_every_setting_is_documented_with_its_default():
    for kind in sections():
        documented = {name for name, *_ in defaults_of(kind)}
        tables = {f.name for f in fields(kind) if is_dataclass(get_type_hints(kind)[f.name])} | {
            "ab",
            "apps",
            "budgets",
            "channels",
            "detectors",
            "documents",
            "evaluations",
            "glossaries",
            "guard",
            "keys",
            "mcp",
            "models",
            "objectives",
            "probes",
            "prompts",
            "routes",
            "translators",
            "widgets",
        }
        settable = {f.name for f in fields(kind) if not f.metadata.get("internal")}

        assert kind.__doc__
        assert settable - documented <= (tables if kind is Settings else set())


def test_defaults_are_spelled_as_people_write_them():
    rows = {name: (kind, default) for name, kind, default, _ in defaults_of(DocumentsSettings)}

    assert rows["refresh"] == ("duration", 0.0)
    assert rows["paths"] == ("list", ())
    assert rows["golden_tolerance"] == ("number", 0.01)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, float):
        return {"inf": "inf", "-inf": "-inf", "nan": "nan"}.get(str(value), repr(float(value)))
    return json.dumps(value)


NAMES = sorted({f.name for kind in sections() for f in fields(kind)} | {"x", "a b", "é", ""})
LEAVES = (
    st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", "1h", "env:X", "env:", "~", "~x", "warning", "a\0b", "../..", "٣d", "9" * 400 + "d"])
    | st.text(string.printable, max_size=8)
    | st.integers(10**300, 10**320)
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(NAMES), TREES, max_size=4))
@examples(max_examples=300, deadline=None)
def test_any_tree_is_read_or_refused(tree: dict[str, Any]):
    text = "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in tree.items())
    with suppress(BadSetting):
        settings = settings_of(text)

        assert settings.home_path
        assert json.dumps(describe(settings))


@given(
    st.sampled_from(sorted(variables())), st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
)
def test_any_variable_is_read_or_refused(name: str, text: str):
    with suppress(BadSetting):
        assert load(environment={name: text}).home_path


def test_what_is_described_is_what_was_set():
    settings = settings_of(EVERYTHING, **SECRETS)
    described = describe(settings)

    assert described["documents"]["handbook"]["paths"] == ["handbook/", "https://example.com/sitemap.xml"]
    assert described["documents"]["handbook"]["rules"][0]["access"] == ["hr"]
    assert "folder" not in described
    assert described == describe(replace(settings, folder=Path("/elsewhere")))


def test_a_check_names_providers_that_are_not_there_and_addresses_that_are_missing(tmp_path: Path):
    (tmp_path / "penstock.toml").write_text(
        '[models.a]\nprovider = "openia"\n[models.b]\nprovider = "azure"\n[models.c]\n[models.d]\nprovider = "local"\n'
    )

    found = missing(load(tmp_path / "penstock.toml", environment={}))

    assert [line.partition(":")[0] for line in found] == ["models.a.provider", "models.b.base_url"]
