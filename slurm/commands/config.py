"""The commands `config`: a config as resolved, and what comes with the package."""

from __future__ import annotations

import typer

from routenator.compose import load_config, write_config
from routenator.place import CONFIGS
from routenator.terminal import put
from slurm.commands.shared import AsJson, Config, Overrides, print_json, with_exit_codes

KINDS = {
    "configs": "*.yaml",
    "domains": "domains/*/domain.yaml",
    "models": "model/*.yaml",
    "clusters": "cluster/*.yaml",
    "experiments": "experiments/*.yaml",
    "schemas": "schemas/*.json",
}  # kind -> files in the folder of configs

app = typer.Typer()
config_app = typer.Typer(help="Show a resolved config, or list what comes with the package.", no_args_is_help=True)
app.add_typer(config_app, name="config")


@config_app.command("show")
@with_exit_codes
def show(config: Config, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Print a config with defaults, profiles and overrides merged.

    Checks the keys and their values, and that the domain's folder exists, but nothing else.
    """
    resolved = load_config(config, overrides or [])
    if as_json:
        print_json(resolved.model_dump(mode="json"))
    else:
        put(write_config(resolved).rstrip())


@config_app.command("list")
@with_exit_codes
def show_list(as_json: AsJson = False) -> None:
    """List what comes with the package, by kind."""
    found = {
        kind: sorted(path.parent.name if kind == "domains" else path.stem for path in CONFIGS.glob(pattern))
        for kind, pattern in KINDS.items()
    }
    if as_json:
        print_json({"folder": str(CONFIGS), **found})
        return
    for kind, names in found.items():
        put(f"{kind + ':':<13}{', '.join(names)}")
    put(f"{'folder:':<13}{CONFIGS}")
