"""Tools in a sandbox: what they may do, what they may not, and that whoever runs them is unharmed by any of it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from penstock.agents.actions import Context, Person
from penstock.agents.sandbox import Limits, Sandbox, computed, protection, python_tool
from penstock.errors import BadArguments, BadRequest, BadSetting, TooLarge, ToolFailed, ToolStopped

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="what holds elsewhere is less, and is said by `protection`"
)
PRICES = """
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
import os

class Size(Enum):
    SMALL = "small"
    LARGE = "large"

@dataclass
class Line:
    amount: Decimal
    count: int = 1

def total(lines: list[Line], size: Size = Size.SMALL, off: Decimal | None = None) -> Decimal:
    '''What a basket costs.'''
    print("adding")
    found = sum((line.amount * line.count for line in lines), Decimal(0))
    return found * (2 if size is Size.LARGE else 1) - (off or 0)

def refuses(order: str) -> None:
    from penstock.errors import BadRequest
    raise BadRequest(f"there is no order {order}")

def forever() -> None:
    while True:
        pass

def secrets() -> list[str]:
    return sorted(os.environ)
"""


@pytest.fixture
def prices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "prices_for_tests.py").write_text(PRICES)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("prices_for_tests", None)
    import prices_for_tests  # type: ignore[import-not-found]

    return prices_for_tests


def code(text: str, arguments: dict[str, Any] | None = None, *, sandbox: Sandbox | None = None, **limits: Any) -> Any:
    return (sandbox or Sandbox(Limits(**limits))).run_code(textwrap.dedent(text), arguments)


def stopped(text: str, **limits: Any) -> str:
    with pytest.raises(ToolStopped) as met:
        code(text, **limits)
    return met.value.limit


def gone(mark: str) -> bool:
    """Whether no process has this mark in its command line, at the latest after five seconds."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        lines = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                lines.append(path.read_bytes())
            except OSError:
                continue
        if not any(mark.encode() in line for line in lines):
            return True
        time.sleep(0.05)
    return False


# ---------------------------------------------------------------- what a tool can do


def test_a_function_computes_with_the_types_it_names(prices: Any):
    ran = Sandbox().run(
        prices.total, {"lines": [{"amount": "12.50", "count": 3}], "size": "large", "off": Decimal("5")}
    )

    assert (ran.value, ran.output, ran.code) == ("70.00", "adding\n", 0)


def test_code_finds_its_arguments_and_leaves_a_result():
    ran = code("print(arguments['a']); result = {'b': arguments['a'] * 2}", {"a": 21})

    assert (ran.value, ran.output) == ({"b": 42}, "21\n")


def test_a_command_finds_its_arguments_in_its_standard_input():
    ran = Sandbox().run(["cat"], {"order": "#W1"})

    assert (ran.output, ran.code) == ('{"order": "#W1"}', 0)
    with pytest.raises(ToolFailed, match="status 2"):
        Sandbox().run(["/bin/sh", "-c", "exit 2"])


def test_a_tool_may_use_files_in_its_folder_threads_and_what_it_was_given_to_read(tmp_path: Path):
    (tmp_path / "rates.txt").write_text("1.07")
    box = Sandbox(reads=[tmp_path / "rates.txt"], environment={"SHOP": "ours"})

    ran = code(
        f"""
        import os, threading
        open("a", "w").write("1"); os.mkdir("b"); os.rename("a", "b/a")
        thread = threading.Thread(target=lambda: open("c", "w").close()); thread.start(); thread.join()
        result = [sorted(os.listdir()), open({str(tmp_path / "rates.txt")!r}).read(), os.environ["SHOP"]]
        """,
        sandbox=box,
    )

    assert ran.value == [["b", "c"], "1.07", "ours"]


def test_nothing_is_left_of_one_run_in_the_next():
    box = Sandbox()
    closed = "os.makedirs('d/e'); open('d/e/a', 'w'); os.chmod('d/e', 0); os.chmod('d', 0); os.symlink('/', 's'); os.chmod('.', 0)"
    first = box.run_code(f"import os; result = os.getcwd(); {closed}")

    assert not Path(first.value).exists()
    assert box.run_code("import os; result = os.listdir()").value == []


def test_what_a_tool_raises_is_told_and_what_it_refuses_is_refused(prices: Any):
    with pytest.raises(ToolFailed, match="ZeroDivisionError: division by zero"):
        code("1 / 0")
    with pytest.raises(ToolFailed, match="SyntaxError"):
        code("this is no python")
    with pytest.raises(ToolFailed, match="object cannot be written as JSON"):
        code("result = object()")
    with pytest.raises(ToolFailed, match="no JSON"):
        code("result = float('nan')")
    with pytest.raises(BadRequest, match="there is no order #W1"):
        Sandbox().run(prices.refuses, {"order": "#W1"})
    with pytest.raises(ToolFailed, match="gave no result"):
        code("import os; os._exit(0)")
    with pytest.raises(ToolFailed, match="status -11"):
        code("import ctypes; ctypes.string_at(0)")


@pytest.mark.parametrize("tool", [lambda: 1, print, time.sleep, [], ["no-such-command-here"], ["cat", "a\0b"]])
def test_what_cannot_be_run_in_a_process_of_its_own_is_refused(tool: Any):
    with pytest.raises(BadSetting):
        Sandbox().run(tool)


@pytest.mark.parametrize(
    "limits", [{"wall_s": 0}, {"cpu_s": 1.5}, {"memory_mb": -1}, {"processes": True}, {"file_mb": "a"}]
)
def test_a_limit_that_is_none_is_refused(limits: dict[str, Any]):
    with pytest.raises(BadSetting, match=next(iter(limits))):
        Limits(**limits)


def test_many_threads_run_tools_at_once():
    box, found = Sandbox(), []

    def one(n: int) -> None:
        found.append(box.run_code("result = arguments['n'] ** 2", {"n": n}).value)

    threads = [threading.Thread(target=one, args=(n,)) for n in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(found) == [n * n for n in range(12)]


# ---------------------------------------------------------------- limits


@pytest.mark.parametrize(
    ("text", "limits", "limit"),
    [
        ("while True: pass", {"cpu_s": 1, "wall_s": 60.0}, "cpu_s"),
        ("import time; time.sleep(60)", {"wall_s": 0.5}, "wall_s"),
        ("import signal, time; signal.signal(signal.SIGTERM, lambda *_: 0); time.sleep(60)", {"wall_s": 0.5}, "wall_s"),
        ("x = [bytearray(1 << 20) for _ in range(4096)]", {"memory_mb": 128}, "memory_mb"),
        ("x = bytearray(1 << 40)", {}, "memory_mb"),
        ("while True: print('x' * 1000)", {}, "output_kb"),
        ("import sys\nwhile True: sys.stderr.write('x' * 1000)", {}, "output_kb"),
        ("import os\nos.write(1, b'x' * 70_000)", {}, "output_kb"),
        ("result = 'x' * 1_000_000", {}, "result_kb"),
        ("import os\nfor n in range(3, 4000):\n try: os.write(n, b'{' * 600_000)\n except OSError: pass", {}, "result_kb"),
        ("f = open('a', 'wb')\nwhile True: f.write(b'x' * 100_000)", {"file_mb": 2}, "file_mb"),
        ("n = 0\nwhile True: n += 1; open(f'{n}', 'w').close()", {"folder_files": 200}, "folder"),
        ("n = 0\nwhile True: n += 1; open(f'{n}', 'wb').write(b'x' * 1_000_000)", {"folder_mb": 8}, "folder"),
        ("f = []\nwhile True: f.append(open('/dev/null'))", {}, "open_files"),
    ],
)  # fmt: skip
def test_a_tool_that_uses_too_much_is_ended_and_the_limit_named(text: str, limits: dict[str, Any], limit: str):
    began = time.monotonic()

    assert stopped(text, **limits) == limit
    assert time.monotonic() - began < 30


def test_a_tool_alone_starts_no_process():
    with pytest.raises(ToolFailed, match="not permitted"):
        code("import os\nwhile True: os.fork()")
    with pytest.raises(ToolFailed, match="not permitted"):
        code("import subprocess; subprocess.run(['/bin/true'])")


def test_a_fork_bomb_ends_at_its_limit_and_with_all_its_processes():
    mark = f"mark{os.getpid()}bomb"
    began = time.monotonic()

    bomb = f"import os, time\nmark = '{mark}'\nwhile True:\n try: os.fork()\n except OSError: time.sleep(0.01)"
    assert stopped(bomb, processes=8, wall_s=1.0) in ("wall_s", "processes")

    assert time.monotonic() - began < 30
    assert gone("sandboxed.py")


def test_more_processes_than_one_may_be_asked_for():
    ran = code(
        "import subprocess; result = subprocess.run(['/bin/echo', 'a'], capture_output=True).stdout.decode()",
        processes=4,
    )

    assert ran.value == "a\n"


def test_too_many_arguments_are_refused_before_anything_runs():
    with pytest.raises(TooLarge, match="the limit is 262,144"):
        code("result = 1", {"a": "x" * 300_000})
    assert code("result = len(arguments['a'])", {"a": "x" * 200_000}).value == 200_000
    assert Sandbox().run(["/bin/true"], {"a": "x" * 200_000}).code == 0  # which reads none of it


# ---------------------------------------------------------------- what a tool does not reach


@pytest.mark.parametrize(
    "text",
    [
        "import socket; socket.socket()",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import socket; socket.create_connection(('127.0.0.1', 22), timeout=5)",
        "import urllib.request; urllib.request.urlopen('http://127.0.0.1/')",
    ],
)
def test_there_is_no_network(text: str):
    with pytest.raises(ToolFailed, match="not permitted"):
        code(text)


def test_files_of_others_are_neither_read_nor_written_nor_through_a_link(tmp_path: Path):
    secret = tmp_path / "secret.txt"
    secret.write_text("a secret")
    secret.chmod(0o644)
    tmp_path.chmod(0o755)

    for text in (
        f"open({str(secret)!r}).read()", f"import os; os.symlink({str(secret)!r}, 'a'); open('a').read()",
        f"import os; os.link({str(secret)!r}, 'a'); open('a').read()", f"open({str(secret)!r}, 'w')",
        f"import os; os.listdir({str(tmp_path)!r})", f"open({str(tmp_path / 'new')!r}, 'w')",
        f"import os; os.symlink({str(tmp_path)!r}, 'd'); open('d/new', 'w')", "open('/tmp/from-a-tool', 'w')",
        "open('/dev/shm/from-a-tool', 'w')", "import os; os.listdir('/root')", "open('/etc/passwd').read()",
        f"import os; os.remove({str(secret)!r})", f"import os; os.truncate({str(secret)!r}, 0)",
    ):  # fmt: skip
        with pytest.raises(ToolFailed, match=r"PermissionError|OSError.*(cross-device|Cross-device)"):
            code(text)

    assert secret.read_text() == "a secret"
    assert not (tmp_path / "new").exists()


def test_the_environment_and_the_open_files_of_the_house_stay_there(
    prices: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    with (tmp_path / "open").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        names = Sandbox().run(prices.secrets).value
        inherited = code(
            f"import os\ntry: os.fstat({file.fileno()}); result = True\nexcept OSError: result = False"
        ).value

    assert "OPENAI_API_KEY" not in names
    assert not inherited
    with pytest.raises(ToolFailed, match=r"PermissionError|FileNotFoundError"):
        code(f"open('/proc/{os.getpid()}/environ').read()")


@pytest.mark.parametrize(
    "text",
    [
        "os.kill({house}, 9)", "os.kill(os.getppid(), 9)", "os.kill(-1, 9)", "os.killpg(0, 19); result = 1",
        "os.kill({house}, 0)",
        "import resource; resource.prlimit({house}, resource.RLIMIT_NOFILE, (1, 1))",
        "os.setpriority(os.PRIO_PROCESS, {house}, 19)",
        "import fcntl; r, w = os.pipe(); fcntl.fcntl(r, 8, {house})",
    ],
)  # fmt: skip
def test_the_house_gets_no_signals_and_keeps_its_own_limits(text: str):
    with pytest.raises((ToolFailed, ToolStopped)):
        code("import os; " + text.format(house=os.getpid()), wall_s=1.0)

    assert code("result = 1").value == 1


def test_a_process_that_left_the_tool_ends_with_it(tmp_path: Path):
    ran = code(
        """
        import os, time
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(3): os.close(number)
                time.sleep(60)
            os._exit(0)
        time.sleep(0.1)
        result = "gone on"
        """,
        processes=5,
    )

    assert ran.value == "gone on"
    assert ran.wall_s < 20
    assert gone("sandboxed.py")


# ---------------------------------------------------------------- whoever waits for it


def test_a_tool_ends_when_nobody_waits_for_it_any_more(prices: Any):
    async def impatient() -> None:
        await asyncio.wait_for(Sandbox(Limits(wall_s=60.0, cpu_s=60)).ask(prices.forever), 0.7)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())

    assert gone("sandboxed.py")


def test_a_tool_ends_when_the_house_is_killed(tmp_path: Path):
    house = tmp_path / "house.py"
    house.write_text(
        "from penstock.agents.sandbox import Limits, Sandbox\nprint('begun', flush=True)\n"
        "Sandbox(Limits(wall_s=60.0, cpu_s=60)).run_code('import time; time.sleep(60)')\n"
    )
    (tmp_path / "folders").mkdir(mode=0o777)
    (tmp_path / "folders").chmod(0o777)
    variables = os.environ | {"TMPDIR": str(tmp_path / "folders")}
    process = subprocess.Popen([sys.executable, str(house)], stdout=subprocess.PIPE, env=variables)
    assert process.stdout
    process.stdout.readline()
    until = time.monotonic() + 20
    while not _children(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    assert gone("sandboxed.py")
    assert not list((tmp_path / "folders").glob("*/*"))


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


# ---------------------------------------------------------------- where the system gives less

NO_NAMESPACES = """
import ctypes, struct, sys
program = b"".join(struct.pack("=HBBI", *one) for one in (
    (0x20, 0, 0, 0), (0x15, 0, 1, 272 if __import__("os").uname().machine == "x86_64" else 97), (6, 0, 0, 0x50001),
    (0x15, 0, 1, 444), (6, 0, 0, 0x50026 if LANDLOCK_IS_CUT else 0x7FFF0000), (6, 0, 0, 0x7FFF0000)))
code = ctypes.create_string_buffer(program)
rule = ctypes.create_string_buffer(struct.pack("@HP", 6, ctypes.addressof(code)))
library = ctypes.CDLL(None)
assert library.prctl(38, 1, 0, 0, 0) == 0 and library.prctl(22, 2, rule, 0, 0) == 0
from penstock.agents.sandbox import Limits, Sandbox, protection
from penstock.errors import PenstockError
held = protection()
print("held", *sorted(name for name in held if held[name]))
import os
for text, limits in (
    ("import socket; socket.socket()", {}), ("import os; os.kill(os.getppid(), 9)", {}),
    (f"import os; os.kill({os.getpid()}, 9)", {}),
    ("import os\\nwhile True: os.fork()", {"processes": 5, "wall_s": 2.0}),
    ("import os, time\\nif os.fork() == 0:\\n os.setsid()\\n"
     " if os.fork() == 0: time.sleep(99)\\n os._exit(0)\\ntime.sleep(.1)\\nresult = 1", {"processes": 5}),
    ("import os; os.kill(os.getpid(), 15)", {}),
):
    try:
        print("ran", Sandbox(Limits(**limits)).run_code(text).value)
    except PenstockError as error:
        print(type(error).__name__, str(error).splitlines()[0])
try:
    Sandbox(requires=["files"]).run_code("result = 1")
    print("ran with files")
except PenstockError as error:
    print(type(error).__name__, str(error).splitlines()[0])
"""


@pytest.mark.parametrize("cut", [False, True])
def test_without_namespaces_the_network_and_the_house_are_still_out_of_reach(tmp_path: Path, cut: bool):
    script = tmp_path / "less.py"
    script.write_text(f"LANDLOCK_IS_CUT = {cut}\n{NO_NAMESPACES}")

    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    held, network, parent, house, bomb, daemon, itself, files = done.stdout.splitlines()
    assert "own processes" not in held
    assert "network" in held
    assert "signals" in held
    assert ("files" in held) != cut
    assert all("not permitted" in one for one in (network, parent, house))
    if cut and os.getuid() == 0:  # root stays root, and no limit on processes holds for it
        assert all(one.startswith("BadSetting this system cannot give") for one in (bomb, daemon))
    else:
        assert bomb.startswith("Tool")
        assert daemon == "ran 1"
    assert itself == "ToolFailed the tool ended with status -15 and gave no result"
    assert (
        files.startswith("BadSetting this system cannot give a tool what is required")
        if cut
        else files == "ran with files"
    )
    assert gone("sandboxed.py")


def test_what_holds_is_said_and_what_is_required_and_missing_refused():
    held = protection()

    assert set(held) == {"network", "files", "processes", "memory", "signals", "own processes", "calls", "not root"}
    with pytest.raises(BadSetting, match="no protection"):
        Sandbox(requires=["magic"])
    if held["network"]:
        assert Sandbox(require_no_network=True).run_code("result = 1").value == 1


# ---------------------------------------------------------------- as actions


def test_a_function_becomes_an_action_that_computes(prices: Any):
    total = computed(prices.total)
    context = Context(Person(), "talk 1", "key")

    read = total.read({"lines": [{"amount": "2.50", "count": 2}]})

    assert total.description == "What a basket costs."
    assert total.effect == "reads"
    assert total.run(context, read) == "5.00"
    with pytest.raises(BadArguments):
        total.read({"lines": [{"amount": "a lot"}]})


def test_code_of_a_model_is_an_action_too():
    python = python_tool()
    context = Context(Person("anna", "verified"), "talk 1", "key")

    assert python.run(context, python.read({"code": "print(2 ** 10); result = [1]"})) == {
        "result": [1],
        "output": "1024\n",
    }
    assert python.tool()["function"]["parameters"]["required"] == ["code"]
    with pytest.raises(ToolFailed):
        python.run(context, python.read({"code": "import socket; socket.socket()"}))
