"""Several processes that train one network together, as ``torchrun`` starts them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Place:
    """Where a process trains, and with how many others. Alone, nothing below does anything.

    Attributes:
        device: its own.
        process, processes: its number, from 0, and of how many.
    """

    device: torch.device
    process: int = 0
    processes: int = 1

    @classmethod
    def of_this_process(cls, device: torch.device) -> Place:
        """Join the others, where a launcher has started several; each then has a CUDA device of its own."""
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(device)
        if device.type == "cuda":
            device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
            torch.cuda.set_device(device)
        if not dist.is_initialized():  # once for all trainings of a process
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
        return cls(device, dist.get_rank(), dist.get_world_size())

    def together(self, network: nn.Module) -> nn.Module:
        """``network``, with the first process's weights, and with gradients that are the mean over all processes."""
        return network if self.processes == 1 else DistributedDataParallel(network)

    def apart(self, network: nn.Module, more: bool) -> AbstractContextManager:
        """Around a pass: its gradients stay with each process where ``more`` of the batch is to come."""
        return network.no_sync() if more and self.processes > 1 else nullcontext()

    def total(self, tensor: Tensor) -> Tensor:
        """``tensor``, in place, summed over all processes."""
        if self.processes > 1:
            dist.all_reduce(tensor)
        return tensor

    def share(self, tensors: Iterable[Tensor]) -> None:
        """Give all processes what the first one has."""
        for tensor in tensors if self.processes > 1 else ():
            dist.broadcast(tensor, src=0)
