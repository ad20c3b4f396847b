"""PyTorch's process group of one machine: joined through a file, and by sockets on the loopback interface alone."""

import os
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

_LOOPBACK = Path("/sys/class/net/lo")
_INTERFACES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


@dataclass(frozen=True, slots=True)
class Group:
    """How many ranks there are, where they meet, and how long one waits for the others within a step.

    `threads` are those that each computes with on a CPU.
    """

    ranks: int
    meeting: Path
    device_type: str
    wait_s: float
    threads: int

    def join(self, rank: int) -> None:
        """Returns when all ranks have joined; raises RuntimeError when one has not in time."""
        if _LOOPBACK.exists():
            for name in _INTERFACES:
                os.environ.setdefault(name, _LOOPBACK.name)
        os.environ["LOCAL_RANK"] = str(rank)  # by which transformers chooses the card
        if self.device_type == "cuda":
            torch.cuda.set_device(rank)
        else:
            torch.set_num_threads(self.threads)
        dist.init_process_group(
            "nccl" if self.device_type == "cuda" else "gloo",
            store=dist.FileStore(str(self.meeting), self.ranks),  # type: ignore[attr-defined]  # it is documented
            rank=rank,
            world_size=self.ranks,
            timeout=timedelta(seconds=self.wait_s),
            device_id=torch.device("cuda", rank) if self.device_type == "cuda" else None,
        )
