"""Passwords, keys and tokens in a text: by the form of what is issued, or by the name that stands beside a value.

What is issued with a prefix is known by it. Everything else needs a name next to it (`api_key =`, "Das Passwort lautet") and
a value that looks made by chance. Hashes, ids, placeholders, references to a setting and the examples of vendors'
documentation are none. Nothing is asked of any server: whether a key still works is not known here.

A text may come in pieces: `settle` says of a stretch what is certain whatever follows.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
import zlib
from bisect import bisect_left
from collections import Counter
from functools import cache
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from penstock.types import Finding

__all__ = ["Masked", "Secrets", "looks_random"]

REACH: Final = 240  # characters within which a value follows its name
LONGEST_NAME: Final = 10  # characters of a name in a script without spaces
BEHIND: Final = 200  # characters before a name that say what it is the name of
LONGEST_KEY: Final = 20_000  # characters of a private key in PEM


# ---------------------------------------------------------------- what is issued has a form

W: Final = "[A-Za-z0-9_-]"
A: Final = "[A-Za-z0-9]"
HEX: Final = "[0-9a-fA-F]"
UUID: Final = f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"

# kind, how it begins, how it goes on. The beginnings are looked for all at once; the first form that fits is taken.
FORMS: Final = (
    ("aws_access_key", "(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{4}", r"[A-Z0-9]{12}(?![A-Za-z0-9])"),
    ("github_token", "gh[pousr]_", rf"{A}{{30,255}}"),
    ("github_token", "github_pat_", r"\w{36,255}"),
    ("gitlab_token", "gl(?:pat|dt|rt|rtr|cbt|ptt|ft|imt|agent|soat|oas|ffct|wt)-", r"[\w-]{20,300}(?:\.[\w-]{2,40}){0,3}"),
    ("gitlab_token", "GR1348941", rf"{W}{{20,60}}"),
    ("slack_token", "xox[a-z](?:\\.xox[a-z])?-", r"(?=[A-Za-z-]*\d)[A-Za-z0-9-]{10,300}"),
    ("slack_token", "xapp-", r"\d-[A-Z0-9]{6,20}-\d{6,20}-[0-9a-fA-F]{20,80}"),
    ("slack_webhook", "hooks\\.slack\\.com/", r"(?:services|workflows|triggers)/[A-Za-z0-9_/]{20,120}"),
    ("discord_webhook", "discord(?:app)?\\.com/api/", r"(?:v\d{1,2}/)?webhooks/\d{15,21}/[\w-]{40,90}"),
    ("teams_webhook", "webhook\\.office\\.com/", rf"webhookb?2?/{UUID}@{UUID}/IncomingWebhook/{HEX}{{32}}/{UUID}"),
    ("stripe_key", "(?:sk|rk)_(?:live|test|prod)_", rf"{A}{{16,247}}"),
    ("stripe_key", "whsec_", r"[A-Za-z0-9+/]{24,120}={0,2}"),
    ("anthropic_key", "sk-ant-", r"[\w-]{20,240}"),
    ("openai_key", "sk-(?:proj|svcacct|admin|None|service)-", r"[\w-]{20,240}"),
    ("openrouter_key", "sk-or-", r"(?:v\d-)?[\w-]{20,120}"),
    ("langfuse_key", "sk-lf-", rf"{UUID}"),
    ("openai_key", f"sk-{A}{{10}}", rf"{A}{{10,90}}(?![\w-])"),
    ("google_api_key", "AIza", r"[\w-]{30,45}"),
    ("google_oauth_secret", "GOCSPX-", r"[\w-]{20,60}"),
    ("google_oauth_token", "ya29\\.", r"[\w-]{20,1200}"),
    ("google_oauth_token", "1//0", r"[\w-]{35,200}"),
    ("google_api_key", "AQ\\.Ab", r"[\w-]{30,80}"),
    ("azure_secret", f"{W}{{3}}\\dQ~", r"[\w.~-]{31,34}"),
    ("huggingface_token", "(?:hf|api_org)_", rf"{A}{{30,80}}"),
    ("npm_token", "npm_", rf"{A}{{30,80}}"),
    ("pypi_token", "pypi-", r"(?=[\w-]*[A-Z])(?=[\w-]*\d)[\w-]{40,400}"),
    ("digitalocean_token", "do[opr]_v1_", rf"{HEX}{{40,80}}"),
    ("sendgrid_key", "SG\\.", r"[\w-]{16,32}\.[\w-]{16,64}"),
    ("sendinblue_key", "xkeysib-", r"[0-9a-f]{40,80}-[A-Za-z0-9]{10,24}"),
    ("twilio_key", "(?:SK|AC)[0-9a-f]{8}", r"[0-9a-f]{24}(?![\w-])"),
    ("telegram_bot_token", "\\d{8,10}:[A-Za-z0-9_-]{8}", r"[\w-]{25,40}(?![\w-])"),
    ("discord_token", f"[MNO]{W}{{22,27}}\\.", r"[\w-]{6,7}\.[\w-]{27,45}"),
    ("mailgun_key", "key-[0-9a-f]{8}", r"[0-9a-f]{24}(?![\w-])"),
    ("mailgun_key", "[0-9a-f]{32}-[0-9a-f]{8}-[0-9a-f]{8}", r"(?![\w-])"),
    ("mailchimp_key", "[0-9a-f]{32}-us", r"\d{1,2}(?![\w-])"),
    ("shopify_token", "shp[a-z]{2}_", rf"{A}{{24,64}}"),
    ("square_token", "sq0[a-z]{3}-", r"[\w-]{20,60}"),
    ("square_token", "EAAA[A-Za-z]", r"[\w-]{55,70}(?![\w-])"),
    ("databricks_token", "dapi[0-9a-f]{8}", r"[0-9a-f]{20,40}(?:-\d{1,2})?(?![\w-])"),
    ("heroku_key", "HRKU-", r"[\w-]{30,80}"),
    ("linear_key", "lin_(?:api|oauth)_", rf"{A}{{30,80}}"),
    ("notion_token", "(?:ntn|secret)_", rf"(?=[A-Za-z]*\d){A}{{40,60}}(?!\w)"),
    ("airtable_token", f"pat{A}{{14}}\\.", rf"{HEX}{{60,68}}"),
    ("figma_token", "fig[du]_", r"[\w-]{35,60}"),
    ("postman_key", "PMAK-", r"[0-9a-f]{20,30}-[0-9a-f]{30,40}"),
    ("new_relic_key", "NR(?:AK|JS|II)-", r"[A-Za-z0-9]{19,45}"),
    ("grafana_token", "gl(?:sa|c)_", r"[A-Za-z0-9+/_]{30,400}={0,2}"),
    ("docker_token", "dckr_(?:pat|oat)_", r"[\w-]{20,60}"),
    ("vault_token", "hv[sbr]\\.", r"(?=[\w-]*\d)[\w-]{24,300}"),
    ("terraform_token", f"{A}{{14}}\\.atlasv1\\.", r"[\w-]{40,80}"),
    ("doppler_token", "dp\\.(?:pt|st|ct|sa|scim|audit)\\.", r"(?:[\w-]{2,40}\.)?[A-Za-z0-9]{36,50}"),
    ("planetscale_token", "pscale_(?:tkn|pw|oauth)_", r"[\w.-]{30,70}"),
    ("supabase_token", "sb(?:p|_secret)_", r"[\w-]{20,60}"),
    ("fly_token", "fo1_", r"[\w-]{35,60}"),
    ("fly_token", "fm[12][ar]?_", r"[A-Za-z0-9+/]{60,1000}={0,2}"),
    ("sentry_token", "sntry[su]_", r"[A-Za-z0-9+/=_]{40,400}"),
    ("atlassian_token", "AT(?:ATT|CTT|BB)[A-Za-z0-9]", r"[\w=-]{24,240}"),
    ("dropbox_token", "sl\\.[A-Za-z0-9]", r"[\w-]{60,1300}"),
    ("facebook_token", "EAA[A-Za-z]", rf"(?=[A-Za-z]*\d){A}{{80,300}}"),
    ("twitter_token", "AAAAAAAAAAAAAAAAAAAA", r"[A-Za-z0-9%]{40,140}"),
    ("age_key", "AGE-SECRET-KEY-1", r"[A-Z0-9]{50,64}"),
    ("groq_key", "gsk_", rf"{A}{{32,80}}"),
    ("replicate_token", "r8_", rf"{A}{{30,50}}"),
    ("perplexity_key", "pplx-", rf"{A}{{32,64}}"),
    ("xai_key", "xai-", rf"{A}{{40,100}}"),
    ("fireworks_key", "fw_", rf"(?=[A-Za-z]*\d){A}{{20,40}}(?!\w)"),
    ("langsmith_key", "ls(?:v2)?_{1,2}(?:pt_|sk_)?[0-9a-f]{8}", r"[0-9a-f]{24}(?:_[0-9a-f]{8,12})?"),
    ("pinecone_key", "pcsk_", r"\w{40,100}"),
    ("tavily_key", "tvly-", r"[\w-]{20,60}"),
    ("rubygems_key", "rubygems_", r"[0-9a-f]{40,60}"),
    ("crates_token", "cio[A-Za-z0-9]", rf"(?=[A-Za-z]*\d){A}{{31}}(?!\w)"),
    ("nuget_key", "oy2[a-z0-9]", r"[a-z0-9]{42}(?!\w)"),
    ("alibaba_key", "LTAI[A-Za-z0-9]", rf"{A}{{11,24}}(?!\w)"),
    ("tencent_key", "AKID[A-Za-z0-9]", rf"{A}{{12,39}}(?!\w)"),
    ("yandex_key", "(?:AQVN|YC[AM])[A-Za-z0-9]", r"[\w-]{34,60}"),
    ("plaid_token", "access-(?:sandbox|development|production)-", UUID),
    ("payment_key", "(?:rzp_live_|rzp_test_|FLWSECK[_-]|shippo_live_|shippo_test_|EZ[AT]K|sk_)", rf"(?=[A-Za-z_-]*\d)[\w-]{{14,80}}"),
    ("service_token", "(?:PMAT-|CFPAT-|tfp_|pnu_|pul-|rdme_|tk-us-|dnkey-|phx_|phc_|sgp_|ATLAS-|nfp_|vcp_|vca_|rnd_|key_live_|re_|jina_|nvapi-|voyage-|pk-lf-|bkua_|ops_eyJ|CCIPAT_|tskey-[a-z]+-|dop_|eyJrIjoi)", r"(?=[\w-]*\d)[\w+/=-]{24,900}"),
    ("jwt", "ey[JA-Z][A-Za-z0-9_-]{6}", r"[\w-]{4,3000}\.[\w-]{2,12000}\.[\w-]{10,1400}(?:\.[\w-]{10,4000}\.[\w-]{10,200})?"),
)  # fmt: skip

RULES: Final = tuple((kind, re.compile(begins + goes_on, re.ASCII)) for kind, begins, goes_on in FORMS)

# What vendors print in their documentation, and what nobody would take for a key.
EXAMPLES: Final = (
    "AKIAIOSFODNN7EXAMPLE", "AKIAI44QH8DHBEXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c", "TJVA95OrM7E2cBab30RMHrHDcEfxjoYZgeFONFh7HgQ",
    "dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U", "4eC39HqLyjWDarjtT1zdp7dc", "BQokikJOvBiI2HlWgH4olfQ2",
    "T00000000/B00000000", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq",  # the storage emulator's
    "AIzaSyDaGmWKa4JsXZ-HjGw7ISLn_3namBGewQe", "dQw4w9WgXcQ",
)  # fmt: skip
_PLACEHOLDER: Final = re.compile(
    r"example|sample|placeholder|change[-_]?me|change[-_]?this|replace[-_]?(?:me|with|this)|redacted|masked|dummy|"
    r"insert[-_ ]|your[-_]|your(?=[A-Z])|\byour|[-_]here\b|<[^>]*>|x{4,}|\*{3,}|\.{3}|…|•{2,}|#{4,}|_{4,}|-{6,}|"
    r"^(?:todo|tbd|fixme|null|none|nil|undefined|true|false|unset|empty|foo|bar|baz|foobar|test|testing|demo|fake|mock|"
    r"secret|password|passwd|pass|token|key|value|string|default|n/?a|hidden|private|admin|user|username|root|"
    r"(?:my|the|some|a|test|fake|demo|new|old|user|db|super|my[-_]?super)[-_]?(?:secret|password|passwd|pass|token|api[-_]?key|key|pw|pwd)"
    r"(?:[-_]?(?:key|token|value|here|\d{1,3}))?)$|"
    r"0123456789|1234567890|abcdefgh|abcd1234|(?:deadbeef){2}|(?:cafebabe){2}",
    re.IGNORECASE,
)
_REFERENCE: Final = re.compile(
    r"^\$\{|^\$\(|^\{\{|^\{%|^<%|^%\(|^%[A-Za-z_]\w*%$|^\$[A-Z_][A-Z0-9_]*$|^\$[a-z_]+$|^\$env:|^\$[A-Za-z_]+(?:\.|->|\[)|^@@?[A-Za-z_]+$|"
    r"^#\{|^\{[A-Za-z_][\w.]*\}$|^(?:env|vault|op|ssm|arn|ref\+\w+|secretsmanager|keyring|file|projects?|kms|sops|asm|gcp|aws|gsm|akv)(?::|/)|"
    r"^!(?:vault|Ref|Sub|GetAtt|Secret|ImportValue|Join|env)\b|^ENC\[|^%[sdrvq]$|^:\w+$|^\?$|^os\.|^process\.|^System\.|^(?:self|this|cls|config|settings|secrets?|env|args|opts?|options|params?|request|req|"
    r"ctx|context|data|form|body|user|row|obj|app|cfg|conf|client|session|props|state|input|event|credentials?|creds|"
    r"var|local|module|vars|values?|Deno|Bun|import|std|builtins?)[.\[(?]|"
    r"^[A-Za-z_][\w.:>-]*[(\[]|^await\b|^new\b|^function\b|^lambda\b"
)
_CODE_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_-]*(?:(?:\.|::|->)[A-Za-z_]\w*)*")
_TYPES: Final = re.compile(
    r"(?:&?'?(?:static|mut)?\s?)?(?:Optional|Option|Union|Final|Annotated|Secret)?[<\[]?\b(?:str|string|bytes|text|char|varchar|any|object|"
    r"SecretStr|Text|int|number|bool|boolean|unknown|password|keyword)\b(?:\(\d+\))?\*?[>\]]?\??(?:\s?\|\s?\w+)?",
    re.IGNORECASE,
)
_TECHNICAL: Final = re.compile(
    r"(?:sha|md|aes|rsa|des|crc|ed|ecdsa|hmac|argon|bcrypt|scrypt|pbkdf|base|utf|utf-|iso|wpa|rfc|tls|ssl|http|oauth|v|p|rc|hs|rs|es|ps|oidc|"
    r"ripemd|blake|k|s|ipv|ec|nist|fips|pkcs|u|chacha|poly|win|mp|h|i|ntlmv|kerberos|saml|scram)-?\d{1,5}[a-z]{0,3}(?:[-_/.](?:[A-Za-z]{1,6}|\d{1,4})){0,3}|"
    r"\d+(?:[-–](?:character|char|digit|day|hour|minute|bit|byte|letter|symbol|time|factor|step|word|year|week|month|zeichen|stellig)\w*|"
    r"(?:st|nd|rd|th|px|ms|kb|mb|gb|s|m|h|d|x|%|fa)?)|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ]?[\d:.Z+-]*)?|\d{1,2}:\d{2}(?::\d{2})?|[\d.,]+",
    re.IGNORECASE,
)
_UUID: Final = re.compile(UUID)
_HEX: Final = re.compile(r"(?:0x)?[0-9a-fA-F]+")
_HASH_NAMED: Final = re.compile(r"(?:sha\d*|md5|sha\d*-|blake\w*|crc\w*|etag|w/)[:\-=_$]", re.IGNORECASE)
_OPAQUE: Final = re.compile(r"[A-Za-z0-9_\-./+=~:%@!$^*&#|?,;]+")


def placeholder(value: str) -> bool:
    """Whether a value only stands where a secret would, or says where to get it."""
    if any(example in value for example in EXAMPLES) or _PLACEHOLDER.search(value) or _REFERENCE.match(value):
        return True
    return len(set(value)) <= max(2, len(value) // 8)


def entropy(value: str) -> float:
    """Bits per character, by how often each occurs in the value itself."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())


_SWITCH: Final = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|[0-9](?=[A-Za-z])")
_LETTERS: Final = re.compile(r"[A-Za-z][a-z]{3,}|[A-Z]{5,}")
_PAIRS: Final = frozenset(  # the letters that follow each other in words: a third of all pairs
    (
        "ab ac ad ag ai ak al am an ap ar as at au ay ba be bl bo by ca ce ch ci ck cl co cr ct cu da dd de di do dr ds dy ea "
        "ec ed ee ef eg ei el em en ep eq er es et ev ew ex ey fa fe fi fl fo fr fu ga ge gh gi gr gs gu ha he hi ho ht ia ic "
        "id ie ig il im in io ip ir is it iv js ke ki la ld le lf li ll lo ls lt lu ma mb me mi mo mp na nc nd ne ng ni nn no "
        "ns nt nu ny oa ob oc od og oi ok ol om on oo op or os ot ou ov ow pa pe pi pl po pp pr ps pt pu qu ra rc rd re rg ri "
        "rk rm rn ro rr rs rt ru ry sa sc se sh si sk so sp ss st su sw sy ta tc te th ti to tr ts tt tu ty ua ud ue ul um un "
        "up ur us ut va ve vi wa we wh wi wn wo wr ws xt yp ys yt ze "
    ).split()
)


def looks_random(value: str) -> bool:
    """Whether a value was made by chance: many kinds of characters, often changing, few of them in words."""
    size = len(value)
    if size < 12 or not any(c.isdigit() for c in value) or not any(c.isalpha() for c in value):
        return False
    if len(set(value)) < min(9, size // 2) or entropy(value) < min(3.0, math.log2(size) * 0.75):
        return False
    solid = re.sub(r"[^A-Za-z0-9]", "", value)
    if len(solid) < 10 or len(_SWITCH.findall(solid)) < len(solid) * 0.16:
        return False
    return sum(len(word) for word in _LETTERS.findall(value) if _is_word(word.lower())) <= size * 0.45


def _is_word(letters: str) -> bool:
    """Whether letters follow each other as they do in words."""
    return sum(letters[n : n + 2] in _PAIRS for n in range(len(letters) - 1)) >= 0.75 * (len(letters) - 1)


# ---------------------------------------------------------------- what is named

_WORDS: Final = {
    "password": (
        "password|passwords|passwd|passphrase|passcode|passwort|passwörter|passwrd|paswd|kennwort|zugangscode|pwd|pswd|psw|contraseña|contrasena|"
        "passe|senha|wachtwoord|hasło|haslo|hasłem|hasła|lösenord|losenord|adgangskode|kodeord|passord|salasana|jelszó|jelszo|"
        "heslo|heslem|parola|parolă|şifre|şifresi|sifre|parolası|пароль|пароля|паролем|паролю|κωδικός|κωδικό|סיסמה|הסיסמה|"
        "السر|المرور|पासवर्ड|รหัสผ่าน|khẩu|clave|密码|密碼|口令|パスワード|비밀번호|암호|패스워드|pass|pw|pin|puk|identified"
    ),
    "secret": "secret|secrets|geheimnis|secreto|segredo|секрет|密钥|密鑰|秘钥|秘密鍵|시크릿",
    "token": "token|tokens|jeton|токен|токена|令牌|トークン|토큰|jwt|pat",
    "key": "key|keys|apikey|schlüssel|llave|chave|chiave|clé|cle|ключ|sleutel|klucz|nyckel|anahtar|キー",
    "auth": "auth|bearer|basic|authorization|credential|credentials|cred|creds|cookie|session|sessionid|sid|sessid|signature|sig|dsn|u|user",
}  # fmt: skip
_CLASS: Final = {word: kind for kind, words in _WORDS.items() for word in words.split("|")}
_CJK: Final = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef"
_IN_CJK: Final = re.compile(f"[{_CJK}]")

_REJECT_AFTER: Final = frozenset(
    "hash hashed hashes path file filename policy policies length len type types url uri endpoint count limit limits name names id ids field fields label hint "
    "expires expiry expired expiration ttl arn ref reference regex pattern column digest algorithm algo format min max prompt reset forgot forgotten "
    "change manager required requirements strength rules rule validator provider prefix suffix version size usage page link form box "
    "placeholder title message error help text icon class style protected encoder generator holder rotation agent alias map names "
    "store storage less word words board pair ring stroke frame chain note point space tab vault age event events press code codes up down "
    "bits index schema fingerprint thumbprint checksum created updated issued at date time by for verification verify confirmation iat exp aud scope scopes based "
    "free ize izer ization ized tokens_total total used per_second budget window bucket usages attempt attempts enabled disabled env envvar var variable "
    "timeout interval grant server service_url host port user username salt iterations rounds cost dir directory folder location".split()
)
_REJECT_BEFORE: Final = frozenset(
    "public pub publishable cache primary foreign sort partition idempotency index object row lookup i18n translation site hot registry product dedupe "
    "dict map json shift next previous prev continuation cursor sync max num total count input output prompt completion design hash checksum fingerprint "
    "commit build surrogate natural composite unique candidate group routing message event span trace correlation request-id arrow any press stop bos eos "
    "pad unk sep cls mask special eof new_line issue ticket order tracking invoice reference ref file column field property attribute host known ec etag "
    "reset-link bundle locale resource musical legend answer keyword house car turn".split()
)
_STRONG_BEFORE: Final = frozenset(
    "api access secret private auth authentication encryption encrypt decryption signing sign master client service shared storage app application bot deploy webhook admin "
    "root subscription consumer license licence personal refresh bearer id security session cookie db database account user developer server live prod production "
    "heroku twilio datadog dd algolia stripe aws azure gcp google openai anthropic github gitlab slack discord telegram npm pypi sendgrid mailgun mailchimp "
    "shopify square cloudflare cf jira jenkins sonar circleci travis codecov snyk okta auth0 firebase supabase vercel netlify render fly digitalocean do linode vultr "
    "hf huggingface cohere mistral groq deepseek together replicate pinecone weaviate qdrant openrouter databricks snowflake newrelic sentry rollbar "
    "pagerduty opsgenie zendesk hubspot salesforce intercom segment mixpanel amplitude mapbox bing serp tavily flask django rails jwt hmac crypto aes geheimer privater "
    "api-key apikey x ssh deployment integration oauth oauth2 csrf xsrf zugriffs".split()
)

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_À-ɏ.$@-]*")
_PARTS: Final = re.compile(r"[A-ZÀ-Þ]?[a-zß-ɏ]+|[A-ZÀ-Þ]+(?![a-zß-ɏ])|\d+")
_REST: Final = re.compile(r"[A-Za-z0-9_À-ɏ-]{0,40}")
_STRUCTURED: Final = re.compile(
    r"(?P<close>(?:\\?[\"'`]|[\])*_]){0,4})[ \t\u00a0]{0,12}\??(?P<sep>:=|=>|->|={1,3}|!=|\?=|\+=|[:：＝](?!//)|,|\(|>|\|)[*_]{0,3}(?P<gap>[ \t\u00a0]{0,8}\n?[ \t]{0,12})"
)
_VALUED: Final = re.compile(
    r"[\"'`]{0,2}[\s,}]{0,24}(?:<value>|[\"']?value[\"']?\s{0,3}(?:[:=]|=>)\s{0,3}|<string>)", re.IGNORECASE
)
_COPULAS: Final = (
    "is|was|are|be|being|remains|becomes|equals|as|to|ist|lautet|war|wäre|sei|heißt|est|sera|était|reste|es|era|será|sigue|é|è|sarà|fica|"
    "är|er|blir|on|oli|jest|to|brzmi|było|je|este|olan|هو|هي|है|là|это|—|–|-|=>|->|=|είναι|הוא|היא|คือ|van|ni"
)
_PROSE: Final = re.compile(
    r"(?:[ \t]+(?!(?:and|or|but|und|oder|y|et|e|o|i|en|of-the|must|should|can|cannot|may|needs?|has|have|muss|sollte|debe|doit|deve)[ \t])"
    r"[^\s:：=,;!?\"'`()<>{}|]{0,23}[^\s:：=,;!?\"'`()<>{}|.]){0,6}?"
    rf"(?:[ \t]{{0,2}}[:：=][*_]{{0,3}}|[ \t]+(?:{_COPULAS})(?:[:：])?(?=[\s\"'`“«„「]))"
    r"(?:[ \t]+(?:now|currently|still|simply|just|set[ \t]to|going[ \t]to[ \t]be|aktuell|jetzt|nun|weiterhin|maintenant|actuellement|ahora|agora|ora|adesso|nu|teraz|теперь|сейчас|şimdi)\b:?)?"
    r"[ \t\u00a0]{0,8}\n?[ \t]{0,8}",
    re.IGNORECASE,
)
_CJK_PROSE: Final = re.compile(
    rf"[\"'`」』”’]?(?:[\u3040-\u30ff\u4e00-\u9fff\uac00-\ud7a3\u0e00-\u0e7f]{{0,8}}?(?:は|是|为|為|은|는|이|가|を|成|到|คือ|[:：=＝]))(?:[ \t]{{0,2}}[:：])?[ \t\u3000]{{0,4}}\n?"
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
    r"(?![({\[|)}\]])(?:[^\s\"'`<>,;)\]}|(\[{“”„«»「」\u3000-\u303f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]|[)\]}|(\[{](?=[A-Za-z0-9@#%^&*!$]))+"
)
_COMMAND: Final = re.compile(r"(?:--?[\w-]{0,40}|sshpass[ \t]{1,3}-)$")
_LOGIN: Final = re.compile(r"\b(?:login|machine|default|user|username)[ \t]\S{1,80}[ \t]{1,3}$", re.IGNORECASE)
_FETCH: Final = re.compile(r"\b(?:curl|wget|http|https|httpie)\b[^\n]{0,180}[ \t]-{1,2}$")
_BY: Final = re.compile(r"[ \t]+by[ \t]+", re.IGNORECASE)
_COOKIE: Final = re.compile(r"cookie", re.IGNORECASE)


class _Status:
    NONE, WAITING, OPEN, FOUND = range(4)


class _Parsed(NamedTuple):
    status: int
    start: int = 0
    end: int = 0
    kind: str = ""
    score: float = 0.0


_NONE: Final = _Parsed(_Status.NONE)
_WAITING: Final = _Parsed(_Status.WAITING)


def _value(text: str, start: int, end: int, final: bool, *, narrow: bool = False) -> tuple[int, int, int, bool]:
    """Status, where the value begins and ends, whether it is quoted. Whatever follows does not change what is FOUND."""
    at = start
    escaped = text.startswith("\\", at)
    if escaped:
        at += 1
    if at >= end:
        return (_Status.NONE if final else _Status.WAITING), at, at, False
    closing = _QUOTES.get(text[at])
    if closing is not None:
        if text.startswith(text[at] * 3, at) and not escaped:
            at += 2
        at += 1
        stop = at
        limit = min(end, at + 200)
        while True:
            stop = text.find(closing, stop, limit)
            line = text.find("\n", at, limit if stop < 0 else stop)
            if line >= 0:
                return _Status.NONE, at, line, True
            if stop < 0:
                if limit < end or final:
                    return (
                        (_Status.FOUND, at, limit, True)
                        if final and limit - at >= 6
                        else (_Status.NONE, at, limit, True)
                    )
                return _Status.OPEN, at, limit, True
            if text[stop - 1] == "\\" and not escaped and stop > at:
                stop += 1
                continue
            return _Status.FOUND, at, stop - (1 if escaped and text[stop - 1] == "\\" else 0), True
    found = _BARE.match(text, at, min(end, at + 300))
    if found is None:
        return _Status.NONE, at, at, False
    stop = found.end()
    if stop >= end and not final:
        return _Status.OPEN, at, stop, False
    if stop < end and stop + 1 >= end and not final and text[stop] in ")]}|([{":
        return _Status.OPEN, at, stop, False
    value = text[at:stop]
    if narrow:
        cut = re.search(r"[^!-~]", value)
        value = value[: cut.start()] if cut else value
    joined = re.search(r"[&;](?=[\w.-]{1,40}=)", value)
    if joined:
        value = value[: joined.start()]
    value = value.rstrip(".,:…") if not value.endswith("==") else value
    if value.endswith("\\n"):
        value = value[:-2]
    return _Status.FOUND, at, at + len(value.rstrip("\\")), False


def _is_password(value: str, *, quoted: bool, prose: bool, firm: bool) -> bool:
    """firm: assigned to a name that says password, rather than told in a sentence or under a lesser name."""
    size = len(value)
    if not 4 <= size <= 128 or " " in value or placeholder(value) or _HASH_NAMED.match(value):
        return False
    if _TECHNICAL.fullmatch(value):
        return firm and value.isdigit() and 6 <= size <= 14
    letters = sum(c.isalpha() for c in value)
    digits = sum(c.isdigit() for c in value)
    signs = size - letters - digits
    if "://" in value or value.startswith(("/", "./", "../", "~/", "http")) and "/" in value[1:]:
        return False
    if not letters:
        return digits >= 4 and signs >= 1 and size >= 7 and firm
    if not digits:
        if signs and not _CODE_WORD.fullmatch(value):
            odd = sum(not c.isalnum() and c not in "-_.'’/" for c in value[:-1])
            return odd >= 1 and size >= 8 and (value != value.lower() or odd >= 2 or quoted)
        if signs:
            return False
        if size < 8:
            return False
        switches = len(_SWITCH.findall(value))
        return switches >= size * 0.3 and (quoted or firm or prose)
    if size < 6 and not (prose and size >= 5):
        return False
    if signs and not quoted and re.fullmatch(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)+", value) and not looks_random(value):
        return False
    if re.fullmatch(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", value) and not firm:
        return False
    if re.fullmatch(r"(?:[A-Za-z]+[_-]){1,6}(?:v|id|no|nr)?\d{1,2}", value) and not quoted:
        return False
    if "_" in value and not quoted and re.fullmatch(r"[a-z_]+\d{0,2}(?:_[a-z]+)*", value):
        return False
    return not (_UUID.fullmatch(value) and not firm)


def _is_key(value: str, *, strong: bool, token: bool, least: int) -> bool:
    size = len(value)
    if not least <= size <= 2000 or not _OPAQUE.fullmatch(value) or placeholder(value) or _HASH_NAMED.match(value):
        return False
    if "://" in value or value.startswith(("/", "./", "../", "~/")) or re.search(r"\.\w{1,5}$", value) and "/" in value:
        return False
    labelled = re.fullmatch(r"[a-z]{2,12}[-_:/.](.{16,})", value)
    if labelled and not strong and (_HEX.fullmatch(labelled[1]) or _UUID.fullmatch(labelled[1])):
        return False
    if _UUID.fullmatch(value):
        return strong or token
    if _HEX.fullmatch(value):
        return (strong and size >= 20 or token and size >= 32) and not value.isdigit() and len(set(value)) >= 8
    if any(c.isdigit() for c in value):
        return looks_random(value)
    switches = len(_SWITCH.findall(value))
    return strong and size >= 20 and switches >= size * 0.3 or size >= 32 and switches >= size * 0.35


def _encoded_credentials(value: str) -> bool:
    try:
        plain = base64.b64decode(value + "=" * (-len(value) % 4), validate=True).decode()
    except (ValueError, binascii.Error):
        return False
    name, _, password = plain.partition(":")
    return bool(
        name
        and len(password) >= 4
        and plain.isprintable()
        and not placeholder(password)
        and password.lower() not in ("password", "open sesame")
    )


def _read(text: str, start: int, stop: int, end: int, final: bool) -> _Parsed:
    """What follows the word text[start:stop], which names secrets. end: as far as the text is known."""
    word = text[start:stop].lower()
    if word == "://":
        return _address(text, start, stop, end, final)
    group = _CLASS.get(word, "key")
    cjk = _IN_CJK.match(word) is not None
    left = start
    least = max(0, start - 48)
    if not cjk:
        while (
            left > least
            and (text[left - 1].isalnum() or text[left - 1] in "_-.$@")
            and not _IN_CJK.match(text[left - 1])
        ):
            left -= 1
    rest = _REST.match(text, stop, min(end, stop + 41)) if not cjk else None
    name_end = rest.end() if rest else stop
    if name_end >= end and not final and not cjk:
        return _WAITING
    before = [part.lower() for part in _PARTS.findall(text[left:start])]
    after = [part.lower() for part in _PARTS.findall(text[stop:name_end])]
    if (
        start > left
        and text[start - 1].isalpha()
        and text[start].islower()
        and text[start - 1].islower()
        and word
        not in (
            "passwort",
            "password",
            "wort",
            "kennwort",
            "wachtwoord",
            "key",
            "token",
            "secret",
            "schlüssel",
            "sleutel",
            "apikey",
        )
    ):
        return _NONE  # inside another word
    if any(part in _REJECT_AFTER for part in after):
        return _NONE
    behind = text[max(0, left - BEHIND) : left]
    if left == start and not before:
        spoken = re.search(r"([A-Za-zÀ-ɏ]{2,14})[ -]([A-Za-zÀ-ɏ]{1,12}[ -])?$", behind[-30:])
        if spoken:
            before = [part.strip(" -").lower() for part in spoken.groups() if part]
    if group != "password" and any(part in _REJECT_BEFORE for part in before):
        return _NONE
    if word in ("pass", "pw", "pat", "pin", "puk", "u", "sid", "sig", "cle", "user", "psw") and (
        text[stop:name_end].strip("_-0123456789") or (start > left and text[start - 1].isalnum())
    ):
        return _NONE
    if word in ("u", "user") and not _FETCH.search(behind[-190:] + text[left:start]):
        return _NONE
    if (
        word in ("passe", "السر", "المرور", "khẩu")
        and not before
        and word == "passe"
        and not behind.rstrip().lower().endswith(("de", "mot"))
    ):
        return _NONE
    strong = group == "secret" or word in ("apikey",) or any(part in _STRONG_BEFORE for part in (*before, *after))
    exported = (
        text[left:name_end].upper() == text[left:name_end]
        and re.search(r"\b(?:export|ENV|set|setx)[ \t]+$", behind[-12:]) is not None
    )

    # how the value is tied to the name
    narrow = prose = False
    tie = _STRUCTURED.match(text, name_end, end)
    where = -1
    if tie is not None:
        sep, close = tie["sep"], tie["close"]
        where = tie.end()
        if sep in ("!=", "+="):
            return _NONE
        if where >= end and not final:
            return _WAITING
        if sep in (",", "("):
            callable_name = re.match(
                r"(?:with|set|use|add|put|get)", text[left:start].lstrip("._").rsplit(".", 1)[-1], re.IGNORECASE
            )
            if (sep == "," and not re.search(r"[\"'`]", close)) or (
                sep == "(" and not callable_name and word != "identified"
            ):
                where = -1
            elif where < end and text[where] not in _QUOTES:
                return _NONE
        elif sep == ">" and text[max(0, left - 1) : left] != "<" and "<" not in behind[-80:]:
            where = -1
        if where >= 0 and sep in (":", "：", "=", "＝"):
            typed = _TYPES.match(text, where, min(end, where + 40))
            if typed and typed.end() > where:
                beyond = re.compile(r"[ \t]*").match(text, typed.end(), end)
                spot = beyond.end() if beyond else typed.end()
                if spot >= end and not final:
                    return _WAITING
                again = re.compile(r"={1}(?!=)[ \t]{0,4}").match(text, spot, end)
                if again and sep in (":", "："):
                    where = again.end()
                    if where >= end and not final:
                        return _WAITING
        if "\n" in tie["gap"] and sep not in (":", "：", "|", ">"):
            return _NONE
    if where < 0:
        valued = _VALUED.match(text, name_end, end)
        if valued is not None:
            where = valued.end()
        elif cjk:
            spoken_tie = _CJK_PROSE.match(text, name_end, end)
            if spoken_tie is not None:
                where, narrow, prose = spoken_tie.end(), True, True
            elif (direct := _DIRECT.match(text, name_end, end)) or text[name_end : name_end + 1] in _QUOTES:
                where, prose = (direct.end() if direct else name_end), True
        else:
            flagged = text[left : left + 2] == "--" or (text[left : left + 1] == "-" and left + 1 == start)
            spaced = _SPACED.match(text, name_end, end)
            if word == "identified":
                by = _BY.match(text, name_end, end)
                where = by.end() if by else -1
            elif spaced and (
                flagged or word in ("bearer", "basic") or _LOGIN.search(behind) or (exported and "ENV" in behind[-12:])
            ):
                where = spaced.end()
            if where < 0:
                spoken_tie = _PROSE.match(text, name_end, min(end, name_end + REACH))
                if spoken_tie is not None:
                    where, prose = spoken_tie.end(), True
                elif group == "password" and (direct := _DIRECT.match(text, name_end, end)):
                    where, prose = direct.end(), True
    if where < 0:
        known = min(end, name_end + REACH)
        broken = text.find("\n\n", name_end, known) >= 0
        return _NONE if final or broken or end - name_end > REACH else _WAITING
    if where >= end:
        return _NONE if final else _WAITING
    if prose and text.startswith(("**", "__"), where):
        where += 2
    if word == "basic" or word == "bearer" or group == "auth":
        scheme = re.compile(r"(?:Bearer|Basic|Token|token|ApiKey|Digest|AWS4-HMAC-SHA256)[ \t]+", re.IGNORECASE).match(
            text, where, end
        )
        if scheme:
            where = scheme.end()
            if where >= end:
                return _NONE if final else _WAITING
        elif re.compile(r"(?:Bearer|Basic|Token|ApiKey|Digest)$", re.IGNORECASE).match(text, where, end):
            return _NONE if final else _WAITING
    status, begin, finish, quoted = _value(text, where, end, final, narrow=narrow)
    if status != _Status.FOUND:
        return _Parsed(status, begin, finish)
    value = text[begin:finish]
    firm = not prose
    if group == "password":
        if word == "pin" or word == "puk":
            good = value.isdigit() and 4 <= len(value) <= 8 and (prose or firm)
        else:
            good = _is_password(value, quoted=quoted, prose=prose, firm=firm)
        if good:
            return _Parsed(
                _Status.FOUND, begin, finish, "prose_password" if prose else "password_assign", 0.9 if firm else 0.85
            )
        return _NONE
    if group == "auth":
        if word in ("u", "user"):
            name, colon, password = value.partition(":")
            if colon and name and _is_password(password, quoted=quoted, prose=False, firm=True):
                return _Parsed(_Status.FOUND, begin + len(name) + 1, finish, "basic_auth", 0.9)
            return _NONE
        if (
            word == "basic"
            or re.search(r"basic[ \t]+$", text[max(0, begin - 9) : begin], re.IGNORECASE)
            or word == "auth"
            and _encoded_credentials(value)
        ):
            return _Parsed(_Status.FOUND, begin, finish, "basic_auth", 0.9) if _encoded_credentials(value) else _NONE
        if word == "dsn":
            return _NONE
        in_cookie = word == "cookie" or _COOKIE.search(behind) is not None
        if word in ("session", "sessionid", "sid", "sessid", "cookie") and not in_cookie and not strong:
            return _NONE
        if word == "cookie":
            return _NONE  # the names inside it say which of its values count
        if word in ("signature", "sig") and not strong and "?" not in behind[-160:] and "&" not in behind[-160:]:
            return _NONE
        good = _is_key(value, strong=True, token=True, least=16)
        kind = (
            "session_cookie" if in_cookie else "bearer_token" if word in ("bearer", "authorization") else "credential"
        )
        return _Parsed(_Status.FOUND, begin, finish, kind, 0.9) if good else _NONE
    cookie = _COOKIE.search(behind) is not None
    told = prose or tie is not None and tie["sep"] in (":", "：")
    good = (
        _is_key(
            value,
            strong=strong or exported,
            token=group == "token" and (told or strong or exported),
            least=12 if strong else 16,
        )
        or strong
        and group == "secret"
        and firm
        and _is_password(value, quoted=quoted, prose=False, firm=False)
        and len(value) >= 8
        and looks_varied(value)
        or group == "token"
        and _is_key(value, strong=False, token=True, least=16)
    )
    if group == "key" and not strong and not exported and not prose and _HEX.fullmatch(value):
        good = False
    if not good:
        return _NONE
    label = " ".join((*before, word, *after))
    if len(value) == 40 and re.fullmatch(r"[A-Za-z0-9/+]{40}", value) and not _HEX.fullmatch(value):
        kind = "aws_secret_key"
    elif _UUID.fullmatch(value) and "heroku" in (label + behind[-60:]).lower():
        kind = "heroku_key"
    elif cookie:
        kind = "session_cookie"
    else:
        kind = {"secret": "generic_secret", "token": "generic_token", "key": "generic_api_key"}[group]
    return _Parsed(_Status.FOUND, begin, finish, kind, 0.85 if strong else 0.75)


def looks_varied(value: str) -> bool:
    """Letters and digits or signs in several turns: a short secret rather than a word with a number."""
    return len(_SWITCH.findall(value)) + sum(not c.isalnum() for c in value) >= 3


_USERINFO: Final = re.compile(r"[^\s/@:\"'<>`]{0,120}:")
_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{1,30}$")


def _address(text: str, start: int, stop: int, end: int, final: bool) -> _Parsed:
    """The password in `scheme://user:password@host`."""
    user = _USERINFO.match(text, stop, end)
    if user is None:
        if end - stop > 121 or final or re.compile(r"[^\s/@:\"'<>`]{0,120}[\s/@\"'<>`]").match(text, stop, end):
            return _NONE
        return _WAITING
    begin = user.end()
    limit = min(end, begin + 160)
    closing = re.compile(r"[^\s\"'<>`]*").match(text, begin, limit)
    stretch = closing.end() if closing else begin
    at = text.find("@", begin, stretch)
    if at < 0:
        slash = text.find("/", begin, stretch)
        if final or stretch < limit or limit < end or slash >= 0:
            return _NONE
        return _Parsed(_Status.OPEN, begin, stretch)
    if stretch >= end and not final:
        return _Parsed(_Status.OPEN, begin, stretch)
    host = re.compile(r"[A-Za-z0-9\[$({<%_-]").match(text, at + 1, end)
    last = text.rfind("@", begin, stretch)
    if last != at and not re.search(r"[/?]", text[begin:last]):
        at = last
    password = text[begin:at]
    if (
        host is None
        or not 3 <= len(password)
        or "/" in password
        and not looks_random(password)
        or placeholder(password)
    ):
        return _NONE
    if re.fullmatch(r"(?i:pass(?:word)?|pwd|pw|secret|token)\d{0,3}|[A-Z_]+", password):
        return _NONE
    if _REFERENCE.match(password) or password.startswith(("$", "{", "<", "%(", "[")):
        return _NONE
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
    return _Parsed(_Status.FOUND, begin, at, "basic_auth_url" if web else "database_url", 0.95)


# ---------------------------------------------------------------- private keys

_PEM: Final = re.compile(
    r"-----BEGIN (?:[A-Z0-9]+ ){0,4}PRIVATE KEY(?: BLOCK)?-----|PuTTY-User-Key-File-\d: |---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----"
)
_PEM_BODY: Final = re.compile(
    r"(?:\s|\\+[nrt]|[\"'+,>|]|(?:Proc-Type|DEK-Info|Version|Comment|Encryption|Public-Lines|Private-Lines|Private-MAC)[^\n]{0,120}(?:\n|\\n))*"
)
_PEM_TEXT: Final = re.compile(r"[A-Za-z0-9+/=]{24,}|[A-Za-z0-9+/=]{4,}(?:\s|\\n)+[A-Za-z0-9+/=]{16,}")
_PEM_ALL: Final = re.compile(r"(?:[A-Za-z0-9+/=\s\"',:.()>|-]|\\+[nrt])*")


def _private_keys(text: str) -> list[tuple[int, int, str]]:
    found = []
    at, last_end = 0, None
    while (header := _PEM.search(text, at)) is not None:
        body = _PEM_BODY.match(text, header.end(), header.end() + 400)
        inside = body.end() if body else header.end()
        at = header.end()
        if _PEM_TEXT.match(text, inside, inside + 120) is None or placeholder(text[inside : inside + 40]):
            continue
        if last_end is None or last_end[0] < header.end():
            close = re.compile(r"-----END [A-Z0-9 ]{0,40}-----|Private-MAC: [0-9a-f]{1,80}").search(text, header.end())
            last_end = (close.start(), close.end()) if close else (len(text) + 1, len(text))
        if last_end[0] <= header.end() + LONGEST_KEY:
            at = last_end[1]
        else:
            rest = _PEM_ALL.match(text, inside, inside + LONGEST_KEY)
            at = rest.end() if rest else inside
        found.append((header.start(), at, "private_key"))
    return found


# ---------------------------------------------------------------- the whole


@cache
def _beginnings() -> Any:
    import re2

    options = re2.Options()
    options.max_mem = 64 << 20
    return re2.compile(r"\b(?:" + "|".join(f"(?:{begins})" for _, begins, _ in FORMS) + ")", options)


@cache
def _names() -> Any:
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


def _jwt(value: str) -> bool:
    head, _, rest = value.partition(".")
    try:
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return False
    if not isinstance(header, dict) or not ({"alg", "typ", "enc", "kid"} & header.keys()):
        return False
    if "enc" in header:
        return True
    body = rest.partition(".")[0]
    try:
        return isinstance(json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))), dict)
    except (ValueError, binascii.Error, RecursionError):
        return False


_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checksum_holds(token: str) -> bool:
    """Whether the last six characters of a GitHub or npm token are the CRC-32 of those before, in base 62."""
    _, _, body = token.rpartition("_")
    number, digits = zlib.crc32(body[:-6].encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0") == body[-6:]


def _form(text: str, start: int, end: int) -> tuple[str, int, float] | None:
    """Kind, end and score of what is issued in this form and begins here."""
    for kind, rule in RULES:
        found = rule.match(text, start, end)
        if found is None:
            continue
        value = found[0]
        if kind == "jwt":
            if not _jwt(value) or placeholder(value.rpartition(".")[2]):
                continue
        elif placeholder(value) or any(example in value for example in EXAMPLES):
            return "", found.end(), 0.0
        elif kind in (
            "azure_storage_key",
            "payment_key",
            "service_token",
            "fireworks_key",
            "crates_token",
            "openai_key",
            "dropbox_token",
        ) and not looks_random(value):
            continue
        elif kind == "aws_access_key" and not any(c.isdigit() for c in value[4:]) and not looks_upper(value):
            continue
        sure = 0.99 if kind in ("github_token", "npm_token") and checksum_holds(value) else 0.95
        return kind, found.end(), sure
    return None


def looks_upper(value: str) -> bool:
    """Sixteen capitals without a digit are a word now and then, but never one with so few vowels."""
    return sum(c in "AEIOU" for c in value[4:]) <= 6


class Settled(NamedTuple):
    """What is certain of a stretch: the secrets in it, as (start, end, kind, score), and what must wait."""

    found: list[tuple[int, int, str, float]]
    waiting: list[tuple[int, int]]  # names whose value has not come yet
    hold: int  # from here on a value is being written


def settle(text: str, start: int, end: int, names: list[tuple[int, int]], *, final: bool) -> Settled:
    """What text[start:end] holds, where text[:start] was settled before. names: those that waited then, by start and end.

    end must stand where no issued form goes on. What is found does not depend on where a text was cut.
    """
    found = []
    at = start
    for begin in _beginnings().finditer(text, start, end):
        spot = begin.start()
        if spot < at or (spot and text[spot - 1] in "_" and False):
            continue
        form = _form(text, spot, end)
        if form is not None:
            at = form[1]
            if form[0]:
                found.append((spot, form[1], form[0], form[2]))
    waiting, hold = [], end
    fresh = ((m.start(), m.end()) for m in _names().finditer(text, max(0, start - LONGEST_NAME), end))
    for name in (*names, *(name for name in fresh if name[1] > start)):  # a name in a script without spaces may be cut
        parsed = _read(text, name[0], name[1], end, final)
        if parsed.status == _Status.FOUND:
            found.append((parsed.start, parsed.end, parsed.kind, parsed.score))
        elif parsed.status == _Status.WAITING:
            waiting.append(name)
        elif parsed.status == _Status.OPEN:
            waiting.append(name)
            hold = min(hold, parsed.start)
    return Settled(found, waiting, hold)


class Secrets:
    """Finds secrets in whole texts. In linear time, and safe to share between threads."""

    def find(self, text: str, *, language: str = "") -> list[Finding]:
        """Findings are typed "SECRET:github_token" and so on, and cover the value alone, of a private key all of it."""
        plain = text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        if len(plain) != len(text):  # lone surrogates that do not pair
            plain = "".join("?" if "\ud800" <= c <= "\udfff" else c for c in text)
        found = [(a, b, kind, 1.0) for a, b, kind in _private_keys(plain)]
        found += settle(plain, 0, len(plain), [], final=True).found
        found += _manifest(plain)
        return [
            Finding(f"SECRET:{kind}", start, end, score, rule=f"secrets: {kind.replace('_', ' ')}")
            for start, end, kind, score in apart(found)
        ]


_MANIFEST: Final = re.compile(r"^kind:[ \t]*Secret[ \t]*$", re.MULTILINE)
_ENTRY: Final = re.compile(r"^[ \t]+[\w.-]{1,80}:[ \t]*[\"']?([A-Za-z0-9+/]{8,}={0,2})[\"']?[ \t]*$", re.MULTILINE)


def _manifest(text: str) -> list[tuple[int, int, str, float]]:
    """The values of a Kubernetes Secret, which are base64 under names of any kind."""
    if _MANIFEST.search(text) is None:
        return []
    data = re.search(r"^data:[ \t]*$", text, re.MULTILINE)
    if data is None:
        return []
    stop = re.compile(r"^\S", re.MULTILINE).search(text, data.end())
    found = []
    for entry in _ENTRY.finditer(text, data.end(), stop.start() if stop else len(text)):
        try:
            plain = base64.b64decode(entry[1], validate=True).decode()
        except (ValueError, binascii.Error):
            continue
        if len(plain) >= 4 and not placeholder(plain) and plain.isprintable():
            found.append((*entry.span(1), "kubernetes_secret", 0.9))
    return found


def apart(found: list[tuple[int, int, str, float]]) -> list[tuple[int, int, str, float]]:
    """In order, and of those that overlap the surest; the longer of two that are as sure."""
    kept: list[tuple[int, int, str, float]] = []
    for item in sorted(found, key=lambda f: (-f[3], f[0] - f[1], f[0])):
        where = bisect_left(kept, item[0], key=lambda k: k[1] - 1 if k[1] > k[0] else k[1])
        if where < len(kept) and kept[where][0] < item[1]:
            continue
        kept.insert(where, item)
    return kept


# ---------------------------------------------------------------- in a stream

MASK: Final = "[SECRET]"
LONGEST_WORD: Final = 1024
_BORDER: Final = re.compile(rf"[\s,;{{}}()\[\]<>|\"'`{_CJK}]")
_HEADER: Final = re.compile(
    r"-{1,5}(?:B(?:E(?:G(?:I(?:N(?: [A-Z0-9 ]{0,44}-{0,5})?)?)?)?)?)?$|P(?:u(?:T(?:T(?:Y(?:-[A-Za-z-]{0,16}\d?:? ?)?)?)?)?)?$"
)
_GOES_ON: Final = re.compile(r"[^A-Za-z0-9+/=_.\-]")
_FOOTER: Final = re.compile(r"-----END [A-Z0-9 ]{0,40}-----|Private-MAC: [0-9a-f]{1,80}")
_FOOTER_TAIL: Final = 80


class Masked:
    """A stream with [SECRET] in place of secrets. Held back: the word that is being written, and a value not yet whole."""

    def __init__(self, note: Callable[[str, int, int, float], None]) -> None:
        self._note = note
        self._text, self._at = "", 0  # what is still of use, and where in the stream it begins
        self._settled = 0  # places in the stream: up to where it was read,
        self._left = 0  # and up to where it has left
        self._open = 0  # where a value began that is not yet whole; up to where it was read, where there is none
        self._waiting: list[tuple[int, int]] = []
        self._found: list[tuple[int, int, str, float]] = []  # not yet left
        self._masked = False  # whether a mask was the last to leave
        self._key = -1  # where a private key began whose end has not come
        self._going_on = False  # whether a secret longer than is kept goes on

    def feed(self, text: str) -> str:
        """What may leave by now."""
        return self._pass(text, final=False)

    def close(self) -> str:
        return self._pass("", final=True)

    def _pass(self, text: str, *, final: bool) -> str:
        self._text += (
            text if text.isascii() else "".join(c if not "\ud800" <= c <= "\udfff" else "\ufffd" for c in text)
        )
        out: list[str] = []
        while self._step(final, out):
            pass
        return "".join(out)

    def _step(self, final: bool, out: list[str]) -> bool:
        """Settle what can be. Whether there may be more to do."""
        if self._going_on:
            stop = _GOES_ON.search(self._text, self._left - self._at)
            self._left = self._settled = self._at + (stop.start() if stop else len(self._text))
            self._going_on = stop is None
            self._forget()
            if stop is None:
                return False
        if self._key >= 0:
            return self._private(final, out)
        text, base = self._text, self._at
        end = len(text)
        known = self._settled - base
        header = None
        for candidate in _PEM.finditer(text, max(0, known - 60)):
            if candidate.start() >= self._left - base:
                header = candidate
                break
        partial = None if final or header is not None else _HEADER.search(text, max(0, len(text) - 70))
        if header is not None or partial is not None:
            end = max(known, (header or partial).start())  # type: ignore[union-attr]
        stop = end if final or header is not None else _border(text, known, end)
        longer = False
        if header is None and not final:
            piece = _first_long(text, known, stop)
            if piece >= 0:
                stop, longer = piece, True
            elif stop == known and end - known >= LONGEST_WORD:
                stop, longer = known + LONGEST_WORD, True
        elif (piece := _first_long(text, known, stop)) >= 0:
            stop, longer = piece, True
        hold = stop
        if stop > known or (self._waiting and stop == end and (final or header is not None)):
            settled = settle(
                text[:stop],
                known,
                stop,
                [(a - base, b - base) for a, b in self._waiting],
                final=(final or header is not None) and stop == end,
            )
            self._settled = base + stop
            self._waiting = [(a + base, b + base) for a, b in settled.waiting if stop - b <= REACH + 200]
            self._found += [(a + base, b + base, kind, score) for a, b, kind, score in settled.found]
            self._open = base + settled.hold
            if longer:
                self._shorten(stop, out)
        self._release(min(base + max(hold, 0), max(self._open, self._left)), out)
        if header is not None and self._left == base + header.start():
            return self._begun(header, final, out)
        self._forget()
        return longer

    def _shorten(self, stop: int, out: list[str]) -> None:
        """A secret that reaches the end of all that is kept goes on: it is masked, and so is the rest of it."""
        for a, b, kind, score in self._found:
            if b >= self._at + stop and a >= self._left:
                self._release(a, out)
                self._found = [(a, b, kind, score)]
                self._release(b, out)
                self._going_on = True
                return

    def _begun(self, header: re.Match[str], final: bool, out: list[str]) -> bool:
        """At the first line of a private key: one follows, or only dots."""
        text = self._text
        body = _PEM_BODY.match(text, header.end(), header.end() + 400)
        inside = body.end() if body else header.end()
        if len(text) - inside < 120 and not final and "-----END" not in text[inside:]:
            return False
        if _PEM_TEXT.match(text, inside, inside + 120) and not placeholder(text[inside : inside + 40]):
            self._key = self._left
            return True
        self._settled = max(self._settled, self._at + header.start())
        self._plain(header.end() - header.start(), out)
        self._settled = self._left
        return True

    def _private(self, final: bool, out: list[str]) -> bool:
        text = self._text
        start = self._key - self._at
        footer = _FOOTER.search(text, max(start, 0))
        if footer is None:
            if final:
                self._mask(self._key, self._at + len(text), "private_key", 1.0, out)
                self._text, self._at, self._left, self._key = "", self._at + len(text), self._at + len(text), -1
                return False
            keep = max(0, len(text) - _FOOTER_TAIL)
            if keep > start >= 0 or start < 0:
                self._text, self._at = text[keep:], self._at + keep
            return False
        stop = self._at + footer.end()
        self._mask(self._key, stop, "private_key", 1.0, out)
        self._left = self._settled = stop
        self._key = -1
        self._waiting = []
        self._forget()
        return True

    def _release(self, hold: int, out: list[str]) -> None:
        ready = [item for item in self._found if item[0] < hold]
        for start, end, kind, score in apart(ready):
            if end <= self._left:
                continue
            self._plain(max(0, start - self._left), out)
            self._mask(max(start, self._left), end, kind, score, out)
            self._left = end
        self._found = [item for item in self._found if item[0] >= hold]
        if hold > self._left:
            self._plain(hold - self._left, out)

    def _plain(self, count: int, out: list[str]) -> None:
        if count <= 0:
            return
        begin = self._left - self._at
        piece = self._text[begin : begin + count]
        if self._masked and piece[0] in "([:":
            out.append(" ")  # a mask is no part of a link
        out.append(piece)
        self._masked = False
        self._left += count

    def _mask(self, start: int, end: int, kind: str, score: float, out: list[str]) -> None:
        self._note(kind, start, end, score)
        out.append(MASK)
        self._masked = True

    def _forget(self) -> None:
        oldest = min([self._left, *(a for a, _ in self._waiting)]) - BEHIND - 60
        if oldest - self._at > 1024:
            self._text, self._at = self._text[oldest - self._at :], oldest


def _border(text: str, start: int, end: int) -> int:
    """Up to where no word is being written."""
    at = end
    while at > start:
        if _BORDER.match(text, at - 1):
            return at
        at -= 1
    return start


_LONG: Final = re.compile(rf"[^\s,;{{}}()\[\]<>|\"'`{_CJK}]{{{LONGEST_WORD}}}")


def _first_long(text: str, start: int, end: int) -> int:
    """Where to cut the first word that is longer than what is kept; -1 where none is."""
    found = _LONG.search(text, start, end)
    return found.end() if found else -1
