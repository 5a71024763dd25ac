from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import training_bar
from pipelines.training.progress import Progress, duration, progress_line, read

TOLD = {"step": 40, "steps": 200, "loss": 0.4123, "tokens_per_second": 9100, "eta_seconds": 250, "peak_mb": 1820.4}


def tell(folder: Path, **values: object) -> None:
    (folder / "progress.json").write_text(json.dumps(values), encoding="utf-8")


def test_the_line_says_what_is_known(tmp_path: Path) -> None:
    assert progress_line(tmp_path) == "" == progress_line(tmp_path / "nowhere")
    tell(tmp_path, **TOLD)
    assert progress_line(tmp_path) == "step 40 of 200 (20%), loss 0.412, 9,100 tokens/s, 1,820 MB, about 4 min left"
    tell(tmp_path, step=0, steps=200, loss=None)
    assert progress_line(tmp_path) == "step 0 of 200 (0%)"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}', '{"step": "x", "steps": 3}', "null"])
def test_what_cannot_be_read_is_no_progress(tmp_path: Path, text: str) -> None:
    (tmp_path / "progress.json").write_text(text)
    assert read(tmp_path) is None


def test_a_loss_that_is_not_a_number_is_not_told(tmp_path: Path) -> None:
    (tmp_path / "progress.json").write_text('{"step": 1, "steps": 2, "loss": NaN, "eta_seconds": "soon"}')
    assert read(tmp_path) == Progress(1, 2)


@pytest.mark.parametrize(("seconds", "words"), [(40, "40 s"), (720, "12 min"), (11_100, "3 h 5 min")])
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_the_bar_ends_at_the_last_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training_bar, "Console", lambda **_: Console(stderr=True, force_terminal=True, width=160))
    with training_bar.shown(quiet=False) as watch:
        watch(tmp_path)
        tell(tmp_path, **TOLD | {"step": 200, "eta_seconds": 0})
    shown = capsys.readouterr().err
    assert "200/200" in shown and "9,100 tokens/s" in shown


def test_quiet_shows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tell(tmp_path, **TOLD)
    with training_bar.shown(quiet=True) as watch:
        watch(tmp_path)
    assert capsys.readouterr() == ("", "")
