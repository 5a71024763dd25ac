import pickle
from pathlib import Path

import pytest

from pipelines.config import Settings
from pipelines.errors import ArrivalRefused, RatchetError
from pipelines.manifest import Outcome, address, run_step, sha256_folder


def test_a_step_runs_once_per_address(settings: Settings) -> None:
    calls: list[str] = []

    def body(key: str) -> Outcome:
        calls.append(key)
        return Outcome(outputs={"made": key[:4]}, counts={"n": len(calls)})

    first = run_step(settings, step="s", version=1, domain="d", config={"a": 1}, inputs={"b": 2}, body=body)
    again = run_step(settings, step="s", version=1, domain="d", config={"a": 1}, inputs={"b": 2}, body=body)
    other = run_step(settings, step="s", version=2, domain="d", config={"a": 1}, inputs={"b": 2}, body=body)
    assert first == again
    assert other.hash != first.hash
    assert calls == [first.hash, other.hash]


def test_a_step_that_fails_leaves_no_manifest(settings: Settings) -> None:
    def fails(_key: str) -> Outcome:
        raise RatchetError("no")

    with pytest.raises(RatchetError):
        run_step(settings, step="s", version=1, domain="d", config={}, inputs={}, body=fails)
    done = run_step(settings, step="s", version=1, domain="d", config={}, inputs={}, body=lambda _key: Outcome(outputs={"ok": True}))
    assert done.outputs == {"ok": True}


def test_the_address_depends_on_values_not_on_their_order() -> None:
    assert address("s", 1, {"a": 1, "b": 2}, {}) == address("s", 1, {"b": 2, "a": 1}, {})
    assert address("s", 1, {"a": 1}, {}) != address("s", 1, {}, {"a": 1})


def test_a_folder_hash_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1")
    before = sha256_folder(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = sha256_folder(tmp_path)
    (tmp_path / "b").write_text("2")
    assert len({before, renamed, sha256_folder(tmp_path)}) == 3


def test_errors_keep_their_parts_across_processes() -> None:
    error = pickle.loads(pickle.dumps(ArrivalRefused("broken", where="a.xml", todo="send it again")))  # noqa: S301 - our own bytes
    assert (type(error), str(error)) == (ArrivalRefused, "a.xml: broken (send it again)")
    assert error.exit_code == 2
