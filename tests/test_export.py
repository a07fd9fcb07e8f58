"""A network leaves Python: as a graph of torch.export, as an ONNX file, in integers of 8 bits, and as weights without
pickle."""

import io

import pytest
import torch
from torch import nn

from eamlib import convert, create_model
from eamlib.layers import DynamicConv2d, DyNetConv2d, EAMAttention, UniformAttention, set_temperature

MULTIPLY = ["Conv", "Gemm", "MatMul"]


def maps(batch, size=(9, 7), channels=8):
    return torch.randn(batch, channels, *size, generator=torch.Generator().manual_seed(batch))


class SideBySide(nn.Module):
    """Layers that read the same maps, so that one export asks all of them."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, input):
        return tuple(layer(input) for layer in self.layers)


def every_layer():
    """The convolutions, in the ways that leave the batch open, and the attentions, at a temperature that shows small
    errors."""
    torch.manual_seed(0)
    halved = {"kernel_size": 3, "stride": 2, "padding": 1}
    convolutions = [
        DynamicConv2d(8, 6, **halved, groups=2, bias=True),
        DynamicConv2d(8, 6, **halved, strategy="fuse"),
        DynamicConv2d(8, 6, **halved, groups=2, bias=True, strategy="concat"),
        DynamicConv2d(8, 8, **halved, groups=8, attention=EAMAttention(8)),
        DynamicConv2d(8, 6, 1, bias=True, attention=EAMAttention(8)),
        DyNetConv2d(8, 6, **halved, bias=True),
        DyNetConv2d(8, 6, 1, bias=True),
    ]
    attentions = [
        EAMAttention(8, select=select, pool=pool, temperature=0.1)
        for select, pool in (("rcr", "max"), ("cgr", "avg"), ("cgr-max", "avg"), ("stride", "avg"))
    ]
    return SideBySide([*convolutions, *attentions]).eval()


def any_batch(input):
    return {"args": (input,), "dynamic_shapes": ({0: torch.export.Dim("batch")},)}


def any_image(input):
    """From 4 × 4 pixels: PyTorch takes a size of 1 for a case of its own, and a stride of 2 must not lead there."""
    height, width = (torch.export.Dim(name, min=4) for name in ("height", "width"))
    return {"args": (input,), "dynamic_shapes": ({0: torch.export.Dim("batch"), 2: height, 3: width},)}


IMAGES = (maps(1, (32, 32)), maps(3, (11, 6)), maps(32, (5, 20)))


@torch.no_grad()
def assert_same(run, model, inputs):
    for x in inputs:
        for found, expected in zip(listed(run(x)), listed(model(x)), strict=True):
            # Beside the largest number: a random network may answer in thousands.
            scale = expected.abs().max()
            torch.testing.assert_close(found / scale, expected / scale, rtol=1e-4, atol=1e-4)


def listed(outputs):
    return [outputs] if isinstance(outputs, torch.Tensor) else list(outputs)


def in_onnxruntime(program):
    pytest.importorskip("onnxscript")
    return running(torch.onnx.export(program, dynamo=True, verbose=False).model_proto.SerializeToString())


def by_the_older_exporter(model):
    """By PyTorch's exporter before torch.export, which many scripts still ask for; any batch, height and width."""
    file, dims = io.BytesIO(), {0: "batch", 2: "height", 3: "width"}
    options = {"dynamo": False, "input_names": ["images"], "dynamic_axes": {"images": dims}}
    torch.onnx.export(model, (maps(2, (16, 16)),), file, **options)
    return file.getvalue()


def running(file):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # the older exporter writes the example's shape beside the output
    session = runtime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (name,) = (given.name for given in session.get_inputs())
    return lambda x: [torch.from_numpy(output) for output in session.run(None, {name: x.numpy()})]


def test_every_layer_leaves_for_any_image():
    layers = every_layer()
    program = torch.export.export(layers, **any_image(maps(2, (16, 16))))
    assert_same(program.module(), layers, IMAGES)
    assert_same(in_onnxruntime(program), layers, IMAGES)


def test_a_layer_leaves_for_any_batch_of_one_size():
    layer = DynamicConv2d(8, 6, 3, attention=EAMAttention(8)).eval()
    program = torch.export.export(layer, **any_batch(maps(2)))
    assert_same(in_onnxruntime(program), layer, [maps(1), maps(32)])


older = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")


@older
def test_the_older_onnx_exporter_writes_a_file_for_any_image_too():
    layers = every_layer()
    assert_same(running(by_the_older_exporter(layers)), layers, IMAGES)


@older
def test_in_integers_of_8_bits_it_answers_nearly_alike(tmp_path):
    onnx = pytest.importorskip("onnx")
    quantization = pytest.importorskip("onnxruntime.quantization")
    torch.manual_seed(0)
    convolutions = [DynamicConv2d(8, 8, kernel, padding=kernel // 2, attention=EAMAttention(8)) for kernel in (3, 1)]
    network = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1]).eval()

    class Images(quantization.CalibrationDataReader):
        batches = iter([{"images": maps(32).numpy()}])

        def get_next(self):
            return next(self.batches, None)

    prepared, path = tmp_path / "prepared.onnx", tmp_path / "int8.onnx"
    file = onnx.load_from_string(by_the_older_exporter(network))
    quantization.quant_pre_process(file, prepared, skip_symbolic_shape=True)
    # Weights of 7 bits: sums of two products of 8 overflow 16 bits on CPUs without VNNI.
    types = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    quantization.quantize_static(prepared, path, Images(), **types, op_types_to_quantize=MULTIPLY, reduce_range=True)

    graph = onnx.load(path).graph
    makes = {output: node.op_type for node in graph.node for output in node.output}
    multiplying = [node for node in graph.node if node.op_type in MULTIPLY]
    assert multiplying and {makes[name] for node in multiplying for name in node.input[:2]} == {"DequantizeLinear"}
    (answer,), expected = running(path.read_bytes())(maps(16)), network(maps(16))
    assert (answer - expected).norm() < 0.05 * expected.norm()


# The exporter tries several ways before it refuses.
@pytest.mark.slow
def test_grouped_leaves_with_the_batch_of_its_example_and_no_open_one():
    layer = DynamicConv2d(8, 6, 3, groups=2, attention=UniformAttention(8), strategy="grouped").eval()
    assert_same(in_onnxruntime(torch.export.export(layer, (maps(2),))), layer, [maps(2)])
    with pytest.raises(torch.onnx.OnnxExporterError):
        in_onnxruntime(torch.export.export(layer, **any_batch(maps(2))))


@pytest.mark.parametrize(("kernel_size", "convolves"), [(1, False), (3, True)])
def test_a_dynet_layer_leaves_at_the_price_that_it_can_have(kernel_size, convolves):
    """As matrices, a kernel a sample, where it can; else all of its kernels convolve."""
    layer = DyNetConv2d(8, 6, kernel_size, stride=2, bias=True).eval()
    program = torch.export.export(layer, **any_batch(maps(2)))
    assert_same(program.module(), layer, [maps(1), maps(32)])
    assert any("conv2d" in str(node.target) for node in program.graph.nodes) == convolves


@pytest.mark.parametrize("pool", ["avg", "max"])
@pytest.mark.parametrize("size", [(10, 5), (9, 7), (3, 20), (1, 2)])
def test_adaptive_pooling_as_it_is_exported_is_adaptive_pooling(pool, size, monkeypatch):
    attention, x = EAMAttention(8, pool=pool).double(), maps(3, size).double().requires_grad_()
    expected = attention(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(torch.nn.functional, f"adaptive_{pool}_pool2d", None)
        exported = attention(x)
    torch.testing.assert_close(exported, expected, rtol=1e-12, atol=1e-12)
    gradients = (torch.autograd.grad(output.square().sum(), x) for output in (exported, expected))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def small(name, conv, **options):
    return create_model(name, conv, num_classes=7, width_mult=0.25, stem_stride=1, **options)


def converted():
    return convert(pytest.importorskip("torchvision.models").resnet18(num_classes=7), "eam-rcr", seed=0)


@torch.no_grad()
def settled(model):
    """In eval mode with the running statistics of some images, so that the output depends on every convolution."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model.train()(maps(8, (32, 32), 3))
    return model.eval()


# Half a minute: what lies between the layers, at every depth. Chapter 12 exports another one.
@pytest.mark.slow
@pytest.mark.parametrize("network", [lambda: small("dy_mobile", "dynet"), converted], ids=["dy_mobile", "converted"])
def test_a_whole_network_exports_for_any_batch(network):
    torch.manual_seed(0)
    model, inputs = settled(network()), [maps(batch, (32, 32), 3) for batch in (1, 5)]
    program = torch.export.export(model, **any_batch(maps(2, (32, 32), 3)))
    assert_same(program.module(), model, inputs)
    assert_same(in_onnxruntime(program), model, inputs)


def test_temperature_and_the_channels_that_rcr_reads_travel_in_safetensors():
    safetensors = pytest.importorskip("safetensors.torch")
    model, other = (small("mobilenet_v1", "eam-rcr", seed=seed).eval() for seed in (1, 2))
    set_temperature(model, 7.5)
    loaded = safetensors.load(safetensors.save(model.state_dict()))
    other.load_state_dict(loaded)
    assert {float(tensor) for name, tensor in loaded.items() if name.endswith("temperature")} == {7.5}
    images = maps(3, (32, 32), 3)
    torch.testing.assert_close(other(images), model(images), rtol=0, atol=0)


def test_a_predictor_that_convolutions_share_travels_once_in_safetensors():
    """Two names of one tensor are refused."""
    safetensors = pytest.importorskip("safetensors.torch")
    state = small("dy_mobile", "dynet").state_dict()
    assert safetensors.load(safetensors.save(state)).keys() == state.keys()
