"""How stages become jobs: plan, submit, watch, retry, cancel.

``plan`` (config -> immutable run directory, with ``fingerprints`` and ``preflight``), ``options`` and ``submit`` (the
whole DAG as Slurm jobs), ``local`` (the same stages on this machine), ``start``, ``array_task`` and ``task`` (what runs
in an allocation), ``record`` (what was submitted), ``queue`` (the only callers of squeue and sacct), ``status`` and
``view`` (files, plan and queue joined, and shown), ``follow`` (stay with a run until it ends), ``forecast`` (what it
would do and cost), ``logs``, ``control`` (retry, cancel), ``processes`` (our own processes on this machine),
``doctor``, ``devcluster`` and ``devconfig`` (a Slurm to test on).
"""
