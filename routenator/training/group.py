"""Joins the training processes of a job into torch's process group, without a rendezvous that strangers can reach.

torch's own launcher opens a store on all addresses, without authentication, and unpickles what it finds in it: anybody
on the network could run code as this user. Here the processes of one node meet through a file in a folder that only its
owner may enter, and talk over loopback. Those of several nodes meet through a store that listens on the address of the
first node alone; torch gives it no authentication, but nothing that is put there is unpickled.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from routenator.nodes import Nodes

if TYPE_CHECKING:
    from torch.distributed import Store

STORE_VARIABLE = "ROUTENATOR_STORE"  # environment: the file through which the processes of one node meet
# As torch's launcher names them; accelerate and DeepSpeed read them too.
FOREIGN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "GROUP_RANK")
_TIMEOUT = timedelta(minutes=30)  # for one collective; the first waits for every process to load its model


def group_environment(local: int, processes: int, nodes: Nodes, folder: Path) -> dict[str, str]:
    """Return the variables that give a process its place in the group.

    Args:
        local: index of the process on this node.
        processes: number of processes per node.
        nodes: this node's place.
        folder: a folder that only this user may enter; used on a single node.
    """
    variables = {
        "RANK": str(nodes.index * processes + local),
        "WORLD_SIZE": str(nodes.count * processes),
        "LOCAL_RANK": str(local),
        "LOCAL_WORLD_SIZE": str(processes),
        "GROUP_RANK": str(nodes.index),
        "MASTER_ADDR": nodes.address,
        "MASTER_PORT": str(nodes.port),
    }
    if nodes.count == 1:
        variables |= {STORE_VARIABLE: str(folder / "store"), "GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return variables


def join_group(cuda: bool) -> None:
    """Join the process group named by the environment; a process that is alone joins none.

    accelerate and DeepSpeed use a group that exists, and would otherwise make one by torch's environment variables.
    """
    import torch.distributed as dist

    if "WORLD_SIZE" not in os.environ:
        return
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    file = os.environ.get(STORE_VARIABLE)
    store = dist.FileStore(file, world) if file else _network_store(rank, world)
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=world, timeout=_TIMEOUT)


def _network_store(rank: int, world: int) -> Store:
    """Return a client of the store on the first node; the first process also serves it."""
    import torch.distributed as dist

    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    listener = None
    if rank == 0:
        # By itself the store would listen on every address of this node.
        listener = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET)
    return dist.TCPStore(
        address,
        port,
        world,
        is_master=rank == 0,
        timeout=_TIMEOUT,
        master_listen_fd=listener.detach() if listener else None,
    )
