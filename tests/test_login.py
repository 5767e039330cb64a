"""Logging in with a provider: a stand-in with real keys and real HTTP, and all that can be wrong with tokens."""

import asyncio
import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from serving import HANDBOOK, PAY, TLS, Served, serving, write

from penstock.config import LoginSettings, load
from penstock.errors import BadSetting, NeedsKey, PenstockError, UpstreamError
from penstock.server import login as module
from penstock.server.login import Provider, Tokens, caller_of
from penstock.testing import WordEmbedder

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

MADE: dict[str, Key] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate(),
}


def packed(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return packed(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def public(key: Key, kid: str) -> dict[str, Any]:
    """A key as a provider publishes it."""
    match key:
        case rsa.RSAPrivateKey():
            numbers = key.public_key().public_numbers()
            return {"kty": "RSA", "kid": kid, "use": "sig", "n": number(numbers.n), "e": number(numbers.e)}
        case ec.EllipticCurvePrivateKey():
            point = key.public_key().public_numbers()
            x, y = (packed(value.to_bytes(32, "big")) for value in (point.x, point.y))
            return {"kty": "EC", "crv": "P-256", "kid": kid, "x": x, "y": y}
        case _:
            return {"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": packed(key.public_key().public_bytes_raw())}


def signed(claims: Any, key: Key, **header: Any) -> str:
    head = packed({"typ": "JWT", **header})
    text = f"{head}.{packed(claims)}"
    match key:
        case rsa.RSAPrivateKey():
            signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
        case ec.EllipticCurvePrivateKey():
            r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
            signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
        case _:
            signature = key.sign(text.encode())
    return f"{text}.{packed(signature)}"


@dataclass
class StandIn:
    """A provider: discovery, keys, an authorization endpoint at which Anna always agrees, and a token endpoint that checks."""

    url: str = ""
    keys: dict[str, Key] = field(default_factory=lambda: dict(MADE))
    person: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "4711", "email": "Anna@Example.com", "email_verified": True,
            "realm_access": {"roles": ["hr", "staff"]}, "org": "acme",
        }
    )  # fmt: skip
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    down: bool = False
    wrong: dict[str, Any] = field(default_factory=dict)  # claims that its id_token has instead
    refuses: str = ""

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(time.time())
        found = {"iss": self.url, "aud": "penstock", "iat": now, "exp": now + 300, **self.person, **more}
        return {name: value for name, value in found.items() if value is not None}

    def token(self, alg: str = "RS256", **more: Any) -> str:
        return signed(self.claims(**more), self.keys[alg], alg=alg, kid=alg)

    def answer(
        self, method: str, path: str, query: dict[str, str], form: dict[str, str], headers: Any
    ) -> tuple[int, Any]:
        self.asked.append(path)
        if self.down:
            return 500, {}
        if path == "/.well-known/openid-configuration":
            ends = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            return 200, {"issuer": self.url, **{end: f"{self.url}/{end}" for end in ends}}
        if path == "/jwks_uri":
            return 200, {"keys": [public(key, kid) for kid, key in self.keys.items()]}
        if path == "/authorization_endpoint":
            assert (query["response_type"], query["client_id"]) == ("code", "penstock")
            assert query["code_challenge_method"] == "S256"
            assert "openid" in query["scope"]
            back = {"error": self.refuses} if self.refuses else {"code": f"code-{len(self.codes)}"}
            self.codes[f"code-{len(self.codes)}"] = query
            return 302, f"{query['redirect_uri']}?{urlencode({**back, 'state': query['state']})}"
        if path == "/token_endpoint" and method == "POST":
            begun = self.codes.pop(form.get("code", ""), None)
            basic = base64.b64decode(headers.get("authorization", "Basic ").split(" ")[1]).decode()
            challenge = packed(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
            right = begun and challenge == begun["code_challenge"] and form["redirect_uri"] == begun["redirect_uri"]
            if not right or not begun or basic != "penstock:its+secret" or form["grant_type"] != "authorization_code":
                return 400, {"error": "invalid_grant"}
            claims = self.claims(**{"nonce": begun["nonce"], **self.wrong})
            return 200, {
                "id_token": signed(claims, self.keys["RS256"], alg="RS256", kid="RS256"),
                "token_type": "Bearer",
            }
        return 404, {}


@contextmanager
def provider() -> Iterator[StandIn]:
    found = StandIn()

    class Handler(BaseHTTPRequestHandler):
        def reply(self) -> None:
            address = urlsplit(self.path)
            body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
            query, form = ({k: v[-1] for k, v in parse_qs(text).items()} for text in (address.query, body))
            status, value = found.answer(self.command, address.path, query, form, self.headers)
            data = b"" if status == 302 else json.dumps(value).encode()
            self.send_response(status)
            if status == 302:
                self.send_header("location", value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = reply

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield found
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with provider() as found:
        yield found


TOML = """
[documents.handbook]
paths = ["docs"]
[[documents.handbook.rules]]
match = "salaries*"
access = ["role:hr"]
[[documents.handbook.rules]]
match = "hours*"
access = ["tenant:acme", "user:anna@example.com"]
[login]
issuer = "ISSUER"
client_id = "penstock"
client_secret = "its secret"
roles_claim = "realm_access.roles"
tenant_claim = "org"
admin_role = "boss"
"""


@pytest.fixture
def served(tmp_path: Path, standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(module, "AGAIN_S", 0.2)
    write(tmp_path / "docs", HANDBOOK | PAY)
    with serving(tmp_path, TOML.replace("ISSUER", standin.url), embedder=WordEmbedder()) as served:
        yield served


class Browser:
    """Follows redirects and keeps cookies, as far as their attributes let it."""

    def __init__(self, served: Served) -> None:
        self.client = served.client()
        self.client.headers["sec-fetch-site"] = "same-origin"

    def go(self, path: str) -> httpx2.Response:
        return self.client.get(path, follow_redirects=True, headers={"sec-fetch-site": "none"})

    def log_in(self) -> httpx2.Response:
        return self.go("/login?back=/healthz")


def sources(response: httpx2.Response) -> set[str]:
    assert response.status_code == 200, response.text
    return {row["source"] for row in response.json()["documents"]}


LISTED = "/api/collections/handbook/documents"

# ---------------------------------------------------------------- browsers


def test_whoever_logs_in_is_known_by_their_name_roles_and_tenant_until_they_log_out(served: Served, standin: StandIn):
    browser = Browser(served)
    assert browser.client.get("/api/me").status_code == 401

    assert browser.log_in().json() == {"status": "ok"}  # back where they came from
    me = browser.client.get("/api/me").json()
    assert (me["name"], me["roles"], me["admin"]) == ("anna@example.com", ["hr", "staff"], False)
    assert sources(browser.client.get(LISTED)) == {*HANDBOOK, *PAY}

    browser.client.get("/logout")
    assert browser.client.get("/api/me").status_code == 401


def test_what_others_may_read_follows_from_what_the_provider_says(served: Served, standin: StandIn):
    standin.person |= {"sub": "2", "email": "bo@example.com", "realm_access": {"roles": []}, "org": "globex"}
    browser = Browser(served)
    browser.log_in()

    assert sources(browser.client.get(LISTED)) == {"returns.md", "shipping.md"}


def test_an_admin_is_whoever_has_the_admin_role(served: Served, standin: StandIn):
    standin.person["realm_access"] = {"roles": ["boss"]}
    browser = Browser(served)
    browser.log_in()

    assert browser.client.get("/api/keys").status_code == 200


def test_logins_are_in_the_audit_trail(served: Served, standin: StandIn):
    browser = Browser(served)
    browser.log_in()
    browser.client.get("/logout")
    standin.refuses = "access_denied"
    assert browser.log_in().status_code == 401

    found = [(one.kind, one.actor) for one in served.house.audit.records(kind="login.*")]
    assert found == [
        ("login.succeeded", "anna@example.com"), ("login.ended", "anna@example.com"), ("login.failed", "unknown"),
    ]  # fmt: skip


def test_the_cookie_of_a_session_is_for_no_script_and_no_other_site(served: Served):
    answers = Browser(served).log_in().history

    cookie = next(c for a in answers for c in a.headers.get_list("set-cookie") if c.startswith("penstock-session="))
    assert {"HttpOnly", "SameSite=Lax", "Path=/", "Max-Age=28800"} <= {part.strip() for part in cookie.split(";")}
    assert "Secure" not in cookie  # loopback without TLS


def test_with_https_the_cookie_is_sent_over_nothing_else(tmp_path: Path, standin: StandIn):
    toml = TOML.replace("ISSUER", standin.url) + f'[server]\ntls_cert = "{TLS / "server.pem"}"\n'
    write(tmp_path / "docs", HANDBOOK)
    with serving(tmp_path, toml, embedder=WordEmbedder()) as served:
        browser = Browser(served)
        answers = browser.log_in().history
        cookies = [c for a in answers for c in a.headers.get_list("set-cookie") if "session=" in c]
        assert cookies
        assert all(c.startswith("__Host-") and "; Secure" in c for c in cookies)
        assert browser.client.get("/api/me").status_code == 200


def test_a_session_ends_by_itself(served: Served):
    browser = Browser(served)
    browser.log_in()
    with served.house.database.write() as w:
        w.execute("update sessions set expires = ?", (time.time() - 1,))

    assert browser.client.get("/api/me").status_code == 401


def test_no_secret_of_a_session_is_kept(served: Served):
    browser = Browser(served)
    browser.log_in()
    secret = browser.client.cookies["penstock-session"]

    kept = b"".join(path.read_bytes() for path in served.house.settings.home_path.rglob("*") if path.is_file())
    assert secret.encode() not in kept


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_can_neither_act_nor_log_out_in_the_name_of_whoever_visits_it(served: Served, site: str):
    browser = Browser(served)
    browser.log_in()

    for method, path in (("GET", LISTED), ("POST", "/api/collections/handbook/search"), ("GET", "/logout")):
        refused = browser.client.request(method, path, headers={"sec-fetch-site": site}, json={"query": "x"})
        assert refused.status_code == 403
    del browser.client.headers["sec-fetch-site"]  # an old browser
    assert browser.client.post("/api/collections/handbook/search", json={"query": "books"}).status_code == 403
    own = {"origin": served.url}
    assert (
        browser.client.post("/api/collections/handbook/search", json={"query": "books"}, headers=own).status_code == 200
    )


@pytest.mark.parametrize(
    "back", ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:1", "/a\r\nx: y"]
)
def test_a_login_leads_back_to_our_own_pages_only(served: Served, back: str):
    browser = Browser(served)
    first = browser.client.get("/login", params={"back": back})
    to_us = httpx2.get(first.headers["location"]).headers["location"]

    last = browser.client.get(to_us, headers={"sec-fetch-site": "cross-site"})

    assert (last.status_code, last.headers["location"]) == (303, "/")


def test_the_end_of_somebody_elses_login_is_refused(served: Served):
    hers, his = Browser(served), Browser(served)
    first = hers.client.get("/login")
    to_us = httpx2.get(first.headers["location"]).headers["location"]

    assert his.client.get(to_us).status_code == 400  # no login is under way there
    his.client.get("/login")
    refused = his.client.get(to_us)
    assert (refused.status_code, "another login" in refused.text) == (400, True)
    assert hers.client.get(to_us).status_code == 303
    assert hers.client.get(to_us).status_code in (400, 401, 502)  # once


def test_a_login_that_takes_too_long_is_begun_anew(served: Served, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "UNDER_WAY_S", 0.0)
    browser = Browser(served)
    first = browser.client.get("/login")
    (cookie,) = first.headers.get_list("set-cookie")
    browser.client.cookies.set("penstock-login", cookie.partition("=")[2].partition(";")[0])
    to_us = httpx2.get(first.headers["location"]).headers["location"]

    refused = browser.client.get(to_us)

    assert (refused.status_code, "too long" in refused.text) == (401, True)


@pytest.mark.parametrize("cookie", ["", "x", "a.b", packed(b"0" * 40), "%00", "é"])
def test_a_cookie_that_is_not_ours_is_no_login(served: Served, cookie: str):
    headers = {"cookie": f"penstock-login={cookie}".encode()}

    assert served.client().get("/login/callback?state=&code=x", headers=headers).status_code == 400


@pytest.mark.parametrize(
    "wrong",
    [{"nonce": "another"}, {"nonce": None}, {"aud": "somebody"}, {"iss": "https://evil.example"}, {"exp": 1}, {"sub": None},
     {"aud": ["penstock", "other"]}, {"aud": ["penstock", "other"], "azp": "other"}],
    ids=str,
)  # fmt: skip
def test_an_id_token_that_is_not_for_this_login_logs_nobody_in(served: Served, standin: StandIn, wrong: dict[str, Any]):
    standin.wrong = wrong
    browser = Browser(served)

    assert browser.log_in().status_code == 401
    assert browser.client.get("/api/me").status_code == 401


def test_while_the_provider_is_down_nobody_new_comes_in_and_whoever_is_in_stays(served: Served, standin: StandIn):
    inside = Browser(served)
    inside.log_in()
    standin.down = True

    assert inside.client.get("/api/me").status_code == 200
    other = Browser(served)
    first = other.client.get("/login")
    assert first.status_code == 303  # where it is is known already
    assert served.client(standin.token()).get("/api/me").status_code == 200  # and so are its keys


# ---------------------------------------------------------------- programs


@pytest.mark.parametrize("alg", ["RS256", "ES256", "EdDSA"])
def test_a_token_of_the_provider_says_who_is_asking(served: Served, standin: StandIn, alg: str):
    client = served.client(standin.token(alg))

    assert client.get("/api/me").json()["name"] == "anna@example.com"
    assert client.post("/api/collections/handbook/search", json={"query": "salaries"}).status_code == 200
    assert sources(client.get(LISTED)) == {*HANDBOOK, *PAY}


def test_keys_go_on_working_beside_it_and_without_either_nobody_comes_in(served: Served):
    _, secret = served.house.keys.create("shop", roles=["hr"])

    assert served.client(secret).get("/api/me").json()["name"] == "shop"
    for headers in ({}, {"authorization": "Bearer nonsense"}, {"authorization": "Basic a.b.c"}, {"x-api-key": "a.b.c"}):
        refused = served.client(**headers).get("/api/me")
        assert refused.status_code == 401
    assert "/login" in served.client().get("/api/me").json()["error"]["hint"]


def test_a_key_that_the_provider_takes_up_works_and_one_that_it_gives_up_does_not(
    served: Served, standin: StandIn, monkeypatch: pytest.MonkeyPatch
):
    assert served.client(standin.token()).get("/api/me").status_code == 200
    old, new = standin.keys.pop("RS256"), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    standin.keys["new"] = new

    def status(key: Key, kid: str) -> int:
        token = signed(standin.claims(jti=str(time.time())), key, alg="RS256", kid=kid)  # type: ignore[arg-type]
        return served.client(token).get("/api/me").status_code

    time.sleep(0.25)
    assert status(new, "new") == 200
    assert status(old, "RS256") == 401


def test_tokens_with_keys_that_nobody_knows_do_not_make_us_ask_the_provider_again_and_again(
    served: Served, standin: StandIn, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "AGAIN_S", 60.0)
    for n in range(20):
        token = signed(standin.claims(), MADE["RS256"], alg="RS256", kid=f"unknown {n}")
        assert served.client(token).get("/api/me").status_code == 401

    assert standin.asked.count("/jwks_uri") == 1


@dataclass
class Reading:
    """Tokens as they are read without a server around."""

    standin: StandIn
    tokens: Tokens

    def read(self, token: str) -> dict[str, Any]:
        return dict(asyncio.run(self._read(token)))

    async def _read(self, token: str) -> Any:
        self.tokens.provider._lock = None  # each run has an event loop of its own
        return await self.tokens.claims(token, audience="penstock")


@pytest.fixture(scope="module")
def reading() -> Iterator[Reading]:
    with provider() as found:
        made = Reading(found, Tokens(Provider(found.url)))
        made.read(found.token())
        yield made


def secret_from_public(key: Key) -> bytes:
    return key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "alg", ["none", "None", "NONE", "", None, "HS256", "RS512", "PS256", "ES384", "RS256 ", ["RS256"], {}, 7]
)
def test_algorithms_that_prove_nothing_or_were_not_agreed_on_are_refused(reading: Reading, alg: Any):
    head, body = packed({"alg": alg, "kid": "RS256"}), packed(reading.standin.claims())
    mac = hmac.new(secret_from_public(MADE["RS256"]), f"{head}.{body}".encode(), hashlib.sha256).digest()

    for signature in ("", packed(mac), reading.standin.token().split(".")[2]):
        with pytest.raises(NeedsKey, match="algorithm"):
            reading.read(f"{head}.{body}.{signature}")


@pytest.mark.parametrize("said", ["RS256", "ES256", "EdDSA"])
@pytest.mark.parametrize("kid", ["RS256", "ES256", "EdDSA"])
def test_a_key_is_used_for_its_own_algorithm_alone(reading: Reading, said: str, kid: str):
    if said == kid:
        return
    with pytest.raises(NeedsKey, match="does not have"):
        reading.read(signed(reading.standin.claims(), MADE[kid], alg=said, kid=kid))


@pytest.mark.parametrize(
    ("more", "said"),
    [({"exp": None}, "until when"), ({"exp": "soon"}, "until when"), ({"exp": True}, "until when"),
     ({"exp": float("nan")}, "malformed"), ({"exp": float("inf")}, "malformed"), ({"exp": time.time() - 3600}, "expired"),
     ({"nbf": time.time() + 3600}, "not good yet"), ({"nbf": "x"}, "until when"), ({"iss": None}, "another provider"),
     ({"iss": "http://127.0.0.1"}, "another provider"), ({"aud": None}, "somebody else"), ({"aud": "other"}, "somebody else"),
     ({"aud": []}, "somebody else"), ({"aud": {"penstock": 1}}, "somebody else")],
    ids=str,
)  # fmt: skip
def test_what_a_token_says_of_itself_must_hold(reading: Reading, more: dict[str, Any], said: str):
    with pytest.raises(NeedsKey, match=said):
        reading.read(reading.standin.token(**more))


def test_clocks_may_be_a_minute_apart(reading: Reading):
    assert reading.read(reading.standin.token(exp=time.time() - 30, nbf=time.time() + 30))


def test_a_token_that_was_believed_is_not_believed_after_it_has_expired(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
):
    token = reading.standin.token(exp=int(time.time()) + 5)
    reading.read(token)
    monkeypatch.setattr(module, "SKEW_S", -100.0)

    with pytest.raises(NeedsKey, match="expired"):
        reading.read(token)


def test_what_a_token_wants_of_us_and_we_do_not_know_is_refused(reading: Reading):
    with pytest.raises(NeedsKey, match="do not know"):
        reading.read(signed(reading.standin.claims(), MADE["RS256"], alg="RS256", kid="RS256", crit=["b64"]))


def test_a_key_that_is_too_short_is_not_believed(reading: Reading):
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    key = public(short, "s") | {"alg": "RS256"}

    with pytest.raises(NeedsKey, match="too short"):
        module._verify("RS256", key, b"x", short.sign(b"x", padding.PKCS1v15(), hashes.SHA256()))


def decoded(token: str) -> object:
    """What a token is made of: of the last letter of base64 some bits mean nothing."""
    try:
        return module._parsed(token)
    except NeedsKey:
        return None


@given(st.data())
def test_no_changed_letter_of_a_token_goes_unnoticed(reading: Reading, data: st.DataObject):
    token = reading.standin.token(data.draw(st.sampled_from(["RS256", "ES256", "EdDSA"])))
    at = data.draw(st.integers(0, len(token) - 1))
    letter = data.draw(st.sampled_from("ABCxyz019-_.=+/ é"))
    changed = token[:at] + letter + token[at + 1 :]
    if letter == token[at] or decoded(changed) == decoded(token):
        return

    with pytest.raises(PenstockError):
        reading.read(changed)


@given(
    st.text(max_size=300)
    | st.from_regex(r"[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}\.[A-Za-z0-9_-]{0,40}", fullmatch=True)
)
def test_nonsense_is_no_token(reading: Reading, text: str):
    with pytest.raises(NeedsKey):
        reading.read(text)


def test_a_token_of_any_size_is_refused_at_once(reading: Reading):
    with pytest.raises(NeedsKey, match="too long"):
        reading.read("a" * 10_000_000 + "..")
    deep = packed(("[" * 5000).encode())
    with pytest.raises(NeedsKey, match="malformed"):
        reading.read(f"{deep}.{deep}.x")


def test_a_provider_that_calls_itself_otherwise_is_not_believed():
    with provider() as found:
        other = Provider(found.url + "/")
        with pytest.raises(UpstreamError, match="another name"):
            asyncio.run(other.facts())


# ---------------------------------------------------------------- who that is

BASE = {"sub": "4711"}


@pytest.mark.parametrize(
    ("claims", "name"),
    [
        ({"email": "Anna@Example.com", "email_verified": True}, "anna@example.com"),
        ({"email": "anna@example.com", "email_verified": False}, "oidc:4711"),
        ({"email": "anna@example.com"}, "oidc:4711"),
        ({"email": "anna@example.com", "email_verified": "true"}, "oidc:4711"),
        ({"email": "hr", "email_verified": True}, "oidc:4711"),
        ({"email": "user:boss@x", "email_verified": True}, "oidc:4711"),
        ({"preferred_username": "boss"}, "oidc:4711"),
        ({"email": ["a@b"], "email_verified": True}, "oidc:4711"),
    ],
)
def test_nobody_chooses_a_name_that_opens_something(claims: dict[str, Any], name: str):
    assert caller_of(BASE | claims, LoginSettings()).name == name


@pytest.mark.parametrize("sub", [None, "", 7, "a\nb", "x" * 500, ["x"]])
def test_a_token_that_names_nobody_is_refused(sub: Any):
    with pytest.raises(NeedsKey):
        caller_of({"sub": sub}, LoginSettings())


@pytest.mark.parametrize(
    ("claims", "where", "roles"),
    [
        ({"roles": ["a", "b"]}, "roles", ("a", "b")),
        ({"roles": "a"}, "roles", ("a",)),
        ({"roles": {"a": 1}}, "roles", ()),
        ({"roles": ["a", 7, None, "", "b\n"]}, "roles", ("a",)),
        ({"realm_access": {"roles": ["a"]}}, "realm_access.roles", ("a",)),
        ({"https://x.example/roles": ["a"]}, "https://x.example/roles", ("a",)),
        ({}, "a.b.c", ()),
        ({"a": ["b"]}, "a.b.c", ()),
    ],
)
def test_roles_are_found_where_the_provider_puts_them(claims: dict[str, Any], where: str, roles: tuple[str, ...]):
    assert caller_of(BASE | claims, LoginSettings(roles_claim=where)).roles == roles


def test_without_an_admin_role_nobody_who_logs_in_is_an_admin():
    assert not caller_of(BASE | {"roles": ["", "admin"]}, LoginSettings()).admin


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ('issuer = "http://id.example.com"\nclient_id = "x"', "login.issuer"),
        ('issuer = "https://id.example.com"', "client_id is empty"),
        ('client_id = "x"', "issuer is not"),
        ('issuer = "https://id.example.com"\nclient_id = "x"\nscopes = ["email"]', "openid"),
        ('issuer = "https://id.example.com"\nclient_id = "x"\naddress = "http://ask.example.com"', "login.address"),
        ('issuer = "https://id.example.com"\nclient_id = "x"\nsession = 0', "login.session"),
    ],
)
def test_settings_that_would_let_anybody_listen_or_in_are_refused(tmp_path: Path, toml: str, said: str):
    (tmp_path / "penstock.toml").write_text(f"[login]\n{toml}\n")

    with pytest.raises(BadSetting, match=said):
        load(tmp_path / "penstock.toml", environment={})
