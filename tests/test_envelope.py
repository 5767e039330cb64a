"""Envelope encryption: what is sealed opens for its owner, survives rotations, and is gone when its key is destroyed."""

import base64
import os
import secrets
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import StorageError
from penstock.storage.database import Database
from penstock.storage.envelope import (
    CHUNK,
    Encryption,
    Envelope,
    EnvironmentKeys,
    FileKeys,
    KeySource,
    KmsKeys,
    SealedFile,
    chunks,
)

WHO = {"tenant": "acme", "purpose": "notes"}
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

MakeEnvelope = Callable[..., Envelope]


@pytest.fixture
def make(home: Path) -> Iterator[MakeEnvelope]:
    """The envelope of the test's home, as several processes see it."""
    opened: list[Database] = []

    def make(source: KeySource | None = None) -> Envelope:
        opened.append(Database(home / "penstock.db"))
        return Envelope(opened[-1], source or FileKeys(home / "keys"))

    yield make
    for database in opened:
        database.close()


@pytest.fixture
def envelope(make: MakeEnvelope) -> Envelope:
    return make()


def a_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def everything(home: Path) -> bytes:
    return b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())


# ---------------------------------------------------------------- sealing


@SLOW
@given(data=st.binary(max_size=4096), aad=st.binary(max_size=40))
def test_what_is_sealed_opens_as_it_was(envelope: Envelope, data: bytes, aad: bytes):
    assert envelope.open(envelope.seal(data, **WHO, aad=aad), **WHO, aad=aad) == data


@SLOW
@given(text=st.text(st.characters(exclude_categories=())))
def test_a_text_column_holds_any_text_lone_surrogates_included(envelope: Envelope, text: str):
    encryption = Encryption(envelope, "notes")
    sealed = encryption.sealed(text)

    sealed.encode()  # a database takes it
    assert encryption.opened(sealed) == text


def test_the_same_data_is_sealed_differently_each_time(envelope: Envelope):
    assert envelope.seal(b"same", **WHO) != envelope.seal(b"same", **WHO)


def test_every_single_changed_bit_is_noticed(envelope: Envelope):
    sealed = envelope.seal(b"paid: 100", **WHO)

    for bit in range(8 * len(sealed)):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StorageError):
            envelope.open(bytes(altered), **WHO)


@pytest.mark.parametrize("sealed", [b"", b"\x01", b"\x01" * 20, b"\x09" * 60, b"\x01" * 60])
def test_what_was_never_sealed_is_refused(envelope: Envelope, sealed: bytes):
    with pytest.raises(StorageError):
        envelope.open(sealed, **WHO)


def test_nothing_opens_for_another_tenant_purpose_or_place(envelope: Envelope):
    sealed = envelope.seal(b"secret", **WHO, aad=b"row 1")

    for who in ({"tenant": "other", "purpose": "notes"}, {"tenant": "acme", "purpose": "other"}):
        with pytest.raises(StorageError, match="someone else"):
            envelope.open(sealed, **who, aad=b"row 1")
    with pytest.raises(StorageError, match="cannot be opened") as refused:
        envelope.open(sealed, **WHO, aad=b"row 2")
    assert "altered" in refused.value.hint


def test_names_that_run_together_the_same_way_are_kept_apart(envelope: Envelope):
    sealed = envelope.seal(b"x", tenant="ab", purpose="c")

    with pytest.raises(StorageError):
        envelope.open(sealed, tenant="a", purpose="bc")


# ---------------------------------------------------------------- key-encryption keys


def test_the_key_file_is_made_when_it_is_first_needed_and_only_its_owner_may_read_it(home: Path, make: MakeEnvelope):
    envelope = make()
    assert not (home / "keys").exists()
    envelope.seal(b"x", **WHO)

    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o600
    (home / "keys").chmod(0o600)
    FileKeys(home / "keys").rotate()
    assert stat.S_IMODE((home / "keys").stat().st_mode) == 0o600
    assert not list(home.glob(".keys*"))


def test_a_missing_key_file_is_said_and_no_new_one_takes_its_place(home: Path, make: MakeEnvelope):
    sealed = make().seal(b"x", **WHO)
    (home / "keys").rename(home / "elsewhere")

    for attempt in (
        lambda: make().open(sealed, **WHO),
        lambda: make().seal(b"y", **WHO),
        lambda: make().seal(b"y", tenant="new", purpose="notes"),
    ):
        with pytest.raises(StorageError, match="is missing") as refused:
            attempt()
        assert "copy" in refused.value.hint
    assert not (home / "keys").exists()
    (home / "elsewhere").rename(home / "keys")
    assert make().open(sealed, **WHO) == b"x"


def test_another_key_file_is_said_to_be_another(home: Path, make: MakeEnvelope):
    sealed = make().seal(b"x", **WHO)
    (home / "keys").write_text(f"other {a_key()}\n")

    with pytest.raises(StorageError, match="has no key 'k2"):
        make().open(sealed, **WHO)


def test_another_key_under_the_same_name_is_said_to_be_wrong(home: Path, make: MakeEnvelope):
    sealed = make().seal(b"x", **WHO)
    name = (home / "keys").read_text().split()[0]
    (home / "keys").write_text(f"{name} {a_key()}\n")

    with pytest.raises(StorageError, match="cannot be opened") as refused:
        make().open(sealed, **WHO)
    assert "key is another one" in refused.value.hint


@pytest.mark.parametrize(
    "content", ["", "name notbase64!\n", f"short {base64.b64encode(b'x' * 16).decode()}\n", "\x00\xff"]
)
def test_a_damaged_key_file_is_a_storage_error(home: Path, make: MakeEnvelope, content: str):
    sealed = make().seal(b"x", **WHO)
    (home / "keys").write_text(content, "latin-1")

    with pytest.raises(StorageError, match="cannot be read"):
        make().open(sealed, **WHO)


def test_keys_from_the_environment_the_last_one_wraps(make: MakeEnvelope, monkeypatch: pytest.MonkeyPatch):
    old, new = a_key(), a_key()
    monkeypatch.setenv("KEYS", f"old:{old}")
    sealed = make(EnvironmentKeys("KEYS")).seal(b"x", **WHO)

    monkeypatch.setenv("KEYS", f"old:{old},new:{new}")
    later = make(EnvironmentKeys("KEYS"))
    assert later.open(sealed, **WHO) == b"x"
    assert later.rewrap() == 1
    monkeypatch.setenv("KEYS", f"new:{new}")
    assert make(EnvironmentKeys("KEYS")).open(sealed, **WHO) == b"x"
    monkeypatch.setenv("KEYS", f"old:{old}")
    with pytest.raises(StorageError, match="KEYS has no key 'new'"):
        make(EnvironmentKeys("KEYS")).open(sealed, **WHO)


@pytest.mark.parametrize("value", ["", "main:", "main:abc", f"{a_key()[:-6]}"])
def test_an_environment_without_a_usable_key_says_how_to_make_one(
    make: MakeEnvelope, monkeypatch: pytest.MonkeyPatch, value: str
):
    monkeypatch.setenv("KEYS", value)

    with pytest.raises(StorageError) as refused:
        make(EnvironmentKeys("KEYS")).seal(b"x", **WHO)
    assert "openssl rand -base64 32" in refused.value.hint


class Service:
    """A key management service on this machine: keys that stay inside, two calls, a log."""

    def __init__(self) -> None:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._cipher, self.calls, self.down = AESGCM(secrets.token_bytes(32)), list[str](), False

    def encrypt(self, key: bytes, context: bytes) -> bytes:
        self._called("encrypt")
        nonce = os.urandom(12)
        return nonce + self._cipher.encrypt(nonce, key, context)

    def decrypt(self, wrapped: bytes, context: bytes) -> bytes:
        self._called("decrypt")
        return self._cipher.decrypt(wrapped[:12], wrapped[12:], context)

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if self.down:
            raise TimeoutError("no route to the key service")


def test_a_key_service_is_asked_once_for_each_data_key(make: MakeEnvelope):
    service = Service()
    envelope = make(KmsKeys("alias/penstock", wrap=service.encrypt, unwrap=service.decrypt))
    sealed = [envelope.seal(b"%d" % n, **WHO) for n in range(50)]

    assert [envelope.open(one, **WHO) for one in sealed] == [b"%d" % n for n in range(50)]
    assert service.calls == ["encrypt", "decrypt"]


def test_a_key_service_that_is_down_is_a_storage_error_that_names_the_key(make: MakeEnvelope):
    service = Service()
    source = KmsKeys("alias/penstock", wrap=service.encrypt, unwrap=service.decrypt)
    sealed = make(source).seal(b"x", **WHO)
    service.down = True

    with pytest.raises(StorageError, match="refused 'alias/penstock': no route"):
        make(source).open(sealed, **WHO)
    service.down = False
    assert make(source).open(sealed, **WHO) == b"x"


def test_a_data_key_moved_to_another_row_does_not_unwrap(home: Path, make: MakeEnvelope):
    envelope = make()
    envelope.seal(b"x", **WHO)
    mine = envelope.seal(b"x", tenant="mallory", purpose="notes")
    with envelope.database.write() as w:
        wrapped = w.execute("select wrapped from data_keys where tenant = 'acme'").fetchone()[0]
        w.execute("update data_keys set wrapped = ? where tenant = 'mallory'", (wrapped,))

    with pytest.raises(StorageError, match="cannot be opened"):
        make().open(mine, tenant="mallory", purpose="notes")


# ---------------------------------------------------------------- rotated


def test_after_a_rotation_old_data_opens_and_new_data_has_a_new_key(envelope: Envelope, make: MakeEnvelope):
    before = envelope.seal(b"old", **WHO)
    assert not envelope.stale(before, **WHO)
    assert envelope.rotate() == 1
    after = envelope.seal(b"new", **WHO)

    assert envelope.stale(before, **WHO)
    assert not envelope.stale(after, **WHO)
    assert make().open(before, **WHO) == b"old"
    assert make().open(after, **WHO) == b"new"


def test_a_rotation_can_be_of_one_tenant(envelope: Envelope):
    mine, theirs = envelope.seal(b"x", **WHO), envelope.seal(b"x", tenant="other", purpose="notes")
    envelope.rotate("acme")

    assert envelope.stale(mine, **WHO)
    assert not envelope.stale(theirs, tenant="other", purpose="notes")


def test_a_secret_for_comparing_stays_through_rotations(envelope: Envelope, make: MakeEnvelope):
    before = envelope.secret("acme", "digests")
    envelope.rotate()
    FileKeys(envelope.source.path).rotate()  # type: ignore[attr-defined]
    envelope.rewrap()

    assert make().secret("acme", "digests") == before
    assert make().secret("other", "digests") != before


def test_a_new_key_encryption_key_takes_over_and_the_old_one_can_go(home: Path, make: MakeEnvelope):
    sealed = [make().seal(b"x", tenant=tenant, purpose="notes") for tenant in "abc"]
    new = FileKeys(home / "keys").rotate()
    later = make()

    assert later.rewrap() == 3
    assert later.rewrap() == 0
    old, kept = (home / "keys").read_text().splitlines()
    assert kept.startswith(new)
    (home / "keys").write_text(kept + "\n")
    assert [make().open(one, tenant=tenant, purpose="notes") for one, tenant in zip(sealed, "abc", strict=True)] == [
        b"x"
    ] * 3
    assert old.split()[0] != new


# ---------------------------------------------------------------- destroyed


def test_what_was_sealed_with_a_destroyed_key_is_gone_here_and_elsewhere(make: MakeEnvelope):
    here, elsewhere = make(), make()
    sealed, other = here.seal(b"x", **WHO), here.seal(b"y", tenant="other", purpose="notes")
    assert elsewhere.open(sealed, **WHO) == b"x"
    here.rotate("acme")
    assert here.destroy("acme") == 2

    with pytest.raises(StorageError, match="it was erased: its data key was destroyed on 20"):
        here.open(sealed, **WHO)
    with pytest.raises(StorageError, match="erased"):
        make().open(sealed, **WHO)
    assert elsewhere.open(other, tenant="other", purpose="notes") == b"y"
    again = here.seal(b"z", **WHO)
    assert here.open(again, **WHO) == b"z"


def test_another_process_loses_a_destroyed_key_within_a_second(make: MakeEnvelope, monkeypatch: pytest.MonkeyPatch):
    here, elsewhere = make(), make()
    sealed = here.seal(b"x", **WHO)
    elsewhere.open(sealed, **WHO)
    here.destroy("acme")

    now = time.monotonic()
    monkeypatch.setattr("penstock.storage.envelope.time.monotonic", lambda: now + 1.01)
    with pytest.raises(StorageError, match="erased"):
        elsewhere.open(sealed, **WHO)


def test_no_file_holds_a_destroyed_key_not_even_wrapped(home: Path, make: MakeEnvelope):
    envelope = make()
    envelope.seal(b"x", **WHO)
    wrapped = envelope.database.read("select wrapped from data_keys")[0][0]
    assert wrapped in everything(home)
    envelope.destroy("acme")

    assert wrapped not in everything(home)


def test_keys_can_be_destroyed_by_purpose(envelope: Envelope):
    sealed = {
        purpose: envelope.seal(b"x", tenant="acme", purpose=purpose)
        for purpose in ("vault 1", "vault 12", "vault 1 mac", "notes")
    }
    envelope.destroy("acme", purpose="vault 12")
    envelope.destroy("acme", beneath="vault 1 ")

    open_to = {purpose for purpose, one in sealed.items() if not _gone(envelope, one, purpose)}
    assert open_to == {"vault 1", "notes"}


def _gone(envelope: Envelope, sealed: bytes, purpose: str) -> bool:
    try:
        envelope.open(sealed, tenant="acme", purpose=purpose)
    except StorageError:
        return True
    return False


# ---------------------------------------------------------------- several at once, and killed


def test_threads_that_need_the_first_key_at_the_same_time_get_one(make: MakeEnvelope):
    envelopes, sealed, together = [make() for _ in range(8)], list[bytes](), threading.Barrier(8)

    def seal(envelope: Envelope) -> None:
        together.wait()
        sealed.append(envelope.seal(b"x", **WHO))

    threads = [threading.Thread(target=seal, args=(envelope,)) for envelope in envelopes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert {one[1:9] for one in sealed} == {sealed[0][1:9]}
    assert [envelopes[0].open(one, **WHO) for one in sealed] == [b"x"] * 8


_SEALING = """
import sys
from pathlib import Path
from penstock.storage.database import Database
from penstock.storage.envelope import Envelope, FileKeys
home = Path(sys.argv[1])
envelope = Envelope(Database(home / "penstock.db"), FileKeys(home / "keys"))
print(envelope.seal(b"from afar", tenant="acme", purpose="notes").hex(), flush=True)
"""


def test_processes_that_need_the_first_key_at_the_same_time_get_one(home: Path, make: MakeEnvelope):
    home.mkdir()
    running = [
        subprocess.Popen([sys.executable, "-c", _SEALING, str(home)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    sealed = [bytes.fromhex(process.communicate(timeout=60)[0].strip()) for process in running]

    assert len({one[1:9] for one in sealed}) == 1
    assert [make().open(one, **WHO) for one in sealed] == [b"from afar"] * 3


def test_a_rotation_that_breaks_off_leaves_the_old_keys_current(make: MakeEnvelope):
    service = Service()
    source = KmsKeys("k", wrap=service.encrypt, unwrap=service.decrypt)
    envelope = make(source)
    sealed = [envelope.seal(b"x", tenant=tenant, purpose="notes") for tenant in "ab"]
    service.down = True

    with pytest.raises(StorageError):
        envelope.rotate()
    service.down = False
    assert not any(
        make(source).stale(one, tenant=tenant, purpose="notes") for one, tenant in zip(sealed, "ab", strict=True)
    )


def test_a_damaged_row_of_keys_is_a_storage_error(envelope: Envelope, make: MakeEnvelope):
    sealed = envelope.seal(b"x", **WHO)
    with envelope.database.write() as w:
        w.execute("update data_keys set wrapped = substr(wrapped, 1, 20)")

    with pytest.raises(StorageError, match="cannot be opened"):
        make().open(sealed, **WHO)


def test_a_database_without_the_key_says_which_backup_is_needed(home: Path, make: MakeEnvelope):
    sealed = make().seal(b"x", **WHO)
    with sqlite3.connect(home / "penstock.db") as connection:
        connection.execute("delete from data_keys")
    connection.close()

    with pytest.raises(StorageError, match="not in this database"):
        make().open(sealed, **WHO)


# ---------------------------------------------------------------- files


@pytest.fixture
def encryption(envelope: Envelope) -> Encryption:
    return Encryption(envelope, "segments")


def write(path: Path, encryption: Encryption, data: bytes, *, pieces: int = 1000) -> SealedFile:
    salt = secrets.token_bytes(16)
    cut = [data[at : at + pieces] for at in range(0, len(data), pieces)]
    path.write_bytes(b"".join(chunks(encryption, lambda: cut, salt)))
    return SealedFile(path, encryption)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17])
def test_a_sealed_file_opens_whole_and_by_place(encryption: Encryption, tmp_path: Path, size: int):
    data = secrets.token_bytes(size)
    file = write(tmp_path / "file", encryption, data, pieces=max(1, size // 3))

    assert file.size == size
    assert bytes(file.whole()) == data
    for start, length in ((0, 10), (CHUNK - 3, 6), (CHUNK - 1, CHUNK + 2), (size - 1, 100), (size, 5), (0, size)):
        assert file.read(max(start, 0), length) == data[max(start, 0) : max(start, 0) + length]
    assert data[:64] not in (tmp_path / "file").read_bytes() or size < 8


def test_a_file_is_the_same_for_the_same_salt(encryption: Encryption):
    def data() -> list[bytes]:
        return [b"a" * 70_000, b"b" * 70_000]

    assert list(chunks(encryption, data, b"s" * 16)) == list(chunks(encryption, data, b"s" * 16))
    assert list(chunks(encryption, data, b"s" * 16)) != list(chunks(encryption, data, b"t" * 16))


def test_a_file_that_was_cut_swapped_or_altered_is_noticed(encryption: Encryption, tmp_path: Path):
    path = tmp_path / "file"
    write(path, encryption, secrets.token_bytes(4 * CHUNK))
    whole, head, sealed = path.read_bytes(), SealedFile._HEAD, CHUNK + 16
    first, second, rest = (
        whole[head : head + sealed],
        whole[head + sealed : head + 2 * sealed],
        whole[head + 2 * sealed :],
    )
    altered = {
        "a chunk is missing at the end": whole[:-sealed],
        "it ends within a chunk": whole[:-5],
        "only its head is left": whole[:head],
        "two chunks changed places": whole[:head] + second + first + rest,
        "a bit is another": whole[: head + 100] + bytes([whole[head + 100] ^ 1]) + whole[head + 101 :],
        "its salt is another": whole[: head - 1] + bytes([whole[head - 1] ^ 1]) + whole[head:],
        "something was added": whole + b"x" * 20,
    }

    unnoticed = []
    for what, content in altered.items():
        path.write_bytes(content)
        with suppress(StorageError):
            SealedFile(path, encryption).whole()
            unnoticed.append(what)
    assert not unnoticed


def test_a_sealed_file_is_gone_with_its_key(encryption: Encryption, tmp_path: Path):
    write(tmp_path / "file", encryption, b"x" * 100)
    encryption.envelope.destroy("")

    with pytest.raises(StorageError, match="erased"):
        SealedFile(tmp_path / "file", encryption)


# ---------------------------------------------------------------- columns


def test_a_text_from_before_encryption_is_read_as_it_is(encryption: Encryption):
    assert encryption.opened("plain") == "plain"


def test_a_damaged_column_is_a_storage_error(encryption: Encryption):
    with pytest.raises(StorageError, match="damaged"):
        encryption.opened("\x00sealed:***")


def test_a_digest_says_nothing_without_the_key_and_stays_the_same(encryption: Encryption):
    first = encryption.digest(b"text")
    encryption.envelope.rotate()

    assert encryption.digest(b"text") == first
    assert encryption.digest(b"other") != first
    assert Encryption(encryption.envelope, "segments", "other").digest(b"text") != first
