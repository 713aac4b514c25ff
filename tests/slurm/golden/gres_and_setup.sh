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
export ROUTENATOR_ATTEMPT=$((1 + ${SLURM_RESTART_COUNT:-0}))
routenator_log=RUN/logs/generate/"$SLURM_JOB_ID"_0.attempt-"$ROUTENATOR_ATTEMPT".log
if [ $# = 0 ]; then # the first shell
set +eu
"$BASH" "$0" task
code=$? again=
if rm RUN/logs/generate/requeue-"$SLURM_JOB_ID" 2>/dev/null; then again=1; fi
if [ -e "$routenator_log".setup ]; then again=
[ $code != 0 ] || code=1
grep -q "^routenator: cluster.setup" "$routenator_log".setup || echo "routenator: cluster.setup: ended the script, exit code $code" >>"$routenator_log".setup
tee "$routenator_log" <"$routenator_log".setup; fi
if [ -n "$again" ]; then for pause in 5 10 20 40 80; do scontrol requeue "$SLURM_JOB_ID" && break; sleep $pause; done; fi
exit $code
fi
shift # the second shell
exec {routenator_out}>&1 {routenator_err}>&2 >>"$routenator_log".setup 2>&1
trap 'routenator_code=$? routenator_line=$LINENO; if [ ${#BASH_SOURCE[@]} = 1 ]; then echo "routenator: cluster.setup: exit code $routenator_code of: $(sed -n "${routenator_line}p" "$0")"; exit $routenator_code; fi' ERR
module load cuda/12.4
source /opt/venv/bin/activate
trap - ERR DEBUG RETURN
unalias -a
exec >&$routenator_out 2>&$routenator_err {routenator_out}>&- {routenator_err}>&-
command cat "$routenator_log".setup || :
command rm -f "$routenator_log".setup || :
routenator_code=0
export PYTHONPATH=RUN/code${PYTHONPATH:+:$PYTHONPATH}
export PYTHONSAFEPATH=1

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output RUN/logs/generate/%j_%t.attempt-"$ROUTENATOR_ATTEMPT".log --cpus-per-task=16 --kill-on-bad-exit=1 --mpi=none /opt/venv/bin/python -u -m slurm.worker.start RUN/logs/generate TASKS || routenator_code=$?


# teardown
(eval "$(trap -p EXIT)")
trap - EXIT
exit $routenator_code