"""A network becomes a graph of torch.fx, in which a layer of ours is one node; torchvision takes features from it."""

import pytest
import torch

from eamlib import convert, create_model
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, KernelAttention

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
MAPS = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(0))
LAYERS = {
    "dynamic": lambda: DynamicConv2d(8, 6, 3, attention=KernelAttention(8)),
    "eam": lambda: DynamicConv2d(8, 6, 3, attention=EAMAttention(8, select="cgr")),
    "dynet": lambda: DyNetConv2d(8, 6, 3),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_is_one_node_and_answers_alike_whatever_comes(name):
    network = torch.nn.Sequential(LAYERS[name](), torch.nn.ReLU()).eval()
    graph = torch.fx.symbolic_trace(network)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1"]
    for maps in (MAPS, MAPS[:1, :, :4], MAPS[:0]):
        torch.testing.assert_close(graph(maps), network(maps), rtol=0, atol=0)
    with pytest.raises(ValueError, match="input has"):
        graph(MAPS[:, :5])


@pytest.mark.parametrize(
    ("name", "conv"),
    [
        ("mobilenet_v1", "dynamic"),
        ("mobilenet_v3_small", "eam-cgr"),
        ("resnet18", "dynet"),
        ("shufflenet_v2", "eam-rcr"),
        ("dy_shuffle", "dynet"),
    ],
)
def test_a_network_is_traced_and_learns_alike(name, conv):
    torch.manual_seed(0)
    model = create_model(name, conv, num_classes=4, width_mult=0.5 if "shuffle" in name else 0.25).eval()
    outputs = [run(IMAGES) for run in (model, torch.fx.symbolic_trace(model))]
    torch.testing.assert_close(*outputs, rtol=0, atol=0)
    parameters = list(model.parameters())
    gradients = [torch.autograd.grad(output.square().sum(), parameters, allow_unused=True) for output in outputs]
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


@pytest.mark.parametrize("conv", ["dynamic", "eam-rcr"])
def test_torchvision_takes_the_features_of_a_converted_network(conv):
    models = pytest.importorskip("torchvision.models")
    from torchvision.models.feature_extraction import create_feature_extractor

    model = convert(models.resnet18(num_classes=4), conv).eval()
    names, seen = ("layer1.0.conv2", "layer2"), {}
    for name in names:
        model.get_submodule(name).register_forward_hook(lambda *call, name=name: seen.update({name: call[2].clone()}))
    features = create_feature_extractor(model, list(names))(IMAGES)
    model(IMAGES)
    torch.testing.assert_close(features, seen, rtol=0, atol=0)
