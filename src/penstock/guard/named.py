"""Values that are known by the name beside them: in settings, code, commands, headers, tables and sentences.

A name is read to the right until its value is whole, and never further: what was found in the beginning of a text is
found in all of it. So a text may come in pieces. Where no more than so much of a value may be looked at, a longer one is
judged by its beginning.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final, NamedTuple

from penstock.guard.values import (
    UUID,
    encoded_credentials,
    is_key,
    is_password,
    looks_random,
    looks_varied,
    placeholder,
    reference,
)

__all__ = ["BARE", "BEHIND", "IN_ADDRESS", "LONGEST_NAME", "REACH", "UNSPACED", "Parsed", "Status", "read", "words"]

REACH: Final = 240  # characters within which a value follows its name
BEHIND: Final = 200  # characters before a name that say what it is the name of
LONGEST_NAME: Final = 16  # characters of a name, and more


# ---------------------------------------------------------------- the words

_WORDS: Final = {
    "password": (
        "password|passwords|passwd|passphrase|passcode|passwort|passwörter|passwrd|paswd|kennwort|zugangscode|pwd|"
        "pswd|psw|contraseña|contrasena|"
        "passe|senha|wachtwoord|hasło|haslo|hasłem|hasła|lösenord|losenord|adgangskode|kodeord|passord|salasana|"
        "jelszó|jelszo|"
        "heslo|heslem|parola|parolă|şifre|şifresi|sifre|parolası|пароль|пароля|паролем|паролю|κωδικός|κωδικό|סיסמה|"
        "הסיסמה|"
        "السر|المرور|पासवर्ड|รหัสผ่าน|khẩu|clave|密码|密碼|口令|パスワード|비밀번호|암호|패스워드|pass|pw|pin|puk|identified"
    ),
    "secret": "secret|secrets|geheimnis|secreto|segredo|секрет|密钥|密鑰|秘钥|秘密鍵|시크릿",
    "token": "token|tokens|jeton|токен|токена|令牌|トークン|토큰|jwt|pat",
    "key": "key|keys|apikey|schlüssel|llave|chave|chiave|clé|cle|ключ|sleutel|klucz|nyckel|anahtar|キー",
    "auth": "auth|bearer|basic|authorization|credential|credentials|cred|creds|cookie|session|sessionid|sid|sessid|"
    "signature|sig|dsn|u|user",
}  # fmt: skip
_CLASS: Final = {word: kind for kind, words in _WORDS.items() for word in words.split("|")}
UNSPACED: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
_UNSPACED: Final = re.compile(f"[{UNSPACED}]")

_REJECT_AFTER: Final = frozenset(
    "hash hashed hashes path file filename policy policies length len type types url uri endpoint count limit limits "
    "name names id ids field fields label hint "
    "expires expiry expired expiration ttl arn ref reference regex pattern column digest algorithm algo format min "
    "max prompt reset forgot forgotten "
    "change manager required requirements strength rules rule validator provider prefix suffix version size usage "
    "page link form box "
    "placeholder title message error help text icon class style protected encoder generator holder rotation agent "
    "alias map names "
    "store storage less word words board pair ring stroke frame chain note point space tab vault age event events "
    "press code codes up down "
    "bits index schema fingerprint thumbprint checksum created updated issued at date time by for verification "
    "verify confirmation iat exp aud scope scopes based "
    "free ize izer ization ized tokens_total total used per_second budget window bucket usages attempt attempts "
    "enabled disabled env envvar var variable "
    "timeout interval grant server service_url host port user username salt iterations rounds cost dir directory "
    "folder location".split()
)
_REJECT_BEFORE: Final = frozenset(
    "public pub publishable cache primary foreign sort partition idempotency index object row lookup i18n "
    "translation site hot registry product dedupe "
    "dict map json shift next previous prev continuation cursor sync max num total count input output prompt "
    "completion design hash checksum fingerprint "
    "commit build surrogate natural composite unique candidate group routing message event span trace correlation "
    "request-id arrow any press stop bos eos "
    "pad unk sep cls mask special eof new_line issue ticket order tracking invoice reference ref file column field "
    "property attribute host known ec etag "
    "reset-link bundle locale resource musical legend answer keyword house car turn".split()
)
_STRONG: Final = frozenset(
    "api access secret private auth authentication encryption encrypt decryption signing sign master client service "
    "shared storage app application bot deploy webhook admin "
    "root subscription consumer license licence personal refresh bearer id security session cookie db database "
    "account user developer server live prod production "
    "heroku twilio datadog dd algolia stripe aws azure gcp google openai anthropic github gitlab slack discord "
    "telegram npm pypi sendgrid mailgun mailchimp "
    "shopify square cloudflare cf jira jenkins sonar circleci travis codecov snyk okta auth0 firebase supabase "
    "vercel netlify render fly digitalocean do linode vultr "
    "hf huggingface cohere mistral groq deepseek together replicate pinecone weaviate qdrant openrouter databricks "
    "snowflake newrelic sentry rollbar "
    "pagerduty opsgenie zendesk hubspot salesforce intercom segment mixpanel amplitude mapbox bing serp tavily flask "
    "django rails jwt hmac crypto aes geheimer privater "
    "api-key apikey x ssh deployment integration oauth oauth2 csrf xsrf zugriffs".split()
)


@cache
def words() -> Any:
    """Matches the words that name secrets."""
    import re2

    options = re2.Options()
    options.max_mem = 64 << 20
    latin = sorted(
        (w for w in _CLASS if w not in ("u", "user", "pin", "puk", "pat", "sid", "sig", "dsn", "basic", "cle", "auth")),
        key=len,
        reverse=True,
    )
    short = ("pin", "puk", "pat", "sig", "dsn", "basic", "cle")
    return re2.compile(rf"(?i)(?:{'|'.join(latin)}|\bu\b|\buser\b|\b(?:{'|'.join(short)})\b|sid|auth|://)", options)


# ---------------------------------------------------------------- how a value is tied to its name

_TYPES: Final = re.compile(
    r"(?:&?'?(?:static|mut)?\s?)?(?:Optional|Option|Union|Final|Annotated|Secret)?[<\[]?\b(?:str|string|bytes|text|"
    r"char|varchar|any|object|"
    r"SecretStr|Text|int|number|bool|boolean|unknown|password|keyword)\b(?:\(\d+\))?\*?[>\]]?\??(?:\s?\|\s?\w+)?",
    re.IGNORECASE,
)
_PARTS: Final = re.compile(r"[A-ZÀ-Þ]?[a-zß-ɏ]+|[A-ZÀ-Þ]+(?![a-zß-ɏ])|\d+")
_REST: Final = re.compile(r"[A-Za-z0-9_À-ɏ-]{0,40}")
_STRUCTURED: Final = re.compile(
    r"(?P<close>(?:\\?[\"'`]|[\])*_]){0,4})[ \t\u00a0]{0,12}\??(?P<sign>:=|=>|->|={1,3}|!=|\?=|\+=|[:：＝](?!//)|,|\(|>|"
    r"\|)[*_]{0,3}(?P<gap>[ \t\u00a0]{0,8}\n?[ \t]{0,12})"
)
_VALUED: Final = re.compile(
    r"[\"'`]{0,2}[\s,}]{0,24}(?:<value>|[\"']?value[\"']?\s{0,3}(?:[:=]|=>)\s{0,3}|<string>)", re.IGNORECASE
)
_COPULAS: Final = (
    "is|was|are|be|being|remains|becomes|equals|as|to|ist|lautet|war|wäre|sei|heißt|est|c['’]est|sera|était|reste|"
    "es|era|será|"
    "sigue|é|è|sarà|fica|"
    "är|er|blir|on|oli|jest|to|brzmi|było|je|este|olan|هو|هي|है|là|это|—|–|-|=>|->|=|είναι|הוא|היא|คือ|van|ni"
)
_PROSE: Final = re.compile(
    r"(?:[ \t]+(?!(?:and|or|but|und|oder|y|et|e|o|i|en|of-the|must|should|can|cannot|may|needs?|has|have|muss|sollte|"
    r"debe|doit|deve)[ \t])"
    r"[^\s:：=,;!?\"'`()<>{}|]{0,23}[^\s:：=,;!?\"'`()<>{}|.]){0,6}?"
    rf"(?:[ \t]{{0,2}}[:：=][*_]{{0,3}}|[ \t]+(?:{_COPULAS})(?:[ \t]?[:：])?(?=[\s\"'`“«„「]))"
    r"(?:[ \t]+(?:now|currently|still|simply|just|set[ \t]to|going[ \t]to[ \t]be|aktuell|jetzt|nun|weiterhin|"
    r"maintenant|actuellement|ahora|agora|ora|adesso|nu|teraz|теперь|сейчас|şimdi)\b:?)?"
    r"[ \t\u00a0]{0,8}\n?[ \t]{0,8}",
    re.IGNORECASE,
)
_UNSPACED_PROSE: Final = re.compile(
    r"[\"'`」』”’]?(?:[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3\u0e00-\u0e7f]{0,8}?(?:は|是|为|為|은|는|이|가|を|成|到|คือ|"
    r"[:：=＝]))(?:[ \t]{0,2}[:：])?[ \t\u3000]{0,4}\n?"
)
_DIRECT: Final = re.compile(r"[ \t]{1,4}(?=[\"'`“„«「‘])")
_SPACED: Final = re.compile(r"[ \t]{1,4}")
_QUOTES: Final = {
    '"': '"',
    "'": "'",
    "`": "`",
    "“": "”",
    "„": "“",
    "«": "»",
    "「": "」",
    "『": "』",
    "‘": "’",
    "‚": "‘",
}
_BARE: Final = re.compile(
    r"(?![({\[|)}\]])(?:[^\s\"'`<>,;)\]}|"
    r"(\[{“”„«»「」\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]|[)\]}|"
    r"(\[{](?=[A-Za-z0-9@#%^&*!$]))+"
)
_BREAK: Final = re.compile(r"\s")
_LOGIN: Final = re.compile(r"\b(?:login|machine|default|user|username)[ \t]\S{1,80}[ \t]{1,3}$", re.IGNORECASE)
_FETCH: Final = re.compile(r"\b(?:curl|wget|http|https|httpie)\b[^\n]{0,180}[ \t]-{1,2}$")
_BY: Final = re.compile(r"[ \t]+by[ \t]+", re.IGNORECASE)
_COOKIE: Final = re.compile(r"cookie", re.IGNORECASE)

_COMPOUND: Final = frozenset(
    "sshpass passwort password kennwort wachtwoord key token secret schlüssel sleutel apikey".split()
)
_SHORT: Final = frozenset("pass pw pat pin puk u sid sig cle user psw".split())
_SESSIONS: Final = frozenset("session sessionid sid sessid".split())
_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_À-ɏ.$@\-Ͱ-ӿ\u0590-\u08ff\u0900-\u0dff]")
_SPOKEN: Final = re.compile(r"([A-Za-zÀ-ɏ]{2,14})[ -]([A-Za-zÀ-ɏ]{1,12}[ -])?$")
_EXPORTED: Final = re.compile(r"\b(?:export|ENV|set|setx)[ \t]+$")
_CALLER: Final = re.compile(r"with|set|use|add|put|get", re.IGNORECASE)
_BLANKS: Final = re.compile(r"[ \t]*")
_EQUALS: Final = re.compile(r"=(?!=)[ \t]{0,4}")
_DASH_P: Final = re.compile(r"[ \t]+-p[ \t]*")
_OPAQUE_WORD: Final = re.compile(r"[A-Za-z0-9+/=_-]{20,200}")
_SCHEME_NAME: Final = re.compile(r"(?:Bearer|Basic|Token|ApiKey|Digest|AWS4-HMAC-SHA256)[ \t]+", re.IGNORECASE)
_BASIC: Final = re.compile(r"basic[ \t]+$", re.IGNORECASE)
_AWS: Final = re.compile(r"[A-Za-z0-9/+]{40}")
_HEX: Final = re.compile(r"(?:0x)?[0-9a-fA-F]+")
_UUID: Final = re.compile(UUID)


class Status:
    """What is known of the value of a name."""

    NONE, WAITING, OPEN, FOUND = range(4)


class Parsed(NamedTuple):
    """What a name leads to."""

    status: int
    start: int = 0
    end: int = 0
    kind: str = ""
    score: float = 0.0
    rest: str = (
        ""  # how it goes on where only its beginning was looked at: a quotation mark ends it, or BARE or IN_ADDRESS
    )


BARE: Final = "bare"
IN_ADDRESS: Final = "address"
NONE: Final = Parsed(Status.NONE)
WAITING: Final = Parsed(Status.WAITING)


def _after(pattern: re.Pattern[str], text: str, at: int, end: int) -> int:
    found = pattern.match(text, at, end)
    return found.end() if found else at


class _Value(NamedTuple):
    status: int
    start: int
    end: int
    quoted: bool = False
    rest: str = ""


def _value(text: str, start: int, end: int, final: bool, *, narrow: bool = False, most: int = 0) -> _Value:
    """Whatever follows does not change what is FOUND. most: characters that are looked at; 0 for as many as there are."""
    at = start
    escaped = text.startswith("\\", at)
    if escaped:
        at += 1
    if at >= end:
        return _Value(Status.NONE if final else Status.WAITING, at, at)
    closing = _QUOTES.get(text[at])
    if closing is not None:
        if not final and end - at < 3 and text[at:end] == text[at] * (end - at) and not escaped:
            return _Value(Status.OPEN, end, end, quoted=True)  # there may come three of them
        if text.startswith(text[at] * 3, at) and not escaped:
            at += 2
        at += 1
        stop = at
        limit = min(end, at + (most or 200))
        while True:
            stop = text.find(closing, stop, limit)
            if (
                _BREAK.search(text, at, limit if stop < 0 else stop)
                if most
                else text.find("\n", at, limit if stop < 0 else stop) >= 0
            ):
                return _Value(Status.NONE, at, limit, quoted=True)
            if stop < 0:
                if limit - at == most:
                    return _Value(Status.FOUND, at, limit, quoted=True, rest=closing)
                if limit < end or final:
                    return _Value(Status.FOUND if final and limit - at >= 6 else Status.NONE, at, limit, quoted=True)
                return _Value(Status.OPEN, at, limit, quoted=True)
            if text[stop - 1] == "\\" and not escaped and stop > at:
                stop += 1
                continue
            return _Value(Status.FOUND, at, stop - (1 if escaped and text[stop - 1] == "\\" else 0), quoted=True)
    found = _BARE.match(text, at, min(end, at + (most or 300)))
    if found is None:
        return _Value(Status.NONE, at, at)
    stop = found.end()
    whole = stop - at != most
    if stop >= end and not final and whole:
        return _Value(Status.OPEN, at, stop)
    if stop < end and stop + 1 >= end and not final and whole and text[stop] in ")]}|([{":
        return _Value(Status.OPEN, at, stop)
    value = text[at:stop]
    if narrow:
        cut = re.search(r"[^!-~]", value)
        value = value[: cut.start()] if cut else value
    joined = re.search(r"[&;](?=[\w.-]{1,40}=)", value)
    if joined:
        value = value[: joined.start()]
    if not whole and len(value) == most:
        return _Value(Status.FOUND, at, stop, rest=BARE)
    value = value.rstrip(".,:…") if not value.endswith("==") else value
    if value.endswith("\\n"):
        value = value[:-2]
    return _Value(Status.FOUND, at, at + len(value.rstrip("\\")))


class _Name(NamedTuple):
    """A word that names secrets, with what it is part of."""

    word: str
    group: str
    left: int  # where its identifier begins
    right: int  # and ends
    behind: str  # what stands before that
    before: tuple[str, ...]  # the parts of the identifier, or the words, in front of it
    after: tuple[str, ...]
    strong: bool  # whether they say that it is about access
    exported: bool


class _Tie(NamedTuple):
    """How a value is tied to its name."""

    where: int  # where the value begins
    prose: bool = False  # told in a sentence
    narrow: bool = False  # in a script without spaces, where the value ends with its own script
    sign: str = ""


def _named(text: str, start: int, stop: int, end: int, final: bool) -> _Name | Parsed:
    """What the word text[start:stop] names."""
    word = text[start:stop].lower()
    group = _CLASS.get(word, "key")
    unspaced = _UNSPACED.match(word) is not None
    left, right = start, stop
    if not unspaced:
        least = max(0, start - 48)
        while left > least and _IDENTIFIER.match(text[left - 1]):
            left -= 1
        rest = _REST.match(text, stop, min(end, stop + 41))
        right = rest.end() if rest else stop
        if right >= end and not final:
            return WAITING
    before = tuple(part.lower() for part in _PARTS.findall(text[left:start]))
    after = tuple(part.lower() for part in _PARTS.findall(text[stop:right]))
    inside = start > left and text[start - 1].islower() and text[start].islower()
    if (inside and word not in _COMPOUND and text[left:right].lower() not in _COMPOUND) or not _REJECT_AFTER.isdisjoint(
        after
    ):
        return NONE
    behind = text[max(0, left - BEHIND) : left]
    if left == start and (spoken := _SPOKEN.search(behind[-30:])):
        before = tuple(part.strip(" -").lower() for part in spoken.groups() if part)
    if group != "password" and not _REJECT_BEFORE.isdisjoint(before):
        return NONE
    if (
        word in _SHORT
        and text[left:right].lower() not in _COMPOUND
        and (text[stop:right].strip("_-0123456789") or (start > left and text[start - 1].isalnum()))
    ):
        return NONE
    if word in ("u", "user") and not _FETCH.search(behind[-190:] + text[left:start]):
        return NONE
    if word == "passe" and not before and not behind.rstrip().lower().endswith(("de", "mot")):
        return NONE
    strong = group == "secret" or word == "apikey" or not _STRONG.isdisjoint((*before, *after))
    written = text[left:right]
    exported = written == written.upper() and _EXPORTED.search(behind[-12:]) is not None
    return _Name(word, group, left, right, behind, before, after, strong, exported)


def _assigned(text: str, name: _Name, start: int, end: int, final: bool) -> _Tie | Parsed | None:
    """`name = value` and its like in settings, code and tables."""
    tie = _STRUCTURED.match(text, name.right, end)
    if tie is None:
        return None
    sign, where = tie["sign"], tie.end()
    if sign in ("!=", "+="):
        return NONE
    if where >= end and not final:
        return WAITING
    if sign in (",", "("):
        caller = text[name.left : start].lstrip("._").rsplit(".", 1)[-1]
        if not (_CALLER.match(caller) if sign == "(" else set("\"'`") & set(tie["close"])):
            return None
        if where < end and text[where] not in _QUOTES:
            return NONE
    if sign == ">" and text[max(0, name.left - 1) : name.left] != "<" and "<" not in name.behind[-80:]:
        return None
    if sign in (":", "："):  # a type may stand between: `password: str = "…"`
        typed = _TYPES.match(text, where, min(end, where + 40))
        if typed and typed.end() > where:
            spot = _after(_BLANKS, text, typed.end(), end)
            if spot >= end and not final:
                return WAITING
            again = _EQUALS.match(text, spot, end)
            if again:
                where = again.end()
                if where >= end and not final:
                    return WAITING
    if "\n" in tie["gap"] and sign not in (":", "：", "|", ">"):
        return NONE
    return _Tie(where, sign=sign)


def _tied(text: str, name: _Name, start: int, end: int, final: bool, most: int) -> _Tie | Parsed:
    assigned = _assigned(text, name, start, end, final)
    if assigned is not None:
        return assigned
    if valued := _VALUED.match(text, name.right, end):
        return _Tie(valued.end())
    direct = _DIRECT.match(text, name.right, end)
    if _UNSPACED.match(name.word):
        if told := _UNSPACED_PROSE.match(text, name.right, end):
            return _Tie(told.end(), prose=True, narrow=True)
        if direct or text[name.right : name.right + 1] in _QUOTES:
            return _Tie(direct.end() if direct else name.right, prose=True)
    else:
        if command := _command(text, name, start, end, final, most):
            return command
        if told := _PROSE.match(text, name.right, min(end, name.right + REACH)):
            return _Tie(told.end(), prose=True)
        if name.group == "password" and direct:
            return _Tie(direct.end(), prose=True)
    broken = text.find("\n\n", name.right, min(end, name.right + REACH)) >= 0
    return NONE if final or broken or end - name.right > REACH else WAITING


def _command(text: str, name: _Name, start: int, end: int, final: bool, most: int) -> _Tie | None:
    """`--password value`, `Bearer value`, `IDENTIFIED BY 'value'` and their like."""
    written = text[name.left : name.right]
    if name.word == "identified":
        by = _BY.match(text, name.right, end)
        return _Tie(by.end()) if by else None
    if name.word == "pass" and written.lower() == "sshpass":
        dash = _DASH_P.match(text, name.right, end)
        return _Tie(dash.end()) if dash else None
    spaced = _SPACED.match(text, name.right, end)
    if spaced is None:
        return None
    flag = written.startswith("--") or (written.startswith("-") and name.left + 1 == start)
    if (
        flag
        or name.word in ("bearer", "basic")
        or _LOGIN.search(name.behind)
        or (name.exported and "ENV" in name.behind[-12:])
    ):
        return _Tie(spaced.end())
    word = _OPAQUE_WORD.match(text, spaced.end(), min(end, spaced.end() + (most or 200)))
    whole = word is not None and (word.end() < end or final or word.end() - word.start() == most)
    random = word is not None and whole and looks_random(word[0])
    return _Tie(spaced.end()) if random and "_" in written and name.group != "password" else None


def read(text: str, start: int, stop: int, end: int, final: bool, most: int = 0) -> Parsed:
    """What follows the word text[start:stop], which names secrets. end: as far as the text is known.
    most: characters of a value that are looked at; 0 for as many as there are.

    What is FOUND or NONE stays so, whatever follows.
    """
    if text[start:stop] == "://":
        return _address(text, start, stop, end, final, most)
    name = _named(text, start, stop, end, final)
    if isinstance(name, Parsed):
        return name
    tie = _tied(text, name, start, end, final, most)
    if isinstance(tie, Parsed):
        return tie
    where = tie.where
    if tie.prose and text.startswith(("**", "__"), where):
        where += 2
    if name.group == "auth" and (scheme := _SCHEME_NAME.match(text, where, end)):
        where = scheme.end()
    if where >= end:
        return NONE if final else WAITING
    value = _value(text, where, end, final, narrow=tie.narrow, most=most)
    if value.status != Status.FOUND:
        return Parsed(value.status, value.start, value.end)
    judge = _JUDGES.get(name.group, _key)
    parsed = judge(text, name, tie, value.start, value.end, value.quoted)
    return parsed._replace(rest=value.rest) if value.rest and parsed.status == Status.FOUND else parsed


def _password(text: str, name: _Name, tie: _Tie, begin: int, end: int, quoted: bool) -> Parsed:
    value = text[begin:end]
    if name.word in ("pin", "puk"):
        good = value.isdigit() and 4 <= len(value) <= 8
    else:
        good = is_password(value, quoted=quoted, prose=tie.prose, firm=not tie.prose)
    if not good:
        return NONE
    return Parsed(Status.FOUND, begin, end, *(("prose_password", 0.85) if tie.prose else ("password_assign", 0.9)))


def _credential(text: str, name: _Name, tie: _Tie, begin: int, end: int, quoted: bool) -> Parsed:
    value, word = text[begin:end], name.word
    if word in ("u", "user"):
        user, colon, password = value.partition(":")
        if colon and user and is_password(password, quoted=quoted, prose=False, firm=True):
            return Parsed(Status.FOUND, begin + len(user) + 1, end, "basic_auth", 0.9)
        return NONE
    if (
        word == "basic"
        or _BASIC.search(text[max(0, begin - 9) : begin])
        or (word == "auth" and encoded_credentials(value))
    ):
        return Parsed(Status.FOUND, begin, end, "basic_auth", 0.9) if encoded_credentials(value) else NONE
    if word in ("dsn", "cookie"):
        return NONE  # what is in them has names of its own
    cookie = _COOKIE.search(name.behind) is not None
    if word in _SESSIONS and not (cookie or name.strong):
        return NONE
    if word in ("signature", "sig") and not name.strong and not set("?&") & set(name.behind[-160:]):
        return NONE
    if not is_key(value, strong=True, token=True, least=16):
        return NONE
    kind = "session_cookie" if cookie else "bearer_token" if word in ("bearer", "authorization") else "credential"
    return Parsed(Status.FOUND, begin, end, kind, 0.9)


def _key(text: str, name: _Name, tie: _Tie, begin: int, end: int, quoted: bool) -> Parsed:
    value = text[begin:end]
    sure = name.strong or name.exported
    good = is_key(value, strong=sure, token=name.group == "token", least=12 if name.strong else 16)
    if not good and name.group == "secret" and not tie.prose:
        good = len(value) >= 8 and looks_varied(value) and is_password(value, quoted=quoted, prose=False, firm=False)
    if not good or (name.group == "key" and not sure and not tie.prose and _HEX.fullmatch(value)):
        return NONE
    return Parsed(Status.FOUND, begin, end, _kind(value, name), 0.85 if name.strong else 0.75)


def _kind(value: str, name: _Name) -> str:
    if len(value) == 40 and _AWS.fullmatch(value) and not _HEX.fullmatch(value):
        return "aws_secret_key"
    if (
        _UUID.fullmatch(value)
        and "heroku" in f"{' '.join(name.before)} {' '.join(name.after)} {name.behind[-60:]}".lower()
    ):
        return "heroku_key"
    if _COOKIE.search(name.behind):
        return "session_cookie"
    return {"secret": "generic_secret", "token": "generic_token"}.get(name.group, "generic_api_key")


_JUDGES: Final = {"password": _password, "auth": _credential}


# ---------------------------------------------------------------- addresses with a password in them

_USERINFO: Final = re.compile(r"[^\s/@:\"'<>`]{0,120}:")


def _address(text: str, start: int, stop: int, end: int, final: bool, most: int) -> Parsed:
    """The password in `scheme://user:password@host`."""
    user = _USERINFO.match(text, stop, end)
    if user is None:
        if end - stop > 121 or final or re.compile(r"[^\s/@:\"'<>`]{0,120}[\s/@\"'<>`]").match(text, stop, end):
            return NONE
        return WAITING
    begin = user.end()
    limit = min(end, begin + (most or 160))
    closing = re.compile(r"[^\s\"'<>`]*").match(text, begin, limit)
    stretch = closing.end() if closing else begin
    at = text.find("@", begin, stretch)
    if at < 0:
        slash = text.find("/", begin, stretch)
        if stretch - begin == most:
            long = slash < 0 and looks_random(text[begin:stretch])
            return Parsed(Status.FOUND, begin, stretch, "database_url", 0.95, IN_ADDRESS) if long else NONE
        if final or stretch < limit or limit < end or (slash >= 0 and not most):
            return NONE
        return Parsed(Status.OPEN, begin, stretch)
    if stretch >= end and not final and stretch - begin != most:
        return Parsed(Status.OPEN, begin, stretch)
    host = re.compile(r"[A-Za-z0-9\[$({<%_-]").match(text, at + 1, end)
    last = text.rfind("@", begin, stretch)
    if last != at and not re.search(r"[/?]", text[begin:last]):
        at = last
    password = text[begin:at]
    if (
        host is None
        or not len(password) >= 3
        or ("/" in password and not looks_random(password))
        or placeholder(password)
    ):
        return NONE
    if re.fullmatch(r"(?i:pass(?:word)?|pwd|pw|secret|token)\d{0,3}|[A-Z_]+", password):
        return NONE
    if reference(password) or password.startswith(("$", "{", "<", "%(", "[")):
        return NONE
    scheme = re.search(r"[A-Za-z][A-Za-z0-9+.\-]{1,30}$", text[max(0, start - 32) : start])
    web = scheme is not None and scheme[0].lower() in (
        "http",
        "https",
        "ftp",
        "ftps",
        "sftp",
        "ssh",
        "git",
        "git+https",
        "ws",
        "wss",
    )
    return Parsed(Status.FOUND, begin, at, "basic_auth_url" if web else "database_url", 0.95)
