"""Apertium's server as a program of this machine, and the ways through the pairs of languages that it has."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import weakref
from collections.abc import Sequence
from itertools import pairwise

from penstock.errors import NotReady, UpstreamError

__all__ = ["Pairs", "Service"]

PROGRAM = "apertium-apy"
FOLDER = "/usr/share/apertium"  # where Debian's packages of pairs are
PATIENCE_S = 30.0
MOST_STEPS = 3
THREE_LETTERS = {
    "en": "eng", "es": "spa", "ca": "cat", "fr": "fra", "pt": "por", "it": "ita", "ro": "ron", "gl": "glg", "eo": "epo",
    "eu": "eus", "is": "isl", "mk": "mkd", "hr": "hbs", "sr": "hbs", "bs": "hbs", "sv": "swe", "da": "dan", "no": "nob",
    "nl": "nld", "de": "deu", "ru": "rus", "uk": "ukr", "be": "bel", "pl": "pol", "cs": "ces", "sk": "slk", "tr": "tur",
    "ar": "ara", "hi": "hin", "ur": "urd", "id": "ind", "ms": "zsm", "af": "afr", "oc": "oci", "an": "arg", "cy": "cym",
}  # fmt: skip


class Pairs:
    """The pairs of languages of one server, by Apertium's names, and the shortest way through them."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._to: dict[str, list[str]] = {}
        for one, other in pairs:
            self._to.setdefault(one, []).append(other)

    def way(self, source: str, target: str) -> list[tuple[str, str]]:
        """The pairs to go through from one language to another, at most three; [] where there is no way."""
        first, last = _name(source), _name(target)
        ways: list[list[str]] = [[first]]
        for _ in range(MOST_STEPS):
            ways = [
                [*way, following]
                for way in ways
                for following in sorted(self._to.get(way[-1], ()))
                if following not in way
            ]
            for way in ways:
                if way[-1].partition("_")[0] == last:
                    return list(pairwise(way))
        return []


def _name(language: str) -> str:
    base = language.replace("_", "-").partition("-")[0].lower()
    return THREE_LETTERS.get(base, base)


class Service:
    """The program, started when it is first asked for, on a port that was free, and ended with its owner."""

    def __init__(self, folder: str = "") -> None:
        self._folder = folder or FOLDER
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, where it does not run, and wait until it answers. Raises NotReady, UpstreamError."""
        if self._process is not None and self._process.poll() is None:
            return
        program = shutil.which(PROGRAM)
        if program is None:
            raise NotReady(
                f"{PROGRAM} is not on this machine", hint=f"apt install {PROGRAM} apertium-eng-spa, or another pair"
            )
        command = [program, "--port", str(self._port), *_bound(program), self._folder]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        weakref.finalize(self, _ended, self._process)
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self._port), 0.2):
                return
            time.sleep(0.1)
        _ended(self._process)
        raise UpstreamError(f"{PROGRAM} did not start within {PATIENCE_S:.0f} s")

    def close(self) -> None:
        if self._process is not None:
            _ended(self._process)


def _bound(program: str) -> list[str]:
    """The option that keeps it to this machine, where its version has one."""
    known = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout
    return ["--bind-address", "127.0.0.1"] if "--bind-address" in known else []


def _ended(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
