import pytest

from eamlib.functional import roofline
from eamlib.functional.roofline import predict


def seconds(batch=32, channels=512, pixels=16, kernels=4, kernel_size=(1, 1), groups=1, **options):
    return predict(batch, channels, channels, kernel_size, groups, pixels, pixels, kernels, **options)


def test_multiplications_of_k_kernels_cost_k_times():
    base, double = seconds(pixels=10**6, kernels=2), seconds(pixels=10**6, kernels=4)
    assert double["fuse"] == pytest.approx(2 * base["fuse"], rel=0.01)
    assert double["grouped"] == pytest.approx(base["grouped"], rel=0.01)


def test_mixed_kernels_are_what_small_maps_pay_for():
    small, large = seconds(pixels=4), seconds(pixels=4096)
    assert small["grouped"] > small["concat"] > small["tiled"]
    assert large["concat"] > large["grouped"]


def test_threads_speed_up_multiplying_not_moving():
    one, two = seconds(pixels=4096, threads=1), seconds(pixels=4096, threads=2)
    assert one["fuse"] / 2 < two["fuse"] < one["fuse"]


def test_training_keeps_what_inference_reuses():
    assert seconds(training=True)["bmm"] > seconds()["bmm"]


def test_depthwise_is_best_grouped():
    found = seconds(kernel_size=(3, 3), groups=512)
    assert min(found, key=found.get) == "grouped"


@pytest.mark.parametrize(
    ("name", "card"),
    [("Tesla T4", "T4"), ("NVIDIA L4", "L4"), ("NVIDIA A100-SXM4-40GB", "A100"), ("NVIDIA H100", "H100")],
)
def test_a_card_of_the_table_is_known_by_its_name(name, card):
    assert roofline.gpu(name) is roofline.GPUS[card]


def test_another_card_is_measured(monkeypatch):
    monkeypatch.setattr(roofline, "_measured_gpu", lambda: "measured")
    assert roofline.gpu("NVIDIA L40S") == "measured"


def test_a_gpu_multiplies_faster_in_16_bits():
    assert seconds(device="cuda", element_size=2)["fuse"] < seconds(device="cuda")["fuse"] / 2
