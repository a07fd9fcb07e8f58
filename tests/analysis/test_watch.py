import pytest
import torch
import torch.nn.functional as F
from torch import nn

from eamlib.analysis.watch import evaluating, joined, outputs_of, predictions, watch


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


class Then(nn.Module):
    """A convolution, and what is done to its maps afterwards."""

    def __init__(self, change):
        super().__init__()
        self.layer, self.change = nn.Conv2d(3, 4, 3), change

    def forward(self, input):
        return self.change(self.layer(input))


IN_PLACE = {
    "a module": nn.ReLU(inplace=True),
    "a function": lambda x: F.relu(x, inplace=True),
    "a method": lambda x: x.mul_(2),
    "an operator": lambda x: x.__iadd__(1),
    "an assignment": lambda x: x.index_fill_(1, torch.tensor([0]), 7.0),
    "by a view": lambda x: x.flatten(1)[:, ::2].zero_(),
    "by out=": lambda x: torch.neg(x, out=x),
    "through numpy": lambda x: torch.from_numpy(x.numpy().__imul__(3)),
}
KEEPS = {
    "left out": None,
    "the output": lambda name, inputs, output: output,
    "a part of it": lambda name, inputs, output: output[:, 1:],
    "another shape": lambda name, inputs, output: output.flatten(2),
    "the same dtype": lambda name, inputs, output: output.float().cpu(),
}


@pytest.mark.parametrize("keep", KEEPS)
@pytest.mark.parametrize("change", IN_PLACE)
@torch.no_grad()
def test_what_is_done_in_place_later_does_not_show(change, keep):
    model, images = Then(IN_PLACE[change]), torch.randn(5, 3, 6, 6)
    expected = (KEEPS[keep] or KEEPS["the output"])("", (), model.layer(images))
    found = outputs_of(model, images.split(2), {"layer": model.layer}, KEEPS[keep])["layer"]
    torch.testing.assert_close(found, expected)
    assert not torch.equal(model.change(model.layer(images)), expected)  # else nothing was tested


FAST = {"vgg11": {"init_weights": False}, "googlenet": {"init_weights": False, "aux_logits": False}}


@pytest.mark.parametrize("name", ["vgg11", "resnet18", "mobilenet_v2", "densenet121", "googlenet"])
@torch.no_grad()
def test_every_layer_of_a_network_is_handed_out_as_it_answered(name):
    options = FAST.get(name, {})
    model = pytest.importorskip("torchvision.models").get_model(name, weights=None, **options).eval()
    images, expected = torch.randn(1, 3, 64, 64), {}
    layers = {name: module for name, module in model.named_modules() if not list(module.children())}
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: expected.setdefault(module, []).append(output + 0))
        for module in layers.values()
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    with watch({name: module for name, module in layers.items() if module in expected}) as seen:
        model(images)
    for name, entries in seen.items():
        torch.testing.assert_close(entries, expected[layers[name]], rtol=0, atol=0)


@torch.no_grad()
def test_inputs_of_a_layer_that_works_in_place_are_there_before_it():
    model, images = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True)), torch.randn(2, 3, 4, 4)
    expected = model[0](images)
    torch.testing.assert_close(outputs_of(model, [images], {"1": model[1]}, before=True)["1"], expected)
    with watch({"1": model[1]}, before=True) as seen:
        model(images)
    torch.testing.assert_close(seen["1"], [expected])


@torch.no_grad()
def test_tensors_inside_an_entry_are_its_own_too():
    layer, images = nn.Conv2d(3, 4, 1), torch.randn(2, 3, 4, 4)
    keeps = {
        "tuple": lambda name, inputs, output: (inputs[0], output),
        "list": lambda name, inputs, output: [*inputs, output],
        "dict": lambda name, inputs, output: {"in": inputs[0], "out": output},
    }
    for keep in keeps.values():
        given = images.clone()
        with watch({"layer": layer}, keep) as seen:
            layer(given).zero_()
        given.zero_()
        [entry] = seen["layer"]
        assert type(entry) is type(keep("", (0,), 0))
        read, answered = entry.values() if isinstance(entry, dict) else entry
        torch.testing.assert_close((read, answered), (images, layer(images)))


def test_only_what_shares_memory_is_copied():
    made = []

    def keep(name, inputs, output):
        made.append(output.mean((2, 3)))
        return made[-1]

    layer = nn.Conv2d(3, 4, 1)
    with torch.no_grad(), watch({"layer": layer}, keep) as seen:
        layer(torch.zeros(2, 3, 4, 4))
    assert seen["layer"][0] is made[0]
    # A part that is kept does not keep the whole in memory.
    with torch.no_grad(), watch({"layer": layer}, lambda name, inputs, output: output[:, :1]) as seen:
        layer(torch.zeros(2, 3, 4, 4))
    assert seen["layer"][0].untyped_storage().nbytes() == 2 * 4 * 4 * 4


def test_a_gradient_reaches_an_entry_that_asks_for_one():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    with watch({"0": model[0]}, lambda name, inputs, output: output) as seen:
        loss = model(torch.randn(2, 3, 4, 4)).sum()
    [gradient] = torch.autograd.grad(loss, seen["0"])
    torch.testing.assert_close(gradient, (seen["0"][0] > 0).float())


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.bilinear = nn.Conv2d(3, 4, 1), nn.Bilinear(4, 4, 2)

    def forward(self, input):
        maps = self.layer(input=input).mean((2, 3))
        return self.bilinear(input2=maps, input1=2 * maps)


@pytest.mark.parametrize("before", [False, True])
@torch.no_grad()
def test_arguments_by_keyword_come_in_the_order_of_forward(before):
    model, images = ByKeyword(), torch.randn(2, 3, 4, 4)
    layers = {"layer": model.layer, "bilinear": model.bilinear}
    with watch(layers, lambda name, inputs, output: inputs, before=before) as seen:
        model(images)
    maps = model.layer(images).mean((2, 3))
    torch.testing.assert_close(seen, {"layer": [(images,)], "bilinear": [(2 * maps, maps)]})


def test_labels_that_are_no_tensor_pass():
    images = torch.zeros(2, 3, 4, 4)
    for labels in ([0, 1], ["cat", "dog"], [{"boxes": []}] * 2):
        assert [seen[1] for seen in predictions(network(), [(images, labels)])] == [labels]


def test_entries_are_joined_and_let_go():
    seen = {"a": [torch.zeros(2, 3), torch.ones(1, 3), torch.ones(0, 3)], "b": [torch.arange(4)]}
    both = joined(seen)
    assert both["a"].tolist() == [[0] * 3] * 2 + [[1] * 3] and both["b"].tolist() == [0, 1, 2, 3]
    assert seen == {"a": [], "b": []}


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "layer 'a' did not run"),
        (
            [torch.zeros(2, 4), torch.zeros(1, 1)],
            r"layer 'a' are \[1, 1\] of torch.float32, \[2, 4\] of torch.float32;",
        ),
        ([torch.zeros(2, 1), torch.zeros(2)], r"layer 'a' are \[2, 1\] of torch.float32, \[2\] of torch.float32;"),
        ([torch.zeros(2), torch.zeros(2).double()], "torch.float32, .* torch.float64; allowed are tensors alike"),
        ([torch.tensor(1.0)], r"layer 'a' are \[\] of torch.float32; allowed are tensors alike in \[N, …\]"),
        ([(torch.zeros(2),)], "layer 'a' are a tuple; allowed"),
        ([3.0, 4.0], "layer 'a' are a float; allowed"),
    ],
)
def test_entries_that_do_not_fit_together_are_named(entries, message):
    seen = {"b": [torch.zeros(1)], "a": entries}
    with pytest.raises(ValueError, match=message):
        joined(seen)
    assert len(seen["b"]) == 1


def test_a_layer_that_answers_no_tensor_needs_a_keep():
    model = nn.Sequential(nn.Flatten(2), nn.LSTM(16, 3, batch_first=True))
    images = torch.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match="layer '1' answers a tuple; allowed without keep is a tensor"):
        outputs_of(model, [images], {"1": model[1]})
    assert outputs_of(model, [images], {"1": model[1]}, lambda name, inputs, output: output[0])["1"].shape == (2, 3, 3)
    constant = nn.Identity()
    constant.forward = lambda: torch.zeros(1)
    with watch({"a": constant}, before=True), pytest.raises(ValueError, match="layer 'a' reads a NoneType"):
        constant()
