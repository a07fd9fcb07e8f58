import pytest
import torch

from eamlib import create_model, list_models
from eamlib.layers import CONVS, DynamicConv2d


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("name", list_models())
def test_every_network_of_every_convolution_trains_a_step(name, conv):
    torch.manual_seed(0)
    model = create_model(name, conv, num_classes=7, width_mult=0.25, stem_stride=1)
    logits = model(torch.randn(2, 3, 32, 32))
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_static_parameters_equal_torchvision():
    models = pytest.importorskip("torchvision.models")
    theirs = sum(p.numel() for p in models.mobilenet_v2().parameters())
    assert sum(p.numel() for p in create_model("mobilenet_v2").parameters()) == theirs
    narrow = sum(p.numel() for p in models.mobilenet_v2(width_mult=0.35).parameters())
    assert sum(p.numel() for p in create_model("mobilenet_v2", width_mult=0.35).parameters()) == narrow


def test_mobilenet_v1_matches_the_count_of_its_paper():
    # Howard et al. 2017, table 6: 4.2, 2.6, 1.3 and 0.5 million parameters at widths 1, 0.75, 0.5 and 0.25.
    for width, millions in ((1.0, 4.2), (0.75, 2.6), (0.5, 1.3), (0.25, 0.5)):
        count = sum(p.numel() for p in create_model("mobilenet_v1", width_mult=width).parameters())
        assert round(count / 1e6, 1) == millions


@pytest.mark.parametrize("name", list_models())
def test_stem_and_classifier_stay_static_and_all_else_is_dynamic(name):
    model = (
        create_model(name, "dynamic", expand_first=True) if name == "mobilenet_v2" else create_model(name, "dynamic")
    )
    plain = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)]
    assert plain == ["features.0.0"]
    static = create_model(name, "static", expand_first=True) if name == "mobilenet_v2" else create_model(name)
    convolutions = sum(isinstance(m, torch.nn.Conv2d) for m in static.modules())
    assert sum(isinstance(m, DynamicConv2d) for m in model.modules()) == convolutions - 1


def test_stem_stride_keeps_small_images_large():
    model = create_model("mobilenet_v1", width_mult=0.25, stem_stride=1)
    assert model.features(torch.zeros(1, 3, 32, 32)).shape[2:] == (2, 2)


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
        ({"conv": "dynamic", "num_kernels": 0}, "num_kernels = 0"),
        ({"conv": "dynamic", "temperature": -1}, "temperature = -1"),
        ({"conv": "eam-rcr", "channels": 99}, "channels = 99 selects more than the 32 channels"),
        ({"conv": "eam-rcr", "chanels": 4}, "option 'chanels' is unknown to conv = 'eam-rcr'"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_model(**({"name": "mobilenet_v1"} | arguments))
