import pytest
import torch
from torch import nn

from eamlib import create_model
from eamlib.models import load_torchvision
from eamlib.models.torchvision_weights import NETWORKS

models = pytest.importorskip("torchvision.models")


def reference(name, **options):
    """torchvision's network with random weights and running statistics, in eval mode."""
    torch.manual_seed(0)
    if name.startswith("fcn"):
        options["weights_backbone"] = None
    model = models.get_model(name, weights=None, **options)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    return model.eval()


# Slow, for ten whole networks run twice: the one test that ours have torchvision's layers, in its order.
@pytest.mark.parametrize("name", NETWORKS)
@torch.no_grad()
def test_the_same_weights_give_the_same_outputs(name):
    theirs = reference(name)
    ours = load_torchvision(name, theirs.state_dict()).eval()
    image = torch.randn(2, 3, 65, 64)
    expected = theirs(image)
    expected = expected["out"] if name.startswith("fcn") else expected
    # Some of these random networks answer in thousandths: what counts is the error beside the largest logit.
    scale = expected.abs().max()
    torch.testing.assert_close(ours(image) / scale, expected / scale, rtol=0, atol=1e-5)


def test_a_name_makes_a_network_of_as_many_classes():
    weights = reference("resnet18", num_classes=5).state_dict()
    assert load_torchvision("resnet18", weights).classifier[-1].out_features == 5


def test_the_auxiliary_head_is_left_out():
    theirs = reference("fcn_resnet50", num_classes=5, aux_loss=True)
    ours = load_torchvision("fcn_resnet50", theirs.state_dict())
    torch.testing.assert_close(ours.classifier[2].weight, theirs.classifier[4].weight)


def without(name):
    return lambda weights: {key: tensor for key, tensor in weights.items() if key != name}


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ({}, lambda w: w | {"fc.weight": torch.zeros(9, 512)}, r"'fc.weight'\] of shape \[9, 512\] does not fit"),
        ({}, without("layer1.0.bn1.weight"), r"'layer1.0.bn1.bias'\] of shape \[64\] does not fit model's '\S+weight'"),
        ({}, without("fc.bias"), r"ends before the tensor for model's 'classifier.3.bias' of shape \[10\]"),
        ({}, lambda w: w | {"more": torch.zeros(3)}, r"'more'\] of shape \[3\] has no place in model"),
        ({}, lambda w: dict(sorted(w.items())), "'bn1.bias'.* does not fit"),
        ({}, lambda w: {}, "ends before the tensor for model's 'features.0.0.weight'"),
        ({"num_classes": 7}, dict, r"\[10, 512\] does not fit model's 'classifier.3.weight' of shape \[7, 512\]"),
        ({"width_mult": 0.5}, dict, r"\[64, 3, 7, 7\] does not fit model's \S+ of shape \[32, 3, 7, 7\]"),
        ({"conv": "dynamic"}, dict, r"\[64, 64, 3, 3\] does not fit model's \S+ of shape \[4, 64, 64, 3, 3\]"),
    ],
)
def test_weights_that_do_not_fit_are_named_and_nothing_is_written(model, change, message):
    weights = reference("resnet18", num_classes=10).state_dict()
    ours = create_model("resnet18", **({"num_classes": 10} | model))
    before = {key: tensor.clone() for key, tensor in ours.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        load_torchvision(ours, change(weights))
    for key, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)


def test_an_unknown_name_is_named():
    with pytest.raises(ValueError, match="model = 'resnet81' is unknown. Did you mean 'resnet18'"):
        load_torchvision("resnet81", {})
