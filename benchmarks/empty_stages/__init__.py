"""A stage that does nothing but commit, for ``benchmarks/scheduling.py``: what is left is the scheduler's layer."""
