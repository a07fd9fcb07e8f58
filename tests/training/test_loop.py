import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import tiny
import torch
from torch import nn

from eamlib import create_model
from eamlib.training import checkpoint, evaluate, fit, normalize, pick_device, pixel_statistics, seed_everything
from eamlib.training.loop import check_precision

pytest.importorskip("tqdm")

PLAIN = {"augment": None, "temperature": None, "ema": None}


@pytest.mark.parametrize(("native", "refused"), [(False, True), (True, False)])
def test_bf16_is_refused_where_a_gpu_emulates_it(monkeypatch, native, refused):
    """A T4, whose emulation is slower than float32."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native)
    with pytest.raises(ValueError, match="allowed here: float32, fp16") if refused else nullcontext():
        check_precision("bf16", torch.device("cuda"))


def test_history_has_a_line_an_epoch_and_a_seed_repeats_it():
    first, again, other = (tiny.run(epochs=2, seed=seed)[1] for seed in (0, 0, 1))
    assert [line["epoch"] for line in first] == [1, 2]
    assert set(first[0]) == {"epoch", "loss", "train_accuracy", "test_accuracy", "seconds"}
    losses = [[line["loss"] for line in history] for history in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_it_learns():
    train, test = tiny.images(200), tiny.images(100, seed=1)
    mean, std = pixel_statistics(train)
    before = evaluate(tiny.network(), test, mean=mean, std=std)
    model, history = tiny.run(sets=(train, test), learning_rate=0.02, **PLAIN | {"epochs": 3})
    assert history[-1]["test_accuracy"] > 85 > 50 > before
    assert history[-1]["test_accuracy"] == evaluate(model, test, mean=mean, std=std)


def test_statistics_are_those_of_the_pixels():
    train = tiny.images()
    mean, std = pixel_statistics(train)
    pixels = train.images.double() / 255
    torch.testing.assert_close(mean.flatten().double(), pixels.mean((0, 2, 3)), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(std.flatten().double(), pixels.std((0, 2, 3), correction=0), rtol=1e-5, atol=1e-6)
    assert normalize(train.images, mean, std).mean().abs() < 1e-4


def test_a_diverging_run_stops_with_its_place():
    with pytest.raises(FloatingPointError, match="in epoch .* learning_rate = 1e"):
        tiny.run(learning_rate=1e30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size = 0"),
        ({"learning_rate": -0.1}, "learning_rate = -0.1"),
        ({"device": "gpu"}, "device = 'gpu' is no device"),
        ({"device": "cpu", "precision": "fp16"}, "precision = 'fp16' needs a CUDA GPU, not cpu"),
        ({"temperature": 30.0}, "Linear holds no kernel attention"),
    ],
)
def test_bad_input_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        fit(nn.Linear(1, 1), tiny.images(), tiny.images(), **({"epochs": 1} | options))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA GPU here")
def test_cuda_without_a_gpu_is_refused():
    with pytest.raises(ValueError, match="needs a CUDA GPU"):
        pick_device("cuda")


def losses(model=None, **options):
    return torch.tensor([line["loss"] for line in tiny.run(model=model, **options)[1]])


def test_a_batch_in_parts_is_the_same_batch():
    whole, *in_parts = (losses(tiny.without_batch_norm(), **PLAIN, epochs=2, accumulate=n) for n in (1, 2, 3, 16))
    for parts in in_parts:
        torch.testing.assert_close(parts, whole, rtol=1e-5, atol=1e-6)


def test_channels_last_and_a_compiled_network_train_alike(monkeypatch):
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="eager"))  # needs no C++ compiler
    plain = losses(epochs=2)
    torch.testing.assert_close(losses(epochs=2, channels_last=True), plain, rtol=1e-4, atol=1e-5)
    model, history = tiny.run(epochs=2, compile=True)
    torch.testing.assert_close(torch.tensor([line["loss"] for line in history]), plain, rtol=1e-4, atol=1e-5)
    assert list(model.state_dict()) == list(tiny.network().state_dict())


def test_bfloat16_leaves_the_model_in_float32():
    model, history = tiny.run(epochs=2, precision="bf16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    again = losses(epochs=2, precision="float32")
    assert history[-1]["loss"] != again[-1]
    torch.testing.assert_close(torch.tensor(history[-1]["loss"]), again[-1], rtol=0.2, atol=0.1)


def test_the_average_is_tested_and_kept(tmp_path):
    model, history = tiny.run(tmp_path, ema=0.8)
    mean, std = pixel_statistics(tiny.images())
    assert history[-1]["test_accuracy"] == evaluate(model, tiny.images(40, seed=1), mean=mean, std=std) > 25
    weights = checkpoint.latest(tmp_path).weights
    assert all(torch.equal(value, weights["average"][name]) for name, value in model.state_dict().items())
    same = {name: torch.equal(value, weights["weights"][name]) for name, value in model.state_dict().items()}
    assert not same["0.weight"] and same["1.running_mean"] and same["3.attention.temperature"]


def test_the_temperature_falls_to_1_in_the_first_tenth():
    seen = []

    class Watching(nn.Module):
        def forward(self, input):
            seen.append(round(model[3].attention.temperature.item(), 3))
            return input

    model = tiny.network()
    tiny.run(model=model.append(Watching()), temperature=31.0, epochs=4, batch_size=7)  # 40 steps
    steps = [temperature for i, temperature in enumerate(seen) if i % 11 != 10]  # each epoch ends with a test
    assert steps == [31.0, 23.5, 16.0, 8.5] + [1.0] * 36


def test_evaluate_gives_every_layer_its_own_mode_back():
    model = tiny.network()
    model[1].eval()
    evaluate(model, tiny.images())
    assert model.training and not model[1].training


@pytest.mark.slow  # torchrun and its two processes take a minute to start
def test_two_processes_are_one(tmp_path):
    # Slow, for it starts a launcher and two processes: what alone shows that they add their gradients, share their
    # buffers, test all images together, and that one of them writes.
    pytest.importorskip("torchvision")
    import processes

    images = tmp_path / "images"
    tiny.on_disk(images)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*torchrun, Path(processes.__file__), tmp_path, images],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    first, second = (json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    (tmp_path / "alone").mkdir()
    alone = processes.train(tmp_path / "alone", images)
    for name in (*processes.CASES, processes.ON_DISK):
        for ours, theirs in zip(alone[name]["history"], first[name]["history"], strict=True):
            assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6), name
        assert alone[name]["weights"] == pytest.approx(first[name]["weights"], rel=1e-4, abs=1e-5), name


def test_one_may_look_at_the_model_after_every_epoch_that_is_trained(tmp_path):
    model, lines, weights = tiny.network(), [], []

    def look(line):
        lines.append(line)
        weights.append(model[0].weight.detach().clone())

    _, history = tiny.run(tmp_path / "run", model, epochs=2, ema=None, after_epoch=look)
    assert lines == history and not torch.equal(*weights)
    assert tiny.numbers(history) == tiny.numbers(tiny.run(epochs=2, ema=None)[1])
    tiny.run(tmp_path / "run", epochs=2, ema=None, after_epoch=lambda line: pytest.fail("trained again"))


def test_tensorboard_gets_the_curves(tmp_path):
    pytest.importorskip("tensorboard")
    tiny.run(tensorboard=tmp_path / "curves", epochs=2)
    [events] = (tmp_path / "curves").iterdir()
    assert all(name in events.read_bytes() for name in (b"loss", b"train_accuracy", b"test_accuracy", b"seconds"))


def test_tensorboard_is_missed_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(ModuleNotFoundError, match="tensorboard is not installed"):
        tiny.run(tmp_path / "run", tensorboard=tmp_path / "curves")
    assert not list(tmp_path.iterdir())


@pytest.mark.cuda
@pytest.mark.parametrize("precision", ["float32", "bf16", "fp16"])
def test_it_resumes_on_cuda(tmp_path, precision):
    options = {"device": "cuda", "precision": precision, "channels_last": True}
    tiny.run(tmp_path / "alone", **options)
    tiny.run(tmp_path / "torn", **options)
    (tmp_path / "torn" / "epoch-0006.pt").write_text("")
    with pytest.warns(UserWarning, match="epoch-0006.pt is torn"):
        _, resumed = tiny.run(tmp_path / "torn", **options)
    assert resumed[-1]["loss"] == pytest.approx(
        checkpoint.latest(tmp_path / "alone").state["history"][-1]["loss"], rel=0.05
    )


@pytest.mark.cuda
def test_it_trains_on_cuda():
    seed_everything(0)
    model = create_model("mobilenet_v1", "eam-rcr", num_classes=4, width_mult=0.25, stem_stride=1)
    history = fit(model, tiny.images(), tiny.images(), epochs=4, progress=False)
    assert next(model.parameters()).is_cuda and history[-1]["loss"] < history[0]["loss"]


def with_frozen_features() -> nn.Sequential:
    features = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    head = nn.Sequential(nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 4))
    model = nn.Sequential(features, head)
    features.requires_grad_(False).eval()
    return model


def test_frozen_parts_stay_frozen():
    train = test = tiny.images()
    model = with_frozen_features()
    before = {name: value.clone() for name, value in model[0].state_dict().items()}
    fit(model, train, test, epochs=2, device="cpu", progress=False)
    assert all(torch.equal(value, before[name]) for name, value in model[0].state_dict().items())
    assert model[1][0].num_batches_tracked > 0  # and the rest is trained


def test_a_network_in_eval_mode_is_trained_as_a_whole():
    train = test = tiny.images()
    model = with_frozen_features().eval()
    fit(model, train, test, epochs=1, device="cpu", progress=False)
    assert model[0][1].num_batches_tracked > 0


def test_what_is_frozen_as_a_whole_is_refused():
    train = test = tiny.images()
    model = with_frozen_features().requires_grad_(False)
    with pytest.raises(
        ValueError, match="model = Sequential has no parameter that requires a gradient: all are frozen"
    ):
        fit(model, train, test, epochs=1, device="cpu", progress=False)


def test_a_last_batch_without_a_variance_is_named_before_the_first_step(tmp_path):
    train = test = tiny.images()
    batch_size = len(train) - 1
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(ValueError, match=f"batch_size = {batch_size} leaves a last batch of 1 of .*normalisation '1'"):
        fit(model, train, test, epochs=1, batch_size=batch_size, device="cpu", progress=False, folder=tmp_path / "run")
    assert model[1].num_batches_tracked == 0 and not (tmp_path / "run").exists()
    # Of a map with many pixels one image is enough, and so is one whose statistics are frozen.
    fit(with_frozen_features(), train, test, epochs=1, batch_size=batch_size, device="cpu", progress=False)
    model[1].eval()
    fit(model, train, test, epochs=1, batch_size=batch_size, device="cpu", progress=False)
