"""Why a segmentation network of dynamic convolutions trails the static one: one thing changed at a time, over seeds.

FCNs on ResNet18 ×0.125 learn four kinds of digits on photographs, as page 13.2 does. Each is judged by its mean IoU: on
test images as it was trained; there with batch normalisation's statistics taken anew; there with the mean attention in
place of each image's own; and on images that it was trained on. Where a change gains says what held the network back.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from eamlib._checks import one_of, positive_int
from eamlib.analysis.diagnose import diagnose
from eamlib.analysis.freeze import freeze
from eamlib.analysis.watch import evaluating
from eamlib.data import segmentation
from eamlib.data.segmentation import SegmentationSet
from eamlib.layers import DynamicConv2d, set_temperature
from eamlib.models import create_model
from eamlib.training.loop import normalize, pixel_statistics, seed_everything
from eamlib.training.recipe import Recipe

IMAGES = {True: 800, False: 200}  # to train on, and to test
SIZE = 64  # of an image, in pixels
CLASSES = 4
BATCH_SIZE = 16
LEARNING_RATE = 0.01


@dataclass(frozen=True)
class Change:
    """What a network is made of, and what is done otherwise than in :func:`fit`.

    Attributes:
        conv: as in ``create_model``.
        times: as many epochs.
        rate, attention_rate: factors of the learning rate, of all parameters and of the attentions' alone.
        temperature: of the softmax, throughout.
        cooling: the temperature begins here and falls to 1, as in the recipe of ``eamlib.training.fit``.
        alike: the K kernels of a layer begin as copies of the first one.
        scale: factor of the kernels at the start.
    """

    conv: str = "dynamic"
    times: int = 1
    rate: float = 1.0
    attention_rate: float = 1.0
    temperature: float = 1.0
    cooling: float | None = None
    alike: bool = False
    scale: float = 1.0


CHANGES = {
    "static": Change("static"),
    "placebo": Change("dynamic-uniform"),
    "dynamic": Change(),
    "kernels begin alike": Change(alike=True),
    "kernels begin twice as large": Change(scale=2.0),
    "coefficients learn at 1/10": Change(attention_rate=0.1),
    "temperature from 30 to 1": Change(cooling=30.0),
    "temperature 30 throughout": Change(temperature=30.0),
    "half the learning rate": Change(rate=0.5),
    "static, half the learning rate": Change("static", rate=0.5),
    "static, four times as long": Change("static", times=4),
    "four times as long": Change(times=4),
}


def measure(
    device: torch.device, work: Sequence[str] | None = None, epochs: int = 4, rounds: int = 3
) -> Iterator[dict]:
    """Yield a result for each seed and change: mean IoUs in percent, and how many layers are static or collapsed.

    Args:
        device: where to train.
        work: names of :data:`CHANGES`; None takes all.
        epochs: of each, but for those that train longer.
        rounds: how many seeds.

    Raises:
        ValueError: if a name is unknown, or ``epochs`` or ``rounds`` is below 1.
    """
    positive_int("epochs", epochs)
    positive_int("rounds", rounds)
    names = [one_of("work", name, CHANGES) for name in (work or CHANGES)]
    train, test = (
        segmentation.load("digits", IMAGES[of], size=SIZE, classes=CLASSES, train=of) for of in (True, False)
    )
    for seed in range(rounds):
        for name in names:
            change = CHANGES[name]
            seed_everything(seed)
            model = network(change).to(device)
            recipe = {"attention_rate": change.attention_rate, "cooling": change.cooling}
            fit(model, train, change.times * epochs, learning_rate=change.rate * LEARNING_RATE, seed=seed, **recipe)
            found = judged(model, train, test)
            yield {"work": name, "seed": seed, "epochs": change.times * epochs} | found


@torch.no_grad()
def network(change: Change) -> nn.Module:
    """A fresh network, its kernels and temperature as the change says."""
    model = create_model("fcn_resnet18", change.conv, num_classes=CLASSES + 1, width_mult=0.125)
    for layer in model.modules():
        if isinstance(layer, DynamicConv2d):
            if change.alike:
                layer.weight.copy_(layer.weight[:1].expand_as(layer.weight))
            layer.weight.mul_(change.scale)
    if change.temperature != 1:
        set_temperature(model, change.temperature)
    return model


def fit(
    model: nn.Module,
    train: SegmentationSet,
    epochs: int,
    *,
    batch_size: int = BATCH_SIZE,
    learning_rate: float = LEARNING_RATE,
    attention_rate: float = 1.0,
    cooling: float | None = None,
    seed: int = 0,
) -> None:
    """Train ``model`` on its device: AdamW, one cycle of the learning rate, cross-entropy averaged over all pixels.

    Args:
        attention_rate: factor of the learning rate for the parameters of attentions.
        cooling: the temperature of the softmax at the start, from which it falls to 1; None leaves it as it is.
        seed: of the order of the images.
    """
    device, statistics = next(model.parameters()).device, pixel_statistics(train)
    images, masks = train.images.to(device), train.masks.to(device)
    groups = {False: [], True: []}
    for name, parameter in model.train().named_parameters():
        groups[".attention." in name].append(parameter)
    rates = {of: learning_rate * (attention_rate if of else 1) for of in groups if groups[of]}
    optimizer = torch.optim.AdamW([{"params": groups[of]} for of in rates])
    steps = epochs * -(-len(train) // batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [*rates.values()], total_steps=steps, cycle_momentum=False
    )
    softmax = Recipe(epochs=epochs, temperature=cooling)
    order = torch.Generator().manual_seed(seed)
    step = 0
    for _ in range(epochs):
        for batch in torch.randperm(len(train), generator=order).to(device).split(batch_size):
            if cooling is not None:
                set_temperature(model, softmax.temperature_at(step, steps))
            logits = model(normalize(images[batch], *statistics))
            loss = F.cross_entropy(logits, masks[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1


def predict(model: nn.Module, images: Tensor, statistics: tuple[Tensor, Tensor]) -> Tensor:
    """The class of every pixel, ``[N, 3, H, W] -> [N, H, W]``, on the CPU, in eval mode.

    Args:
        statistics: of the training images, by :func:`eamlib.training.pixel_statistics`.
    """
    with evaluating(model):
        return torch.cat([model(batch).argmax(1).cpu() for batch in _batches(model, images, statistics)])


def _batches(model: nn.Module, images: Tensor, statistics: tuple[Tensor, Tensor]) -> list[Tensor]:
    """The images as the model takes them, on its device, a hundred at a time."""
    device = next(model.parameters()).device
    return [normalize(batch.to(device), *statistics) for batch in images.split(100)]


def judged(model: nn.Module, train: SegmentationSet, test: SegmentationSet) -> dict:
    """Mean IoUs in percent, and how many dynamic layers have each verdict of :func:`eamlib.diagnose`.

    New statistics, the mean attention and the mean IoU on training images are of as many of these as are tested.
    """
    statistics, seen = pixel_statistics(train), slice(len(test))
    batches = _batches(model, train.images[seen], statistics)

    def recalibrated(network: nn.Module) -> nn.Module:
        network = copy.deepcopy(network)
        update_bn(batches, network)
        return network

    def mean_iou(network: nn.Module, images: Tensor, masks: Tensor) -> float:
        matrix = segmentation.confusion(predict(network, images, statistics), masks, len(train.classes))
        return 100 * segmentation.iou(matrix).nanmean().item()

    networks, verdicts = {"as trained": model, "recalibrated": recalibrated(model)}, {}
    if any(isinstance(layer, DynamicConv2d) for layer in model.modules()):
        networks["mean attention"] = recalibrated(freeze(model, batches).model)
        verdicts = Counter(layer.verdict for layer in diagnose(model, _batches(model, test.images, statistics)))
    found = {name: mean_iou(network, test.images, test.masks) for name, network in networks.items()}
    found["training images"] = mean_iou(model, train.images[seen], train.masks[seen])
    return {"mean_iou": found, "layers": dict(verdicts)}


def lines(result: dict) -> Iterator[str]:
    """A result as a line."""
    ious = ", ".join(f"{name} {value:.1f}" for name, value in result["mean_iou"].items())
    layers = ", ".join(f"{count} {verdict}" for verdict, count in sorted(result["layers"].items()))
    about = f"{result['work']:<32}seed {result['seed']}, {result['epochs']:>2} epochs: {ious}"
    yield f"{about}; layers: {layers}" if layers else about
