"""The command `export`: a trained model as folders that work elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.results import gather
from routenator.domain.loader import load_domain
from routenator.errors import InputError
from routenator.files import check_writable
from routenator.handoff.export import export_adapter, export_gguf, export_merged
from routenator.handoff.gguf import find_converter
from routenator.handoff.model_card import Origin
from routenator.terminal import put
from slurm.commands.shared import Cache, with_exit_codes
from slurm.commands.trained import Base, Found, Trained, find_trained

app = typer.Typer()


@app.command()
@with_exit_codes
def export(
    run: Trained,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder for the exports.", show_default=False)],
    adapter: Annotated[bool, typer.Option("--adapter", help="OUT/adapter: a PEFT adapter for any machine.")] = False,
    merged: Annotated[bool, typer.Option("--merged", help="OUT/merged: a full model.")] = False,
    gguf: Annotated[bool, typer.Option("--gguf", help="OUT/gguf: for llama.cpp and Ollama, at 16 bits.")] = False,
    llama_cpp: Annotated[
        Path | None,
        typer.Option("--llama-cpp", help="A checkout of llama.cpp, for its converter. Default: fetched by pip, once."),
    ] = None,
    base: Base = None,
    cache: Cache = Path(".cache"),
) -> None:
    """Export a trained model for use elsewhere.

    Each folder has a model card with data, scores and limits, and no path of this machine.
    """
    wanted = {"adapter": adapter, "merged": merged, "gguf": gguf}
    chosen = [name for name, asked in wanted.items() if asked]
    if not chosen:
        raise InputError("nothing to export", found="no option", expected=", ".join(f"--{name}" for name in wanted))
    check_writable(out, "OUT")
    for name in chosen:
        if (out / name).exists():
            raise InputError(
                "this folder already exists", file=out / name, key="OUT", expected="a folder without this export"
            )
    found = find_trained(run, base, cache)
    origin = _origin(found)
    if adapter:
        left_out = export_adapter(found.model, out / "adapter", origin)
        if left_out:
            note = "weights are copied as safetensors only"
            put(f"note: not copied from the base model: {', '.join(left_out)} ({note})", err=True)
    if merged:
        export_merged(found.model, out / "merged", origin)
    if gguf:
        export_gguf(found.model, out / "gguf", origin, find_converter(found.cache, llama_cpp))
    for name in chosen:
        put(out / name)


def _origin(found: Found) -> Origin:
    """What the run knows of the model's making."""
    if found.run is None:
        return Origin(title=Path(found.model.card.domain).name)
    summary, plan = gather(found.run), found.run.plan
    made = f"RouteNator {plan.version}" + (f", commit {plan.commit}" if plan.commit else "")
    return Origin(
        title=summary["run"]["title"],
        description=load_domain(found.run.domain_dir).description,
        merge=summary if summary["distribution"] is not None else None,
        scores={**summary["scores"], "baselines": summary["baselines"], "queries": summary["scored_on"]},
        provenance={
            "made by": made,
            "plan": f"`{plan.fingerprint}` ({plan.config.name})",
            "domain sha256": f"`{plan.domain_sha256}`",
            "golden set sha256": f"`{plan.golden_sha256}`",
        },
        max_new_tokens=found.settings.max_new_tokens,
    )
