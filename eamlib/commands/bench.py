"""Measure the time and memory of dynamic convolutions, of training and of the measures of redundancy.

layers: every way to run a dynamic convolution, on the 26 separable layers of MobileNetV1, some minutes on a CPU; --work
32-inference, 32-training, 224-inference or 224-single. models: the network static, dynamic and with EAM, and the
attention's share. memory: what training takes. train: images a second of the training loop with each of its options,
against torchvision's transforms and a DataLoader; --work static or eam. redundancy: a network's forward pass against
one that measures all its maps, and the time and memory of a layer of 1024 channels over 10,000 images. recipe: the
plan's recipe with one thing changed at a time, on held-out images of CIFAR-10, hours on a CPU; --work what is changed.
segmentation: why a dynamic segmentation network trails the static one, one thing changed at a time, over seeds, some
minutes on a CPU; --work what is changed. Threads: OMP_NUM_THREADS.
"""

from __future__ import annotations

import inspect
from argparse import ArgumentParser, Namespace

from eamlib._checks import one_of
from eamlib.commands import option, shared

LESS_MEMORY = "Measure less at once by --work, or take another --device."


def arguments(parser: ArgumentParser) -> None:
    option(parser, "what", "layers, models, memory, train, redundancy, recipe or segmentation")
    option(parser, "--work", "this work alone; may be repeated (default: all)", action="append")
    option(parser, "--dtype", "of layers: float32 or bfloat16 (default: float32)")
    seconds = "for each work, layer or network; memory takes none (default: 1.5 to 90)"
    option(parser, "--seconds", seconds, type=float)
    option(
        parser,
        "--rounds",
        "of all but memory: at most so many (default: 60); of segmentation, seeds (default: 3)",
        type=int,
    )
    option(parser, "--epochs", "of each training: of recipe (default: 10) and segmentation (default: 4)", type=int)
    shared(parser, "--device", "--json")


def run(options: Namespace) -> None:
    from eamlib import bench
    from eamlib._extras import need
    from eamlib.bench.timing import same_numerics
    from eamlib.papers import records
    from eamlib.training.loop import pick_device

    module = bench.BENCHES[one_of("what", options.what, bench.BENCHES)]
    if options.what == "train":
        need("bench", "PIL", "torchvision", "tqdm")
    device = pick_device(options.device)
    one_of("device", device.type, ("cpu", "cuda"))
    own = ("work", "dtype", "seconds", "rounds", "epochs")
    given = {name: value for name in own if (value := getattr(options, name)) is not None}
    for name in given.keys() - inspect.signature(module.measure).parameters:
        raise ValueError(f"--{name} = {given[name]!r} is no option of bench {options.what}.")
    if options.json:
        records.refuse_existing(options.json)
    where = records.provenance(device, "timm")
    print(f"{where['device']}, PyTorch {where['versions']['torch']}")
    results = []
    with same_numerics() as numerics:
        for result in module.measure(device, **given):
            print("", *module.lines(result), sep="\n", flush=True)
            results.append(result)
    if options.json:
        configuration = {"bench": options.what, **given}
        records.write({"configuration": configuration, "numerics": numerics, "results": results, **where}, options.json)
