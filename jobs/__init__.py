"""The code that runs inside an allocation: one file per stage, and the plan and task that the stages share.

A stage module has ``VERSION`` (an int, part of its fingerprint: raise it when the same input gives another output) and
``run(task) -> None``, which ends with ``task.commit(...)``. It knows no scheduler.
"""
