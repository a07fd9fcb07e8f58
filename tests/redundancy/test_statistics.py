import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from eamlib.redundancy import EDGES, STRENGTHS, ChannelStatistics, Duplicate, merged

IDLE = 0.0, 1e-3, 1000.1  # constants: what a dead channel may hold


def mixed(samples=60, channels=6, seed=0):
    """Samples ``[N, C]`` of correlated channels with means that are large beside what varies."""
    random = np.random.default_rng(seed)
    return random.normal(size=(samples, channels)) @ random.normal(size=(channels, channels)) + 100 * np.arange(
        channels
    )


def of(samples):
    samples = torch.as_tensor(np.asarray(samples))
    statistics = ChannelStatistics(samples.shape[1])
    statistics.update(samples)
    return statistics


def close(actual, expected, tolerance=1e-9):
    torch.testing.assert_close(actual, torch.as_tensor(np.asarray(expected)), rtol=tolerance, atol=tolerance)


def test_moments_are_those_of_numpy():
    samples = mixed()
    statistics = of(samples)
    close(statistics.mean, samples.mean(0))
    close(statistics.covariance, np.cov(samples.T, bias=True))
    close(statistics.correlation, np.corrcoef(samples.T))
    assert statistics.count == 60 and not statistics.dead.any()


def test_correlation_is_that_of_scipy():
    pearsonr = pytest.importorskip("scipy.stats").pearsonr
    samples = mixed()
    assert of(samples).correlation[1, 4].item() == pytest.approx(pearsonr(samples[:, 1], samples[:, 4])[0], rel=1e-12)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 60), max_size=5), seed=st.integers(0, 99), offset=st.sampled_from([0, 1, 1e4]))
def test_any_split_gives_the_statistics_of_all(cuts, seed, offset):
    samples = mixed(seed=seed) + offset
    statistics = ChannelStatistics(6)
    for part in np.split(samples, sorted(cuts)):
        statistics.update(torch.from_numpy(part))
    assert statistics.count == 60
    close(statistics.mean, samples.mean(0), 1e-12)
    close(statistics.correlation, np.corrcoef(samples.T), 1e-7)


@settings(max_examples=20, deadline=None)
@given(cut=st.integers(0, 60), seed=st.integers(0, 99))
def test_merged_parts_are_the_whole(cut, seed):
    samples = mixed(seed=seed)
    parts = [of(samples[:cut]), of(samples[cut:])]
    whole = merged(parts)
    assert whole.count == 60 and [part.count for part in parts] == [cut, 60 - cut]
    close(whole.mean, samples.mean(0), 1e-12)
    close(whole.covariance, np.cov(samples.T, bias=True))


def test_a_part_too_large_for_one_go_is_split(monkeypatch):
    samples = mixed()
    monkeypatch.setattr("eamlib.redundancy.statistics._AT_A_TIME", 42)
    close(of(samples).covariance, np.cov(samples.T, bias=True))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_every_position_of_a_map_is_a_sample(layout, dtype):
    maps = torch.randn(3, 5, 4, 2).to(dtype).to(memory_format=layout)
    statistics = ChannelStatistics(5)
    statistics.update(maps)
    samples = maps.double().permute(0, 2, 3, 1).reshape(-1, 5).numpy()
    assert statistics.count == 24
    close(statistics.covariance, np.cov(samples.T, bias=True))


def test_a_large_mean_drowns_nothing():
    samples = torch.randn(500, 2, dtype=torch.float64)
    close(of(1e5 + samples).correlation, np.corrcoef(samples.T), 1e-8)


@pytest.mark.parametrize("constant", IDLE)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_constant_is_dead_and_nothing_is_nan(constant, dtype):
    samples = torch.randn(50, 4, dtype=torch.float64).to(dtype)
    samples[:, 2] = constant
    statistics = of(samples)
    assert statistics.dead.tolist() == [False, False, True, False]
    assert not statistics.correlation[2].any() and not statistics.correlation[:, 2].any()
    assert statistics.correlation.diagonal().tolist() == [1, 1, 0, 1]
    index, r = statistics.nearest()
    assert (index[2], r[2], statistics.predictability()[2]) == (-1, 0, 0)
    assert statistics.components(1.0) == 3 and statistics.effective_rank() <= 3
    assert sum(statistics.strengths().values()) == pytest.approx(1)


def test_what_rounding_leaves_of_a_constant_is_no_variance():
    samples = torch.full((4000, 3), 1e6) * (1 + 1e-7 * torch.randn(4000, 3))
    samples[:, 0] = 1e-3 * torch.randn(4000)
    assert samples[:, 1].unique().numel() > 1
    statistics = of(samples)
    assert statistics.dead.tolist() == [False, True, True]
    assert statistics.effective_rank() == pytest.approx(1) and statistics.components() == 1


@pytest.mark.parametrize("samples", [np.ones((9, 3)), np.ones((1, 3)), np.ones((0, 3))], ids=["all", "one", "none"])
def test_where_all_are_dead_every_measure_says_zero(samples):
    statistics = of(samples)
    assert statistics.dead.all()
    assert statistics.effective_rank() == statistics.effective_rank(True) == 0
    assert statistics.components() == 0 and statistics.duplicates() == []
    assert set(statistics.strengths().values()) == {0}
    assert not statistics.predictability().any()


def test_strengths_by_hand():
    planted = torch.eye(4, dtype=torch.float64)
    for pair, r in {(0, 1): -0.8, (0, 2): 0.5, (1, 2): -0.2, (0, 3): 0.19, (1, 3): 0.0, (2, 3): 0.3}.items():
        planted[pair] = planted[pair[::-1]] = r
    statistics = ChannelStatistics(4)
    statistics.update(torch.linalg.cholesky(planted).T * 2)
    statistics.update(-torch.linalg.cholesky(planted).T * 2)
    close(statistics.correlation, planted)
    assert statistics.strengths() == pytest.approx({"strong": 1 / 6, "middle": 1 / 6, "weak": 2 / 6, "none": 2 / 6})
    assert statistics.strengths((0.4, 0.1, 0.01)) == pytest.approx(
        {"strong": 2 / 6, "middle": 3 / 6, "weak": 0, "none": 1 / 6}
    )
    assert tuple(statistics.strengths()) == STRENGTHS and EDGES == (0.8, 0.5, 0.2)


def test_where_each_channel_has_one_double_few_pairs_are_strong_and_all_channels_have_a_partner():
    base = torch.randn(4000, 8, dtype=torch.float64)
    statistics = of(torch.cat([base, -base, torch.randn(4000, 1, dtype=torch.float64)], 1))
    assert statistics.partnered() == 16 / 17 and statistics.partnered(1.0) == 16 / 17
    assert statistics.strengths()["strong"] == pytest.approx(8 / (17 * 8))
    assert of(np.ones((9, 3))).partnered() == 0 and of(base[:, :1]).partnered() == 0


def test_the_participation_ratio_is_that_of_the_eigenvalues():
    samples = mixed(channels=9) * np.logspace(-2, 2, 9)
    for standardized, matrix in ((False, np.cov(samples.T)), (True, np.corrcoef(samples.T))):
        values = np.linalg.eigvalsh(matrix)
        assert of(samples).participation_ratio(standardized) == pytest.approx(values.sum() ** 2 / (values**2).sum())
    with_a_dead_one = np.concatenate([samples, np.full((60, 1), 7.0)], 1)
    assert of(with_a_dead_one).participation_ratio() == pytest.approx(of(samples).participation_ratio())
    assert of(np.ones((9, 3))).participation_ratio() == 0


@pytest.mark.parametrize("standardized", [False, True])
def test_spectrum_rank_and_components_are_those_of_the_singular_values(standardized):
    samples = mixed(channels=9) * np.logspace(-2, 2, 9)
    centred = samples - samples.mean(0)
    if standardized:
        centred = centred / centred.std(0)
    values = np.linalg.svd(centred, compute_uv=False)
    share, held = values / values.sum(), np.cumsum(values**2) / np.sum(values**2)
    statistics = of(samples)
    close(statistics.spectrum(standardized), values**2 / 60, 1e-6)
    assert statistics.effective_rank(standardized) == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    for wanted in (0.5, 0.9, 0.99, 0.9999):
        assert statistics.components(wanted, standardized) == np.searchsorted(held, wanted) + 1


def test_the_rank_of_copies_is_one_and_of_equal_and_uncorrelated_channels_all():
    copies = np.outer(np.random.default_rng(0).normal(size=50), [1, 1, 1, 1])
    assert of(copies).effective_rank() == pytest.approx(1, abs=1e-5) and of(copies).components(1.0) == 1
    orthogonal = np.concatenate([np.eye(5), -np.eye(5)])
    assert of(orthogonal).effective_rank() == pytest.approx(5)
    assert of(orthogonal).components(1.0) == 5 and of(orthogonal).components(0.6) == 3


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("scale", [2.5, -0.004])
def test_a_planted_duplicate_is_found_with_its_affine_map(scale, dtype):
    samples = torch.randn(200, 5, dtype=torch.float64)
    samples[:, 3] = scale * samples[:, 1] + 7
    statistics = of(samples.to(dtype))
    for threshold in (0.95, 1.0) if dtype == torch.float64 else (0.95,):
        [pair] = statistics.duplicates(threshold)
        assert isinstance(pair, Duplicate)
        assert tuple(pair) == pytest.approx((3, 1, np.sign(scale), scale, 7), rel=2e-4)
    index, r = statistics.nearest()
    assert (index[1], index[3]) == (3, 1)
    close(r[[1, 3]], [np.sign(scale)] * 2, 1e-4)


def test_duplicates_come_the_closest_first_and_each_pair_once():
    base = torch.randn(500, 1, dtype=torch.float64)
    pairs = of(base + torch.tensor([0.3, 0.2, 0.1, 0.0]) * torch.randn(500, 4, dtype=torch.float64)).duplicates(0.5)
    assert len(pairs) == 6 and all(pair.of < pair.channel for pair in pairs)
    assert (pairs[0].channel, pairs[0].of) == (3, 2)
    assert [pair.r for pair in pairs] == sorted((pair.r for pair in pairs), reverse=True)


def test_predictability_is_the_r2_of_a_regression_on_the_others():
    linear = pytest.importorskip("sklearn.linear_model")
    samples = mixed()
    expected = []
    for channel in range(6):
        others = np.delete(samples, channel, 1)
        expected.append(linear.LinearRegression().fit(others, samples[:, channel]).score(others, samples[:, channel]))
    close(of(samples).predictability(), expected, 1e-3)
    assert min(expected) < 0.999


def test_a_copy_is_predictable_and_noise_is_not():
    samples = torch.randn(5000, 4, dtype=torch.float64)
    samples[:, 3] = 1 - 3 * samples[:, 0]
    found = of(samples).predictability()
    assert (found[[0, 3]] > 0.9999).all() and (found[[1, 2]] < 0.01).all()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda s: ChannelStatistics(0), "channels = 0 must be an integer of at least 1"),
        (lambda s: s.update(torch.zeros(5, 4)), r"samples has shape \[5, 4\]; allowed is \[B, 3, H, W\] or \[N, 3\]"),
        (lambda s: s.update(torch.zeros(3)), r"samples has shape \[3\]"),
        (lambda s: s.update(torch.tensor([[1.0, 2.0, torch.nan]])), "samples holds NaN or infinite values"),
        (lambda s: s.update(torch.tensor([[1.0, torch.inf, 0.0]])), "samples holds NaN or infinite values"),
        (lambda s: s.strengths((0.8, 0.5)), r"edges = \(0.8, 0.5\) must be three numbers that fall"),
        (lambda s: s.strengths((0.5, 0.8, 0.2)), "must be three numbers that fall"),
        (lambda s: s.components(0), "share = 0 must be above 0 and at most 1"),
        (lambda s: s.duplicates(1.5), "threshold = 1.5 must be above 0 and at most 1"),
        (lambda s: s.partnered(0), "threshold = 0 must be above 0 and at most 1"),
        (lambda s: s.merge(ChannelStatistics(4)), "other is of 4 channels; allowed are 3"),
    ],
)
def test_bad_input_is_named_and_nothing_is_added(ask, message):
    statistics = of(np.eye(3))
    with pytest.raises(ValueError, match=message):
        ask(statistics)
    assert statistics.count == 3


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu():
    maps = 5 + torch.randn(4, 8, 6, 6)
    maps[:, 3] = 2 - maps[:, 1]
    here, there = ChannelStatistics(8), ChannelStatistics(8)
    for part in maps.split(3):
        here.update(part)
        there.update(part.cuda())
    torch.testing.assert_close(there.covariance.cpu(), here.covariance)
    torch.testing.assert_close(there.correlation.cpu(), here.correlation)
    assert there.effective_rank() == pytest.approx(here.effective_rank())
    [pair], [expected] = there.duplicates(), here.duplicates()
    assert pair == pytest.approx(expected)
