"""Runs a run's stages as processes on this machine: the driver, and how its processes are found and stopped."""
