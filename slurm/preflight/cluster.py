"""Asks the cluster whether it would take a plan's jobs, before anything is written."""

from __future__ import annotations

import os
import shutil

from jobs.plan import Plan
from routenator.errors import InputError
from routenator.place import COMMAND
from slurm.planning.planner import planned_run
from slurm.submission.client import call, no_answer
from slurm.submission.executor import make_executor
from slurm.submission.options import SubmitError, cluster_name
from slurm.submission.user_defaults import sbatch_environment

# sbatch --test-only also fails for these reasons, which are temporary.
_PASSING = ("busy", "down", "drained", "reserved")


def check_cluster(plan: Plan) -> None:
    """Check by ``sbatch --test-only`` that the cluster would accept each stage's job; submits nothing.

    Raises:
        InputError: there is no sbatch, or it rejects a job (partition, account, qos, resources no node has).
        SubmitError: the controller did not answer.
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no sbatch on this machine",
            key="cluster",
            found="slurm",
            expected="a login node, or cluster=local",
        )
    other = os.environ.get("SBATCH_CLUSTERS")
    if other and cluster_name(plan.config) is None:
        # Every later command would need it too, whoever runs that.
        raise InputError(
            "the cluster of a run is a part of its config, not of a shell",
            key="SBATCH_CLUSTERS",
            found=other,
            expected=f"cluster.extra.clusters={other}, or the variable unset",
        )
    run = planned_run(plan)
    asked: set[str] = set()
    for stage in plan.stages:
        text = make_executor(run, stage, None).script(None)
        options = "\n".join(
            line
            for line in text.splitlines()
            if line.startswith("#SBATCH") and "-name=" not in line and "put=" not in line
        )
        if options in asked:
            continue
        asked.add(options)
        code, said = _test_only(text)
        if not code or any(word in said for word in _PASSING):
            continue
        if no_answer(said):
            raise SubmitError(f"the controller did not answer; try again (sbatch --test-only: {said})")
        raise InputError(
            f"the cluster would reject the job of {stage}",
            key=f"cluster.stages.{stage}",
            found=said,
            expected=f"resources, partition, account and qos that exist here; see `{COMMAND} plan --scripts`",
        )


def _test_only(script: str) -> tuple[int, str]:
    """Return the exit code and the output of ``sbatch --test-only``."""
    code, _, said = call(["sbatch", "--test-only"], sbatch_environment(script), script)
    return code, " ".join(said.replace("sbatch:", "").split())
