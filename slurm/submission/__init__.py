"""Turns a plan into Slurm jobs: sbatch options and scripts, submission with dependencies, its record, and the queue."""
