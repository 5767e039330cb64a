"""Secrets in a text: found in the forms they are issued in and beside their names, and not where something only looks like one."""

# ruff: noqa: E501 - texts are lists, which read best a text to a line
from __future__ import annotations

import itertools
import random
import string
import zlib
from re import _parser  # type: ignore[attr-defined]
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.secrets_found import KINDS, LOOKALIKES, Row, rows
from penstock.guard.gate import Gate, GateRules
from penstock.guard.issued import FORMS, checksum_holds
from penstock.guard.secrets import Secrets
from penstock.guard.values import looks_random, placeholder

SECRETS = Secrets()


def found(text: str) -> list[tuple[str, str]]:
    return [(finding.type, text[finding.start : finding.end]) for finding in SECRETS.find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("export KEY=AKIA4GR6LXJHIEZKLOSG", "aws_access_key", "AKIA4GR6LXJHIEZKLOSG"),
        ("DB_PASSWORD=hbpEZW!JwrI1QI", "password_assign", "hbpEZW!JwrI1QI"),
        ('{"password": "S3cr\u00e9t-99"}', "password_assign", "S3cr\u00e9t-99"),
        ("password: str = 'q1w2E3r4'", "password_assign", "q1w2E3r4"),
        ("--password hunter2x --verbose", "password_assign", "hunter2x"),
        ("Das WLAN-Passwort lautet Blau-Wal77!", "prose_password", "Blau-Wal77!"),
        ("el password del servidor es «k4Zt9!qa»", "prose_password", "k4Zt9!qa"),
        ("密码是abc1X9z!，请保密", "prose_password", "abc1X9z!"),
        ("postgres://app:kJwd!DABRg@db/x", "database_url", "kJwd!DABRg"),
        ("https://deploy:u9oHzCbPM@git.example.org/x", "basic_auth_url", "u9oHzCbPM"),
        ("Authorization: Basic am9lOnMzY3JldHB3", "basic_auth", "am9lOnMzY3JldHB3"),
        ("Cookie: theme=dark; session=a8F3kQ9zXw2LmN7v", "session_cookie", "a8F3kQ9zXw2LmN7v"),
        ("heroku_api_key=1dfff600-6ed2-42a7-86ea-4d8505d8d4a3", "heroku_key", "1dfff600-6ed2-42a7-86ea-4d8505d8d4a3"),
        ("curl -u joe:S3cretP4ss https://x", "basic_auth", "S3cretP4ss"),
        ("kind: Secret\ndata:\n  db: aHVudGVyMnh5eg==\n", "kubernetes_secret", "aHVudGVyMnh5eg=="),
        ("//registry.npmjs.org/:_authToken=npm_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jK5", "npm_token", "npm_aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bD1fH3jK5"),
    ],
)  # fmt: skip
def test_a_finding_covers_the_value_and_says_what_it_is(text: str, kind: str, value: str):
    assert found(text) == [(f"SECRET:{kind}", value)]


def test_most_secrets_of_every_kind_are_found_in_every_carrier():
    made = [row for row in rows(seed=3) if row.value]
    missed = [row for row in made if not hit(row)]

    assert {row.kind for row in made} == set(KINDS)
    assert len(made) > 1500
    assert len(missed) <= 0.01 * len(made), missed[:5]


def test_hardly_a_look_alike_is_taken_for_a_secret():
    made = [row for row in rows(seed=4) if not row.value]
    flagged = [row for row in made if SECRETS.find(row.text)]

    assert len(LOOKALIKES) >= 60
    assert len(flagged) <= 0.01 * len(made), flagged[:5]


def hit(row: Row) -> bool:
    start = row.text.find(row.value)
    return any(f.start < start + len(row.value) and f.end > start for f in SECRETS.find(row.text))


def test_a_private_key_is_found_whole_also_in_one_line():
    lines = ["VNQfwCs5bE4UjgUbDTp5XN87tTAhvYWYoTXra7p2GeW1Kg2VIdHxgBUck2LDaF5o"] * 4
    for joint in ("\n", "\\n", "\r\n"):
        key = joint.join(["-----BEGIN OPENSSH PRIVATE KEY-----", *lines, "-----END OPENSSH PRIVATE KEY-----"])

        assert found(f"a {key} b") == [("SECRET:private_key", key)]


def test_keys_from_documentation_and_public_ones_are_none():
    for text in (
        "AWS_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE",
        "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----",
        "the password must have 8 characters",
        "password: ********",
        "password = os.environ['DB_PASSWORD']",
        "postgres://user:password@localhost/db",
    ):
        assert found(text) == [], text


@given(st.text(alphabet=string.ascii_letters + string.digits, min_size=30, max_size=30))
def test_a_github_token_is_surer_where_its_checksum_holds(body: str):
    number, digits = zlib.crc32(body.encode()), ""
    alphabet = string.digits + string.ascii_uppercase + string.ascii_lowercase
    while number:
        number, digit = divmod(number, 62)
        digits = alphabet[digit] + digits
    token = f"ghp_{body}{digits.rjust(6, '0')}"

    assert checksum_holds(token)
    if not placeholder(token):
        assert SECRETS.find(token)[0].score > 0.98


def test_words_are_not_random_and_random_is_no_word():
    r = random.Random(2)
    made = ["".join(r.choices(string.ascii_letters + string.digits, k=32)) for _ in range(500)]

    assert sum(map(looks_random, made)) >= 498
    for word in (
        "getUserByIdentifierFromCache2",
        "my-service-account-2024",
        "application_settings_v2",
        "CamelCaseClassName1",
    ):
        assert not looks_random(word)


@given(st.text(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_text_gives_findings_in_order_that_do_not_overlap(text: str):
    findings = SECRETS.find(text)

    assert all(a.end <= b.start for a, b in itertools.pairwise(findings))
    assert all(0 <= f.start < f.end <= len(text) for f in findings)


@pytest.mark.parametrize(
    "text",
    ["", "\x00" * 1000, "\ud800 password: \ud800", "key " * 20_000, "eyJ-eyJ-" * 8_000, "sk-" * 20_000, "password is " * 8_000, "://a:" * 16_000,
     "-----BEGIN PRIVATE KEY-----\n" * 3_000, "a" * 200_000, "password=" * 10_000, '"password": ' * 8_000, "AKIA" * 20_000, "密码是" * 20_000],
    ids=range(14),
)  # fmt: skip
def test_hostile_texts_take_linear_time(text: str):
    assert isinstance(SECRETS.find(text), list)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 600), max_size=6))
@settings(max_examples=60, deadline=None)
def test_a_stream_is_masked_as_the_whole_text_is(seed: int, cuts: list[int]):
    r = random.Random(seed)
    text = " ".join(row.text for row in r.sample(ROWS, 3))
    places = sorted({min(cut, len(text)) for cut in cuts} | {0, len(text)})

    whole = masked([text])

    assert masked([text[a:b] for a, b in itertools.pairwise(places)]) == whole
    assert masked(list(text)) == whole


ROWS = rows(seed=9)


ALONE = GateRules(images="allow", links="allow", html="allow", invisible="allow", leaks="allow")


def masked(pieces: list[str]) -> tuple[str, list[tuple[str, int, int]]]:
    gate = Gate(ALONE)
    out = "".join([*map(gate.feed, pieces), gate.close()])
    return out, [(f.type, f.start, f.end) for f in gate.findings]


def test_no_secret_leaves_a_stream():
    for row in ROWS[::4]:
        if row.value and hit(row) and "{v}" not in row.value:
            out, _ = masked(list(f"well: {row.text} done"))

            assert row.value not in out, row


def test_no_look_alike_is_masked_in_a_stream_that_is_none_in_a_whole_text():
    for row in ROWS:
        if not row.value and not SECRETS.find(row.text):
            assert masked(list(row.text)) == (row.text, [])


def sample(tree: Any, r: random.Random) -> str:
    """Something of the form that a pattern describes."""
    out = ""
    for operation, argument in tree:
        match str(operation):
            case "LITERAL":
                out += chr(argument)
            case "IN":
                out += r.choice([sign for sign in string.printable[:94] if any(fits(sign, *part) for part in argument)])
            case "MAX_REPEAT":
                least, most, repeated = argument
                count = r.randint(least, min(most, least + r.choice([0, 5, 40])))
                out += "".join(sample(repeated, r) for _ in range(count))
            case "SUBPATTERN":
                out += sample(argument[-1], r)
            case "BRANCH":
                out += sample(r.choice(argument[1]), r)
    return out


def fits(sign: str, what: Any, value: Any) -> bool:
    match str(what):
        case "RANGE":
            return bool(value[0] <= ord(sign) <= value[1])
        case "LITERAL":
            return ord(sign) == int(value)
    return sign.isdigit() if str(value) == "CATEGORY_DIGIT" else sign.isalnum() or sign == "_"


@pytest.mark.parametrize(("begins", "goes_on"), [form[1:] for form in FORMS if form[0] != "jwt"])
def test_what_is_issued_in_any_form_does_not_leave_a_stream_however_long_the_form_is(begins: str, goes_on: str):
    r = random.Random(1)
    tree = _parser.parse(begins + goes_on)
    known = 0
    for value in (sample(tree, r) for _ in range(12)):
        text = f"x {value} y"
        if any(f.start <= 2 and f.end >= 2 + len(value) for f in SECRETS.find(text)):
            known += 1
            out, _ = masked(list(text))

            assert not any(value[at : at + 10] in out for at in range(len(value) - 9)), (value, out)
    assert known
