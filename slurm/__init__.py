"""Turns the stages of a run into jobs: plans, submits, watches, retries and cancels them.

From the top: ``commands`` (of launch.py), ``watching`` (status, logs, monitor, exporter), ``control`` (cancel) and
``devcluster`` (a Slurm to test on), ``experiments`` and ``local`` (the same stages on this machine), ``preflight``
(checks, forecast, preview), ``submission`` (the DAG as Slurm jobs, and the queue), ``planning`` (config to run
directory) and ``worker`` (what runs in an allocation). Each imports only what comes after it.
"""
