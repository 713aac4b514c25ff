"""A task's nodes, for stages that run on several of them. Knows no scheduler: ``jobs.nodes`` finds the nodes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Nodes:
    """This node among those of a task, and where they meet.

    Attributes:
        count: nodes.
        index: this one; 0 is the first.
        address: of the first.
        port: free on the first when it was chosen; 0 where there is one node, which takes any port.
        secret: what only the task's nodes know; who talks to its Ray must show it.
    """

    count: int = 1
    index: int = 0
    address: str = "127.0.0.1"
    port: int = 0
    secret: str = ""


ALONE = Nodes()
