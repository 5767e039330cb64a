"""Keys and tokens that are known by the form in which they are issued: a prefix, a length, sometimes a checksum."""

from __future__ import annotations

import base64
import binascii
import json
import re
import zlib
from functools import cache
from typing import Any, Final

from penstock.guard.values import HEX, UUID, looks_random, placeholder

__all__ = ["BEGUN", "FORMS", "beginnings", "begun", "checksum_holds", "issued"]

W: Final = "[A-Za-z0-9_-]"
A: Final = "[A-Za-z0-9]"

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
    (
        "payment_key",
        "(?:rzp_live_|rzp_test_|FLWSECK[_-]|shippo_live_|shippo_test_|EZ[AT]K|sk_)",
        r"(?=[A-Za-z_-]*\d)[\w-]{14,80}",
    ),
    (
        "service_token",
        "(?:PMAT-|CFPAT-|tfp_|pnu_|pul-|rdme_|tk-us-|dnkey-|phx_|phc_|sgp_|ATLAS-|nfp_|vcp_|vca_|rnd_|key_live_|"
        "re_|jina_|nvapi-|voyage-|pk-lf-|bkua_|ops_eyJ|CCIPAT_|tskey-[a-z]+-|dop_|eyJrIjoi)",
        r"(?=[\w-]*\d)[\w+/=-]{24,900}",
    ),
    ("jwt", "ey[JA-Z][A-Za-z0-9_-]{6}", r"[\w-]{4,3000}\.[\w-]{2,12000}\.[\w-]{10,1400}(?:\.[\w-]{10,4000}\.[\w-]{10,200})?"),
)  # fmt: skip

# The forms that are longer than a stream waits for: what their first 58 characters look like, and are enough to know them by.
BEGUN: Final = (
    ("slack_token", r"xapp-\d-[A-Z0-9]{6,20}-\d{6,20}(?:-[0-9a-fA-F]*)?"),
    ("doppler_token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w-]{2,40}\.[A-Za-z0-9]*"),
    ("discord_webhook", r"discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{15,21}/[\w-]*"),
    ("teams_webhook", rf"webhook\.office\.com/webhookb?2?/{HEX}{{8}}-{HEX}{{4}}-[0-9a-fA-F@-]*"),
    ("discord_token", r"[MNO][\w-]{22,27}\.[\w-]{6,7}\.[\w-]{18,}"),
    ("sendinblue_key", r"xkeysib-[0-9a-f]{40,}(?:-[A-Za-z0-9]*)?"),
    ("square_token", r"EAAA[A-Za-z][\w-]{50,}"),
    ("airtable_token", rf"pat{A}{{14}}\.{HEX}{{40,}}"),
    ("postman_key", r"PMAK-[0-9a-f]{20,30}-[0-9a-f]*"),
    ("grafana_token", r"gl(?:sa|c)_[A-Za-z0-9+/_]{50,}"),
    ("terraform_token", rf"{A}{{14}}\.atlasv1\.[\w-]{{30,}}"),
    ("fly_token", r"fm[12][ar]?_[A-Za-z0-9+/]{50,}"),
    ("dropbox_token", r"sl\.[A-Za-z0-9][\w-]{50,}"),
    ("facebook_token", rf"EAA[A-Za-z](?=[A-Za-z]*\d){A}{{50,}}"),
    ("twitter_token", r"A{20}[A-Za-z0-9%]{36,}"),
    ("age_key", r"AGE-SECRET-KEY-1[A-Z0-9]{40,}"),
    ("jwt", r"ey[JA-Z][A-Za-z0-9_-]{6}[\w-]{4,}(?:\.[\w-]*){0,2}"),
)  # fmt: skip
_BEGUN: Final = tuple((kind, re.compile(rule, re.ASCII)) for kind, rule in BEGUN)

RULES: Final = tuple((kind, re.compile(begins + goes_on, re.ASCII)) for kind, begins, goes_on in FORMS)


@cache
def beginnings() -> Any:
    """Matches where anything that is issued may begin."""
    import re2

    options = re2.Options()
    options.max_mem = 64 << 20
    return re2.compile(r"\b(?:" + "|".join(f"(?:{begins})" for _, begins, _ in FORMS) + ")", options)


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


_HEADER: Final = re.compile(
    r'\{\s*"(?:alg|typ|enc|kid|cty|zip|x5t|x5t#S256|x5u|x5c|jku|jwk|epk|apu|apv|p2c|p2s|nonce)"\s*:'
)
_DOCUMENTED: Final = re.compile(
    r"eyJ(?:hbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9\.eyJzdWIiOiIxMjM0|0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9)"
)


def begun(text: str, start: int, end: int) -> str:
    """What of those forms text[start:end] is the beginning of; "" for none."""
    for kind, rule in _BEGUN:
        if rule.fullmatch(text, start, end) is None:
            continue
        value = text[start:end]
        if kind == "jwt":
            head = value.partition(".")[0]
            plain = base64.urlsafe_b64decode(head[: len(head) // 4 * 4]).decode("latin-1")
            if _HEADER.match(plain) and not _DOCUMENTED.match(value):
                return kind
        elif not placeholder(value) and (kind not in _LOOSE or looks_random(value)):
            return kind
    return ""


_LOOSE: Final = frozenset(  # their form alone would fit too much
    ("payment_key", "service_token", "fireworks_key", "crates_token", "openai_key", "dropbox_token")
)
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def checksum_holds(token: str) -> bool:
    """Whether the last six characters of a GitHub or npm token are the CRC-32 of those before, in base 62."""
    _, _, body = token.rpartition("_")
    number, digits = zlib.crc32(body[:-6].encode()), ""
    while number:
        number, digit = divmod(number, 62)
        digits = _BASE62[digit] + digits
    return digits.rjust(6, "0") == body[-6:]


def issued(text: str, start: int, end: int) -> tuple[str, int, float] | None:
    """Kind, end and score of what is issued in this form and begins here."""
    for kind, rule in RULES:
        found = rule.match(text, start, end)
        if found is None:
            continue
        value = found[0]
        if kind == "jwt":
            if not _jwt(value) or placeholder(value.rpartition(".")[2]):
                continue
        elif placeholder(value):
            return "", found.end(), 0.0
        elif (kind in _LOOSE and not looks_random(value)) or (
            kind == "aws_access_key" and not any(c.isdigit() for c in value[4:]) and not looks_upper(value)
        ):
            continue
        sure = 0.99 if kind in ("github_token", "npm_token") and checksum_holds(value) else 0.95
        return kind, found.end(), sure
    return None


def looks_upper(value: str) -> bool:
    """Sixteen capitals without a digit are a word now and then, but never one with so few vowels."""
    return sum(c in "AEIOU" for c in value[4:]) <= 6
