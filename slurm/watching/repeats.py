"""Names the errors of the last attempts that `retry` will probably just repeat."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from jobs.plan import Run
from slurm.submission.submissions import compact, latest_submissions, load_submissions
from slurm.watching.setup_failure import SetupFailures
from slurm.watching.shard_state import ShardState, is_of
from slurm.watching.stagefiles import StageFiles

_MAX_LINES = 5

Failures = dict[str, dict[int, Mapping[str, Any]]]


def last_errors(run: Run) -> Failures:
    """Return stage -> shard -> record of the error that ended its newest submission; to be read before the next."""
    submissions = load_submissions(run)
    found: Failures = {}
    for stage in run.plan.stages:
        files = StageFiles(run, stage)
        files.look()
        newest = latest_submissions(submissions, stage)
        found[stage] = {
            shard: record
            for shard, record in files.failures.items()
            # Not one of an attempt before: the newest may have ended in another way.
            if shard not in files.done and shard in newest and is_of(record, newest[shard], shard)
        }
        setup = SetupFailures(run, stage)
        setup.begin()
        for shard in newest.keys() - files.done - found[stage].keys():
            # "failed" is assumed; a failure is found only if the newest start left the file that says so.
            state = setup.explain(shard, ShardState("failed", submission=newest[shard]))
            if state.failure is not None:
                found[stage][shard] = state.failure
    return found


def repeated(before: Failures, again: Mapping[str, Collection[int]]) -> list[str]:
    """Return a line for each error whose shards are submitted again, the most frequent first.

    Args:
        before: the last errors.
        again: stage -> shards that were submitted.
    """
    groups: dict[tuple[str, str, int], list[int]] = {}
    for stage, records in before.items():
        for shard in sorted(records.keys() & set(again.get(stage, ()))):
            record = records[shard]
            lines = str(record["message"]).splitlines()
            error = f"{record['kind']}: {lines[0] if lines else ''}"
            groups.setdefault((stage, error, record.get("times", 1)), []).append(shard)
    ordered = sorted(groups.items(), key=lambda item: -len(item[1]))
    told = []
    for (stage, error, times), shards in ordered[:_MAX_LINES]:
        whose = f"{stage}: {'shard' if len(shards) == 1 else 'shards'} {compact(shards)} failed"
        same = f" {times} times in a row with the same error" if times > 1 else ""
        told.append(f"{whose}{same} and {'is' if len(shards) == 1 else 'are'} submitted again: {error}")
    if rest := ordered[_MAX_LINES:]:
        told.append(f"{sum(len(shards) for _, shards in rest):,} more shards that failed are submitted again")
    return [*told, "unless the cause is fixed, these will fail again; nothing is retried automatically"] if told else []
