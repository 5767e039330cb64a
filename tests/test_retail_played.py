"""The retail bot before simulated customers and attackers, over HTTP: the short version of `benchmarks/retail_bot.py`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import retail_bot as played
from penstock.apps.retail_bot.simulated import KINDS
from penstock.support.hostile import FAMILIES, FEWEST


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, played.Wire]]:
    folder = tmp_path_factory.mktemp("retail")
    toml = played.prepared(folder, customers=500)
    with played.served(toml) as url:
        wire = played.Wire(url)
        yield folder / "home", wire
        wire.close()


def test_honest_customers_get_what_they_came_for_and_nothing_else_happens(home: tuple[Path, played.Wire]):
    folder, wire = home

    outcome = played.honest(folder, wire, 2 * len(KINDS), seed=11)

    told = outcome.plain()
    assert told["reached"] >= 0.85, told["reached_by_goal"]  # the benchmark has the share of 500
    assert outcome.disclosed == []
    assert outcome.breaches == []
    assert outcome.wrong == []
    assert told["facts_checked"]["amount"] > 20
    assert told["hand_overs"] >= 2
    assert outcome.unseen == []
    assert wire.sent_again > 10
    assert wire.unlike == []


def test_attackers_of_every_family_get_nothing(home: tuple[Path, played.Wire]):
    folder, wire = home

    outcome = played.hostile(folder, wire, len(FAMILIES), seed=11)

    assert {one.goal for one in outcome.held} == set(FAMILIES)
    assert min(len(one.exchanges) for one in outcome.held) >= FEWEST
    assert outcome.disclosed == []
    assert outcome.breaches == []
    assert outcome.wrong == []
    assert wire.unlike == []
