import sys

import numpy as np
import pytest
import torch
from torch import nn

from eamlib import create_model
from eamlib.layers import DynamicConv2d, EAMAttention
from eamlib.redundancy import Premise, Reading, premise

GENERATOR = torch.Generator().manual_seed(0)
SLICE = Reading("slice0")
RIDGES = sys.modules[premise.__module__].RIDGES
MEANS = Reading("slice0", output_size=1)


def noise(*shape):
    return torch.randn(*shape, generator=GENERATOR)


def of(maps, *readings, model=None, layers=nn.Identity, **options):
    """What the readings tell of ``maps``, as the input of a layer."""
    return premise(model or nn.Sequential(nn.Identity()), maps.split(50), readings, layers, **options)


def from_first_four(images=300, channels=16, spread=0.0):
    """Maps whose first four channels say all that the others do."""
    maps = noise(images, channels, 6, 6) + 3 * noise(images, channels, 1, 1)
    maps[:, 4:] = torch.einsum("oc,bchw->bohw", noise(channels - 4, 4), maps[:, :4]) + spread * maps[:, 4:]
    return maps


def test_four_channels_that_determine_all_tell_all():
    [first, last] = of(from_first_four(), MEANS, Reading("slice3", output_size=1))
    assert (first.r2 > 0.9999).all() and first.mean_r2 == pytest.approx(1, abs=1e-4)
    assert (last.r2 > 0.9999).all()  # four mixtures of four are as good
    assert (first.layer, first.reading, first.channels, first.features, first.images) == ("0", MEANS, 16, 4, 300)
    assert first.dead == 0 and first.attention_r2 is None


def test_of_noise_only_what_was_read_is_known():
    [found] = of(noise(400, 16, 5, 5), MEANS)
    assert (found.r2[:4] > 0.9999).all() and (found.r2[4:] < 0.02).all() and (found.r2[4:] > -0.1).all()


@pytest.mark.parametrize("images", [40, 120, 300])
def test_a_reading_of_noise_with_many_features_is_worth_nothing(images):
    maps = noise(images, 16, 5, 5)
    maps[:, 4:] = noise(images, 12, 1, 1)
    [found] = of(maps, SLICE)
    assert found.features == 100
    assert found.r2[4:].mean() < 0  # fitted to the images that it is scored on, it would be far above


def test_r2_is_that_of_a_regression_on_the_other_images(monkeypatch):
    monkeypatch.setattr(sys.modules[premise.__module__], "RIDGES", (1e-9,))
    linear = pytest.importorskip("sklearn.linear_model")
    metrics = pytest.importorskip("sklearn.metrics")
    maps = from_first_four(spread=2.0)
    [found] = of(maps, MEANS)
    means = maps.mean((2, 3)).double().numpy()
    predicted, fold = np.empty_like(means), np.arange(300) % 4
    for f in range(4):
        others = linear.LinearRegression().fit(means[fold != f, :4], means[fold != f])
        predicted[fold == f] = others.predict(means[fold == f, :4])
    expected = metrics.r2_score(means, predicted, multioutput="raw_values")
    torch.testing.assert_close(found.r2, torch.from_numpy(expected), rtol=0, atol=1e-6)
    assert expected[4:].max() < 0.95


@pytest.mark.parametrize("ridge", [1e-5, 1e-1, 10.0])
def test_with_one_ridge_r2_is_that_of_ridge_regression(ridge, monkeypatch):
    linear = pytest.importorskip("sklearn.linear_model")
    preprocessing = pytest.importorskip("sklearn.preprocessing")
    cross = pytest.importorskip("sklearn.model_selection")
    metrics = pytest.importorskip("sklearn.metrics")
    monkeypatch.setattr(sys.modules[premise.__module__], "RIDGES", (ridge,))
    maps = from_first_four(200, spread=1.0) * torch.logspace(-2, 2, 16)[:, None, None]
    [found] = of(maps, SLICE, folds=4)
    pooled = nn.functional.adaptive_avg_pool2d(maps[:, :4], 5).flatten(1).double().numpy()
    means = maps.mean((2, 3)).double().numpy()
    folds = cross.PredefinedSplit(np.arange(200) % 4)
    features = preprocessing.StandardScaler().fit_transform(pooled)
    predicted = cross.cross_val_predict(linear.Ridge(alpha=150 * ridge), features, means, cv=folds)
    expected = metrics.r2_score(means, predicted, multioutput="raw_values")
    torch.testing.assert_close(found.r2, torch.from_numpy(expected), rtol=1e-4, atol=1e-4)


def test_each_target_gets_the_ridge_that_images_choose_which_are_not_scored():
    maps = from_first_four(64, spread=1.0)
    [found] = of(maps, SLICE)
    x = nn.functional.adaptive_avg_pool2d(maps[:, :4], 5).flatten(1).double()
    y = maps.mean((2, 3)).double()
    fold, errors, taken = torch.arange(64) % 4, torch.zeros(16).double(), set()

    def predicted(train, test, ridge):
        centred = (x - x[train].mean(0)) / x.std(0, correction=0)
        gram = centred[train].T @ centred[train] / train.sum() + ridge * torch.eye(100)
        weight = torch.linalg.solve(gram, centred[train].T @ (y[train] - y[train].mean(0)) / train.sum())
        return y[train].mean(0) + centred[test] @ weight

    for f in range(4):
        inner, scored = fold == (f - 1) % 4, fold == f
        for target in range(16):

            def loss(ridge, target=target, inner=inner, scored=scored):
                return (predicted(~inner & ~scored, inner, ridge) - y[inner])[:, target].square().sum()

            best = min(RIDGES, key=loss)
            taken.add(best)
            errors[target] += (predicted(~scored, scored, best) - y[scored])[:, target].square().sum()
    expected = 1 - errors / (y - y.mean(0)).square().sum(0)
    torch.testing.assert_close(found.r2, expected, rtol=1e-5, atol=1e-5)
    assert len(taken) > 1


def test_pooled_to_5_by_5_the_mean_of_a_map_that_5_divides_is_still_there():
    maps = noise(400, 8, 10, 10) + noise(400, 8, 1, 1)
    [found] = of(maps, SLICE)
    assert found.features == 50 and (found.r2[:2] > 0.999).all() and (found.r2[2:] < 0.05).all()


def test_5_by_5_tells_what_the_mean_does_not():
    maps = noise(600, 8, 5, 5)
    ramp = torch.linspace(-1, 1, 5)
    maps[:, 4:] = (maps[:, :1] * ramp).sum((2, 3), keepdim=True)  # a linear function of the first map, not of its mean
    [fine, coarse] = of(maps, SLICE, MEANS)
    assert (fine.r2[4:] > 0.999).all() and (coarse.r2[4:] < 0.05).all()


def test_any_split_into_batches_gives_the_same():
    maps = from_first_four(90, spread=1.0)
    identity = nn.Sequential(nn.Identity())
    whole, *parts = (
        premise(identity, batches, [SLICE], nn.Identity)[0]
        for batches in ([maps], maps.split(7), [maps[:0], maps[:1], maps[1:]], [(maps, torch.zeros(90))])
    )
    for part in parts:
        torch.testing.assert_close(part.r2, whole.r2, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(part.weight, whole.weight, rtol=1e-5, atol=1e-6)


def test_a_large_mean_and_a_tiny_scale_change_nothing():
    maps = from_first_four(spread=1.0).double()
    [found] = of(maps, MEANS)
    moved = maps.clone()
    moved[:, ::3] *= 1e-7
    moved[:, 1::3] += 1e6
    [again] = of(moved, MEANS)
    torch.testing.assert_close(again.r2, found.r2, rtol=1e-7, atol=1e-7)


def test_dead_channels_are_counted_and_left_out_of_the_mean():
    maps = from_first_four()
    maps[:, 0], maps[:, 7] = 0, 1000.1
    maps[:, 9] = noise(300, 6, 6)
    maps[:, 9] -= maps[:, 9].flip(2)  # its mean is nothing but rounding
    [found] = of(maps, MEANS)
    assert found.dead == 3 and found.r2[[0, 7, 9]].isnan().all()
    assert found.mean_r2 == pytest.approx(found.r2[~found.r2.isnan()].mean().item())


def test_where_all_are_dead_nothing_is_nan_but_r2():
    [found] = of(torch.ones(20, 4, 5, 5), Reading())
    assert found.dead == 4 and found.mean_r2 == 0
    assert found.weight.isfinite().all() and found.bias.isfinite().all()


def test_the_prediction_fitted_to_all_images():
    maps = from_first_four()
    [found] = of(maps, MEANS)
    means = maps.mean((2, 3)).double()
    torch.testing.assert_close(means[:, :4] @ found.weight.T + found.bias, means, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("reading", "features"),
    [
        (Reading(), 100),
        (Reading("cgr", 8, output_size=1), 8),
        (Reading("cgr-max", 2, "max", 3), 18),
        (Reading("stride"), 100),
        (Reading("slice2", output_size=2), 16),
    ],
)
def test_a_reading_is_the_descriptor_of_the_attention_with_its_options(reading, features):
    maps = noise(20, 16, 6, 6)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    [found] = of(maps, reading)
    assert torch.equal(torch.get_rng_state(), before)  # nothing is drawn from the reader's own generator
    assert found.features == features and found.reading is reading
    attention = EAMAttention(
        16,
        select=reading.select,
        channels=reading.channels,
        pool=reading.pool,
        output_size=reading.output_size,
        seed=reading.seed,
    )
    torch.testing.assert_close(reading.of(16).descriptor(maps), attention.descriptor(maps))


def test_the_draw_is_that_of_the_seed():
    [four, again, other] = (Reading(seed=seed).of(64).select.indices.tolist() for seed in (4, 4, 5))
    assert four == again != other


class Linear(nn.Module):
    """An attention that is a softmax of a linear map of what a reading tells."""

    def __init__(self, reading, channels, kernels, scale=1.0):
        super().__init__()
        self.reader = reading.of(channels)
        self.predict = nn.Linear(self.reader.predict[0].in_features, kernels)
        nn.init.normal_(self.predict.weight, std=scale)

    def forward(self, input):
        return self.predict(self.reader.descriptor(input)).softmax(1)


@pytest.mark.parametrize("reading", [MEANS, Reading("rcr", output_size=2)])
def test_an_attention_that_is_linear_in_the_reading_is_imitated(reading):
    torch.manual_seed(0)
    layer = DynamicConv2d(16, 4, 1, num_kernels=3, attention=Linear(reading, 16, 3))
    maps = noise(300, 16, 6, 6) + noise(300, 16, 1, 1)
    [found] = of(maps, reading, model=nn.Sequential(layer), layers=DynamicConv2d)
    assert found.attention_r2 > 0.9999 and len(found.r2) == 16 and found.weight.shape == (19, found.features)
    fresh = noise(5, 16, 6, 6)
    imitated = found.imitated_attention(fresh)
    assert imitated.dtype == fresh.dtype
    torch.testing.assert_close(imitated, layer.attention(fresh).detach(), rtol=1e-2, atol=1e-3)


def test_an_attention_of_what_was_not_read_is_not_imitated():
    torch.manual_seed(0)
    layer = DynamicConv2d(16, 4, 1, attention=Linear(Reading("slice3", output_size=1), 16, 4))
    [found] = of(noise(300, 16, 6, 6), MEANS, model=nn.Sequential(layer), layers=["0"])
    assert -0.1 < found.attention_r2 < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_saturated_attention_is_finite(dtype):
    torch.manual_seed(0)
    layer = DynamicConv2d(16, 4, 1, attention=Linear(MEANS, 16, 4, scale=1e4)).to(dtype)
    maps = noise(100, 16, 6, 6).to(dtype)
    assert layer.attention(maps).min() == 0
    [found] = of(maps, MEANS, model=nn.Sequential(layer), layers=DynamicConv2d)
    assert 0.2 < found.attention_r2 < 1 and found.imitated_attention(maps).isfinite().all()


@pytest.mark.parametrize("bias", [[0.0, 0.0, 0.0], [0.02, -0.01, 0.0]])
def test_an_attention_that_changes_by_no_more_than_rounding_has_0(bias):
    layer = DynamicConv2d(16, 4, 1, num_kernels=3, attention=Linear(MEANS, 16, 3, scale=5e-7))
    with torch.no_grad():
        layer.attention.predict.bias.copy_(torch.tensor(bias))
    [found] = of(noise(100, 16, 6, 6), MEANS, model=nn.Sequential(layer), layers=DynamicConv2d)
    assert found.attention_r2 == 0


def test_half_precision_is_not_rounded_once_more():
    maps = (from_first_four() + 50).half()
    [found] = of(maps, MEANS)
    [expected] = of(maps.double(), MEANS)
    torch.testing.assert_close(found.r2, expected.r2, rtol=1e-4, atol=1e-4)


def test_one_result_a_layer_and_reading_in_order_and_everything_is_as_it_was():
    model = create_model("mobilenet_v1", "eam-rcr", width_mult=0.25, num_classes=4, stem_stride=1).train()
    readings = [Reading(), MEANS, Reading()]
    found = premise(model, torch.randn(12, 3, 32, 32).split(6), iter(readings), folds=3)
    layers = [name for name, layer in model.named_modules() if isinstance(layer, DynamicConv2d)]
    assert [(one.layer, one.reading) for one in found] == [(name, r) for name in layers for r in readings[:2]]
    assert all(isinstance(one, Premise) and one.images == 12 and one.attention_r2 is not None for one in found)
    assert model.training and not any(layer._forward_pre_hooks for layer in model.modules())


class Nowhere(nn.Module):
    """An attention that is NaN."""

    def forward(self, input):
        return torch.full((len(input), 4), torch.nan)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"folds": 2}, "folds = 2 must be an integer of at least 3"),
        ({"readings": []}, "readings is empty"),
        ({"readings": [Reading(channels=32)]}, "layer '0': channels = 32 selects more than the 16 channels"),
        ({"readings": [Reading("stride", 8)]}, "layer '0': channels = 8 means nothing to select = 'stride'"),
        ({"layers": nn.ReLU}, "layers = ReLU: Sequential has none"),
        ({"layers": ["2"]}, r"layer '2': its input is of shape \[20, 400\]; allowed is \[B, C, H, W\]"),
        ({"batches": [torch.randn(7, 16, 5, 5)]}, "layer '0': batches holds 7 images; at least 8 are needed for 4"),
        ({"batches": [torch.full((9, 16, 5, 5), torch.inf)]}, "layer '0': its input, or its attention, holds NaN"),
        (
            {"model": nn.Sequential(DynamicConv2d(16, 16, 1, attention=Nowhere())), "layers": ["0"]},
            "layer '0': its input, or its attention, holds NaN",
        ),
    ],
)
def test_bad_input_is_named(arguments, message):
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(400, 2))
    given = {"model": model, "batches": [torch.randn(20, 16, 5, 5)], "readings": [MEANS], "layers": nn.Identity}
    with pytest.raises(ValueError, match=message):
        premise(**{**given, **arguments})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"select": "rrc"}, "select = 'rrc' is unknown. Did you mean 'rcr'"),
        ({"channels": 0}, "channels = 0 must be"),
        ({"pool": "mean"}, "pool = 'mean' is unknown"),
        ({"output_size": 0}, "output_size = 0 must be"),
        ({"seed": None}, "seed = None must be"),
    ],
)
def test_a_bad_reading_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        Reading(**options)


def test_a_layer_without_attention_has_none_to_imitate():
    [found] = of(noise(20, 16, 5, 5), MEANS)
    with pytest.raises(ValueError, match="layer = '0' has no attention; allowed is a DynamicConv2d"):
        found.imitated_attention(noise(2, 16, 5, 5))


@pytest.mark.cuda
def test_cuda_agrees_with_the_cpu():
    torch.manual_seed(0)
    model = nn.Sequential(DynamicConv2d(16, 4, 1)).double()
    maps = from_first_four(spread=1.0).double()
    [here] = of(maps, SLICE, model=model, layers=DynamicConv2d)
    [there] = of(maps, SLICE, model=model.cuda(), layers=DynamicConv2d)
    torch.testing.assert_close(there.r2, here.r2)
    assert there.attention_r2 == pytest.approx(here.attention_r2)
    imitated = there.imitated_attention(maps.cuda())
    torch.testing.assert_close(imitated.cpu(), here.imitated_attention(maps))


def test_a_feature_that_hardly_varies_in_the_other_images_is_not_blown_up():
    maps = noise(200, 8, 5, 5)
    maps[:, 0] *= 1e-4
    maps[::4, 0] *= 1e4  # it lives in one fold alone
    [found] = of(maps, SLICE)
    assert found.r2.min() > -1


def test_what_is_given_is_known_beside_a_reading():
    maps, secret = noise(400, 8, 5, 5), noise(400, 1)
    maps[:, 2:] = maps[:, :1].mean((2, 3), keepdim=True) + secret[:, :, None, None] / 5  # a half each
    [alone] = of(maps, MEANS)
    nothing, both = of(maps, None, MEANS, given=secret)
    assert (nothing.reading, nothing.features, both.features) == (None, 1, 3)
    assert alone.r2[2:].max() < 0.7 and nothing.r2[2:].max() < 0.7
    assert both.r2.min() > 0.999


@pytest.mark.parametrize(
    ("readings", "given", "message"),
    [
        ([None], None, "readings holds None, which reads nothing"),
        ([MEANS], torch.zeros(19, 1), "given holds 19 rows; allowed is one for each image"),
        ([MEANS], torch.zeros(21, 1), "given holds 21 rows for 20 images"),
    ],
)
def test_what_is_given_is_of_the_same_images(readings, given, message):
    with pytest.raises(ValueError, match=message):
        of(noise(20, 16, 5, 5), *readings, given=given)


def test_what_was_given_cannot_be_read_from_maps():
    model = nn.Sequential(DynamicConv2d(16, 4, 1))
    [found] = of(noise(20, 16, 5, 5), MEANS, model=model, layers=DynamicConv2d, given=torch.randn(20, 1))
    with pytest.raises(ValueError, match="predicted from more than its maps"):
        found.imitated_attention(noise(2, 16, 5, 5))
