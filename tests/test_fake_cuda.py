"""Networks made on a GPU that is not there: tensors without numbers say whether everything lies on one device."""

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from eamlib import create_model, list_models
from eamlib.layers import CONVS
from eamlib.models import own_conv

WIDTHS = {"shufflenet_v2": 0.5, "dy_shuffle": 0.5, "fix_shuffle": 0.5}


@pytest.fixture(autouse=True)
def default_dtype():
    yield
    torch.set_default_dtype(torch.float32)


def forward(name, conv, dtype, training, memory_format):
    torch.set_default_dtype(dtype)  # parameters of fake tensors cannot be converted
    with FakeTensorMode(), torch.device("cuda"):
        model = create_model(name, conv, num_classes=3, width_mult=WIDTHS.get(name, 0.25)).train(training)
        images = torch.empty(2, 3, 64, 64, dtype=dtype).to(memory_format=memory_format)
        output = model(images)
        # Backward would need a GPU's own threads.
        assert output.device.type == "cuda" and output.dtype == dtype
        assert {tensor.device.type for tensor in model.state_dict().values()} == {"cuda"}


@pytest.mark.parametrize("conv", CONVS)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_every_convolution_runs_where_it_was_made(conv, training, dtype, memory_format):
    forward("mobilenet_v1", conv, dtype, training, memory_format)


@pytest.mark.parametrize("name", list_models())
def test_every_network_runs_where_it_was_made(name):
    conv = own_conv(name)
    for of in {conv, "eam-rcr" if conv == "static" else conv}:
        forward(name, of, torch.float32, True, torch.channels_last)
