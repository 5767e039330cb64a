"""The course of what is watched: what is drawn on the page of quality, out of what the lookout has counted."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lived import lived
from serving import HANDBOOK, Served, serving, write
from test_console import Visitor

from penstock.observe import course
from penstock.observe.alerts import Alert
from penstock.observe.anomalies import Usual, band, unusual
from penstock.observe.counts import Observed, Slot
from penstock.server.console.plots import plotted
from penstock.testing import WordEmbedder

SETTINGS = '[documents.handbook]\npaths = ["handbook"]\n[apps.helper]\ndocuments = "handbook"\n'


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("shop")
    write(folder / "handbook", HANDBOOK)
    write(folder, {"penstock.toml": SETTINGS})
    lived(folder, days=9, slower_h=14)
    with serving(folder, SETTINGS, embedder=WordEmbedder()) as served:
        yield served


def test_what_changed_is_marked_where_it_was_told_and_leads_to_the_requests_of_that_time(shop: Served):
    visitor = Visitor(shop)
    watched = visitor.get("/console/quality?as=json").json()["watched"]
    courses = {one["measure"]: one for one in watched["courses"]}
    assert watched["of"] == "helper"
    assert set(courses) == {
        "failures", "refusals", "unsupported", "latency", "cost", "length", "doubtful", "support", "faulty", "confidence",
    }  # fmt: skip
    slow = courses["latency"]
    assert next(iter(courses)) == "latency", "what has a mark stands first"
    assert slow["marks"]
    assert all(mark["direction"] == "up" and mark["after"] > 1.4 * mark["before"] for mark in slow["marks"])
    assert any(point["unusual"] for point in slow["points"])
    assert slow["latest"]["seen"] > 600
    assert not courses["cost"]["marks"]

    page = visitor.get("/console/quality?of=helper&span=2w").text
    assert "It rose from" in page
    assert "As usual." in page
    link = re.search(r'href="(/console/requests\?app=helper&amp;since=[^"]+)"', page)
    assert link
    there = visitor.get(f"{link[1].replace('&amp;', '&')}&as=json").json()
    assert there["requests"]
    assert all(one["at"] >= there["since"] for one in there["requests"])


def test_the_table_of_a_course_is_data_too(shop: Served):
    lines = Visitor(shop).get("/console/quality?of=helper&span=2d&as=csv").text.splitlines()
    assert lines[0].lstrip("\ufeff") == "subject,measure,at,n,seen,usual,low,high,unusual"
    assert sum(line.startswith("helper,latency,") for line in lines) == 48


def test_what_is_asked_for_wrongly_is_refused_with_a_hint(shop: Served):
    visitor = Visitor(shop)
    assert visitor.get("/console/quality?of=nobody").status_code == 404
    assert "2d, 2w, 8w" in visitor.get("/console/quality?span=forever").text
    assert visitor.get("/console/requests?since=yesterdayish").status_code == 400


def test_whoever_has_just_begun_is_told_what_is_needed(tmp_path: Path):
    write(tmp_path / "handbook", HANDBOOK)
    write(tmp_path, {"penstock.toml": SETTINGS})
    with serving(tmp_path, SETTINGS, embedder=WordEmbedder()) as served:
        assert "Nothing was counted yet." in Visitor(served).get("/console/quality").text
    lived(tmp_path, days=0, an_hour=60)
    with serving(tmp_path, SETTINGS, embedder=WordEmbedder()) as served:
        page = Visitor(served).get("/console/quality")
        assert "after 24 hours with answers; so far there are 1." in page.text
        assert re.search(r"Changes of answers are seen after \d+ more", page.text)
        assert Visitor(served).get("/console/quality?as=json").json()["watched"]["span"] == "2d"


def test_an_alert_about_something_else_is_no_mark():
    facts = {"subject": "helper", "measure": "latency", "direction": "up", "usual": 1.0, "seen": 2.0}
    alert = Alert("1", "anomaly/latency/helper", "ticket", "slow", facts, ("r1",), 10.0, 20.0, worst="ticket")
    assert course._mark(alert, "other") is None
    told = course._mark(alert, "helper")
    assert told
    assert (told[0], told[1].after, told[1].requests) == ("latency", 2.0, ("r1",))
    burning = Alert(
        "2", "objective/o/helper", "page", "burns", {"subject": "helper", "kind": "satisfaction"}, (), 1.0, 2.0
    )
    assert course._mark(burning, "helper") is None


def test_a_picture_has_gaps_where_nothing_was_asked():
    def point(n: int, seen: float | None, low: float | None = None) -> dict[str, Any]:
        high = None if low is None else low + 2
        return {"at": 3600.0 * n, "seen": seen, "usual": low, "low": low, "high": high, "unusual": False}

    drawn = plotted(
        [point(0, 1.0), point(1, None), point(2, 2.0, 1.0), point(3, 3.0, 1.0)], [{"at": 7200.0, "ended": 0.0}], 1
    )
    assert drawn.line.count("M") == 2
    assert len(drawn.band) == 1
    assert drawn.marks == [(500.0, 500.0)]
    assert (drawn.low, drawn.high) == (1.0, 3.0)
    flat = plotted([point(0, 0.0)], [], 1)
    assert all(map(math.isfinite, (flat.low, flat.high)))


@pytest.mark.parametrize(("measure", "expected"), [("cost", -5.0), ("refusals", 0.05), ("refusals", 0.4)])
def test_what_lies_outside_of_a_band_is_what_an_alert_is_about(measure: str, expected: float):
    usual = Usual(
        1000, expected, 0.3 if measure == "cost" else expected * (1 - expected), {1: (0.0004, 200)}, 0.0, 1e-4
    )
    n, is_share = 400, measure == "refusals"
    ends = band(usual, 1, n, expected, is_share=is_share)
    assert ends

    def told(mean: float) -> bool:
        observed = Observed()
        observed.hours.add(1000, n, n * mean, n * mean * mean)
        observed.hours.foretell(1000, expected)
        observed.slots[6005] = Slot(n, n * mean, n * mean * mean)
        return unusual(measure, "x", observed, usual, 6005 * 600 + 599.0) is not None

    width = ends[1] - expected
    assert told(expected + 1.05 * width)
    assert not told(expected + 0.95 * width)
    low = expected - ends[0]
    if ends[0] > 0 or not is_share:
        assert told(expected - 1.05 * low)
        assert not told(expected - 0.95 * low)
