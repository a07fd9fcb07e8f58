"""Small trained networks that come with the book: weights in half precision, a model card beside each.

``python -m eamlib publish RECORD`` makes both of a run whose checkpoint was kept (``reproduce --keep``), and
:func:`load` brings the network back, on any machine. The file is safetensors: numbers, and the run's configuration as
text. Nothing in it is ever executed.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import Tensor, nn

from eamlib import data
from eamlib._assets import published_bytes
from eamlib._extras import need
from eamlib._files import replace
from eamlib.papers import records
from eamlib.papers.accuracy import TABLES
from eamlib.papers.training_runs import SIZES, Plan, Unit
from eamlib.training import checkpoint
from eamlib.training.loading import lines
from eamlib.training.loop import evaluate, pixel_statistics

__all__ = ["PIXEL_STATISTICS", "again", "load", "publish"]

FOLDER = "weights"  # below the results
# Mean and standard deviation of the training images' pixels, for who has a network and not those images.
PIXEL_STATISTICS = {
    name: tuple(torch.tensor(values).view(3, 1, 1) for values in both)
    for name, both in {
        "fashion_mnist": ([0.21899983] * 3, [0.33181137] * 3),
        "cifar10": ((0.49139968, 0.48215842, 0.44653091), (0.24703223, 0.24348513, 0.26158784)),
        "cifar100": ((0.50707513, 0.48654887, 0.44091785), (0.26733428, 0.25643846, 0.27615047)),
    }.items()
}


def publish(record: str | Path, *, work: str | Path = "runs") -> Path:
    """Write the trained weights of a recorded run, and their card.

    The floating-point numbers are rounded to float16, which halves the file; the card has the test accuracy of what is
    left, measured now, beside the one that the record has.

    Args:
        record: path of the run's record, ``RESULTS/DATA/NAME.json``.
        work: folder of checkpoints, as in :func:`eamlib.papers.reproduce.run_unit`.

    Returns:
        Path of the weights, ``RESULTS/weights/DATA/NAME.safetensors``; the card has the suffix ``.md``.

    Raises:
        FileNotFoundError: if there is no such record, no checkpoint of the run, or no data to test with.
        FileExistsError: if it is published already.
        ValueError: if the record is not of a reproduction, or the checkpoint is of another run, or unfinished.

    Example:
        >>> publish("results/digits/of-no-run.json")
        Traceback (most recent call last):
            ...
        FileNotFoundError: [Errno 2] No such file or directory: 'results/digits/of-no-run.json'
    """
    need("reproduce", "safetensors")
    from safetensors.torch import save

    record = Path(record)
    unit, content = recorded(record)
    path = record.absolute().parents[1] / FOLDER / unit.data / f"{unit.name}.safetensors"
    if path.exists():
        raise FileExistsError(f"{path} exists; what is published is never overwritten. Move it away first.")
    halves = {name: _half(tensor) for name, tensor in kept(record, work=work).items()}
    model = unit.build()
    model.load_state_dict(halves)
    mean, std = pixel_statistics(data.load(unit.data))
    accuracy = evaluate(model, data.load(unit.data, train=False), mean=mean, std=std)
    about = {"configuration": json.dumps(content["configuration"]), "test_accuracy": f"{accuracy:.2f}"}
    binary = save(halves, metadata=about)

    path.parent.mkdir(parents=True, exist_ok=True)
    replace(path.with_suffix(".md"), _card(unit, content, accuracy, len(binary)))
    replace(path, binary)
    return path


def recorded(record: str | Path) -> tuple[Unit, dict]:
    """The run that a record is of, and the record.

    Raises:
        FileNotFoundError: if there is no such record.
        ValueError: if it is not of a reproduction, or not of a whole run.
    """
    content = records.read_run(record)
    if "options" not in content["configuration"]:
        raise ValueError(f"record = '{record}' is not of a reproduction; allowed are the records that it writes.")
    return Unit.of(content["configuration"]), content


def kept(record: str | Path, *, work: str | Path = "runs") -> dict[str, Tensor]:
    """The trained weights of a recorded run, from the checkpoint that was kept of it.

    Args and errors are those of :func:`publish`.
    """
    record = Path(record)
    unit, content = recorded(record)
    folder = Path(work) / unit.data / unit.name
    found = checkpoint.latest(folder)
    if found is None:
        results = record.absolute().parents[1]
        raise FileNotFoundError(
            f"{folder} holds no checkpoint of {unit.name}: it is left there by reproduce --keep. "
            f"{again(unit, f'{results.name}-again')}"
        )
    if found.state["history"] != content["history"]:
        raise ValueError(f"{found.path} is of another run than record = '{record}', or it is unfinished.")
    return found.weights.get("average", found.weights["weights"])


def again(unit: Unit, results: str = "runs") -> str:
    """How to train a run once more beside the record that there is, which stays, and keep its checkpoint.

    Example:
        >>> from eamlib.papers.training_runs import plan
        >>> from eamlib.papers.accuracy import TABLES
        >>> again(plan("smoke", width=0.25).unit(TABLES["pooling"].row("max"), seed=0))
        'Train it once more: python -m eamlib reproduce pooling --row max --data digits --epochs 6 --width 0.25 ...'
    """
    plan = Plan("smoke", unit.data, unit.epochs, unit.seed + 1, unit.width_mult, unit.precision)
    rows = ((table, row) for table in TABLES.values() for row in table.rows if plan.unit(row, unit.seed) == unit)
    table, row = next(rows, (None, None))
    if row is None:
        return "No table has a row by which it could be trained once more."
    precision = "" if unit.precision == "float32" else f" --precision {unit.precision}"
    return (
        f"Train it once more: python -m eamlib reproduce {table.name} --row {row.name} --data {unit.data} --epochs "
        f"{unit.epochs} --width {unit.width_mult:g}{precision} --seeds {unit.seed + 1} --keep --results {results}. "
        f"Its record is then {unit.path(results)}."
    )


def load(name: str) -> nn.Module:
    """A network that comes with the book, in eval mode, on the CPU, in float32.

    Args:
        name: of the run below its data: ``"fashion_mnist/mobilenet_v1-x0.25-eam-rcr-e5-seed0"``.

    Its input is ``[B, 3, 32, 32]``, normalised with :func:`eamlib.training.pixel_statistics` of the training images.

    Raises:
        FileNotFoundError: if it is not in this checkout and cannot be fetched: ``eamlib._assets.published_bytes``
            says from where.

    Example:
        >>> model = load("fashion_mnist/mobilenet_v1-x0.25-eam-rcr-e5-seed0")
        >>> images = eamlib.data.sample().images[:4]
        >>> normalized = eamlib.training.normalize(images, *PIXEL_STATISTICS["fashion_mnist"])
        >>> model(normalized).shape
        torch.Size([4, 10])
    """
    need("reproduce", "safetensors")  # before the file is fetched
    return built(published_bytes(f"{FOLDER}/{name}.safetensors"))


def built(binary: bytes) -> nn.Module:
    """The network of a file that :func:`publish` wrote, as :func:`load` returns it."""
    need("reproduce", "safetensors")
    from safetensors.torch import load as from_safetensors

    length = int.from_bytes(binary[:8], "little")
    about = json.loads(binary[8 : 8 + length])["__metadata__"]
    model = Unit.of(json.loads(about["configuration"])).build()
    model.load_state_dict(from_safetensors(binary))
    return model.eval()


def _half(tensor: Tensor) -> Tensor:
    return (tensor.half() if tensor.is_floating_point() else tensor).contiguous()


def _card(unit: Unit, record: dict, accuracy: float, size: int) -> str:
    configuration, last = record["configuration"], record["history"][-1]
    options = "".join(f", {name} {value}" for name, value in unit.options)
    recipe = "\n".join(
        f"| {name.replace('_', ' ')} | {value} |"
        for name, value in configuration.items()
        if name not in ("model", "conv", "width_mult", "options", "data", "changes")
    )
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    weights = f'load_file("{unit.name}.safetensors")'
    loading = lines("from safetensors.torch import load_file", weights, unit.model, unit.conv, **unit.arguments)
    return f"""# {unit.name}

`{unit.model}` ×{unit.width_mult:g} with `conv="{unit.conv}"`{options}, trained on `{unit.data}`:
{size / 1e6:.2f} MB, weights in float16, safetensors.

```python
{loading}
```

These lines run in the folder of that file. Of what comes with the book,
`eamlib.book.weights.load("{unit.data}/{unit.name}")` fetches the file and does the same.

**Input**: `[B, 3, 32, 32]`, pixels from 0 to 1, normalised with the training set's mean and standard deviation
(`eamlib.training.pixel_statistics`). **Output**: a logit for each of the {SIZES[unit.data][2]} classes.

**Test accuracy**: {accuracy:.2f} % of these weights; {last["test_accuracy"]:.2f} % of the same before they were rounded
(recorded run: {record["device"]}; {versions}; commit {record["commit"]}; {record["date"]}).

**Meant for** the chapters on redundancy, and for trying out the library without training. It is a small network after
a short training, one seed of several: no measure of what the architecture can reach, and fit for no other use.

| trained with | |
|---|---|
{recipe}

The same licence as the code. The data have their own.
"""
