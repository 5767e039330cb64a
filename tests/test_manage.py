"""Keys, budgets, spend and requests over HTTP: what admins may do, what everybody sees of their own, and what is refused."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from serving import Served, asked, serving, up
from upstream import INPUT_TOKENS, PIECES, Upstream, upstream

from penstock.observe.journal import COLUMNS, Row
from penstock.server.app import ROUTES

BOSS, CLERK = "boss-key-0123456789", "clerk-key-0123456789"
COST = (INPUT_TOKENS + PIECES * 2) / 1e6  # USD of one call, at 1 and 2 dollars a million tokens
CHAT = "/v1/chat/completions"
OPEN = ("/api/me", "/api/collections")  # to every key holder
OWN = ("/api/conversations", "/api/shared")  # everybody reaches their own there, admins too
API = [(method, path) for method, path, _ in ROUTES if path.startswith("/api/") and not path.startswith(OWN)]
NAMED = {"{name}": "nowhere", "{document}": "0", "{version}": "v9", "{trace_id}": "0" * 32}


def toml(up: Upstream, more: str = "") -> str:
    prices = "input_usd_per_million = 1\noutput_usd_per_million = 2\ncontext_tokens = 8000\n"
    models = "".join(f'[models.{name}]\nbase_url = "{up.url}"\n{prices}' for name in ("good", "fail", "trickle"))
    return f"""{models}
    [routes.smart]
    models = ["good", "fail"]
    [budgets.all]
    limit_usd_per_day = 100
    [budgets.people]
    per = "person"
    limit_tokens_per_day = 1000000
    requests_per_minute = 1000
    {more}"""


KEYS = f"""
[keys.boss]
key = "{BOSS}"
admin = true
[keys.clerk]
key = "{CLERK}"
team = "sales"
roles = ["till"]
"""


@pytest.fixture(scope="module")
def upstream_() -> Iterator[Upstream]:
    with upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gate(upstream_: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("gate"), toml(upstream_, KEYS), documents=False) as served:
        yield served


@pytest.fixture
def boss(gate: Served) -> httpx2.Client:
    return gate.client(BOSS)


@pytest.fixture
def clerk(gate: Served) -> httpx2.Client:
    return gate.client(CLERK)


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A key's name of the test's own."""
    return f"k{abs(hash(request.node.name)):x}"


def made(boss: httpx2.Client, name: str, **more: Any) -> str:
    response = boss.post("/api/keys", json={"name": name, **more})
    assert response.status_code == 201, response.text
    return str(response.json()["secret"])


def refused(response: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    (error,) = response.json().values()
    assert list(error) == ["message", "type", "code", "param", "hint", "retryable"]
    assert (error["code"], bool(error["message"])) == (code, True)
    return dict(error)


def chat(client: httpx2.Client, model: str = "good", **more: Any) -> httpx2.Response:
    return client.post(CHAT, json=asked(model, "Hello", **more))


def until(true: Callable[[], object], *, within_s: float = 5.0) -> None:
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < within_s, "it did not happen"
        time.sleep(0.02)


# ---------------------------------------------------------------- who may


def filled(path: str) -> str:
    for part, value in NAMED.items():
        path = path.replace(part, value)
    return path


@pytest.mark.parametrize(("method", "path"), API)
def test_no_route_answers_without_a_key(gate: Served, method: str, path: str):
    refused(gate.client().request(method, filled(path)), 401, "needs_key")
    refused(gate.client("psk-nobody-has-this-one").request(method, filled(path)), 401, "needs_key")


@pytest.mark.parametrize(("method", "path"), API)
def test_an_admin_may_use_every_route(boss: httpx2.Client, method: str, path: str):
    response = boss.request(method, filled(path), json={} if method == "POST" else None)

    if method == "GET" and "{" not in path and not path.endswith("/diff"):
        assert response.status_code == 200, response.text
    else:
        assert response.status_code in (400, 404), response.text  # it is let in, and there is nothing of that name


FOR_CALLERS = ("/api/apps/{app}/actions", "/api/apps/{app}/conversations")  # what an app does for whoever talks to it


@pytest.mark.parametrize(
    ("method", "path"),
    [route for route in API if "/collections" not in route[1] and not route[1].startswith(FOR_CALLERS)],
)
def test_whoever_is_no_admin_sees_their_own_and_nothing_else(clerk: httpx2.Client, method: str, path: str):
    response = clerk.request(method, filled(path), json={"name": "x"} if method == "POST" else None)

    if path in OPEN:
        assert response.status_code == 200
    else:
        assert "/api/me" in refused(response, 403, "not_allowed")["hint"]


def test_without_keys_the_owner_of_the_machine_is_an_admin(upstream_: Upstream, tmp_path: Path):
    with serving(tmp_path, toml(upstream_), documents=False) as served:
        client = served.client()

        assert client.get("/api/keys").json() == {"keys": []}
        me = client.get("/api/me").json()
        assert (me["name"], me["admin"]) == ("owner", True)


# ---------------------------------------------------------------- keys


def test_a_key_works_as_soon_as_it_is_made_and_its_secret_is_told_once(gate: Served, boss: httpx2.Client, name: str):
    response = boss.post("/api/keys", json={"name": name, "team": "sales", "models": ["good"], "expires": "30d"})
    secret = response.json()["secret"]

    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    assert chat(gate.client(secret)).status_code == 200
    listed = boss.get("/api/keys")
    assert secret not in listed.text + boss.get(f"/api/keys/{name}").text
    assert BOSS not in listed.text
    found = {key["name"]: key for key in listed.json()["keys"]}
    assert (found[name]["team"], found[name]["state"], found[name]["shown"]) == ("sales", "active", secret[:8])
    assert (found["boss"]["stored"], found[name]["stored"]) == (False, True)


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key"])
def test_a_key_may_come_as_each_client_sends_it(gate: Served, boss: httpx2.Client, name: str, header: str):
    secret = made(boss, name)

    value = f"Bearer {secret}" if header == "authorization" else secret
    assert gate.client(**{header: value}).get("/api/me").json()["name"] == name


def test_a_key_is_held_to_its_models(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, models=["goo*"]))

    assert chat(client).status_code == 200
    error = refused(chat(client, "fail"), 403, "not_allowed")
    assert "goo*" in error["hint"]
    assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["good"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "'name'"),
        ({"name": 5}, "'name'"),
        ({"name": "a b"}, "cannot name a key"),
        ({"name": "x/y"}, "cannot name a key"),
        ({"name": "x", "expires": "soon"}, "'soon' is no time"),
        ({"name": "x", "expires": "2020-01-01"}, "expired already"),
        ({"name": "x", "admin": "yes"}, "'admin' must be true or false"),
        ({"name": "x", "models": "good"}, "'models' must be a list"),
        ({"name": "x", "bugdet": {}}, "unknown key 'bugdet'"),
        ({"name": "x", "budget": {"usd": 5}}, "unknown key 'budget.usd'"),
        ({"name": "x", "budget": {"limit_usd": -5}}, "'budget.limit_usd' must be a number, zero or more"),
        ({"name": "x", "budget": {"limit_usd": True}}, "'budget.limit_usd' must be a number"),
        ({"name": "x", "budget": {"concurrent": 1.5}}, "'budget.concurrent' must be a whole number"),
        ({"name": "x", "budget": {"per": "person"}}, "'budget.per'"),
        ([], "JSON object"),
    ],
)
def test_a_key_that_cannot_be_made_is_refused_with_what_is_wrong(boss: httpx2.Client, body: Any, says: str):
    response = boss.post("/api/keys", json=body)

    error = refused(response, 400, response.json()["error"]["code"])
    assert error["code"] in ("bad_request", "bad_setting")
    assert says in error["message"]
    assert boss.get("/api/keys/x").status_code == 404


def test_a_name_that_is_taken_is_a_conflict_that_no_second_try_helps(boss: httpx2.Client, name: str):
    made(boss, name)

    for taken in (name, "boss"):
        error = refused(boss.post("/api/keys", json={"name": taken}), 409, "conflict")
        assert error["retryable"] is False


def test_a_rotated_key_works_beside_the_new_one_for_its_grace(gate: Served, boss: httpx2.Client, name: str):
    old = made(boss, name)
    response = boss.post(f"/api/keys/{name}/rotate", params={"grace": "1h"})
    new = response.json()["secret"]

    assert response.headers["cache-control"] == "no-store"
    assert [gate.client(secret).get("/api/me").status_code for secret in (old, new)] == [200, 200]
    newest = boss.post(f"/api/keys/{name}/rotate").json()["secret"]
    assert [gate.client(secret).get("/api/me").status_code for secret in (old, new, newest)] == [401, 401, 200]
    refused(boss.post(f"/api/keys/{name}/rotate", params={"grace": "long"}), 400, "bad_request")


def test_a_revoked_key_is_refused_at_once_and_stays_in_the_list(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name))

    assert boss.delete(f"/api/keys/{name}").json()["state"] == "revoked"
    refused(chat(client), 401, "needs_key")
    assert boss.get(f"/api/keys/{name}").json()["state"] == "revoked"
    refused(boss.post(f"/api/keys/{name}/rotate"), 409, "conflict")


def test_a_key_of_the_settings_is_shown_and_changed_in_the_file_only(boss: httpx2.Client):
    assert boss.get("/api/keys/clerk").json()["team"] == "sales"
    assert "settings file" in refused(boss.delete("/api/keys/clerk"), 404, "not_found")["hint"]


# ---------------------------------------------------------------- limits of keys


def test_requests_in_a_minute_are_refused_until_it_is_worth_trying_again(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, budget={"requests_per_minute": 2}))

    statuses = [chat(client).status_code for _ in range(2)]
    response = chat(client)

    assert statuses == [200, 200]
    error = refused(response, 429, "rate_limit_exceeded")
    assert error["message"] == f"key '{name}' allows 2 requests per minute"
    assert (error["type"], error["retryable"]) == ("rate_limit_error", True)
    assert 1 <= int(response.headers["retry-after"]) <= 30
    assert "x-should-retry" not in response.headers


def test_tokens_in_a_minute_are_refused_until_it_is_worth_trying_again(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, budget={"tokens_per_minute": 150}))

    statuses = [chat(client, max_tokens=PIECES).status_code for _ in range(2)]
    response = chat(client, max_tokens=PIECES)

    assert statuses == [200, 200]
    assert "allows 150 tokens per minute" in refused(response, 429, "rate_limit_exceeded")["message"]
    assert int(response.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("budget", "says"),
    [
        ({"limit_usd": 2 * COST + 1e-6}, "USD"),
        ({"limit_usd_per_day": 2 * COST + 1e-6}, "USD per day"),
        ({"limit_usd_per_month": 2 * COST + 1e-6}, "USD per month"),
        ({"limit_tokens_per_day": 150}, "150 tokens per day"),
        ({"requests_per_day": 2}, "2 requests per day"),
    ],
)
def test_a_budget_that_is_spent_is_refused_for_good(
    gate: Served, boss: httpx2.Client, name: str, budget: dict[str, float], says: str
):
    client = gate.client(made(boss, name, budget=budget))

    while (response := chat(client, max_tokens=PIECES)).status_code == 200:
        pass

    error = refused(response, 429, "insufficient_quota")
    assert error["message"].startswith(f"key '{name}' allows ")
    assert f"{says} and has spent" in error["message"]
    assert error["retryable"] is False
    assert response.headers["x-should-retry"] == "false"
    assert "retry-after" not in response.headers


def test_calls_at_the_same_time_are_counted_while_they_run(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, budget={"concurrent": 1}))

    with client.stream("POST", CHAT, json=asked("trickle", "Hello", stream=True)) as running:
        pieces = running.iter_bytes()
        next(pieces)
        response = chat(gate.client(client.headers["authorization"].removeprefix("Bearer ")))
        error = refused(response, 429, "rate_limit_exceeded")
        assert error["message"] == f"key '{name}' allows 1 requests at a time and they are all in use"
        assert response.headers["retry-after"] == "1"

    until(lambda: chat(client).status_code == 200)


def test_a_limit_is_the_keys_own_and_survives_a_rotation(gate: Served, boss: httpx2.Client, name: str):
    first = gate.client(made(boss, name, budget={"requests_per_day": 1}))
    other = gate.client(made(boss, f"{name}-2", budget={"requests_per_day": 1}))

    assert [chat(first).status_code, chat(first).status_code, chat(other).status_code] == [200, 429, 200]
    secret = boss.post(f"/api/keys/{name}/rotate").json()["secret"]
    refused(chat(gate.client(secret)), 429, "insufficient_quota")


# ---------------------------------------------------------------- budgets, spend, requests


def budget_of(client: httpx2.Client, owner: str) -> dict[str, dict[str, Any]]:
    rows = {row["owner"]: row["limits"] for row in client.get("/api/budgets").json()["budgets"]}
    return {limit["limit"]: limit for limit in rows.get(owner, [])}


def test_a_budget_shows_what_is_used_held_and_free(gate: Served, boss: httpx2.Client, name: str):
    secret = made(boss, name, budget={"limit_usd_per_day": 1, "concurrent": 3})
    owner = f"key '{name}'"
    chat(gate.client(secret), max_tokens=PIECES)

    with gate.client(secret).stream(
        "POST", CHAT, json=asked("trickle", "Hello", stream=True, max_tokens=50)
    ) as running:
        pieces = running.iter_bytes()
        next(pieces)
        during = budget_of(boss, owner)
    until(lambda: budget_of(boss, owner)["3 requests at a time"]["held"] == 0)
    after = budget_of(boss, owner)["1.00 USD per day"]

    money = during["1.00 USD per day"]
    assert (money["unit"], money["window"], money["most"]) == ("usd", "day", 1.0)
    assert money["used"] == pytest.approx(COST)
    assert money["held"] > COST
    assert money["free"] == pytest.approx(1 - money["used"] - money["held"])
    assert (during["3 requests at a time"]["held"], during["3 requests at a time"]["free"]) == (1, 2)
    assert after["held"] == 0
    assert after["used"] > COST


def test_a_budget_per_person_is_one_for_each_of_them(gate: Served, boss: httpx2.Client):
    for person in ("ann/1", "ben"):
        chat(boss, user=person)

    assert budget_of(boss, "budget 'people/ann/1'")["1,000,000 tokens per day"]["used"] == INPUT_TOKENS + PIECES
    assert budget_of(boss, "budget 'people/ben'")["1,000 requests per minute"]["used"] == 1
    assert budget_of(boss, "budget 'people/nobody'") == {}
    assert budget_of(boss, "budget 'all'")["100.00 USD per day"]["used"] > 0


def test_spend_adds_up_the_same_whatever_it_is_by(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, team=f"t-{name}"))
    for _ in range(3):
        assert chat(client, user=f"p-{name}").status_code == 200
    assert chat(client, "fail").status_code >= 500

    shown = {
        by: boss.get("/api/spend", params={"by": by}).json() for by in ("key", "team", "person", "model", "app", "day")
    }
    totals = [answer["total"] for answer in shown.values()]
    by_key = next(row for row in shown["key"]["rows"] if row["name"] == name)
    by_person = next(row for row in shown["person"]["rows"] if row["name"] == f"p-{name}")

    assert all(total == pytest.approx(totals[0]) for total in totals)
    assert (by_key["requests"], by_key["answered"], by_key["output_tokens"]) == (4, 3, 3 * PIECES)
    assert (by_person["requests"], by_person["cost_usd"]) == (3, pytest.approx(3 * COST))
    assert shown["day"]["rows"][-1]["name"] == time.strftime("%Y-%m-%d", time.gmtime())


def test_spend_since_tomorrow_is_nothing(boss: httpx2.Client):
    answer = boss.get("/api/spend", params={"since": "2999-01-01"}).json()

    assert answer["rows"] == []
    assert answer["total"] == {"requests": 0, "answered": 0, "input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}


@pytest.mark.parametrize(
    ("path", "params", "says"),
    [
        ("/api/spend", {"by": "weekday"}, "'by' is 'weekday'"),
        ("/api/spend", {"since": "ever"}, "'ever' is no time"),
        ("/api/requests", {"limit": "all"}, "'limit'"),
        ("/api/requests", {"limit": "0"}, "'limit'"),
        ("/api/requests", {"limit": "10001"}, "'limit'"),
        ("/api/requests", {"limit": "1000100"}, "'limit'"),
        ("/api/requests", {"limit": "²"}, "'limit'"),
        ("/api/requests", {"before": "0001-01-01T00:00:00+14:00"}, "is no time"),
    ],
)
def test_a_question_that_makes_no_sense_is_refused(boss: httpx2.Client, path: str, params: dict[str, str], says: str):
    assert says in refused(boss.get(path, params=params), 400, "bad_request")["message"]


def test_the_latest_requests_come_first_and_can_be_chosen(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, models=["good", "fail"]))
    chat(client, user="ann")
    chat(client, "fail")

    def found(**wanted: str) -> list[dict[str, Any]]:
        return list(boss.get("/api/requests", params={"key": name, **wanted}).json()["requests"])

    latest, first = found()
    assert [latest["model"], latest["outcome"], latest["error"]] == ["fail", "failed", "upstream_error"]
    assert [first["model"], first["outcome"], first["person"], first["input_tokens"]] == [
        "good",
        "ok",
        "ann",
        INPUT_TOKENS,
    ]
    assert first["cost_usd"] == pytest.approx(COST)
    assert [row["model"] for row in found(outcome="ok")] == ["good"]
    assert [row["model"] for row in found(limit="1")] == ["fail"]
    assert [row["model"] for row in found(before=latest["at"])] == ["good"]
    assert found(model="nothing") == []
    assert [row["model"] for row in found(after=latest["id"])] == ["good"]
    assert found(after=first["id"]) == found(after="nothing") == []


def test_requests_of_the_same_moment_come_in_pieces_without_gaps(upstream_: Upstream, tmp_path: Path):
    with serving(tmp_path, toml(upstream_), documents=False) as served:
        client = served.client()
        chat(client)
        (first,) = client.get("/api/requests").json()["requests"]
        database = served.house.database
        (row,) = [Row(*one) for one in database.read(f"select {', '.join(COLUMNS)} from requests")]
        with database.write() as w:
            rows = [row._replace(id=f"{n:032x}") for n in range(6)]
            w.executemany(f"insert into requests ({', '.join(COLUMNS)}) values ({', '.join('?' * len(COLUMNS))})", rows)
        pages: list[list[str]] = [[""]]
        while pages[-1]:
            asked = {"limit": 3, "after": pages[-1][-1]}
            pages.append([one["id"] for one in client.get("/api/requests", params=asked).json()["requests"]])
        assert [number for page in pages[1:] for number in page] == [
            first["id"],
            *(f"{n:032x}" for n in reversed(range(6))),
        ]


def test_a_trace_shows_each_upstream_that_was_asked(gate: Served, boss: httpx2.Client, upstream_: Upstream):
    trace = f"{time.time_ns():032x}"
    chat(gate.client(BOSS, traceparent=f"00-{trace}-b7ad6b7169203331-01"), "smart")

    (row,) = boss.get(f"/api/requests/{trace}").json()["requests"]

    assert (row["trace_id"], row["model"], row["outcome"]) == (trace, "smart", "ok")
    refused(boss.get(f"/api/requests/{'f' * 32}"), 404, "not_found")


def test_nobodys_words_are_in_what_admins_see(gate: Served, boss: httpx2.Client):
    boss.post(CHAT, json=asked("good", "the secret of the pyramids"))

    seen = "".join(
        boss.get(path).text for path in ("/api/requests", "/api/spend", "/api/budgets", "/api/keys", "/metrics")
    )
    assert "pyramids" not in seen
    assert '"good"' in seen


def test_key_holders_see_their_own_spend_and_budgets(gate: Served, boss: httpx2.Client, name: str):
    client = gate.client(made(boss, name, team="sales", budget={"limit_usd_per_day": 1}))
    chat(client)
    chat(boss)

    me = client.get("/api/me").json()

    assert (me["name"], me["admin"], me["team"], me["state"]) == (name, False, "sales", "active")
    assert me["spent_usd"] == {"today": pytest.approx(COST), "month": pytest.approx(COST)}
    assert [budget["owner"] for budget in me["budgets"]] == ["budget 'all'", f"key '{name}'"]
    assert me["budgets"][1]["limits"][0]["used"] == pytest.approx(COST)
    assert "secret" not in me


def test_models_are_listed_with_what_is_known_of_them(boss: httpx2.Client):
    chat(boss)
    answer = boss.get("/api/models").json()

    (good,) = (model for model in answer["models"] if model["name"] == "good")
    assert (good["provider"], good["context_tokens"], good["max_output_tokens"]) == ("openai", 8000, None)
    assert good["prices"][0]["output_usd_per_million"] == 2.0
    assert "chat" in good["dialects"]
    assert good["health"]["state"] == "up"
    assert good["health"]["calls"] >= 1
    (smart,) = answer["routes"]
    assert (smart["name"], smart["models"], smart["choose"], smart["cache"]) == (
        "smart",
        ["good", "fail"],
        "order",
        "off",
    )


def test_a_route_says_how_much_its_cache_answers(upstream_: Upstream, tmp_path: Path):
    more = '[routes.kept]\nmodels = ["good"]\ncache = "exact"\ncache_for = "2h"\n'
    with serving(tmp_path, toml(upstream_, more), documents=False) as served:
        client = served.client()
        for text in ("one", "one", "two", "one"):
            body = {"model": "kept", "messages": [{"role": "user", "content": text}]}
            assert client.post(CHAT, json=body).status_code == 200
        kept = next(one for one in client.get("/api/models").json()["routes"] if one["name"] == "kept")
        assert (kept["cache"], kept["cache_for_s"], kept["asked"], kept["cached"]) == ("exact", 7200.0, 4, 2)
        page = client.get("/console/models").text
        assert "50.0 %" in page


# ---------------------------------------------------------------- from the terminal


def penstock(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "penstock", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True)


def test_a_key_made_in_the_terminal_is_needed_and_works_within_two_seconds(upstream_: Upstream, tmp_path: Path):
    with serving(tmp_path, toml(upstream_), documents=False) as served:
        assert chat(served.client()).status_code == 200

        ended = penstock(tmp_path, "keys", "create", "shop", "--requests-per-minute", "100")
        began = time.monotonic()
        until(lambda: chat(served.client()).status_code == 401, within_s=2)
        key = served.client(ended.stdout.split()[0])
        until(lambda: chat(key).status_code == 200, within_s=2)
        assert time.monotonic() - began < 2
        refused(key.get("/api/keys"), 403, "not_allowed")

        penstock(tmp_path, "keys", "revoke", "shop", "--yes")
        until(lambda: chat(key).status_code == 401, within_s=2)
        refused(chat(served.client()), 401, "needs_key")  # to revoke the last key opens nothing

        penstock(tmp_path, "keys", "remove", "shop", "--yes")
        until(lambda: chat(served.client()).status_code == 200, within_s=2)


def test_limits_of_a_key_made_in_the_terminal_hold_from_its_first_request(upstream_: Upstream, tmp_path: Path):
    with serving(tmp_path, toml(upstream_), documents=False) as served:
        key = penstock(tmp_path, "keys", "create", "shop", "--requests-per-minute", "1").stdout.split()[0]
        client = served.client(key)
        until(lambda: client.get("/api/me").json()["name"] == "shop", within_s=2)

        assert [chat(client).status_code for _ in range(2)] == [200, 429]


def test_a_server_whose_keys_cannot_be_read_goes_on_for_those_it_knows(upstream_: Upstream, tmp_path: Path):
    with serving(tmp_path, toml(upstream_), documents=False) as served:
        secret = served.client().post("/api/keys", json={"name": "shop"}).json()["secret"]
        with served.house.database.write() as w:
            w.execute("alter table keys rename to lost")

        until(lambda: chat(served.client("psk-unknown-for-now")).status_code == 503, within_s=3)
        assert chat(served.client(secret)).status_code == 200
        error = refused(chat(served.client("psk-unknown-for-now")), 503, "not_ready")
        assert error["retryable"] is True

        with served.house.database.write() as w:
            w.execute("alter table lost rename to keys")
        until(lambda: chat(served.client("psk-unknown-for-now")).status_code == 401, within_s=3)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stored_key_lets_a_server_be_bound_for_others(upstream_: Upstream, tmp_path: Path, workers: str):
    (tmp_path / "penstock.toml").write_text(toml(upstream_), "utf-8")
    refusal = subprocess.run(
        [sys.executable, "-m", "penstock", "up", "--host", "0.0.0.0", "--port", "0"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "there is no key" in refusal.stderr

    key = penstock(tmp_path, "keys", "create", "me", "--admin").stdout.split()[0]
    with up(tmp_path, "--host", "0.0.0.0", "--workers", workers) as (_, address), httpx2.Client() as client:
        assert client.get(f"{address}/api/me").status_code == 401
        assert client.get(f"{address}/api/me", headers={"x-api-key": key}).json()["name"] == "me"


def test_many_keys_can_be_made_at_the_same_time(gate: Served, boss: httpx2.Client, name: str):
    secrets: list[str] = []

    def create(n: int) -> None:
        secrets.append(made(gate.client(BOSS), f"{name}-{n}"))

    threads = [threading.Thread(target=create, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    until(lambda: all(gate.client(secret).get("/api/me").status_code == 200 for secret in secrets))
    assert len(secrets) == 8
