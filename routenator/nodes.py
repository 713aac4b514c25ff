"""The nodes of a multi-node task. Independent of any scheduler: ``jobs.nodes`` finds the nodes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Nodes:
    """This node's place among the nodes of a task, and their rendezvous address.

    Attributes:
        count: number of nodes.
        index: this node; 0 is the first.
        address: of the first node.
        port: on the first node, free when it was chosen; 0 on a single node, which takes any port.
        secret: known to the task's nodes only; every client of the task's Ray must present it.
    """

    count: int = 1
    index: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    secret: str = ""


ALONE = Nodes()
