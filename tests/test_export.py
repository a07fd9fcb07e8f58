"""A network leaves Python: as a graph of torch.export, as an ONNX file, and as weights without pickle."""

import io

import pytest
import torch
from torch import nn

from eamlib import convert, create_model
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, UniformAttention, set_temperature

BATCHES = (1, 5, 32)
CLASSES = 7


def images(batch):
    return torch.randn(batch, 3, 32, 32, generator=torch.Generator().manual_seed(batch))


def small(name, conv, **options):
    torch.manual_seed(0)
    return create_model(name, conv, num_classes=CLASSES, width_mult=0.25, stem_stride=1, **options)


def resnet18():
    torch.manual_seed(0)
    models = pytest.importorskip("torchvision.models")
    return convert(models.resnet18(num_classes=CLASSES), "eam-rcr", seed=0)


NETWORKS = {
    "dynamic": lambda: small("mobilenet_v1", "dynamic"),
    "eam-rcr": lambda: small("mobilenet_v1", "eam-rcr"),
    "eam-cgr": lambda: small("mobilenet_v1", "eam-cgr"),
    "eam-cgr-max": lambda: small("mobilenet_v1", "eam-cgr-max"),
    "dynet": lambda: small("mobilenet_v1", "dynet"),
    "dy_mobile": lambda: small("dy_mobile", "dynet"),
    "converted": resnet18,
}


@torch.no_grad()
def settled(model):
    """In eval mode with the running statistics of some images, so that the output depends on every convolution."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(images(8))
    return model.eval()


def any_batch(input):
    return {"args": (input,), "dynamic_shapes": ({0: torch.export.Dim("batch")},)}


def any_image(input):
    """From 4 × 4 pixels: PyTorch takes a size of 1 for a case of its own, and a stride of 2 must not lead there."""
    height, width = (torch.export.Dim(name, min=4) for name in ("height", "width"))
    return {"args": (input,), "dynamic_shapes": ({0: torch.export.Dim("batch"), 2: height, 3: width},)}


@torch.no_grad()
def assert_same(run, model, inputs):
    for x in inputs:
        expected = model(x)
        # Beside the largest number: a random network may answer in thousands.
        scale = expected.abs().max()
        torch.testing.assert_close(run(x) / scale, expected / scale, rtol=1e-4, atol=1e-4)


def in_onnxruntime(program):
    pytest.importorskip("onnxscript")
    return running(torch.onnx.export(program, dynamo=True, verbose=False).model_proto.SerializeToString())


def by_the_older_exporter(model, example):
    """By PyTorch's exporter before torch.export, which many scripts still ask for; any batch, height and width."""
    file, dims = io.BytesIO(), {0: "batch", 2: "height", 3: "width"}
    torch.onnx.export(model, (example,), file, dynamo=False, input_names=["images"], dynamic_axes={"images": dims})
    return running(file.getvalue())


def running(file):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # the older exporter writes the example's shape beside the output
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return lambda x: torch.from_numpy(session.run(None, {name: x.numpy()})[0])


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_exports_for_any_batch(name):
    model = settled(NETWORKS[name]())
    program = torch.export.export(model, **any_batch(images(2)))
    assert_same(program.module(), model, map(images, BATCHES))
    assert_same(in_onnxruntime(program), model, map(images, BATCHES))


def maps(batch, size=(9, 7)):
    return torch.randn(batch, 8, *size, generator=torch.Generator().manual_seed(batch))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("strategy", ["auto", "fuse", "concat"])
def test_a_layer_leaves_for_any_batch(strategy, groups):
    layer = DynamicConv2d(8, 6, 3, stride=2, padding=1, groups=groups, bias=True, strategy=strategy).eval()
    assert_same(in_onnxruntime(torch.export.export(layer, **any_batch(maps(2)))), layer, map(maps, BATCHES))


@pytest.mark.parametrize("pool", ["avg", "max"])
def test_an_attention_leaves_for_any_batch(pool):
    attention = EAMAttention(8, pool=pool).eval()
    assert_same(in_onnxruntime(torch.export.export(attention, **any_batch(maps(2)))), attention, map(maps, BATCHES))


@pytest.mark.parametrize("kernel_size", [1, 3])
def test_a_dynet_layer_leaves_for_any_batch_at_the_price_that_it_can_have(kernel_size):
    layer = DyNetConv2d(8, 6, kernel_size, stride=2, bias=True).eval()
    program = torch.export.export(layer, **any_batch(maps(2)))
    assert_same(in_onnxruntime(program), layer, map(maps, BATCHES))
    convolves = any("conv2d" in str(node.target) for node in program.graph.nodes)
    assert convolves == (kernel_size > 1)  # as matrices a kernel a sample, where it can; else all of them convolve


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("size", [(10, 5), (9, 7), (3, 20), (1, 2)])
def test_adaptive_pooling_as_it_is_exported_is_adaptive_pooling(pool, size, monkeypatch):
    attention, x = EAMAttention(8, pool=pool).double(), maps(3, size).double().requires_grad_()
    expected = attention(x)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    exported = attention(x)
    torch.testing.assert_close(exported, expected, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(output.square().sum(), x) for output in (exported, expected))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def tiny(pool="avg"):
    """Each kind of layer that an EAM network has, one behind the other, at a temperature that shows small errors."""
    torch.manual_seed(0)

    def conv(*arguments, **options):
        attention = EAMAttention(8, pool=pool, output_size=3, temperature=0.1)
        return DynamicConv2d(*arguments, **options, attention=attention)

    dense, pointwise = conv(8, 8, 3, padding=1), conv(8, 8, 1, bias=True)
    depthwise = conv(8, 8, 3, stride=2, padding=1, groups=8)
    return nn.Sequential(dense, depthwise, pointwise).eval()


def tiny_dynet():
    torch.manual_seed(0)
    return nn.Sequential(DyNetConv2d(8, 8, 3, 2, 1), DyNetConv2d(8, 8, 1), DyNetConv2d(8, 8, 1, bias=True)).eval()


OTHER_IMAGES = (maps(1, (32, 32)), maps(3, (11, 6)), maps(2, (5, 20)))
TINY = {"avg": tiny, "max": lambda: tiny("max"), "dynet": tiny_dynet}


@pytest.mark.parametrize("name", TINY)
def test_a_network_exports_for_any_image(name):
    model, example = TINY[name](), maps(2, (16, 16))
    program = torch.export.export(model, **any_image(example))
    assert_same(program.module(), model, OTHER_IMAGES)
    assert_same(in_onnxruntime(program), model, OTHER_IMAGES)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", TINY)
def test_the_older_onnx_exporter_writes_a_file_for_any_image_too(name):
    model = TINY[name]()
    assert_same(by_the_older_exporter(model, maps(2, (16, 16))), model, OTHER_IMAGES)


def test_grouped_leaves_with_the_batch_of_its_example_and_no_open_one():
    layer = DynamicConv2d(8, 6, 3, groups=2, attention=UniformAttention(8), strategy="grouped").eval()
    assert_same(in_onnxruntime(torch.export.export(layer, (maps(2),))), layer, [maps(2)])
    with pytest.raises(torch.onnx.OnnxExporterError):
        in_onnxruntime(torch.export.export(layer, **any_batch(maps(2))))


def test_temperature_and_the_channels_that_rcr_reads_travel_in_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    model = settled(small("mobilenet_v1", "eam-rcr", seed=1))
    set_temperature(model, 7.5)
    safetensors.save_file(model.state_dict(), tmp_path / "model.safetensors")
    other = small("mobilenet_v1", "eam-rcr", seed=2).eval()
    loaded = safetensors.load_file(tmp_path / "model.safetensors")
    other.load_state_dict(loaded)
    assert {float(tensor) for name, tensor in loaded.items() if name.endswith("temperature")} == {7.5}
    assert all(
        torch.equal(loaded[name], tensor) for name, tensor in model.state_dict().items() if name.endswith("indices")
    )
    torch.testing.assert_close(other(images(3)), model(images(3)), rtol=0, atol=0)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_fits_into_safetensors(name, tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    state = NETWORKS[name]().state_dict()
    safetensors.save_file(state, tmp_path / "model.safetensors")
    loaded = safetensors.load_file(tmp_path / "model.safetensors")
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items())
