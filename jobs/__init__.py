"""What runs inside an allocation: one file a stage (sample, generate, merge, train, evaluate, report), the plan and the
task they share.

A stage module has ``VERSION`` (an int, part of its fingerprint: raise it when the same input gives another output) and
``run(task) -> None``, which ends with ``task.commit(...)``. It knows no scheduler.
"""
