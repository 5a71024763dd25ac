import pytest
from live import approve

from pipelines.config import Settings
from pipelines.errors import BadInput, Conflict
from pipelines.registry import artifacts, candidates, pointer, views
from pipelines.state.database import reading, transaction
from pipelines.state.models import Arrival, DatasetVersion, Tenure, now


def version(settings: Settings, minor: int, uploader: str = "steward") -> str:
    with transaction(settings) as session:
        session.add(
            Arrival(
                id=f"a{minor}", domain="d", folder=f"f{minor}", seal="s", uploader=uploader, source="t", effective="2012-01-01", files=1
            )
        )
        session.flush()
        name = f"Set_v1.{minor}"
        session.add(
            DatasetVersion(
                id=name, domain="d", major=1, minor=minor, snapshot_id="1", arrival_id=f"a{minor}", known_on="2012-01-01", documents=1,
                changed={}, content=f"c{minor}",
            )
        )  # fmt: skip
        return name


def candidate(settings: Settings, minor: int, uploader: str = "steward") -> str:
    name = version(settings, minor, uploader)
    step_hash = f"{minor:064x}"
    artifacts.make(settings, "index", step_hash, lambda out: (out / "x").write_text("x"))
    index = artifacts.enter(settings, "index", "d", step_hash, {})
    return candidates.assemble(
        settings, domain="d", version_id=name, base="b", base_sha256="0", adapter_id=None, index_id=index, prompt="p/v1", prompt_sha256="0",
        policy={}, step_hash=step_hash,
    )  # fmt: skip


def canaried(settings: Settings, minor: int) -> str:
    name = candidate(settings, minor)
    approve(settings, name)
    pointer.set_canary(settings, name, 0.1)
    return name


def test_the_same_parts_are_the_same_candidate(settings: Settings) -> None:
    first = candidate(settings, 0)
    again = candidates.assemble(
        settings, domain="d", version_id="Set_v1.0", base="b", base_sha256="0", adapter_id=None, index_id="i", prompt="p/v1",
        prompt_sha256="0", policy={}, step_hash=f"{0:064x}",
    )  # fmt: skip
    assert (first, again) == ("d/r1", "d/r1")


def test_promotion_moves_one_pointer_once(settings: Settings) -> None:
    first, second = canaried(settings, 0), None
    assert pointer.promote(settings, first) is True
    assert pointer.promote(settings, first) is False
    second = canaried(settings, 1)
    pointer.promote(settings, second)
    assert [row.release for row in pointer.live_on(settings, "d")] == [second]
    assert candidates.get(settings, first).state == "retired"
    with reading(settings) as session:
        assert session.query(Tenure).count() == 2


def test_nothing_goes_live_without_an_approval(settings: Settings) -> None:
    name = candidate(settings, 0)
    with pytest.raises(Conflict):
        pointer.promote(settings, name)
    with transaction(settings) as session:
        candidates.move(session, name, "gated")
    with pytest.raises(Conflict):
        pointer.set_canary(settings, name, 0.1)


def test_rollback_goes_to_the_last_good_release_and_not_back_to_the_bad_one(settings: Settings) -> None:
    names = []
    for minor in range(3):
        names.append(canaried(settings, minor))
        pointer.promote(settings, names[-1])
    assert pointer.rollback(settings, "d", actor="os:someone", reason="it is wrong") == names[1]
    assert pointer.rollback(settings, "d", actor="os:someone", reason="this too") == names[0]
    with pytest.raises(Conflict, match="first release"):
        pointer.rollback(settings, "d", actor="os:someone", reason="and this")
    assert pointer.rollback(settings, "d", actor="os:someone", reason="mended", to=3) == names[2]
    assert views.live(settings, "d")[0]["release"] == names[2]


def test_rollback_to_what_never_was_live_is_bad_input(settings: Settings) -> None:
    first = canaried(settings, 0)
    pointer.promote(settings, first)
    candidate(settings, 1)
    for number in (1, 2, 9):
        with pytest.raises(BadInput):
            pointer.rollback(settings, "d", actor="x", reason="y", to=number)
    assert pointer.live_on(settings, "d")[0].release == first


def test_what_was_live_on_a_day(settings: Settings) -> None:
    pointer.promote(settings, canaried(settings, 0))
    today = now().date().isoformat()
    assert [row.approved_by for row in pointer.live_on(settings, "d", today)] == ["approver"]
    assert pointer.live_on(settings, "d", "2001-01-01") == []
    with pytest.raises(BadInput, match="not a date"):
        pointer.live_on(settings, "d", "yesterday")


def test_the_uploaders_since_the_live_release_are_remembered(settings: Settings) -> None:
    pointer.promote(settings, canaried(settings, 0))
    version(settings, 1, "ann")
    assert candidates.get(settings, candidate(settings, 2, "bob")).uploader == "ann, bob"


def test_an_artifact_changed_on_disk_is_refused(settings: Settings) -> None:
    candidate(settings, 0)
    path = artifacts.path_of(settings, f"index-{0:016x}")
    (path / "x").write_text("y")
    with pytest.raises(Exception, match="altered on disk"):
        artifacts.path_of(settings, f"index-{0:016x}")


def test_a_run_goes_back_once_however_often_its_task_is_cleared(settings: Settings) -> None:
    for minor in range(3):
        pointer.promote(settings, canaried(settings, minor))
    back = [pointer.rollback(settings, "d", actor="admin", reason="wrong", run="rollback/manual__1") for _ in range(2)]
    assert back == ["d/r2", "d/r2"] and [row.release for row in pointer.live_on(settings, "d")] == ["d/r2"]
    assert pointer.rollback(settings, "d", actor="admin", reason="that too", run="rollback/manual__2") == "d/r1"
