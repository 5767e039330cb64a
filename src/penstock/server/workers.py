"""Several processes that serve one address together. One that dies is started again, and what it held is given back."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.context import SpawnProcess
from types import FrameType
from typing import Any

from penstock.assemble import House
from penstock.config import Seconds, Settings
from penstock.errors import BadSetting
from penstock.trace import log, set_log_level

__all__ = ["listeners", "serve_many"]

SETTLE_S = 5.0  # how much longer than their own patience workers are waited for
AGAIN_S = 1.0  # pause before a worker is started again


def listeners(first: socket.socket, workers: int) -> list[socket.socket]:
    """As many sockets at the address of the first: the kernel shares connections out between them."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise BadSetting("server.workers needs Linux or macOS", hint="server.workers = 1")
    found = [first]
    for _ in range(workers - 1):
        one = socket.socket(first.family, socket.SOCK_STREAM)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        one.bind(first.getsockname())
        one.listen(1024)
        found.append(one)
    return found


def serve_many(house: House, sockets: list[socket.socket], *, started: Callable[[], None]) -> None:
    """Serve until SIGTERM or Ctrl-C with a process for each socket."""
    settings = house.settings
    set_log_level(settings.log.level)
    counters = house.prepare_workers()
    house.close()
    context = multiprocessing.get_context("spawn")
    ready = context.Semaphore(0)
    stopping = False

    def stop(number: int, frame: FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    def start(worker: int) -> SpawnProcess:
        process = context.Process(
            target=_work, args=(settings, worker, sockets[worker], ready), name=f"worker {worker}"
        )
        process.start()
        return process

    previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    processes = [start(worker) for worker in range(len(sockets))]
    try:
        waiting = len(sockets)
        while not stopping:
            if waiting:
                if ready.acquire(timeout=0.1):
                    waiting -= 1
                    if not waiting:
                        started()
                elif not any(process.is_alive() for process in processes):
                    raise BadSetting("no worker could start", hint="the log says why")
            else:
                time.sleep(0.2)
            for worker, process in enumerate(processes):
                if not process.is_alive() and not stopping and not waiting:
                    log("worker died", level="error", worker=worker, status=process.exitcode)
                    counters[worker].forget()
                    time.sleep(AGAIN_S)
                    processes[worker] = start(worker)
    finally:
        _end(processes, settings.server.drain_s)
        for number, handler in previous.items():
            signal.signal(number, handler)
        for counter in counters:
            counter.close()


def _end(processes: list[SpawnProcess], drain_s: float) -> None:
    for process in processes:
        if process.is_alive():
            process.terminate()
    until = time.monotonic() + drain_s + SETTLE_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        if process.is_alive():
            process.kill()
            process.join()


def _end_with_parent() -> None:
    """A parent that was killed says nothing: alone, this worker would keep the port, and count budgets by itself."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _work(settings: Settings, worker: int, listener: socket.socket, ready: Any) -> None:
    """One worker, in a process of its own."""
    from penstock.server.run import serve

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent says when to stop
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if worker:  # one of them looks after the documents
        documents = {name: replace(kind, refresh=Seconds(0.0)) for name, kind in settings.documents.items()}
        settings = replace(settings, documents=documents)
    try:
        serve(House(settings, worker=worker), listener, started=ready.release)
    except Exception as error:
        log("worker could not start", level="error", worker=worker, error=f"{type(error).__name__}: {error}")
        sys.stderr.flush()
        os._exit(1)
