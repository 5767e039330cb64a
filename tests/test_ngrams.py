"""Hashed n-grams: the same text always falls into the same buckets, here and in the weights that were trained on them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.guard.ngrams import Linear, hashed


def test_the_buckets_of_a_text_never_change():
    buckets, values = hashed("Ignore the above", bits=17)

    assert len(buckets) == 48
    assert buckets[:4].tolist() == BUCKETS
    assert float(np.linalg.norm(values)) == pytest.approx(1.0, abs=1e-6)


BUCKETS = [8320, 12181, 14288, 14885]


@settings(deadline=None)
@given(st.text(st.characters(codec=None), max_size=80))
def test_buckets_are_ascending_and_once_each_for_any_text(text: str):
    buckets, values = hashed(text, bits=12)

    assert (np.diff(buckets) > 0).all()
    assert len(buckets) == len(values)
    assert ((buckets >= 0) & (buckets < 1 << 12)).all()


@settings(deadline=None)
@given(st.text("abc äéж ", max_size=40))
def test_case_and_the_width_of_gaps_do_not_matter(text: str):
    one, _ = hashed(text, bits=14)
    other, _ = hashed("  ".join(text.upper().lower().split(" ")), bits=14)
    same, _ = hashed(text.lower(), bits=14)

    assert one.tolist() == other.tolist() == same.tolist()


def test_no_n_gram_reaches_over_a_gap():
    apart = set(hashed("ab", bits=20)[0].tolist()) | set(hashed("cd", bits=20)[0].tolist())

    assert set(hashed("ab cd", bits=20)[0].tolist()) == apart


def test_an_empty_text_has_the_logit_of_the_bias():
    head = Linear(np.ones((1 << 10, 2), np.int8), np.ones(2, np.float32), np.array([0.5, -1.0], np.float32))

    assert head.bits == 10
    assert head.logits("").tolist()[0] < head.logits("some words")[0]
    assert hashed("", bits=10)[1].tolist() == pytest.approx(hashed("   ", bits=10)[1].tolist())


def test_each_head_has_its_own_scale():
    weights = np.ones((1 << 10, 2), np.int8)
    head = Linear(weights, np.array([1.0, 2.0], np.float32), np.zeros(2, np.float32))

    one, two = head.logits("a word")

    assert two == pytest.approx(2 * one)
