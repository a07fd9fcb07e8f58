"""A training under way: everything that a step changes, kept in a folder epoch by epoch."""

from __future__ import annotations

import functools
import json
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from eamlib._checks import differences
from eamlib._extras import need
from eamlib.data.imagenet import ImageFolderSet
from eamlib.data.sets import ImageSet
from eamlib.training import checkpoint
from eamlib.training.lock import hold

HISTORY = "history.jsonl"
NETWORK = "network.json"  # what `python -m eamlib train --folder` builds again from what is kept here
LOCK = "lock"


@dataclass(eq=False)
class Run:
    """Keeps a training in a folder and finds it there again.

    Attributes:
        folder: for the checkpoints (:mod:`eamlib.training.checkpoint`) and ``history.jsonl``; None keeps nothing.
        tensorboard: folder for TensorBoard's curves; None draws none.
        configuration: what the result depends on, plain values by name.
        modules: networks by name, whose weights are kept; None is skipped.
        states: what else has a ``state_dict``, by name: optimizer, loss scaler; None is skipped.
        generators: random number generators by name. Torch's own, which dropout uses, are added to them.
        writes: whether this process writes; all processes read.
        history: one dict for each finished epoch.
        last: the last checkpoint's path, if there is one.
    """

    folder: Path | None
    tensorboard: str | Path | None
    configuration: dict[str, Any]
    modules: dict[str, nn.Module | None]
    states: dict[str, Any]
    generators: dict[str, torch.Generator]
    writes: bool = True
    history: list[dict] = field(default_factory=list)
    last: Path | None = None

    def __post_init__(self):
        self.modules = {name: module for name, module in self.modules.items() if module is not None}
        self.states = {name: part for name, part in self.states.items() if part is not None}
        device = next(parameter.device for module in self.modules.values() for parameter in module.parameters())
        self.generators = {"cpu": torch.default_generator, **self.generators}
        if device.type == "cuda":
            self.generators["cuda"] = torch.cuda.default_generators[device.index]
        self._curves = None

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Hold the folder while entered, and begin where its last good checkpoint was taken, if there is one.

        Raises:
            Busy: if another run holds the folder; the message says which.
            ValueError: if the folder belongs to another configuration; every difference is named.
            ModuleNotFoundError: if TensorBoard is wanted and not installed; the message says how to install it.
            OSError: if the folder cannot be written.
        """
        if draws := self.tensorboard is not None and self.writes:
            need("tensorboard", "tensorboard")  # before anything is written
            from torch.utils.tensorboard import SummaryWriter

        with ExitStack() as opened:
            if self.folder is not None:
                if self.writes:
                    self._check_held = opened.enter_context(hold(self.folder / LOCK))
                if found := checkpoint.latest(self.folder):
                    self._load(found)
                if self.writes:
                    # The checkpoint knows the history: a line too many, or half a line, of a killed run goes here.
                    (self.folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in self.history))
            if draws:
                self._curves = SummaryWriter(str(self.tensorboard), purge_step=len(self.history) + 1)
                opened.callback(self._curves.close)
            yield

    def record(self, line: dict) -> None:
        """Note a finished epoch: in the history, in a checkpoint, and as points of TensorBoard's curves.

        Raises:
            Busy: if the folder is no longer this run's.
            OSError: if it cannot be written, on a full disk for example; earlier checkpoints are intact.
        """
        self.history.append(line)
        if not self.writes:
            self.last = self.folder and checkpoint.path_of(self.folder, line["epoch"])
            return
        try:
            if self.folder is not None:
                self._check_held()
                weights = {name: module.state_dict() for name, module in self.modules.items()}
                self.last = checkpoint.save(self.folder, line["epoch"], weights, self._state())
                with (self.folder / HISTORY).open("a") as file:
                    file.write(json.dumps(line) + "\n")
            if self._curves:
                for name in line.keys() - {"epoch"}:
                    self._curves.add_scalar(name, line[name], line["epoch"])
                self._curves.flush()
        except OSError as error:
            why = f"epoch {line['epoch']} could not be kept ({error.strerror}); {self.kept()}"
            raise OSError(error.errno, why) from error

    def kept(self) -> str:
        """What a message says about the time after an interruption."""
        if self.folder is None:
            return "nothing is kept without a folder."
        if self.last is None:
            return f"{self.folder} holds no finished epoch, and the same call begins again."
        return f"{self.last} is kept, and the same call goes on from there."

    def _state(self) -> dict:
        return {
            "configuration": self.configuration,
            "history": self.history,
            "random": {name: generator.get_state() for name, generator in self.generators.items()},
            **{name: part.state_dict() for name, part in self.states.items()},
        }

    def _load(self, found: checkpoint.Checkpoint) -> None:
        if another := differences(self.configuration, found.state.get("configuration", {})):
            raise ValueError(
                f"folder = '{self.folder}' belongs to another run: {another}. Allowed: the configuration that it began "
                "with, or another folder."
            )
        self.history = found.state["history"]
        for name, module in self.modules.items():
            module.load_state_dict(found.weights[name])
        for name, part in self.states.items():
            part.load_state_dict(found.state[name])
        for name, generator in self.generators.items():
            if name in found.state["random"]:  # a run may move to another kind of device
                generator.set_state(found.state["random"][name])
        self.last = found.path


def described(configuration: dict[str, Any]) -> dict[str, Any]:
    """The same as plain values: what is none becomes a line that is the same for the same thing in another process."""
    return {name: _described(value) for name, value in configuration.items()}


def _described(thing: object) -> object:
    if thing is None or isinstance(thing, bool | int | float | str):
        return thing
    if isinstance(thing, ImageSet):
        return f"{thing.name}, {len(thing)} images, labels {zlib.crc32(thing.labels.numpy().tobytes()):08x}"
    if isinstance(thing, ImageFolderSet):  # wherever its folder is, on another machine, say
        names = "".join(f"{file.parent.name}/{file.name}\n" for file in thing.files)
        files = zlib.crc32(thing.labels.numpy().tobytes(), zlib.crc32(names.encode()))
        return f"{thing.name}, {len(thing)} images, files {files:08x}"
    if isinstance(thing, nn.Module):
        count = sum(parameter.numel() for parameter in thing.parameters())
        return f"{type(thing).__name__}, {count:,} parameters, structure {zlib.crc32(repr(thing).encode()):08x}"
    if isinstance(thing, functools.partial):  # its own repr holds an address
        return f"{_described(thing.func)}(*{thing.args}, **{thing.keywords})"
    return getattr(thing, "__qualname__", None) or repr(thing)
