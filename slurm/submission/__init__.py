"""From a plan to jobs in Slurm: options, array ranges, sbatch, the record of what was submitted, the queue."""
