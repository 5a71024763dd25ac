from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from judge_server import MODEL, JudgeServer, error, judging
from typer.testing import CliRunner

from pipelines import cli
from pipelines.config import PROJECT
from pipelines.errors import BadInput, NotFound, Unavailable
from pipelines.evaluation.calibration import Rated, _auc, _ranks, _spearman, calibrate, offline, read
from pipelines.evaluation.judge import may_vote
from pipelines.gate_config import Judge

pytestmark = pytest.mark.slow

PASSAGE = "A lessor must retain payment ledgers for 30 months. The threshold is $53,500."


def rated(number: int, ratings: tuple[float, ...], answer: str = "a") -> Rated:
    return Rated(f"t{number}", f"conversation {number // 3}", "q", answer, (PASSAGE,), "r", ratings)


def mixed(count: int) -> list[Rated]:
    return [rated(number, (4.0, 4.0, 3.0) if number % 2 else (1.0, 2.0, 4.0)) for number in range(count)]


def noise(count: int) -> list[float | None]:
    drawn = random.Random(2)  # noqa: S311
    return [drawn.random() for _ in range(count)]


def file_of(**changes: Any) -> dict[str, Any]:
    def evaluation(task: str, model: str, answer: str, *values: Any) -> dict[str, Any]:
        ratings = {f"rater {place}": {"value": value, "duration": 1.0} for place, value in enumerate(values)}
        return {
            "task_id": task,
            "model_id": model,
            "model_response": answer,
            "annotations": {"faithfulness": ratings, "RougeL": {"system": {"value": 0.25}}},
        }

    turns = [{"speaker": "user", "text": "Ledgers?"}, {"speaker": "agent", "text": "Yes."}, {"speaker": "user", "text": "How long?"}]
    return {
        "name": "x",
        "documents": [{"document_id": "d", "text": PASSAGE, "title": "t"}],
        "tasks": [
            {
                "task_id": "c<::>1",
                "input": turns[:1],
                "contexts": [{"document_id": "d"}],
                "targets": [{"speaker": "agent", "text": "30 months."}],
            },
            {"task_id": "c<::>2", "input": turns, "contexts": []},
        ],
        "evaluations": [
            evaluation("c<::>1", "m", "Ledgers are retained for 30 months.", "4", "4", "3"),
            evaluation("c<::>2", "m", "For nine years.", 1, 2),
            evaluation("c<::>2", "n", "Nobody rated this."),
        ],
        **changes,
    }


def written(folder: Path, value: Any) -> Path:
    path = folder / "rated.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


# The figures


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    import numpy as np

    drawn = random.Random(1)  # noqa: S311
    for _ in range(20):
        scores = [drawn.randrange(5) for _ in range(30)]
        good = [drawn.random() < 0.5 for _ in scores]
        pairs = [(a, b) for a, fa in zip(scores, good, strict=True) if fa for b, fb in zip(scores, good, strict=True) if not fb]
        share = sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs)
        assert _auc(np.array(scores), np.array(good)) == pytest.approx(share)


def test_rank_correlation_is_scipys() -> None:
    import numpy as np
    from scipy.stats import rankdata, spearmanr  # type: ignore[import-untyped]

    drawn = np.random.default_rng(1)
    one, other = drawn.integers(0, 6, 50).astype(float), drawn.normal(size=50)
    assert _ranks(one) == pytest.approx(rankdata(one))
    assert _spearman(one, other) == pytest.approx(float(spearmanr(one, other)[0]))


def test_a_metric_that_knows_and_one_that_knows_nothing() -> None:
    answers = mixed(90)
    perfect = [sum(one.ratings) / 12 for one in answers]
    found = calibrate(answers, {"knows": perfect, "guesses": noise(90)}, data="d", judge="j")
    assert (found["data"], found["cases"], found["judge"]) == ("d", 90, {"model": "j"})
    knows, guesses = found["metrics"]["knows"], found["metrics"]["guesses"]
    assert knows == {"n": 90, "spearman": {"value": 1.0, "low": 1.0, "high": 1.0}, "auc": {"value": 1.0, "low": 1.0, "high": 1.0}}
    assert guesses["auc"]["low"] < 0.5 < guesses["auc"]["high"]
    assert guesses["spearman"]["low"] < 0 < guesses["spearman"]["high"]
    json.dumps(found, allow_nan=False)
    assert found == calibrate(answers, {"knows": perfect, "guesses": noise(90)}, "d", "j")


def test_whole_conversations_are_drawn() -> None:
    """The same answers in one conversation each leave the interval narrower than in ten large ones that agree within."""
    drawn = random.Random(3)  # noqa: S311
    scores: list[float | None] = []
    answers, apart = [], []
    for conversation in range(10):
        shift = drawn.random()
        for place in range(20):
            good = place % 2 == 0
            scores.append(drawn.random() * 0.2 + (shift if good else 1 - shift))
            one = Rated(f"{conversation}-{place}", str(conversation), "q", "a", (), "", (4.0,) if good else (1.0,))
            answers.append(one)
            apart.append(Rated(one.id, one.id, "q", "a", (), "", one.ratings))
    wide, narrow = (calibrate(many, {"m": scores})["metrics"]["m"]["auc"] for many in (answers, apart))
    assert wide["value"] == narrow["value"]
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_holes_are_left_out_and_counted() -> None:
    answers = mixed(30)
    found = calibrate(answers, {"m": [None if number < 6 else float(one.faithful) for number, one in enumerate(answers)]})
    assert (found["judge"], found["metrics"]["m"]["n"], found["metrics"]["m"]["auc"]["value"]) == (None, 24, 1.0)


@pytest.mark.parametrize(
    ("ratings", "values"),
    [([(4.0,)] * 9, [0.1 * n for n in range(9)]), ([(4.0,), (1.0,)] * 4, [None] * 8), ([(4.0,), (1.0,)] * 4, [float("nan")] * 8), ([], [])],
    ids=["all faithful", "no value", "not a number", "no answer"],
)
def test_what_cannot_be_had_is_none(ratings: list[tuple[float, ...]], values: list[float | None]) -> None:
    found = calibrate([rated(number, one) for number, one in enumerate(ratings)], {"m": values})["metrics"]["m"]
    assert found["auc"] == {"value": None, "low": None, "high": None}
    assert found["spearman"]["value"] is None


def test_a_constant_ranks_nothing() -> None:
    found = calibrate(mixed(30), {"m": [0.5] * 30})["metrics"]["m"]
    assert (found["spearman"]["value"], found["auc"]["value"]) == (None, 0.5)


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(BadInput, match="m has 1 values for 3 answers"):
        calibrate(mixed(3), {"m": [1.0]})


def test_faithful_is_what_most_raters_say() -> None:
    assert [rated(0, ratings).faithful for ratings in ((4.0, 1.0, 3.0), (4.0, 2.0, 1.0), (2.0, 4.0), (2.0, 3.0))] == [
        True,
        False,
        True,
        False,
    ]


# The file


def test_a_file_is_read(tmp_path: Path) -> None:
    first, second = read(written(tmp_path, file_of()))
    assert first == Rated(
        "c<::>1/m", "c", "Ledgers?", "Ledgers are retained for 30 months.", (PASSAGE,), "30 months.", (4.0, 4.0, 3.0), {"RougeL": 0.25}
    )
    assert second.question == "user: Ledgers?\nagent: Yes.\nuser: How long?"
    assert (second.group, second.contexts, second.reference, second.ratings) == ("c", (), "", (1.0, 2.0))


def without(name: str) -> Callable[[dict[str, Any]], Any]:
    return lambda value: {key: part for key, part in value.items() if key != name}


@pytest.mark.parametrize(
    ("spoiled", "says"),
    [
        (lambda value: "not JSON", "file: Invalid JSON"),
        (lambda value: "[]", "file: Input should be an object"),
        (without("evaluations"), "evaluations: Field required"),
        (without("documents"), "documents: Field required"),
        (lambda value: {**value, "documents": []}, "evaluations.0: there is no document 'd'"),
        (lambda value: {**value, "tasks": value["tasks"][1:]}, "evaluations.0: there is no task 'c<::>1'"),
        (lambda value: {**value, "evaluations": value["evaluations"][2:]}, "nobody rated the faithfulness of any answer"),
        (lambda value: {**value, "evaluations": []}, "nobody rated the faithfulness of any answer"),
        (
            lambda value: json.dumps(value).replace('"value": "4"', '"value": "good"', 1),
            "evaluations.0.annotations.faithfulness.rater 0.value: Input should be a valid number",
        ),
        (
            lambda value: json.dumps(value).replace('"value": "4"', '"value": 7', 1),
            "rater 0.value: Input should be less than or equal to 4",
        ),
        (lambda value: json.dumps(value).replace('"model_response"', '"response"', 1), "evaluations.0.model_response: Field required"),
    ],
)
def test_a_file_of_another_form_is_refused_with_the_place(spoiled: Callable[[Any], Any], says: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput) as found:
        read(written(tmp_path, spoiled(file_of())))
    assert says in str(found.value)


def test_a_file_that_is_not_there_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotFound, match="there is no such file"):
        read(tmp_path / "none.json")
    monkeypatch.setattr("pipelines.evaluation.calibration._LARGEST", 100)
    with pytest.raises(BadInput, match="MB, more than"):
        read(written(tmp_path, file_of()))


def test_every_offline_metric_gives_a_value_for_every_answer(tmp_path: Path) -> None:
    found = offline(read(written(tmp_path, file_of())))
    assert list(found) == ["groundedness", "rouge_l", "string_similarity", "semantic_similarity", "recorded RougeL"]
    assert all(
        first is not None and second is not None and first > second for name, (first, second) in found.items() if "recorded" not in name
    )
    assert [values[1] for name, values in found.items() if "recorded" not in name] == [0.0] * 4


@pytest.mark.slow
@pytest.mark.shared
def test_groundedness_agrees_with_people(shared_data: Path) -> None:
    answers = read(shared_data / "mtrag" / "reference_subset_with_human_evaluations.json")
    assert (len(answers), len({one.group for one in answers})) == (477, 20)
    from pipelines.evaluation.groundedness import groundedness

    found = calibrate(answers, {"groundedness": [groundedness(one.answer, one.contexts) for one in answers]})["metrics"]["groundedness"]
    assert found["auc"]["low"] > 0.85
    assert found["spearman"]["low"] > 0.5


# The command


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judging() as made:
        yield made


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(PROJECT / "configs", tmp_path / "configs")
    monkeypatch.setenv("RATCHET_CONFIGS", str(tmp_path / "configs"))
    monkeypatch.setenv("RATCHET_VAR", str(tmp_path / "var"))
    return tmp_path


def judged_by(site: Path, server: JudgeServer, **changes: Any) -> Judge:
    path = site / "configs" / "domains" / "regulatory.yaml"
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    rule = {"url": server.url, "model": MODEL, "repeated_cases": 0, "timeout_seconds": 20, **changes}
    values["gate"]["judge"] = rule
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return Judge(**rule)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(cli.app, ["calibrate", *map(str, arguments)])


def test_the_command_prints_a_table_and_writes_json(site: Path) -> None:
    path, out = written(site, file_of()), site / "out.json"
    done = run(path, "--out", out)
    assert done.exit_code == 0, done.output
    assert "groundedness" in done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert (found["cases"], found["judge"], found["metrics"]["groundedness"]["n"]) == (2, None, 2)
    assert found["data"].startswith("rated.json ")
    assert json.loads(run(path, "--json").stdout) == found


@pytest.mark.slow
def test_a_judge_is_calibrated_and_may_vote_by_the_file(site: Path, server: JudgeServer) -> None:
    judge = judged_by(site, server, calibration="calibration.json", min_auc=0.9)
    good, bad = "The threshold is $53,500.", "The threshold is waived."
    tasks = [{"task_id": f"c{n}<::>1", "input": [{"speaker": "u", "text": "Which?"}], "contexts": [{"document_id": "d"}]} for n in range(6)]
    evaluations = [
        {
            "task_id": f"c{n}<::>1",
            "model_id": model,
            "model_response": answer,
            "annotations": {"faithfulness": {"r": {"value": value}}},
        }
        for n in range(6)
        for model, answer, value in (("good", good, 4), ("bad", bad, 1))
    ]
    path, out = written(site, file_of(tasks=tasks, evaluations=evaluations)), site / "configs" / "calibration.json"
    done = run(path, "--judge-domain", "regulatory", "--out", out)
    assert done.exit_code == 0, done.output
    found = json.loads(out.read_text(encoding="utf-8"))
    assert found["judge"] == {"model": MODEL}
    assert found["metrics"]["faithfulness"]["auc"] == {"value": 1.0, "low": 1.0, "high": 1.0}
    assert may_vote(judge, site / "configs")[0]


def test_a_judge_that_fails_is_not_calibrated(site: Path, server: JudgeServer) -> None:
    judged_by(site, server)
    server.answer = lambda _: error(400, "no")
    done = run(written(site, file_of()), "--judge-domain", "regulatory", "--out", site / "out.json")
    assert isinstance(done.exception, Unavailable)
    assert "gate.judge" in str(done.exception) and "1 of 1 scores" in str(done.exception)
    assert not (site / "out.json").exists()


def test_bad_input_of_the_command(site: Path) -> None:
    path = written(site, file_of())
    for arguments, says in (
        ((path, "--judge-domain", "regulatory"), "has no gate.judge"),
        ((path, "--out", site / "none" / "out.json"), "there is no such folder"),
        ((site / "none.json",), "there is no such file"),
        ((path, "--judge-domain", "regulatry"), "regulatry"),
    ):
        done = run(*arguments)
        assert isinstance(done.exception, BadInput), done.output
        assert says in str(done.exception)
