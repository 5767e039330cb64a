"""The statistics agree with scipy, statsmodels and krippendorff, as recorded, and hold what they promise."""

import math
from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from penstock.errors import BadRequest
from penstock.stats import (
    auroc,
    auroc_test,
    benjamini_hochberg,
    beta_cdf,
    beta_quantile,
    binomial_cdf,
    bootstrap,
    chi2_quantile,
    chi2_tail,
    chi_squared,
    clopper_pearson,
    cohen_kappa,
    expected_calibration_error,
    fits,
    holm,
    kolmogorov_smirnov,
    kolmogorov_tail,
    krippendorff_alpha,
    mcnemar,
    mean_effect,
    mean_interval,
    mean_power,
    mean_size,
    normal_cdf,
    normal_quantile,
    normal_tail,
    paired_permutation,
    paired_share_power,
    paired_share_size,
    pass_at_k,
    pass_hat_k,
    permutation,
    share_effect,
    share_power,
    share_size,
    t_quantile,
    t_tail,
    wilcoxon,
    wilson,
)

X = [0.03, 1.36, 1.22, -0.51, -0.3, -0.53, 0.57, -0.06, 0.75, -1.85, 1.57, -0.1, 0.68, -0.14]
Y = [0.13, 2.13, 2.28, -0.27, -0.02, 0.42, 0.27, -0.87, 1.47, -1.99, 0.43, -0.35, 0.71, -0.69]
A = [int(c) for c in "555042410055121054013551301122422534425010050244502015030151104120050220345150035540243140"]
DIFFERENCES = [
    2, -2, 0, -1, 3, 2, 1, 0, -1, 3, 3, -1, -1, -1, 0, -1, 0, 3, 0, 3, 1, 0, 3, 0, 2, -1, 3, 2, 3, -2, -2, -2, 1, 0, 3, -1,
    -1, 3, -1, 2, -1, 1, -2, 1, 3, 2, 3, 2, 1, 3, 0, -2, 1, 1, -1, -2, 1, 0, 0, 2, 2, 3, -1, 2, 1, -2, -2, 0, 1, -2, 1, 3,
    -2, -2, 3, -1, 3, 0, 2, -2, 1, 3, 0, 1, -1, -2, -2, 0, 1, -2,
]  # fmt: skip

probabilities = st.floats(1e-12, 1 - 1e-9)


# ---------------------------------------------------------------- distributions


@pytest.mark.parametrize(
    ("found", "recorded"),
    [
        (chi2_tail(0.1, 1), 0.7518296340458492),
        (chi2_tail(3.84, 1), 0.05004352124870519),
        (chi2_tail(200, 3), 4.218541107192018e-43),
        (chi2_tail(0.02, 0.5), 0.6518135472395157),
        (chi2_tail(95_000, 94_000), 0.010731587040098531),
        (t_tail(0.3, 1), 0.4072264209222577),
        (t_tail(2.5, 7.5), 0.019410129136812764),
        (t_tail(-1.2, 30), 0.8802348245551688),
        (t_tail(40, 3), 1.7190340394579253e-05),
        (t_tail(5, 100_000), 2.8713508393208397e-07),
        (beta_cdf(0.3, 0.5, 0.5), 0.36901011956554536),
        (beta_cdf(0.01, 3, 40), 0.008583853799733485),
        (beta_cdf(0.999, 5000, 2), 0.040326671759193564),
        (beta_cdf(1e-9, 0.2, 9), 0.0265475259210522),
        (binomial_cdf(3, 40, 0.3), 0.000597928446682593),
        (binomial_cdf(0, 1000, 0.01), 4.3171247410658195e-05),
        (binomial_cdf(520, 1000, 0.5), 0.9026168357691174),
        (kolmogorov_tail(0.4), 0.9971923267772983),
        (kolmogorov_tail(1.18), 0.1234538094297657),
        (kolmogorov_tail(2.5), 7.453306344157342e-06),
        (normal_tail(10), 7.61985302416052e-24),
    ],
)
def test_tails_are_those_of_scipy(found: float, recorded: float):
    assert found == pytest.approx(recorded, rel=1e-9)


@given(probabilities)
def test_a_normal_quantile_undoes_the_tail(p: float):
    assert normal_cdf(normal_quantile(p)) == pytest.approx(p, rel=1e-9)


@given(probabilities, st.floats(0.1, 1e5))
def test_a_chi_squared_quantile_undoes_the_tail(p: float, freedom: float):
    assert 1 - chi2_tail(chi2_quantile(p, freedom), freedom) == pytest.approx(p, rel=1e-7, abs=1e-9)


@given(probabilities, st.floats(0.2, 1e5))
def test_a_t_quantile_undoes_the_tail(p: float, freedom: float):
    t = t_quantile(p, freedom)
    assume(abs(t) < 1e100)

    assert t_tail(-t, freedom) == pytest.approx(p, rel=1e-7)


@given(probabilities, st.floats(0.05, 1e4), st.floats(0.05, 1e4))
def test_a_beta_quantile_undoes_the_tail(p: float, a: float, b: float):
    x = beta_quantile(p, a, b)
    assume(1e-290 < x < 1 - 1e-9)

    assert beta_cdf(x, a, b) == pytest.approx(p, rel=1e-6)


@given(st.integers(0, 60), st.integers(1, 60), st.floats(0.001, 0.999))
def test_a_binomial_tail_is_the_sum_of_its_terms(k: int, n: int, p: float):
    terms = math.fsum(math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(min(k, n) + 1))

    assert binomial_cdf(k, n, p) == pytest.approx(terms, rel=1e-9)


def test_what_is_no_probability_is_refused():
    for call in (lambda: normal_quantile(1.1), lambda: t_quantile(math.nan, 3), lambda: beta_quantile(-0.1, 1, 1)):
        with pytest.raises(BadRequest):
            call()
    with pytest.raises(BadRequest, match="degrees"):
        chi2_tail(1, 0)


# ---------------------------------------------------------------- intervals


def test_intervals_of_a_share_are_those_of_statsmodels():
    assert wilson(7, 50)[1:3] == pytest.approx((0.06950833427016288, 0.26186193710585537))
    assert clopper_pearson(7, 50)[1:3] == pytest.approx((0.05819170034037209, 0.2673960024970084))
    assert wilson(0, 0)[1:3] == clopper_pearson(0, 0)[1:3] == (0, 1)


@given(st.integers(0, 80), st.integers(1, 80))
def test_an_exact_interval_has_tails_of_half_of_what_is_left(successes: int, trials: int):
    assume(0 < successes < trials)
    _, low, high, _ = clopper_pearson(successes, trials)

    assert 1 - binomial_cdf(successes - 1, trials, low) == pytest.approx(0.025)
    assert binomial_cdf(successes, trials, high) == pytest.approx(0.025)


@given(st.integers(0, 300), st.integers(0, 300))
def test_every_interval_of_a_share_holds_it(successes: int, more: int):
    for of in (wilson, clopper_pearson):
        found = of(successes, successes + more)
        assert 0 <= found.low <= found.estimate <= found.high <= 1


@pytest.mark.parametrize("method", ["percentile", "bca"])
@pytest.mark.parametrize("own", [False, True], ids=["mean", "own statistic"])
def test_a_bootstrap_holds_the_mean_about_as_often_as_it_says(method: str, own: bool):
    rng, held = np.random.default_rng(0), 0
    mean = (lambda rows: float(rows.mean())) if own else None
    runs = 60 if own else 300
    for seed in range(runs):
        found = bootstrap(rng.normal(3, 1, 60), mean, method=method, draws=400, seed=seed)  # type: ignore[arg-type]
        held += found.low <= 3 <= found.high

    assert 0.87 <= held / runs <= 0.99


def test_clusters_make_an_interval_as_wide_as_it_must_be():
    rng = np.random.default_rng(1)
    covered = {"rows": 0, "bootstrap": 0, "t": 0}
    for seed in range(200):
        groups = np.repeat(np.arange(40), 10)
        values = rng.normal(0, 1, 40)[groups] + rng.normal(0, 0.3, 400)
        labels = groups.tolist()
        for name, found in (
            ("rows", bootstrap(values, draws=300, seed=seed)),
            ("bootstrap", bootstrap(values, clusters=labels, draws=300, seed=seed)),
            ("t", mean_interval(values, clusters=labels)),
        ):
            covered[name] += found.low <= 0 <= found.high

    assert covered["rows"] < 110
    assert min(covered["bootstrap"], covered["t"]) > 178


def test_clusters_are_drawn_alike_for_the_mean_and_for_a_statistic_of_ones_own():
    rng = np.random.default_rng(2)
    values, labels = rng.exponential(size=200), [f"q{n % 31}" for n in range(200)]

    fast = bootstrap(values, clusters=labels, draws=4000)
    slow = bootstrap(values, lambda rows: float(rows.mean()), clusters=labels, draws=4000)

    assert slow[:3] == pytest.approx(fast[:3], rel=0.02)


def test_a_bootstrap_takes_a_statistic_of_several_columns():
    rng = np.random.default_rng(3)
    x = rng.normal(size=150)
    table = np.stack([x, 2 * x + rng.normal(size=150)], 1)

    found = bootstrap(table, lambda rows: float(np.corrcoef(rows.T)[0, 1]), draws=500)

    assert found.estimate == pytest.approx(np.corrcoef(table.T)[0, 1])
    assert 0.8 < found.low < found.estimate < found.high < 1


@pytest.mark.parametrize("values", [[], [1.0, math.nan], ["a"], [[1.0], [2.0]], [math.inf], [None]])
def test_values_that_are_none_are_refused(values: list[float]):
    for of in (bootstrap, mean_interval):
        with pytest.raises(BadRequest):
            of(values)  # type: ignore[operator]


# ---------------------------------------------------------------- tests


def test_mcnemar_is_the_binomial_test_of_the_cases_that_differ():
    assert mcnemar(4, 13).p_value == pytest.approx(0.049041748046875)
    assert mcnemar(13, 4).p_value == mcnemar(4, 13).p_value
    assert mcnemar(4, 13, mid_p=True).p_value == pytest.approx(
        2 * (sum(math.comb(17, i) for i in range(4)) + math.comb(17, 4) / 2) / 2**17
    )
    assert mcnemar(5, 5, mid_p=True).p_value == pytest.approx(1 - math.comb(10, 5) / 2**11)
    assert mcnemar(0, 0) == mcnemar(0, 0, mid_p=True) == (0, 1)


def test_wilcoxon_is_that_of_scipy():
    b = [a + d for a, d in zip(A, DIFFERENCES, strict=True)]

    assert min(wilcoxon(X, Y).statistic, 105 - wilcoxon(X, Y).statistic) == 48
    assert wilcoxon(X, Y).p_value == pytest.approx(0.8077392578125)
    assert wilcoxon(A, b).p_value == pytest.approx(0.008868480481069677)
    assert wilcoxon(A, b, zeros="pratt").p_value == pytest.approx(0.01716841895528033)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9), st.sampled_from(["drop", "pratt"]))
def test_wilcoxon_with_ties_is_the_share_of_all_signs(differences: list[int], zeros: str):
    size = np.abs([d for d in differences if d or zeros == "pratt"])
    if not np.any(size):
        assert wilcoxon([0] * len(differences), differences).p_value == 1
        return
    middle = np.array([((size < s).sum() + 1 + (size <= s).sum()) / 2 for s in size if s])
    seen = sum(m for m, d in zip(middle, [d for d in differences if d], strict=True) if d > 0)
    sums = [
        sum(m for m, sign in zip(middle, signs, strict=True) if sign) for signs in product((0, 1), repeat=len(middle))
    ]
    low, high = np.mean(np.array(sums) <= seen + 1e-9), np.mean(np.array(sums) >= seen - 1e-9)

    found = wilcoxon([0] * len(differences), differences, zeros=zeros)  # type: ignore[arg-type]

    assert found == pytest.approx((seen, min(1, 2 * min(low, high))))


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_a_paired_permutation_of_few_is_the_share_of_all_signs(differences: list[int]):
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in product((-1, 1), repeat=len(differences))
    ]

    found = paired_permutation([0] * len(differences), differences)

    assert found.p_value == pytest.approx(np.mean(np.array(sums) >= abs(sum(differences))))


def test_permutations_of_many_agree_with_the_normal_limit():
    rng = np.random.default_rng(5)
    x, y = rng.normal(size=400), rng.normal(0.15, 1, 400)
    paired_z = (y - x).mean() / ((y - x).std(ddof=1) / 20)
    z = (y.mean() - x.mean()) / math.sqrt(x.var(ddof=1) / 400 + y.var(ddof=1) / 400)

    assert paired_permutation(x, y).p_value == pytest.approx(2 * normal_tail(abs(paired_z)), abs=0.015)
    assert permutation(x, y, draws=4000).p_value == pytest.approx(2 * normal_tail(abs(z)), abs=0.02)
    assert permutation([1, 1], [1, 1]) == (0, 1)
    assert permutation([0.0] * 30, [1.0] * 30, draws=500).p_value == pytest.approx(1 / 501)


@given(st.permutations(range(9)), st.integers(1, 8))
def test_kolmogorov_smirnov_is_the_share_of_all_ways_to_divide(order: list[int], size: int):
    def distance(first: set[int]) -> float:
        rest = set(range(9)) - first
        return max(
            abs(sum(i <= at for i in first) / len(first) - sum(i <= at for i in rest) / len(rest)) for at in range(9)
        )

    first = set(order[:size])
    all_ways = [distance(set(one)) for one in combinations(range(9), size)]

    found = kolmogorov_smirnov(list(first), sorted(set(range(9)) - first))

    assert found.statistic == pytest.approx(distance(first))
    assert found.p_value == pytest.approx(np.mean(np.array(all_ways) >= distance(first) - 1e-9))


def test_tests_of_counts_are_those_of_scipy():
    assert kolmogorov_smirnov(X, Y) == pytest.approx((0.14285714285714285, 0.9995915905136527))
    assert chi_squared([[10, 20, 30], [25, 20, 10]]) == pytest.approx((16.241883116883116, 0.00029724865166273816))
    assert chi_squared([[10, 0, 20], [5, 0, 9], [0, 0, 0]]).p_value == pytest.approx(
        chi_squared([[10, 20], [5, 9]]).p_value
    )
    assert fits([20, 30, 55], [0.2, 0.3, 0.5]) == pytest.approx((0.23809523809523808, 0.8877655252065778))
    assert chi_squared([[1, 2]]) == (0, 1)


def test_p_values_of_many_comparisons_are_those_of_scipy_and_statsmodels():
    p = [0.001, 0.2, 0.03, 0.04, 0.5]

    assert benjamini_hochberg(p) == pytest.approx([0.005, 0.25, 0.06666666666666667, 0.06666666666666667, 0.5])
    assert holm(p) == pytest.approx([0.005, 0.4, 0.12, 0.12, 0.5])
    assert len(holm([])) == 0


@given(st.lists(st.floats(0, 1), max_size=20))
def test_adjusted_p_values_are_never_smaller_and_keep_the_order(p: list[float]):
    for adjust in (holm, benjamini_hochberg):
        found = adjust(p)
        order = np.argsort(p, kind="stable")
        assert all(found >= np.array(p) - 1e-12)
        assert all(np.diff(found[order]) >= 0)
        assert all(found <= 1)


# ---------------------------------------------------------------- agreement and scores


def test_kappa_is_that_of_statsmodels():
    table = [[20, 5, 1], [4, 15, 6], [2, 3, 14]]
    pairs = [(a, b) for a in range(3) for b in range(3) for _ in range(table[a][b])]
    first, second = zip(*pairs, strict=True)

    assert cohen_kappa(first, second)[:3] == pytest.approx(
        (0.5476923076923077, 0.38621706247583587, 0.7091675529087795)
    )
    assert cohen_kappa(first, second, weights="linear")[:3] == pytest.approx(
        (0.6083916083916084, 0.4556473498661131, 0.7611358669171038)
    )
    assert cohen_kappa(first, second, weights="quadratic")[:3] == pytest.approx(
        (0.6703296703296704, 0.5091173598570797, 0.831541980802261)
    )
    assert cohen_kappa(["yes"] * 9, ["yes"] * 9)[:3] == (1, -1, 1)
    with pytest.raises(BadRequest, match="maybe"):
        cohen_kappa(["yes", "maybe"], ["yes", "no"], order=["no", "yes"])


def test_alpha_is_that_of_krippendorffs_book():
    N = None
    ratings = [[1, 1, N, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4], [4, 4, 4, 4],
               [1, 1, 2, 1], [2, 2, 2, 2], [N, 5, 5, 5], [N, N, 1, 1], [N, 3, N, N]]  # fmt: skip
    recorded = {"nominal": 0.743421, "ordinal": 0.815388, "interval": 0.849107, "ratio": 0.797403}

    for metric, value in recorded.items():
        found = krippendorff_alpha(ratings, metric=metric, draws=300)  # type: ignore[arg-type]
        assert found.estimate == pytest.approx(value, abs=1e-6)
        assert found.low < value < found.high
    with pytest.raises(BadRequest):
        krippendorff_alpha([[1, None], [None]])


def test_pass_at_k_is_the_share_of_all_draws():
    tries = [True, False, False, True, False, False]
    drawn = list(combinations(tries, 3))

    assert pass_at_k([6], [2], 3).estimate == pytest.approx(np.mean([any(one) for one in drawn]))
    assert pass_hat_k([6], [4], 3).estimate == pytest.approx(
        np.mean([all(one) for one in combinations([True] * 4 + [False] * 2, 3)])
    )
    assert pass_hat_k([8, 8], [8, 0], 8)[:3] == (0.5, 0, 1)
    with pytest.raises(BadRequest, match="task 2"):
        pass_at_k([5, 2], [1, 1], 3)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=4, max_size=40))
def test_auroc_and_its_variance_are_those_of_the_definition(cases: list[tuple[int, bool]]):
    scores, truth = np.array([s for s, _ in cases], float), np.array([t for _, t in cases])
    assume(2 <= truth.sum() <= len(truth) - 2)
    above = (scores[truth][:, None] > scores[~truth]) + 0.5 * (scores[truth][:, None] == scores[~truth])
    variance = above.mean(1).var(ddof=1) / truth.sum() + above.mean(0).var(ddof=1) / (~truth).sum()

    found = auroc(scores, truth)

    assert found.estimate == pytest.approx(above.mean())
    assert 0 <= found.low <= found.estimate <= found.high <= 1
    if variance > 1e-12 and 0 < above.mean() < 1:
        area = above.mean()
        half = normal_quantile(0.975) * math.sqrt(variance) / (area * (1 - area))
        assert math.log(found.high / (1 - found.high)) == pytest.approx(math.log(area / (1 - area)) + half)


def test_two_scores_of_the_same_cases_are_compared_as_pairs():
    rng, alarms = np.random.default_rng(4), 0
    for _ in range(400):
        truth = rng.random(120) < 0.4
        good = truth + rng.normal(size=120)
        alarms += auroc_test(good + rng.normal(size=120) / 2, good + rng.normal(size=120) / 2, truth).p_value < 0.05

    assert 8 <= alarms <= 34  # of 400, where 20 are due
    truth = rng.random(800) < 0.4
    good = truth + rng.normal(size=800)
    assert auroc_test(good + 2 * rng.normal(size=800), good, truth).p_value < 0.01
    assert auroc_test(good, good, truth) == (0, 1)
    assert auroc([1, 2, 3, 4], [False, False, True, True])[:3] == pytest.approx((1, clopper_pearson(2, 2).low, 1))


def test_calibration_is_the_distance_between_said_and_so():
    said, was = [0.1] * 10 + [0.9] * 10, [True] * 2 + [False] * 8 + [True] * 8 + [False] * 2

    assert expected_calibration_error(said, was, bins=2) == pytest.approx(0.1)
    assert expected_calibration_error(said, was, bins=10, equal_size=False) == pytest.approx(0.1)
    assert expected_calibration_error([], []) == 0


# ---------------------------------------------------------------- power


def test_sizes_are_those_of_the_textbook_and_give_the_power_they_were_asked_for():
    assert mean_size(0.5, 2.0) == 252  # statsmodels: 251.16
    assert share_size(0.8, 0.82, power=0.9) == 8081
    size = share_size(0.3, 0.4, power=0.85)
    assert share_power(0.3, 0.4, size) >= 0.85 > share_power(0.3, 0.4, size - 1)
    assert share_power(0.8, 0.8 + share_effect(0.8, 500), 500) == pytest.approx(0.8)
    assert mean_power(mean_effect(2, 100, paired=True), 2, 100, paired=True) == pytest.approx(0.8)
    assert mean_size(0.5, 2, paired=True) < mean_size(0.5, 2)
    assert share_effect(0.99, 10) == math.inf


def test_the_power_of_mcnemars_test_is_what_a_simulation_gives():
    rng = np.random.default_rng(7)
    cases = rng.multinomial(400, [0.05, 0.10, 0.85], 3000)
    found = np.mean([mcnemar(int(a), int(b), mid_p=True).p_value < 0.05 for a, b, _ in cases])

    assert paired_share_power(0.05, 0.10, 400) == pytest.approx(found, abs=0.03)
    assert paired_share_power(0.05, 0.10, paired_share_size(0.05, 0.10)) >= 0.8


def test_no_number_of_cases_shows_that_there_is_no_difference():
    with pytest.raises(BadRequest, match="no difference"):
        share_size(0.5, 0.5)
    with pytest.raises(BadRequest):
        mean_size(1e-9, 1e9)
