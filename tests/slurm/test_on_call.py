"""What the person on call at midnight needs; tests/cluster/test_on_call.py has the same on a real Slurm.

The texts of reasons are Slurm's own, as squeue printed them.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Callable

import pytest

from jobs.entry import failure_path, write_failure
from jobs.plan import Run
from routenator.errors import InputError
from slurm.submission.answers import QueueEntry, parse_squeue
from slurm.submission.script import SETUP_FAILED
from slurm.submission.submissions import Submission, append_submission, attempt_log
from slurm.watching.follow_log import follow_log, shard_to_follow
from slurm.watching.logs import select_logs
from slurm.watching.patience import EXIT_STUCK, Patience, exit_code
from slurm.watching.repeats import last_errors, repeated
from slurm.watching.run_status import RunStatus
from slurm.watching.status import StatusReader
from slurm.watching.status_view import look
from slurm.watching.wait_reasons import explained
from tests.conftest import launch_here
from tests.slurm.test_status import Queue, commit, queue, shown

__all__ = ["queue"]


@pytest.fixture
def waiting_run(make_run: Callable[..., Run], queue: Queue) -> Run:
    """Sample is done, three shards of generate are in the queue, and the later stages wait for them."""
    run = make_run(cluster={"kind": "slurm", "stages": {"generate": {"memory_gib": 64}}})
    for shard in range(2):
        commit(run, "sample", shard)
    append_submission(run, Submission("slurm", "sample", "4", "0-1", array=True, time=time.time() - 100))
    append_submission(run, Submission("slurm", "generate", "5", "0-2", array=True, time=time.time() - 100))
    for job, stage in enumerate(("merge", "train", "evaluate", "report"), 6):
        append_submission(run, Submission("slurm", stage, str(job), "0", time=time.time() - 100))
        queue[str(job)] = QueueEntry("PENDING", "Dependency")
    return run


def all_wait(queue: Queue, reason: str) -> None:
    queue.update({f"5_{shard}": QueueEntry("PENDING", reason) for shard in range(3)})


def test_on_call_1_waiting_and_running_tasks_are_named(waiting_run: Run, queue: Queue) -> None:
    """``held; scontrol release`` named no job, and only failed tasks had an id and a node, in ``--json`` too."""
    all_wait(queue, "JobHeldUser")
    queue["5_0"] = QueueEntry("RUNNING", nodes="n[1-2]", start=1_700_000_000.0)
    status = queue.status(waiting_run)
    text = shown(status)
    assert "generate: 2 stuck: held by its user; scontrol release 5_[1-2] (JobHeldUser)" in text
    assert "generate: running: 0 on n[1-2] (5_0)" in text
    assert "waits for an earlier stage (Dependency), jobs 6, 7, 8, 9" in text
    generate = json.loads(json.dumps(status.as_dict()))["stages"][1]
    assert generate["waiting"] == [
        {"state": "stuck", "reason": "JobHeldUser", "count": 2, "shards": "1-2", "jobs": ["5_[1-2]"]}
    ]
    assert generate["tasks"] == [
        {"shard": 0, "state": "running", "job": "5_0", "nodes": "n[1-2]", "started": 1_700_000_000.0}
    ]


def test_on_call_1_a_single_task_and_several_jobs_are_named_as_slurm_takes_them(
    make_run: Callable[..., Run], queue: Queue
) -> None:
    """Tasks that work through several shards each, of two arrays."""
    run = make_run(cluster={"kind": "slurm"}, generate__shards=8)
    append_submission(run, Submission("slurm", "generate", "5", "0-5", per_task=2, array=True))
    append_submission(run, Submission("slurm", "generate", "6", "6-7", per_task=2, offset=3, array=True))
    for task in ("5_0", "5_2", "6_0"):
        queue[task] = QueueEntry("PENDING", "JobHeldAdmin")
    queue["5_1"] = QueueEntry("RUNNING")
    stage = queue.status(run).stage("generate")
    (held,) = (group for group in stage.waiting if group.state == "stuck")
    assert (held.shards, held.jobs) == ("0-1,4-7", ["5_[0,2]", "6_0"])
    assert "scontrol release 5_[0,2] 6_0 (JobHeldAdmin)" in shown(queue.status(run))


@pytest.mark.parametrize(
    "reason",
    [
        "JobHeldUser",
        "JobHeldAdmin",
        "PartitionDown",
        "PartitionInactive",
        "job requeued in held state",
        "launch failed requeued held",
        "launch_failed_requeued_held",
        "BadConstraints",
        "QOSMaxMemoryPerJob",
        "AssocMaxWallDurationPerJobLimit",
    ],
)
def test_on_call_2_a_run_of_which_nothing_can_start_is_stuck(waiting_run: Run, queue: Queue, reason: str) -> None:
    """The headline was ``running`` also when everything was held or the partition was down."""
    all_wait(queue, reason)
    status = queue.status(waiting_run)
    assert (status.state, status.stage("generate").state, status.stage("merge").state) == ("stuck", "stuck", "pending")
    assert not status.ended and exit_code(status) == EXIT_STUCK
    assert "toy: stuck" in shown(status) and "generate: 3 stuck: " in shown(status)


def test_on_call_2_a_held_task_whose_shard_is_done_holds_up_what_waits_for_it(waiting_run: Run, queue: Queue) -> None:
    """It was requeued and held just after its receipt; merge waits for its job, not for its receipt."""
    for shard in range(3):
        commit(waiting_run, "generate", shard)
    queue["5_1"] = QueueEntry("PENDING", "job requeued in held state")
    status = queue.status(waiting_run)
    assert (status.state, status.stage("generate").state) == ("stuck", "done")
    assert "scontrol release 5_1" in shown(status)


@pytest.mark.parametrize("reason", ["Priority", "Resources", "BeginTime", "ReqNodeNotAvail, UnavailableNodes:n4"])
def test_on_call_2_a_run_of_which_one_task_may_start_is_not_stuck(waiting_run: Run, queue: Queue, reason: str) -> None:
    """Nor is one whose nodes are down: Slurm starts it when they are back."""
    all_wait(queue, "JobHeldUser")
    queue["5_1"] = QueueEntry("PENDING", reason)
    assert queue.status(waiting_run).state == "running"
    queue["5_1"] = QueueEntry("RUNNING")
    assert queue.status(waiting_run).state == "running"


def test_on_call_2_squeue_shows_the_waiting_tasks_of_an_array_as_one(waiting_run: Run, queue: Queue) -> None:
    """With the reasons of all of them, without saying which task has which."""
    all_wait(queue, "Resources,JobHeldAdmin")
    status = queue.status(waiting_run)
    assert status.state == "running"
    assert (
        "generate: 3 waiting: waits for free nodes (Resources); held by an administrator, who can release it: "
        "scontrol release 5_[0-2] (JobHeldAdmin)"
    ) in shown(status)
    all_wait(queue, "JobHeldUser,PartitionDown")
    assert queue.status(waiting_run).state == "stuck"


def test_on_call_2_a_wait_ends_only_if_the_run_stays_stuck(waiting_run: Run, queue: Queue) -> None:
    """``--wait`` never ended; a partition that is down for a minute must not end it."""
    now = 0.0
    patience = Patience(5, clock=lambda: now)

    def over(reason: str, at: float) -> bool:
        nonlocal now
        now = at
        all_wait(queue, reason)
        return patience.over(queue.status(waiting_run))

    assert not over("PartitionDown", 0)
    assert not over("PartitionDown", 299)
    assert not over("Priority", 300), "the partition came back"
    assert not over("PartitionDown", 310)
    assert not over("PartitionDown", 609)
    assert over("PartitionDown", 610)


def test_on_call_2_a_look_at_which_the_queue_was_unreadable_does_not_start_again() -> None:
    """The controller is restarted while the partition is down."""
    times = iter([0.0, 0.0, 400.0, 400.0])
    patience = Patience(5, clock=lambda: next(times))
    stuck, unknown = (RunStatus("run", "toy", "slurm", state, []) for state in ("stuck", "unknown"))
    assert not patience.over(stuck) and not patience.over(unknown) and patience.over(stuck)


def test_on_call_2_what_can_never_start_is_said_to_wait_for_a_failed_job(waiting_run: Run, queue: Queue) -> None:
    """Slurm removes it, so it counts as cancelled and ends a wait at once; the reason was not given."""
    queue.update({str(job): QueueEntry("PENDING", "DependencyNeverSatisfied") for job in range(6, 10)})
    queue.update({f"5_{shard}": QueueEntry("CANCELLED") for shard in range(3)})
    status = queue.status(waiting_run)
    assert status.state == "cancelled" and status.ended
    assert status.stage("merge").reasons == {"DependencyNeverSatisfied": 1}


def test_on_call_3_after_cancel_a_run_is_ending(waiting_run: Run, queue: Queue) -> None:
    """It was called ``running`` for as long as its nodes were being freed."""
    queue.update({task: QueueEntry("CANCELLED") for task in (*(str(job) for job in range(6, 10)), "5_1", "5_2")})
    queue["5_0"] = QueueEntry("COMPLETING", nodes="n1")
    status = queue.status(waiting_run)
    assert (status.state, status.stage("generate").state, status.ended) == ("ending", "ending", False)
    assert "1 ending" in shown(status) and status.stage("generate").running == 0
    queue["5_0"] = QueueEntry("CANCELLED")
    assert queue.status(waiting_run).state == "cancelled"


def test_on_call_3_a_run_that_goes_on_is_not_called_ending(waiting_run: Run, queue: Queue) -> None:
    """A preempted task gives its nodes back before it waits again."""
    all_wait(queue, "JobHeldUser")
    queue["5_0"] = QueueEntry("COMPLETING", nodes="n1")
    status = queue.status(waiting_run)
    assert (status.state, status.stage("generate").ending) == ("running", 1)


def test_on_call_4_a_waiting_shard_has_no_log_of_another(waiting_run: Run, queue: Queue) -> None:
    """``logs`` showed the output of the array's script, which is of all tasks, as the log of a shard that waits."""
    folder = waiting_run.log_dir("generate")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "5_batch.log").write_text("slurmstepd: error: of shard 0\n")
    (folder / attempt_log("5_0", 1)).write_text("first\n")
    (folder / attempt_log("5_0", 2)).write_text("second\n")
    script, own = select_logs(waiting_run, "generate")
    assert script.title == f"generate job 5, all its tasks: {folder / '5_batch.log'}"
    assert own.title == f"generate shard 0, job 5_0: {folder / '5_0_0.attempt-2.log'}"
    assert [log.shard for log in select_logs(waiting_run, "generate", {("generate", 0)})] == [0]
    assert StatusReader(waiting_run, queue.view).log("generate", 1) is None


def test_on_call_4_the_log_of_a_job_that_is_no_array_is_its_own(waiting_run: Run) -> None:
    """There the script's output belongs to the only shard."""
    folder = waiting_run.log_dir("merge")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "6_batch.log").write_text("module: not found\n")
    (log,) = select_logs(waiting_run, "merge")
    assert (log.shard, log.path.name) == (0, "6_batch.log")


def test_on_call_4_logs_says_why_a_shard_has_none(waiting_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """And which shards there are. No Slurm is asked here."""
    monkeypatch.setenv("PATH", "")
    done = launch_here("logs", str(waiting_run.path), "generate", "--shard", "1")
    assert done.returncode == 0 and done.stdout == "" and "generate shard 1 (job 5_1) is unknown" in done.stderr
    done = launch_here("logs", str(waiting_run.path), "generate", "--shard", "3")
    assert done.returncode == 2 and "0 to 2" in done.stderr
    assert launch_here("logs", str(waiting_run.path), "--shard", "1").returncode == 2


def test_on_call_4_a_log_is_followed_through_its_attempts_to_the_end(
    waiting_run: Run, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts come as the task writes them; the last ones were written just before it ended."""
    monkeypatch.setattr("slurm.watching.follow_log.SLURM_LOOK_S", 0.0)
    monkeypatch.setattr("slurm.watching.follow_log._READ_S", 0.0)
    monkeypatch.setattr("slurm.watching.follow_log.StatusReader", functools.partial(StatusReader, ask=queue.view))
    all_wait(queue, "Priority")
    folder = waiting_run.log_dir("generate")
    folder.mkdir(parents=True, exist_ok=True)
    first, second = (folder / attempt_log("5_1", attempt) for attempt in (1, 2))
    told: list[str] = []

    def first_runs() -> None:
        queue["5_1"] = QueueEntry("RUNNING", nodes="n1")
        first.write_bytes(b"old\none\ntwo \xc3")

    def more() -> None:
        with first.open("ab") as log:
            log.write(b"\xbc\n")

    def requeued() -> None:
        queue["5_1"] = QueueEntry("PENDING", "BeginTime")

    def second_ends() -> None:
        second.write_text("a new start\n")
        write_failure(waiting_run, "generate", 1, kind="ValueError", message="no", attempt=2, job="5_1")
        queue["5_1"] = QueueEntry("FAILED", "exit 1", "n1")

    steps = iter([first_runs, more, requeued, second_ends])

    def sleep(seconds: float) -> None:
        next(steps)()

    monkeypatch.setattr("slurm.watching.follow_log.time.sleep", sleep)
    code = follow_log(waiting_run, "generate", 1, 2, told.append, told.append)
    assert code == 1
    assert told == [
        "generate shard 1 (job 5_1) is pending: jobs with higher priority are ahead (Priority)",
        f"==> {first}",
        "one\ntwo ",
        "generate shard 1 (job 5_1) is running on n1",
        "ü\n",
        f"generate shard 1 (job 5_1) is pending: {explained('BeginTime')}",
        f"==> {second}",
        "a new start\n",
        "generate shard 1 (job 5_1) is failed: ValueError: no",
    ]


def test_on_call_4_which_log_is_followed_must_be_clear(waiting_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stage of one shard needs no number."""
    assert shard_to_follow(waiting_run, "generate", 2) == ("generate", 2)
    assert shard_to_follow(waiting_run, "merge", None) == ("merge", 0)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="only one log can be followed"):
        shard_to_follow(waiting_run, "generate", None)


def test_on_call_5_the_time_of_look_the_age_and_the_last_progress_are_shown(waiting_run: Run, queue: Queue) -> None:
    """A status on a screen told neither when it was read, nor whether anything had moved for hours."""
    all_wait(queue, "Priority")
    status = queue.status(waiting_run)
    assert status.progressed == pytest.approx(time.time(), abs=30)
    status.time, status.created = 1_700_000_000.0, 1_700_000_000.0 - 7500
    status.stage("sample").progressed = status.time - 3700
    said = look(status)
    assert said == time.strftime("%Y-%m-%d %H:%M:%S, ", time.localtime(status.time)) + (
        "planned 2h05m ago, last progress 1h01m ago"
    )
    assert said in shown(status)
    assert status.as_dict()["progressed"] == status.time - 3700
    status.stage("sample").progressed = None
    assert "no progress yet" in look(status)


def test_on_call_5_progress_of_an_earlier_run_is_not_this_runs(make_run: Callable[..., Run], queue: Queue) -> None:
    """A reused stage was finished before this run began."""
    run = make_run(cluster={"kind": "slurm"})
    for shard in range(2):
        commit(run, "sample", shard)
    assert queue.status(run).progressed is None


@pytest.mark.parametrize(
    ("entry", "log", "advice"),
    [
        (QueueEntry("OUT_OF_MEMORY", "", "n2"), "", "raise cluster.stages.generate.memory_gib (now 64)"),
        (
            QueueEntry("FAILED", "exit 9, or 137: SIGKILL", "n2"),
            "slurmstepd: error: Detected 1 oom_kill event in StepId=5.0. Some of the step tasks were OOM Killed.\n",
            "it ran out of memory: raise cluster.stages.generate.memory_gib (now 64)",
        ),
        (
            QueueEntry("FAILED", "exit 137: SIGKILL", "n2"),
            "loading\n",
            "SIGKILL often comes from the kernel when memory is short; if so, raise "
            "cluster.stages.generate.memory_gib (now 64)",
        ),
        (
            QueueEntry("FAILED", "exit 1", "n2"),
            "slurmstepd-n2: error: StepId=5.0 exceeded memory limit (244961280 > 104857600), being killed\n",
            "it ran out of memory: raise cluster.stages.generate.memory_gib (now 64)",
        ),
        (QueueEntry("FAILED", "exit 1", "n2"), "slurm: oom_kill\n", None),
    ],
)
def test_on_call_5_a_task_that_ran_out_of_memory_is_told_what_to_raise(
    waiting_run: Run, queue: Queue, entry: QueueEntry, log: str, advice: str | None
) -> None:
    """``OUT_OF_MEMORY`` and ``SIGKILL`` were shown without a way out."""
    all_wait(queue, "Priority")
    queue["5_0"] = entry
    path = waiting_run.log_dir("generate")
    path.mkdir(parents=True, exist_ok=True)
    (path / attempt_log("5_0", 1)).write_text(log)
    status = queue.status(waiting_run)
    (failure,) = status.stage("generate").failures
    assert failure.advice == advice
    assert advice is None or advice in " ".join(shown(status).split())


def test_on_call_6_a_job_requeued_in_held_state_is_explained_and_has_no_next_start(
    waiting_run: Run, queue: Queue
) -> None:
    """It was not explained, and ``next start in 1s`` was shown for it."""
    queue.update(
        {
            task: entry
            for (task, _), entry in parse_squeue(
                f"5_[0-2]|PENDING|job requeued in held state||{time.time() + 60:.0f}|N/A|1|1|name|\n"
            ).items()
        }
    )
    text = shown(queue.status(waiting_run))
    assert "requeued and held, by a person or a prolog; scontrol release 5_[0-2] (job requeued in held state)" in text
    assert "expects the next start" not in text


def fail(run: Run, shard: int, message: str, job: str, attempt: int = 1) -> None:
    write_failure(run, "generate", shard, kind="ValueError", message=message, attempt=attempt, job=f"{job}_{shard}")


def test_on_call_6_retry_says_which_errors_it_may_only_repeat(waiting_run: Run) -> None:
    """It submitted the same Python error again and again without a remark."""
    fail(waiting_run, 0, "no such tool\nmore", "5")
    fail(waiting_run, 1, "no such tool\nmore", "5")
    fail(waiting_run, 2, "other", "5")
    last = "unless the cause is fixed, these will fail again; nothing is retried automatically"
    before = last_errors(waiting_run)
    assert repeated(before, {"generate": [0, 1, 2]}) == [
        "generate: shards 0-1 failed and are submitted again: ValueError: no such tool",
        "generate: shard 2 failed and is submitted again: ValueError: other",
        last,
    ]
    assert repeated(before, {"generate": [2]})[0].startswith("generate: shard 2 failed")
    assert repeated(before, {}) == repeated(before, {"merge": [0]}) == []

    append_submission(waiting_run, Submission("slurm", "generate", "11", "0-2", attempt=2, array=True))
    assert repeated(last_errors(waiting_run), {"generate": [0, 1, 2]}) == [], "how these ended is not known yet"
    fail(waiting_run, 0, "no such tool\nmore", "11", 2)
    fail(waiting_run, 1, "something new", "11", 2)
    assert repeated(last_errors(waiting_run), {"generate": [0, 1, 2]}) == [
        "generate: shard 0 failed 2 times in a row with the same error and is submitted again: ValueError: no such "
        "tool",
        "generate: shard 1 failed and is submitted again: ValueError: something new",
        last,
    ]


def test_on_call_6_retry_says_so_of_a_setup_line_that_failed_too(make_run: Callable[..., Run]) -> None:
    """The task writes no record then, and `retry` submitted the same missing file again without a remark."""
    run = make_run(cluster={"kind": "slurm", "setup": ["source /missing"]})
    append_submission(run, Submission("slurm", "generate", "5", "0-2", array=True))
    logs = run.log_dir("generate")
    logs.mkdir(parents=True)
    for shard in (0, 1):
        log = logs / f"5_{shard}_0.attempt-1.log"
        log.write_text(f"/missing: No such file\n{SETUP_FAILED}: exit code 1 of: source /missing\n")
        (logs / f"{log.name}.setup").touch()
    again = {"generate": [0, 1, 2]}
    assert repeated(last_errors(run), again)[0] == (
        "generate: shards 0-1 failed and are submitted again: SetupError: cluster.setup: exit code 1 of: "
        "source /missing; /missing: No such file"
    )
    append_submission(run, Submission("slurm", "generate", "6", "0-2", attempt=2, array=True))
    assert repeated(last_errors(run), again) == [], "how these ended is not known yet"


def test_on_call_6_a_failure_recorded_by_an_earlier_version_counts_once(waiting_run: Run) -> None:
    """Its record has no count."""
    fail(waiting_run, 0, "no", "5")
    path = failure_path(waiting_run, "generate", 0)
    value = json.loads(path.read_text())
    del value["times"]
    path.write_text(json.dumps(value))
    assert last_errors(waiting_run)["generate"][0]["times"] == 1
    fail(waiting_run, 0, "no", "5")
    assert last_errors(waiting_run)["generate"][0]["times"] == 2


def test_a_failure_is_told_even_while_the_rest_is_held(waiting_run: Run, queue: Queue) -> None:
    all_wait(queue, "JobHeldUser")
    write_failure(waiting_run, "generate", 0, kind="ValueError", message="no", attempt=1, job="5_0")
    queue["5_0"] = QueueEntry("FAILED", "exit 1", "n1")
    status = queue.status(waiting_run)
    assert status.state == "failed" and "generate: 2 stuck" in shown(status)
