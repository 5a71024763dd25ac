from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.training import builds


def test_a_guard_that_a_killed_training_left_goes_and_one_in_use_stays(tmp_path: Path) -> None:
    guard = tmp_path / "py311_cpu" / "deepspeed_shm_comm" / "lock"
    guard.parent.mkdir(parents=True)
    guard.touch()
    with builds.usable(tmp_path):
        assert not guard.exists()
        guard.touch()  # the training builds now
        with builds.usable(tmp_path):
            assert guard.exists()
    with builds.usable(tmp_path):
        assert not guard.exists()


def test_the_folder_is_torchs_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.cpp_extension import _get_build_directory

    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path))
    assert builds.folder() == tmp_path == Path(_get_build_directory("x", verbose=False)).parents[0]
