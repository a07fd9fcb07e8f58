import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from eamlib.functional import STRATEGIES, dynamic_conv2d, fastest, tiled

WAYS = [name for name in STRATEGIES if name != "loop"]
ONE_GROUP = ("bmm", "tiled")  # and, for the second, depthwise layers
WAYS_AND_GROUPS = [(way, groups) for way in [*WAYS, "auto"] for groups in (1, 3) if groups == 1 or way not in ONE_GROUP]


def operands(groups=1, kernels=3, batch=4, bias=True):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.double, requires_grad=True)

    return {
        "input": draw(batch, 6, 9, 8),
        "weight": draw(kernels, 4 * groups, 6 // groups, 3, 1),
        "attention": draw(batch, kernels),
        "bias": draw(kernels, 4 * groups) if bias else None,
    }


def skip_if_not_compiled(strategy):
    if strategy == "tiled" and (reason := tiled.why_not(torch.zeros(1))):
        pytest.skip(f"tiled: {reason}")


def with_gradients(strategy, leaves, options):
    """The output and the gradients of a weighted sum of it."""
    output = dynamic_conv2d(**leaves, strategy=strategy, **options)
    inputs = [tensor for tensor in leaves.values() if tensor is not None]
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype, device=output.device).view_as(output)
    return output, *torch.autograd.grad((output * weights).sum(), inputs)


pair_or_int = st.one_of(st.integers(1, 3), st.tuples(st.integers(1, 3), st.integers(1, 3)))
layouts = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.to(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "every other pixel": lambda x: x.repeat_interleave(2, 3)[..., ::2],
    "expanded": lambda x: x[:, :1].expand_as(x),
}


@st.composite
def convolutions(draw):
    groups = draw(st.sampled_from([1, 1, 2, 3, 17]))
    group_channels, group_outputs = (1, 1) if groups > 3 else (draw(st.integers(1, 20)), draw(st.integers(1, 14)))
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 4)))
    dilation = draw(pair_or_int)
    padding = draw(
        st.one_of(st.integers(0, 2), st.tuples(st.integers(0, 2), st.integers(0, 2)), st.just("same"), st.just("valid"))
    )
    stride = 1 if padding == "same" else draw(pair_or_int)
    spread = (dilation, dilation) if isinstance(dilation, int) else dilation
    height, width = (draw(st.integers(d * (k - 1) + 1, 11)) for d, k in zip(spread, kernel, strict=True))
    return {
        "input": (draw(st.integers(0, 3)), groups * group_channels, height, width),
        "weight": (draw(st.integers(1, 5)), groups * group_outputs, group_channels, *kernel),
        "bias": draw(st.booleans()),
        "layout": draw(st.sampled_from(list(layouts))),
        "options": {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    }


@pytest.mark.parametrize("strategy", [*WAYS, "auto"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(drawn=convolutions())
def test_every_way_equals_the_loop_forward_and_backward(strategy, drawn):
    skip_if_not_compiled(strategy)
    generator = torch.Generator().manual_seed(1)

    def leaf(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.double)

    batch, kernels, outputs = drawn["input"][0], *drawn["weight"][:2]
    leaves = {
        "input": layouts[drawn["layout"]](leaf(*drawn["input"])).requires_grad_(),
        "weight": leaf(*drawn["weight"]).requires_grad_(),
        "attention": leaf(batch, kernels).requires_grad_(),
        "bias": leaf(kernels, outputs).requires_grad_() if drawn["bias"] else None,
    }
    depthwise = strategy == "tiled" and drawn["weight"][1:3] == (drawn["options"]["groups"], 1)
    if strategy in ONE_GROUP and drawn["options"]["groups"] > 1 and not depthwise:
        with pytest.raises(ValueError, match=f"strategy = '{strategy}' cannot run .* groups = "):
            dynamic_conv2d(**leaves, strategy=strategy, **drawn["options"])
        return
    with warnings.catch_warnings():  # PyTorch's own remark on padding an even kernel
        warnings.filterwarnings("ignore", "Using padding='same'")
        if batch == 0:
            expected = F.conv2d(leaves["input"], leaves["weight"][0], None, **drawn["options"])
            assert dynamic_conv2d(**leaves, strategy=strategy, **drawn["options"]).shape == expected.shape
            found = with_gradients(strategy, leaves, drawn["options"])
            assert all((gradient == 0).all() for gradient in found[1:])
            return
        found = with_gradients(strategy, leaves, drawn["options"])
        expected = with_gradients("loop", leaves, drawn["options"])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    ("strategy", "groups", "dtype", "tolerance"),
    [(*way, torch.float32, 1e-5) for way in WAYS_AND_GROUPS]
    + [(*way, torch.bfloat16, 0.05) for way in WAYS_AND_GROUPS if way[0] != "tiled"],
)
def test_short_numbers_stay_close_to_double(strategy, groups, dtype, tolerance):
    # Relative to the largest number of each result; bfloat16 has 8 bits of mantissa, and sums of 18 products here.
    exact = operands(groups)
    short = {name: tensor.detach().to(dtype).requires_grad_() for name, tensor in exact.items()}
    skip_if_not_compiled(strategy)
    options = {"groups": groups, "padding": 1}
    for found, expected in zip(
        with_gradients(strategy, short, options), with_gradients("loop", exact, options), strict=True
    ):
        assert found.dtype == dtype
        assert (found.double() - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("strategy", [*WAYS, "auto"])
def test_attention_alone_or_weight_alone_may_learn(strategy):
    skip_if_not_compiled(strategy)
    for learner in ("input", "weight", "attention"):
        leaves = {name: tensor.detach() for name, tensor in operands(bias=False).items() if tensor is not None}
        leaves[learner].requires_grad_()
        found, expected = (
            torch.autograd.grad(dynamic_conv2d(**leaves, strategy=way).square().sum(), leaves[learner])
            for way in (strategy, "loop")
        )
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_one_kernel_with_attention_one_is_a_plain_convolution():
    given = operands(kernels=1)
    given["attention"] = torch.ones(4, 1, dtype=torch.double)
    expected = F.conv2d(given["input"], given["weight"][0], given["bias"][0], padding=1)
    torch.testing.assert_close(dynamic_conv2d(**given, padding=1), expected)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_sample_gets_its_own_kernel(strategy):
    skip_if_not_compiled(strategy)
    given = operands()
    given["attention"] = torch.eye(3, dtype=torch.double)[[0, 1, 2, 0]]
    output = dynamic_conv2d(**given, strategy=strategy)
    for sample, kernel in enumerate((0, 1, 2, 0)):
        alone = F.conv2d(given["input"][sample], given["weight"][kernel], given["bias"][kernel])
        torch.testing.assert_close(output[sample], alone)


def test_chunks_of_the_batch_change_nothing(monkeypatch):
    given = operands()
    expected = dynamic_conv2d(**given, strategy="bmm")
    monkeypatch.setattr("eamlib.functional.ways._CHUNK", 3 * given["weight"][0].numel() * 8)  # three samples, then one
    torch.testing.assert_close(dynamic_conv2d(**given, strategy="bmm"), expected)


def test_auto_takes_what_is_predicted_and_can_run(monkeypatch):
    wide, small = torch.zeros(1, 8, 64, 64), torch.zeros(32, 512, 2, 2)
    few, many = torch.zeros(4, 8, 8, 1, 1), torch.zeros(4, 512, 512, 1, 1)
    monkeypatch.setattr(tiled, "why_not", lambda input: "not today")
    assert fastest(small, many) in ("fuse", "concat")  # 512 MB of mixed kernels for four pixels a sample
    assert fastest(wide, few) in ("grouped", "bmm")
    assert fastest(small, torch.zeros(4, 512, 1, 3, 3), padding=(1, 1), groups=512) == "grouped"
    monkeypatch.setattr(tiled, "why_not", lambda input: None)
    assert fastest(small, many) == "tiled"
    depthwise, wide = torch.zeros(4, 512, 1, 3, 3), torch.zeros(32, 512, 8, 8)
    assert fastest(wide, depthwise, padding=(1, 1), groups=512) == "grouped"
    assert fastest(wide.to(memory_format=torch.channels_last), depthwise, padding=(1, 1), groups=512) == "tiled"


@pytest.mark.parametrize(("kernel_size", "groups"), [(1, 1), (3, 9)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_tiled_leaves_the_channels_where_they_lie(kernel_size, groups, channels_last):
    input = torch.randn(2, 9, 6, 5)
    skip_if_not_compiled("tiled")
    layout = torch.channels_last if channels_last else torch.contiguous_format
    weight = torch.randn(4, 9, 9 // groups, kernel_size, kernel_size)
    output = dynamic_conv2d(
        input.to(memory_format=layout), weight, torch.rand(2, 4), stride=2, groups=groups, strategy="tiled"
    )
    assert output.is_contiguous(memory_format=layout)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"input": torch.zeros(6, 9, 8)}, r"input has shape \[6, 9, 8\]; allowed is \[B, C, H, W\]"),
        ({"input": torch.zeros(4, 5, 9, 8)}, "input has 5 channels; .* takes 6"),
        ({"weight": torch.zeros(4, 6, 3, 1)}, "weight has shape"),
        ({"weight": torch.zeros(0, 4, 6, 3, 1)}, "K >= 1"),
        ({"groups": 4}, "input has 6 channels; .* takes 24"),
        ({"groups": 0}, "groups = 0"),
        ({"weight": torch.zeros(3, 4, 2, 3, 1), "groups": 3}, "groups = 3 does not divide the 4 output"),
        ({"attention": torch.zeros(4, 2)}, r"attention has shape \[4, 2\]; allowed is \[B, K\] = \[4, 3\]"),
        ({"bias": torch.zeros(4)}, r"bias has shape \[4\]; allowed is \[K, O\] = \[3, 4\]"),
        ({"strategy": "groupde"}, "strategy = 'groupde' is unknown. Did you mean 'grouped'"),
        ({"stride": 0}, "stride = 0; allowed is an integer of at least 1"),
        ({"stride": (1, 2, 3)}, r"stride = \(1, 2, 3\); allowed"),
        ({"dilation": 1.5}, "dilation = 1.5; allowed"),
        ({"padding": -1}, "padding = -1; allowed is an integer of at least 0"),
        ({"padding": "sane"}, "padding = 'sane' is unknown. Did you mean 'same'"),
        ({"padding": "same", "stride": 2}, "padding = 'same' is for stride 1"),
        ({"dilation": 5}, r"weight .* with dilation = \[5, 5\] is larger than the padded input"),
        ({"attention": torch.zeros(4, 3)}, "attention is torch.float32 on cpu; input is torch.float64"),
        ({"weight": torch.zeros(3, 4, 6, 3, 1, dtype=torch.double, device="meta")}, "weight is .* on meta; input is"),
    ],
)
def test_bad_input_is_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        dynamic_conv2d(**(operands() | wrong))


@pytest.mark.parametrize(  # C that was given a size of 0 ended Python
    ("name", "axis"), [("input", 1), ("input", 2), ("input", 3), *(("weight", a) for a in range(5))]
)
def test_a_size_of_zero_is_named(name, axis):
    given = operands()
    shape = list(given[name].shape)
    shape[axis] = 0
    given[name] = torch.zeros(shape, dtype=torch.double)
    with pytest.raises(ValueError, match=rf"{name} has shape \[.*0.*\]; allowed"):
        dynamic_conv2d(**given)


def test_autocast_leaves_float64_alone_and_mixed_devices_are_named():
    given = operands()
    with torch.autocast("cpu", torch.bfloat16):
        assert dynamic_conv2d(**given).dtype == torch.float64  # as conv2d does
        singles = {name: tensor.float() for name, tensor in given.items()}
        assert dynamic_conv2d(**singles).dtype == torch.bfloat16
        with pytest.raises(ValueError, match="weight is .* on meta; input is"):
            dynamic_conv2d(**singles | {"weight": singles["weight"].to("meta")})
        with pytest.raises(ValueError, match="attention is torch.bfloat16 on cpu; input is torch.float64"):
            dynamic_conv2d(**given | {"attention": singles["attention"]})


@pytest.mark.parametrize("strategy", ["bmm", "tiled"])
@pytest.mark.parametrize("batch", [0, 4])
def test_what_a_way_cannot_run_it_says(strategy, batch):
    with pytest.raises(ValueError, match=f"strategy = '{strategy}' cannot run this convolution: .* groups = 2"):
        dynamic_conv2d(**operands(groups=2, batch=batch), groups=2, strategy=strategy)


def test_tiled_says_which_tensors_it_knows():
    given = {name: tensor.half() for name, tensor in operands().items()}
    with pytest.raises(ValueError, match="cannot run this convolution: it knows float32 and float64, .* float16"):
        dynamic_conv2d(**given, strategy="tiled")


@pytest.mark.cuda
@pytest.mark.parametrize(("strategy", "groups"), [(way, groups) for way, groups in WAYS_AND_GROUPS if way != "tiled"])
def test_every_way_equals_the_loop_on_cuda(strategy, groups):
    given = {name: tensor.detach().cuda().requires_grad_() for name, tensor in operands(groups).items()}
    options = {"groups": groups, "stride": (1, 2), "padding": 1}
    found, expected = with_gradients(strategy, given, options), with_gradients("loop", given, options)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
