"""Starting and stopping the server."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, cast

import uvicorn

from penstock.assemble import House
from penstock.config import Settings
from penstock.errors import BadSetting
from penstock.server.access import check_binding
from penstock.server.app import App
from penstock.server.connection import Connection
from penstock.server.sessions import SignedIn
from penstock.trace import set_log_level

if TYPE_CHECKING:
    from uvicorn._types import ASGIApplication

__all__ = ["Server", "free_socket", "serve"]

PORTS_TRIED = 20
GARBAGE = 20_000  # objects made before cycles are looked for


def free_socket(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A listening socket at the port, or at the next free one. Raises BadSetting when none of twenty is.

    shared: whether further sockets will listen at the same port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    last: OSError | None = None
    for candidate in range(port, min(port + PORTS_TRIED, 65_536)) if port else (0,):
        listener = socket.socket(family, socket.SOCK_STREAM)
        if os.name == "posix":  # elsewhere it would let two servers share a port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            if shared:
                listener.bind((host, candidate))  # a port that others share is not free: look first without sharing
                listener.close()
                listener = socket.socket(family, socket.SOCK_STREAM)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listener.bind((host, candidate))
            listener.listen(1024)
            return listener
        except OSError as error:
            listener.close()
            last = error
    raise BadSetting(
        f"no port from {port} to {port + PORTS_TRIED - 1} on {host} can be used: {last}", hint="penstock up --port PORT"
    )


def serve(house: House, listener: socket.socket, *, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; then running requests are finished, for as long as `drain_s` allows."""
    house.keys.refresh()
    check_binding(house.settings, house.keys)
    set_log_level(house.settings.log.level)
    app = App(house)
    Server(app, started=started).run(sockets=[listener])
    if app.work.busy:  # a build that is cut off here leaves nothing behind, and may take long to end by itself
        sys.stderr.flush()
        os._exit(0)


def around(app: App) -> ASGIApplication:
    """The app, behind those who say who is asking: sessions of browsers, and the login where there is a provider."""
    signed_in = SignedIn(app, app.house)
    if not app.house.settings.login.issuer:
        return cast("ASGIApplication", signed_in)
    from penstock.server.login import Login

    return cast("ASGIApplication", Login(signed_in, app.house))


def _tls(settings: Settings) -> Callable[..., ssl.SSLContext] | None:
    """How to serve HTTPS, where there is a certificate. Raises BadSetting for one that cannot be used."""
    if not settings.server.tls_cert:
        return None
    cert = settings.folder / Path(settings.server.tls_cert).expanduser()
    key = settings.folder / Path(settings.server.tls_key).expanduser() if settings.server.tls_key else None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, lambda: "")  # nobody is there to type a password
    except FileNotFoundError as error:
        missing = next((path for path in (cert, key) if path and not path.exists()), cert)
        raise BadSetting(f"server.tls_cert: there is no file {missing}") from error
    except (ssl.SSLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise BadSetting(
            f"server.tls_cert: {cert} cannot be used: {reason}",
            hint="PEM: the certificate, those that signed it, and a private key without a password",
        ) from error
    return lambda *_: context


class Server(uvicorn.Server):
    """uvicorn around one app. It answers from the first moment, says when it is up, and finishes what runs."""

    def __init__(self, app: App, *, started: Callable[[], None]) -> None:
        self._app, self._up, self._drain_s = app, started, app.house.settings.server.drain_s
        config = uvicorn.Config(
            around(app),
            ssl_context_factory=_tls(app.house.settings),
            http=Connection,
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",  # what goes wrong is logged by the app, as JSON and without words
            access_log=False,
            server_header=False,
            proxy_headers=False,  # nobody's word is taken for who they are
            timeout_graceful_shutdown=1,  # after we have waited ourselves
            timeout_keep_alive=30,
        )
        super().__init__(config)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve, and close the house when no thread uses it any more."""
        try:
            super().run(sockets)
        finally:
            self._app.close()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        try:
            await asyncio.to_thread(self._app.open)
        except Exception:
            await self.shutdown(sockets)
            raise
        if not self.should_exit:
            gc.collect()
            gc.freeze()  # what is loaded by now stays: looking through it again and again costs each request
            gc.set_threshold(GARBAGE, 20, 20)
            self._app.begin()
            self._app.ready = True
            self._up()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Wait for the requests that are running, and tell others that we are stopping; then close."""
        beside = self._app.end()
        running, until = {*self.server_state.tasks, *beside}, time.monotonic() + self._drain_s
        while running and not self.force_exit and time.monotonic() < until:
            _, running = await asyncio.wait(running, timeout=0.1)
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        self._app.work.stop.set()
        await super().shutdown(sockets)
        self._app.house.clients.close()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain; at once with a second Ctrl-C. uvicorn would raise the signal again, but to be stopped is no failure."""
        self._app.ready = False
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True
