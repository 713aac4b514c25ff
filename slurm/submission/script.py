"""The lines of a job's script around its task: the user's setup, requeueing, and the exit code.

The script runs itself a second time. The first shell only starts the second, waits, and decides what to do next; the
second runs the user's ``cluster.setup`` lines and then the task. So no option, trap or alias of those lines can reach
the part that requeues. They must run to the end: the first that fails, by the rules of ``set -e``, ends the task.
What they print is collected in a file of this start, which becomes the start's log if they fail, because
``JOB_batch.log`` is shared by all tasks of an array.
"""

from __future__ import annotations

import shlex
import signal
from collections.abc import Sequence
from pathlib import Path

from slurm.submission.submissions import attempt_log
from slurm.worker.array_task import requeue_mark

ATTEMPT_VARIABLE = "ROUTENATOR_ATTEMPT"
STARTS_LOST = 3  # requeues after a failed start; then the job fails
SETUP_SUFFIX = ".setup"  # of the file beside a start's log that holds what its setup lines print
SETUP_FAILED = "routenator: cluster.setup"  # start of the line that says so at the end of a start's log
# `||`, so that neither `set -e` nor a trap on ERR ends the second shell here.
KEEP_CODE = "|| routenator_code=$?"
# srun's exit code when the warning signal killed the interpreter before it ran our first line.
_UNHEARD = 128 + signal.SIGUSR2
_ATTEMPT = f'"${ATTEMPT_VARIABLE}"'


def srun_log(folder: Path, array: bool) -> str:
    """Return the log of a start in srun's placeholders, as a word of the shell.

    Args:
        folder: the stage's log folder.
        array: whether the job is an array.
    """
    start, end = attempt_log("%A_%a" if array else "%j", "ATTEMPT", "%t").split("ATTEMPT")
    return f"{shlex.quote(f'{folder}/{start}')}{_ATTEMPT}{end}"


def before_task(
    folder: Path, setup: Sequence[str], exports: Sequence[str], attempt: int, array: bool, requeue: bool
) -> list[str]:
    """Return the lines before the task.

    Args:
        folder: the stage's log folder.
        setup: the user's lines.
        exports: our own lines after them.
        attempt: attempt number of the first start.
        array: whether the job is an array.
        requeue: whether a start that failed before the task began is repeated.
    """
    task = '"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"' if array else '"$SLURM_JOB_ID"'
    start, end = attempt_log("TASK", "ATTEMPT").replace("TASK", task).split("ATTEMPT")
    log = f"{shlex.quote(str(folder))}/{start}{_ATTEMPT}{end}"
    lines = [
        f"export {ATTEMPT_VARIABLE}=$(({attempt} + ${{SLURM_RESTART_COUNT:-0}}))",
        f"routenator_log={log}",
        "if [ $# = 0 ]; then # the first shell",
        "set +eu",  # a site may export SHELLOPTS
        '"$BASH" "$0" task',
        *_end_of_script(folder, task, bool(setup), requeue),
        "fi",
        "shift # the second shell",
    ]
    return [*lines, *(_user_lines(setup) if setup else []), "routenator_code=0", *exports]


def after_task() -> list[str]:
    """Return the lines after the task, in the second shell.

    A trap on EXIT runs in a shell of its own, because its exit code would replace the task's.
    """
    return ['(eval "$(trap -p EXIT)")', "trap - EXIT", "exit $routenator_code"]


def _user_lines(setup: Sequence[str]) -> list[str]:
    """Return the user's lines, between those that collect their output and note the first that fails."""
    said = f'"$routenator_log"{SETUP_SUFFIX}'
    failed = f'{SETUP_FAILED}: exit code $routenator_code of: $(sed -n "${{routenator_line}}p" "$0")'
    # A command inside a sourced file or a function may fail; what counts is how the line ends.
    trap = (
        "routenator_code=$? routenator_line=$LINENO; "
        f'if [ ${{#BASH_SOURCE[@]}} = 1 ]; then echo "{failed}"; exit $routenator_code; fi'
    )
    return [
        f"exec {{routenator_out}}>&1 {{routenator_err}}>&2 >>{said} 2>&1",
        f"trap '{trap}' ERR",
        *setup,
        "trap - ERR DEBUG RETURN",
        "unalias -a",
        "exec >&$routenator_out 2>&$routenator_err {routenator_out}>&- {routenator_err}>&-",
        f"command cat {said} || :",
        f"command rm -f {said} || :",
    ]


def _end_of_script(folder: Path, task: str, setup: bool, requeue: bool) -> list[str]:
    """Return the end of the first shell: requeue the job if its task asked for it, or if the task never started.

    A task never started if srun failed, for example because the controller was down, or if the warning signal
    arrived before Python could handle it.
    """
    # The mark's name ends with the task's plain id, which is unique, unlike ${SLURM_ARRAY_JOB_ID}.
    mark = shlex.quote(str(folder / requeue_mark(""))) + '"$SLURM_JOB_ID"'
    # ARRAY_TASK, not SLURM_JOB_ID: the last task of an array has the array's own id as its job id, and requeueing
    # that would requeue every running task. The pauses (155 s) outlast a restart of the controller.
    again = f"for pause in 5 10 20 40 80; do scontrol requeue {task} && break; sleep $pause; done"
    # `rm` both tests for the mark and consumes it, so that the next start does not find it.
    lines = ["code=$? again=", f"if rm {mark} 2>/dev/null; then again=1; fi"]
    if requeue:
        # A task that started has a log. A failed start is requeued only a few times: its cause may be permanent.
        lost = f'if [ $code = {_UNHEARD} ] || {{ [ $code != 0 ] && [ ! -e "$routenator_log" ]; }}; then'
        lines.append(f'{lost} [ "${{SLURM_RESTART_COUNT:-0}}" -lt {STARTS_LOST} ] && again=1; fi')
    if setup:
        # The second shell removes this file after the user's last line. They would fail again, so do not requeue. The
        # file stays, so that `status` finds all such starts by one listing.
        said = f'"$routenator_log"{SETUP_SUFFIX}'
        lines += [
            f"if [ -e {said} ]; then again=",
            "[ $code != 0 ] || code=1",
            f'grep -q "^{SETUP_FAILED}" {said} || echo "{SETUP_FAILED}: ended the script, exit code $code" >>{said}',
            f'tee "$routenator_log" <{said}; fi',
        ]
    return [*lines, f'if [ -n "$again" ]; then {again}; fi', "exit $code"]
