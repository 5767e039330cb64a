"""How each gateway is started, what it is told, and what its processes use. Linux: it reads /proc and pins cores.

Every gateway runs alone on one core, with one worker; the mock upstream and the load share another. Penstock has keys, limits,
a budget, its journal and its metrics on. The others have whatever makes them quickest: no database, no cache, no callbacks.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from benchmarks.gateway.load import Door
from benchmarks.gateway.mock import MODELS
from benchmarks.measure import ONE_THREAD

__all__ = ["Target", "add_options", "all_started", "cores", "on_core"]

PATIENCE_S = 90.0  # for the first answer
REFUSED_S = 3.0  # a gateway that is up and has said no for so long will not say yes
HERE = Path(__file__).parent
CLIENTS = ("own", "aiohttp", "pyreqwest")  # of references.py


@dataclass(frozen=True, slots=True)
class Launch:
    """A gateway that can be started: its command, and how to be let in."""

    name: str
    command: tuple[str, ...]
    key: str = "sk-none"
    headers: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class Target:
    """A gateway that answers, or the upstream itself, which has no process of its own here."""

    name: str
    door: Door
    process: int | None = None
    start_s: float = 0.0  # from the command to the first answer
    version: str = ""

    def cpu_s(self) -> float:
        """CPU time of its processes so far, to the nanosecond, threads that have ended included."""
        return sum(_clock(process) for process in self._processes())

    def peak_mb(self) -> float:
        """The most memory that its processes have had resident, each at its own time."""
        return sum(_status_mb(process, "VmHWM") for process in self._processes())

    def _processes(self) -> list[int]:
        found = [self.process] if self.process else []
        for process in found:  # grows while it is walked
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                with contextlib.suppress(OSError):
                    found += map(int, children.read_text().split())
        return found


def _clock(process: int) -> float:
    try:
        return time.clock_gettime((~process << 3) | 2)  # what clock_getcpuclockid(3) returns
    except OSError:
        return 0.0  # it has ended


def _status_mb(process: int, name: str) -> float:
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:")), 0.0)


# ---------------------------------------------------------------- the gateways


def penstock(folder: Path, upstream: str, port: int) -> Launch:
    key = f"sk-penstock-{secrets.token_hex(16)}"
    lines = [
        line
        for name in MODELS
        for line in (
            f"[models.{name}]",
            'provider = "openai"',
            f'model = "{name}"',
            f'base_url = "{upstream}"',
            'api_key = "sk-upstream"',
            "input_usd_per_million = 0.15",
            "output_usd_per_million = 0.60",
        )
    ]
    lines += ["[keys.bench]", f'key = "{key}"', 'team = "bench"']
    lines += ["[budgets.bench]", 'team = "bench"', "limit_usd_per_day = 100000"]
    lines += ["requests_per_minute = 100000000", "tokens_per_minute = 100000000000"]
    (folder / "penstock.toml").write_text("\n".join([*lines, ""]), "utf-8")
    return Launch(
        "penstock",
        (sys.executable, "-m", "penstock", "up", "--port", str(port)),
        key=key,
        environment={"PENSTOCK_HOME": str(folder / "home")},
    )


def litellm(folder: Path, upstream: str, port: int, *, program: Path) -> Launch:
    """program: its `litellm`, in the environment that litellm[proxy] is installed in."""
    key = f"sk-{secrets.token_hex(16)}"
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"openai/{name}", "api_base": upstream, "api_key": "sk-upstream"},
        }
        for name in MODELS
    ]
    settings = {
        "model_list": models,
        "general_settings": {"master_key": key},
        "litellm_settings": {"telemetry": False, "num_retries": 0},
    }
    (folder / "litellm.yaml").write_text(json.dumps(settings), "utf-8")  # JSON is YAML
    config = ("--config", str(folder / "litellm.yaml"))
    return Launch(
        "litellm",
        (str(program), *config, "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1"),
        key=key,
        environment={
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # otherwise it asks GitHub for prices
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
        },
        version=_package_version(program.parent / "python", "litellm"),
    )


def portkey(folder: Path, upstream: str, port: int, *, package: Path) -> Launch:
    """package: the folder of @portkey-ai/gateway. It needs no settings; they come with each request."""
    node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
    return Launch(
        "portkey",
        ("node", str(package / "build" / "start-server.js"), "--headless", f"--port={port}"),
        headers={"x-portkey-provider": "openai", "x-portkey-custom-host": upstream},
        environment={"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"},
        version=f"{json.loads((package / 'package.json').read_text('utf-8'))['version']}, node {node.stdout.strip()}",
    )


def sglang(folder: Path, upstream: str, port: int, *, python: Path) -> Launch:
    """python: of the environment that sglang-router is installed in. It is in Rust, and passes on without keys or budgets."""
    server = upstream.removesuffix("/v1")
    return Launch(
        "sglang-router",
        (str(python), "-m", "sglang_router.launch_router", "--backend", "openai", "--worker-urls", server,
         "--host", "127.0.0.1", "--port", str(port), "--log-level", "error"),
        version=_package_version(python, "sglang-router"),
    )  # fmt: skip


def reference(folder: Path, upstream: str, port: int, *, client: str, python: Path) -> Launch:
    """python: of an environment with uvicorn, httptools, uvloop, orjson and the client."""
    return Launch(
        f"pass-through, {client}",
        (str(python), str(HERE / "references.py"), client, str(port), upstream),
        version="" if client == "own" else _package_version(python, client),
    )


def _package_version(python: Path, name: str) -> str:
    code = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"
    done = subprocess.run([str(python), "-c", code, name], capture_output=True, text=True, check=True)
    return done.stdout.strip()


# ---------------------------------------------------------------- starting


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextlib.contextmanager
def on_core(core: int) -> Iterator[None]:
    """This process and what it starts meanwhile stay on one core; afterwards it may go where it could before."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextlib.contextmanager
def start_mock(core: int) -> Iterator[str]:
    """The mock upstream; yields its address, up to /v1."""
    command = [sys.executable, str(HERE / "mock.py"), "--port", "0", "--core", str(core)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        yield process.stdout.readline().split()[-1]
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def direct(upstream: str) -> Target:
    return Target("direct", Door(upstream))


@contextlib.contextmanager
def start(launch: Launch, folder: Path, port: int, *, core: int) -> Iterator[Target]:
    """Start it on a core, wait for its first answer, and end it. Raises RuntimeError with the end of what it said."""
    door = Door(f"http://127.0.0.1:{port}/v1", launch.key, launch.headers)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PENSTOCK_", "LITELLM_"))}
    said = folder / "said.txt"
    with said.open("w") as out, on_core(core):
        began = time.monotonic()
        process = subprocess.Popen(
            launch.command,
            cwd=folder,
            env=kept | ONE_THREAD | dict(launch.environment),
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        problem = _first_answer(door, process, until=began + PATIENCE_S)
        if problem:
            raise RuntimeError(
                f"{launch.name} does not answer: {problem}\n{said.read_text('utf-8', 'replace')[-3000:]}"
            )
        start_s = time.monotonic() - began
        yield Target(launch.name, door, process.pid, start_s, launch.version)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _first_answer(door: Door, process: subprocess.Popen[bytes], *, until: float) -> str:
    """Ask until there is an answer; what was wrong, otherwise."""
    body = json.dumps({"model": "mock", "messages": [{"role": "user", "content": "hello"}]}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {door.key}", **door.headers}
    request = urllib.request.Request(f"{door.url}/chat/completions", body, headers)
    problem, refused = "no time to ask", 0.0
    while time.monotonic() < until:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                if b'"choices"' in answer.read():
                    return ""
        except urllib.error.HTTPError as error:
            problem = f"{error} {error.read(500).decode('utf-8', 'replace')}"
            refused = refused or time.monotonic()
            if error.code < 500 and time.monotonic() > refused + REFUSED_S:
                return problem
        except OSError as error:
            problem = str(error)
        if process.poll() is not None:
            return f"it ended with {process.returncode}"
        time.sleep(0.02)
    return problem


# ---------------------------------------------------------------- which ones, as the commands are told


@dataclass(frozen=True, slots=True)
class Cores:
    """One for the gateway that is measured, one for the upstream and the clients."""

    gateway: int
    rest: int


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--litellm", type=Path, metavar="PROGRAM", help="`litellm`, of litellm[proxy]")
    parser.add_argument("--portkey", type=Path, metavar="FOLDER", help="where npm installed @portkey-ai/gateway")
    parser.add_argument("--sglang", type=Path, metavar="PYTHON", help="of the environment of sglang-router")
    parser.add_argument("--references", type=Path, metavar="PYTHON", help="of an environment for references.py")
    parser.add_argument("--without-penstock", action="store_true", help="the others alone; no results are written")
    parser.add_argument("--cores", default="0,1", help="for the gateway, and for the upstream and the clients")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="write the numbers there, and not to results/")


def cores(options: argparse.Namespace) -> Cores:
    gateway, rest = (int(core) for core in options.cores.split(","))
    return Cores(gateway, rest)


@contextlib.contextmanager
def all_started(options: argparse.Namespace) -> Iterator[list[Target]]:
    """The mock upstream, and each gateway that the options name, started one after another; all answer."""
    use = cores(options)
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(start_mock(use.rest))
        makers: list[Callable[[Path, str, int], Launch]] = []
        if not options.without_penstock:
            makers.append(penstock)
        if options.litellm:
            makers.append(partial(litellm, program=options.litellm.absolute()))
        if options.portkey:
            makers.append(partial(portkey, package=options.portkey.absolute() / "node_modules/@portkey-ai/gateway"))
        if options.sglang:
            makers.append(partial(sglang, python=options.sglang.absolute()))
        if options.references:
            makers += [partial(reference, client=client, python=options.references.absolute()) for client in CLIENTS]
        found = [direct(upstream)]
        for number, make in enumerate(makers):
            folder, port = home / str(number), free_port()
            folder.mkdir()
            found.append(stack.enter_context(start(make(folder, upstream, port), folder, port, core=use.gateway)))
            last = found[-1]
            said = f"{last.name} answers after {last.start_s:.1f} s; it is process {last.process}"
            print(said, file=sys.stderr, flush=True)
        yield found
