"""What PyTorch does with any module it does with ours: copies, files, other dtypes, autocast, function transforms."""

import copy
import io

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, jvp, vmap

from eamlib import create_model
from eamlib.functional import STRATEGIES, dynamic_conv2d
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, set_temperature

# The C kernel is no part of a graph or a transform, and knows float32 and float64.
WITHOUT_C = ["auto", *(name for name in STRATEGIES if name != "tiled")]
LAYERS = {
    "dynamic": lambda **options: DynamicConv2d(8, 6, 3, padding=1, bias=True, **options),
    "pointwise": lambda **options: DynamicConv2d(8, 6, 1, **options),
    "grouped": lambda **options: DynamicConv2d(8, 6, 3, padding=1, groups=2, **options),
    "eam": lambda **options: DynamicConv2d(8, 6, 3, padding=1, attention=EAMAttention(8, **options), **options),
    "dynet": lambda **options: DyNetConv2d(8, 6, 3, padding=1, bias=True, **options),
    "dynet-pointwise": lambda **options: DyNetConv2d(8, 6, 1, bias=True, **options),
}
CONVS = ("dynamic", "eam-rcr", "eam-cgr-max", "dynet")


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=LAYERS)
def layer(request):
    return LAYERS[request.param]().eval()


def maps(**options):
    return torch.randn(4, 8, 6, 6, **options)


def operands(**options):
    shapes = {"input": (4, 8, 6, 6), "weight": (3, 6, 8, 3, 3), "attention": (4, 3), "bias": (3, 6)}
    return {name: torch.randn(shape, **options) for name, shape in shapes.items()}


def network(conv):
    return create_model("mobilenet_v1", conv, num_classes=5, width_mult=0.25, stem_stride=1)


def difference(a, b):
    """Of two outputs, relative to the second."""
    return ((a.double() - b.double()).norm() / b.double().norm()).item()


def by_deepcopy(model):
    return copy.deepcopy(model)


def by_pickle(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def by_weights(model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    torch.manual_seed(1)
    other = network("eam-rcr")
    other.load_state_dict(torch.load(file, weights_only=True))
    return other.eval()


@torch.no_grad()
@pytest.mark.parametrize("copied", [by_deepcopy, by_pickle, by_weights])
def test_a_copy_answers_alike_and_is_another(copied):
    model, x = network("eam-rcr").eval(), torch.randn(2, 3, 32, 32)
    set_temperature(model, 7.5)
    expected = model(x)
    other = copied(model)
    torch.testing.assert_close(other(x), expected, rtol=0, atol=0)
    set_temperature(other, 1)
    next(other.parameters()).add_(1)
    torch.testing.assert_close(model(x), expected, rtol=0, atol=0)


def test_a_copy_is_possible_after_a_forward_and_backward_pass(layer):
    layer.train()(maps()).sum().backward()
    x = maps()
    torch.testing.assert_close(by_pickle(copy.deepcopy(layer))(x), layer(x))


@pytest.mark.cuda
@pytest.mark.parametrize("conv", CONVS)
def test_data_parallel_on_every_gpu(conv):
    model, x = network(conv).eval().cuda(), torch.randn(5, 3, 32, 32).cuda()
    parallel = nn.DataParallel(model)
    torch.testing.assert_close(parallel(x), model(x), rtol=1e-3, atol=1e-3)
    parallel(x).square().sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    # With one GPU it calls the network itself; a replica is made as for several.
    (replica,) = nn.parallel.replicate(model, [0])
    torch.testing.assert_close(replica(x), model(x), rtol=1e-3, atol=1e-3)


# bfloat16 keeps 8 bits of a number and float16 11: one rounding of each operand is off by up to 0.4 and 0.05 %.
ROUGH = [(torch.bfloat16, 0.02), (torch.float16, 0.003)]


@pytest.mark.parametrize(("dtype", "tolerance"), ROUGH)
@pytest.mark.parametrize("strategy", WITHOUT_C)
def test_every_strategy_under_autocast(strategy, dtype, tolerance):
    given = operands(requires_grad=True)
    expected = dynamic_conv2d(**given, strategy="loop")
    wanted = torch.autograd.grad(expected.square().sum(), list(given.values()))
    with torch.autocast("cpu", dtype=dtype):
        output = dynamic_conv2d(**given, strategy=strategy)
    assert output.dtype == dtype and difference(output, expected) < tolerance
    gradients = torch.autograd.grad(output.float().square().sum(), list(given.values()))
    for gradient, other in zip(gradients, wanted, strict=True):
        assert gradient.dtype == torch.float32 and difference(gradient, other) < tolerance


@pytest.mark.parametrize(("dtype", "tolerance"), ROUGH)
@pytest.mark.parametrize("training", [True, False])
def test_every_layer_under_autocast(layer, training, dtype, tolerance):
    x = maps()
    expected = layer.train(training)(x)
    with torch.autocast("cpu", dtype=dtype):
        output = layer(x)
    assert output.dtype == dtype and difference(output, expected) < tolerance
    output.float().square().sum().backward()
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in layer.parameters())


@pytest.mark.parametrize(("dtype", "tolerance"), [*ROUGH, (torch.double, 1e-5)])
def test_every_layer_in_another_dtype_and_channels_last(layer, dtype, tolerance):
    x = maps()
    expected = layer(x)
    other = layer.to(dtype, memory_format=torch.channels_last)
    output = other(x.to(dtype, memory_format=torch.channels_last))
    assert output.dtype == dtype and difference(output, expected) < tolerance


def test_functions_of_the_parameters(layer):
    parameters, x = dict(layer.named_parameters()), maps()
    torch.testing.assert_close(functional_call(layer, parameters, (x,)), layer(x))

    def loss(parameters, x):
        return functional_call(layer, parameters, (x,)).square().sum()

    expected = torch.autograd.grad(loss(parameters, x), list(parameters.values()))
    torch.testing.assert_close(list(grad(loss)(parameters, x).values()), list(expected), rtol=1e-4, atol=1e-4)
    per_sample = vmap(grad(loss), in_dims=(None, 0))(parameters, x[:, None])
    torch.testing.assert_close([g.sum(0) for g in per_sample.values()], list(expected), rtol=1e-4, atol=1e-4)


@pytest.mark.filterwarnings("ignore:`torch.jit.script`:FutureWarning")  # jvp imports what PyTorch still scripts
@pytest.mark.parametrize("strategy", WITHOUT_C)
def test_function_transforms_of_every_strategy(strategy):
    given, several = operands(), torch.randn(5, 3, 6, 8, 3, 3)

    def run(weight, strategy=strategy):
        return dynamic_conv2d(**(given | {"weight": weight}), strategy=strategy)

    expected = torch.stack([run(weight, "loop") for weight in several])
    torch.testing.assert_close(vmap(run)(several), expected, rtol=1e-4, atol=1e-4)
    _, change = jvp(run, (several[0],), (several[1],))  # linear in the kernels, but for the bias
    torch.testing.assert_close(change, expected[1] - run(0 * several[0], "loop"), rtol=1e-4, atol=1e-4)


def test_the_c_kernel_says_why_it_cannot_be_transformed():
    given = operands()
    with pytest.raises(ValueError, match="strategy = 'tiled' .* a graph is being exported or a function transformed"):
        vmap(lambda x: dynamic_conv2d(**(given | {"input": x}), strategy="tiled"))(maps()[None])


@pytest.mark.parametrize("strategy", WITHOUT_C)
def test_tensors_without_numbers_have_a_shape(strategy):
    assert dynamic_conv2d(**operands(device="meta"), stride=2, strategy=strategy).shape == (4, 6, 2, 2)
    with FakeTensorMode():
        assert dynamic_conv2d(**operands(), stride=2, strategy=strategy).shape == (4, 6, 2, 2)


@pytest.mark.parametrize("name", LAYERS)
def test_layers_without_numbers_have_a_shape(name):
    assert LAYERS[name](device="meta")(maps(device="meta")).shape == (4, 6, 6, 6)
    with FakeTensorMode():
        assert LAYERS[name]()(maps()).shape == (4, 6, 6, 6)
