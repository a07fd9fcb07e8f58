"""``"auto"`` that measures, on a CPU, where it has to be asked for."""

import time

import pytest
import torch

from eamlib.functional import STRATEGIES, dynamic_conv2d, fastest, measured, ways

INPUT, WEIGHT = torch.randn(3, 8, 5, 5), torch.randn(4, 6, 8, 1, 1)
ATTENTION = torch.randn(3, 4).softmax(1)


@pytest.fixture(autouse=True)
def asked(monkeypatch):
    monkeypatch.setenv(measured.SWITCH, "1")
    monkeypatch.setattr(ways, "_MEASURED", {})


@pytest.fixture
def calls(monkeypatch):
    """The names of the ways, as often as each is run."""
    names = []
    for name, run in STRATEGIES.items():

        def counted(*args, name=name, run=run):
            names.append(name)
            return run(*args)

        monkeypatch.setitem(STRATEGIES, name, counted)
    return names


def slow(seconds, error=None):
    def run(input, weight, attention):
        time.sleep(seconds)
        if error:
            raise error
        return input * weight.sum() * attention.sum()

    return run


def test_the_fastest_wins_and_what_is_hopeless_is_dropped():
    taken = []

    def noted(name, run):
        def noting(*tensors):
            taken.append(name)
            return run(*tensors)

        return noting

    found = {"hopeless": slow(0.1), "good": slow(0.001), "near": slow(0.002)}
    found = {name: noted(name, run) for name, run in found.items()}
    assert measured.fastest(found, dict.fromkeys(found, 0), INPUT, WEIGHT, ATTENTION) == "good"
    assert taken.count("hopeless") == 2 < taken.count("good") == 4


def test_what_has_no_room_is_left_out(monkeypatch):
    monkeypatch.setattr(measured, "_FREE", 4_000)
    full = torch.OutOfMemoryError("no room")
    found = {"likeliest": slow(0.01), "large": slow(0), "refused": slow(0, full)}
    room = {"likeliest": 9_999, "large": 1_001, "refused": 0}
    assert measured.fastest(found, room, INPUT, WEIGHT, ATTENTION) == "likeliest"
    with pytest.raises(torch.OutOfMemoryError, match="no room"):
        measured.fastest({"refused": slow(0, full)}, {"refused": 0}, INPUT, WEIGHT, ATTENTION)


def test_a_kind_of_call_is_measured_once_training_and_inference_apart(calls):
    right = dynamic_conv2d(INPUT, WEIGHT, ATTENTION, strategy="loop")
    calls.clear()
    torch.testing.assert_close(dynamic_conv2d(INPUT, WEIGHT, ATTENTION), right)
    assert len(set(calls)) >= 4
    assert "loop" not in calls
    calls.clear()
    dynamic_conv2d(INPUT + 1, WEIGHT, ATTENTION)
    assert len(calls) == 1
    calls.clear()
    dynamic_conv2d(INPUT, WEIGHT.clone().requires_grad_(), ATTENTION).sum().backward()
    assert len(set(calls)) >= 4
    calls.clear()
    dynamic_conv2d(INPUT[:2], WEIGHT, ATTENTION[:2])
    assert len(set(calls)) >= 4


def test_measuring_leaves_gradients_and_random_numbers_alone():
    input, weight = INPUT.clone().requires_grad_(), WEIGHT.clone().requires_grad_()
    state = torch.get_rng_state()
    name = fastest(input, weight)
    assert name in STRATEGIES
    assert input.grad is weight.grad is None
    assert torch.equal(torch.get_rng_state(), state)


def test_graphs_determinism_and_the_switch_take_the_model(monkeypatch, calls):
    with torch.device("meta"):
        assert dynamic_conv2d(INPUT.to("meta"), WEIGHT.to("meta"), ATTENTION.to("meta")).shape == (3, 6, 5, 5)
    torch.use_deterministic_algorithms(True)
    try:
        dynamic_conv2d(INPUT, WEIGHT, ATTENTION)
    finally:
        torch.use_deterministic_algorithms(False)
    with monkeypatch.context() as patch:
        patch.setattr(measured, "is_traced", lambda: True)
        dynamic_conv2d(INPUT, WEIGHT, ATTENTION)
    monkeypatch.setenv(measured.SWITCH, "0")
    dynamic_conv2d(INPUT, WEIGHT, ATTENTION)
    monkeypatch.delenv(measured.SWITCH)
    dynamic_conv2d(INPUT, WEIGHT, ATTENTION)
    assert len(calls) == 5


def test_another_value_of_the_switch_is_named(monkeypatch):
    monkeypatch.setenv(measured.SWITCH, "yes")
    with pytest.raises(ValueError, match="EAMLIB_AUTOTUNE = 'yes'; allowed is 0, the model, or 1, the measurement"):
        dynamic_conv2d(INPUT, WEIGHT, ATTENTION)


@pytest.mark.cuda
def test_cuda_measures_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv(measured.SWITCH)
    assert measured.is_wanted(INPUT.cuda())
    monkeypatch.setenv(measured.SWITCH, "0")
    assert not measured.is_wanted(INPUT.cuda())
