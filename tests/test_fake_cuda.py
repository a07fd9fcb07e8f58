"""Networks made on a GPU that is not there: tensors without numbers say whether everything lies on one device."""

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from eamlib import create_model, list_models
from eamlib.layers import CONVS, conv_builder
from eamlib.models import own_conv


@pytest.fixture(autouse=True)
def on_a_gpu_that_is_not_there():
    with FakeTensorMode(), torch.device("cuda"):
        yield
    torch.set_default_dtype(torch.float32)


def forward(model, images):
    output = model(images)
    # Backward would need a GPU's own threads.
    assert output.device.type == "cuda" and output.dtype == images.dtype
    assert {tensor.device.type for tensor in model.state_dict().values()} == {"cuda"}


@pytest.mark.parametrize("conv", CONVS)
def test_every_convolution_runs_where_it_was_made(conv):
    build = conv_builder(conv)
    for dtype, layout, training in (
        (torch.float32, torch.contiguous_format, True),
        (torch.float16, torch.channels_last, True),
        (torch.bfloat16, torch.channels_last, False),
    ):
        torch.set_default_dtype(dtype)  # parameters of fake tensors cannot be converted
        layers = nn.Sequential(build(16, 16, 3, stride=2), build(16, 16, 3, groups=16), build(16, 8, 1))
        forward(layers.train(training), torch.empty(2, 16, 12, 12).to(memory_format=layout))


@pytest.mark.parametrize("name", list_models())
def test_every_network_runs_where_it_was_made(name):
    conv = own_conv(name)
    width = 0.5 if "shuffle" in name else 0.25
    model = create_model(name, "eam-rcr" if conv == "static" else conv, num_classes=3, width_mult=width)
    forward(model, torch.empty(2, 3, 64, 64).to(memory_format=torch.channels_last))
