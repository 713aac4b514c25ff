"""Submits a job that serves a run's trained model, and records it among the run's jobs."""

from __future__ import annotations

import re
import shutil
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

from jobs.plan import Run
from routenator.compose import load_config, split_override
from routenator.config import RunConfig
from routenator.errors import InputError
from slurm.planning.planner import copy_code
from slurm.submission.client import scancel_named
from slurm.submission.executor import StageExecutor, exports, own_folders
from slurm.submission.options import (
    SubmitError,
    check_resources,
    job_name,
    resources,
    sbatch_parameters,
    srun_command,
)
from slurm.submission.sbatch import Accepted, RefusedError, UncertainError
from slurm.submission.submissions import Submission, append_submission
from slurm.worker.server_state import FOLDER, STAGE, Serving

# The stage that loads the same model into the same engine; its resources are a server's.
LIKE = "evaluate"


def cluster_of(run: Run, overrides: list[str]) -> RunConfig:
    """Return a run's config with another cluster section, for a job that is none of the run's stages.

    Args:
        overrides: ``key=value`` of the cluster section, or ``cluster=PROFILE``.

    Raises:
        InputError: another key, or a wrong value.
    """
    if not overrides:
        return run.config
    for override in overrides:
        key, _ = split_override(override)
        if key.partition(".")[0] != "cluster":
            raise InputError(
                "a server takes only the cluster's keys", key=key, found=override, expected="cluster.KEY=VALUE"
            )
    # The run's own snapshot of the domain: the folder that it was copied from may be gone.
    config = load_config(run.path / "config.yaml", [*overrides, f'domain="{run.domain_dir}"'])
    check_resources(config)
    return config


def for_server(config: RunConfig) -> RunConfig:
    """Return the config with the resources of a server: those of ``evaluate`` on one node with at most one GPU."""
    asked = resources(config, LIKE)
    cluster = config.cluster
    changed = asked.model_copy(update={"nodes": 1, "gpus": min(asked.gpus, 1)})
    gres = re.sub(r":\d+$", ":1", cluster.gres) if cluster.gres else None
    # Requeued, it would come back on another node, where no tunnel leads.
    update: dict[str, Any] = {"stages": {**cluster.stages, LIKE: changed}, "gres": gres, "requeue": False}
    return config.model_copy(update={"cluster": cluster.model_copy(update=update)})


def submit_server(run: Run, config: RunConfig, serving: Serving) -> tuple[Submission, Path]:
    """Submit the job.

    Args:
        run: the run, which the job is recorded with.
        config: with the server's resources.
        serving: what to serve; its limits are set here.

    Returns:
        The job, and the server's folder, which nobody else can read.

    Raises:
        InputError: there is no Slurm here.
        SubmitError: sbatch rejected it, or nobody said whether it did.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no Slurm on this machine",
            key="cluster",
            found="no sbatch",
            expected="a login node, or cluster=local to serve on this machine",
        )
    token = uuid.uuid4().hex[:12]
    folder = run.path / FOLDER / token
    folder.parent.mkdir(exist_ok=True)
    folder.mkdir()
    folder.chmod(0o700)  # also in a run that a group shares: the key is its owner's
    copy_code(folder / "code")
    minutes = resources(config, LIKE).minutes
    replace(serving, limit_s=minutes * 60.0, lead_s=float(config.cluster.signal_delay_s)).write(folder)
    executor = StageExecutor(
        folder,
        srun_command(config, LIKE, own_folders(run)),
        {**sbatch_parameters(config, LIKE), "job_name": job_name(run, STAGE), "use_srun": False},
        config.cluster.setup,
        exports(run, folder / "code"),
    )
    sent: list[Accepted] = []
    try:
        job = executor.send_module(["slurm.worker.serving", str(folder)], token, None, sent)
    except UncertainError as error:
        scancel_named(error.name)
        raise SubmitError(f"whether Slurm took the server's job, {error.name}, is unknown: {error}") from None
    except RefusedError as error:
        raise SubmitError(f"sbatch rejected the server's job: {str(error).strip()}") from None
    submission = Submission(kind="slurm", stage=STAGE, job=job.job, shards="0", name=job.name, cluster=job.cluster)
    append_submission(run, submission)
    return submission, folder
