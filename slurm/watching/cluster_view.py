"""Shows the cluster in 80 columns: partitions, users, why tasks wait, when they start, and your fair share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from slurm.watching.cluster_queue import ClusterError, ClusterView, PartitionView
from slurm.watching.status_view import duration
from slurm.watching.wait_reasons import explained

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

MAX_USERS = 12
_MAX_REASONS = 8


def cluster_tables(view: ClusterView) -> RenderableType:
    """Return everything that ``queue`` shows."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [
        _partitions(view),
        Text("nodes by state; cores and GPUs: free/total; run and wait: tasks", style="dim"),
    ]
    parts += [Text(""), _users(view)] if view.users else [Text("\nno jobs", style="dim")]
    if view.reasons:
        parts.append(Text("\nwhy tasks wait", style="bold"))
        parts += [
            Text(f"{count:>8,}  {explained(reason)}") for reason, count in list(view.reasons.items())[:_MAX_REASONS]
        ]
    if view.starts:
        parts.append(Text("\nexpected starts", style="bold"))
        for start in view.starts:
            away = duration(max(start.time - view.time, 0))
            parts.append(
                Text(
                    f"{away:>8}  {start.job} {start.name} ({start.user}, {start.partition})",
                    no_wrap=True,
                    overflow="ellipsis",
                )
            )
    for share in view.fair_share:
        parts.append(
            Text(
                f"\nfair share of {share.user} in {share.account}: {share.fair_share:.3f} "
                f"(share of the cluster {share.shares:.1%}, recent usage {share.usage:.1%})"
            )
        )
    return Group(*parts)


def watch_cluster(read: Callable[[], ClusterView], console: Console, every_s: float) -> None:
    """Show the cluster and refresh it until interrupted. A failed refresh shows its error and is tried again.

    Args:
        read: returns a new view.
        every_s: seconds between refreshes.
    """
    from rich.console import Group
    from rich.live import Live
    from rich.text import Text

    def look() -> RenderableType:
        clock = time.strftime("%H:%M:%S")
        try:
            return Group(Text(f"{clock}, every {every_s:g} s; Ctrl-C quits", style="dim"), cluster_tables(read()))
        except ClusterError as error:
            return Text(f"{clock} {error}", style="red")

    if not console.is_terminal:
        while True:
            console.print(look())
            console.print()
            time.sleep(every_s)
    with Live(look(), console=console, screen=True, auto_refresh=False) as live:
        while True:
            time.sleep(every_s)
            live.update(look(), refresh=True)


def _partitions(view: ClusterView) -> RenderableType:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("partition", "idle", "mix", "alloc", "drain", "down", "cores", "GPUs", "run", "wait", "limit"):
        table.add_column(name, justify="left" if name == "partition" else "right", no_wrap=True)
    for item in view.partitions:
        name = f"{item.name}{'*' if item.default else ''}{'' if item.state == 'up' else f' ({item.state})'}"
        states = [item.nodes[state] for state in ("idle", "mixed", "allocated", "drained")] + [
            item.nodes["down"] + item.nodes["other"]
        ]
        table.add_row(
            name,
            *(f"{count:,}" if count else "-" for count in states),
            f"{item.cpus_free:,}/{item.cpus_total:,}",
            gpus_free(item),
            f"{item.running:,}",
            f"{item.pending:,}",
            "none" if item.time_limit == "infinite" else item.time_limit,
            style=None if item.state == "up" else "dim",
        )
    return table


def gpus_free(item: PartitionView) -> str:
    """Format free GPUs, one line per type: ``a100 12/16``; a dash where there are none."""
    parts = [
        f"{'' if kind == 'gpu' else f'{kind} '}{item.gpus_free[kind]:,}/{total:,}"
        for kind, total in item.gpus_total.items()
    ]
    return "\n".join(parts) or "-"


def _users(view: ClusterView) -> RenderableType:
    from rich.table import Table

    states = [state for state in ("running", "pending") if any(state in user.tasks for user in view.users)]
    states += sorted({state for user in view.users for state in user.tasks} - set(states))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("user", *states, "nodes", "GPUs", "GPUs asked for"):
        table.add_column(name, justify="left" if name == "user" else "right", no_wrap=True)
    for user in view.users[:MAX_USERS]:
        counts = [f"{user.tasks[state]:,}" if state in user.tasks else "-" for state in states]
        table.add_row(user.user, *counts, f"{user.nodes:,}", f"{user.gpus:,}", f"{user.gpus_pending:,}")
    if len(view.users) > MAX_USERS:
        rest = view.users[MAX_USERS:]
        sums = [f"{sum(user.tasks.get(state, 0) for user in rest):,}" for state in states]
        sums += [f"{sum(getattr(user, name) for user in rest):,}" for name in ("nodes", "gpus", "gpus_pending")]
        table.add_row(f"{len(rest)} more", *sums, style="dim")
    return table
