import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from eamlib import convert, cost, create_model, diagnose, freeze
from eamlib.layers import (
    DepthwiseSeparable,
    DynamicConv2d,
    DyNetConv2d,
    EAMAttention,
    RandomChannels,
    conv_builder,
)


def randomised(model, image_size=64):
    """``model`` in eval mode, with other statistics than those of a new batch normalisation."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval(), torch.randn(2, 3, image_size, image_size)


def dynamic(model):
    return [name for name, module in model.named_modules() if isinstance(module, DynamicConv2d)]


def small(in_channels=3):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(in_channels, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 8, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def from_torchvision(name):
    return pytest.importorskip("torchvision").models.get_model(name, weights=None)


def from_timm(name):
    return pytest.importorskip("timm").create_model(name, pretrained=False)


# How many convolutions are neither the stem nor in a squeeze-and-excitation. Slow, for these are whole networks: no
# other test converts what somebody else has written.
NETWORKS = [
    (from_torchvision, "mobilenet_v3_small", 33),
    (from_torchvision, "shufflenet_v2_x0_5", 55),
    (from_timm, "mobilenetv3_small_050", 34),  # one more than torchvision's, whose classifier is linear
    (from_timm, "resnet10t", 13),
]


@pytest.mark.parametrize(("make", "name", "converted"), NETWORKS)
@torch.no_grad()
def test_a_converted_network_answers_as_before(make, name, converted):
    torch.manual_seed(0)
    model, images = randomised(make(name))
    before = copy.deepcopy(model.state_dict())
    result = convert(model)
    expected = model(images)
    # Some of these random networks answer in thousandths: what counts is the error beside the largest logit.
    scale = expected.abs().max()
    torch.testing.assert_close(result(images) / scale, expected / scale, rtol=0, atol=1e-5)
    assert len(dynamic(result)) == converted
    assert not dynamic(model) and all(torch.equal(before[key], now) for key, now in model.state_dict().items())


@pytest.mark.parametrize(
    "options",
    [
        {"bias": False},
        {"groups": 4, "stride": (2, 1)},
        {"padding": "same", "dilation": 2},
        {"padding": "valid"},
        {"padding": (2, 1), "dilation": (1, 2), "dtype": torch.double},
    ],
)
@pytest.mark.parametrize("conv", ["dynamic", "eam-stride", "eam-cgr"])
def test_every_convolution_keeps_its_shape(options, conv):
    layer = nn.Conv2d(8, 12, (3, 5), **options)
    result = convert(layer, conv, num_kernels=3)
    assert isinstance(result, DynamicConv2d) and result.weight.shape[0] == 3
    assert {parameter.dtype for parameter in result.parameters()} == {layer.weight.dtype}
    images = torch.randn(2, 8, 9, 10, dtype=layer.weight.dtype)
    torch.testing.assert_close(result(images), layer(images), rtol=1e-5, atol=1e-5)


def test_where_picks_and_the_default_leaves_the_stem():
    assert dynamic(convert(small())) == ["2", "4"]
    assert dynamic(convert(small(), where=lambda name, layer: name == "4")) == ["4"]
    assert dynamic(convert(small(), where=lambda name, layer: layer.kernel_size == (3, 3), channels=3)) == ["0", "2"]


def test_the_options_are_those_of_create_model():
    result = convert(small(), "eam-rcr", num_kernels=2, channels=3, seed=5, strategy="loop")
    for layer, seed in ((result[2], 5), (result[4], 6)):
        assert (layer.strategy, layer.num_kernels) == ("loop", 2)
        assert torch.equal(layer.attention.select.indices, RandomChannels(8, 3, seed).indices)


def test_a_module_used_twice_is_converted_once():
    layer = nn.Conv2d(8, 8, 1)
    block = nn.Sequential(layer, nn.ReLU())
    model = nn.ModuleDict({"a": layer, "b": nn.Sequential(block, block)})
    result = convert(model)
    assert result["a"] is result["b"][0][0] is result["b"][1][0]
    assert isinstance(result["a"], DynamicConv2d)


def test_flags_and_modes_are_kept():
    model = small().train()
    model[2].eval().requires_grad_(False)
    model[3].eval()
    model[4].bias.requires_grad_(False)
    result = convert(model)
    assert [{part.training for part in layer.modules()} for layer in result[2:6]] == [{False}, {False}, {True}, {True}]
    assert [result[i].weight.requires_grad for i in (2, 4)] == [False, True]
    assert [result[i].bias.requires_grad for i in (2, 4)] == [False, False]
    assert all(p.requires_grad for i in (2, 4) for p in result[i].attention.parameters())


class Tied(nn.Module):
    """Two layers with one weight, and what is done to their parameters."""

    def __init__(self, tie):
        super().__init__()
        self.first, self.second = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1)
        self.linear = nn.Linear(8, 8)
        tie(self)

    def forward(self, x):
        return self.second(self.first(x).relu())


def sharing(*names):
    def tie(model):
        for name in names:
            setattr(model.second, name, getattr(model.first, name))

    return tie


@pytest.mark.parametrize("names", [("weight",), ("bias",), ("weight", "bias")])
def test_layers_that_share_a_weight_share_its_kernels(names):
    torch.manual_seed(0)
    model = Tied(sharing(*names))
    images = torch.randn(4, 8, 5, 5)
    result = convert(model)
    torch.testing.assert_close(result(images), model(images))
    for own in ("weight", "bias"):
        assert (getattr(result.first, own) is getattr(result.second, own)) == (own in names)
        assert getattr(result.first, own) is not getattr(model.first, own)
    assert result.first.attention is not result.second.attention
    # A step of training moves both, and by the gradients of both.
    result(images).square().sum().backward()
    torch.optim.SGD(result.parameters(), lr=1e-3).step()
    again = convert(Tied(sharing(*names)))
    again.load_state_dict(result.state_dict())
    torch.testing.assert_close(again(images), result(images))


@pytest.mark.parametrize(
    ("tie", "where", "other"),
    [
        (sharing("weight"), lambda name, layer: name == "first", "second.weight"),
        (sharing("weight"), lambda name, layer: name == "second", "first.weight"),
        (lambda model: setattr(model.linear, "bias", model.first.bias), None, "linear.bias"),
        (lambda model: model.register_parameter("copy", model.first.weight), None, "copy"),
    ],
)
def test_a_tie_with_what_stays_static_is_refused(tie, where, other):
    layer = "second" if other == "first.weight" else "first"
    with pytest.raises(ValueError, match=f"layer '{layer}' shares a parameter with '{other}', which stays static"):
        convert(Tied(tie), where=where)


class Cache(nn.Module):
    """Keeps what it computed, wherever one may look for it."""

    def __init__(self):
        super().__init__()
        self.conv, self.kept = nn.Conv2d(8, 8, 3), {}

    def forward(self, x):
        self.last = self.conv(x)
        self.kept = {"maps": [self.last, (self.last * 2,)], "held": Held(self.last)}
        return self.last


class Held:
    def __init__(self, tensor):
        self.tensor = tensor


def test_a_graph_in_an_attribute_is_copied_without_it():
    model, images = Cache(), torch.randn(2, 8, 5, 5)
    model(images)
    assert not model.last.is_leaf
    result = convert(model)
    assert model.last.grad_fn is not None and not result.last.requires_grad
    torch.testing.assert_close(result.last, model.last.detach())
    assert result.last is result.kept["maps"][0] is result.kept["held"].tensor
    torch.testing.assert_close(result(images), model(images))
    # The dynamic network keeps graphs too, and freezing copies it.
    frozen = freeze(result, [images]).model
    torch.testing.assert_close(frozen(images), model(images))


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
def test_a_weight_that_a_hook_computes_is_such_an_attribute():
    model = nn.Sequential(torch.nn.utils.weight_norm(nn.Conv2d(3, 8, 3)), nn.Conv2d(8, 8, 1))
    images = torch.randn(2, 3, 5, 5)
    expected = model(images)
    torch.testing.assert_close(convert(model)(images), expected)


class ByKeyword(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.dynet = nn.Conv2d(8, 8, 3), DyNetConv2d(8, 8, 1)

    def forward(self, x):
        return self.dynet(coefficients=self.dynet.coefficients(self.conv(input=x)), input=self.conv(input=x))


def test_layers_may_be_called_by_keyword():
    model, images = ByKeyword().eval(), torch.randn(1, 8, 5, 5)
    result = convert(model)
    torch.testing.assert_close(result(images), model(images), rtol=1e-4, atol=1e-5)
    attention = freeze(result, [images]).attention
    torch.testing.assert_close(attention["conv"], result.conv.attention(images)[0].detach().double())
    assert attention["dynet"].shape == (8 * 6,)


def test_convolutions_without_a_dynamic_form_stay():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            self.flat, self.conv = nn.Conv1d(8, 8, 1), nn.Conv2d(8, 8, 1)
            self.deep, self.up = nn.Conv3d(8, 8, 1), nn.ConvTranspose2d(8, 8, 2, stride=2)

        def forward(self, x):
            x = self.conv(self.flat(x.flatten(2)).view_as(x))
            return self.up(self.deep(x[:, :, None])[:, :, 0])

    model, images = Mixed(), torch.randn(2, 8, 4, 4)
    asked = []
    result = convert(model, where=lambda name, layer: asked.append(name) or True)
    assert asked == dynamic(result) == ["conv"]
    torch.testing.assert_close(result(images), model(images))
    frozen = freeze(result, [images]).model
    assert [type(module) for module in frozen.children()] == [type(module) for module in model.children()]
    torch.testing.assert_close(frozen(images), model(images))


def test_what_is_dynamic_already_stays():
    class Convolved(nn.Sequential):
        def forward(self, input):
            return super().forward(input).mean((2, 3)).softmax(1)

    inner = DynamicConv2d(8, 8, 3, attention=Convolved(nn.Conv2d(8, 4, 1)))
    model = nn.Sequential(inner, nn.Conv2d(8, 8, 3))
    asked = []
    result = convert(model, where=lambda name, layer: asked.append(name) or True)
    assert asked == ["1"]
    assert type(result[0].attention[0]) is nn.Conv2d
    with pytest.raises(ValueError, match="holds no nn.Conv2d outside of dynamic layers"):
        convert(nn.Sequential(inner))


def test_what_cannot_be_converted_is_left_by_default():
    class Same(nn.Conv2d):
        pass

    model = nn.Sequential(
        nn.Conv2d(8, 8, 1),
        Same(8, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        parametrizations.weight_norm(nn.Conv2d(8, 8, 1)),
        nn.LazyConv2d(8, 1),
    )
    assert dynamic(convert(model)) == ["0"]
    model[4](torch.zeros(1, 8, 4, 4))  # a lazy layer that knows its input is a plain one
    assert dynamic(convert(model)) == ["0", "4"]
    for name, kind in (("1", "Same"), ("2", "Conv2d with padding_mode = 'reflect'"), ("3", "ParametrizedConv2d")):
        with pytest.raises(ValueError, match=f"where picks layer '{name}', a {kind}"):
            convert(model, where=lambda n, layer, name=name: n == name)


HOOKS = ["register_forward_pre_hook", "register_forward_hook", "register_full_backward_hook"]


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_not_lost_in_silence(hook):
    model = small()
    handle = getattr(model[2], hook)(lambda *args: None)
    with pytest.raises(ValueError, match="layer '2' carries hooks"):
        convert(model)
    handle.remove()
    result = convert(model)
    getattr(result[2], hook)(lambda *args: None)
    with pytest.raises(ValueError, match="layer '2' carries hooks"):
        freeze(result, [torch.zeros(1, 3, 8, 8)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: convert(small(), "static"),
            "conv = 'static' .* static already. Allowed: dynamic, dynamic-uniform, eam-rcr",
        ),
        (lambda: convert(small(), "dynet"), "conv = 'dynet' converts nothing: its coefficients do not sum to one"),
        (lambda: convert(small(), "eam-rrc"), "conv = 'eam-rrc' is unknown. Did you mean 'eam-rcr'"),
        (lambda: convert(small(), "dynamic", hidden=3), "option 'hidden' is unknown to conv = 'dynamic'. Allowed: num"),
        (lambda: convert(small(), hidden=0), "layer '2' cannot be converted: hidden = 0 must be an integer"),
        (lambda: convert(small(), channels=16), "layer '2' cannot be converted: channels = 16 selects more than the 8"),
        (lambda: convert(small(), where=lambda n, _: n == "0"), "layer '0' cannot be converted: channels = 4 selects"),
        (lambda: convert(nn.Linear(3, 3)), "model = Linear holds no nn.Conv2d outside of dynamic layers."),
        (
            lambda: convert(nn.Sequential(nn.Conv1d(8, 8, 1), nn.ConvTranspose2d(8, 8, 1), nn.Conv1d(8, 8, 1))),
            "holds no nn.Conv2d outside of dynamic layers; of 2 Conv1d, 1 ConvTranspose2d there is no dynamic form.",
        ),
        (
            lambda: convert(small(), where=lambda *_: False),
            "picks none of the 3 convolutions of Sequential; where is not True: '0', '2', '4'.",
        ),
        (
            lambda: convert(nn.Conv2d(3, 8, 3)),
            "where = None picks none of the 1 convolutions of Conv2d; at most 4 input channels, those of the .*: ''",
        ),
        (
            lambda: convert(nn.Sequential(*[nn.Conv2d(8, 8, 3, padding_mode="reflect") for _ in "ab"])),
            "picks none of the 2 .*; a Conv2d with padding_mode = 'reflect': '0', '1'.",
        ),
    ],
)
def test_bad_input_of_convert_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (from_torchvision, "swin_t", "the 1 convolutions of SwinTransformer; at most 4 input channels"),
        (from_timm, "nf_resnet26", "a ScaledStdConv2d, whose forward may do more than that of nn.Conv2d: 's"),
        (from_timm, "vit_tiny_patch16_224", "at most 4 input channels, those of the image: 'patch_embed.proj'"),
    ],
)
def test_a_network_that_cannot_be_converted_says_why(make, name, message):
    with pytest.raises(ValueError, match=message):
        convert(make(name))


@pytest.mark.parametrize("conv", ["dynamic", "eam-rcr"])
def test_training_parts_the_kernels(conv):
    model = convert(small(), conv)
    images, labels = torch.randn(16, 3, 12, 12), torch.arange(16) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    losses, attention_gradients = [], []
    for _ in range(8):
        loss = F.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        attention_gradients.append(model[2].attention.predict[2].bias.grad.abs().max().item())
    assert losses[-1] < losses[0]
    # Equal kernels leave the attention nothing to choose between, up to rounding.
    assert attention_gradients[0] < 1e-6 < attention_gradients[-1]
    for layer in (model[2], model[4]):
        assert torch.pdist(layer.weight.detach().flatten(1)).min() > 1e-5


def test_freezing_gives_the_converted_weights_back():
    torch.manual_seed(0)
    model, images = randomised(from_torchvision("mobilenet_v3_small"))
    frozen = freeze(convert(model, num_kernels=3), [images])
    assert frozen.images == 2 and frozen.accuracy_before is None and frozen.accuracy_after is None
    before, after = model.state_dict(), frozen.model.state_dict()
    assert list(before) == list(after)
    for key, tensor in before.items():
        torch.testing.assert_close(after[key], tensor, rtol=1e-6, atol=1e-6)


def test_freezing_reports_attention_and_accuracies():
    model = convert(small()).train()
    model[2].eval()
    batches = [(torch.randn(n, 3, 8, 8), torch.randint(3, (n,))) for n in (5, 3)]
    frozen = freeze(model, batches)
    images, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    with torch.no_grad():
        first = model[2].attention(model[:2](images)).mean(0)
        before, after = (
            100 * (net(images).argmax(1) == labels).double().mean().item() for net in (model, frozen.model)
        )
    assert frozen.images == 8
    assert (frozen.accuracy_before, frozen.accuracy_after) == pytest.approx((before, after))
    assert list(frozen.attention) == dynamic(model) == ["2", "4"]
    torch.testing.assert_close(frozen.attention["2"], first.double())
    for network in (model, frozen.model):
        assert [module.training for module in network] == [index != 2 for index in range(8)]


class Shares(nn.Module):
    """The same attention for every image."""

    def forward(self, input):
        return torch.tensor([0.5, 0.3, 0.2]).expand(len(input), 3)


def test_a_constant_attention_freezes_to_the_same_network():
    model = nn.Sequential(
        DynamicConv2d(3, 8, 3, 2, padding=1, bias=True, num_kernels=3, attention=Shares()),
        nn.ReLU(),
        DynamicConv2d(8, 8, 3, padding="same", dilation=2, groups=4, num_kernels=3, attention=Shares()),
    )
    images = torch.randn(4, 3, 9, 9)
    frozen = freeze(model, [images])
    torch.testing.assert_close(frozen.model(images), model(images))
    assert [type(module) for module in frozen.model] == [nn.Conv2d, nn.ReLU, nn.Conv2d]


def test_a_parametrised_layer_freezes_to_the_weight_it_makes():
    layer = parametrizations.weight_norm(DynamicConv2d(8, 8, 1, num_kernels=3, attention=Shares()))
    images = torch.randn(4, 8, 5, 5)
    torch.testing.assert_close(freeze(layer, [images]).model(images), layer(images))


def test_one_attention_of_two_layers_answers_for_each():
    shared = EAMAttention(8)
    model = nn.Sequential(*[DynamicConv2d(8, 8, 1, attention=shared) for _ in range(2)])
    images = torch.randn(6, 8, 5, 5) * 10
    frozen = freeze(model, [images])
    with torch.no_grad():
        expected = [shared(images).mean(0), shared(model[0](images)).mean(0)]
    for mean, attention in zip(expected, frozen.attention.values(), strict=True):
        torch.testing.assert_close(attention, mean.double())


@pytest.mark.parametrize("name", ["dy_mobile", "dy_resnet18", "dy_shuffle", "mobilenet_v1"])
def test_dynet_freezes_to_its_static_twin(name):
    torch.manual_seed(0)
    options = {"num_classes": 4, "width_mult": 0.5 if name == "dy_shuffle" else 0.25, "stem_stride": 1}
    model = create_model(name, "dynet", group_size=2, **options)
    static = create_model(name, "static", **options)
    image = torch.randn(1, 3, 32, 32)
    frozen = freeze(model, [image]).model
    assert not any(isinstance(module, DyNetConv2d) for module in frozen.modules())
    assert {k: v.shape for k, v in frozen.state_dict().items()} == {k: v.shape for k, v in static.state_dict().items()}
    # The mean over one image is that image's own mixture.
    with torch.no_grad():
        torch.testing.assert_close(frozen.eval()(image), model.eval()(image), rtol=1e-4, atol=1e-5)


def test_a_frozen_network_costs_what_the_static_one_costs():
    pytest.importorskip("fvcore")
    options = {"num_classes": 4, "width_mult": 0.125}
    model = create_model("mobilenet_v1", "eam-rcr", **options)
    frozen = freeze(model, [torch.randn(2, 3, 32, 32)]).model
    assert cost(frozen, (3, 32, 32)) == cost(create_model("mobilenet_v1", "static", **options), (3, 32, 32))


def labelled(n=2, size=8):
    return torch.zeros(n, 3, size, size), torch.zeros(n, dtype=torch.long)


def test_labels_may_be_a_list():
    model, images = convert(small()), torch.randn(4, 3, 8, 8)
    found, expected = (freeze(model, [(images, labels)]) for labels in ([0, 1, 2, 0], torch.tensor([0, 1, 2, 0])))
    assert found.accuracy_before == expected.accuracy_before
    assert found.accuracy_after == expected.accuracy_after


def test_images_without_labels_may_come_from_an_iterator():
    assert freeze(convert(small()), (torch.zeros(1, 3, 8, 8) for _ in range(3))).images == 3


@pytest.mark.parametrize(
    ("model", "batches", "message"),
    [
        (small, [labelled()], "model = Sequential has no dynamic layer; at least one DynamicConv2d or DyNetConv2d"),
        (lambda: convert(small()), [], "batches holds no image"),
        (lambda: convert(small()), [labelled(0)], "batches holds no image"),
        (lambda: convert(small()), iter([labelled()]), "batches = list_iterator can be read once"),
        (lambda: convert(small()), labelled()[0], r"batches: number 0 is of shape \[3, 8, 8\]"),
        (lambda: convert(small()), labelled(), r"batches: number 1 is of shape \[2\]; allowed is \[B, C, H, W\]"),
        (lambda: convert(small()), ["images"], "batches: number 0 is of type str"),
        (lambda: convert(small()), [(labelled()[0], ["cat", "dog"])], r"labels = \['cat', 'dog'\] are no numbers"),
        (lambda: convert(small()), [(labelled()[0], [0, 1, 2])], r"labels of shape \[3\] do not fit .* \[2, 3\]"),
        (lambda: convert(small())[:5], [labelled()], r"labels of shape \[2\] do not fit .* \[2, 8, 4, 4\]"),
    ],
)
def test_bad_input_of_freeze_is_named(model, batches, message):
    model = model().train()
    with pytest.raises(ValueError, match=message):
        freeze(model, batches)
    assert all(module.training and not module._forward_hooks for module in model.modules())


class Head(nn.Module):
    """As googlenet: one layer for every image, another in training alone."""

    def __init__(self, make=lambda: nn.Conv2d(8, 8, 1)):
        super().__init__()
        self.layer, self.auxiliary = make(), make()

    def forward(self, x):
        y = self.layer(x)
        return (y, self.auxiliary(y)) if self.training else y


def test_a_layer_that_does_not_run_stays_dynamic_and_is_named():
    model, images = convert(Head()), torch.randn(2, 8, 4, 4)
    with pytest.warns(UserWarning, match="^'auxiliary' did not run: .* It is left out.") as caught:
        frozen = freeze(model, [images])
    assert len(caught) == 1 and caught[0].filename == __file__
    assert list(frozen.attention) == ["layer"] and dynamic(frozen.model) == ["auxiliary"]
    torch.testing.assert_close(frozen.model.eval()(images), model.eval()(images))
    with pytest.warns(UserWarning, match="'auxiliary' did not run"):
        assert [layer.name for layer in diagnose(model, [images])] == ["layer"]
    assert frozen.model.train()(images)[1].shape == images.shape


def test_a_block_that_does_not_run_keeps_its_predictor():
    model = Head(lambda: DepthwiseSeparable(8, 8, conv=conv_builder("dynet"))).eval()
    images = torch.randn(1, 8, 4, 4)
    with pytest.warns(UserWarning, match="'auxiliary.0.0', 'auxiliary.1.0' did not run"):
        frozen = freeze(model, [images]).model
    assert frozen.layer.predictor is None
    torch.testing.assert_close(frozen(images), model(images), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(frozen.auxiliary(images), model.auxiliary(images))


def test_a_network_that_runs_none_of_its_layers_is_refused():
    model = convert(Head(), where=lambda name, layer: name == "auxiliary")
    for ask in (freeze, diagnose):
        with pytest.raises(ValueError, match="layer 'auxiliary' did not run"):
            ask(model, [torch.zeros(2, 8, 4, 4)])


@pytest.mark.cuda
def test_a_network_on_the_gpu_stays_there():
    model = small().cuda()
    result = convert(model)
    assert {tensor.device.type for tensor in result.state_dict().values()} == {"cuda"}
    frozen = freeze(result, [labelled()])
    assert {tensor.device.type for tensor in frozen.model.state_dict().values()} == {"cuda"}
    torch.testing.assert_close(frozen.model[2].weight, model[2].weight)
