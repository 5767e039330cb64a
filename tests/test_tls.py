"""HTTPS by itself: with a certificate in the settings nothing is spoken in the clear."""

import socket
import ssl
from pathlib import Path

import httpx2
import pytest
from serving import TLS, serving, up

from penstock.config import ServerSettings, Settings, load
from penstock.errors import BadSetting
from penstock.server.run import _tls
from penstock.testing import WordEmbedder

TOML = f'[server]\ntls_cert = "{TLS / "server.pem"}"\n'


def test_with_a_certificate_the_server_speaks_https_and_nothing_else(tmp_path: Path):
    with serving(tmp_path, TOML, embedder=WordEmbedder(), documents=False) as served:
        assert served.url.startswith("https://")
        assert served.client().get("/healthz").json() == {"status": "ok"}
        host, port = served.url.removeprefix("https://").split(":")
        with socket.create_connection((host, int(port))) as plain:
            plain.sendall(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
            assert b"200" not in plain.recv(1024)
        with pytest.raises(httpx2.ConnectError):
            httpx2.get(f"{served.url}/healthz")  # nobody here trusts that authority


def test_old_versions_of_tls_are_refused(tmp_path: Path):
    with serving(tmp_path, TOML, embedder=WordEmbedder(), documents=False) as served:
        host, port = served.url.removeprefix("https://").split(":")
        old = ssl.create_default_context(cafile=TLS / "authority.pem")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with socket.create_connection((host, int(port))) as plain, pytest.raises((ssl.SSLError, OSError)):
            old.wrap_socket(plain, server_hostname="localhost")


def test_the_terminal_says_the_address_that_works(tmp_path: Path):
    (tmp_path / "penstock.toml").write_text(
        TOML + '[models.m]\nprovider = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n', "utf-8"
    )
    with up(tmp_path) as (_, address):
        trusted = ssl.create_default_context(cafile=TLS / "authority.pem")
        assert address.startswith("https://")
        assert httpx2.get(f"{address}/healthz", verify=trusted).status_code == 200


@pytest.mark.parametrize(
    ("cert", "key", "said"),
    [("none.pem", "", "there is no file"), ("authority.pem", "", "cannot be used"), ("text.pem", "", "cannot be used"),
     ("server.pem", "none.pem", "there is no file .*none.pem")],
)  # fmt: skip
def test_a_certificate_that_cannot_be_used_is_refused_with_the_file(tmp_path: Path, cert: str, key: str, said: str):
    (tmp_path / "text.pem").write_text("no certificate")
    folder = TLS if (TLS / cert).exists() else tmp_path
    server = ServerSettings(tls_cert=str(folder / cert), tls_key=str(tmp_path / key) if key else "")

    with pytest.raises(BadSetting, match=said):
        _tls(Settings(server=server, folder=tmp_path))


def test_a_key_without_a_certificate_is_a_mistake(tmp_path: Path):
    (tmp_path / "penstock.toml").write_text('[server]\ntls_key = "server.pem"\n')

    with pytest.raises(BadSetting, match="tls_cert is not"):
        load(tmp_path / "penstock.toml", environment={})
