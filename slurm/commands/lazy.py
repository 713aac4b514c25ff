"""The table of all commands, and a group that imports a command's module only when it is called.

So command modules can import what they need at the top, and ``--help`` is still fast.
"""

from __future__ import annotations

import importlib
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup

from routenator.extras import MissingPackageError, require
from routenator.terminal import put

# Command -> its module in slurm/commands and the first line of its help, in the order of ``--help``.
COMMANDS = {
    "run": ("runs", "Check, plan and submit every stage of a run."),
    "retry": ("retry", "Resume a run: submit only the shards that are missing."),
    "plan": ("runs", "Show what `run` would do and cost."),
    "config": ("config", "Show a resolved config, or list what comes with the package."),
    "preview": ("preview", "Show the first rows of a run without running it."),
    "cancel": ("watch", "Stop this run's jobs and processes."),
    "report": ("report", "Print the results of a run, finished or not."),
    "pilot": ("topup", "Measure acceptance with a small run up to merge."),
    "acceptance": ("topup", "Show the acceptance rates of a run's requests."),
    "topup": ("topup", "Fill the quotas that a run did not meet."),
    "experiment": ("experiments", "Run an experiment and write its results."),
    "status": ("watch", "Show a run's progress, and why shards failed."),
    "monitor": ("monitor", "Watch a run live in the terminal."),
    "logs": ("watch", "Print the end of each shard's latest log, or follow one."),
    "queue": ("watch", "Show the cluster: what is free, who waits, and why."),
    "runs": ("watch", "List the runs in a folder, newest first."),
    "exporter": ("exporter", "Serve Prometheus metrics of the queue and of runs."),
    "evaluate": ("evaluate", "Score a base model or an adapter on a golden file."),
    "compare": ("evaluate", "Test whether RUN_B is better than RUN_A."),
    "ask": ("ask", "Ask a trained model: the calls for a query."),
    "serve": ("serve", "Serve a trained model behind OpenAI's API."),
    "export": ("export", "Export a trained model for use elsewhere."),
    "hub": ("hub", "Push exports and data sets to a model hub."),
    "doctor": ("machine", "Check what this machine and its cluster provide."),
    "domain": ("domain", "Create, check, fit, derive and convert domains."),
    "golden": ("golden", "Import, join, hide and split golden sets."),
    "models": ("machine", "Prepare weights that come as Python packages."),
    "devcluster": ("machine", "Start and stop a test Slurm on this machine."),
}
# Command -> the extra without which its module cannot be imported.
NEEDS = {"monitor": "monitor", "exporter": "metrics", "hub": "hub"}


def load_command(name: str) -> TyperCommand | TyperGroup:
    """Import a command's module and return the command.

    Raises:
        MissingPackageError: the module needs a package that is not installed.
    """
    if name in NEEDS:
        require(NEEDS[name], name)
    module = importlib.import_module(f"slurm.commands.{COMMANDS[name][0]}")
    parent = typer.Typer(rich_markup_mode=None)
    parent.add_typer(module.app)
    return cast("TyperCommand | TyperGroup", typer.main.get_group(parent).commands[name])


class LazyGroup(TyperGroup):
    """A group of the commands in the table. ``--help`` and suggestions need only their names and help texts."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = {name: TyperCommand(name, help=text) for name, (_, text) in COMMANDS.items()}

    # Typed Any: depending on its version, typer passes its own classes of contexts and commands, or click's.
    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, _, rest = super().resolve_command(ctx, args)
        try:
            return name, None if name is None else load_command(name), rest
        except MissingPackageError as error:
            put(f"error: {error}", err=True)
            raise typer.Exit(error.exit_code) from None
