"""Measure how much the channels of a network repeat each other.

Run a network over real images and print, layer by layer, how strongly its channels correlate, how many would do and how
many are dead; and how much a few channels tell about all of them, which EAM relies on. It takes a minute or so on a
CPU, and some more for every --channels.

Networks: a run of `reproduce` by the name of its record below RESULTS or among those that come with the book, as
fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0; the folder of a `train --folder`; torchvision/mobilenet_v2,
torchvision/resnet18 and others, whose weights are downloaded; efficientnet_lite0, whose weights are a Python package;
and untrained/ before any of these, the same network before its training. A first try: redundancy
fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0 --count 500 --channels 4

Images: test, those that the run was tested on; sample, the 2,000 of Fashion-MNIST or CIFAR-100 that come with the book;
for networks of ImageNet photographs, 240 overlapping crops of 12 photographs, or tiny_imagenet, 10,000 distinct ones of
64 pixels a side, enlarged to 224. Without --images it is test, or sample where the set is missing, and for networks of
ImageNet photographs.
"""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path

from eamlib.commands import option, shared

LESS_MEMORY = "Lower --count or --channels."


def arguments(parser: ArgumentParser) -> None:
    option(parser, "network", "what is measured; see below")
    option(parser, "--images", "test, sample, photographs or tiny_imagenet; see below (default: what suits NETWORK)")
    option(parser, "--count", "only the first so many images (default: all)", type=int)
    channels = "so many channels tell about the others; may be repeated; 0 leaves it out (default: 2, 4 and 8)"
    option(parser, "--channels", channels, type=int, action="append")
    imitated = (
        "instead: what its attention is worth, exchanged, and imitated by networks that learn from so many images"
    )
    option(parser, "--imitate", imitated, type=int)
    option(parser, "--results", "where the records of runs are (default: results, then runs)", metavar="DIR")
    shared(parser, "--work", "--device", "--json")


def run(options: Namespace) -> None:
    from eamlib.book import imitation_records, redundancy_records
    from eamlib.book.networks import UNTRAINED, network
    from eamlib.papers import records
    from eamlib.training.loop import pick_device

    device = pick_device(options.device)
    if options.json:
        records.refuse_existing(options.json)
    where = records.provenance(device, "scikit-image", "scikit-learn")
    channels = redundancy_records.COUNTS if options.channels is None else [n for n in options.channels if n != 0]
    record = f"{options.network.removeprefix(UNTRAINED)}.json"
    folders = (folder for folder in ("results", "runs") if Path(folder, record).is_file())
    results = options.results or next(folders, "results")
    found = network(options.network, images=options.images, count=options.count, results=results, work=options.work)
    print(f"{found.name} ({found.origin}), {len(found.images):,} images of {found.images.name}.", flush=True)
    if options.imitate is None:
        how, digits, lines = {"channels": list(channels)}, 4, redundancy_records.lines
        tables = redundancy_records.measure(found, channels=channels, device=device)
    else:
        how, digits, lines = {"train": options.imitate}, 6, imitation_records.lines
        tables = imitation_records.measure(found, options.imitate, device=device)
    found_so = redundancy_records.packed(tables, digits)
    # Of the rounded numbers, as the record is printed later: what is rounded twice may differ in its last digit.
    print(*lines(redundancy_records.unpacked(found_so)), sep="\n")
    if options.json:
        configuration = {
            "network": found.name,
            "weights": found.origin,
            "images": found.images.name,
            "count": len(found.images),
        }
        records.write({"configuration": configuration | how, **found_so, **where}, options.json)
