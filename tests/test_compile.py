"""``torch.compile``: one graph a network, and no graph a batch size."""

import shutil

import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention


@pytest.fixture(autouse=True)
def fresh_compiler():
    torch.compiler.reset()
    torch.manual_seed(0)
    yield
    torch.compiler.reset()


def maps(batch, channels=8, size=8):
    return torch.randn(batch, channels, size, size)


def layers():
    """Each kind of dynamic convolution, with each attention, of every shape that is run in a way of its own."""
    dense, depthwise = {"kernel_size": 3, "padding": 1}, {"kernel_size": 3, "stride": 2, "padding": 1, "groups": 8}
    return nn.Sequential(
        DynamicConv2d(8, 8, **dense),
        DynamicConv2d(8, 8, 1, attention=EAMAttention(8, select="rcr")),
        DynamicConv2d(8, 8, 1, attention=EAMAttention(8, select="cgr")),
        DyNetConv2d(8, 8, **dense, bias=True),
        DyNetConv2d(8, 8, 1),
        DynamicConv2d(8, 8, **depthwise, attention=EAMAttention(8, select="cgr-max", pool="max")),
    )


def gradients(run, model, x):
    weights = torch.linspace(-1, 1, x.shape[0]).view(-1, 1, 1, 1)
    return torch.autograd.grad((run(x) * weights).square().sum(), list(model.parameters()))


@torch.no_grad()
def test_a_second_batch_asks_for_a_graph_that_serves_every_other():
    counter, model, made = CompileCounterWithBackend("eager"), layers().eval(), []
    compiled = torch.compile(model, backend=counter, fullgraph=True)
    for batch in (2, 3, 5, 8):
        x = maps(batch)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
        made.append(counter.frame_count)
    assert made == [1, 2, 2, 2]


def test_one_graph_serves_every_batch_forward_and_backward():
    counter, model = CompileCounterWithBackend("aot_eager"), layers().train()
    compiled = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for batch in (2, 5):
        x = maps(batch)
        torch.testing.assert_close(compiled(x), model(x), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(gradients(compiled, model, x), gradients(model, model, x), rtol=1e-3, atol=1e-4)
    assert counter.frame_count == 1


@pytest.mark.slow  # a minute of C++
def test_compiled_to_machine_code_it_learns_alike():
    if not shutil.which("g++"):
        pytest.skip("needs a C++ compiler")
    model = nn.Sequential(
        DynamicConv2d(3, 8, 3, attention=EAMAttention(3, channels=3)), nn.ReLU(), DynamicConv2d(8, 4, 1, bias=True)
    )
    compiled = torch.compile(model, fullgraph=True, dynamic=True)
    for batch in (2, 5):
        x = maps(batch, 3, 9)
        torch.testing.assert_close(compiled(x), model(x))
        torch.testing.assert_close(gradients(compiled, model, x), gradients(model, model, x))
