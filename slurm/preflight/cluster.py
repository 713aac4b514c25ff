"""Asks the cluster whether it would take a plan's jobs, before anything is written."""

from __future__ import annotations

import shutil
import subprocess

from jobs.plan import Plan
from routenator.errors import InputError
from slurm.planning.planner import planned_run
from slurm.submission.executor import make_executor
from slurm.submission.submit import clean_environment

# sbatch --test-only also fails for these reasons, which are temporary.
_PASSING = ("busy", "down", "drained", "reserved", "try again", "Unable to contact")


def check_cluster(plan: Plan) -> None:
    """Check by ``sbatch --test-only`` that the cluster would accept each stage's job; submits nothing.

    Raises:
        InputError: there is no sbatch, or it rejects a job (partition, account, qos, resources no node has).
    """
    if shutil.which("sbatch") is None:
        raise InputError(
            "there is no sbatch on this machine",
            key="cluster",
            found="slurm",
            expected="a login node, or cluster=local",
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
        with clean_environment():
            done = subprocess.run(
                ["sbatch", "--test-only"], input=text, capture_output=True, text=True, timeout=60, check=False
            )
        if done.returncode and not any(word in done.stderr for word in _PASSING):
            raise InputError(
                f"the cluster would reject the job of {stage}",
                key=f"cluster.stages.{stage}",
                found=" ".join(done.stderr.replace("sbatch:", "").split()),
                expected="resources, partition, account and qos that exist here; see `launch.py plan --scripts`",
            )
