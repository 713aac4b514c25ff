#!/bin/bash

# Parameters
#SBATCH --array=0-2,7%8
#SBATCH --cpus-per-task=4
#SBATCH --job-name=toy.sample.MARK
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=16384M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=RUN/logs/sample/%A_batch.log
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=60

# setup
export ROUTENATOR_ATTEMPT=$((3 + ${SLURM_RESTART_COUNT:-0}))
routenator_log=RUN/logs/sample/"${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"_0.attempt-"$ROUTENATOR_ATTEMPT".log
if [ $# = 0 ]; then # the first shell
set +eu
"$BASH" "$0" task
code=$? again=
if rm RUN/logs/sample/requeue-"$SLURM_JOB_ID" 2>/dev/null; then again=1; fi
if [ $code = 140 ] || { [ $code != 0 ] && [ ! -e "$routenator_log" ]; }; then [ "${SLURM_RESTART_COUNT:-0}" -lt 3 ] && again=1; fi
if [ -n "$again" ]; then for pause in 5 10 20 40 80; do scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}" && break; sleep $pause; done; fi
exit $code
fi
shift # the second shell
routenator_code=0
export PYTHONPATH=RUN/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output RUN/logs/sample/%A_%a_%t.attempt-"$ROUTENATOR_ATTEMPT".log --cpus-per-task=4 --kill-on-bad-exit=1 PYTHON -u -m slurm.worker.start RUN/logs/sample TASKS || routenator_code=$?


# teardown
(eval "$(trap -p EXIT)")
trap - EXIT
exit $routenator_code