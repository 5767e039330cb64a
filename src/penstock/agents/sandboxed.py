"""The process in which a tool runs: it gives up what the tool is not to have, and then becomes the tool.

It is started by its path, with the standard library alone: nothing of Penstock is loaded beside the tool. `sandbox` writes one
order to its standard input, and keeps that open for as long as somebody waits: when it closes, all of it ends. On Linux there
are up to three processes: the first leaves the namespaces of the house, the second is the first process in the new ones, with
which everything in them ends, the third is the tool.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import select
import signal
import struct
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:  # each module that is not loaded is a millisecond sooner
    from typing import Any

LINUX = sys.platform == "linux"
LOOKS_EVERY_S = 0.05
STRANGERS = 60_000  # the first of the users as whom tools of root are run, each as another one
NEW_USER, NEW_PID, NEW_NET, NEW_IPC = 0x10000000, 0x20000000, 0x40000000, 0x08000000
DEATH_SIGNAL, DUMPABLE, KEEP_RIGHTS, SECCOMP, DROP_BOUND, SUBREAPER, NO_NEW_PRIVILEGES, AMBIENT = (
    1,
    4,
    8,
    22,
    24,
    36,
    38,
    47,
)
READS_ALL = 2  # the right to read files of others
LOOKS = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc/ld.so.cache", "/etc/localtime", "/etc/alternatives")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")

# What no tool needs, and what reaches out of its process: sockets, other processes, the kernel's keys, mounts, memory that no
# limit counts. By machine: numbers of x86_64 and of aarch64, -1 where it has no such call.
DENIED = {
    "socket": (41, 198), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "pidfd_open": (434, 434), "kcmp": (312, 272), "process_madvise": (440, 440), "perf_event_open": (298, 241),
    "bpf": (321, 280), "userfaultfd": (323, 282), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "mount": (165, 40), "umount2": (166, 39), "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51),
    "pivot_root": (155, 41), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "shmget": (29, 194), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "memfd_create": (319, 279),
    "memfd_secret": (447, 447), "init_module": (175, 105), "finit_module": (313, 273), "kexec_load": (246, 104),
    "open_by_handle_at": (304, 265), "setpriority": (141, 140), "ioprio_set": (251, 30),
}  # fmt: skip
ALONE = {"fork": (57, -1), "vfork": (58, -1)}
SIGNALS = {
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    "sched_setscheduler": (144, 119),
}  # fmt: skip
SELF_ONLY = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261)}  # whose first argument is a process
CLONE, CLONE3, FCNTL = (56, 220), (435, 435), (72, 25)
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}


def call(name: str, *values: Any) -> int:
    """A function of the C library. Raises OSError."""
    library = ctypes.CDLL(None, use_errno=True)
    found: int = getattr(library, name)(*values)
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return found


def main() -> None:
    order = _read_order()
    held: set[str] = set()
    if LINUX:
        call("prctl", DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        call("prctl", SUBREAPER, 1, 0, 0, 0)
        if os.getppid() != order["parent"]:
            os._exit(1)
        _leave_root(order, held)
        if "own processes" not in held:
            _leave_namespaces(held)
        call("prctl", DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)  # another user starts without it
    if "own processes" in held and os.fork():
        os.close(order["report"])
        os.wait()
        os._exit(0)
    if LINUX:
        call("prctl", DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    _keep(order, held)


def _read_order() -> dict[str, Any]:
    def exactly(count: int) -> bytes:
        parts = b""
        while len(parts) < count:
            part = os.read(0, min(count - len(parts), 1 << 20))
            if not part:
                os._exit(1)
            parts += part
        return parts

    (size,) = struct.unpack(">Q", exactly(8))
    order: dict[str, Any] = json.loads(exactly(size))
    return order


# ---------------------------------------------------------------- who keeps watch


def _keep(order: dict[str, Any], held: set[str]) -> None:
    """Start the tool, wait for its end or a limit, end what it left behind, and report."""
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake)
    ready, said = os.pipe()
    tool = os.fork()
    if tool == 0:
        os.close(ready)
        _become(order, held, said)
    os.close(said)
    os.close(order["result"])
    for stream in (1, 2):
        os.close(stream)
    report: dict[str, Any] = {"limit": ""}
    began = time.monotonic()
    until = began + order["limits"]["wall_s"]
    while True:
        ended, status, used = _ended(tool)
        if ended:
            break
        left = until - time.monotonic()
        readable, _, _ = select.select([woken, 0], [], [], max(0.0, min(left, LOOKS_EVERY_S)))
        if 0 in readable and not os.read(0, 1):
            report["limit"] = "cancelled"
        elif left <= 0:
            report["limit"] = "wall_s"
        elif woken in readable:
            os.read(woken, 512)
            continue
        else:
            limits = order["limits"]
            over = _is_over(order["folder"], limits["folder_bytes"], limits["folder_files"])
            report["limit"] = "folder" if over else ""
        if report["limit"]:
            os.kill(tool, signal.SIGKILL)
            _, status, used = _waited(tool)
            break
    if "own processes" not in held:
        _end_others()
    if report["limit"] == "cancelled":  # the house may have been killed, and then nobody else does it
        import shutil

        shutil.rmtree(order["folder"], ignore_errors=True)
    told = os.read(ready, 1 << 16) if select.select([ready], [], [], 0)[0] else b""
    report |= {
        "code": os.waitstatus_to_exitcode(status), "cpu_s": used, "wall_s": time.monotonic() - began,
        "held": json.loads(told) if told else [],
    }  # fmt: skip
    os.write(order["report"], json.dumps(report).encode())
    os._exit(0)


def _ended(tool: int) -> tuple[bool, int, float]:
    """Whether the tool ended. What else ended and has no parent left is taken away."""
    while True:
        try:
            pid, status, used = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return True, 0, 0.0
        if pid == 0:
            return False, 0, 0.0
        if pid == tool:
            return True, status, used.ru_utime + used.ru_stime


def _waited(tool: int) -> tuple[int, int, float]:
    while True:
        pid, status, used = os.wait4(-1, 0)
        if pid == tool:
            return pid, status, used.ru_utime + used.ru_stime


def _is_over(folder: str, most_bytes: int, most_files: int) -> bool:
    size, count, folders = 0, 0, [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                count += 1
                with contextlib.suppress(OSError):
                    size += entry.stat(follow_symlinks=False).st_blocks * 512
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                if size > most_bytes or count > most_files:
                    return True
    return False


def _descendants(root: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for name in os.listdir("/proc") if LINUX else ():
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", encoding="latin-1") as told:
                    parent = int(told.read().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(name))
    found, waiting = [], [root]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _end_others() -> None:
    """What the tool started. On Linux all of it, also what left its group; elsewhere its group."""
    if not LINUX:
        return  # whoever started this one ends the group
    for _ in range(100):
        others = _descendants(os.getpid())
        for other in others:
            with contextlib.suppress(OSError):
                os.kill(other, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        if not others:
            return
        time.sleep(0.005)


# ---------------------------------------------------------------- what is given up


def _leave_root(order: dict[str, Any], held: set[str]) -> None:
    """Root becomes a user of no one. Where that one could not read what the tool needs, it keeps the right to read the files of
    others, as long as Landlock says which of them."""
    if os.getuid() != 0:
        held.add("not root")
        return
    stranger = STRANGERS + os.getpid() % 5_000
    with contextlib.suppress(OSError):
        os.setegid(stranger)
        os.seteuid(stranger)
        able = all(os.access(path, os.R_OK | os.X_OK, effective_ids=True) for path in order["needs"])
        os.seteuid(0)
        os.setegid(0)
        if not able:
            call("syscall", 444, None, 0, 1)  # Landlock is there
        with contextlib.suppress(OSError):
            call("unshare", NEW_PID | NEW_NET | NEW_IPC)
            held.update(("own processes", "network"))
        os.chown(order["folder"], stranger, stranger)
        os.setgroups([])
        _drop_bound(() if able else (READS_ALL,))
        call("prctl", KEEP_RIGHTS, 1, 0, 0, 0)
        os.setresgid(stranger, stranger, stranger)
        os.setresuid(stranger, stranger, stranger)
        _keep_rights(() if able else (READS_ALL,))
        order["rights"] = [] if able else [READS_ALL]
        held.add("not root")
        call("prctl", DUMPABLE, 1, 0, 0, 0)  # its own files under /proc are its own again


def _drop_bound(keep: tuple[int, ...]) -> None:
    for right in set(range(41)) - set(keep):
        with contextlib.suppress(OSError):
            call("prctl", DROP_BOUND, right, 0, 0, 0)


def _keep_rights(keep: tuple[int, ...]) -> None:
    mask = sum(1 << right for right in keep)
    head, rights = struct.pack("=II", 0x20080522, 0), struct.pack("=6I", mask, mask, mask, 0, 0, 0)
    call("capset", ctypes.create_string_buffer(head, 8), ctypes.create_string_buffer(rights, 24))
    for right in keep:
        call("prctl", AMBIENT, 2, right, 0, 0)


def _leave_namespaces(held: set[str]) -> None:
    user, group = os.getuid(), os.getgid()
    try:
        call("unshare", NEW_USER | NEW_PID | NEW_NET | NEW_IPC)
    except OSError:
        return
    held.update(("own processes", "network"))
    with contextlib.suppress(OSError):
        for file, words in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with open(f"/proc/self/{file}", "w") as written:
                written.write(words)


def _become(order: dict[str, Any], held: set[str], said: int) -> None:
    """Be the tool. Does not return."""
    order["tool"] = os.getpid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    _give(order)
    keep = {0, 1, 2, order["result"], said}
    for number in range(3, 256):
        if number not in keep:
            with contextlib.suppress(OSError):
                os.close(number)
    os.chdir(order["folder"])
    _limit(order["limits"], held)
    if LINUX:
        _give_up(order, held)
    missing = {*order["requires"], *(("processes",) if order["limits"]["processes"] > 1 else ())} - held
    os.write(said, json.dumps(sorted(held)).encode())
    os.close(said)
    if missing:
        _tell(order, {"missing": sorted(missing)})
    try:
        _run(order)
    except BaseException as error:  # whatever a tool does ends here, as words
        _tell(order, _failure(error))
    os._exit(0)


def _give(order: dict[str, Any]) -> None:
    """Its standard input: the arguments of a command, and nothing for the others."""
    if order["kind"] != "command":
        given = os.open(os.devnull, os.O_RDONLY)
    else:
        name = os.path.join(order["folder"], "arguments")
        given = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        os.unlink(name)
        words = json.dumps(order["arguments"]).encode()
        while words:
            words = words[os.write(given, words) :]
        os.lseek(given, 0, os.SEEK_SET)
    os.dup2(given, 0)


def _limit(limits: dict[str, Any], held: set[str]) -> None:
    import resource

    def most(what: int, value: int, more: int = 0) -> None:
        with contextlib.suppress(OSError, ValueError):  # a lower one is set already, or the system has none
            resource.setrlimit(what, (value, value + more))

    most(resource.RLIMIT_CORE, 0)
    most(resource.RLIMIT_CPU, limits["cpu_s"], 1)
    most(resource.RLIMIT_FSIZE, limits["file_bytes"])
    most(resource.RLIMIT_NOFILE, limits["open_files"])
    most(resource.RLIMIT_AS, limits["memory_bytes"])
    if not LINUX and limits["processes"] == 1:
        most(resource.RLIMIT_NPROC, 1)
        held.add("processes")
    if LINUX and "not root" in held:  # no such limit holds for root
        others = 0 if "own processes" in held or os.getuid() >= STRANGERS else _of_user()
        most(resource.RLIMIT_NPROC, 2 + others + (limits["processes"] if limits["processes"] > 1 else 32))
        held.add("processes")
    if sys.platform != "darwin":
        held.add("memory")


def _of_user() -> int:
    """How many threads the user has."""
    count = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                count += len(os.listdir(f"/proc/{name}/task")) if os.stat(f"/proc/{name}").st_uid == os.getuid() else 0
    return count


def _give_up(order: dict[str, Any], held: set[str]) -> None:
    rights = tuple(order.get("rights", ()))
    _drop_bound(rights)
    with contextlib.suppress(OSError):
        _keep_rights(rights)
    call("prctl", NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    with contextlib.suppress(OSError):
        _fence_files(order, held)
    with contextlib.suppress(OSError):
        _fence_calls(order, held)


def _fence_files(order: dict[str, Any], held: set[str]) -> None:
    """Landlock: what may be read, and the one folder that may be written."""
    version = call("syscall", 444, None, 0, 1)
    every = (1 << {1: 13, 2: 14}.get(version, 15)) - 1
    every |= 1 << 15 if version >= 5 else 0
    rules = struct.pack("=QQQ", every, 3 if version >= 4 else 0, 3 if version >= 6 else 0)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call("syscall", 444, ctypes.create_string_buffer(rules, 24), size, 0)
    looks, runs = (1 << 2) | (1 << 3), 1 << 0
    for path, allowed in (
        *((path, looks | runs) for path in (*LOOKS, *order["reads"])),
        *((path, (1 << 1) | (1 << 2)) for path in DEVICES),
        (order["folder"], every & ~((1 << 6) | (1 << 11))),  # no devices
    ):
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
            if not os.path.isdir(path):
                allowed &= (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14)
            rule = ctypes.create_string_buffer(struct.pack("=Qi", allowed & every, handle), 12)
            call("syscall", 445, ruleset, 1, rule, 0)
            os.close(handle)
    call("syscall", 446, ruleset, 0)
    os.close(ruleset)
    held.add("files")
    if version >= 6:
        held.add("signals")


def _fence_calls(order: dict[str, Any], held: set[str]) -> None:
    """Seccomp: calls that are answered with "not permitted"."""
    machine = MACHINES.get(os.uname().machine)
    if machine is None or sys.maxsize < 2**32:
        return
    column, architecture = machine
    load, equal, above, set_, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, deny, absent = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("=HBBI", code, yes, no, value & 0xFFFFFFFF)

    program = [step(load, 4), step(equal, architecture, 1, 0), step(answer, deny), step(load, 0)]
    if column == 0:
        program += [step(above, 0x40000000, 0, 1), step(answer, deny)]  # the calls of x32

    def on(numbers: tuple[int, int], *then: bytes) -> None:
        """What follows for one call; each branch must answer."""
        if numbers[column] >= 0:
            program.extend((step(equal, numbers[column], 0, len(then)), *then))

    alone = order["limits"]["processes"] == 1
    apart = "own processes" in held
    for numbers in (*DENIED.values(), *(ALONE.values() if alone else ()), *(() if apart else SIGNALS.values())):
        on(numbers, step(answer, deny))
    if not apart:
        for name, numbers in SELF_ONLY.items():
            zero = [step(equal, 0, 2, 0)] if name == "prlimit64" else [step(equal, os.getpid(), 2, 0)]
            on(numbers, step(load, 16), *zero, step(equal, os.getpid(), 1, 0), step(answer, deny), step(answer, allow))
    on(CLONE3, step(answer, absent))
    thread, spaces = 0x10000, 0x7E020000
    kind = [step(set_, thread, 1, 0)] if alone else [step(set_, spaces, 0, 1)]
    on(CLONE, step(load, 16), *kind, step(answer, deny), step(answer, allow))
    owners = [step(equal, 8, 1, 0), step(equal, 15, 0, 1)]  # F_SETOWN, F_SETOWN_EX: whom a file sends signals
    on(FCNTL, step(load, 24), *owners, step(answer, deny), step(answer, allow))
    program.append(step(answer, allow))
    code = ctypes.create_string_buffer(b"".join(program))
    filter_ = ctypes.create_string_buffer(struct.pack("@HP", len(program), ctypes.addressof(code)))
    call("prctl", SECCOMP, 2, filter_, 0, 0)
    held.update(("network", "calls"))
    if not apart:
        held.add("signals")
    if alone:
        held.add("processes")


# ---------------------------------------------------------------- the tool


def _run(order: dict[str, Any]) -> None:
    match order["kind"]:
        case "command":
            os.set_inheritable(order["result"], False)
            os.execve(order["argv"][0], order["argv"], dict(os.environ))  # noqa: S606, without a shell on purpose
        case "code":
            space: dict[str, Any] = {"__name__": "__main__", "arguments": order["arguments"]}
            exec(compile(order["code"], "<code>", "exec"), space)  # noqa: S102, which is what all of this is for
            _tell(order, {"value": _plain(space.get("result"))})
        case "function":
            import importlib
            import typing

            sys.path += order["path"]
            found: Any = importlib.import_module(order["module"])
            for part in order["name"].split("."):
                found = getattr(found, part)
            hints = typing.get_type_hints(found)
            given = {name: _typed(value, hints.get(name)) for name, value in order["arguments"].items()}
            _tell(order, {"value": _plain(found(**given))})


def _tell(order: dict[str, Any], what: dict[str, Any]) -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    if os.getpid() != order["tool"]:
        os._exit(1)  # a process that the tool started has come here; the result is the tool's
    try:
        said = json.dumps(what, allow_nan=False).encode()
    except (TypeError, ValueError) as error:
        said = json.dumps({"error": type(error).__name__, "message": f"the result is no JSON: {error}"}).encode()
    try:
        if len(said) > order["limits"]["result_bytes"] + 64:
            said = b'{"limit": "result_bytes"}'
        while said:
            said = said[os.write(order["result"], said) :]
    except OSError:
        os._exit(1)
    os._exit(0)


def _failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, MemoryError):
        return {"limit": "memory_mb"}
    number = error.errno if isinstance(error, OSError) else None
    limits = {errno.EFBIG: "file_mb", errno.EMFILE: "open_files", errno.ENOMEM: "memory_mb", errno.EAGAIN: "processes"}
    met = limits.get(number or 0)
    if met:
        return {"limit": met}
    if isinstance(error, SystemExit):
        return {"error": "SystemExit", "message": f"it ended itself with {error.code}"}
    refused = type(error).__module__ == "penstock.errors" and 400 <= getattr(error, "status", 500) < 500
    return {"error": type(error).__name__, "message": str(error)[:1_000], "refused": refused}


def _plain(value: Any) -> Any:
    """A value as JSON has it; amounts and days as texts."""
    import enum

    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, dict):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    import dataclasses
    import datetime
    import decimal

    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date):
        return value.isoformat()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: _plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _typed(value: Any, hint: Any) -> Any:
    """A value of JSON as the tool's own type has it, where that is an amount, a day, a choice, a dataclass, or several of them."""
    import dataclasses
    import datetime
    import decimal
    import enum
    import types
    import typing

    if value is None or hint is None:
        return value
    kind, inner = typing.get_origin(hint), typing.get_args(hint)
    if kind in (typing.Union, types.UnionType):
        return _typed(value, next(one for one in inner if one is not type(None)))
    if kind in (list, tuple) and isinstance(value, list):
        return kind(_typed(one, inner[0] if inner else None) for one in value)
    if not isinstance(hint, type):
        return value
    if hint is decimal.Decimal:
        return decimal.Decimal(str(value))
    if hint is datetime.date:
        return datetime.date.fromisoformat(value)
    if issubclass(hint, enum.Enum):
        return hint(value)
    if dataclasses.is_dataclass(hint) and isinstance(value, dict):
        hints = typing.get_type_hints(hint)
        return hint(**{name: _typed(one, hints.get(name)) for name, one in value.items()})
    return value


if __name__ == "__main__":
    main()
