import copy

import pytest
import torch
import torch.nn.functional as F

from eamlib.layers import (
    EAMAttention,
    KernelAttention,
    SqueezeExcitation,
    UniformAttention,
    conv_builder,
    set_temperature,
)


@pytest.fixture
def maps():
    return torch.randn(3, 16, 9, 7, generator=torch.Generator().manual_seed(0))


def test_squeeze_excitation_gates_channels(maps):
    layer = SqueezeExcitation(16, reduction=4)
    first, _, second, _ = layer.excite
    gate = torch.sigmoid(second(F.relu(first(maps.mean((2, 3))))))
    torch.testing.assert_close(layer(maps), maps * gate[:, :, None, None])
    assert first.out_features == 4


def test_squeeze_excitation_takes_another_width_and_gate(maps):
    layer = SqueezeExcitation(16, hidden=5, gate=torch.nn.Hardsigmoid)
    first, _, second, gate = layer.excite
    assert first.out_features == second.in_features == 5 and isinstance(gate, torch.nn.Hardsigmoid)
    assert layer(maps).shape == maps.shape


def test_kernel_attention_is_what_the_paper_says(maps):
    attention = KernelAttention(16, num_kernels=3, reduction=4, temperature=2.0)
    first, _, second = attention.predict
    logits = F.relu(maps.mean((2, 3)) @ first.weight.T) @ second.weight.T + second.bias
    torch.testing.assert_close(attention(maps), torch.softmax(logits / 2, dim=1))
    assert first.bias is None and first.out_features == 4


def test_eam_reads_its_channels_and_nothing_else(maps):
    attention = EAMAttention(16, channels=2, seed=0)
    before = attention(maps)
    unread = [c for c in range(16) if c not in attention.select.indices.tolist()]
    maps[:, unread] += 10
    torch.testing.assert_close(attention(maps), before)
    maps[:, attention.select.indices] += 10
    assert not torch.allclose(attention(maps), before)


@pytest.mark.parametrize(("pool", "function"), [("avg", F.adaptive_avg_pool2d), ("max", F.adaptive_max_pool2d)])
def test_eam_pools_to_p_by_p(maps, pool, function):
    attention = EAMAttention(16, select="cgr", channels=4, pool=pool, output_size=3)
    groups = maps.unflatten(1, (4, 4)).mean(2)
    torch.testing.assert_close(attention.descriptor(maps), function(groups, 3).flatten(1))


def test_eam_size_does_not_grow_with_the_channels():
    def parameters(channels):
        return sum(p.numel() for p in EAMAttention(channels, num_kernels=4).parameters())

    assert parameters(16) == parameters(1024) == 4 * 25 * 10 + 10 * 4 + 4


@pytest.mark.parametrize("make", [KernelAttention, EAMAttention])
def test_rows_sum_to_one_and_maps_may_be_small(make):
    rows = make(8)(torch.randn(5, 8, 1, 1))
    assert rows.shape == (5, 4)
    torch.testing.assert_close(rows.sum(1), torch.ones(5))


@pytest.mark.parametrize("make", [KernelAttention, EAMAttention])
def test_temperature_flattens_and_is_saved(make, maps):
    attention = make(16)
    sharp = attention(maps)
    set_temperature(attention, 30)
    flat = attention(maps)
    assert (flat - 0.25).abs().max() < (sharp - 0.25).abs().max()
    restored = make(16)
    restored.load_state_dict(attention.state_dict())
    assert restored.temperature.item() == 30
    torch.testing.assert_close(copy.deepcopy(attention)(maps), flat)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_an_allowed_temperature_is_held_and_another_changes_nothing(dtype):
    attention = KernelAttention(4, dtype=dtype)
    for temperature in torch.finfo(dtype).tiny, torch.finfo(dtype).max:
        set_temperature(attention, temperature)
        assert 0 < attention.temperature.item() < torch.inf
    both = torch.nn.ModuleList([attention, KernelAttention(4, dtype=torch.float16)])
    set_temperature(both, 2)
    with pytest.raises(ValueError, match="float16 holds"):
        set_temperature(both, 1e-20 if dtype != torch.float16 else 1e5)
    assert {one.temperature.item() for one in both} == {2}  # none was changed


@pytest.mark.parametrize("make", [KernelAttention, EAMAttention])
def test_device_and_dtype_reach_everything(make):
    attention = make(8, device="meta", dtype=torch.bfloat16)
    assert {t.device.type for t in attention.state_dict().values()} == {"meta"}
    assert {p.dtype for p in attention.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KernelAttention(0), "in_channels = 0"),
        (lambda: KernelAttention(8, num_kernels=0), "num_kernels = 0 must be an integer of at least 1"),
        (lambda: KernelAttention(8, reduction=0), "reduction = 0"),
        (lambda: KernelAttention(8, temperature=0), "temperature = 0 must be a finite number above 0"),
        (lambda: KernelAttention(8, temperature=-1.0), "temperature = -1.0"),
        (lambda: KernelAttention(8, temperature=float("nan")), "temperature = nan"),
        (lambda: KernelAttention(8, temperature=1e-46), "temperature = 1e-46 .*that float32 holds: from 1.18e-38 to"),
        (lambda: KernelAttention(8, temperature=10**400), "temperature = 1000"),
        (lambda: KernelAttention(8, temperature=1e-6, dtype=torch.float16), "that float16 holds: from 6.1e-05 to"),
        (lambda: EAMAttention(8, temperature=1e39), r"temperature = 1e\+39"),
        (lambda: EAMAttention(8, num_kernels=0), "num_kernels = 0"),
        (lambda: EAMAttention(8, temperature=0), "temperature = 0"),
        (lambda: EAMAttention(8, hidden=0), "hidden = 0"),
        (lambda: EAMAttention(8, output_size=0), "output_size = 0"),
        (lambda: EAMAttention(8, pool="average"), "pool = 'average' is unknown.*avg, max"),
        (lambda: EAMAttention(8, select="cgrmax"), "Did you mean 'cgr-max'"),
        (lambda: EAMAttention(3), "selects more than the 3 channels.*leaves the first convolution static"),
        (lambda: SqueezeExcitation(0), "channels = 0"),
        (lambda: SqueezeExcitation(8, hidden=0), "hidden = 0 must be an integer of at least 1"),
        (lambda: SqueezeExcitation(8)(torch.zeros(1, 4, 2, 2)), r"allowed is \[B, 8, H, W\]"),
        (lambda: KernelAttention(8)(torch.zeros(1, 4, 2, 2)), r"input has shape \[1, 4, 2, 2\]"),
        (lambda: set_temperature(KernelAttention(8), 0), "temperature = 0"),
        (lambda: set_temperature(KernelAttention(8), 1e-46), "temperature = 1e-46"),
        (lambda: set_temperature(torch.nn.Linear(1, 1), 1), "Linear holds no kernel attention"),
    ],
)
def test_bad_input_is_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_placebo_weighs_all_kernels_alike():
    attention = UniformAttention(8, num_kernels=5)
    for dtype in (torch.float32, torch.bfloat16):
        weights = attention(torch.randn(3, 8, 4, 4, dtype=dtype))
        assert (
            weights.dtype == dtype and weights.shape == (3, 5) and (weights == torch.tensor(1 / 5, dtype=dtype)).all()
        )
    assert not list(attention.parameters())
    layer = conv_builder("dynamic-uniform", num_kernels=3)(8, 6, 1)
    maps = torch.randn(2, 8, 4, 4)
    torch.testing.assert_close(layer(maps), F.conv2d(maps, layer.weight.mean(0)))
    layer(maps).sum().backward()
    assert layer.weight.grad.abs().sum() > 0  # its kernels are trained like any


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: UniformAttention(0), "in_channels = 0"),
        (lambda: UniformAttention(8, num_kernels=0), "num_kernels = 0"),
        (lambda: UniformAttention(8)(torch.zeros(1, 7, 2, 2)), r"allowed is \[B, 8, H, W\]"),
        (lambda: conv_builder("dynamic-uniform", temperature=3.0), "option 'temperature' is unknown"),
    ],
)
def test_a_bad_placebo_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
