"""Single requests in files: each is found by its names, whatever they are, and a damaged file says so."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.errors import StorageError
from penstock.observe import traces
from penstock.observe.journal import Row

names = st.text(max_size=12)
rows_of = st.lists(st.tuples(names, st.sampled_from(["a", "b", "c", "ü"]), st.text(max_size=40)), max_size=300)


def row(name: str, trace: str, said: str) -> Row:
    return Row(name, trace, 1.5, "key", "", "", "app", "m", "chat", True, 200, "ok", said, False, 0.0, 1.0, 1, 2, 0, 0, 7, "", "",
               said, "[]")  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(rows_of, min_size=1, max_size=4))
def test_what_was_written_is_read_and_found_in_one_file_and_in_several_that_were_joined(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[str, str, str]]]
):
    folder = tmp_path_factory.mktemp("traces")
    written = [[row(*one) for one in part] for part in parts]
    files = [folder / f"{n}.traces" for n in range(len(parts))]

    assert [traces.write(file, part) for file, part in zip(files, written, strict=True)] == [
        len(part) for part in parts
    ]
    joined, every = folder / "all.traces", [one for part in written for one in part]
    assert traces.join(joined, files) == len(every)

    assert list(traces.rows(joined)) == every
    assert traces.join(folder / "again.traces", [joined]) == len(every)
    assert (folder / "again.traces").read_bytes() == joined.read_bytes()
    for name in {name for one in every[:40] for name in one[:2]} | {"nobody"}:
        for file, there in [*zip(files, written, strict=True), (joined, every)]:
            assert traces.find(file, name) == [one for one in there if name in one[:2]]


@pytest.mark.parametrize("cut", [0, 1, 40, 500, -1, -40])
def test_a_file_that_is_cut_or_changed_says_so(tmp_path: Path, cut: int):
    file = tmp_path / "a.traces"
    traces.write(file, (row(f"r{n}", "t", "x" * n) for n in range(200)))
    file.write_bytes(file.read_bytes()[:cut])

    with pytest.raises(StorageError, match=r"a\.traces is damaged"):
        traces.find(file, "r7")


def test_a_block_that_was_changed_says_so_and_the_others_are_read(tmp_path: Path):
    file = tmp_path / "a.traces"
    traces.write(file, (row(f"r{n}", f"t{n}", "x" * n) for n in range(200)))
    whole = bytearray(file.read_bytes())
    whole[30] ^= 255
    file.write_bytes(whole)

    with pytest.raises(StorageError, match="damaged"):
        traces.find(file, "r7")
    assert [one.trace_id for one in traces.find(file, "r150")] == ["t150"]


def test_a_file_that_is_not_there_says_so(tmp_path: Path):
    with pytest.raises(StorageError, match="No such file"):
        traces.find(tmp_path / "a.traces", "r7")
