import pytest
import torch
from torch import nn

from eamlib import cost, create_model
from eamlib.layers import DynamicConv2d, EAMAttention, KernelAttention

pytest.importorskip("fvcore")


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


def test_attention_alone_is_attention():
    assert cost(KernelAttention(8), (8, 4, 4)).by_part["attention"] > 0


@pytest.mark.parametrize("size", [(3, 224), (3, 0, 224), (3, 22.4, 224)])
def test_bad_input_size_is_named(size):
    with pytest.raises(ValueError, match="input_size = .* must be"):
        cost(nn.Conv2d(3, 8, 3), size)
