"""What masking finds in public texts that nobody in this project wrote; floors a little under the figures of docs/measurements.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import PROJECT
from pipelines.masking.mask import Masker
from pipelines.masking.vault import Vault

pytestmark = [pytest.mark.shared, pytest.mark.slow]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The bench's readers and counters."""
    monkeypatch.syspath_prepend(PROJECT / "tests" / "bench")
    import bench_masking

    return bench_masking


@pytest.fixture
def masker(tmp_path: Path) -> Masker:
    return Masker("safe_harbor", Vault(tmp_path / "v.db", tmp_path / "v.key"))


def test_recall_and_precision_on_synthetic_texts(bench: Any, masker: Masker, shared_data: Path) -> None:
    counted = bench.score(bench.synthetic(shared_data), masker.spans)
    recall, precision = counted.recall(), counted.precision()
    structured = ("CREDIT_CARD", "US_SSN", "EMAIL_ADDRESS", "DOMAIN_NAME", "IP_ADDRESS", "US_DRIVER_LICENSE", "IBAN_CODE")
    assert {kind: recall[kind] for kind in structured} == dict.fromkeys(structured, 1.0)
    floors = {"PERSON": 0.97, "STREET_ADDRESS": 0.98, "GPE": 0.965, "ORGANIZATION": 0.80, "PHONE_NUMBER": 0.98, "ZIP_CODE": 0.95}
    assert not {kind: recall[kind] for kind, floor in floors.items() if recall[kind] < floor}
    assert precision["NAME"] >= 0.84 and counted.no_false_alarm()["NAME"] >= 0.94 and precision["ADDRESS"] >= 0.95


def test_names_in_lower_case(bench: Any, masker: Masker, shared_data: Path) -> None:
    texts = [(bench.lower(text), gold) for text, gold in bench.synthetic(shared_data) if any(kind == "PERSON" for *_, kind in gold)]
    assert bench.score(texts, masker.spans).recall()["PERSON"] >= 0.94


def test_dialogue_and_law_are_seldom_taken_for_names(bench: Any, masker: Masker, shared_data: Path) -> None:
    assert bench.names_per_thousand(bench.dialogues(shared_data)[:250], masker.spans)["NAME"] <= 3.0
    assert bench.names_per_thousand(bench.regulations(shared_data)[:300], masker.spans)["NAME"] <= 1.0


def test_public_masks_nothing_of_the_regulations_but_contact_details(bench: Any, tmp_path: Path, shared_data: Path) -> None:
    public = Masker("public", Vault(tmp_path / "p.db", tmp_path / "p.key"))
    found = [(text[start:end], kind) for text in bench.regulations(shared_data) for start, end, kind in public.spans(text)]
    assert {kind for _, kind in found} <= {"PHONE", "EMAIL"}
    assert len(found) <= 3


def test_redactions_in_complaints_stay_as_they_are(masker: Masker, shared_data: Path) -> None:
    rows = json.loads((shared_data / "cfpb_complaints" / "cfpb_sample.json").read_text(encoding="utf-8"))
    texts = [row["text"] for row in rows if "XXXX" in row["text"]][:60]
    assert len(texts) > 20
    for text in texts:
        before, after = (re.findall(r"(?<![A-Za-z0-9])X+(?:/X+)*(?![A-Za-z0-9])", one) for one in (text, masker.mask(text).text))
        assert after == before
