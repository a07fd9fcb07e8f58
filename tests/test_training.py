import pytest
import torch

from eamlib import create_model, data
from eamlib.data import ImageSet
from eamlib.training import evaluate, fit, normalize, pick_device, pixel_statistics, seed_everything

pytest.importorskip("sklearn")


def small(count=200):
    train, test = data.load("digits"), data.load("digits", train=False)
    return (
        ImageSet("digits", train.images[:count], train.labels[:count], train.classes),
        ImageSet("digits", test.images[:100], test.labels[:100], test.classes),
    )


def run(seed=0, **options):
    seed_everything(seed)
    model = create_model("mobilenet_v1", "eam-rcr", num_classes=10, width_mult=0.25, stem_stride=1)
    return model, fit(model, *small(), epochs=2, progress=False, seed=seed, device="cpu", **options)


def test_history_has_a_line_an_epoch_and_a_seed_repeats_it():
    (_, first), (_, again), (_, other) = run(), run(), run(seed=1)
    assert [line["epoch"] for line in first] == [1, 2]
    assert set(first[0]) == {"epoch", "loss", "train_accuracy", "test_accuracy", "seconds"}
    losses = [[line["loss"] for line in history] for history in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_it_learns():
    seed_everything(0)
    model = create_model("mobilenet_v1", num_classes=10, width_mult=0.25, stem_stride=1)
    train, test = data.load("digits"), data.load("digits", train=False)
    history = fit(model, train, test, epochs=5, progress=False)
    assert history[-1]["test_accuracy"] > 85 > history[0]["test_accuracy"]
    assert history[-1]["test_accuracy"] == evaluate(
        model, test, mean=pixel_statistics(train)[0], std=pixel_statistics(train)[1]
    )


def test_statistics_are_those_of_the_pixels():
    train, _ = small()
    mean, std = pixel_statistics(train)
    pixels = train.images.double() / 255
    torch.testing.assert_close(mean.flatten().double(), pixels.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(std.flatten().double(), pixels.std((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6)
    assert normalize(train.images, mean, std).mean().abs() < 1e-4


def test_evaluate_leaves_the_mode_as_it_was():
    model = create_model("mobilenet_v1", num_classes=10, width_mult=0.25, stem_stride=1).train()
    assert 0 <= evaluate(model, small()[1]) <= 100 and model.training


def test_a_diverging_run_stops_with_its_place():
    with pytest.raises(FloatingPointError, match="in epoch .* learning_rate = 1e"):
        run(learning_rate=1e30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"learning_rate": -0.1}, "learning_rate = -0.1"),
        ({"device": "gpu"}, "device = 'gpu' is no device"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        fit(torch.nn.Linear(1, 1), *small(), **({"epochs": 1} | options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(ValueError, match="needs a CUDA GPU"):
        pick_device("cuda")


@pytest.mark.cuda
def test_it_trains_on_cuda():
    seed_everything(0)
    model = create_model("mobilenet_v1", "eam-rcr", num_classes=10, width_mult=0.25, stem_stride=1)
    history = fit(model, *small(), epochs=1, progress=False)
    assert next(model.parameters()).is_cuda and history[0]["loss"] > 0
