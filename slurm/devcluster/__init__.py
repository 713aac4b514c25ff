"""A real Slurm on one machine, for the tests and for trying things: daemons, configuration, faults."""
