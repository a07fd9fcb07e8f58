import pytest
import torch
from torch import nn

from eamlib.watch import evaluating, outputs_of, watch


def network():
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1))


@torch.no_grad()
def test_maps_by_name_or_by_class():
    model, images = network(), torch.randn(6, 3, 4, 4)
    first = model[0](images)
    named = outputs_of(model, images.split(4), {"first": model[0]})
    torch.testing.assert_close(named, {"first": first})
    by_class = outputs_of(model, [(images, torch.zeros(6))], nn.Conv2d)
    torch.testing.assert_close(by_class, {"0": first, "2": model.eval()(images)})


def test_keep_makes_the_entry():
    model, images = network(), torch.randn(6, 3, 4, 4)
    kept = outputs_of(model, [images], {"first": model[0]}, keep=lambda name, inputs, output: inputs[0].mean((2, 3)))
    torch.testing.assert_close(kept["first"], images.mean((2, 3)))


def test_an_entry_a_call_and_none_after():
    layer = nn.ReLU()
    with watch({"a": layer}) as seen:
        layer(layer(torch.ones(2, requires_grad=True)))
    layer(torch.ones(2))
    assert [entry.requires_grad for entry in seen["a"]] == [False, False]


def test_who_adds_up_needs_no_entries():
    model, total = network(), []
    with watch({"first": model[0]}, lambda name, inputs, output: total.append(len(output))) as seen:
        model(torch.zeros(6, 3, 4, 4))
    assert seen == {"first": []} and total == [6]


def test_modes_and_hooks_are_restored_even_after_an_error():
    model = network()
    model[1].eval()
    with pytest.raises(RuntimeError):
        outputs_of(model, [torch.zeros(1, 7, 4, 4)], nn.Conv2d)
    assert [module.training for module in model.modules()] == [True, True, False, True]
    assert not any(module._forward_hooks for module in model.modules())


def test_evaluating_neither_learns_nor_averages():
    model = network()
    with evaluating(model):
        assert not model(torch.randn(2, 3, 4, 4)).requires_grad
    assert model[1].num_batches_tracked == 0 and model.training


def test_before_notes_the_inputs_alone():
    layer = nn.Linear(2, 3)
    with watch({"layer": layer}, lambda name, inputs, output: (inputs[0], output), before=True) as seen:
        layer(torch.ones(4, 2))
    [(input, output)] = seen["layer"]
    assert input.shape == (4, 2) and output is None
    assert not layer._forward_pre_hooks
