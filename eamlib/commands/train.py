"""Train a network and print its accuracy epoch by epoch.

Train a network on digits, fashion_mnist, cifar10 or cifar100 (32 × 32 pixels), tiny_imagenet or tiny_imagenet_100
(64 × 64), imagenet100 (224 × 224, from an ImageNet folder under EAMLIB_DATA), or on images of your own. Without --data
and --epochs the budget decides (EAMLIB_BUDGET=smoke|laptop|colab|full).

With --folder nothing is lost: interrupted, even killed, the same command goes on after the last finished epoch. No
other command may use the folder meanwhile; afterwards `redundancy DIR` measures the network. On several GPUs:
torchrun --nproc-per-node 2 -m eamlib train …
"""

from __future__ import annotations

import json
import os
from argparse import ArgumentParser, Namespace
from functools import partial
from pathlib import Path

from eamlib._checks import one_of
from eamlib.commands import RECIPE, of_recipe, option, shared

LESS_MEMORY = (
    "Lower --batch-size, or run a batch in parts by --accumulate; lower --width or, with images on disk, --workers. "
    "All but the last make it another run, which needs another --folder."
)


def arguments(parser: ArgumentParser) -> None:
    option(parser, "model", "the network", "mobilenet_v1", nargs="?")
    option(parser, "--conv", "static, dynamic, dynet, eam-rcr, … (default: dynet for dy_…, else static)")
    option(parser, "--width", "multiplies the number of channels", 0.25, type=float)
    option(parser, "--data", "one of the sets above, or a folder with a folder of images for each class")
    option(parser, "--size", "of your own images: pixels a side, held in memory (default: 224, from disk)", type=int)
    option(parser, "--classes", "of imagenet100: another list of 100 WordNet ids, one a line", metavar="FILE")
    shared(parser, "--device", "--json")

    recipe = parser.add_argument_group("how it is trained")
    seed = "of the weights, the order of the images and their augmentation"
    of_recipe(recipe, *(name for name in RECIPE if name != "seed"), seed=seed)
    augment = (
        "shift training images at random, and mirror half of them where that makes sense; images on disk always are"
    )
    option(recipe, "--augment", augment, action="store_true")
    shared(parser.add_argument_group("how it is run"), "--compile", "--channels-last", "--workers")
    kept = parser.add_argument_group("what is kept")
    option(kept, "--folder", "keep checkpoints, history.jsonl and how to load the weights here", metavar="DIR")
    option(kept, "--tensorboard", "curves for `tensorboard --logdir DIR`", metavar="DIR")


def run(options: Namespace) -> None:
    from eamlib import budget, create_model, data
    from eamlib._extras import need
    from eamlib._files import replace
    from eamlib.data.augmentation import augment
    from eamlib.models import own_conv
    from eamlib.papers import records
    from eamlib.training.loading import note
    from eamlib.training.loop import fit, pick_device, pixel_statistics, seed_everything
    from eamlib.training.run import NETWORK

    need("train", "tqdm")
    device = pick_device(options.device)
    if options.json:
        records.refuse_existing(options.json)
    where = records.provenance(device)  # of the code that is loaded now, whatever the checkout holds at the end
    train, test, stem_stride, shifts = _images(options, options.data or budget().dataset)
    recipe = {name: getattr(options, name) for name in RECIPE}
    if options.epochs is None:
        recipe["epochs"] = budget().epochs
    seed_everything(options.seed)
    network = {"num_classes": len(train.classes), "width_mult": options.width, "stem_stride": stem_stride}
    model = create_model(options.model, options.conv, **network)
    configuration = {
        "model": options.model,
        "conv": options.conv or own_conv(options.model),
        "width_mult": options.width,
        "stem_stride": stem_stride,
        "data": train.name,
        "augment": shifts,
        **recipe,
        **({"classes": train.classes} if options.classes else {}),
    }
    first = os.environ.get("RANK", "0") == "0"  # of several processes, the one that speaks for all
    statistics = pixel_statistics(train) if options.folder else None

    def describe(line: dict | None = None) -> None:
        """For whoever finds the folder later: a checkpoint holds weights, and not whose they are."""
        path = {} if options.data in (None, *data.DATASETS) else {"path": os.path.abspath(options.data)}
        described = configuration | {"num_classes": len(train.classes), "size": options.size, **path}
        replace(Path(options.folder, NETWORK), json.dumps(described, indent=1) + "\n")
        note(options.folder, statistics, options.ema is not None, options.model, options.conv, **network)

    how = {name: getattr(options, name) for name in ("compile", "channels_last", "workers", "folder", "tensorboard")}
    how["augment"] = partial(augment, **shifts) if shifts and isinstance(train, data.ImageSet) else None
    how["after_epoch"] = describe if options.folder and first else None
    history = fit(model, train, test, device=device, **how, **recipe)
    if not first:
        return
    if options.folder:
        describe()  # where all epochs were done by a version that did not do so
    for line in history:
        print(
            f"epoch {line['epoch']:>3}  loss {line['loss']:.4f}  train {line['train_accuracy']:6.2f} %  "
            f"test {line['test_accuracy']:6.2f} %  {line['seconds']:.1f} s"
        )
    if options.json:
        records.write({"configuration": configuration, "history": history, **where}, options.json)


def _images(options: Namespace, name: str) -> tuple:
    """Images for training and for the test, the stem's stride for their size, and how they are augmented, if at all."""
    from eamlib import data
    from eamlib.data import imagenet

    own = name not in data.DATASETS and ("/" in name or os.path.isdir(name))
    if not own:
        one_of("--data", name, data.DATASETS)
        if options.size is not None:
            raise ValueError(f"--size = {options.size!r} is for a folder of your own; {name} has a size.")
    in_memory = options.size is not None if own else name in data.IN_MEMORY
    if options.augment and not in_memory:
        raise ValueError(f"--augment is for the sets in memory; {name} is always cropped at random and mirrored.")
    read = partial(data.folder, name, size=options.size) if own else partial(data.load, name, classes=options.classes)
    train, test = read(train=True), read(train=False)
    stem_stride = data.STEM_STRIDES.get(name, 1 if (options.size or 224) < 64 else 2)
    if not in_memory:
        return train, test, stem_stride, imagenet.AUGMENTATION
    shifts = {"pad": options.size // 8, "flip": True} if own else data.AUGMENTATIONS[name]
    return train, test, stem_stride, shifts if options.augment else None
