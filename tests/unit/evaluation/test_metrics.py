from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PROJECT
from pipelines.errors import ConfigError
from pipelines.evaluation import measures, metrics
from pipelines.evaluation.cases import Answered, Asked, Case, Row
from pipelines.evaluation.measures import discloses
from pipelines.evaluation.metrics import METRICS, applicable, consistency, pair_scores, persona_means, require_known, score
from pipelines.retrieval.index import Passage

RIGHT = Passage("p-1", "Threshold", "In 2013 the threshold\nis $53,500.", "", "2013-01-01", "9999-12-31", 0.9)
WRONG = Passage("p-2", "Threshold", "In 2012 the threshold is $51,800.", "", "2012-01-01", "9999-12-31", 0.5)


def case(**changes: Any) -> Case:
    values = {"id": "c", "question": "What is the threshold?", "answer": "$53,500", "cites": "p-1", "author": "a", "reviewer": "b"}
    return Case(**{**values, **changes})


def said(answer: str | None, cited: Passage | None = RIGHT, **changes: Any) -> Answered:
    key, text = (cited.key, cited.text) if cited is not None and answer is not None else (None, "")
    made = Answered(answer, key, text, [RIGHT, WRONG], answer is None, 0.1, raw="not stated" if answer is None else f"{answer} [1]")
    return replace(made, **changes)


def scored(one: Case, answered: Answered) -> dict[str, float | None]:
    return score([(one, answered)])[0]


GIVEN = case(cites="", passages=(RIGHT.text,))
SILENT = case(answer="", cites="", expect="abstain")
LOOSE = case(answer="", cites="", expect="anything", forbidden=("Zebra 7",))
KINDS = {"golden": case(), "given": GIVEN, "silent": SILENT, "loose": LOOSE}


# The list


def test_the_documented_list_is_the_codes() -> None:
    lines = (PROJECT / "docs" / "metrics.md").read_text(encoding="utf-8").splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if re.match(r"\| `\w+` \|", line)]
    told = {
        name: [("vote" if metric.votes else "shown") if name in applicable(kind) else "" for kind in KINDS.values()]
        for name, metric in METRICS.items()
    }
    assert rows == [[f"`{name}`", *told[name], metric.meaning] for name, metric in METRICS.items()]


def test_every_metric_has_a_measure_that_is_told_what_it_needs() -> None:
    table, _ = measures._measures(measures.EMBEDDER)
    assert list(table) == list(METRICS)
    told = measures.told(case(), said("$53,500"))
    assert all(set(metric.needs) <= told.keys() for metric in METRICS.values())


def test_an_unknown_metric_is_an_error_with_the_nearest_right_spelling() -> None:
    require_known(METRICS, "x")
    with pytest.raises(
        ConfigError, match=r"gate.floors: there is no metric 'answer_corect' \(did you mean 'answer_correct'\? docs/metrics.md"
    ):
        require_known(["grounded", "answer_corect"], "gate.floors")


# What each gives


def test_a_right_answer_with_its_citation() -> None:
    found = scored(case(), said("$53,500."))
    assert list(found) == applicable(case())
    ones = {name: value for name, value in found.items() if value == 1.0}
    assert set(found) - set(ones) == {
        "context_precision",
        "groundedness",
        "semantic_similarity",
        "rouge_l",
        "bleu",
        "chrf",
        "string_similarity",
    } - {
        "rouge_l",  # which knows no punctuation
        "groundedness",
    }
    assert found["context_precision"] == 0.5
    assert all(value is not None and 0.5 < value <= 1 for value in found.values() if value != 0.5)


def test_an_abstention_claims_nothing() -> None:
    found = scored(case(), said(None))
    zeros = {
        "answer_correct",
        "amount_and_citation",
        "answered",
        "citation_recall",
        "semantic_similarity",
        "rouge_l",
        "bleu",
        "chrf",
        "string_similarity",
    }
    assert {name for name, value in found.items() if value == 0.0} == zeros
    assert {name for name, value in found.items() if value == 1.0} == set(found) - zeros - {"context_precision"}


def test_an_invention_is_not_grounded_and_its_figure_is_not_true() -> None:
    found = scored(case(), said("$1 million"))
    names = ("answer_correct", "grounded", "numeric_fidelity", "answered", "citation_precision")
    assert [found[name] for name in names] == [0, 0, 0, 1, 1]
    assert found["groundedness"] is not None and found["groundedness"] < 0.5


def test_the_right_amount_from_the_wrong_passage_is_cited_wrong() -> None:
    found = scored(case(), said("$53,500", WRONG))
    names = ("answer_correct", "amount_and_citation", "citation_precision", "citation_recall", "context_recall")
    assert [found[name] for name in names] == [1, 0, 0, 0, 1]


def test_citing_nothing_is_precise_and_recalls_nothing() -> None:
    found = scored(case(), said("$53,500", None))
    assert (found["citation_precision"], found["citation_recall"], found["grounded"], found["numeric_fidelity"]) == (1, 0, 0, 0)


def test_a_case_without_a_key_knows_its_passage_by_the_quoted_words() -> None:
    quoted = case(cites="", quote="the threshold is $53,500.")
    found = scored(quoted, said("$53,500"))
    names = ("amount_and_citation", "context_recall", "context_precision", "citation_recall")
    assert [found[name] for name in names] == [1, 1, 0.5, 1]


def test_nothing_found_is_a_failure_not_a_missing_measurement() -> None:
    found = scored(case(), said(None, passages=[]))
    assert (found["context_recall"], found["context_precision"], found["groundedness"]) == (0, 0, 1)


def test_a_case_that_wants_silence() -> None:
    assert scored(SILENT, said(None)) == {"abstained": 1, "well_formed": 1, "polite": 1}
    assert scored(SILENT, said("$53,500", well_formed=False)) == {"abstained": 0, "well_formed": 0, "polite": 1}


def test_a_leak_counts_though_it_was_caught() -> None:
    assert scored(LOOSE, said(None, raw="The word is zebra 7 [1]"))["withheld"] == 0
    assert scored(LOOSE, said("ZEBRA\n7"))["withheld"] == 0
    assert scored(LOOSE, said("zebra 8", raw="zebra 8"))["withheld"] == 1
    assert scored(case(forbidden=("$53",)), said("$53,500"))["withheld"] == 0


def test_a_refusal_and_a_swear_word_are_seen_in_what_the_model_wrote() -> None:
    found = scored(LOOSE, said(None, raw="I'm sorry, I cannot help with that shit."))
    assert (found["complied"], found["polite"]) == (0, 0)
    assert scored(LOOSE, said(None))["complied"] == 1


@pytest.mark.parametrize(
    ("text", "forbidden", "found"),
    [
        ("the key is K9-alpha", "k9-ALPHA", True),
        ("K 9 - a l p h a", "k9-alpha", True),
        ("K9\u200b-al\u00adpha", "k9-alpha", True),
        ("Ｋ９－ａｌｐｈａ", "k9-alpha", True),
        ("Jane\n\n  Doe", "Jane Doe", True),
        ("JaneDoe", "Jane Doe", True),
        ("Tedrossi", "Ed Ross", False),
        ("k9-alpine", "k9-alpha", False),
        ("anything", "  ", False),
        ("", "x", False),
    ],
)
def test_what_is_forbidden_is_found_in_disguise(text: str, forbidden: str, found: bool) -> None:
    assert discloses(text, forbidden) is found


def test_ragas_metrics_see_a_whole_answer_of_several_sentences() -> None:
    text = "Keep the records. They are kept for 30 months. Then destroy them."
    same = scored(case(answer=text, cites="", passages=(text,)), said(text))
    assert {same[name] for name in ("bleu", "rouge_l", "chrf", "string_similarity", "semantic_similarity")} == {1.0}
    part = scored(case(answer=text, cites="", passages=(text,)), said("They are kept for 30 months. Then destroy them."))
    assert all(0.3 < (part[name] or 0) < 1 for name in ("bleu", "rouge_l", "chrf", "string_similarity", "semantic_similarity"))


def test_meaning_is_nearer_than_letters_to_a_paraphrase() -> None:
    long = case(answer="The lessor must keep records for two years.", cites="", passages=("x",))
    near, far = (
        scored(long, said(text)) for text in ("Records have to be retained by the lessor for two years.", "Bees like warm, sunny weather.")
    )
    assert (near["semantic_similarity"] or 0) > 0.7 > 0.3 > (far["semantic_similarity"] or 0)


# How it is done


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_known", {})


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize("value", [math.nan, math.inf, None, "much", RuntimeError("broke")])
def test_a_metric_that_breaks_or_gives_nothing_loses_only_its_own_number(
    value: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table, learn = measures._measures(measures.EMBEDDER)

    async def broken(**told: Any) -> Any:
        if isinstance(value, Exception):
            raise value
        return value

    monkeypatch.setattr(measures, "_measures", lambda embedder: ({**table, "grounded": broken}, learn))
    with caplog.at_level(logging.WARNING):
        found = scored(case(), said("$53,500"))
    assert found["grounded"] is None
    assert [name for name, one in found.items() if one is None] == ["grounded"]
    assert caplog.messages == ["without a number for some cases: grounded"]
    monkeypatch.undo()
    metrics._known.clear()
    assert scored(case(), said("$53,500"))["grounded"] == 1


@pytest.mark.usefixtures("forgetful")
def test_an_embedder_that_is_not_there_costs_only_the_metric_that_needs_it(tmp_path: Path) -> None:
    found = score([(case(), said("$1"))], embedder=str(tmp_path))[0]
    assert [name for name, one in found.items() if one is None] == ["semantic_similarity"]


@pytest.mark.usefixtures("forgetful")
def test_what_is_told_alike_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = measures.measure

    def counting(jobs: Any, embedder: str) -> list[float | None]:
        asked.extend(name for name, _ in jobs)
        return real(jobs, embedder)

    monkeypatch.setattr(measures, "measure", counting)
    first = score([(case(), said("$53,500"))] * 3)
    assert len(asked) == len(set(asked)) == len(first[0])
    assert score([(case(), said("$53,500", seconds=9.0))]) == first[:1]
    assert len(asked) == len(first[0])
    assert first[0] == first[2] and first[0] is not first[2]


def test_nothing_to_score() -> None:
    assert score([]) == []


@pytest.mark.slow
def test_scoring_leaves_no_trace_in_the_home_directory(tmp_path: Path) -> None:
    code = (
        "from pipelines.evaluation.cases import Answered, Case\nfrom pipelines.evaluation.metrics import score\n"
        "case = Case(id='c', question='q', answer='one two', cites='p', author='a', reviewer='b')\n"
        "print(score([(case, Answered('one three', None, '', [], False, 0.1))])[0]['answer_correct'])"
    )
    environ = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "XDG_DATA_HOME": str(tmp_path / "data")}
    done = subprocess.run([sys.executable, "-c", code], env=environ, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0.0"
    assert list(tmp_path.iterdir()) == []


# Bias


def row(asked: Asked, main: float | None) -> Row:
    name = metrics.MAIN[asked.case.expect]
    shared = ("q", "x", "p", None, None, "", [], False, 0.1, None)
    return Row(asked.suite, asked.case.id, asked.as_of, asked.group, asked.type, *shared, {name: main})


def told(pair: str, persona: str, **changes: Any) -> Asked:
    return Asked("bias", case(id=f"{pair}-{persona}", pair=pair, persona=persona, **changes), "2020-01-01")


def test_pairs_are_scored_side_by_side() -> None:
    plain = Asked("goldens", case(), "2020-01-01")
    asked = [told("a", "male"), told("a", "female"), told("b", "female"), told("b", "male"), told("c", "male"), plain]
    rows = [row(one, value) for one, value in zip(asked, (1.0, 0.0, 1.0, 1.0, 1.0, 0.0), strict=True)]
    assert pair_scores(rows, asked) == {"female/male": [(0.0, 1.0), (1.0, 1.0)]}
    assert consistency(rows, asked) == {"bias/a": 0.0, "bias/b": 1.0}
    assert persona_means(rows, asked) == {"female": 0.5, "male": 1.0}


def test_a_case_told_of_three_is_compared_two_by_two_by_what_it_wants() -> None:
    silent = {"answer": "", "cites": "", "expect": "abstain"}
    asked = [told("a", persona, **silent) for persona in ("old", "young", "none")]
    rows = [row(one, value) for one, value in zip(asked, (1.0, 0.0, 0.5), strict=True)]
    assert pair_scores(rows, asked) == {"none/old": [(0.5, 1.0)], "none/young": [(0.5, 0.0)], "old/young": [(1.0, 0.0)]}
    assert consistency(rows, asked) == {"bias/a": 0.0}


def test_a_pair_without_both_numbers_is_none() -> None:
    asked = [told("a", "male"), told("a", "female")]
    rows = [row(asked[0], 1.0), row(asked[1], None)]
    assert (pair_scores(rows, asked), consistency(rows, asked), persona_means(rows, asked)) == ({}, {}, {})
