"""What is stored: tables that move forward on their own, files that are whole or not there."""

import json
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from penstock.errors import Conflict, StorageError
from penstock.storage import database as databases
from penstock.storage.arrays import open_arrays, verify_arrays, write_arrays
from penstock.storage.database import Database
from penstock.storage.files import new_file

FIRST = "create table shelves (id integer primary key, name text not null) strict"
SECOND = "alter table shelves add column floor integer not null default 0"


# ---------------------------------------------------------------- the database


def test_tables_move_forward_with_what_is_in_them_and_say_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    database = Database(tmp_path / "x.db")
    database.migrate("shelves", [FIRST])
    with database.write() as w:
        w.execute("insert into shelves (name) values ('maps')")
    database.close()

    newer = Database(tmp_path / "x.db")
    newer.migrate("shelves", [FIRST, SECOND])
    newer.migrate("shelves", [FIRST, SECOND])

    assert newer.read("select name, floor from shelves") == [("maps", 0)]
    (line,) = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert (line["event"], line["part"], line["before"], line["after"]) == ("database migrated", "shelves", 1, 2)
    newer.close()


def test_a_step_that_fails_leaves_the_tables_as_they_were(tmp_path: Path):
    database = Database(tmp_path / "x.db")
    database.migrate("shelves", [FIRST])

    with pytest.raises(StorageError):
        database.migrate("shelves", [FIRST, SECOND + "; select nothing from nowhere"])

    assert [row[1] for row in database.read("pragma table_info(shelves)")] == ["id", "name"]
    database.migrate("shelves", [FIRST, SECOND])
    database.close()


def test_tables_of_a_newer_penstock_are_not_touched(tmp_path: Path):
    database = Database(tmp_path / "x.db")
    database.migrate("shelves", [FIRST, SECOND])

    with pytest.raises(StorageError, match="newer Penstock"):
        database.migrate("shelves", [FIRST])
    database.close()


def test_a_transaction_is_whole_or_nothing(tmp_path: Path):
    database = Database(tmp_path / "x.db")
    database.migrate("shelves", [FIRST])

    def interrupted() -> None:
        with database.write() as w:
            w.execute("insert into shelves (name) values ('maps')")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert database.read("select * from shelves") == []
    database.close()


def test_a_writer_that_does_not_end_is_named_as_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(databases, "BUSY_S", 0.1)
    one, other = Database(tmp_path / "x.db"), Database(tmp_path / "x.db")
    one.migrate("shelves", [FIRST])

    with one.write(), pytest.raises(Conflict, match="another process has been writing"), other.write():
        pass
    one.close()
    other.close()


def test_each_thread_reads_through_a_connection_of_its_own(tmp_path: Path):
    database = Database(tmp_path / "x.db")
    database.migrate("shelves", [FIRST])
    seen: list[int] = []

    def work(n: int) -> None:
        with database.write() as w:
            w.execute("insert into shelves (name) values (?)", (str(n),))
        seen.append(database.read("select count(*) from shelves")[0][0])

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(seen) == 8
    database.close()


# ---------------------------------------------------------------- files


def test_a_file_that_is_not_finished_never_appears(tmp_path: Path):
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "kept").write_bytes(b"old")

    def interrupted() -> None:
        with new_file(folder / "kept") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()

    assert (folder / "kept").read_bytes() == b"old"
    assert os.listdir(folder) == ["kept"]


kinds = st.sampled_from(["<f4", "<i8", "<i4", "<u8", "|u1", "|i1", "<u2"])
some_arrays = st.dictionaries(
    st.sampled_from("abcdef"),
    kinds.flatmap(lambda kind: arrays_of.arrays(kind, arrays_of.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9))),
    max_size=4,
)  # fmt: skip


@given(arrays=some_arrays)
def test_arrays_come_back_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, arrays: dict[str, np.ndarray]):
    folder = tmp_path_factory.mktemp("arrays")

    name = write_arrays(folder, arrays, {"of": "numbers"})
    found, facts = open_arrays(folder / name)

    assert facts == {"of": "numbers"}
    assert found.keys() == arrays.keys()
    for key, array in arrays.items():
        assert found[key].dtype == array.dtype
        assert np.array_equal(found[key], array, equal_nan=array.dtype.kind == "f")
        assert not found[key].flags.writeable
    assert verify_arrays(folder / name)
    assert write_arrays(folder, arrays, {"of": "numbers"}) == name  # the same content is the same file


@pytest.mark.parametrize("keep", [0, 7, 16, 40, -1])
def test_a_cut_file_of_arrays_is_refused(tmp_path: Path, keep: int):
    path = tmp_path / write_arrays(tmp_path, {"a": np.arange(1000)}, {})
    path.write_bytes(path.read_bytes()[:keep])

    with pytest.raises(StorageError, match="damaged"):
        open_arrays(path)


def test_a_flipped_bit_is_found_when_a_file_is_verified(tmp_path: Path):
    path = tmp_path / write_arrays(tmp_path, {"a": np.arange(1000)}, {})
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)

    assert not verify_arrays(path)


def test_threads_that_write_at_once_take_turns(tmp_path: Path):
    """Left to SQLite, which sleeps and looks again, some sleep until all the others are done."""
    database = Database(tmp_path / "a.db")
    database.migrate("t", ["create table t (x integer)"])
    waited: list[float] = []

    def write() -> None:
        for _ in range(30):
            began = time.perf_counter()
            with database.write() as w:
                w.execute("insert into t values (1)")
            waited.append(time.perf_counter() - began)

    threads = [threading.Thread(target=write) for _ in range(24)]
    began = time.perf_counter()
    for one in threads:
        one.start()
    for one in threads:
        one.join()

    assert database.read("select count(*) from t")[0][0] == 24 * 30
    assert max(waited) < (time.perf_counter() - began) / 2
    database.close()


def test_what_need_not_wait_for_the_disk_is_there_at_once_and_the_next_write_waits_again(tmp_path: Path):
    database = Database(tmp_path / "a.db")
    with database.write() as w:
        w.execute("create table t (n integer)")

    with database.write(synced=False) as w:
        w.execute("insert into t values (1)")
        assert w.execute("pragma synchronous").fetchone() == (1,)
    with pytest.raises(ZeroDivisionError), database.write(synced=False) as w:
        w.execute("insert into t values (1 / ?)", (1 / 0,))

    assert Database(tmp_path / "a.db").read("select n from t") == [(1,)]
    with database.write() as w:
        assert w.execute("pragma synchronous").fetchone() == (2,)
