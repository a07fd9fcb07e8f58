import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrizations

from eamlib import convert, create_model, fold_batch_norm, freeze, list_models
from eamlib.layers import CONVS, DynamicConv2d, DyNetConv2d


def learned(norm):
    """``norm`` with other numbers than those of a new one."""
    norm.running_mean.normal_(std=0.2)
    norm.running_var.uniform_(0.5, 1.5)
    if norm.affine:
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5)
            norm.bias.normal_(std=0.2)
    return norm


def trained(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            learned(module)
    return model.eval()


def norms(model):
    return [name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)]


@torch.no_grad()
def assert_same(folded, model, images, tolerance=1e-5):
    expected = model(images)
    scale = expected.abs().max()
    torch.testing.assert_close(folded(images) / scale, expected / scale, rtol=0, atol=tolerance)


def stays(model):
    """How many norms of a network made of ``dynet`` convolutions follow one of those."""
    return sum(isinstance(module, DyNetConv2d) for module in model.modules())


# Every network, made of each kind of layer; and one network, made of every convolution. Slow together, and the one test
# that a norm of a network of the library is never left behind by a change of its blocks.
NETWORKS = [(name, conv) for name in list_models() for conv in ("static", "eam-rcr", "dynet")]
NETWORKS += [("mobilenet_v1", conv) for conv in CONVS if ("mobilenet_v1", conv) not in NETWORKS]


@pytest.mark.parametrize(("name", "conv"), NETWORKS)
def test_every_network_of_the_library_answers_as_before(name, conv):
    torch.manual_seed(0)
    width_mult, stem_stride = 0.5 if "shuffle" in name else 0.25, 2 if name.startswith("fcn") else 1
    model = trained(create_model(name, conv, num_classes=4, width_mult=width_mult, stem_stride=stem_stride))
    images = torch.randn(3, 3, 32, 32)
    folded = fold_batch_norm(model, images[:1])
    assert len(norms(folded)) == stays(model)
    assert_same(folded, model, images)


# How many norms do not follow a convolution alone: those of densenet read what was concatenated.
@pytest.mark.parametrize(
    ("name", "left"),
    [
        ("resnet18", 0),
        ("mobilenet_v2", 0),
        ("mobilenet_v3_small", 0),
        ("densenet121", 62),
        ("efficientnet_b0", 0),
        ("shufflenet_v2_x0_5", 0),
    ],
)
@pytest.mark.parametrize("dynamic", [False, True])
def test_torchvisions_networks_answer_as_before(name, left, dynamic):
    torch.manual_seed(0)
    model = trained(pytest.importorskip("torchvision").models.get_model(name, weights=None))
    if dynamic:
        model = convert(model, num_kernels=2)
    images = torch.randn(2, 3, 64, 64)
    folded = fold_batch_norm(model, images[:1])
    assert len(norms(folded)) == left
    assert_same(folded, model, images)


# RepGhost has a norm in a branch of its own, without a convolution.
@pytest.mark.parametrize(("name", "left"), [("mobilenetv3_small_050", 0), ("regnety_002", 0), ("repghostnet_050", 32)])
def test_timms_norms_leave_their_activation(name, left):
    torch.manual_seed(0)
    model = trained(pytest.importorskip("timm").create_model(name, pretrained=False))
    model = convert(model, num_kernels=2, output_size=2)
    images = torch.randn(2, 3, 64, 64)
    folded = fold_batch_norm(model, images[:1])
    assert len(norms(folded)) == left
    assert_same(folded, model, images)


@pytest.mark.parametrize("kernels", [1, 4, 8])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_k_equal_to_o_is_no_special_case(kernels, bias, affine, dtype):
    torch.manual_seed(0)
    layer = DynamicConv2d(8, 4, 3, stride=2, padding=1, groups=2, bias=bias, num_kernels=kernels)
    model = trained(nn.Sequential(layer, nn.BatchNorm2d(4, eps=0.1, affine=affine)).to(dtype))
    images = torch.randn(5, 8, 6, 6, dtype=dtype)
    folded = fold_batch_norm(model, images)
    assert (folded[0].weight.shape, folded[0].bias.shape) == (layer.weight.shape, (kernels, 4))
    assert folded[0].weight.dtype == folded[0].bias.dtype == dtype
    assert_same(folded, model, images, 1e-6 if dtype == torch.float32 else 1e-14)


@torch.no_grad()
def test_what_pytorch_offers_is_wrong_for_a_dynamic_layer():
    torch.manual_seed(0)
    model = trained(nn.Sequential(DynamicConv2d(8, 4, 3, bias=True, num_kernels=4), nn.BatchNorm2d(4)))
    images = torch.randn(5, 8, 6, 6)
    expected, wrong = model(images), torch.nn.utils.fusion.fuse_conv_bn_eval(*model)(images)
    assert (wrong - expected).abs().max() > 0.05 * expected.abs().max()
    assert_same(fold_batch_norm(model, images), model, images)


def test_the_model_is_left_alone_and_its_modes_and_flags_are_kept():
    model = trained(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), DynamicConv2d(8, 8, 1), nn.BatchNorm2d(8)))
    model.train()
    model[1].eval()
    model[2].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    folded = fold_batch_norm(model, torch.randn(1, 3, 8, 8))
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert [module.training for module in model] == [module.training for module in folded] == [True, False, True, True]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert [type(module) for module in folded] == [nn.Conv2d, nn.Identity, DynamicConv2d, nn.Identity]
    assert [p.requires_grad for p in (*folded[0].parameters(), folded[2].weight, folded[2].bias)] == [True] * 2 + [
        False
    ] * 2


class Block(nn.Module):
    """A convolution, a norm, and what ``use`` makes of them."""

    def __init__(self, use, conv=None):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1) if conv is None else conv
        self.norm, self.other, self.use = nn.BatchNorm2d(3), nn.BatchNorm2d(3), use

    def forward(self, x):
        return self.use(self, x)


def cached(self, x):
    self.last = self.conv(x)
    return self.norm(self.last)


def listed(self, x):
    seen = [self.conv(x)]
    self.seen = {"maps": tuple(seen)}
    return self.norm(seen[0])


def residual(self, x):
    y = self.conv(x)
    return self.norm(y) + y


def in_place(self, x):
    return self.norm(self.conv(x).mul_(2))


def before_it(self, x):
    y = self.conv(x)
    z = y.sigmoid()
    return self.norm(y) * z


USED_ELSEWHERE = {
    "added": residual,
    "read before": before_it,
    "by a view": lambda self, x: (lambda y: self.norm(y) + y[:, :1])(self.conv(x)),
    "detached": lambda self, x: (lambda y: self.norm(y) + y.detach().numpy().mean())(self.conv(x)),
    "by another norm": lambda self, x: (lambda y: self.norm(y) + self.other(y))(self.conv(x)),
    "by the same convolution": lambda self, x: (lambda y: self.norm(y) + self.conv(y))(self.conv(x)),
    "its answer returned": lambda self, x: (lambda y: torch.stack([self.norm(y), y]))(self.conv(x)),
    "changed in place": in_place,
    "activated": lambda self, x: self.norm(F.relu(self.conv(x))),
    "reshaped": lambda self, x: self.norm(self.conv(x).flip(2)),
    "kept": cached,
    "kept in a list": listed,
    "called twice": lambda self, x: self.norm(self.conv(x)) + self.conv(x),
    "normalised by two": lambda self, x: self.norm(self.conv(x)) + self.other(self.conv(2 * x)),
    "not of the norm alone": lambda self, x: self.norm(self.conv(x)) + self.norm(x),
    "its kernel too": lambda self, x: self.norm(self.conv(x)) + self.conv.weight.mean(),
    "its bias too": lambda self, x: self.norm(self.conv(x)) + self.conv.bias.sum(),
    "the norm's statistics": lambda self, x: self.norm(self.conv(x)) + self.norm.running_var.mean(),
    "the norm's scale": lambda self, x: self.norm(self.conv(x)) * self.norm.weight.sum(),
    "without its call": lambda self, x: self.norm.forward(self.conv(x)),
    "without the convolution's": lambda self, x: self.norm(self.conv.forward(x)),
}


@pytest.mark.parametrize("dynamic", [False, True])
@pytest.mark.parametrize("use", USED_ELSEWHERE)
def test_a_norm_whose_input_is_used_elsewhere_stays(use, dynamic):
    torch.manual_seed(0)
    conv = DynamicConv2d(3, 3, 1, bias=True) if dynamic else None
    block = Block(USED_ELSEWHERE[use], conv)
    # Beside one that can be folded, so that there is an answer to compare.
    model = trained(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), block))
    images = torch.randn(2, 3, 4, 4)
    folded = fold_batch_norm(model, images)
    assert norms(folded) == ["2.norm", "2.other"]
    assert_same(folded, model, images)
    with pytest.raises(ValueError, match="'norm' (is not alone|does not follow|or 'conv' has|does not run)"):
        fold_batch_norm(block, images)


class Pair(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        y = self.conv(input=x)
        assert y.shape[1] == 3 and y.dim() == 4  # what a tracer stumbles over, and reads no number
        return self.norm(input=F.dropout(y, 0.5, self.training))


class Twice(Pair):
    def forward(self, x):
        return super().forward(super().forward(x))


class Both(Pair):
    """Two tensors in a container."""

    def forward(self, x):
        return {"first": super().forward(x), "second": (x,)}["first"]


@pytest.mark.parametrize("block", [Pair, Twice, Both])
def test_a_pair_is_found_by_what_it_does(block):
    model = trained(block())
    images = torch.randn(2, 3, 4, 4)
    folded = fold_batch_norm(model, images)
    assert norms(folded) == []
    assert_same(folded, model, images)


@pytest.mark.parametrize(
    "returned", [lambda z, y: (z, y), lambda z, y: {"out": z, "aux": y}, lambda z, y: Answer(z, y)]
)
def test_what_the_model_returns_is_kept(returned):
    def use(self, x):
        y = self.conv(x)
        return returned(self.norm(y), y)

    with pytest.raises(ValueError, match="'norm' is not alone to use what 'conv' answers"):
        fold_batch_norm(Block(use), torch.zeros(1, 3, 4, 4))


class Answer:
    """Nothing that a tree of tensors is known to be made of."""

    def __init__(self, *tensors):
        self.tensors = tensors


def test_shared_convolutions_under_norms_of_their_own_stay_and_shared_pairs_do_not():
    conv, pair = nn.Conv2d(3, 3, 1), nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model = nn.Sequential(conv, nn.BatchNorm2d(3), conv, nn.BatchNorm2d(3), pair, pair)
    model = trained(model)
    images = torch.randn(2, 3, 4, 4)
    folded = fold_batch_norm(model, images)
    assert norms(folded) == ["1", "3"]
    assert folded[0] is folded[2] and folded[4] is folded[5]
    assert_same(folded, model, images)


def test_one_weight_of_two_layers_is_folded_into_neither():
    first, second = DynamicConv2d(3, 3, 1), DynamicConv2d(3, 3, 1)
    second.weight = first.weight
    model = trained(
        nn.Sequential(first, nn.BatchNorm2d(3), second, nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    )
    images = torch.randn(2, 3, 4, 4)
    folded = fold_batch_norm(model, images)
    assert_same(folded, model, images)
    assert "5" not in norms(folded)


class Sigmoid(nn.Module):
    def forward(self, input):
        return input.mean((2, 3))[:, :4].sigmoid()


def test_an_attention_that_does_not_sum_to_one_has_no_room_for_the_shift():
    model = trained(nn.Sequential(DynamicConv2d(4, 4, 1, attention=Sigmoid()), nn.BatchNorm2d(4)))
    with pytest.raises(ValueError, match="'1' follows '0', whose attention does not sum to one"):
        fold_batch_norm(model, torch.randn(2, 4, 3, 3))


class Standardised(nn.Conv2d):
    def forward(self, input):
        return self._conv_forward(input, self.weight - self.weight.mean(), self.bias)


class NormAndAct(nn.BatchNorm2d):
    def forward(self, input):
        return super().forward(input).relu()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((Standardised(3, 3, 1), nn.BatchNorm2d(3)), "'1' does not follow one convolution"),
        ((parametrizations.weight_norm(nn.Conv2d(3, 3, 1)), nn.BatchNorm2d(3)), "'1' does not follow one convolution"),
        ((DyNetConv2d(3, 3, 1), nn.BatchNorm2d(3)), "'1' does not follow one convolution"),
        ((nn.ConvTranspose2d(3, 3, 1), nn.BatchNorm2d(3)), "'1' does not follow one convolution"),
        ((nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1)), "'0' does not follow one convolution"),
        ((nn.Conv2d(3, 3, 1), NormAndAct(3)), "'1' is a NormAndAct"),
        ((nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, track_running_stats=False)), "'1' keeps no running statistics"),
        ((nn.Conv2d(3, 3, 1), nn.GroupNorm(3, 3)), "model = Sequential has no batch norm to fold."),
        ((nn.Linear(4, 4),), "has no batch norm to fold."),
        ([nn.BatchNorm2d(3)] * 1 + [nn.BatchNorm2d(3) for _ in range(6)], "'4' does not follow one convolution; …"),
    ],
)
def test_where_nothing_can_be_folded_it_says_why(layers, message):
    with pytest.raises(ValueError, match=message):
        fold_batch_norm(nn.Sequential(*layers), torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize("index", [0, 1])
def test_a_hook_is_not_lost_in_silence(index):
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    model[index].register_forward_hook(lambda *args: None)
    with pytest.raises(ValueError, match=f"layer '{index}' carries hooks"):
        fold_batch_norm(model, torch.zeros(1, 3, 4, 4))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.zeros(3, 4, 4), r"images has shape \[3, 4, 4\]; allowed is a tensor \[N, C, H, W\]"),
        (torch.zeros(0, 3, 4, 4), "images has shape .* with at least one image"),
        ([torch.zeros(1, 3, 4, 4)], "images is a list"),
    ],
)
def test_bad_images_are_named(images, message):
    with pytest.raises(ValueError, match=message):
        fold_batch_norm(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)), images)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.SyncBatchNorm])
def test_any_layout_and_the_norm_of_several_devices(norm, memory_format):
    model = nn.Sequential(DynamicConv2d(3, 8, 3), learned(norm(8)), nn.ReLU(inplace=True)).eval()
    model = model.to(memory_format=memory_format)
    images = torch.randn(2, 3, 6, 6).to(memory_format=memory_format)
    folded = fold_batch_norm(model, images)
    assert isinstance(folded[1], nn.Identity)
    assert_same(folded, model, images)


def test_half_precision_keeps_its_dtype():
    model = trained(nn.Sequential(DynamicConv2d(8, 4, 1), nn.BatchNorm2d(4)).bfloat16())
    images = torch.randn(2, 8, 4, 4, dtype=torch.bfloat16)
    folded = fold_batch_norm(model, images)
    assert {tensor.dtype for tensor in folded.parameters()} == {torch.bfloat16}
    assert_same(folded, model, images, 0.02)


@pytest.mark.parametrize(
    ("name", "conv"), [("mobilenet_v1", "eam-rcr"), ("dy_mobile", "dynet"), ("resnet18", "dynamic")]
)
def test_freezing_folds_where_it_is_asked(name, conv):
    torch.manual_seed(0)
    model = trained(create_model(name, conv, num_classes=4, width_mult=0.25, stem_stride=1))
    batches = [(torch.randn(n, 3, 32, 32), torch.zeros(n, dtype=torch.long)) for n in (4, 2)]
    plain, folded = freeze(model, batches), freeze(model, batches, fold=True)
    assert norms(plain.model) and not norms(folded.model)
    assert (folded.accuracy_before, folded.accuracy_after) == (plain.accuracy_before, plain.accuracy_after)
    assert_same(folded.model, plain.model, batches[0][0])
    assert norms(freeze(model, (images for images, _ in batches), fold=True).model) == []
