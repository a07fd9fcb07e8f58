import itertools
import json
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib import create_model, data
from eamlib.__main__ import main
from eamlib.bench import BENCHES, layers, memory, models, redundancy, timing, train
from eamlib.bench.process import alone, peak
from eamlib.bench.timing import Target, ceilings, interleaved, same_numerics
from eamlib.functional import STRATEGIES
from eamlib.training import normalize, pixel_statistics

CPU = torch.device("cpu")
DEPTHWISE = layers.Layer(8, 8, 3, stride=2, padding=1, groups=8, size=6)
POINTWISE = layers.Layer(8, 12, 1, stride=1, padding=0, groups=1, size=6)


@pytest.fixture
def two_layers(monkeypatch):
    monkeypatch.setattr(layers, "separable_layers", lambda *_: Counter({DEPTHWISE: 2, POINTWISE: 3}))


def test_every_way_runs_once_a_round():
    calls = []
    ways = {name: (lambda name=name: calls.append(name)) for name in "abc"}
    times = interleaved(ways, CPU, seconds=10, rounds=7)
    assert calls[:3] == ["a", "b", "c"] and Counter(calls) == {"a": 8, "b": 8, "c": 8}
    assert all(sorted(calls[i : i + 3]) == ["a", "b", "c"] for i in range(0, 24, 3))
    assert all(way["least"] <= way["low"] <= way["ms"] <= way["high"] for way in times.values())
    assert all(way["rounds"] == 7 for way in times.values())


def test_a_slow_way_sits_out_after_the_least_rounds():
    ways = {"slow": lambda: time.sleep(0.01), "fast": lambda: None}
    assert interleaved(ways, CPU, seconds=0.04)["slow"]["rounds"] == 5
    assert interleaved(ways, CPU, seconds=0.04, rounds=1)["slow"]["rounds"] == 1
    assert interleaved(ways, rounds=7)["slow"]["rounds"] == 7


def test_threads_are_those_that_were_asked_for_and_are_given_back():
    before, seen = torch.get_num_threads(), []
    interleaved({"a": lambda: seen.append(torch.get_num_threads())}, rounds=1, threads=before + 1)
    assert seen == [before + 1] * 2 and torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError):
        interleaved({"a": lambda: 1 / 0}, threads=before + 1)
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("wrong", [{"seconds": 0}, {"rounds": 0}, {"threads": 0}])
def test_a_clock_that_cannot_run_says_why(wrong):
    [name] = wrong
    with pytest.raises(ValueError, match=f"{name} = 0 must be"):
        interleaved({"a": lambda: None}, **wrong)


@pytest.mark.parametrize(("product", "convolution"), [(10.0, 1000.0), (1000.0, 10.0)])
def test_the_better_bid_is_the_ceiling(monkeypatch, product, convolution):
    least = {"product": product, "convolution": convolution, "copy": 50.0, "call": 0.01}
    monkeypatch.setattr(timing, "interleaved", lambda *_, **__: {name: {"least": ms} for name, ms in least.items()})
    found = ceilings()
    assert found.macs == pytest.approx(1024**3 / 0.01 if product < convolution else 8 * 128 * 128 * 49 * 28**2 / 0.01)
    assert (found.bytes, found.call) == (pytest.approx(2 * 2**28 / 0.05), pytest.approx(1e-5))
    assert found.corner == found.macs / found.bytes


def test_a_target_is_met_up_to_its_bound():
    assert Target("a", 1.6, "≤", 1.6).met and not Target("a", 1.7, "≤", 1.6).met
    assert Target("a", 6.0, "≥", 6.0).met and not Target("a", 5.9, "≥", 6.0).met
    assert str(Target("a", 2.0, "≤", 1.0)).endswith("≤ 1: not met")


@pytest.mark.parametrize("work", layers.WORKS.values(), ids=layers.WORKS)
def test_the_separable_layers_are_those_of_the_network(work):
    counts = layers.separable_layers(work.size, work.stem_stride)
    assert counts.total() == 26 and sum(n for layer, n in counts.items() if layer.groups > 1) == 13
    first, last = next(iter(counts)), next(reversed(counts))
    assert first == layers.Layer(32, 32, 3, 1, 1, 32, work.size // work.stem_stride)
    assert last == layers.Layer(1024, 1024, 1, 1, 0, 1, work.size // work.stem_stride // 16)
    assert counts[layers.Layer(512, 512, 1, 1, 0, 1, work.size // work.stem_stride // 8)] == 5


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layer", [DEPTHWISE, POINTWISE], ids=["depthwise", "pointwise"])
def test_a_layer_is_timed_in_every_way_that_can_run_it(layer, dtype, training):
    work = layers.Work(6, 1, 2, training, static=1.0, published=1.0)
    measured = layers.measure_layer(layer, work, dtype, CPU, seconds=1, rounds=1)
    assert measured["picked"] in STRATEGIES and measured["picked"] in measured["times"]
    assert {"static", "grouped", "fuse", "concat", "loop", "auto"} <= set(measured["times"])
    assert ("bmm" in measured["times"]) == (layer.groups == 1)
    assert all(times["ms"] > 0 for times in measured["times"].values())


def test_sums_and_targets_are_over_all_the_layers():
    def row(count, **ms):
        return {"count": count, "times": {way: {"ms": x, "low": x / 2, "high": 2 * x} for way, x in ms.items()}}

    result = {
        "static": 1.6,
        "published": 6.0,
        "layers": [
            row(10, static=1.0, grouped=9.0, bmm=1.0, loop=20.0, timm=8.0, auto=1.1),
            row(16, static=2.0, grouped=2.0, loop=20.0, timm=3.0, auto=2.5),
        ],
    }
    total = layers.sums(result)
    assert "bmm" not in total and total["static"] == {"ms": 42, "low": 21, "high": 84}
    to_static, to_others, near = layers.targets(result)
    assert to_static.value == pytest.approx(51 / 42) and to_static.met
    assert to_others.value == pytest.approx(122 / 51) and not to_others.met and to_others.what.startswith("grouped ÷")
    assert near.value == 10 and near.bound == pytest.approx(23.4) and not near.met


def test_layers_prints_a_table_and_writes_a_record_once(two_layers, tmp_path, capsys):
    file = tmp_path / "run.json"
    arguments = ["bench", "layers", "--device", "cpu", "--work", "224-single", "--rounds", "1", "--json", str(file)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert "224-single" in out and "32-inference" not in out
    assert "depthwise 8→8 /2, 6 × 6" in out and "all 5 layers" in out and "÷ auto" in out
    record = json.loads(file.read_text())
    assert record["configuration"] == {"bench": "layers", "work": ["224-single"], "rounds": 1}
    assert record["numerics"] == {"tf32": False, "cudnn_benchmark": True}
    assert record["versions"]["torch"] and record["threads"] == torch.get_num_threads()
    (result,) = record["results"]
    assert [row["count"] for row in result["layers"]] == [2, 3]
    assert all(line in out for line in layers.lines(result))
    before = file.read_text()
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert "never overwritten" in shown.err and not shown.out and file.read_text() == before


def test_without_timm_its_column_is_left_out_and_a_line_says_so(two_layers, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setitem(sys.modules, "timm.layers", None)
    (result,) = layers.measure(CPU, ["224-single"], rounds=1)
    assert not any("timm" in row["times"] for row in result["layers"])
    text = "\n".join(layers.lines(result))
    assert "timm is not installed" in text and "grouped ÷ auto" in text and "better of" not in text


def test_timm_is_timed_where_it_is_installed(two_layers):
    pytest.importorskip("timm")
    (result,) = layers.measure(CPU, ["224-single"], rounds=1)
    assert all("timm" in row["times"] for row in result["layers"])
    assert "the better of timm and grouped" in "\n".join(layers.lines(result))


def test_models_times_the_networks_and_the_attentions(monkeypatch):
    monkeypatch.setattr(models, "WORKS", {"a": models.Work(32, 2, 2, False), "b": models.Work(32, 2, 2, True, True)})
    inference, training = models.measure(CPU, rounds=1, width_mult=0.25)
    assert set(training["times"]) == set(models.NETWORKS)
    assert set(inference["times"]) == set(models.NETWORKS) | set(models.ATTENTIONS.values())
    assert "% of the network's time" in "\n".join(models.lines(inference))
    assert not models.targets(inference) and [target.bound for target in models.targets(training)] == [1.5, 5.0]
    assert "EAM ÷ static" in "\n".join(models.lines(training))


def test_saved_bytes_by_hand():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    # The input, and the output of the ReLU that both it and the layer behind keep.
    assert memory.saved_bytes(model, torch.randn(3, 4)) == 4 * (3 * 4 + 3 * 8)


def test_autograd_keeps_more_for_grouped_than_for_auto_each_time_the_same():
    torch.manual_seed(0)
    images = torch.randn(8, 3, 32, 32)
    saved = {
        strategy: [memory.saved_bytes(model, images) for _ in range(2)]
        for strategy in ("auto", "grouped")
        for model in [create_model("mobilenet_v1", "dynamic", width_mult=0.25, stem_stride=1, strategy=strategy)]
    }
    assert saved["grouped"][0] == saved["grouped"][1] and saved["auto"][0] == saved["auto"][1]
    assert saved["grouped"][0] > saved["auto"][0]


def test_memory_is_measured_way_by_way(monkeypatch):
    # Here and not in five new processes, of which each takes seconds to import PyTorch: so the peaks are made up.
    peaks = (count**2 for count in itertools.count())
    monkeypatch.setattr(memory, "alone", lambda function, *arguments: function(*arguments))
    monkeypatch.setattr(memory, "peak", lambda device: next(peaks))
    (result,) = memory.measure(CPU, batch=4, width_mult=0.25)
    ways = result["ways"]
    assert json.loads(json.dumps(result)) == result
    assert [way["peak"] for way in ways.values()] == [1, 5, 9, 13, 17]
    assert ways["static"]["saved"] < ways["auto"]["saved"] < ways["grouped"]["saved"]
    assert "beyond static" in "\n".join(memory.lines(result))


def test_the_target_of_memory_is_what_is_beyond_static():
    ways = {way: {"peak": peak} for way, peak in {"static": 10, "auto": 12, "grouped": 20}.items()}
    (target,) = memory.targets({"ways": ways})
    assert target.value == pytest.approx(0.2) and target.met


def test_redundancy_is_measured_beside_the_forward_pass_and_in_processes_of_its_own(monkeypatch):
    monkeypatch.setattr(redundancy, "SIZE", 32)
    monkeypatch.setattr(redundancy, "BATCH", 2)
    network, layer = redundancy.measure(CPU, rounds=1, width_mult=0.25, images=150, channels=16)
    assert json.loads(json.dumps([network, layer])) == [network, layer]
    assert list(network["times"]) == ["forward pass", "measured", "measured, means"]
    assert all(times["ms"] > 0 and times["rounds"] == 1 for times in network["times"].values())
    assert list(layer["measures"]) == ["measure", "premise"]
    # A process with PyTorch in it has some hundred MiB, and these few maps add next to nothing.
    assert all(2**26 < taken["peak"] < 2**30 and taken["seconds"] > 0 for taken in layer["measures"].values())
    assert "÷ forward pass" in "\n".join(redundancy.lines(network))
    text = "\n".join(redundancy.lines(layer))
    assert "16 channels" in text and "150 images" in text and text.endswith("target ≤ 2: met")


def test_the_maps_of_a_layer_are_as_many_as_were_asked_for_and_their_making_is_timed():
    making = []
    batches = list(redundancy._maps(CPU, 250, 3, making))
    assert [tuple(batch.shape) for batch in batches] == [(100, 3, 7, 7), (100, 3, 7, 7), (50, 3, 7, 7)]
    assert len(making) == 3 and all(seconds > 0 for seconds in making)


@pytest.mark.parametrize(("peak", "met"), [(2**31, True), (2**31 + 2**22, False)])
def test_the_target_of_redundancy_is_the_memory_of_measuring_a_layer(peak, met):
    (target,) = redundancy.targets({"work": "layer", "measures": {"measure": {"peak": peak}, "premise": {"peak": 0}}})
    assert target.met == met and redundancy.targets({"work": "network"}) == []


def test_a_process_of_its_own_has_its_own_peak_and_our_threads():
    ballast = torch.ones(2**26)  # 256 MiB, which the other process never has
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)  # as a new process would not by itself
    try:
        assert alone(torch.get_num_threads) == before + 1
    finally:
        torch.set_num_threads(before)
    assert alone(peak, CPU) < peak(CPU) - 2**27
    del ballast


@pytest.fixture
def short_epochs(monkeypatch):
    """Two small batches of digits, and a compiler that any machine has."""
    for package in ("sklearn", "torchvision", "tqdm"):
        pytest.importorskip(package)
    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda model: compiled(model, backend="eager"))
    monkeypatch.setattr(train, "DATA", "digits")
    monkeypatch.setattr(train, "BATCH_SIZE", 16)
    monkeypatch.setattr(train, "STEPS", {"cpu": 2})


def test_train_times_the_plain_loop_and_every_option_of_ours(short_epochs, tmp_path, capsys):
    if not train._can_compile(CPU):
        pytest.skip("torch.compile finds no C++ compiler")
    file = tmp_path / "run.json"
    arguments = ["bench", "train", "--device", "cpu", "--work", "static", "--rounds", "1", "--json", str(file)]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    (result,) = json.loads(file.read_text())["results"]
    loops = result["loops"]
    assert {"plain (0 workers)", "plain (2 workers)", *train.OPTIONS} <= set(loops)
    assert all(0 < loop["waiting"] < 1 and loop["ms"] > 0 and loop["first"] > 0 for loop in loops.values())
    assert all(line in out for line in train.lines(result)) and "no rows" not in out
    assert result["work"] == "static" and "eam:" not in out


@pytest.mark.parametrize("loop", ["plain", "ours"])
def test_both_loops_train(short_epochs, loop):
    torch.manual_seed(0)
    images = data.load("digits").subset(slice(96))
    model = train._network("static", images)
    epoch = train._plain(model, images, CPU, 0) if loop == "plain" else train._ours(model, images, CPU, {})

    @torch.no_grad()
    def loss():
        return F.cross_entropy(model.train()(normalize(images.images, *pixel_statistics(images))), images.labels)

    before = loss()
    for _ in range(8):
        seconds, waiting = epoch()
        assert 0 < waiting < seconds
    assert loss() < 0.8 * before


def test_the_plain_loop_and_ours_see_the_same_images():
    pytest.importorskip("sklearn")
    transforms = pytest.importorskip("torchvision").transforms
    images = data.load("digits").subset(slice(3))
    picture, label = train.Pictures(images, transforms.ToTensor())[1]
    torch.testing.assert_close(picture, images.images[1] / 255)
    assert label == images.labels[1] and len(train.Pictures(images, None)) == 3


def test_without_a_compiler_its_rows_are_left_out_and_a_line_says_so(short_epochs, monkeypatch):
    def fails(model):
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(torch, "compile", fails)
    (result,) = train.measure(CPU, ["static"], rounds=1)
    assert "ours (channels_last)" in result["loops"] and not any("compile" in loop for loop in result["loops"])
    assert "so it has no rows" in "\n".join(train.lines(result))


@pytest.mark.parametrize(("device", "met"), [("cpu", True), ("cuda", False)])
def test_the_target_of_train_is_the_best_against_the_best(device, met):
    ms = {"plain (0 workers)": 90.0, "plain (2 workers)": 80.0, "ours": 50.0, "ours (compile)": 32.0}
    result = {"conv": "static", "device": device}
    (target,) = train.targets(result | {"loops": {loop: {"ms": time} for loop, time in ms.items()}})
    assert target.what == "ours (compile) ÷ plain (2 workers)" and target.value == 2.5 and target.met == met
    assert train.targets({"conv": "eam-rcr"}) == []


@pytest.mark.cuda
def test_train_runs_on_cuda(short_epochs, monkeypatch):
    monkeypatch.setattr(train, "STEPS", {"cuda": 2})
    (result,) = train.measure(torch.device("cuda"), ["static"], rounds=1)
    assert set(train._in_16_bits()) <= set(result["loops"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["layer"], "what = 'layer' is unknown. Did you mean 'layers'"),
        (["layers", "--device", "nonsense"], "device = 'nonsense' is no device"),
        (["layers", "--device", "meta"], "device = 'meta' is unknown. Allowed: cpu, cuda"),
        (["layers", "--work", "32-train"], "work = '32-train' is unknown. Did you mean '32-training'"),
        (["layers", "--dtype", "float16"], "dtype = 'float16' is unknown"),
        (["layers", "--rounds", "0"], "rounds = 0 must be"),
        (["models", "--seconds", "0"], "seconds = 0.0 must be"),
        (["models", "--work", "32-training"], "--work = ['32-training'] is no option of bench models"),
        (["train", "--work", "statik"], "work = 'statik' is unknown. Did you mean 'static'"),
        (["train", "--dtype", "float32"], "--dtype = 'float32' is no option of bench train"),
        (["redundancy", "--work", "layer"], "--work = ['layer'] is no option of bench redundancy"),
        (["memory", "--rounds", "3"], "--rounds = 3 is no option of bench memory"),
        (["memory", "--json", "nowhere/run.json"], "the folder of nowhere/run.json does not exist"),
    ],
)
def test_bad_arguments_end_with_status_2(arguments, message, capsys):
    assert main(["bench", *(["--device", "cpu"] if "--device" not in arguments else []), *arguments]) == 2
    assert message in capsys.readouterr().err


def test_convolutions_and_products_are_timed_under_one_rule_which_ends():
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul

    def numerics():
        return cudnn.allow_tf32, matmul.allow_tf32, cudnn.benchmark

    before = numerics()
    with same_numerics():
        assert numerics() == (False, False, True)
    assert numerics() == before


def test_help_and_the_read_me_name_every_bench(capsys):
    with pytest.raises(SystemExit):
        main(["bench", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    names = list(BENCHES)
    assert f"what {', '.join(names[:-1])} or {names[-1]}" in text
    assert all(f" {name}: " in text for name in names)
    assert ", ".join(names[1:]) in (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
