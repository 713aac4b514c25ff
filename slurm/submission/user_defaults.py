"""The user's defaults for sbatch (``SBATCH_ACCOUNT`` ...), which count where the profile does not set the option.

sbatch lets a variable override the script, so a variable whose option the script sets must not reach it. Variables of
an allocation that this process runs in belong to another job and never count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from jobs.slurm_environment import is_slurms

# sbatch's input variables, 22.05 to 25.05, whose options the profile may leave open -> the option. All others belong to
# options that every script sets, or describe an allocation.
HONOURED: Mapping[str, str] = {
    "SBATCH_ACCOUNT": "account",
    "SBATCH_ACCTG_FREQ": "acctg-freq",
    "SBATCH_BATCH": "batch",
    "SBATCH_CONSTRAINT": "constraint",
    "SBATCH_CORE_SPEC": "core-spec",
    "SBATCH_DELAY_BOOT": "delay-boot",
    "SBATCH_EXCLUSIVE": "exclusive",
    "SBATCH_EXPORT": "export",
    "SBATCH_GET_USER_ENV": "get-user-env",
    "SBATCH_GRES_FLAGS": "gres-flags",
    "SBATCH_HINT": "hint",
    "SBATCH_NETWORK": "network",
    "SBATCH_PARTITION": "partition",
    "SBATCH_POWER": "power",
    "SBATCH_PROFILE": "profile",
    "SBATCH_QOS": "qos",
    "SBATCH_REQ_SWITCH": "switches",
    "SBATCH_RESERVATION": "reservation",
    "SBATCH_SPREAD_JOB": "spread-job",
    "SBATCH_THREAD_SPEC": "thread-spec",
    "SBATCH_THREADS_PER_CORE": "threads-per-core",
    "SBATCH_USE_MIN_NODES": "use-min-nodes",
    "SBATCH_WAIT4SWITCH": "switches",
    "SBATCH_WAIT_ALL_NODES": "wait-all-nodes",
    "SBATCH_WCKEY": "wckey",
}
_OPTION = re.compile(r"^#SBATCH --([a-z0-9-]+)", re.MULTILINE)


@dataclass(frozen=True)
class UserDefault:
    """A variable of the user's shell that sbatch would read.

    Attributes:
        option: sbatch's option, or None if we do not let the variable through.
        stages: stages whose jobs take it.
    """

    variable: str
    value: str
    option: str | None
    stages: list[str]


def script_options(script: str) -> set[str]:
    """Return the long names of the options that a script sets."""
    return set(_OPTION.findall(script))


def sbatch_environment(script: str, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment for sbatch, which passes it on to the job.

    Args:
        script: the script; its options count more than the user's defaults.
    """
    options = script_options(script)
    return {
        name: value
        for name, value in environment.items()
        if not (is_slurms(name) or name.startswith("SUBMITIT_")) or _counts(name, options)
    }


def user_defaults(scripts: Mapping[str, str], environment: Mapping[str, str] = os.environ) -> list[UserDefault]:
    """Return the variables of the user's shell for sbatch, and where they count.

    Args:
        scripts: stage -> script.
    """
    options = {stage: script_options(text) for stage, text in scripts.items()}
    return [
        UserDefault(name, value, HONOURED.get(name), [stage for stage in options if _counts(name, options[stage])])
        for name, value in sorted(environment.items())
        if name.startswith("SBATCH_")
    ]


def _counts(name: str, options: Collection[str]) -> bool:
    return name in HONOURED and HONOURED[name] not in options
