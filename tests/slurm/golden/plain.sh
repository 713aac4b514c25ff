#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=4
#SBATCH --dependency=afterok:11
#SBATCH --job-name=toy.merge.MARK
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=16384M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=RUN/logs/merge/%j_batch.log
#SBATCH --partition=main
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=60

# setup
export ROUTENATOR_ATTEMPT=$((1 + ${SLURM_RESTART_COUNT:-0}))
routenator_log=RUN/logs/merge/"$SLURM_JOB_ID"_0.attempt-"$ROUTENATOR_ATTEMPT".log
if [ $# = 0 ]; then # the first shell
set +eu
"$BASH" "$0" task
code=$? again=
if rm RUN/logs/merge/requeue-"$SLURM_JOB_ID" 2>/dev/null; then again=1; fi
if [ $code = 140 ] || { [ $code != 0 ] && [ ! -e "$routenator_log" ]; }; then [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ] && again=1; fi
if [ -n "$again" ]; then for pause in 5 10 20 40 80; do scontrol requeue "$SLURM_JOB_ID" && break; sleep $pause; done; fi
exit $code
fi
shift # the second shell
routenator_code=0
export PYTHONPATH=RUN/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output RUN/logs/merge/%j_%t.attempt-"$ROUTENATOR_ATTEMPT".log --cpus-per-task=4 --kill-on-bad-exit=1 PYTHON -u -m slurm.worker.start RUN/logs/merge TASKS || routenator_code=$?


# teardown
(eval "$(trap -p EXIT)")
trap - EXIT
exit $routenator_code