import numpy as np
import pytest
import torch

from eamlib.redundancy import ChannelStatistics, held_out_r2, merged


def mixed(samples=60, channels=6):
    random = np.random.default_rng(0)
    return random.normal(size=(samples, channels)) @ random.normal(size=(channels, channels))


def of(samples):
    statistics = ChannelStatistics(samples.shape[1])
    statistics.update(torch.as_tensor(samples))
    return statistics


def folds_of(samples, count=4):
    return [of(samples[i::count]) for i in range(count)]


def test_it_is_the_held_out_r2_of_regressions_on_the_others():
    linear = pytest.importorskip("sklearn.linear_model")
    samples = mixed(samples=400) + np.random.default_rng(1).normal(size=(400, 6))
    expected = []
    for channel in range(6):
        others, errors = np.delete(samples, channel, 1), 0.0
        for i in range(4):
            seen = np.arange(400) % 4 != i
            fit = linear.LinearRegression().fit(others[seen], samples[seen, channel])
            errors += np.square(samples[~seen, channel] - fit.predict(others[~seen])).sum()
        expected.append(1 - errors / (400 * samples[:, channel].var()))
    found = held_out_r2(folds_of(samples))
    assert max(expected) < 0.999
    torch.testing.assert_close(found, torch.tensor(expected), rtol=0, atol=0.01)


def test_noise_that_a_fit_to_the_same_samples_explains_is_not_explained():
    noise = torch.randn(80, 40, dtype=torch.float64)
    assert of(noise).predictability().mean() > 0.3
    assert held_out_r2(folds_of(noise)).mean() < 0.05


def test_parts_that_disagree_are_worse_than_the_mean():
    base = torch.randn(300, 1, dtype=torch.float64)
    parts = [of(torch.cat([base, sign * base], 1) + 0.01 * torch.randn(300, 2)) for sign in (1, 1, -1)]
    assert (held_out_r2(parts) < 0).all()


def test_dead_channels_are_0_and_harm_nobody():
    samples = torch.randn(400, 3, dtype=torch.float64)
    samples[:, 2] = samples[:, 0] - samples[:, 1]
    with_a_dead_one = torch.cat([torch.full((400, 1), 3.0, dtype=torch.float64), samples], 1)
    found = held_out_r2(folds_of(with_a_dead_one))
    assert found[0] == 0 and (found[1:] > 0.999).all()
    # Alive in the part that is scored, and nowhere else.
    samples[:, 2] = 0
    samples[::4, 2] = torch.randn(100, dtype=torch.float64)
    assert held_out_r2(folds_of(samples)).isfinite().all()
    assert not held_out_r2([of(torch.ones(5, 2)) for _ in range(3)]).any()


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: held_out_r2(folds_of(mixed(), 2)), r"folds hold \[30, 30\] samples; allowed are at least 3 parts"),
        (lambda: held_out_r2([*folds_of(mixed()), ChannelStatistics(6)]), "none of them empty"),
        (lambda: held_out_r2([*folds_of(mixed()), of(mixed(channels=5))]), "other is of 5 channels; allowed are 6"),
        (lambda: merged([]), "parts is empty"),
    ],
)
def test_bad_input_is_named(ask, message):
    with pytest.raises(ValueError, match=message):
        ask()
