"""Runs a real Slurm on one machine, for tests and experiments: daemons, configuration, fault injection."""
