import os
import signal
import time
from pathlib import Path

import pytest

from pipelines import locks
from pipelines.compute import files, inside, jobs, local, slurm
from pipelines.compute_config import Local, Slurm
from pipelines.config import Settings
from pipelines.errors import BadInput

SLOW = "import time; time.sleep(60)"


def wait(settings: Settings, job: str, state: str, seconds: float = 15) -> None:
    deadline = time.monotonic() + seconds
    while local.poll(settings, job) != state:
        assert time.monotonic() < deadline, local.poll(settings, job)
        time.sleep(0.02)


def test_a_job_leaves_its_output(settings: Settings) -> None:
    write = "pathlib.Path(os.environ['RATCHET_JOB'], 'output.json').write_text(json.dumps({'made': 1}))"
    code = f"import os, json, pathlib; {write}; print('hello')"
    assert local.poll(settings, "a/b") == "absent"
    local.start(settings, "a/b", ["-c", code])
    wait(settings, "a/b", "done")
    assert files.result(settings, "a/b") == {"rc": 0, "output": {"made": 1}, "error": None}
    assert "hello" in files.log_tail(settings, "a/b")


def test_starting_twice_is_one_process(settings: Settings, tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    code = f"import os, pathlib, time; pathlib.Path({str(marks)!r}, str(os.getpid())).touch(); time.sleep(1)"
    for _ in range(3):
        local.start(settings, "job", ["-c", code])
        assert local.poll(settings, "job") == "running"
    wait(settings, "job", "done")
    local.start(settings, "job", ["-c", code])
    assert local.poll(settings, "job") == "done"
    assert len(list(marks.iterdir())) == 1


def test_a_killed_child_is_a_failed_job(settings: Settings) -> None:
    local.start(settings, "job", ["-c", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
    wait(settings, "job", "done")
    assert files.result(settings, "job")["error"] == "the step's process ended by signal 9"


def test_a_killed_wrapper_takes_its_child_along_and_the_job_is_lost(settings: Settings) -> None:
    place = files.folder(settings, "job")
    local.start(settings, "job", ["-c", f"import os; open({str(place / 'child')!r}, 'w').write(str(os.getpid())); {SLOW}"])
    deadline = time.monotonic() + 15
    while not (place / "child").exists() or not (place / "child").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = int((place / "child").read_text())
    os.kill(int((place / "pid").read_text()), signal.SIGKILL)
    wait(settings, "job", "lost")
    while Path(f"/proc/{child}").exists() and "State:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_stop_waits_for_the_lock(settings: Settings) -> None:
    local.start(settings, "job", ["-c", SLOW])
    local.stop(settings, "job")
    assert local.poll(settings, "job") == "done"
    assert files.result(settings, "job")["rc"] == -signal.SIGTERM


def test_a_job_name_cannot_leave_its_folder(settings: Settings) -> None:
    for name in ("../x", "a/../../x", "/etc/x", "a b", ""):
        with pytest.raises(BadInput):
            files.folder(settings, name)


def test_an_error_line_reaches_the_result(settings: Settings) -> None:
    local.start(settings, "job", ["-m", "pipelines", "step", "index", "--domain", "nowhere", "--arg", "version=x"])
    wait(settings, "job", "done", 40)
    done = files.result(settings, "job")
    assert done["rc"] == 2
    assert "there is no domain 'nowhere'" in done["error"]


def test_a_job_that_was_told_to_end_before_it_came_to_its_node_runs_nothing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JOB_COMPLETION_INDEX", raising=False)
    place = files.folder(settings, "job")
    place.mkdir(parents=True)
    jobs.ask_to_stop(settings, "job")
    assert inside.main([str(place), "-c", f"open({str(place / 'ran')!r}, 'w')"]) == 128 + signal.SIGTERM
    assert not (place / "ran").exists() and not (place / files.RESULT).exists()
    jobs.start(settings, "job", ["-c", "print('again')"], Local())
    wait(settings, "job", "done")
    assert files.result(settings, "job")["rc"] == 0 and not (place / files.STOP).exists()


def test_what_runs_on_a_cluster_is_named(settings: Settings) -> None:
    local.start(settings, "a/here", ["-c", SLOW])
    for job in ("a/there", "a/finished"):
        place = files.folder(settings, job)
        place.mkdir(parents=True)
        (place / "profile.json").write_text(Slurm(kind="slurm").model_dump_json(), encoding="utf-8")
    files.leave_result(files.folder(settings, "a/finished"), 0)
    with locks.alone_now(files.folder(settings, "a/there") / slurm.LOCK):  # it is being submitted
        (line,) = jobs.elsewhere(settings)
    assert line.startswith("a/there: ")
    local.stop(settings, "a/here")
