import random
import re
import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import prune
from torch.utils.flop_counter import FlopCounterMode

from eamlib import cost, create_model
from eamlib.functional import dynamic_conv2d
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, KernelAttention


def test_one_convolution_by_hand():
    counted = cost(nn.Conv2d(3, 8, 3, stride=2, padding=1), (3, 32, 32))
    assert counted.parameters == 3 * 8 * 9 + 8
    assert counted.flops == counted.by_part["convolution"] == 16 * 16 * 8 * 3 * 9


@pytest.mark.parametrize("strategy", ["auto", "grouped", "loop"])
def test_one_dynamic_convolution_by_hand_whatever_runs_it(strategy):
    layer = DynamicConv2d(16, 8, 3, padding=1, strategy=strategy)
    parts = cost(layer, (16, 10, 10)).by_part
    assert parts["convolution"] == 100 * 8 * 16 * 9
    assert parts["aggregation"] == 4 * 8 * 16 * 9
    assert parts["attention"] == 16 * 100 + 16 * 4 + 4 * 4  # pooling reads each value once
    assert layer.strategy == strategy


def test_eam_attention_by_hand():
    layer = DynamicConv2d(64, 8, 1, attention=EAMAttention(64, channels=4, output_size=5))
    assert cost(layer, (64, 20, 20)).by_part["attention"] == 4 * 400 + 100 * 10 + 10 * 4


def test_parts_sum_to_the_whole_and_the_model_is_left_alone():
    model = create_model("mobilenet_v2", "eam-cgr", num_classes=10).train()
    model.features[1].eval()
    before = {name: (m.training, getattr(m, "strategy", None)) for name, m in model.named_modules()}
    statistics = {name: buffer.clone() for name, buffer in model.named_buffers()}
    counted = cost(model, (3, 64, 64))
    assert sum(counted.by_part.values()) == counted.flops
    assert before == {name: (m.training, getattr(m, "strategy", None)) for name, m in model.named_modules()}
    for name, buffer in model.named_buffers():
        torch.testing.assert_close(buffer, statistics[name])


def as_priced(name, conv):
    """A narrow network, set to run as it is priced: the counters below count what is run."""
    model = create_model(name, conv, num_classes=5, width_mult=0.5 if "shuffle" in name else 0.25).eval()
    for module in model.modules():
        if isinstance(module, DynamicConv2d):
            module.strategy = "grouped"
        elif isinstance(module, DyNetConv2d):
            module.fuse = "kernels"
    return model


@pytest.mark.parametrize("conv", ["static", "dynamic", "dynet"])
@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small", "shufflenet_v2", "dy_mobile", "fcn_resnet18"])
@torch.no_grad()
def test_the_products_are_those_that_torch_counts(name, conv):
    model = as_priced(name, conv)
    counted = cost(model, (3, 64, 64))
    assert sum(counted.by_part.values()) == counted.flops
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, 3, 64, 64))
    assert counter.get_total_flops() == 2 * sum(counted.multiply_adds.values())  # two operations a multiply-add
    if conv != "dynet":
        convolutions = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
        assert convolutions == 2 * counted.by_part["convolution"]


@pytest.mark.parametrize(
    ("name", "conv"),
    [
        ("mobilenet_v1", "eam-rcr"),
        ("mobilenet_v2", "dynamic"),
        ("mobilenet_v3_small", "static"),
        ("dy_shuffle", "dynet"),
        ("fcn_resnet50", "static"),
    ],
)
def test_the_flops_are_those_that_fvcore_counts(name, conv):
    analysis = pytest.importorskip("fvcore.nn").FlopCountAnalysis
    model = as_priced(name, conv)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.filterwarnings("ignore", "`torch.jit", category=FutureWarning)
        by_fvcore = analysis(model, torch.zeros(1, 3, 64, 64))
        by_fvcore = by_fvcore.unsupported_ops_warnings(False).uncalled_modules_warnings(False).total()
    # The operations of a DyNet's einsum it reads off a text of four digits.
    assert cost(model, (3, 64, 64)).flops == pytest.approx(by_fvcore, rel=5e-5 if conv == "dynet" else 0)


@pytest.mark.parametrize(
    ("name", "millions"),
    # Multiply-adds at 3 × 224 × 224 with 1000 classes.
    [("mobilenet_v2", 300.8), ("shufflenet_v2", 144.9), ("resnet18", 1814.1), ("resnet50", 4089.2)],
)
def test_multiply_adds_are_the_published_ones(name, millions):
    with torch.device("meta"):
        model = create_model(name)
    assert round(sum(cost(model).multiply_adds.values()) / 1e6, 1) == millions


def test_the_dilated_fcn_costs_311_gflops():
    # Zhang et al. 2020 print 310.8 G; nothing but the size of the image and 19 classes is needed to come this near.
    with torch.device("meta"):
        model = create_model("fcn_resnet50", num_classes=19)
    assert round(cost(model, (3, 768, 768)).by_part["convolution"] / 1e9, 1) == 311.3


@pytest.mark.parametrize(("kernel_size", "groups"), [(1, 1), (3, 1), (3, 8)])
def test_mixing_the_kernels_of_dynet_costs_the_same_whatever_the_map(kernel_size, groups):
    layer = DyNetConv2d(8, 8, kernel_size, padding=kernel_size // 2, groups=groups)
    small, large = (cost(layer, (8, size, size)).by_part for size in (5, 10))
    assert small["aggregation"] == large["aggregation"] == layer.weight.numel()
    assert large["convolution"] == 4 * small["convolution"]


@pytest.mark.parametrize("conv", ["eam-rcr", "dynet"])
def test_a_network_without_numbers_costs_the_same(conv):
    with torch.device("meta"):
        model = create_model("mobilenet_v1", conv, width_mult=0.25, num_classes=5)
    priced = cost(model, (3, 64, 64))
    assert priced == cost(create_model("mobilenet_v1", conv, width_mult=0.25, num_classes=5), (3, 64, 64))
    assert all(parameter.is_meta for parameter in model.parameters())


class Called(nn.Module):
    """A module that does what it is given, with the modules that it is given."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.run = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, image):
        return self.run(self, image)


# --- Networks of others ---

# Slow, for these are whole networks: counts of others to hold ours against. One for each way to be built: in groups,
# concatenated, gated, attended, with heads that do not run; and one that segments, with the second head of its weights.
PUBLISHED = {
    "convnext_tiny": {},
    "deeplabv3_mobilenet_v3_large": {"aux_loss": True, "weights_backbone": None},
    "densenet121": {},
    "googlenet": {"init_weights": False},
    "maxvit_t": {},
    "regnet_y_400mf": {},
    "shufflenet_v2_x1_0": {},
    "swin_v2_t": {},
    "vit_b_16": {},
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_torchvisions_networks_cost_what_torchvision_publishes(name):
    models = pytest.importorskip("torchvision.models")
    weights = next(iter(models.get_model_weights(name)))
    with torch.device("cpu" if name.startswith("regnet") else "meta"):  # a regnet computes its widths with tensors
        model = models.get_model(name, weights=None, **PUBLISHED[name])
    side = getattr(weights.transforms(), "crop_size", [520])[0]
    counted = cost(model, (3, side, side))
    assert sum(counted.multiply_adds.values()) / 1e9 == pytest.approx(weights.meta["_ops"], abs=0.00051)
    if name != "googlenet":  # its weights were counted without its second heads, and these do not run
        assert counted.parameters == weights.meta["num_params"]


def test_a_detector_is_counted_but_for_what_is_torchvisions_own():
    models = pytest.importorskip("torchvision.models")
    model = models.get_model("ssdlite320_mobilenet_v3_large", weights=None, weights_backbone=None)
    with pytest.warns(UserWarning, match=r"^SSD costs more .* Not counted: torchvision::nms \(\d+×\)\.$"):
        counted = cost(model, (3, 320, 320))
    published = models.get_model_weights("ssdlite320_mobilenet_v3_large").DEFAULT.meta["_ops"]
    assert sum(counted.multiply_adds.values()) / 1e9 == pytest.approx(published, abs=0.00051)


@pytest.mark.parametrize("name", ["coatnet_0_rw_224", "eva02_tiny_patch14_224", "levit_128s", "xcit_nano_12_p16_224"])
@torch.no_grad()
def test_timms_networks_cost_what_torch_counts(name):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        model = timm.create_model(name).eval()
        image = torch.empty(1, *model.default_cfg["input_size"])
    counted = cost(model, tuple(image.shape[1:]))
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(image)
    assert 2 * sum(counted.multiply_adds.values()) == counter.get_total_flops()


# --- Attention, recurrence, and whatever else multiplies ---


def attention_layer(tokens, width, hidden=0):
    """Multiply-adds of self-attention, its four projections included, and of the two layers behind it."""
    return tokens * 4 * width**2 + 2 * tokens**2 * width + 2 * tokens * width * hidden


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_by_hand(need_weights, mode):
    attention = nn.MultiheadAttention(16, 4, batch_first=True)
    model = Called(lambda m, x: m.attention(x[0], x[0], x[0], need_weights=need_weights), attention=attention)
    counted = cost(getattr(model, mode)(), (1, 10, 16))
    assert counted.flops == counted.by_part["attention"] == attention_layer(10, 16)


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("layers", [1, 3])
def test_a_transformer_encoder_by_hand(layers, norm_first):
    layer = nn.TransformerEncoderLayer(16, 4, 40, batch_first=True, norm_first=norm_first)
    encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False) if layers > 1 else layer
    counted = cost(Called(lambda m, x: m.encoder(x[0]), encoder=encoder.eval()), (1, 10, 16))
    assert sum(counted.multiply_adds.values()) == layers * attention_layer(10, 16, 40)
    assert counted.by_part["attention"] == layers * attention_layer(10, 16)
    assert counted.by_part["normalization"] == layers * 2 * 5 * 10 * 16


def attend(**options):
    return lambda _, x: F.scaled_dot_product_attention(x, x, x, **options)


PRODUCTS = {
    # Of an image of [4, 8, 8]: its multiply-adds by hand.
    "attention": (attend(), 4 * 2 * 8 * 8 * 8),
    "causal attention": (attend(is_causal=True), 4 * 2 * 8 * 8 * 8),
    "attention with a mask": (attend(attn_mask=torch.ones(8, 8, dtype=torch.bool)), 4 * 2 * 8 * 8 * 8),
    "grouped queries": (
        lambda _, x: F.scaled_dot_product_attention(x, x[:, :2], x[:, :2], enable_gqa=True),
        4 * 2 * 8 * 8 * 8,
    ),
    "attention where no gradient is ever asked for": (torch.inference_mode()(attend()), 4 * 2 * 8 * 8 * 8),
    "linear where no gradient is ever asked for": (
        torch.inference_mode()(lambda _, x: F.linear(x, torch.ones(5, 8))),
        4 * 8 * 8 * 5,
    ),
    "@": (lambda _, x: x @ x, 4 * 8 * 8 * 8),
    "@, broadcast": (lambda _, x: x.expand(3, 4, 8, 8) @ x[0, 0], 3 * 4 * 8 * 8 * 8),
    "a matrix and a vector": (lambda _, x: x[0, 0] @ x[0, 0, 0], 8 * 8),
    "two vectors": (lambda _, x: x[0, 0, 0] @ x[0, 0, 0], 8),
    "addmm_": (lambda _, x: torch.zeros(8, 8).addmm_(x[0, 0], x[0, 0]), 8 * 8 * 8),
    "mm, out=": (lambda _, x: torch.mm(x[0, 0], x[0, 0], out=torch.zeros(8, 8)), 8 * 8 * 8),
    "addmv": (lambda _, x: torch.addmv(torch.zeros(8), x[0, 0], x[0, 0, 0]), 8 * 8),
    "addbmm": (lambda _, x: torch.addbmm(torch.zeros(8, 5), x[0], x[0, :, :, :5]), 4 * 8 * 8 * 5),
    "baddbmm": (lambda _, x: torch.baddbmm(torch.zeros(4, 8, 8), x[0], x[0]), 4 * 8 * 8 * 8),
    "einsum": (lambda _, x: torch.einsum("bcij,bdij->bcd", x, x), 4 * 4 * 64),
    "tensordot": (lambda _, x: torch.tensordot(x[0], x[0], dims=([1, 2], [1, 2])), 4 * 4 * 64),
    "vmap": (lambda _, x: torch.vmap(lambda one: one @ one.t())(x[0]), 4 * 8 * 8 * 8),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_products_by_hand(kind):
    forward, expected = PRODUCTS[kind]
    counted = cost(Called(forward), (4, 8, 8))
    assert sum(counted.multiply_adds.values()) == counted.flops == expected
    assert counted.by_part["attention"] == (expected if "attention" in kind or "queries" in kind else 0)


CONVOLUTIONS = {
    "padded to the same size": (nn.Conv2d(4, 5, 3, padding="same"), 5 * 4 * 9 * 64),
    "transposed": (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), 4 * 3 * 9 * 64),
    "a row": (Called(lambda m, x: m.conv(x[:, :, 0]), conv=nn.Conv1d(4, 5, 3)), 5 * 4 * 3 * 6),
    "a volume": (Called(lambda m, x: m.conv(x[:, :, None]), conv=nn.Conv3d(4, 5, (1, 3, 3))), 5 * 4 * 9 * 36),
    "no batch": (Called(lambda m, x: m.conv(x[0]), conv=nn.Conv2d(4, 5, 3)), 5 * 4 * 9 * 36),
    "in vain": (Called(lambda m, x: (m.conv(x), x)[1], conv=nn.Conv2d(4, 5, 3)), 5 * 4 * 9 * 36),
}


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_convolutions_by_hand(kind):
    model, expected = CONVOLUTIONS[kind]
    counted = cost(model, (4, 8, 8))
    assert counted.flops == counted.by_part["convolution"] == expected


@pytest.mark.parametrize(
    ("recurrent", "gates", "weights"),
    [
        (nn.RNN(8, 6), 1, 6 * (8 + 6)),
        (nn.GRU(8, 6), 3, 6 * (8 + 6)),
        (nn.LSTM(8, 6), 4, 6 * (8 + 6)),
        (nn.LSTM(8, 6, num_layers=2, bidirectional=True), 4, 2 * 6 * (8 + 6) + 2 * 6 * (12 + 6)),
    ],
)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_recurrence_by_hand(recurrent, gates, weights, device):
    model = Called(lambda m, x: m.recurrent(x[0])[0], recurrent=recurrent).to(device)
    assert cost(model, (3, 5, 8)).flops == 3 * 5 * gates * weights


NORMS = {
    "batch normalisation": (nn.BatchNorm2d(4), 2),
    "batch normalisation, not affine": (nn.BatchNorm2d(4, affine=False), 1),
    "batch normalisation by the batch": (nn.BatchNorm2d(4, track_running_stats=False), 5),
    "layer": (nn.LayerNorm(8), 5),
    "group": (nn.GroupNorm(2, 4, affine=False), 4),
    "instance": (nn.InstanceNorm2d(4), 4),
}


@pytest.mark.parametrize("kind", NORMS)
def test_normalisations_by_fvcores_rules(kind):
    norm, a_value = NORMS[kind]
    counted = cost(norm, (4, 8, 8))
    assert counted.flops == counted.by_part["normalization"] == a_value * 4 * 64
    assert not any(counted.multiply_adds.values())


@pytest.mark.parametrize(
    ("forward", "expected"),
    [
        (lambda _, x: F.adaptive_avg_pool2d(x, 1), 4 * 64),
        (lambda _, x: F.adaptive_avg_pool2d(input=x, output_size=3), 4 * 64),
        (lambda _, x: F.interpolate(x, scale_factor=2), 4 * 256),
        (lambda _, x: F.interpolate(x, size=(16, 16), mode="bilinear"), 4 * 4 * 256),
        (lambda _, x: F.interpolate(x, size=(16, 16), mode="bicubic"), 0),
        (lambda _, x: F.interpolate(x[0], scale_factor=2), 0),
        (lambda _, x: F.grid_sample(x, torch.zeros(1, 5, 5, 2), align_corners=False), 4 * 4 * 25),
        (lambda _, x: x.mean((2, 3)).softmax(1) * F.normalize(F.avg_pool2d(x, 8)[..., 0, 0]).lgamma(), 0),
    ],
)
def test_the_rest_by_fvcores_rules(forward, expected):
    counted = cost(Called(forward), (4, 8, 8))
    assert counted.flops == counted.by_part["classifier"] == expected
    assert not any(counted.multiply_adds.values())


# --- What cannot be counted ---


@torch.library.custom_op("eamlib_tests::square", mutates_args=())
def square(x: torch.Tensor) -> torch.Tensor:
    return x @ x


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x @ x


class OutsideSquare(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return torch.from_numpy(x.numpy() @ x.numpy())


@pytest.mark.parametrize(
    ("forward", "names"),
    [
        (lambda _, x: square(square(x)), "eamlib_tests::square (2×)"),
        (lambda _, x: torch.fft.fft2(x).real, "aten::_fft_c2c (1×)"),
        (lambda _, x: torch.linalg.svdvals(x) + torch.cdist(x, x)[..., 0], "aten::_cdist_forward (1×), aten::_linalg"),
        (lambda _, x: F.bilinear(x, x, torch.zeros(3, 8, 8)), "aten::_trilinear (1×)"),
        (lambda _, x: OutsideSquare.apply(x), "what is done with Tensor.numpy (2×)"),
        (lambda _, x: torch.from_numpy(np.asarray(x) @ np.asarray(x)), "what is done with Tensor.__array__ (2×)"),
    ],
)
def test_what_has_no_rule_is_named_in_one_warning(forward, names):
    with pytest.warns(UserWarning, match="costs more than was counted") as caught:
        counted = cost(Called(lambda m, x: (x @ x, forward(m, x))), (4, 8, 8))
    [warning] = caught
    assert f"Called costs more than was counted. Not counted: {names}" in str(warning.message)
    assert warning.filename == __file__
    assert counted.flops == 4 * 8 * 8 * 8


def test_an_autograd_function_is_counted_by_what_it_calls():
    assert cost(Called(lambda _, x: Square.apply(x)), (4, 8, 8)).flops == 4 * 8 * 8 * 8


def test_the_librarys_own_kernel_in_c_is_counted_or_named():
    mixed = Called(lambda _, x: dynamic_conv2d(x, torch.zeros(4, 8, 4, 1, 1), torch.ones(1, 4), strategy="tiled"))
    try:
        mixed(torch.zeros(1, 4, 8, 8))
    except ValueError as no_compiler:
        pytest.skip(str(no_compiler))
    with pytest.warns(UserWarning, match="what is done with Tensor.data_ptr"):
        cost(mixed, (4, 8, 8))


@pytest.mark.filterwarnings("ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning")
def test_of_torchscript_the_products_are_counted():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    with pytest.warns(UserWarning, match=r"Not counted: normalisation and pooling in TorchScript \(3×\)"):
        counted = cost(torch.jit.script(model), (3, 8, 8))
    assert counted.flops == cost(model, (3, 8, 8)).multiply_adds["convolution"] == 36 * 4 * 3 * 9
    assert counted.parameters == sum(p.numel() for p in model.parameters())


# --- Modules that stand in two places, or in a wrapper ---


def backbone():
    return nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.ReLU())


def shared_in_two_parents(module):
    return nn.Sequential(nn.Sequential(module, nn.ReLU()), nn.Sequential(module))


def one_beside_its_parent():
    whole = backbone()
    return Called(lambda m, x: m.head(m.whole(x)), head=nn.Sequential(*whole.children()), whole=whole)


def its_child_beside_the_parent():
    whole = backbone()
    return Called(lambda m, x: m.whole(m.first(x)), first=whole[0], whole=whole)


@pytest.mark.parametrize(
    ("model", "calls", "of"),
    [
        (shared_in_two_parents(nn.ReLU()), 2, nn.ReLU()),
        (shared_in_two_parents(nn.Conv2d(4, 4, 3, padding=1)), 2, nn.Conv2d(4, 4, 3, padding=1)),
        (shared_in_two_parents(nn.BatchNorm2d(4)), 2, nn.BatchNorm2d(4)),
        (shared_in_two_parents(DynamicConv2d(4, 4, 1)), 2, DynamicConv2d(4, 4, 1)),
        (shared_in_two_parents(DyNetConv2d(4, 4, 1)), 2, DyNetConv2d(4, 4, 1)),
        (nn.Sequential(*[nn.Conv2d(4, 4, 1)] * 3), 3, nn.Conv2d(4, 4, 1)),
        (Called(lambda m, x: m.conv(m.conv(x)), conv=nn.Conv2d(4, 4, 1)), 2, nn.Conv2d(4, 4, 1)),
        (one_beside_its_parent(), 2, backbone()),
        (nn.ModuleList([whole := backbone(), *whole.children()])[0], 1, backbone()),
    ],
)
def test_every_call_counts_and_every_parameter_once(model, calls, of):
    counted, once = cost(model, (4, 6, 6)), cost(of, (4, 6, 6))
    assert counted.parameters == once.parameters
    assert counted.by_part == {part: calls * flops for part, flops in once.by_part.items()}


def test_a_child_beside_its_parent_counts_where_it_is_called():
    counted = cost(its_child_beside_the_parent(), (4, 6, 6))
    assert counted.by_part["convolution"] == 2 * 16 * 36
    assert counted.by_part["normalization"] == 2 * 4 * 36


def test_a_layer_shared_with_an_attention_counts_as_attention_there_alone():
    attention = KernelAttention(8)
    model = Called(lambda m, x: (m.attention(x), m.linear(torch.zeros(5, 8))), attention=attention)
    model.linear = attention.predict[0]
    counted = cost(model, (8, 4, 4))
    assert counted.by_part["attention"] == cost(attention, (8, 4, 4)).flops
    assert counted.by_part["classifier"] == 5 * 8 * 2


def test_tied_parameters_count_once():
    first, second = nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)
    second.weight = first.weight
    partly_meta = nn.Sequential(first, second, nn.Conv2d(4, 4, 1, device="meta"))
    assert cost(partly_meta, (4, 6, 6)).parameters == 16 + 4 + 4 + 16 + 4


def never(graph, inputs):
    raise AssertionError("the compiler was asked")


def compiled_child(model):
    model[0] = torch.compile(model[0], backend=never)
    return model


def compiled_in_place(model):
    model.compile(backend=never)
    return model


def compiled_before(model):
    model = torch.compile(model, backend="eager")
    with torch.no_grad():
        model.eval()(torch.zeros(1, 4, 6, 6))
    return model


@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend=never),
        compiled_child,
        compiled_in_place,
        compiled_before,
        nn.DataParallel,
        lambda model: Called(torch.compile(lambda m, x: m.model(x), backend=never), model=model),
    ],
)
def test_wrapped_or_compiled_it_costs_the_same(wrap):
    assert cost(wrap(backbone()), (4, 6, 6)) == cost(backbone(), (4, 6, 6))


# --- Whatever the network is, and is left as ---


@pytest.mark.parametrize(("conv", "dtype"), [("eam-rcr", torch.float16), ("dynet", torch.bfloat16)])
def test_another_precision_costs_the_same(conv, dtype):
    model = create_model("mobilenet_v1", conv, width_mult=0.25, num_classes=5)
    assert cost(model.to(dtype), (3, 32, 32)) == cost(model.float(), (3, 32, 32))


@pytest.mark.parametrize("wrapped", [lambda y: {"out": y, "aux": None}, lambda y: (y, [y, {"again": y}]), lambda y: 3])
def test_the_output_may_be_anything(wrapped):
    conv = nn.Conv2d(3, 8, 1)
    assert cost(Called(lambda m, x: wrapped(m.conv(x)), conv=conv), (3, 4, 4)) == cost(conv, (3, 4, 4))


def test_no_parameter_is_needed_and_integers_decide_nothing():
    assert cost(nn.Flatten(), (3, 4, 4)).parameters == cost(nn.Flatten(), (3, 4, 4)).flops == 0
    model = Called(lambda m, x: m.conv(x))
    model.first = nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False)
    model.conv = nn.Conv2d(3, 8, 1).half()
    assert cost(model, (3, 4, 4)).flops == 8 * 3 * 16


def test_a_network_of_which_a_part_has_numbers():
    with torch.device("meta"):
        model = create_model("mobilenet_v1", "eam-rcr", width_mult=0.25, num_classes=5)
    head = nn.Linear(5, 2)
    assert cost(nn.Sequential(model, head), (3, 64, 64)).flops == cost(model, (3, 64, 64)).flops + 10
    assert not head.weight.is_meta


class Restless(nn.Module):
    """Changes all that a forward pass can change of its module, and of the random numbers."""

    def __init__(self, fails=False):
        super().__init__()
        self.conv = nn.utils.parametrizations.weight_norm(nn.Conv2d(4, 4, 1))
        self.other = nn.utils.parametrizations.spectral_norm(nn.Conv2d(4, 4, 1))
        self.norm, self.dropout = nn.BatchNorm2d(4), nn.Dropout()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.register_buffer("same", self.calls)
        self.fails, self.count, self.seen, self.by_name = fails, 0, [], {}
        self.conv.bias.requires_grad_(False)
        self.dropout.eval()
        self.norm.register_forward_hook(lambda *_: None)

    def forward(self, image):
        self.train()
        self.calls += 1
        self.replaced = torch.ones(())
        self.count += 1
        self.seen.append(image)
        self.by_name["image"] = image
        self.added = nn.ReLU()
        self.norm.register_forward_hook(lambda *_: None)
        torch.manual_seed(3), random.seed(3), np.random.seed(3)
        torch.rand(3), random.random(), np.random.rand()
        image = self.dropout(self.norm(self.other(self.conv(image))))
        if self.fails:
            raise RuntimeError("it fails")
        return image


def everything_of(model):
    modules = {name: (module, module.training) for name, module in model.named_modules()}
    attributes = {name: {k: v for k, v in vars(m).items() if k[0] != "_"} for name, m in model.named_modules()}
    hooks = {
        name: [list(module._forward_hooks), list(module._forward_pre_hooks)] for name, (module, _) in modules.items()
    }
    tensors = {
        name: (id(t), t.clone(), t.requires_grad, t.device) for name, t in model.state_dict(keep_vars=True).items()
    }
    generators = torch.get_rng_state().tolist(), random.getstate(), np.random.get_state()[1].tolist()
    attention = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    seen = (list(model.seen), dict(model.by_name))
    return modules, attributes, hooks, tensors, generators, torch.is_grad_enabled(), attention, seen


@pytest.mark.parametrize("fails", [False, True])
def test_everything_is_left_as_it_was(fails):
    model = Restless(fails)
    before = everything_of(model)
    if fails:
        with pytest.raises(ValueError, match="it fails"):
            cost(model, (4, 6, 6))
    else:
        cost(model, (4, 6, 6))
    after = everything_of(model)
    tensors, tensors_after = before[3], after[3]
    assert tensors.keys() == tensors_after.keys()
    for name, (identity, values, *rest) in tensors.items():
        assert tensors_after[name][0] == identity
        assert torch.equal(values, tensors_after[name][1])
        assert list(tensors_after[name][2:]) == rest
    assert before[:3] + before[4:] == after[:3] + after[4:]
    assert model.calls is model.same


def test_a_hook_can_still_be_removed_and_a_gradient_still_be_taken():
    model = nn.Sequential(nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4))
    hook = model.register_forward_hook(lambda *_: None)
    loss = model(torch.randn(2, 4, 3, 3)).sum()
    cost(model, (4, 6, 6))
    loss.backward()
    hook.remove()
    assert not model._forward_hooks


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weights_that_hooks_compute():
    """These cannot be copied by copy.deepcopy."""
    conv = nn.utils.weight_norm(nn.Conv2d(4, 8, 1))
    prune.random_unstructured(pruned := nn.Conv2d(8, 8, 1), "weight", 0.5)
    counted = cost(nn.Sequential(conv, pruned), (4, 6, 6))
    assert counted.parameters == (32 + 8 + 8) + (64 + 8)
    assert counted.flops == 36 * (32 + 64)


def test_a_failure_that_the_network_catches_moves_nothing_to_another_part():
    def forward(model, image):
        try:
            model.attention(image[:, :2])
        except ValueError:
            return model.linear(image)

    model = Called(forward, attention=KernelAttention(8), linear=nn.Linear(4, 2))
    counted = cost(model, (8, 4, 4))
    assert counted.flops == counted.by_part["classifier"] == 8 * 4 * 4 * 2


def test_what_runs_in_between_is_counted_by_itself():
    """A hook of a network that asks what another one costs."""
    model, inner = backbone(), []
    model.register_forward_hook(lambda *_: inner.append(cost(nn.Conv2d(3, 8, 1), (3, 4, 4)).flops))
    assert cost(model, (4, 6, 6)).by_part["normalization"] == 2 * 4 * 36
    assert inner == [8 * 3 * 16]


# --- Bad input ---


@pytest.mark.parametrize("size", [224, None, "224", (3, 224), (3, 0, 224), (3, 22.4, 224), (3, True, 224), {3, 224}])
def test_bad_input_size_is_named(size):
    message = f"input_size = {size!r} must be (channels, height, width), three integers of at least 1."
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cost(nn.Conv2d(3, 8, 3), size)


@pytest.mark.parametrize("size", [(3, 9, 9), [3, 9, 9], torch.zeros(3, 9, 9).shape])
def test_good_input_size_may_be_any_sequence(size):
    assert cost(nn.Conv2d(3, 8, 3), size).flops == 8 * 27 * 49


@pytest.mark.parametrize("model", ["mobilenet_v1", nn.Conv2d, lambda x: x, None])
def test_no_module_is_named(model):
    with pytest.raises(ValueError, match=re.escape(f"model = {model!r} must be an nn.Module.")):
        cost(model)


def test_a_lazy_module_is_left_alone():
    model = nn.Sequential(nn.LazyConv2d(8, 3), nn.LazyBatchNorm2d())
    with pytest.raises(ValueError, match=r"model has no shape yet for its '0\.weight'; run it on an image once\."):
        cost(model)
    assert nn.parameter.is_lazy(model[0].weight)


@pytest.mark.parametrize(
    ("model", "size", "why"),
    [
        (nn.Conv2d(3, 8, 3), (1, 28, 28), r"expected input\[1, 1, 28, 28\] to have 3 channels, but got 1 channels"),
        (nn.Conv2d(3, 8, 3), (3, 2, 2), "[Kk]ernel size can't be greater than actual input size"),
        (KernelAttention(8), (4, 6, 6), r"input has shape \[1, 4, 6, 6\]; allowed is \[B, 8, H, W\]"),
        (nn.Sequential(nn.Flatten(), nn.Linear(10, 2)), (3, 4, 4), "RuntimeError: mat1 and mat2 shapes"),
        (nn.Embedding(3, 2), (3, 4, 4), "RuntimeError: .*indices"),
        (Called(lambda m, x: m.nothing), (3, 4, 4), "AttributeError: .*nothing"),
    ],
)
def test_a_forward_pass_that_fails_says_on_what(model, size, why):
    shape = re.escape(f"{[1, *size]}, torch.float32 on cpu, in eval mode")
    start = rf"^input_size = {re.escape(str(size))}: {type(model).__name__} fails on an image of shape {shape}: "
    with pytest.raises(ValueError, match=f"(?s){start}.*{why}") as caught:
        cost(model, size)
    assert caught.value.__cause__ is not None


def test_an_interruption_is_no_failure():
    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cost(Called(interrupt), (3, 4, 4))
