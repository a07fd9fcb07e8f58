"""A network leaves Python in integers of 8 bits: the recipe of chapter 12, on a network that comes with the book."""

import io

import pytest
import torch

from eamlib import data
from eamlib.book import weights
from eamlib.training import normalize

MULTIPLY = ["Conv", "Gemm", "MatMul"]


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
def test_an_eam_network_in_8_bits_answers_as_it_did(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    onnx = pytest.importorskip("onnx")
    from onnxruntime import quantization

    garments = data.sample()
    images = normalize(garments.images[:332], *weights.PIXEL_STATISTICS["fashion_mnist"])
    labels, calibration, images = garments.labels[32:332], images[:32], images[32:]
    model = weights.load("fashion_mnist/mobilenet_v1-x0.25-eam-rcr-e5-seed0")
    with torch.no_grad():
        expected = (model(images).argmax(1) == labels).double().mean().item()

    class Batches(quantization.CalibrationDataReader):
        batches = iter([{"images": calibration.numpy()}])

        def get_next(self):
            return next(self.batches, None)

    file = io.BytesIO()
    options = {"input_names": ["images"], "dynamic_axes": {"images": {0: "batch"}}, "dynamo": False}
    torch.onnx.export(model, (images[:2],), file, **options)
    prepared, path = tmp_path / "prepared.onnx", tmp_path / "int8.onnx"
    quantization.quant_pre_process(onnx.load_from_string(file.getvalue()), prepared, skip_symbolic_shape=True)
    types = {"activation_type": quantization.QuantType.QUInt8, "weight_type": quantization.QuantType.QInt8}
    quantization.quantize_static(prepared, path, Batches(), **types, op_types_to_quantize=MULTIPLY, reduce_range=True)

    graph = onnx.load(path).graph
    makes = {output: node.op_type for node in graph.node for output in node.output}
    multiplying = [node for node in graph.node if node.op_type in MULTIPLY]
    assert all(makes[name] == "DequantizeLinear" for node in multiplying for name in node.input[:2])

    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    said = torch.from_numpy(session.run(None, {"images": images.numpy()})[0]).argmax(1)
    assert (said == labels).double().mean().item() >= expected - 0.02
