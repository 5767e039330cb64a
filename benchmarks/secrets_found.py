"""The guard finds 98.5 % of secrets of over thirty kinds and flags at most 1 % of look-alikes, for under 1 ms of CPU per KB.

    python -m benchmarks.secrets_found [--detect-secrets PYTHON] [--llm-guard PYTHON] [--rows FILE.jsonl]

Every value is drawn by chance. Each kind is carried by code, settings, logs, commands and chat; each family of look-alikes is
what other tools take for a secret. The carriers and families marked "unseen" were written when the rules were done. On the first
run the rules found .990 of their secrets and flagged 1.7 % of their look-alikes; what that showed has been mended since, so they
are unseen no longer. The peers see the same texts. --rows adds a file with `text` and `label`, which is reported by itself.
"""

# ruff: noqa: E501 - carriers and look-alikes are tables, which read best a row to a line
from __future__ import annotations

import argparse
import base64
import json
import random
import string
import subprocess
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.measure import versions, write

LOWER, ALNUM, HEX = string.ascii_lowercase, string.ascii_letters + string.digits, "0123456789abcdef"
B64, URLSAFE, UPPER = ALNUM + "+/", ALNUM + "-_", string.ascii_uppercase + string.digits
SEED = 11
PER_CARRIER = 3

Rng = random.Random


class Row(NamedTuple):
    text: str
    value: str  # the secret; "" in a look-alike
    kind: str
    unseen: bool


def chars(r: Rng, alphabet: str, size: int) -> str:
    return "".join(r.choices(alphabet, k=size))


def b64(r: Rng, size: int) -> str:
    return base64.b64encode(r.randbytes(size)).decode()


def jwt(r: Rng) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    head = part({"alg": r.choice(["HS256", "RS256", "ES256"]), "typ": "JWT"})
    body = part({"sub": str(r.randrange(10**9)), "iat": r.randrange(10**9), "scope": "read write"})
    return f"{head}.{body}.{chars(r, URLSAFE, r.choice([43, 86]))}"


def pem(r: Rng, label: str = "RSA PRIVATE KEY", lines: int = 8) -> str:
    body = "\n".join(chars(r, B64, 64) for _ in range(lines))
    return f"-----BEGIN {label}-----\n{body}\n{chars(r, B64, 30)}==\n-----END {label}-----"


def password(r: Rng) -> str:
    while True:
        made = chars(r, ALNUM + "!@#%*-_?", r.randrange(10, 18))
        if any(c.isdigit() for c in made) and any(c.isalpha() for c in made):
            return made


def spoken(r: Rng) -> str:
    words = "river Tiger maple Orbit cactus Winter pepper Falcon amber Rocket".split()
    forms: list[Callable[[], str]] = [
        lambda: f"{r.choice(words)}{r.randrange(10, 9999)}{r.choice('!?#*')}",
        lambda: password(r),
        lambda: "-".join(r.sample(words, 3)) + str(r.randrange(10, 99)),
        lambda: f"{r.choice(words).lower()}{r.randrange(2, 999)}x",
    ]
    return r.choice(forms)()


KINDS: dict[str, Callable[[Rng], str]] = {
    "aws_access_key": lambda r: "AKIA" + chars(r, UPPER, 16),
    "aws_temporary_key": lambda r: "ASIA" + chars(r, UPPER, 16),
    "github_token": lambda r: r.choice(["ghp_", "gho_", "ghs_", "ghu_"]) + chars(r, ALNUM, 36),
    "github_fine_grained": lambda r: f"github_pat_{chars(r, ALNUM, 22)}_{chars(r, ALNUM, 59)}",
    "gitlab_token": lambda r: "glpat-" + chars(r, URLSAFE, 20),
    "slack_token": lambda r: f"xox{r.choice('bp')}-{r.randrange(10**11, 10**12)}-{r.randrange(10**12, 10**13)}-{chars(r, ALNUM, 24)}",
    "slack_webhook": lambda r: f"https://hooks.slack.com/services/T{chars(r, UPPER, 8)}/B{chars(r, UPPER, 10)}/{chars(r, ALNUM, 24)}",
    "stripe_key": lambda r: r.choice(["sk_live_", "rk_live_", "sk_test_"]) + chars(r, ALNUM, r.choice([24, 99])),
    "openai_old": lambda r: f"sk-{chars(r, ALNUM, 20)}T3BlbkFJ{chars(r, ALNUM, 20)}",
    "openai_plain": lambda r: f"sk-{chars(r, ALNUM, 48)}",
    "openai_project": lambda r: f"sk-proj-{chars(r, URLSAFE, r.choice([48, 120]))}",
    "anthropic_key": lambda r: f"sk-ant-api03-{chars(r, URLSAFE, 93)}AA",
    "google_api_key": lambda r: "AIza" + chars(r, URLSAFE, 35),
    "gcp_service_account": lambda r: pem(r, "PRIVATE KEY", 12).replace("\n", "\\n") + "\\n",
    "azure_storage_key": lambda r: b64(r, 64),
    "huggingface_token": lambda r: "hf_" + chars(r, string.ascii_letters, 34),
    "npm_token": lambda r: "npm_" + chars(r, ALNUM, 36),
    "pypi_token": lambda r: "pypi-AgEIcHlwaS5vcmc" + chars(r, URLSAFE, 140),
    "digitalocean_token": lambda r: "dop_v1_" + chars(r, HEX, 64),
    "sendgrid_key": lambda r: f"SG.{chars(r, URLSAFE, 22)}.{chars(r, URLSAFE, 43)}",
    "twilio_key": lambda r: "SK" + chars(r, HEX, 32),
    "telegram_bot": lambda r: f"{r.randrange(10**8, 10**10)}:{chars(r, URLSAFE, 35)}",
    "discord_token": lambda r: f"{r.choice('MN')}{chars(r, ALNUM, 23)}.{chars(r, ALNUM, 6)}.{chars(r, URLSAFE, 27)}",
    "mailgun_key": lambda r: "key-" + chars(r, HEX, 32),
    "shopify_token": lambda r: "shpat_" + chars(r, HEX, 32),
    "square_token": lambda r: "sq0atp-" + chars(r, URLSAFE, 22),
    "databricks_token": lambda r: "dapi" + chars(r, HEX, 32),
    "jwt": jwt,
    "private_key": lambda r: pem(r, r.choice(["RSA PRIVATE KEY", "EC PRIVATE KEY", "OPENSSH PRIVATE KEY", "PRIVATE KEY"])),
    "basic_auth_url": lambda r: f"https://{r.choice(['deploy', 'admin', 'bot'])}:{chars(r, ALNUM + '!_-', 14)}@git.example.org/team/app.git",
    "database_url": lambda r: f"{r.choice(['postgres', 'mysql', 'mongodb+srv', 'redis', 'amqp'])}://app:{chars(r, ALNUM + '!_', 12)}@db.internal:5432/prod",
    "aws_secret_key": lambda r: chars(r, B64, 40),
    "generic_api_key": lambda r: chars(r, ALNUM, r.choice([32, 40])),
    "generic_hex_key": lambda r: chars(r, HEX, r.choice([32, 40, 64])),
    "heroku_key": lambda r: str(uuid.UUID(bytes=r.randbytes(16), version=4)),
    "password_assign": password,
    "prose_password": spoken,
}  # fmt: skip

ISSUED: dict[str, bool] = {  # carrier -> unseen: written when the rules were done
    "here is the token: {v}": False, "export KEY={v}": False, "{v}": False, 'const apiKey = "{v}";': False,
    "curl -H 'Authorization: Bearer {v}' https://api.example.com/v1/me": False, "API_KEY: {v}": False,
    '{{"credentials": {{"token": "{v}", "ttl": 3600}}}}': False, "2026-03-01T10:00:02Z ERROR auth failed for token={v} (401)": False,
    "Can you check why this key does not work? {v}": False, "    token: '{v}'": False, "os.environ['SERVICE_TOKEN'] = '{v}'": False,
    "use `{v}` as your key until Friday": False, "let secret: &str = \"{v}\";": False, "ENV SERVICE_KEY={v}": False,
    "<token>{v}</token>": False, "private static final String KEY = \"{v}\"; // rotate": False,
    "Traceback (most recent call last):\n  File \"app.py\", line 3\nValueError: bad credential {v}": False,
    "| prod | {v} | active |": False, "wget --header='X-Api-Key: {v}' -qO- https://example.com": False,
    "ключ доступа: {v}, никому не показывай": False, "先に共有したキーは {v} です。": False, "config.set('service.key', '{v}')": False,
    "secret=\"{v}\" # prod": False, "Hallo, der Schlüssel ist {v} – danke": False, "$key = '{v}';": False, "KEY := \"{v}\"\nfmt.Println(KEY)": False,
}  # fmt: skip
ISSUED |= dict.fromkeys(
    (
        "Bonjour, voici mon jeton d'accès : {v}", "[2026-11-02 08:11:54,331] WARN gateway - rejected credential '{v}' from 10.0.0.7", "val token by lazy {{ \"{v}\" }}",
        "- run: deploy --auth {v}\n  if: always()", "<config><entry name=\"service\">{v}</entry></config>", "SELECT set_config('app.token', '{v}', false);",
        "user: what is wrong?\nassistant: you pasted {v} in public, revoke it.", "TOKEN={v} make release", "my_token <- \"{v}\"", "puts \"using #{{key = '{v}'}}\"",
        "grpcurl -H 'authorization: bearer {v}' host:443 list", "  \"headers\": {{\"X-Token\": \"{v}\"}},", "请使用令牌 {v} 登录", "export default {{ token: `{v}` }}",
    ),
    True,
)  # fmt: skip
NAMED: dict[str, dict[str, bool]] = {
    "aws_secret_key": {
        "aws_secret_access_key = {v}": False, "AWS_SECRET_ACCESS_KEY={v}": False, '"SecretAccessKey": "{v}"': False,
        "here is the token: {v}": False, "secretKey: '{v}'": False, "export AWS_SECRET_KEY=\"{v}\"": False, "my secret key is {v}": False,
    },
    "azure_storage_key": {
        "DefaultEndpointsProtocol=https;AccountName=shop;AccountKey={v};EndpointSuffix=core.windows.net": False,
        "AZURE_STORAGE_KEY={v}": False, "az storage blob list --account-key {v}": False, "Endpoint=sb://x.servicebus.windows.net/;SharedAccessKeyName=Root;SharedAccessKey={v}": False,
    },
    "gcp_service_account": {'{{"type": "service_account", "private_key": "{v}", "client_email": "a@b.iam"}}': False, "GOOGLE_KEY='{v}'": False},
    "private_key": {"here is the token: {v}": False, "export KEY={v}": False, "id_rsa:\n{v}\n": False, "ssh key for the server\n\n{v}\n\nkeep it": False},
    "generic_api_key": {
        "api_key = '{v}'": False, "DATADOG_API_KEY={v}": False, '"client_secret": "{v}"': False, "X-Api-Key: {v}": False, "auth_token: {v}": False,
        "let apiKey = \"{v}\"": False, "algolia.initIndex({{ apiKey: '{v}' }})": False, "the API key is {v}, keep it safe": False,
        "https://api.example.com/v1?access_token={v}": False, "<add key=\"ApiKey\" value=\"{v}\" />": False, "registry:_authToken={v}": False,
        "- name: SERVICE_TOKEN\n  value: {v}": False, "services --token {v} status": False, "Cookie: theme=dark; session={v}": False,
    },
    "generic_hex_key": {
        "api_key = '{v}'": False, "SECRET_KEY_BASE={v}": False, "secret: {v}": False, "x-auth-token: {v}": False, "client_secret={v}": False,
        "datadog.initialize(api_key=\"{v}\")": False, "my api key: {v}": False,
    },
    "heroku_key": {"HEROKU_API_KEY={v}": False, "heroku auth:token {v}\napi_key: {v}": False, "heroku_api_key = \"{v}\"": False, "my heroku api key is {v}": False},
    "password_assign": {
        'password = "{v}"': False, "pwd: {v}": False, "DB_PASSWORD={v}": False, '"password": "{v}",': False, "passwd='{v}'": False,
        "mysql -u root --password={v} shop": False, "spring.datasource.password={v}": False, "Password={v};Server=db;User Id=sa": False,
        "<password>{v}</password>": False, "PGPASSWORD='{v}' psql -h db": False, "machine example.com login joe password {v}": False,
        "user.setPassword(\"{v}\");": False, "define('DB_PASSWORD', '{v}');": False, ":password => \"{v}\",": False, "let dbPassword: String = \"{v}\"": False,
        "ansible_become_pass: {v}": False, "  MYSQL_ROOT_PASSWORD: '{v}'": False, "$password = '{v}';": False, "smtp_password: \"{v}\"  # mail": False,
        "const PASSWORD string = \"{v}\"": False, "- name: DB_PASSWORD\n  value: \"{v}\"": False, "<add key=\"Password\" value=\"{v}\"/>": False,
        "share: files, user joe, password: {v}": False, "wifi passphrase: {v}": False, "admin_pw = '{v}'": False,
        "CREATE USER joe IDENTIFIED BY '{v}';": False, "curl -u joe:{v} https://example.com": False, "kubectl create secret generic db --from-literal=password={v}": False,
    },
    "prose_password": {
        "the password is {v}": False, "My password is {v}, please reset it.": False, "login: joe, password: {v}": False, "Das Passwort lautet {v}.": False,
        "le mot de passe est {v}": False, "la contraseña es {v}": False, "a senha é {v}": False, "密码是{v}": False, "пароль: {v}": False,
        "you can log in with the password {v!q}": False,
        "The password for the guest wifi is {v}.": False, "I changed my password to {v} yesterday": False, "Kennwort für das WLAN: {v}": False,
        "het wachtwoord is {v}": False, "hasło to {v}": False, "パスワードは{v}です": False, "비밀번호는 {v} 입니다": False, "şifre: {v}": False,
        "La password è {v}, non dirla a nessuno": False, "lösenordet är {v}": False, "Mot de passe : {v}": False, "my pw is {v} btw": False,
        "La contraseña del servidor es: {v}": False, "密码：{v}，请勿外传": False, "Password: {v}\nUser: joe": False, "use the passphrase \"{v}\" to unlock it": False,
    },
}  # fmt: skip
FRESH: dict[str, tuple[str, ...]] = {
    "aws_secret_key": ("aws configure set aws_secret_access_key {v}", "Secret access key: {v}", "secret_key => '{v}',"),
    "azure_storage_key": ("storageAccountKey: {v}", 'account_key = "{v}"'),
    "gcp_service_account": ('  "private_key": "{v}",\n  "token_uri": "https://oauth2.googleapis.com/token"',),
    "private_key": ("cat <<EOF > key.pem\n{v}\nEOF", "key: |\n{v}"),
    "generic_api_key": ("apiToken={v}", "\"x-api-key\": \"{v}\"", "clientSecret: '{v}',", "the access token you asked for: {v}", "const SECRET_TOKEN = `{v}`", "setx API_TOKEN {v}", "-H 'X-Auth-Token: {v}'"),
    "generic_hex_key": ("encryption_key: {v}", "JWT_SECRET={v}", "signing_secret = '{v}'", "webhookSecret: \"{v}\""),
    "heroku_key": ("export HEROKU_API_KEY=\"{v}\"", "\"heroku_token\": \"{v}\""),
    "password_assign": (
        "rabbitmq.password = {v}", "<Password>{v}</Password>", "redis-cli --pass {v}", "\"db\": {{\"user\": \"app\", \"pass\": \"{v}\"}}", "var passwd = `{v}`;", "DATABASE_PASSWORD: {v}",
        "password=>'{v}'", "userPassword: {v}", "sshpass -p {v} ssh joe@host", "User Id=sa;Pwd={v};", "final String dbPassword = \"{v}\";", "ldap_bind_password = {v}",
    ),
    "prose_password": (
        "Your new password: {v}", "Password is still {v} unless Ann changed it.", "the admin password was {v}", "Il mio accesso: password {v!q}", "Hier ist das Passwort: {v}", "contraseña: {v} (no la compartas)",
        "mon mot de passe c'est {v!q}", "Пароль от сервера - {v!q}", "登录密码为 {v}", "パスワード：{v}", "Het wachtwoord voor de server is {v}", "Twoje hasło: {v}", "passcode is {v}",
    ),
}  # fmt: skip
for _kind, _carriers in FRESH.items():
    NAMED[_kind] |= dict.fromkeys(_carriers, True)


def documented(r: Rng) -> str:
    return r.choice([
        "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "sk-xxxxxxxxxxxxxxxxxxxxxxxx",
        "xoxb-your-token-here", "sk_live_XXXXXXXXXXXXXXXXXXXXXXXX", "AIzaSyXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXXX", "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ])  # fmt: skip


def sentence(r: Rng) -> str:
    return " ".join(r.choices("river maple orbit cactus winter pepper falcon amber rocket lantern".split(), k=8))


LOOKALIKES: dict[str, tuple[bool, Callable[[Rng], str]]] = {
    "sha256": (False, lambda r: f"sha256:{chars(r, HEX, 64)}"),
    "commit": (False, lambda r: f"commit {chars(r, HEX, 40)}"),
    "uuid": (False, lambda r: f"id={uuid.UUID(bytes=r.randbytes(16))}"),
    "environ": (False, lambda r: "password = os.environ['DB_PASSWORD']"),
    "shell variable": (False, lambda r: r.choice(["api_key: ${API_KEY}", "TOKEN=$TOKEN", "password: $(cat /run/secrets/db)"])),
    "placeholder": (False, lambda r: r.choice(["export TOKEN=<your-token-here>", "api_key = 'YOUR_API_KEY'", 'password: "changeme"', "secret: xxxxxxxxxxxxxxxx"])),
    "reset link": (False, lambda r: f"see https://example.com/reset?step={r.randrange(9)}"),
    "etag": (False, lambda r: f'ETag: "{chars(r, HEX, 32)}"'),
    "md5": (False, lambda r: f"md5: {chars(r, HEX, 32)}  archive.tar.gz"),
    "npm integrity": (False, lambda r: f'"integrity": "sha512-{b64(r, 64)}"'),
    "docker digest": (False, lambda r: f"FROM python@sha256:{chars(r, HEX, 64)}"),
    "documented": (False, lambda r: f"api_key = {documented(r)}"),
    "masked": (False, lambda r: r.choice(["password: ********", "token: ••••••••", "key=[REDACTED]", "Password: ●●●●●●"])),
    "advice": (False, lambda r: r.choice(["The password must have 8 characters and a digit.", "password reset instructions were sent to joe", "Your password is too short.", "The password is stored hashed with SHA-256."])),
    "public key": (False, lambda r: f"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQ{chars(r, B64, 300)} joe@laptop"),
    "certificate": (False, lambda r: pem(r, "CERTIFICATE")),
    "public pem": (False, lambda r: pem(r, "PUBLIC KEY")),
    "data image": (False, lambda r: f"![logo](data:image/png;base64,iVBORw0KGgo{chars(r, B64, 200)}==)"),
    "css": (False, lambda r: f".btn-{chars(r, HEX, 6)}{{color:#{chars(r, HEX, 6)}}} .css-{chars(r, LOWER + string.digits, 6)}-MuiButton-root{{}}"),
    "order number": (False, lambda r: f"Order {r.randrange(10**11, 10**12)} shipped, tracking 1Z{chars(r, UPPER, 16)}"),
    "path": (False, lambda r: f"/usr/lib/python3.{r.randrange(9, 14)}/site-packages/secrets/token_{r.randrange(99)}.py"),
    "prose": (False, sentence),
    "function": (False, lambda r: r.choice(["password = get_password(user)", "token = await auth.refreshToken()", "secret = config.get('secret')", "const key = req.headers['x-api-key'];"])),
    "typed": (False, lambda r: r.choice(["password: string;", "token: str | None = None", "api_key: Optional[str]", "String password;", "password varchar(255) not null"])),
    "counts": (False, lambda r: f"max_tokens={r.randrange(10, 9000)}, total_tokens: {r.randrange(9999)}"),
    "version": (False, lambda r: f"requires token-lib=={r.randrange(9)}.{r.randrange(20)}.{r.randrange(9)}"),
    "cache key": (False, lambda r: f"cache_key: {chars(r, HEX, 40)}"),
    "trace": (False, lambda r: f"traceparent: 00-{chars(r, HEX, 32)}-{chars(r, HEX, 16)}-01"),
    "form field": (False, lambda r: '<input type="password" name="password" id="password" placeholder="Enter your password">'),
    "broken jwt": (False, lambda r: f"eyJ{chars(r, LOWER, 20)}.eyJ{chars(r, LOWER, 30)}.{chars(r, LOWER, 20)}"),
    "requirements hash": (False, lambda r: f"numpy==2.1.0 --hash=sha256:{chars(r, HEX, 64)}"),
    "cargo checksum": (False, lambda r: f'checksum = "{chars(r, HEX, 64)}"'),
    "go sum": (False, lambda r: f"github.com/pkg/errors v0.9.1 h1:{b64(r, 32)}"),
    "yarn": (False, lambda r: f'resolved "https://registry.yarnpkg.com/left-pad/-/left-pad-1.3.0.tgz#{chars(r, HEX, 40)}"'),
    "script integrity": (False, lambda r: f'<script src="https://cdn.example.com/a.js" integrity="sha384-{b64(r, 48)}" crossorigin="anonymous"></script>'),
    "git diff": (False, lambda r: f"index {chars(r, HEX, 7)}..{chars(r, HEX, 7)} 100644"),
    "image tag": (False, lambda r: f"registry.example.com/team/app:main-{chars(r, HEX, 8)}"),
    "s3 url": (False, lambda r: f"s3://bucket/{chars(r, HEX, 32)}/part-{r.randrange(999):05}.parquet"),
    "uuid key": (False, lambda r: f"primary key {uuid.UUID(bytes=r.randbytes(16))}"),
    "idempotency": (False, lambda r: f"Idempotency-Key: {uuid.UUID(bytes=r.randbytes(16))}"),
    "request id": (False, lambda r: f"x-request-id: {chars(r, HEX, 32)}"),
    "session metric": (False, lambda r: f"sessions={r.randrange(9999)} p99={r.randrange(999)}ms tokens/s={r.randrange(99)}.{r.randrange(9)}"),
    "utm": (False, lambda r: f"https://example.com/?utm_source=news&utm_id={r.randrange(10**9)}&gclid=Cj0KCQjw{chars(r, URLSAFE, 60)}"),
    "video": (False, lambda r: f"https://www.youtube.com/watch?v={chars(r, URLSAFE, 11)}&list=PL{chars(r, URLSAFE, 32)}"),
    "drive": (False, lambda r: f"https://docs.google.com/document/d/1{chars(r, URLSAFE, 43)}/edit"),
    "doi": (False, lambda r: f"doi:10.{r.randrange(1000, 9999)}/s{r.randrange(10**5)}-{r.randrange(99)}-{r.randrange(10**5)}-x"),
    "isbn": (False, lambda r: f"ISBN 978-{r.randrange(9)}-{r.randrange(10**4)}-{r.randrange(10**4)}-{r.randrange(9)}"),
    "bitcoin address": (False, lambda r: f"donate to bc1q{chars(r, LOWER + '023456789', 38)}"),
    "ethereum": (False, lambda r: f"contract 0x{chars(r, HEX, 40)}"),
    "vault path": (False, lambda r: r.choice(["password: vault:secret/data/db#password", "secretName: db-credentials", "tokenSecretRef: {name: api, key: token}", "password: !vault |"])),
    "github secret": (False, lambda r: r.choice(["token: ${{ secrets.GITHUB_TOKEN }}", "api-key: {{ .Values.apiKey }}", "password: %(db_password)s", "SECRET=%SECRET%"])),
    "code names": (False, lambda r: r.choice(["self.password_hash = bcrypt.hashpw(password, salt)", "if token == expected_token:", "for key, value in items.items():", "const secretManager = new SecretManagerServiceClient();", "tokenizer = AutoTokenizer.from_pretrained(name)"])),
    "labels": (False, lambda r: r.choice(['"password": "Passwort",', 'label.password = Mot de passe', "password_label: 'Enter your password'", '"token": "Token",', "  secret: Geheimnis"])),
    "questions": (False, lambda r: r.choice(["How do I change my password?", "Which key opens the cellar?", "I forgot the password for my account, can you help?", "What is a bearer token?", "The secret is to start early."])),
    "german prose": (False, lambda r: r.choice(["Das Passwort ist abgelaufen.", "Der Schlüssel liegt unter der Matte.", "Das Kennwort muss mindestens 12 Zeichen lang sein.", "Bitte das Passwort nicht weitergeben!"])),
    "other prose": (False, lambda r: r.choice(["La contraseña es obligatoria.", "Le mot de passe est incorrect.", "密码是必填项。", "パスワードは8文字以上です。", "Пароль должен содержать 8 символов.", "A senha é muito curta."])),
    "algorithms": (False, lambda r: r.choice(["key: RSA-2048", "password hash is Argon2id", "token: OAuth2", "the key is AES-256-GCM", "auth: SCRAM-SHA-256", "secret is HS256-signed"])),
    "public ids": (False, lambda r: r.choice([f"pk_live_{chars(r, ALNUM, 24)}", f"client_id: {chars(r, ALNUM, 20)}.apps.googleusercontent.com", f"G-{chars(r, UPPER, 10)}", f"app id ca-pub-{r.randrange(10**15, 10**16)}", f"recaptcha site key 6L{chars(r, URLSAFE, 38)}"])),
    "fingerprint": (False, lambda r: f"key fingerprint is SHA256:{b64(r, 32).rstrip('=')}"),
    "crypt of a file": (False, lambda r: f"{chars(r, HEX, 128)}  backup.tar.zst"),
    "nonce": (False, lambda r: f"Content-Security-Policy: script-src 'nonce-{b64(r, 16)}'"),
    "quoted docs": (False, lambda r: r.choice(["Set `OPENAI_API_KEY` to your key.", "Run `export GITHUB_TOKEN=...` first.", "Pass --api-key YOUR_KEY", "Authorization: Bearer <token>", "curl -u username:password https://example.com"])),
    "sample urls": (False, lambda r: r.choice(["postgres://user:password@localhost/db", "https://user:pass@example.com", "redis://:${REDIS_PASSWORD}@cache:6379", "mysql://root:<password>@db/shop", "amqp://guest:***@mq"])),
    "times": (False, lambda r: f"password_changed_at: 2026-0{r.randrange(1, 9)}-1{r.randrange(9)}T10:0{r.randrange(9)}:00Z token_expires_in: {r.randrange(9999)}"),
    "empty pem": (False, lambda r: "-----BEGIN RSA PRIVATE KEY-----\n...\n-----END RSA PRIVATE KEY-----"),
    "svg path": (False, lambda r: f'<path d="M{r.randrange(99)} {r.randrange(99)}L{r.randrange(99)}.{r.randrange(99)} {r.randrange(99)}z" key="icon-{r.randrange(99)}"/>'),
    "dns": (False, lambda r: f"v=DKIM1; k=rsa; p=MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB{chars(r, B64, 160)}"),
    "camel": (False, lambda r: "tokenizer.apply_chat_template(messages, addGenerationPrompt2=True, keyNames=['inputIds1'])"),
    "keyboard": (False, lambda r: f"key: Ctrl+Shift+P, keycode={r.randrange(255)}, key=ArrowDown, hotkey: F{r.randrange(1, 12)}"),
    "tables": (False, lambda r: f"| key | value |\n|---|---|\n| id | {r.randrange(10**9)} |\n| token count | {r.randrange(10**5)} |"),
    "serial": (False, lambda r: f"Serial: {chars(r, UPPER, 12)}  MAC: {':'.join(chars(r, HEX, 2) for _ in range(6))}"),
    "commit key": (False, lambda r: f"key: build-{chars(r, HEX, 40)}"),
    "terraform lock": (True, lambda r: f'"h1:{b64(r, 32)}", "zh:{chars(r, HEX, 64)}",'),
    "pip hash": (True, lambda r: f'{{url = "https://files.example.org/a.whl", hash = "sha256:{chars(r, HEX, 64)}"}}'),
    "nix": (True, lambda r: f'sha256 = "{chars(r, LOWER + string.digits, 52)}";'),
    "git log": (True, lambda r: f"{chars(r, HEX, 7)} Rotate token handling ({chars(r, HEX, 40)})"),
    "kubernetes names": (True, lambda r: f"pod/token-service-{chars(r, HEX, 10)}-{chars(r, LOWER + string.digits, 5)} Running"),
    "etag header": (True, lambda r: f'etag: W/"{chars(r, HEX, 8)}-{chars(r, ALNUM, 27)}"'),
    "correlation": (True, lambda r: f"correlation-id={uuid.UUID(bytes=r.randbytes(16))} span_id={chars(r, HEX, 16)}"),
    "s3 etag": (True, lambda r: f'"ETag": "\\"{chars(r, HEX, 32)}-{r.randrange(9)}\\"", "Key": "exports/{chars(r, HEX, 12)}.csv"'),
    "dictionary keys": (True, lambda r: f"keys: {', '.join(chars(r, LOWER, 6) for _ in range(4))}; key = row_{r.randrange(999)}"),
    "translation files": (True, lambda r: r.choice(['"login.password": "Contraseña"', "password.confirm=Confirmer le mot de passe", "token_invalid: 'Ungültiges Token'", '"forgotPassword": "¿Olvidaste tu contraseña?"'])),
    "advice again": (True, lambda r: r.choice(["Never share your API key with anyone.", "Tokens expire after 30 days.", "The secret key is derived with PBKDF2-HMAC-SHA256.", "Choose a passphrase of at least 6 words.", "Password: minimum 12 characters, 1 digit"])),
    "code again": (True, lambda r: r.choice(["token := r.Header.Get(\"Authorization\")", "password: { type: String, required: true }", "const [password, setPassword] = useState('');", "api_key=settings.API_KEY,", "secret = Secret.from_name('db')", "key=lambda item: item[1]", "passwd = getpass.getpass('Password: ')"])),
    "options": (True, lambda r: r.choice(["--password-file /run/secrets/db", "--token-ttl 3600s", "--key-path ./certs/server.key", "--secret-name db-creds", "PasswordAuthentication no", "password_encryption = scram-sha-256"])),
    "font and map": (True, lambda r: f"url('/fonts/inter-{chars(r, HEX, 20)}.woff2') app.{chars(r, HEX, 8)}.js.map"),
    "public certificate pin": (True, lambda r: f'pin-sha256="{b64(r, 32)}"; max-age=5184000'),
    "public keys again": (True, lambda r: f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{chars(r, B64, 43)} ann@host"),
    "wallet": (True, lambda r: f"tx 0x{chars(r, HEX, 64)} in block {r.randrange(10**8)}"),
    "cloud ids": (True, lambda r: f"arn:aws:kms:eu-west-1:{r.randrange(10**11, 10**12)}:key/{uuid.UUID(bytes=r.randbytes(16))} i-0{chars(r, HEX, 16)}"),
    "search links": (True, lambda r: f"https://shop.example.com/p/B0{chars(r, UPPER, 8)}?ref=sr_1_{r.randrange(9)}&qid={r.randrange(10**9)}&sid={r.randrange(10**6)}"),
    "chat": (True, lambda r: r.choice(["The key to success is patience.", "wow, that token economy is wild", "our secret sauce is garlic", "Pass me the salt: I need it.", "Session 3 starts at 14:30 in room B12"])),
    "spanish and french": (True, lambda r: r.choice(["La clave es la constancia.", "La clé est sous le paillasson.", "Olvidé mi contraseña, ¿me ayudas?", "La clé primaire est un entier.", "le mot de passe doit contenir 8 caractères"])),
    "yaml schema": (True, lambda r: r.choice(["password:\n  type: string\n  minLength: 8", "token:\n  description: The token\n", "secretKeyRef:\n  name: db\n  key: password", "existingSecret: my-release-db"])),
    "documented again": (True, lambda r: r.choice(["OPENAI_API_KEY=sk-...", "token: ghp_************************************", "AKIAXXXXXXXXXXXXXXXX", "password=<redacted>", "--token=$(gh auth token)", "API_KEY=\"your-api-key-here\"", "secret: {{ vault_secret }}"])),
    "hash of a password": (True, lambda r: f"password_hash: $2b$12${chars(r, ALNUM, 53)}"),
}  # fmt: skip


def rows(*, seed: int = SEED) -> list[Row]:
    """Every kind in every carrier it may have, and every family of look-alikes, several times."""
    r = Rng(seed)
    made = []
    for kind, value in KINDS.items():
        carriers = NAMED.get(kind) or ISSUED
        for carrier, unseen in carriers.items():
            for _ in range(PER_CARRIER):
                v = value(r)
                text = carrier.replace("{v!q}", f'"{v}"').replace("{v}", v).replace("{{", "{").replace("}}", "}")
                made.append(Row(text, v, kind, unseen))
    for family, (unseen, text_of) in LOOKALIKES.items():
        made += [Row(text_of(r), "", family, unseen) for _ in range(12)]
    return made


# ---------------------------------------------------------------- who finds what

PEER = """
import json, logging, os, sys, tempfile, time, warnings
warnings.filterwarnings("ignore"); logging.disable(logging.CRITICAL)
texts = json.load(open(sys.argv[2]))
if sys.argv[1] == "detect-secrets":
    from detect_secrets import SecretsCollection
    from detect_secrets.settings import default_settings
    folder = tempfile.mkdtemp()
    def look(text):
        path = os.path.join(folder, "f.txt")
        with open(path, "w") as file: file.write(text)
        found = SecretsCollection(); found.scan_file(path)
        return bool(list(found))
    with default_settings():
        began = time.process_time(); hits = [look(text) for text in texts]
else:
    import structlog; structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    from llm_guard.input_scanners.secrets import Secrets
    scanner = Secrets(redact_mode="all"); scanner.scan("warm up")
    began = time.process_time(); hits = [not scanner.scan(text)[1] for text in texts]
print(json.dumps({"hits": hits, "seconds": time.process_time() - began}))
"""


def ours(made: list[Row]) -> dict[str, Any]:
    from penstock.guard.secrets import Secrets

    secrets = Secrets()
    secrets.find("password: warm-up ghp_")
    began = time.process_time()
    found = [secrets.find(row.text) for row in made]
    seconds = time.process_time() - began
    hits = []
    for row, findings in zip(made, found, strict=True):
        at = row.text.find(row.value) if row.value else -1
        hits.append(
            any(f.start < at + len(row.value) and f.end > at for f in findings) if row.value else bool(findings)
        )
    return {"hits": hits, "seconds": seconds}


def peer(name: str, python: str, made: list[Row]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        texts = Path(folder) / "texts.json"
        texts.write_text(json.dumps([row.text for row in made]))
        ran = subprocess.run([python, "-c", PEER, name, str(texts)], capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return result


def figures(made: list[Row], ran: dict[str, Any], *, unseen: bool | None) -> dict[str, Any]:
    hits: Counter[str] = Counter()
    total: Counter[str] = Counter()
    flagged: Counter[str] = Counter()
    for row, hit in zip(made, ran["hits"], strict=True):
        if unseen is None or row.unseen == unseen:
            if row.value:
                hits[row.kind] += hit
                total[row.kind] += 1
            else:
                flagged[""] += 1
                flagged[row.kind] += hit
    kinds = {kind: round(hits[kind] / total[kind], 3) for kind in total}
    negatives = flagged.pop("", 0)
    return {
        "secrets": total.total(), "recall": round(hits.total() / max(1, total.total()), 4), "worst_kind": min(kinds.items(), key=lambda k: k[1], default=("", 0)),
        "lookalikes": negatives, "flagged": round(flagged.total() / max(1, negatives), 4), "flagged_families": dict(+flagged), "kinds": kinds,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detect-secrets", metavar="PYTHON")
    parser.add_argument("--llm-guard", metavar="PYTHON")
    parser.add_argument("--rows", metavar="FILE")
    parser.add_argument("--misses", action="store_true")
    asked = parser.parse_args()
    made = rows()
    systems = {"penstock": ours(made)}
    for name, python in (("detect-secrets", asked.detect_secrets), ("llm-guard", asked.llm_guard)):
        if python:
            systems[name] = peer(name, python, made)
    size = sum(len(row.text.encode()) for row in made) / 1024
    result = {
        name: {
            "unseen": figures(made, ran, unseen=True), "seen": figures(made, ran, unseen=False),
            "cpu_ms_per_kb": round(ran["seconds"] * 1000 / size, 3),
        }
        for name, ran in systems.items()
    }  # fmt: skip
    if asked.rows:
        given = [json.loads(line) for line in Path(asked.rows).read_text().splitlines()]
        other = [
            Row(g["text"], g["text"][g["spans"][0]["start"] : g["spans"][0]["end"]] if g["label"] else "", g["category"], True) for g in given
        ]  # fmt: skip
        result["penstock"]["given_rows"] = figures(other, ours(other), unseen=None)
    if asked.misses:
        for row, hit in zip(made, systems["penstock"]["hits"], strict=True):
            if bool(row.value) != hit:
                print(row.unseen, row.kind, repr(row.text[:150]))
    for name, found in result.items():
        for part in ("unseen", "seen", "given_rows"):
            if part in found:
                f = found[part]
                print(
                    f"{name:15} {part:10} recall {f['recall']:.4f} worst {f['worst_kind']} flagged {f['flagged']:.4f} {f['flagged_families']}"
                )
        print(f"{name:15} {found['cpu_ms_per_kb']} CPU ms per KB")
    if not asked.misses:
        write(
            "secrets_found",
            claim=__doc__,
            command="python -m benchmarks.secrets_found",
            figures={"seed": SEED, "texts": len(made), "systems": result, "versions": versions(["google-re2"])},
        )


if __name__ == "__main__":
    main()
