"""What sbatch did is checked, not guessed: real jobs, with a stand-in in front of sbatch that misreports them."""

from __future__ import annotations

import getpass
import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from jobs.plan import Run
from slurm import control
from slurm.devcluster.cluster import DevCluster, down, up
from slurm.preflight.cluster import check_cluster
from slurm.submission import client
from slurm.submission.options import SubmitError
from slurm.submission.queue import read_queue
from slurm.submission.submissions import load_submissions
from slurm.submission.submit import submit_missing
from slurm.watching.status import StatusReader
from tests.cluster.conftest import SMALL, ended, slurm_profile, told, until, wait_for
from tests.cluster.test_absence import HELD, in_queue, stand_in
from tests.conftest import TINY, launch_here
from tests.slurm.conftest import PACKAGE

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
MakeRun = Callable[..., Run]
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"


def names_in_queue() -> set[str]:
    """Names of all live jobs of the cluster."""
    text = subprocess.run(["squeue", "-h", "-o", "%j"], capture_output=True, text=True, check=True).stdout
    return set(text.split())


def test_B1_a_job_that_was_accepted_though_sbatch_failed_is_adopted(
    cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command said that nothing of it was left in the queue, but an array was."""
    calls = tmp_path / "calls"
    accepts = (
        f'echo >>{calls}; "$REAL" "$@" || exit; [ "$(wc -l <{calls})" = 2 ] || exit 0; echo "{TIMED_OUT}" >&2; exit 1'
    )
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", accepts)
    run = make_run(cluster=slurm_profile())
    made = submit_missing(run, PACKAGE)
    assert [item.stage for item in made].count("generate") == 1 and len(calls.read_text().splitlines()) == 6
    assert len({item.name for item in made}) == 6 and load_submissions(run) == made
    assert wait_for(run, ended).state == "done"


def test_B1_a_job_that_nobody_confirmed_is_found_by_its_name_later(
    cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch times out after the job was accepted, and squeue and scancel do not answer either."""
    run = make_run(cluster=slurm_profile(stages=HELD))
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", f'"$REAL" "$@" >/dev/null; echo "{TIMED_OUT}" >&2; exit 1')
    for name in ("squeue", "scancel"):
        stand_in(tmp_path / "bin", monkeypatch, name, f"echo '{name}: error: Socket timed out' >&2; exit 1")
    with pytest.raises(SubmitError, match="whether Slurm took the job of sample is unknown") as refused:
        submit_missing(run, PACKAGE)
    (doubtful,) = load_submissions(run)
    assert doubtful.job == "" and doubtful.name in str(refused.value)
    assert "nothing else was submitted by this call" in str(refused.value)
    assert StatusReader(run).read().stage("sample").unknown == 2
    with pytest.raises(SubmitError, match="nothing submitted"):
        submit_missing(run, PACKAGE)
    for name in ("sbatch", "squeue", "scancel"):
        (tmp_path / "bin" / name).unlink()
    assert doubtful.name in names_in_queue()
    status = StatusReader(run).read()
    assert status.stage("sample").stuck == 2, told(status)
    made = submit_missing(run, PACKAGE)
    assert [item.stage for item in made] == ["generate", "merge", "train", "evaluate", "report"], "sample is waiting"
    assert len(control.cancel(run).jobs) == 6
    until(lambda: not names_in_queue() & {item.name for item in load_submissions(run)}, "the jobs to end")


def test_B1_a_time_out_that_accepted_nothing_leaves_nothing(
    cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = tmp_path / "calls"
    third = f'echo >>{calls}; [ "$(wc -l <{calls})" = 3 ] && {{ echo "{TIMED_OUT}" >&2; exit 1; }}; exec "$REAL" "$@"'
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", third)
    monkeypatch.setattr("slurm.submission.queue.SECOND_LOOK_S", 0.1)
    run = make_run(cluster=slurm_profile(stages=HELD))
    with pytest.raises(SubmitError, match=r"sbatch rejected merge: .*asked twice.*were cancelled"):
        submit_missing(run, PACKAGE)
    until(lambda: in_queue(run) == 0, "the jobs to end")


@pytest.mark.parametrize("site", ['"$REAL" --parsable "$@"', '"$REAL" --clusters=devcluster "$@"'])
def test_B2_a_bare_id_is_read_with_and_without_a_cluster(
    site: str, cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that sets --parsable led to a traceback, and three jobs were left behind."""
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", site)
    run = make_run(cluster=slurm_profile())
    made = submit_missing(run, PACKAGE)
    assert {item.cluster for item in made} == ({"devcluster"} if "devcluster" in site else {None})
    assert wait_for(run, ended).state == "done"


SITES = ['echo "job 3 of 500"; "$REAL" "$@"', 'echo "lua: job 7"; "$REAL" "$@"; echo "see job 8"']


@pytest.mark.parametrize("site", SITES)
def test_B3_lines_of_a_sites_wrapper_are_no_ids(
    site: str, cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A wrapper that printed `job 3 of 500` first made every job the job 3."""
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", site)
    run = make_run(cluster=slurm_profile(stages=HELD))
    made = submit_missing(run, PACKAGE)
    assert len({item.job for item in made}) == 6
    view = read_queue(made)
    assert all((entry := view.entry(item, item.indices()[0])) is not None and entry.waiting for item in made)
    assert len(control.cancel(run).jobs) == 6


def test_B4_a_limit_on_submitted_jobs_is_explained(
    cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MaxSubmitJobs was reached midway, and the message named neither the limit nor a way out."""
    calls = tmp_path / "calls"
    said = "sbatch: error: AssocMaxSubmitJobLimit\\nsbatch: error: Batch job submission failed: Job violates "
    said += "accounting/QOS policy (job submit limit, user's size and/or time limits)"
    third = f'echo >>{calls}; [ "$(wc -l <{calls})" = 3 ] && {{ echo -e "{said}" >&2; exit 1; }}; exec "$REAL" "$@"'
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", third)
    run = make_run(cluster=slurm_profile(stages=HELD), generate__shards=7)
    change = ["sacctmgr", "-i", "modify", "qos", "normal", "set"]
    subprocess.run([*change, "MaxSubmitJobsPerUser=9"], check=True, capture_output=True)
    try:
        with pytest.raises(SubmitError) as refused:
            submit_missing(run, PACKAGE)
    finally:
        subprocess.run([*change, "MaxSubmitJobsPerUser=-1"], check=True, capture_output=True)
    assert "this call wanted 10 tasks" in str(refused.value) and "qos normal: 9" in str(refused.value)
    assert "shards_per_task=N" in str(refused.value) and "were cancelled" in str(refused.value)
    until(lambda: in_queue(run) == 0, "the jobs to end")


@pytest.mark.parametrize("way", [f'echo "{TIMED_OUT}" >&2; exit 1', "exec /bin/sleep 60"])
def test_B5_a_check_that_got_no_answer_blames_nobody(
    way: str, cluster: DevCluster, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--test-only` that timed out was called a fault of the resources, or gave a traceback."""
    monkeypatch.setattr(client, "TIMEOUT_S", 0.2 if "sleep" in way else 60)
    stand_in(tmp_path / "bin", monkeypatch, "sbatch", way)
    with pytest.raises(SubmitError, match="the controller did not answer; try again"):
        check_cluster(make_run(cluster=slurm_profile()).plan)


@pytest.fixture
def other(cluster: DevCluster) -> Iterator[DevCluster]:
    """A second cluster under the same slurmdbd."""
    root = Path(tempfile.mkdtemp(prefix="slurm-"))
    try:
        yield up(root, 1, name="second", beside=cluster)
    finally:
        down(root)
        shutil.rmtree(root, ignore_errors=True)


def test_A4_a_run_on_another_cluster_is_submitted_watched_and_cancelled_there(
    cluster: DevCluster, other: DevCluster, make_run: MakeRun, toys: Path
) -> None:
    """With `extra: {clusters: other}` a running run was "just submitted", and `retry` doubled it."""
    (toys / "generate-1.sleep").write_text("600")
    run = make_run(cluster=slurm_profile(extra={"clusters": "second"}))
    check_cluster(run.plan)
    made = submit_missing(run, PACKAGE)
    assert {item.cluster for item in made} == {"second"}
    status = wait_for(run, lambda seen: seen.stage("generate").running == 1 and seen.stage("generate").done == 2)
    assert status.problem is None and status.accounting, told(status)
    assert submit_missing(run, PACKAGE) == []
    here = subprocess.run(["squeue", "-h", "-o", "%j"], capture_output=True, text=True, check=True).stdout
    assert not {item.name for item in made} & set(here.split()), "nothing of it is on the default cluster"
    assert len(control.cancel(run).jobs) == 5
    assert wait_for(run, ended).state == "cancelled"
    (toys / "generate-1.sleep").unlink()
    again = submit_missing(run, PACKAGE)
    assert (again[0].stage, again[0].shards) == ("generate", "1")
    assert wait_for(run, ended).state == "done"


@pytest.fixture
def project(cluster: DevCluster) -> Iterator[str]:
    """A second account of this user."""
    sacctmgr = ["sacctmgr", "-i"]
    where = ["account=proj", f"user={getpass.getuser()}"]
    subprocess.run([*sacctmgr, "add", "account", "proj"], check=True, capture_output=True)
    subprocess.run([*sacctmgr, "add", "user", getpass.getuser(), "account=proj"], check=True, capture_output=True)
    yield "proj"

    def deleted() -> bool:
        command = [*sacctmgr, "delete", "user", "where", *where]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    until(deleted, "the account's jobs to end")
    subprocess.run([*sacctmgr, "delete", "account", "proj"], check=True, capture_output=True)


def test_E1_the_users_defaults_count_where_the_profile_is_silent_and_plan_shows_them(
    project: str, make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SBATCH_ACCOUNT and SBATCH_PARTITION were dropped silently, and the job was billed elsewhere."""
    for name, value in (
        ("SBATCH_ACCOUNT", project),
        ("SBATCH_PARTITION", "gpu"),
        ("SBATCH_TIMELIMIT", "0:01"),
        ("SLURM_JOB_PARTITION", "urgent"),
    ):
        monkeypatch.setenv(name, value)
    stages = {**HELD, "merge": {**HELD["merge"], "partition": "main"}}
    run = make_run(cluster=slurm_profile(partition=None, stages=stages))
    made = submit_missing(run, PACKAGE)
    command = ["squeue", "-h", "-o", "%A %a %P %l", "-j", ",".join(item.job for item in made)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen = {tuple(line.split()) for line in text.splitlines()}
    expected = {(item.job, "proj", "main" if item.stage == "merge" else "gpu", "5:00") for item in made}
    assert seen == expected
    control.cancel(run)

    config = {
        "name": "shown",
        "domain": str(TINY),
        "root": str(tmp_path / "runs"),
        "dataset": {"size": 100},
        "generate": {"routes": {"heuristic": 1}},
        "model": {
            "generator": {"model": "package:smollm2-135m-instruct"},
            "trainee": "package:smollm2-135m-instruct",
            "embedder": "package:all-minilm-l6-v2",
        },
        "cluster": slurm_profile(partition=None, stages={**SMALL, "merge": {**SMALL["merge"], "partition": "main"}}),
    }
    (tmp_path / "shown.yaml").write_text(yaml.safe_dump(config))
    said = launch_here("plan", str(tmp_path / "shown.yaml")).stdout
    assert (
        "from your shell: SBATCH_ACCOUNT=proj (--account of sample, generate, shortfall, refill, merge, train" in said
    )
    assert "from your shell: SBATCH_PARTITION=gpu (--partition of sample, generate, refill, train" in said
    assert "from your shell: SBATCH_TIMELIMIT=0:01 (not used; the profile or this program sets it)" in said
    shown = json.loads(launch_here("plan", str(tmp_path / "shown.yaml"), "--json").stdout)["user_defaults"]
    assert [item["variable"] for item in shown] == ["SBATCH_ACCOUNT", "SBATCH_PARTITION", "SBATCH_TIMELIMIT"]
    assert shown[1]["option"] == "partition" and "merge" not in shown[1]["stages"] and shown[2]["stages"] == []
