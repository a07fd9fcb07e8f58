"""``torch.compile``: one graph a network, and no graph a batch size."""

import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from eamlib import create_model
from eamlib.layers import DynamicConv2d, EAMAttention

CONVS = ("dynamic", "eam-rcr", "eam-cgr", "eam-cgr-max", "dynet")


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def images(batch, size=16):
    return torch.randn(batch, 3, size, size)


def some_blocks(conv):
    """The stem and two blocks of MobileNetV1, of 3 × 3 and 1 × 1 convolutions with and without stride."""
    return create_model("mobilenet_v1", conv, width_mult=0.25, stem_stride=1).features[:3]


def gradients(run, model, x):
    weights = torch.linspace(-1, 1, x.shape[0]).view(-1, 1, 1, 1)
    return torch.autograd.grad((run(x) * weights).square().sum(), list(model.parameters()))


def assert_one_graph_for_every_batch(model, size=16, dynamic=None):
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=dynamic)
    made = []
    for batch in (2, 3, 5, 8):
        x = images(batch, size)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
        made.append(counter.frame_count)
    # By default the first graph is for its batch alone, and the one that the second batch asks for is for every other.
    assert made[-1] - made[0] == (1 if dynamic is None else 0)
    return compiled


@pytest.mark.parametrize("conv", CONVS)
def test_one_graph_serves_every_batch_forward_and_backward(conv):
    model = some_blocks(conv).train()
    compiled = assert_one_graph_for_every_batch(model)
    x = images(6)
    torch.testing.assert_close(gradients(compiled, model, x), gradients(model, model, x), rtol=1e-3, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("conv", CONVS)
def test_one_graph_serves_every_batch_from_the_first_on(conv):
    assert_one_graph_for_every_batch(some_blocks(conv).eval(), dynamic=True)


@torch.no_grad()
@pytest.mark.parametrize("conv", ["eam-rcr", "dynet"])
def test_a_whole_network_is_one_graph_for_every_batch(conv):
    model = create_model("resnet18", conv, num_classes=5, width_mult=0.25, stem_stride=1)
    assert_one_graph_for_every_batch(model.eval())


def test_compiled_to_machine_code_it_learns_alike():
    if not shutil.which("g++"):
        pytest.skip("needs a C++ compiler")
    model = nn.Sequential(
        DynamicConv2d(3, 8, 3, attention=EAMAttention(3, channels=3)), nn.ReLU(), DynamicConv2d(8, 4, 1, bias=True)
    )
    compiled = torch.compile(model, fullgraph=True)
    for batch in (2, 5, 3):
        x = images(batch, 9)
        torch.testing.assert_close(compiled(x), model(x))
        torch.testing.assert_close(gradients(compiled, model, x), gradients(model, model, x))
