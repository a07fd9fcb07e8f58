import pytest
import torch
from torch import nn

from eamlib.data import ImageSet
from eamlib.layers import DynamicConv2d
from eamlib.training.exchanged import EXCHANGES, Exchanged, exchange


class Reads(nn.Module):
    """An attention over two kernels that knows one thing of an image: whether it is light."""

    def forward(self, input):
        light = (input.mean((1, 2, 3)) > 0).float()
        return torch.stack((light, 1 - light), 1)


def network() -> nn.Sequential:
    """Tells light from dark by its attention alone: the first kernel answers (1, 0), the second (0, 1)."""
    layer = DynamicConv2d(3, 2, 1, bias=True, num_kernels=2, attention=Reads())
    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.copy_(torch.eye(2))
    return nn.Sequential(layer, nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def images(count: int) -> ImageSet:
    labels = torch.arange(count) % 2
    pixels = torch.where(labels[:, None, None, None] == 0, 200, 50).expand(-1, 3, 4, 4)
    return ImageSet("shades", pixels.to(torch.uint8).contiguous(), labels, ("light", "dark"))


def test_what_depends_on_attention_alone_is_lost_with_it():
    model = network()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = {(one.attention, one.recalibrated): one for one in exchange(model, images(40), images(20), count=10)}
    assert list(found) == [(attention, again) for again in (False, True) for attention in EXCHANGES]
    for again in (False, True):
        assert found["own", again].accuracy == 100 and found["own", again].lost == 0
        # The logits of both classes are then the same for every image.
        assert found["mean", again].accuracy == found["uniform", again].accuracy == 50
        assert (found["uniform", again].lost, found["uniform", again].gained) == (20, 0)
        assert found["another", again].accuracy < 100
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training and model[1].momentum == 0.1


def test_the_mean_is_that_of_the_training_images():
    """Of training images three quarters of which are light, the mean is (¾, ¼): every image is taken for light."""
    pool = images(40)
    chosen = torch.cat(((pool.labels == 0).nonzero()[:15, 0], (pool.labels == 1).nonzero()[:5, 0]))
    train = ImageSet("lighter", pool.images[chosen], pool.labels[chosen], pool.classes)
    test = ImageSet("light", pool.images[pool.labels == 0], pool.labels[pool.labels == 0], pool.classes)
    dark = ImageSet("dark", pool.images[pool.labels == 1], pool.labels[pool.labels == 1], pool.classes)
    accuracy = {name: exchange(network(), of, train)[1].accuracy for name, of in (("light", test), ("dark", dark))}
    assert accuracy == {"light": 100, "dark": 0}


def test_another_image_is_never_the_image_itself(monkeypatch):
    """With two images each gets the other's attention, which is always wrong."""
    found = {(one.attention, one.recalibrated): one for one in exchange(network(), images(2), images(2))}
    assert found["another", False].accuracy == 0 and found["another", False].lost == 2


class First(nn.Module):
    """An attention that gives the first kernel everything."""

    def forward(self, input):
        return input.new_tensor([1.0, 0.0]).expand(len(input), -1)


def test_recalibration_repairs_what_the_statistics_alone_spoiled():
    """The second kernel is the first times 99: mixed evenly, the maps are 50 times as large and no different."""
    layer = DynamicConv2d(3, 2, 1, bias=True, num_kernels=2, attention=First())
    with torch.no_grad():
        kernel, bias = torch.tensor([[1 / 3] * 3, [0.0] * 3])[:, :, None, None], torch.tensor([2.0, 0.0])
        layer.weight.copy_(torch.stack((kernel, 99 * kernel)))
        layer.bias.copy_(torch.stack((bias, 99 * bias)))
    model = nn.Sequential(layer, nn.BatchNorm2d(2), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model[1].running_mean.copy_(torch.tensor([2.0, 0.0]))  # light images are 1 above it, dark ones 1 below
    found = {(one.attention, one.recalibrated): one for one in exchange(model, images(40), images(40))}
    assert found["own", False].accuracy == found["uniform", True].accuracy == 100
    assert found["uniform", False].accuracy == 50
    assert found["uniform", True].lost == 0 and found["uniform", False].lost == 20


def test_the_draws_are_seeded():
    once, again, other = (exchange(network(), images(30), images(30), seed=seed) for seed in (0, 0, 5))
    assert once == again and once != other


def test_the_interval_covers_the_difference():
    even = Exchanged("mean", False, 1_000, 500, 30, 30)
    low, high = even.interval
    assert even.difference == 0 and low == pytest.approx(-high)
    # Agresti and Min's example form: wider with more discordant images, never of no width
    wider = Exchanged("mean", False, 1_000, 500, 60, 60).interval
    assert wider[1] > high
    sure = Exchanged("own", False, 1_000, 500, 0, 0).interval
    assert sure[0] < 0 < sure[1]


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"count": 0}, "count = 0"),
        ({"batch_size": 0}, "batch_size = 0"),
        ({"seed": -1}, "seed = -1"),
        ({"test": images(1)}, "test holds 1 images; allowed are at least 2"),
        ({"model": nn.Conv2d(3, 2, 1)}, "has no dynamic layer"),
        ({"attentions": ["men"]}, "attentions = 'men' is unknown. Did you mean 'mean'"),
        ({"imitations": {"mean": {}}}, "imitations holds 'mean', which the test makes itself"),
        ({"imitations": {"rcr": {"1": Reads()}}}, r"imitations\['rcr'\]: layer = '1' is unknown"),
    ],
)
def test_bad_input_is_named(wrong, match):
    given = {"model": network(), "test": images(4), "train": images(4)} | wrong
    with pytest.raises(ValueError, match=match):
        exchange(**given)


class Dark(nn.Module):
    """An attention that knows dark images, and is wrong about light ones."""

    def forward(self, input):
        return input.new_tensor([0.0, 1.0]).expand(len(input), -1)


def test_an_imitation_stands_in_for_the_layer():
    model = network()
    given = {"the same": {"0": Reads()}, "dark": {"0": Dark()}, "nothing": {}}
    tests = exchange(model, images(40), images(20), attentions=["own"], imitations=given)
    found = {(one.attention, one.recalibrated): one for one in tests}
    assert list(found) == [(name, again) for again in (False, True) for name in ("own", *given)]
    for again in (False, True):
        assert found["the same", again].accuracy == found["nothing", again].accuracy == 100
        assert (found["dark", again].accuracy, found["dark", again].lost) == (50, 20)
    assert isinstance(model[0].attention, Reads)
