"""What a value looks like: made by chance, chosen as a password, or only standing where one would."""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections import Counter
from typing import Final

__all__ = [
    "HEX",
    "UUID",
    "encoded_credentials",
    "is_key",
    "is_password",
    "looks_random",
    "looks_varied",
    "placeholder",
    "reference",
]

HEX: Final = "[0-9a-fA-F]"
UUID: Final = f"{HEX}{{8}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{4}}-{HEX}{{12}}"

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
    r"(?:my|the|some|a|test|fake|demo|new|old|user|db|super|my[-_]?super)[-_]?"
    r"(?:secret|password|passwd|pass|token|api[-_]?key|key|pw|pwd)"
    r"(?:[-_]?(?:key|token|value|here|\d{1,3}))?)$|"
    r"0123456789|1234567890|abcdefgh|abcd1234|(?:deadbeef){2}|(?:cafebabe){2}",
    re.IGNORECASE,
)
_REFERENCE: Final = re.compile(
    r"^\$\{|^\$\(|^\{\{|^\{%|^<%|^%\(|^%[A-Za-z_]\w*%$|^\$[A-Z_][A-Z0-9_]*$|^\$[a-z_]+$|^\$env:|^\$[A-Za-z_]+(?:\.|"
    r"->|\[)|^@@?[A-Za-z_]+$|"
    r"^#\{|^\{[A-Za-z_][\w.]*\}$|^(?:env|vault|op|ssm|arn|ref\+\w+|secretsmanager|keyring|file|projects?|kms|sops|"
    r"asm|gcp|aws|gsm|akv)(?::|/)|"
    r"^!(?:vault|Ref|Sub|GetAtt|Secret|ImportValue|Join|env)\b|^ENC\[|^%[sdrvq]$|^:\w+$|^\?$|^os\.|^process\.|"
    r"^System\.|^(?:self|this|cls|config|settings|secrets?|env|args|opts?|options|params?|request|req|"
    r"ctx|context|data|form|body|user|row|obj|app|cfg|conf|client|session|props|state|input|event|credentials?|creds|"
    r"var|local|module|vars|values?|Deno|Bun|import|std|builtins?)[.\[(?]|"
    r"^[A-Za-z_][\w.:>-]*[(\[]|^await\b|^new\b|^function\b|^lambda\b"
)
_CODE_WORD: Final = re.compile(r"[A-Za-z_][A-Za-z_-]*(?:(?:\.|::|->)[A-Za-z_]\w*)*")
_TECHNICAL: Final = re.compile(
    r"(?:sha|md|aes|rsa|des|crc|ed|ecdsa|hmac|argon|bcrypt|scrypt|pbkdf|base|utf|utf-|iso|wpa|rfc|tls|ssl|http|oauth|"
    r"v|p|rc|hs|rs|es|ps|oidc|"
    r"ripemd|blake|k|s|ipv|ec|nist|fips|pkcs|u|chacha|poly|win|mp|h|i|ntlmv|kerberos|saml|"
    r"scram)-?\d{1,5}[a-z]{0,3}(?:[-_/.](?:[A-Za-z]{1,6}|\d{1,4})){0,3}|"
    r"\d+(?:[-–](?:character|char|digit|day|hour|minute|bit|byte|letter|symbol|time|factor|step|word|year|week|month|"
    r"zeichen|stellig)\w*|"
    r"(?:st|nd|rd|th|px|ms|kb|mb|gb|s|m|h|d|x|%|fa)?)|\d{1,4}[-./]\d{1,2}[-./]\d{1,4}(?:[T ]?[\d:.Z+-]*)?|"
    r"\d{1,2}:\d{2}(?::\d{2})?|[\d.,]+",
    re.IGNORECASE,
)
_ALGORITHM: Final = re.compile(
    r"(?:[a-z]+[-_])*(?:sha|md|aes|rsa|hmac|ecdsa|ed)-?\d{1,5}(?:[-_][a-z]+|[-_]\d{1,4})*", re.IGNORECASE
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


def reference(value: str) -> bool:
    """Whether a value is the name of where the real one is kept."""
    return _REFERENCE.match(value) is not None


def entropy(value: str) -> float:
    """Bits per character, by how often each occurs in the value itself."""
    size = len(value)
    return -sum(n / size * math.log2(n / size) for n in Counter(value).values())


_SWITCH: Final = re.compile(r"[a-z](?=[A-Z0-9])|[A-Z](?=[a-z0-9])|[0-9](?=[A-Za-z])")
_LETTERS: Final = re.compile(r"[A-Za-z][a-z]{3,}|[A-Z]{5,}")
_PAIRS: Final = frozenset(  # the letters that follow each other in words: a third of all pairs
    (
        "ab ac ad ag ai ak al am an ap ar as at au ay ba be bl bo by ca ce ch ci ck cl co cr ct cu da dd de di do "
        "dr ds dy ea "
        "ec ed ee ef eg ei el em en ep eq er es et ev ew ex ey fa fe fi fl fo fr fu ga ge gh gi gr gs gu ha he hi "
        "ho ht ia ic "
        "id ie ig il im in io ip ir is it iv js ke ki la ld le lf li ll lo ls lt lu ma mb me mi mo mp na nc nd ne "
        "ng ni nn no "
        "ns nt nu ny oa ob oc od og oi ok ol om on oo op or os ot ou ov ow pa pe pi pl po pp pr ps pt pu qu ra rc "
        "rd re rg ri "
        "rk rm rn ro rr rs rt ru ry sa sc se sh si sk so sp ss st su sw sy ta tc te th ti to tr ts tt tu ty ua ud "
        "ue ul um un "
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


def is_password(value: str, *, quoted: bool, prose: bool, firm: bool) -> bool:
    """firm: assigned to a name that says password, rather than told in a sentence or under a lesser name."""
    size = len(value)
    if not 4 <= size <= 128 or " " in value or placeholder(value) or _HASH_NAMED.match(value):
        return False
    if _ALGORITHM.fullmatch(value):
        return False
    if _TECHNICAL.fullmatch(value):
        return firm and value.isdigit() and 6 <= size <= 14
    letters = sum(c.isalpha() for c in value)
    digits = sum(c.isdigit() for c in value)
    signs = size - letters - digits
    if "://" in value or (value.startswith(("/", "./", "../", "~/", "http")) and "/" in value[1:]):
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


def is_key(value: str, *, strong: bool, token: bool, least: int) -> bool:
    size = len(value)
    if not least <= size <= 2000 or not _OPAQUE.fullmatch(value) or placeholder(value) or _HASH_NAMED.match(value):
        return False
    if "://" in value or (value.startswith(("/", "./", "../", "~/")) and not (strong and len(value) == 40)):
        return False
    if "/" in value and re.search(r"\.\w{1,5}$", value):
        return False
    labelled = re.fullmatch(r"[a-z]{2,12}[-_:/.](.{16,})", value)
    if labelled and not strong and (_HEX.fullmatch(labelled[1]) or _UUID.fullmatch(labelled[1])):
        return False
    if _UUID.fullmatch(value):
        return strong or token
    if _HEX.fullmatch(value):
        return ((strong and size >= 20) or (token and size >= 32)) and not value.isdigit() and len(set(value)) >= 8
    if any(c.isdigit() for c in value):
        return looks_random(value)
    switches = len(_SWITCH.findall(value))
    return (strong and size >= 20 and switches >= size * 0.3) or (size >= 32 and switches >= size * 0.35)


def encoded_credentials(value: str) -> bool:
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


def looks_varied(value: str) -> bool:
    """Letters and digits or signs in several turns: a short secret rather than a word with a number."""
    return len(_SWITCH.findall(value)) + sum(not c.isalnum() for c in value) >= 3
