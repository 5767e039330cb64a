"""Tools that compute, each run in a process of its own that has little: limits, an empty folder, no network, nobody's environment.

For what calculates with values that a model gave, and for code that a model wrote. A tool gets JSON and gives JSON. What holds on
this system is said by `protection`, and what a sandbox requires and the system lacks is refused before anything runs.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import importlib.util
import inspect
import json
import os
import selectors
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from penstock.agents.actions import Action, Context, Level, Rate, Text, action, plain
from penstock.errors import BadRequest, BadSetting, NotReady, TooLarge, ToolFailed, ToolStopped

__all__ = ["KINDS", "Limits", "Ran", "Sandbox", "computed", "protection", "python_tool"]

PROGRAM: Final = Path(__file__).with_name("sandboxed.py")
OURS: Final = str(Path(__file__).resolve().parents[2])  # where Penstock itself lies
START_S: Final = 10.0  # what a start may take beside the limit of the tool
KINDS: Final = {
    "network": "no network",
    "files": "reads only the system and what is named, writes only its folder",
    "processes": "a limit on processes",
    "memory": "a limit on memory",
    "signals": "no signals to other processes",
    "own processes": "sees no other processes, and all that it started ends with it",
    "calls": "none of the calls of the kernel that no tool needs",
    "not root": "not the user root",
}
OFTEN: Final = Rate(60, 60.0)
SELDOM: Final = Rate(20, 60.0)
MB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use. cpu_s, memory_mb, file_mb and open_files hold for each of its processes."""

    wall_s: float = 10.0
    cpu_s: int = 5
    memory_mb: int = 512  # of addresses, as the system counts them: Python alone has 40
    output_kb: int = 64  # of standard output and error output, each
    result_kb: int = 256
    arguments_kb: int = 256
    file_mb: int = 16  # of one file
    folder_mb: int = 64  # of all files; looked at twenty times a second
    folder_files: int = 1_000
    open_files: int = 64
    processes: int = 1  # the tool itself; its threads count where there are more

    def __post_init__(self) -> None:
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            if not isinstance(value, int | float) or isinstance(value, bool) or not 0 < value < 1e9:
                raise BadSetting(f"the limit '{one.name}' must be more than 0, not {value!r}")
            if isinstance(one.default, int) and not isinstance(value, int):
                raise BadSetting(f"the limit '{one.name}' must be a whole number, not {value!r}")


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of a run. value: the result of a function, or of code; None for a command. code: the exit status."""

    value: Any
    output: str
    error_output: str
    code: int
    cpu_s: float
    wall_s: float
    held: frozenset[str]  # names of `protection` that held


class Sandbox:
    """Runs functions, code and commands under limits. Keeps nothing between two runs; safe to share between threads."""

    def __init__(
        self, limits: Limits | None = None, *, environment: Mapping[str, str] | None = None, reads: Sequence[Path | str] = (),
        require_no_network: bool = False, requires: Sequence[str] = (),
    ) -> None:  # fmt: skip
        """environment: all that the tool finds there, beside a path to programs and the folder for its files. reads: files and
        folders that it may read beside the system's. requires: names of `protection` without which nothing is run."""
        self.limits = limits or Limits()
        unknown = set(requires) - set(KINDS)
        if unknown:
            raise BadSetting(f"'{min(unknown)}' is no protection", hint=", ".join(KINDS))
        self._requires = sorted({*requires, *(("network",) if require_no_network else ())})
        self._environment = dict(environment or {})
        self._reads = [str(Path(path).resolve()) for path in reads]

    def run(
        self, tool: Callable[..., Any] | Sequence[str], arguments: Mapping[str, Any] | None = None, *,
        stop: threading.Event | None = None,
    ) -> Ran:  # fmt: skip
        """A function of a module, called with the arguments by name; or a command, which finds them as JSON in its standard input.

        Raises ToolStopped for a limit that was met, ToolFailed for what failed otherwise, BadRequest where the function raised
        it, TooLarge for too many arguments, BadSetting for what cannot be run, and NotReady where no process can be started.
        stop: ends the run when it is set.
        """
        if callable(tool):
            return self._run(self._function(tool), arguments or {}, stop)
        argv = [str(part) for part in tool]
        found = shutil.which(argv[0]) if argv else None
        if not found or any("\0" in part for part in argv):
            raise BadSetting(f"there is no command '{argv[0] if argv else ''}'")
        found = os.path.abspath(found)
        program = Path(found).resolve()
        order = {"kind": "command", "argv": [found, *argv[1:]], "reads": [str(program)], "needs": [str(program)]}
        return self._run(order, arguments or {}, stop)

    def run_code(
        self, code: str, arguments: Mapping[str, Any] | None = None, *, stop: threading.Event | None = None
    ) -> Ran:
        """Python with its standard library. It finds `arguments`, and its result is what it leaves in `result`. Raises as `run`."""
        return self._run({"kind": "code", "code": code, "reads": [], "needs": []}, arguments or {}, stop)

    async def ask(self, tool: Callable[..., Any] | Sequence[str], arguments: Mapping[str, Any] | None = None) -> Ran:
        """As `run`, in an async program. When the task is cancelled, the tool is ended."""
        stop = threading.Event()
        try:
            return await asyncio.to_thread(self.run, tool, arguments, stop=stop)
        finally:
            stop.set()

    def _function(self, function: Callable[..., Any]) -> dict[str, Any]:
        module, name = getattr(function, "__module__", ""), getattr(function, "__qualname__", "")
        spec = importlib.util.find_spec(module) if module and module not in ("__main__", "builtins") else None
        if spec is None or not spec.origin or not spec.has_location or not name or "<" in name:
            hint = "write it in a file of its own, which a new process can import"
            raise BadSetting(
                f"'{name or function!r}' cannot be run by itself: it is no function of a module", hint=hint
            )
        path = [str(Path(entry).resolve()) for entry in sys.path if entry]
        depth = module.count(".") + (Path(spec.origin).name == "__init__.py")
        root = str(Path(spec.origin).resolve().parents[depth])
        packages = [entry for entry in path if "site-packages" in entry or "dist-packages" in entry]
        found = [*dict.fromkeys([root, OURS, *packages])]
        return {"kind": "function", "module": module, "name": name, "path": found, "reads": found, "needs": [root]}

    def _run(self, order: dict[str, Any], arguments: Mapping[str, Any], stop: threading.Event | None) -> Ran:
        limits = self.limits
        given = plain(dict(arguments))
        if (size := len(json.dumps(given).encode())) > limits.arguments_kb << 10:
            raise TooLarge(
                f"the tool was given {size:,} bytes of arguments, the limit is {limits.arguments_kb << 10:,}"
            )
        if os.name != "posix":
            raise BadSetting("tools are run on Linux and macOS only", hint="penstock doctor")
        folder = Path(tempfile.mkdtemp(prefix="penstock-tool-"))
        try:
            library = _library()
            order |= {
                "arguments": given, "folder": str(folder.resolve()), "parent": os.getpid(), "requires": self._requires,
                "reads": [*order["reads"], *library, *self._reads],
                "needs": [*order["needs"], *library, *self._reads, sys.executable],
                "limits": {
                    "wall_s": limits.wall_s, "cpu_s": limits.cpu_s, "memory_bytes": limits.memory_mb * MB,
                    "file_bytes": limits.file_mb * MB, "folder_bytes": limits.folder_mb * MB,
                    "folder_files": limits.folder_files, "open_files": limits.open_files, "processes": limits.processes,
                    "result_bytes": limits.result_kb << 10,
                },
            }  # fmt: skip
            return _Run(order, self._variables(folder), limits, stop).done()
        finally:
            _remove(folder)

    def _variables(self, folder: Path) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1",
        } | self._environment  # fmt: skip


def _library() -> list[str]:
    """The folders of Python itself."""
    return [*dict.fromkeys(str(Path(path).resolve()) for path in (sys.base_prefix, os.path.dirname(os.__file__)))]


def _remove(folder: Path) -> None:
    """With all that is in it. A tool may have taken the rights to its own folders."""
    with suppress(OSError):
        folder.chmod(0o700)
    for above, names, _ in os.walk(folder):
        for name in names:
            path = Path(above, name)
            if not path.is_symlink():
                with suppress(OSError):
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


@dataclass
class _Run:
    """One process, from its start until nothing is left of it."""

    order: dict[str, Any]
    variables: dict[str, str]
    limits: Limits
    stop: threading.Event | None
    said: dict[str, bytearray] = field(
        default_factory=lambda: {name: bytearray() for name in ("output", "error_output", "result", "report")}
    )

    def done(self) -> Ran:
        began = time.monotonic()
        with self._started() as process:
            limit = self._listened(process)
        report: dict[str, Any] = json.loads(self.said["report"]) if self.said["report"] else {}
        return self._judged(limit or report.get("limit", ""), report, time.monotonic() - began)

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        result, report = os.pipe(), os.pipe()
        self.order |= {"result": result[1], "report": report[1]}
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(PROGRAM)], env=self.variables, cwd=self.order["folder"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=(result[1], report[1]),
                start_new_session=True, bufsize=0,
            )  # fmt: skip
        except OSError as error:
            for pipe in (*result, *report):
                os.close(pipe)
            raise NotReady(f"no process for a tool can be started: {error.strerror}", retry_after_s=1.0) from error
        os.close(result[1])
        os.close(report[1])
        self._ends = {"result": result[0], "report": report[0]}
        try:
            yield process
        finally:
            with suppress(OSError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            os.close(result[0])
            os.close(report[0])

    def _listened(self, process: subprocess.Popen[bytes]) -> str:
        """Read until what keeps watch has reported. Returns the limit that was met meanwhile."""
        assert process.stdin
        assert process.stdout
        assert process.stderr
        words = json.dumps(self.order).encode()
        waiting = memoryview(struct.pack(">Q", len(words)) + words)
        most = {
            "output": self.limits.output_kb << 10, "error_output": self.limits.output_kb << 10,
            "result": (self.limits.result_kb << 10) + 128, "report": 1 << 16,
        }  # fmt: skip
        met = {"output": "output_kb", "error_output": "output_kb", "result": "result_kb", "report": "report"}
        until = time.monotonic() + self.limits.wall_s + START_S
        pipes = {"output": process.stdout.fileno(), "error_output": process.stderr.fileno(), **self._ends}
        with selectors.DefaultSelector() as selector:
            for name, pipe in pipes.items():
                os.set_blocking(pipe, False)
                selector.register(pipe, selectors.EVENT_READ, name)
            os.set_blocking(process.stdin.fileno(), False)
            selector.register(process.stdin.fileno(), selectors.EVENT_WRITE, "order")
            while selector.get_map():
                if self.stop is not None and self.stop.is_set():
                    return "cancelled"
                if time.monotonic() > until:
                    return "wall_s"
                for key, _ in selector.select(0.05):
                    if key.data == "order":
                        try:
                            waiting = waiting[os.write(key.fd, waiting) :]
                        except OSError:  # it ended; what it said meanwhile is read
                            waiting = waiting[:0]
                        if not waiting:
                            selector.unregister(key.fd)
                        continue
                    try:
                        part = os.read(key.fd, 1 << 16)
                    except BlockingIOError:
                        continue
                    self.said[key.data] += part
                    if not part:
                        selector.unregister(key.fd)
                        if key.data == "report":
                            self._drain(pipes)
                            return self._over(most, met)
                    elif len(self.said[key.data]) > most[key.data]:
                        return met[key.data]
        return ""

    def _drain(self, pipes: Mapping[str, int]) -> None:
        """What was written before the end. Somebody may hold the other end for ever, so nothing is waited for."""
        for name, pipe in pipes.items():
            with suppress(OSError):
                while len(self.said[name]) < 64 * MB and (part := os.read(pipe, 1 << 16)):
                    self.said[name] += part

    def _over(self, most: Mapping[str, int], met: Mapping[str, str]) -> str:
        return next((met[name] for name, said in self.said.items() if len(said) > most[name]), "")

    def _judged(self, limit: str, report: Mapping[str, Any], wall_s: float) -> Ran:
        code, output, errors = int(report.get("code", -1)), _text(self.said["output"]), _text(self.said["error_output"])
        try:
            told: dict[str, Any] = json.loads(self.said["result"]) if self.said["result"] else {}
        except ValueError:
            told = {}
        if not isinstance(told, dict):
            told = {}
        if missing := told.get("missing"):
            said = ", ".join(KINDS[name] for name in missing)
            raise BadSetting(f"this system cannot give a tool what is required: {said}", hint="penstock doctor")
        limit = limit or _met(code, told)
        if limit == "cancelled":
            raise ToolStopped("the tool was ended: whoever waited for it has gone", limit=limit)
        if limit:
            most = getattr(self.limits, limit, None)
            raise ToolStopped(
                f"the tool met its limit {limit} of {most}" if most else f"the tool met a limit: {limit}", limit=limit
            )
        if "error" in told:
            if told.get("refused"):
                raise BadRequest(str(told.get("message")))
            raise ToolFailed(f"the tool failed with {told['error']}: {str(told.get('message'))[:1_000]}")
        if self.order["kind"] != "command" and "value" not in told:
            raise ToolFailed(f"the tool ended with status {code} and gave no result{_last(errors)}")
        if self.order["kind"] == "command" and code:
            raise ToolFailed(f"the command ended with status {code}{_last(errors)}")
        held = frozenset(name for name in report.get("held", ()) if name in KINDS)
        return Ran(told.get("value"), output, errors, code, float(report.get("cpu_s", 0.0)), wall_s, held)


def _met(code: int, told: Mapping[str, Any]) -> str:
    """The limit that shows in how it ended."""
    by_signal = {-signal.SIGXCPU: "cpu_s", -signal.SIGXFSZ: "file_mb"}
    names = {"result_bytes": "result_kb"}
    limit = str(told.get("limit", ""))
    return names.get(limit, limit) or by_signal.get(code, "")


def _text(said: bytearray) -> str:
    return said.decode("utf-8", "replace")


def _last(errors: str) -> str:
    lines = errors.strip().splitlines()
    return f": {lines[-1][:300]}" if lines else ""


# ---------------------------------------------------------------- what holds here


@functools.cache
def protection() -> Mapping[str, bool]:
    """What holds for tools on this system, and what does not: found by running one. Raises NotReady."""
    try:
        held = Sandbox(Limits(wall_s=5.0)).run_code("result = 1").held
    except (BadSetting, ToolFailed):
        held = frozenset()
    return {name: name in held for name in KINDS}


# ---------------------------------------------------------------- as actions


def computed(
    function: Callable[..., Any], *, sandbox: Sandbox | None = None, name: str = "", level: Level = "guest",
    roles: Sequence[str] = (), rate: Rate = OFTEN,
) -> Action:  # fmt: skip
    """An action that computes: a function of a module, with typed parameters and no context, run in a sandbox each time.

    It reads nothing of the house and changes nothing, so nobody has to agree to it. Raises BadSetting.
    """
    box = sandbox or Sandbox()
    signature = inspect.signature(function)
    box._function(function)  # what cannot be imported is refused now

    def run(context: Context, **values: Any) -> Any:
        return box.run(function, {one: plain(value) for one, value in values.items()}).value

    first = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    run.__signature__ = signature.replace(parameters=[first, *signature.parameters.values()])  # type: ignore[attr-defined]
    run.__annotations__ = typing.get_type_hints(function, include_extras=True) | {"context": Context}
    run.__doc__ = function.__doc__
    return action("reads", name=name or function.__name__, level=level, roles=roles, rate=rate)(run)


def python_tool(*, sandbox: Sandbox | None = None, level: Level = "verified", rate: Rate = SELDOM) -> Action:
    """An action that runs Python which a model wrote: with the standard library, and with nothing of ours.

    Without a sandbox, one that is refused where the network or other files cannot be kept from it. Raises BadSetting then, when
    it is asked for.
    """
    box = sandbox or Sandbox(require_no_network=True, requires=("files", "signals"))

    def python(context: Context, code: typing.Annotated[str, Text(most=8_000)]) -> dict[str, Any]:
        """Run Python 3 with its standard library. Print what you want to see, or leave a value in `result`."""
        ran = box.run_code(code)
        return {"result": ran.value, "output": ran.output}

    python.__annotations__ = {
        "context": Context,
        "code": typing.Annotated[str, Text(most=8_000)],
        "return": dict[str, Any],
    }
    return action("reads", level=level, rate=rate)(python)
