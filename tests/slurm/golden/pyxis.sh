#!/bin/bash

# Parameters
#SBATCH --cpus-per-task=16
#SBATCH --dependency=afterok:11
#SBATCH --gpus-per-node=4
#SBATCH --job-name=toy.generate.MARK
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mem=131072M
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=RUN/logs/generate/%j_batch.log
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=240

# setup
export ROUTENATOR_ATTEMPT=$((1 + ${SLURM_RESTART_COUNT:-0}))
routenator_log=RUN/logs/generate/"$SLURM_JOB_ID"_0.attempt-"$ROUTENATOR_ATTEMPT".log
if [ $# = 0 ]; then # the first shell
set +eu
"$BASH" "$0" task
code=$? again=
if rm RUN/logs/generate/requeue-"$SLURM_JOB_ID" 2>/dev/null; then again=1; fi
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
srun --unbuffered --output RUN/logs/generate/%j_%t.attempt-"$ROUTENATOR_ATTEMPT".log --cpus-per-task=16 --kill-on-bad-exit=1 '--container-image=nvcr.io#nvidia/pytorch:25.01-py3' --container-mounts=ROOT:ROOT,CACHE:CACHE,/data:/data:ro --no-container-mount-home /usr/bin/python3 -u -m slurm.worker.start RUN/logs/generate TASKS || routenator_code=$?


# teardown
(eval "$(trap -p EXIT)")
trap - EXIT
exit $routenator_code