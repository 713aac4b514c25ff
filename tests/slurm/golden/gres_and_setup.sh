#!/bin/bash

# Parameters
#SBATCH --account=team
#SBATCH --constraint='a100&nvlink'
#SBATCH --cpus-per-task=16
#SBATCH --dependency=afterok:11
#SBATCH --exclusive
#SBATCH --gres=gpu:a100:4
#SBATCH --job-name=toy.generate.MARK
#SBATCH --kill-on-invalid-dep=yes
#SBATCH --mail-type=FAIL
#SBATCH --mem=131072M
#SBATCH --no-requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=RUN/logs/generate/%j_batch.log
#SBATCH --qos=high
#SBATCH --reservation=ours
#SBATCH --signal=USR2@120
#SBATCH --time=240

# setup
module load cuda/12.4
source /opt/venv/bin/activate
export PYTHONPATH=RUN/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1
export ROUTENATOR_ATTEMPT=$((1 + ${SLURM_RESTART_COUNT:-0}))

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output RUN/logs/generate/%j_%t.attempt-"$ROUTENATOR_ATTEMPT".log --cpus-per-task=16 --kill-on-bad-exit=1 --mpi=none /opt/venv/bin/python -u -m slurm.worker.start RUN/logs/generate TASKS


# teardown
code=$? again=
if rm RUN/logs/generate/requeue-"$SLURM_JOB_ID" 2>/dev/null; then again=1; fi
if [ -n "$again" ]; then for pause in 5 10 20 40 80; do scontrol requeue "$SLURM_JOB_ID" && break; sleep $pause; done; fi
exit $code