"""``python -m eamlib``: the papers' cost and accuracy tables, training runs, and what all of it takes."""

from __future__ import annotations

import argparse
import errno
import io
import os
import re
import sys
from collections.abc import Callable, Sequence

from eamlib.lock import Busy

_WORKERS = (
    "of imagenet100: processes that decode; the result does not depend on it (default: one a core, 16 at most; give "
    "fewer where several runs share a machine)"
)


_STATUS = (
    "Exit status: 0, all is done; 1, a run diverged, could not be kept, the disk being full, say, or lacked memory, or "
    "a worker was killed; 2, an argument is wrong, or a package is missing; 3, another process is at work on what is "
    "not done; 130, stopped by Ctrl-C."
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status.

    The program's help says what each means.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal without our signs gets their numbers, "\u2212", rather than an error when all is done.
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, FileNotFoundError, FileExistsError, ModuleNotFoundError) as error:
        return _say(options, error, 2)
    except Busy as busy:
        return _say(options, busy, 3)
    except Exception as error:
        if _lacks_memory(error):
            asked = re.search(r"[Tt]ried to allocate ([\d.]+ \w+)", str(error))
            asked = f" ({asked[1]} more were asked for)" if asked else ""
            return _say(options, f"there is not enough memory{asked}. {options.less_memory}", 1)
        if isinstance(error, FloatingPointError | OSError):
            return _say(options, error, 1)
        raise  # a fault of ours: how it came about is to be seen
    except KeyboardInterrupt as stop:
        return _say(options, str(stop) or "stopped by Ctrl-C.", 130)
    return 0


def _lacks_memory(error: Exception) -> bool:
    """Whether the memory of this machine or of its device ran out, in this process or in one that decodes."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    says = r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED"
    return isinstance(error, MemoryError) or re.search(says, str(error)) is not None


def _say(options: argparse.Namespace, message: object, status: int) -> int:
    print(f"eamlib {options.command}: {message}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m eamlib",
        description="Dynamic convolution and EAM: what they cost and how they train.",
        epilog=_STATUS,
    )
    commands = parser.add_subparsers(dest="command", required=True)

    cost = commands.add_parser(
        "cost",
        help="a paper's cost tables, recomputed",
        description="eam: every row of the EAM paper's cost tables, parameters and FLOPs as printed and as counted "
        "here (fvcore's rules, eval mode, batch 1, 3 × 224 × 224, 100 classes), and where the FLOPs go. dynet: what "
        "the two versions of the DyNet paper say that dynamic convolutions save, and what they save here.",
    )
    cost.add_argument("--paper", default="eam", help="eam or dynet (default: %(default)s)")
    cost.set_defaults(run=_cost, less_memory="What else runs here takes the rest.")

    train = commands.add_parser(
        "train",
        help="train a network and print its accuracy epoch by epoch",
        description="Train a network on 32 × 32 images, or on ImageNet100 at 224 × 224. Without --data and --epochs "
        "the budget decides (EAMLIB_BUDGET=smoke|laptop|colab|full). On several GPUs: torchrun --nproc-per-node 2 -m "
        "eamlib train …",
        epilog=_STATUS,
    )
    train.add_argument("model", nargs="?", default="mobilenet_v1", help="the network (default: %(default)s)")
    train.add_argument("--conv", help="static, dynamic, dynet, eam-rcr, … (default: dynet for dy_…, else static)")
    train.add_argument("--width", type=float, default=0.25, help="width multiplier (default: %(default)s)")
    train.add_argument(
        "--data",
        help="digits, fashion_mnist, cifar10, cifar100, tiny_imagenet or tiny_imagenet_100; imagenet100, from an "
        "ImageNet folder under EAMLIB_DATA; or a folder of your own, with a folder of images for each class",
    )
    train.add_argument(
        "--size", type=int, help="of your own images: pixels a side, held in memory (default: 224, read from disk)"
    )
    train.add_argument("--classes", metavar="FILE", help="of imagenet100: another list of 100 WordNet ids, one a line")
    train.add_argument("--device", help="cpu, cuda, … (default: CUDA where there is one)")
    train.add_argument("--json", metavar="FILE", help="also write a record of the run; never overwrites one")

    recipe = train.add_argument_group("what is done in a step")
    recipe.add_argument("--epochs", type=int, help="passes over the training images")
    recipe.add_argument("--batch-size", type=int, default=64, help="images a step (default: %(default)s)")
    recipe.add_argument("--learning-rate", type=float, default=0.1, help="its maximum (default: %(default)s)")
    recipe.add_argument(
        "--weight-decay", type=float, default=5e-4, help="pull of the weights to 0 (default: %(default)s)"
    )
    recipe.add_argument(
        "--label-smoothing", type=float, default=0.0, help="share of a label spread over all classes (default: none)"
    )
    recipe.add_argument("--seed", type=int, default=0, help="of weights and order (default: %(default)s)")
    recipe.add_argument(
        "--augment",
        action="store_true",
        help="shift every training image at random, and mirror half of them where that makes sense; those of "
        "imagenet100 are always cropped at random and mirrored",
    )
    recipe.add_argument(
        "--temperature",
        type=float,
        help="start dynamic convolutions with evenly mixed kernels, at 30, say; it falls to 1 over a tenth of the run",
    )
    recipe.add_argument(
        "--ema", type=float, metavar="DECAY", help="test and keep the average of the weights; 0.999, say"
    )

    machine = train.add_argument_group("how it is run")
    machine.add_argument(
        "--precision",
        default="float32",
        help="float32, bf16 or fp16; the last two are faster on a GPU, a T4 wants fp16 (default: %(default)s)",
    )
    machine.add_argument(
        "--accumulate", type=int, default=1, help="run each batch in so many parts, if memory is short (default: 1)"
    )
    machine.add_argument("--compile", action="store_true", help="compile the network first: minutes, then faster steps")
    machine.add_argument(
        "--channels-last", action="store_true", help="the memory layout that GPUs like with bf16 and fp16"
    )
    machine.add_argument("--workers", type=int, help=_WORKERS)

    kept = train.add_argument_group("what is kept")
    kept.add_argument(
        "--folder",
        metavar="DIR",
        help="keep a checkpoint an epoch and history.jsonl here. Interrupted, even killed, the same command goes on "
        "after the last finished epoch; while it runs, no other may use the folder",
    )
    kept.add_argument("--tensorboard", metavar="DIR", help="curves for `tensorboard --logdir DIR`")
    train.set_defaults(
        run=_train,
        less_memory="Lower --batch-size, or run a batch in parts by --accumulate; lower --width or, with images on "
        "disk, --workers. All but the last make it another run, which needs another --folder.",
    )

    reproduce = commands.add_parser(
        "reproduce",
        help="train what an accuracy table of a paper needs, and print its figures against ours",
        description="Train every row of an accuracy table, each with several seeds, and print and save the paper's "
        "figures against ours. A run that is recorded is never done again, and one that was interrupted goes on after "
        "its last finished epoch: repeat the same command as often as you like. Begin with --list.",
        epilog="Tables: baseline, channels, selection, pooling and output-size of the EAM paper; g_t and fix-dy of the "
        "DyNet paper; of our own tricks, which takes the recipe apart, and attention, which has a placebo; all. A plan "
        "says beforehand what is run and what counts as an answer: results/plans/. "
        "A first try, a minute on a CPU: reproduce pooling --budget smoke --width 0.25 --seeds 2. "
        "On a Slurm cluster: sbatch --array=1-8 --wrap 'python -m eamlib reproduce baseline --data cifar100 --budget "
        "full --shard $SLURM_ARRAY_TASK_ID/8'. On two GPUs: the same with --shard 1/2 --device cuda:0 and --shard 2/2 "
        "--device cuda:1. " + _STATUS,
    )
    reproduce.add_argument(
        "table",
        nargs="?",
        default="plan",
        help="baseline, channels, selection, pooling, output-size, g_t, fix-dy, tricks, attention or all; or plan, the "
        "runs that a plan lists (default: %(default)s); or report, what the records of a plan say",
    )
    reproduce.add_argument(
        "--list", action="store_true", help="train nothing: show the rows, what is done and the minutes that are left"
    )

    planned = reproduce.add_argument_group("of a plan, which sets data, epochs, width and the least number of seeds")
    planned.add_argument(
        "--plan", default="results/plans/attention.json", metavar="FILE", help="the plan (default: %(default)s)"
    )
    planned.add_argument("--part", action="append", help="this part of it alone; may be repeated")

    what = reproduce.add_argument_group("what is trained")
    what.add_argument("--row", action="append", help="this row alone, by its name in --list; may be repeated")
    what.add_argument("--seeds", type=int, help="runs of each row, from seed 0 on (default: 3; of a plan, its least)")
    what.add_argument(
        "--budget",
        help="smoke, laptop, colab or full: sets data and epochs (default: EAMLIB_BUDGET; unset, colab with CUDA and "
        "smoke without)",
    )
    what.add_argument("--data", help="digits, fashion_mnist, cifar10, cifar100 or imagenet100, instead of the budget's")
    what.add_argument("--epochs", type=int, help="passes over the training images, instead of the budget's")
    what.add_argument("--width", type=float, help="width of every row, instead of the paper's; 0.25 suits a laptop")
    what.add_argument(
        "--precision",
        default="float32",
        help="of every row: float32, bf16 or fp16, the last on a GPU alone. The result depends on it: another than "
        "float32 has records and tables of its own (default: %(default)s)",
    )

    how = reproduce.add_argument_group("how it is run, which a record notes")
    how.add_argument("--compile", action="store_true", help="compile each network first: minutes, then faster steps")
    how.add_argument("--channels-last", action="store_true", help="the memory layout that GPUs like with bf16 and fp16")
    how.add_argument("--workers", type=int, help=_WORKERS)

    spread = reproduce.add_argument_group("where")
    spread.add_argument(
        "--shard", metavar="i/n", help="do share i (1 to n) of the runs, while other processes do the others"
    )
    spread.add_argument(
        "--engine",
        default="local",
        help="local, one run after another, or ray, over a Ray cluster (default: %(default)s)",
    )
    spread.add_argument("--device", help="cpu, cuda, … (default: CUDA where there is one)")
    spread.add_argument(
        "--results",
        default="results",
        metavar="DIR",
        help="for records and tables; all processes want the same (default: %(default)s)",
    )
    spread.add_argument(
        "--work", default="runs", metavar="DIR", help="for checkpoints of unfinished runs (default: %(default)s)"
    )
    spread.add_argument("--keep", action="store_true", help="keep the last checkpoints of finished runs, too")
    reproduce.set_defaults(
        run=_reproduce,
        less_memory="Lower --workers, let fewer processes share the machine, or take another --device: the batch is "
        "the recipe's. What is recorded and kept stays, and the same command goes on.",
    )

    publish = commands.add_parser(
        "publish",
        help="make small weights and a model card of a recorded run",
        description="Write the weights of a recorded run as safetensors in float16, and a model card with their test "
        "accuracy, below RESULTS/weights. Its checkpoint must have been kept: reproduce --keep.",
    )
    publish.add_argument("record", help="the run's record, results/DATA/NAME.json")
    publish.add_argument(
        "--work", default="runs", metavar="DIR", help="where the checkpoints are (default: %(default)s)"
    )
    publish.set_defaults(run=_publish, less_memory="What else runs here takes the rest.")

    redundancy = commands.add_parser(
        "redundancy",
        help="measure how much the channels of a network repeat each other",
        description="Run a network over real images and say, layer by layer, how much its channels repeat each other: "
        "how strongly they correlate, how many would do, how many are dead; and how much of all of them a few channels "
        "tell, as EAM takes it. A minute or so on a CPU, and some more for every --channels.",
        epilog="Networks: a run of `reproduce` by the name of its record below RESULTS, as "
        "fashion_mnist/mobilenet_v1-x0.25-dynamic-e5-seed0; torchvision/mobilenet_v2, torchvision/resnet18 and others, "
        "whose weights are downloaded; efficientnet_lite0, whose weights are a Python package; and untrained/ before "
        "any of these, the same network before its training. A first try: redundancy "
        "fashion_mnist/mobilenet_v1-x0.25-static-e5-seed0 --count 500 --channels 4",
    )
    redundancy.add_argument("network", metavar="NETWORK", help="what is measured; see below")
    redundancy.add_argument(
        "--images",
        help="test, the images that the run was tested on; sample, the 2,000 of Fashion-MNIST or CIFAR-100 that come "
        "with the book; or photographs, 240 overlapping crops of 12 photographs, for networks of ImageNet (default: "
        "test, or sample where the set is missing; photographs for networks of ImageNet)",
    )
    redundancy.add_argument("--count", type=int, help="only the first so many images (default: all)")
    redundancy.add_argument(
        "--channels",
        type=int,
        action="append",
        help="how many channels tell of the others: 4, say; may be repeated (default: 2, 4 and 8); 0 leaves that "
        "question out",
    )
    redundancy.add_argument("--device", help="cpu, cuda, … (default: CUDA where there is one)")
    redundancy.add_argument(
        "--results", default="results", metavar="DIR", help="where the records of runs are (default: %(default)s)"
    )
    redundancy.add_argument(
        "--work",
        default="runs",
        metavar="DIR",
        help="where the checkpoints of runs are that have no published weights (default: %(default)s)",
    )
    redundancy.add_argument("--json", metavar="FILE", help="also write a record; never overwrites one")
    redundancy.set_defaults(run=_redundancy, less_memory="Lower --count, or --channels.")

    bench = commands.add_parser(
        "bench",
        help="measure the time and memory of dynamic convolutions, of training and of the measures of redundancy",
        description="layers: every way to run a dynamic convolution, on the 26 separable layers of MobileNetV1, some "
        "minutes on a CPU. models: the network static, dynamic and with EAM, and the attention's share. memory: what "
        "training takes. train: images a second of the training loop with each of its options, against torchvision's "
        "transforms and a DataLoader. redundancy: a network's forward pass against one that measures all its maps, and "
        "the time and memory of a layer of 1024 channels over 10,000 images. Threads: OMP_NUM_THREADS.",
    )
    bench.add_argument("what", help="layers, models, memory, train or redundancy")
    bench.add_argument("--device", help="cpu or cuda (default: CUDA where there is one)")
    bench.add_argument(
        "--work",
        action="append",
        help="of layers: 32-inference, 32-training, 224-inference or 224-single; of train: static or eam; may be "
        "repeated (default: all)",
    )
    bench.add_argument("--dtype", help="of layers: float32 or bfloat16 (default: float32)")
    bench.add_argument(
        "--seconds",
        type=float,
        help="of layers, on each; of models and train, on each work; of redundancy, on the network (default: 1.5, 15, "
        "90 and 30)",
    )
    bench.add_argument("--rounds", type=int, help="of all but memory: at most so many (default: 60)")
    bench.add_argument("--json", metavar="FILE", help="also write a record; never overwrites one")
    bench.set_defaults(run=_bench, less_memory="Measure less at once by --work, or take another --device.")
    return parser


def _cost(options: argparse.Namespace) -> None:
    from eamlib._checks import one_of

    tables = {"eam": _cost_eam, "dynet": _cost_dynet}
    tables[one_of("--paper", options.paper, tables)]()


def _cost_dynet() -> None:
    from eamlib.papers.dynet import count_table, cut_table

    print(
        "Paper: Zhang et al. 2020 (version 2) and its first version of 2019. Ours: multiply-adds counted now, in M.\n"
    )
    print("FLOPs at 3 × 224 × 224 with 1000 classes, classifiers included, and the cut in %: of our count of the")
    print("original, and of the count that the original's own paper prints. Version 1 counted the convolutions alone,")
    print("version 2 also what predicts the coefficients and mixes the kernels.\n")
    line = "{:<18} {:>8} {:>8}  {:>8} {:>8} {:>8} {:>7}  {:>8} {:>8} {:>8} {:>7}"
    print(f"{'':<18} {'the original':>17}  {'convolutions alone':^34}  {'with predictors and mixing':^34}")
    columns = "ours", "of ours", "of paper"
    print(line.format("network", "ours", "paper", *columns, "v1", *columns, "v2"))
    remarks = []
    for row, ours in cut_table():
        printed = ours.over(row.printed * 10**6)
        first = ours.convolutions / 1e6, ours.first, printed.first, row.first
        second = ours.everything / 1e6, ours.second, printed.second, row.second
        counted = (f"{figure:.1f}" for figure in (*first, *second))
        network = row.network + _stars(row.remark, remarks)
        print(line.format(network, f"{ours.original / 1e6:.1f}", row.printed, *counted))
    print("\nPrinted counts. Ours: the convolutions; in brackets with predictors, mixing and classifier.\n")
    print(f"{'network':<20}{'paper':>10}  {'ours':>9} {'':>12} {'difference':>10}")
    for row, ours in count_table():
        convolution, everything = ours.multiply_adds["convolution"] / 1e6, sum(ours.multiply_adds.values()) / 1e6
        print(
            f"{row.network + _stars(row.remark, remarks):<20}{row.printed:>10,}  {convolution:>9,.1f} "
            f"{f'({everything:,.1f})':>12} {100 * (convolution / row.printed - 1):>+8.1f} %"
        )
    _print_readings()
    print()
    _print_remarks(remarks)


def _print_readings() -> None:
    from eamlib.papers.dynet import COUNT_ROWS, CUT_ROWS, reading_table

    table, printed = reading_table(), CUT_ROWS[0]
    [wider] = (row.printed for row in COUNT_ROWS if row.model == "dy_shuffle")
    near = [row for row in table if row.miss < 0.5]
    others = [next(row for row in table if row.reading.middle == middle) for middle in ("half", "quarter")]
    print(f"\nWhat the units of Dy-shuffle may be (eamlib.papers.dynet.Reading), in {len(table)} counts: with the")
    print(f"classifier or without, over the original's printed count or over ours. {len(near)} miss both cuts by less")
    print("than half a point; below them, the nearest with another width of the first 1 × 1. ×1.5: the convolutions.\n")
    line = "{:<8} {:<8} {:<9} {:<10} {:<10} {:>6}  {:>6} {:>6} {:>5}  {:>8}"
    print(line.format("1 × 1", "branch", "multiple", "predictor", "classifier", "over", "v1", "v2", "miss", "×1.5"))
    print(line.format("paper", "", "", "", "", "", printed.first, printed.second, "", f"{wider} M"))
    for row in near + others:
        reading, cut = row.reading, row.cut
        read = reading.middle, reading.made, reading.multiple, reading.predictor, "yes" if row.classifier else "no"
        counted = f"{cut.original / 1e6:.1f}", f"{cut.first:.2f}", f"{cut.second:.2f}", f"{row.miss:.2f}"
        print(line.format(*read, *counted, f"{100 * (row.wider / wider / 1e6 - 1):+.1f} %"))


def _cost_eam() -> None:
    from eamlib.papers.eam import cost_table

    print("Paper: Ding et al. 2021. Ours: counted now by fvcore's rules; a multiply-add is one FLOP. Figures in M.\n")
    head = f"{'':<31}{'parameters':^32}  {'FLOPs':^27}  {'share of the FLOPs (%)':>22}"
    columns = ("paper", "ours", "difference")
    print(head)
    print(
        f"{'network':<31}{columns[0]:>8} {columns[1]:>12} {columns[2]:>10}  {columns[0]:>7} {columns[1]:>8} "
        f"{columns[2]:>10}  {'conv.':>6} {'attention':>9} {'aggregation':>11}"
    )
    remarks = []
    for row, ours in cost_table():
        mark = _stars(row.remark, remarks)
        share = {part: 100 * flops / ours.flops for part, flops in ours.by_part.items()}
        print(
            f"{row.network:<31}{_millions(row.parameters)[:6] + mark:>8} {ours.parameters:>12,} "
            f"{_difference(ours.parameters, row.parameters, 3):>10}  {_millions(row.flops):>7} "
            f"{ours.flops / 1e6:>8.2f} {_difference(ours.flops, row.flops, 2):>10}  {share['convolution']:>6.2f} "
            f"{share['attention']:>9.2f} {share['aggregation']:>11.2f}"
        )
    print("\nThe rest of the FLOPs is batch normalisation and the classifier.")
    _print_remarks(remarks)


def _stars(remark: str, remarks: list[str]) -> str:
    """The mark of a remark, which joins ``remarks`` where it is new."""
    if remark and remark not in remarks:
        remarks.append(remark)
    return "*" * (remarks.index(remark) + 1) if remark else ""


def _print_remarks(remarks: list[str]) -> None:
    for i, remark in enumerate(remarks, start=1):
        print(f"{'*' * i} {remark}")


def _millions(printed: float | None) -> str:
    return "–" if printed is None else f"{printed:.2f}"


def _difference(ours: int, printed: float | None, digits: int) -> str:
    return "–" if printed is None else f"{ours / 1e6 - printed:+.{digits}f}"


def _train(options: argparse.Namespace) -> None:
    from functools import partial

    from eamlib import budget, create_model, data, imagenet, records
    from eamlib._checks import one_of
    from eamlib.augment import augment
    from eamlib.models import own_conv
    from eamlib.training import fit, pick_device, seed_everything

    plan = budget()
    name = options.data or plan.dataset
    own = "/" in name or os.sep in name or (name not in data.DATASETS and os.path.isdir(name))
    if not own:
        one_of("--data", name, data.DATASETS)
        if options.size is not None:
            raise ValueError(f"--size = {options.size!r} is for a folder of your own; {name} has a size.")
    in_memory = options.size is not None if own else name in data.IN_MEMORY
    if options.augment and not in_memory:
        raise ValueError(f"--augment is for the sets in memory; {name} is always cropped at random and mirrored.")
    epochs = plan.epochs if options.epochs is None else options.epochs
    device = pick_device(options.device)
    if options.json:
        records.refuse_existing(options.json)
    where = records.provenance(device)  # of the code that is loaded now, whatever the checkout holds at the end
    if own:
        train, test = (data.folder(name, train=part, size=options.size) for part in (True, False))
        stem_stride = 1 if in_memory and options.size < 64 else 2
        shifts = {"pad": options.size // 8, "flip": True} if in_memory else imagenet.AUGMENTATION
    else:
        train, test = (data.load(name, train=part, classes=options.classes) for part in (True, False))
        stem_stride = data.STEM_STRIDES[name]
        shifts = data.AUGMENTATIONS[name] if in_memory else imagenet.AUGMENTATION
    augmentation = partial(augment, **shifts) if in_memory and options.augment else None
    seed_everything(options.seed)
    model = create_model(
        options.model,
        options.conv,
        num_classes=len(train.classes),
        width_mult=options.width,
        stem_stride=stem_stride,
    )
    recipe = {
        name: getattr(options, name)
        for name in (
            "batch_size",
            "learning_rate",
            "weight_decay",
            "label_smoothing",
            "seed",
            "temperature",
            "ema",
            "precision",
            "accumulate",
        )
    }
    history = fit(
        model,
        train,
        test,
        epochs=epochs,
        augment=augmentation,
        device=device,
        compile=options.compile,
        channels_last=options.channels_last,
        workers=options.workers,
        folder=options.folder,
        tensorboard=options.tensorboard,
        **recipe,
    )
    if os.environ.get("RANK", "0") != "0":  # one of several processes, and the first one speaks for all
        return
    for line in history:
        print(
            f"epoch {line['epoch']:>3}  loss {line['loss']:.4f}  train {line['train_accuracy']:6.2f} %  "
            f"test {line['test_accuracy']:6.2f} %  {line['seconds']:.1f} s"
        )
    if options.json:
        configuration = {
            "model": options.model,
            "conv": options.conv or own_conv(options.model),
            "width_mult": options.width,
            "stem_stride": stem_stride,
            "data": train.name,
            "epochs": epochs,
            "augment": shifts if augmentation or not in_memory else None,
            **recipe,
        }
        if options.classes:
            configuration["classes"] = train.classes
        record = {"configuration": configuration, "history": history, **where}
        records.write(record, options.json)


def _reproduce(options: argparse.Namespace) -> None:
    from eamlib._checks import one_of
    from eamlib.papers.accuracy import TABLES

    one_of("table", options.table, (*TABLES, "all", "plan", "report"))
    if options.table == "report":
        _report(options)
        return
    given = {name: getattr(options, name) for name in ("compile", "channels_last", "workers")}
    how = {name: value for name, value in given.items() if value is not None and value is not False}
    (_reproduce_plan if options.table == "plan" else _reproduce_tables)(options, how)


def _reproduce_plan(options: argparse.Namespace, how: dict) -> None:
    from eamlib.papers import protocol

    for name in ("row", "budget", "data", "epochs", "width"):
        if (value := getattr(options, name)) is not None:
            raise ValueError(f"--{name} = {value!r} is the plan's; allowed with a plan are --part and --seeds.")
    if options.precision != "float32":
        raise ValueError(f"--precision = {options.precision!r} is the plan's; allowed is float32.")
    plan = protocol.read(options.plan)
    chosen = [plan.part(name) for name in options.part or ()] or plan.parts
    units = plan.units(tuple(part.name for part in chosen), options.seeds)
    if options.list:
        print(f"Plan {plan.name}: {plan.question}")
        rows = []
        for part in chosen:
            for name in part.data:
                seeds = part.seeds if options.seeds is None else min(options.seeds, part.most)
                title = f"{part.name}, {name}: {seeds} of at most {part.most} seeds"
                rows.append((title, part.plan(name, seeds), [row for _, row in part.rows]))
        _list_units(options, rows, units, how)
        return
    protocol.refuse_uncommitted(options.plan)
    _run(options, units, {**how, "plan": plan})


def _report(options: argparse.Namespace) -> None:
    from pathlib import Path

    from eamlib.papers import findings, protocol

    found = findings.findings(protocol.read(options.plan), options.results)
    print(findings.markdown(found))
    path = findings.save(found, Path(options.results) / "plans" / f"{found['plan']}-report")
    print(f"Saved as {path}, with its values as JSON and its two pictures beside it.")


def _reproduce_tables(options: argparse.Namespace, how: dict) -> None:
    from eamlib.papers import report
    from eamlib.papers.accuracy import TABLES
    from eamlib.papers.units import check, plan

    tables = list(TABLES.values()) if options.table == "all" else [TABLES[options.table]]
    if options.part:
        raise ValueError(f"--part = {options.part[0]!r} is of a plan; allowed with a table is --row.")
    if options.row and len(tables) > 1:
        raise ValueError(f"--row = {options.row[0]!r} wants one table; allowed: {', '.join(TABLES)}.")
    chosen = [tables[0].row(name) for name in dict.fromkeys(options.row or ())]
    wanted = plan(
        options.budget,
        data_name=options.data,
        epochs=options.epochs,
        seeds=3 if options.seeds is None else options.seeds,
        width=options.width,
        precision=options.precision,
    )
    units = wanted.units(row for table in tables for row in chosen or table.rows)
    check(units)
    if options.list:
        seeds = "seed 0" if wanted.seeds == 1 else f"seeds 0 to {wanted.seeds - 1}"
        width = "the paper's widths" if wanted.width is None else f"width {wanted.width:g}"
        precision = "" if wanted.precision == "float32" else f", {wanted.precision}"
        print(f"Budget {wanted.budget}: {wanted.epochs} epochs of {wanted.data}, {width}, {seeds}{precision}.")
        rows = [(f"{table.name}: {table.title} ({table.paper})", wanted, chosen or table.rows) for table in tables]
        _list_units(options, rows, units, how)
        return

    def show() -> None:
        for table in tables:
            built = report.build(table, wanted, options.results)
            print(f"\n{report.markdown(built)}\nSaved as {report.save(built, options.results)}.")

    _run(options, units, how, show)


def _run(options: argparse.Namespace, units: list, how: dict, show: Callable[[], None] = lambda: None) -> None:
    """Train the share of ``units`` that is asked for, and then ``show`` what there is, before those that diverged, or
    that others have not yet ended, are an error."""
    from eamlib.papers.reproduce import reproduce
    from eamlib.papers.units import shard

    if options.shard:
        units = shard(units, options.shard)
    diverged, busy = [], []
    outcomes = reproduce(
        units,
        results=options.results,
        work=options.work,
        device=options.device,
        engine=options.engine,
        keep=options.keep,
        **how,
    )
    for outcome in outcomes:
        print(f"{outcome.unit.data}/{outcome.unit.name}: {outcome.state}, {outcome.message}", flush=True)
        diverged += [outcome.unit.name] if outcome.state == "diverged" else []
        busy += [outcome.unit] if outcome.state == "busy" else []
    show()
    if diverged:
        raise FloatingPointError(f"{len(diverged)} of {len(units)} runs diverged: {', '.join(diverged)}.")
    if waiting := [unit.name for unit in busy if unit.record(options.results) is None]:
        raise Busy(f"others are at work on {len(waiting)} of {len(units)} runs: {', '.join(waiting)}.")


def _publish(options: argparse.Namespace) -> None:
    from eamlib.papers import weights

    path = weights.publish(options.record, work=options.work)
    print(f"{path} ({path.stat().st_size / 1e6:.2f} MB)\n\n{path.with_suffix('.md').read_text(encoding='utf-8')}")


def _list_units(options: argparse.Namespace, rows, units, how: dict) -> None:
    """Print what is done of ``rows``, (title, plan, rows of a table) each, as far as ``units`` has it."""
    from eamlib import data, records
    from eamlib.papers.forecast import Forecast
    from eamlib.papers.units import shard
    from eamlib.training import check_precision, pick_device

    device = pick_device(options.device)
    check_precision(rows[0][1].precision, device)
    if options.shard:
        units = shard(units, options.shard)
    forecast = Forecast(options.results, options.work, device, **how)
    on_disk = any(plan.data not in data.IN_MEMORY for _, plan, _ in rows)
    decoding = ", decoding not counted" if on_disk else ""
    print(
        f"On {records.device_name(device)}. Minutes from records of this device; ~ from one step, timed now{decoding}."
    )
    counted, total = set(), 0.0
    for title, plan, of_title in rows:
        print(f"\n{title}")
        print(f"  {'row':<34}{'':<38}{'done':>10}{'minutes left':>14}")
        for progress in forecast.rows(plan, of_title, units):
            minutes = f"{'' if progress.measured else '~'}{progress.minutes:,.1f}"
            total += 0 if progress.units[0] in counted else progress.minutes
            counted.update(progress.units)
            print(
                f"  {progress.row.name:<34}{progress.row.title:<38}"
                f"{f'{progress.done} of {len(progress.units)}':>10}{minutes:>14}",
                flush=True,
            )
    print(f"\nIn all {total:,.1f} minutes, one run after another; rows that are the same runs count once.")


def _redundancy(options: argparse.Namespace) -> None:
    from eamlib import records
    from eamlib.papers import redundancy
    from eamlib.papers.subjects import subject
    from eamlib.training import pick_device

    device = pick_device(options.device)
    if options.json:
        records.refuse_existing(options.json)
    where = records.provenance(device, "scikit-image", "scikit-learn")
    channels = redundancy.COUNTS if options.channels is None else [n for n in options.channels if n != 0]
    found = subject(
        options.network, images=options.images, count=options.count, results=options.results, work=options.work
    )
    print(f"{found.name} ({found.origin}), {len(found.images):,} images of {found.images.name}.", flush=True)
    tables = redundancy.measure(found, channels=channels, device=device)
    print(*redundancy.lines(tables), sep="\n")
    if options.json:
        configuration = {
            "network": found.name,
            "weights": found.origin,
            "images": found.images.name,
            "count": len(found.images),
            "channels": list(channels),
        }
        records.write({"configuration": configuration, **redundancy.packed(tables), **where}, options.json)


def _bench(options: argparse.Namespace) -> None:
    import inspect

    from eamlib import bench, records
    from eamlib._checks import one_of
    from eamlib.bench.timing import same_numerics
    from eamlib.training import pick_device

    module = bench.BENCHES[one_of("what", options.what, bench.BENCHES)]
    device = pick_device(options.device)
    one_of("device", device.type, ("cpu", "cuda"))
    given = {name: getattr(options, name) for name in ("work", "dtype", "seconds", "rounds")}
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        if name not in inspect.signature(module.measure).parameters:
            raise ValueError(f"--{name} = {given[name]!r} is no option of bench {options.what}.")
    if options.json:
        records.refuse_existing(options.json)
    where = records.provenance(device, "timm", "accelerate")
    print(f"{where['device']}, PyTorch {where['versions']['torch']}")
    results = []
    with same_numerics() as numerics:
        for result in module.measure(device, **given):
            print("", *module.lines(result), sep="\n", flush=True)
            results.append(result)
    if options.json:
        configuration = {"bench": options.what, **given}
        records.write({"configuration": configuration, "numerics": numerics, "results": results, **where}, options.json)


if __name__ == "__main__":
    sys.exit(main())
