"""Starting and stopping the server."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from penstock.assemble import House
from penstock.errors import BadSetting
from penstock.server.access import check_binding
from penstock.server.app import App
from penstock.server.connection import Connection
from penstock.trace import set_log_level

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


class Server(uvicorn.Server):
    """uvicorn around one app. It answers from the first moment, says when it is up, and finishes what runs."""

    def __init__(self, app: App, *, started: Callable[[], None]) -> None:
        self._app, self._up, self._drain_s = app, started, app.house.settings.server.drain_s
        config = uvicorn.Config(
            self._app,
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
