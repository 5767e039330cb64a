"""Collections too large for a look at every vector, where the extra `hnsw` is installed."""

from pathlib import Path

import numpy as np
import pytest
from conftest import MakeLibrary

from penstock import upkeep
from penstock.config import Settings
from penstock.documents import layout, search, segment
from penstock.documents.collection import Collection
from penstock.documents.segment import Segment
from penstock.errors import StorageError
from penstock.testing import WordEmbedder
from penstock.types import Caller

pytest.importorskip("faiss", reason="needs the extra `hnsw`")

WORDS = "books boats parcels maps lamps chairs ropes bells clocks coats boots bread salt wool paper glass".split()


@pytest.fixture(autouse=True)
def _small_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a few hundred passages for many."""
    monkeypatch.setattr(search, "EXACT_UP_TO", 100)
    monkeypatch.setattr(layout, "EXACT_UP_TO", 100)
    monkeypatch.setattr(segment, "LEAST_FOR_GRAPH", 100)


@pytest.fixture
def depot(make_library: MakeLibrary, tmp_path: Path) -> Collection:
    folder = tmp_path / "depot"
    folder.mkdir()
    for n in range(400):
        one, two, three = WORDS[n % 16], WORDS[n // 16 % 16], WORDS[(n * 7 + 3) % 16]
        (folder / f"{n}.txt").write_text(f"Shelf {n} holds {one}, {two} and {three} for order {n * 31 % 997}.")
    collection = make_library(WordEmbedder(dim=128)).create("depot")
    collection.add([str(folder)])
    return collection


def opened(collection: Collection) -> Segment:
    (name,) = collection.home.catalog.segment_files(collection.number)
    return collection.segments[name]


def test_a_large_segment_gets_a_graph_that_finds_nearly_the_same_neighbours(depot: Collection):
    vectors, graph = opened(depot).vectors, opened(depot).graph
    assert graph is not None

    shares = []
    for vector in vectors[::10]:
        cosines = vectors @ vector
        shares.append(
            np.mean(cosines[graph.nearest(vector, 20, None)] >= np.sort(cosines)[-20] - 0.01)
        )  # many are equal

    assert np.mean(shares) > 0.95


def test_the_answer_is_the_one_that_an_exact_search_gives(depot: Collection, monkeypatch: pytest.MonkeyPatch):
    questions = ["Which shelf holds maps, lamps and chairs?", "order 31", "bells and clocks", "wool paper glass"]
    walked = [depot.search(q, k=5) for q in questions]
    monkeypatch.setattr(search, "EXACT_UP_TO", 10_000)
    exact = [depot.search(q, k=5) for q in questions]

    for one, other in zip(walked, exact, strict=True):
        assert [h.passage.source for h in one.hits] == [h.passage.source for h in other.hits]
        assert [h.score for h in one.hits] == pytest.approx([h.score for h in other.hits], abs=1e-3)
        assert one.spread == pytest.approx(other.spread, abs=0.2)


def test_filters_and_rights_hold_inside_the_graph(depot: Collection):
    where = {"source": [f"{n}.txt" for n in range(0, 400, 3)]}
    found = depot.search("Which shelf holds maps?", caller=Caller(), where=where, k=50)

    assert found.searched == 134
    assert {int(hit.passage.source.removesuffix(".txt")) % 3 for hit in found.hits} == {0}
    assert len(found.hits) == 50


def test_a_graph_leaves_with_its_segment(depot: Collection, tmp_path: Path):
    for n in range(400):
        (tmp_path / "depot" / f"{n}.txt").write_text(f"Nothing but number {n} is here now, and {n * 7}.")
    depot.sync()
    for n in range(6):
        (tmp_path / "depot" / "0.txt").write_text(f"Round {n}.")
        depot.sync()

    kept = depot.home.catalog.segment_files(depot.number)
    graphs = {path.with_suffix(".arrays").name for path in depot.segments.path.glob("*.hnsw")}

    assert graphs
    assert graphs <= kept


def test_a_backup_holds_the_graphs(depot: Collection, home: Path, tmp_path: Path):
    settings = Settings(home=str(home))
    upkeep.back_up(settings, tmp_path / "backup.tar")
    upkeep.backup.restore(tmp_path / "backup.tar", tmp_path / "restored", replace=False)

    assert len(list((tmp_path / "restored" / "segments").glob("*/*.hnsw"))) == 1


def test_a_damaged_graph_is_named(depot: Collection):
    path = next(depot.segments.path.glob("*.hnsw"))
    path.write_bytes(path.read_bytes()[:50])

    with pytest.raises(StorageError, match="damaged"):
        depot.search("maps")


def test_without_the_extra_everything_is_searched_exactly(depot: Collection, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(segment, "installed", lambda: False)

    assert depot.search("Which shelf holds maps?").hits
