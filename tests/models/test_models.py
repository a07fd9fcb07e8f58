import copy

import pytest
import torch
from torch import nn

from eamlib import create_model, list_models
from eamlib.layers import CONVS, DynamicConv2d, conv_builder
from eamlib.models.resnet import resnet_features
from eamlib.models.shufflenet_v2 import channel_shuffle
from eamlib.models.widths import multiple_of_eight

CLASSES = 7
# Every network, made of each kind of layer; and one network, made of every convolution.
NETWORKS_AND_CONVS = [(name, conv) for name in list_models() for conv in ("static", "eam-rcr", "dynet")]
NETWORKS_AND_CONVS += [("mobilenet_v1", conv) for conv in CONVS if ("mobilenet_v1", conv) not in NETWORKS_AND_CONVS]
FAMILIES = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_small", "shufflenet_v2", "resnet18", "fcn_resnet18")


def small(name, conv="static", **options):
    defaults = {
        "num_classes": CLASSES,
        "width_mult": 0.5 if "shuffle" in name else 0.25,
        "stem_stride": 2 if name.startswith("fcn") else 1,  # 1 would leave maps of 16 × 16, which take long
    }
    return create_model(name, conv, **defaults | options)


def images(batch=4):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(0))


def settled(name, conv):
    """A small network in eval mode whose running statistics are those of the images, so that its output is alive."""
    torch.manual_seed(0)
    model = small(name, conv)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        model(images())
    return model.eval()


def output_shape(name):
    return (4, CLASSES, 32, 32) if name.startswith("fcn") else (4, CLASSES)


@pytest.mark.parametrize(("name", "conv"), NETWORKS_AND_CONVS)
def test_every_network_of_every_convolution_trains_a_step(name, conv):
    torch.manual_seed(0)
    model = small(name, conv)
    logits = model(images())
    assert logits.shape == output_shape(name)
    logits.square().sum().backward()
    without = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert not without
    assert sum(bool(p.grad.any()) for p in model.parameters()) >= 0.95 * len(list(model.parameters()))


@pytest.mark.parametrize(("name", "conv"), NETWORKS_AND_CONVS)
@torch.no_grad()
def test_every_network_takes_bfloat16_channels_last_and_its_state_dict(name, conv):
    # bfloat16 on a fresh network: normalising by the variances of tiny maps would blow the rounding up.
    fresh = small(name, conv).eval()
    expected = fresh.features(images())
    halved = copy.deepcopy(fresh).bfloat16()
    assert halved(images().bfloat16()).dtype == torch.bfloat16
    assert (halved.features(images().bfloat16()).float() - expected).norm() < 0.08 * expected.norm()

    model = settled(name, conv)
    expected = model(images())
    fresh.load_state_dict(model.state_dict())
    torch.testing.assert_close(fresh(images()), expected, rtol=0, atol=0)

    last = images().contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(last), expected, rtol=1e-4, atol=1e-4)
    model = model.to(memory_format=torch.channels_last)
    torch.testing.assert_close(model(last), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_trains_under_autocast(name):
    torch.manual_seed(0)
    model = small(name, "dynamic")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(images())
    logits.float().square().sum().backward()
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in model.parameters())


# One network of each family, and between them every kind of convolution and selection. Slow, for tracing is; no other
# test would tell that a look at a number breaks the graph of a network.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "conv"),
    list(zip(FAMILIES, ("eam-cgr", "dynamic", "eam-rcr", "eam-slice1", "eam-cgr-max", "eam-stride"), strict=True)),
)
@pytest.mark.filterwarnings("default")  # the compiler's own
@torch.no_grad()
def test_the_compiler_sees_one_graph(name, conv):
    torch.compiler.reset()
    model = settled(name, conv)
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    # A graph runs the dynamic convolutions in another way, which rounds otherwise.
    torch.testing.assert_close(compiled(images()), model(images()), rtol=1e-3, atol=1e-4)


def test_narrow_static_parameters_equal_torchvision():
    models = pytest.importorskip("torchvision.models")
    for name in ("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"):
        with torch.device("meta"):
            reference = models.get_model(name, weights=None, width_mult=0.35)
            assert parameters(create_model(name, width_mult=0.35)) == parameters(reference)


def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_mobilenet_v1_matches_the_count_of_its_paper():
    # Howard et al. 2017, table 6: 4.2, 2.6, 1.3 and 0.5 million parameters at widths 1, 0.75, 0.5 and 0.25.
    for width, millions in ((1.0, 4.2), (0.75, 2.6), (0.5, 1.3), (0.25, 0.5)):
        assert round(parameters(create_model("mobilenet_v1", width_mult=width)) / 1e6, 1) == millions


# Zhang's narrow networks keep more than that static, as their own docstrings say.
@pytest.mark.parametrize("name", [n for n in list_models() if not n.endswith(("_mobile", "_shuffle"))])
def test_stem_and_classifier_stay_static_and_all_else_is_dynamic(name):
    options = {"expand_first": True} if name == "mobilenet_v2" else {}
    model, static = small(name, "dynamic", **options), small(name, **options)
    plain = [n for n, m in model.named_modules() if isinstance(m, nn.Conv2d)]
    assert plain == (["features.0.0", "classifier.2"] if name.startswith("fcn") else ["features.0.0"])
    convolutions = sum(isinstance(m, nn.Conv2d) for m in static.modules())
    assert sum(isinstance(m, DynamicConv2d) for m in model.modules()) == convolutions - len(plain)


@pytest.mark.parametrize(
    ("name", "stem_stride", "size"),
    [
        ("mobilenet_v1", 2, 1),
        ("mobilenet_v1", 1, 2),
        ("mobilenet_v2", 2, 1),
        ("mobilenet_v2", 1, 4),
        ("mobilenet_v3_small", 1, 2),
        ("mobilenet_v3_large", 1, 2),
        ("shufflenet_v2", 2, 1),
        ("shufflenet_v2", 1, 4),
        ("resnet18", 2, 1),
        ("resnet18", 1, 4),
        ("resnet50", 1, 4),
        ("fcn_resnet18", 2, 4),
        ("fcn_resnet50", 1, 16),
    ],
)
@torch.no_grad()
def test_stem_stride_decides_the_last_map_of_small_images(name, stem_stride, size):
    model = small(name, stem_stride=stem_stride).eval()
    assert model.features(images(1)).shape[2:] == (size, size)


def test_shuffling_interleaves_the_halves():
    channels = torch.arange(6.0).reshape(1, 6, 1, 1)
    assert channel_shuffle(channels, 2).flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_segmentation_keeps_an_odd_size():
    assert small("fcn_resnet18").eval()(torch.zeros(1, 3, 37, 50)).shape == (1, CLASSES, 37, 50)


def test_a_seed_fixes_the_channels_that_rcr_reads():
    def draw(seed):
        model = create_model("mobilenet_v1", "eam-rcr", width_mult=0.25, seed=seed)
        return [m.indices.tolist() for m in model.modules() if hasattr(m, "indices")]

    assert draw(1) == draw(1) != draw(2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mobilnet_v1"}, "name = 'mobilnet_v1' is unknown. Did you mean 'mobilenet_v1'"),
        ({"conv": "eam-rrc"}, "conv = 'eam-rrc' is unknown. Did you mean 'eam-rcr'"),
        ({"num_classes": 0}, "num_classes = 0"),
        ({"width_mult": 0}, "width_mult = 0"),
        ({"width_mult": float("inf")}, "width_mult = inf"),
        ({"stem_stride": 3}, "stem_stride = 3 must be 1 or 2"),
        ({"width_mult": 0.01}, "width_mult = 0.01 leaves a layer of 32 channels without any; allowed is 0.03125 or"),
        ({"name": "mobilenet_v2", "width_mult": 0.05}, "width_mult = 0.05 leaves a layer of 16 channels without any"),
        ({"name": "mobilenet_v3_small", "width_mult": 1e-9}, "width_mult = 1e-09 leaves a layer of 16"),
        ({"name": "resnet50", "width_mult": 0.015}, "width_mult = 0.015 leaves a layer of 64 channels"),
        ({"name": "fcn_resnet18", "width_mult": 0.015}, "width_mult = 0.015 leaves a layer of 64 channels"),
        ({"name": "shufflenet_v2", "width_mult": 0.75}, "width_mult = 0.75 .* Allowed: 0.5, 1.0, 1.5, 2.0"),
        ({"conv": "dynamic", "num_kernels": 0}, "num_kernels = 0"),
        ({"conv": "dynamic", "temperature": -1}, "temperature = -1"),
        ({"conv": "eam-rcr", "channels": 99}, "channels = 99 selects more than the 32 channels"),
        ({"conv": "eam-rcr", "chanels": 4}, "option 'chanels' is unknown to conv = 'eam-rcr'. Did you mean 'channels'"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(**({"name": "mobilenet_v1"} | arguments))


def test_no_channels_to_scale_are_named():
    with pytest.raises(ValueError, match="channels = 0 must be an integer of at least 1"):
        multiple_of_eight(0)


@pytest.mark.parametrize("depth", [18, 50])
def test_a_dilated_resnet_is_the_strided_one_made_finer(depth):
    torch.manual_seed(0)
    strided, dilated = (
        resnet_features(depth, conv_builder("static"), 0.125, 1, dilated=choice)[0].eval() for choice in (False, True)
    )
    dilated.load_state_dict(strided.state_dict())
    x = images(1).double()
    coarse, fine = strided.double()(x), dilated.double()(x)
    assert fine.shape[2:] == (16, 16) and coarse.shape[2:] == (4, 4)
    torch.testing.assert_close(fine[..., ::4, ::4], coarse)
