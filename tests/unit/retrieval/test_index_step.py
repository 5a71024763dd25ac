from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.config import PROJECT, Settings, load_domain
from pipelines.corpus import warehouse
from pipelines.corpus.documents import Document, document
from pipelines.errors import BadInput
from pipelines.manifest import sha256_folder
from pipelines.registry import artifacts
from pipelines.retrieval.index import Index
from pipelines.state.database import transaction
from pipelines.state.models import Arrival, DatasetVersion
from pipelines.steps import assemble


def doc(number: int, text: str) -> Document:
    return document(key=f"9013-{number}", title="", text=text, valid_from="2011-01-01", arrival_id=f"a{number}", source="2011-1")


def publish(settings: Settings, number: int, rows: list[Document]) -> str:
    """A version of these documents and all before them."""
    name = f"ConsumerLeasing_v1.{number}"
    domain = load_domain("regulatory", settings)
    parent = warehouse.versions(settings, "regulatory")[f"ConsumerLeasing_v1.{number - 1}"] if number else None
    made = warehouse.publish(settings, domain, f"a{number}", rows, version_id=name, parent_snapshot=parent)
    with transaction(settings) as session:
        session.add(
            Arrival(id=f"a{number}", domain="regulatory", folder=f"f{number}", seal=f"{number:064x}", uploader="t", source="t",
                    effective="2011-01-01", files=1, state="accepted", claimed_dag="t", claimed_run="t")
        )  # fmt: skip
        session.flush()
        session.add(
            DatasetVersion(id=name, domain="regulatory", major=1, minor=number, snapshot_id=str(made.snapshot_id), arrival_id=f"a{number}",
                           known_on="2011-01-01", documents=made.documents, changed=made.changed, content=made.content)
        )  # fmt: skip
    return name


@pytest.fixture
def site(settings: Settings) -> Settings:
    """With configs of its own."""
    own = settings.model_copy(update={"configs": settings.var / "configs"})
    shutil.copytree(PROJECT / "configs", own.configs)
    return own


def edit(settings: Settings, **retrieval: Any) -> None:
    path = settings.configs / "domains" / "regulatory.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text(encoding="utf-8")) | {"retrieval": retrieval}), encoding="utf-8")


def opened(settings: Settings, artifact_id: str) -> tuple[Path, Index]:
    folder = artifacts.path_of(settings, artifact_id)
    return folder, Index(folder)


def test_an_arrival_embeds_its_own_documents_and_leaves_the_index_before_alone(site: Settings) -> None:
    texts = ["The late fee is $10.", "Records are kept for two years.", "A lessor sends the schedule."]
    first = publish(site, 0, [doc(number, text) for number, text in enumerate(texts)])
    before = assemble.index(site, "regulatory", first)
    folder, _ = opened(site, before.outputs["artifact"])
    sealed = sha256_folder(folder)
    second = publish(site, 1, [doc(7, "The gate opens at nine.")])
    after = assemble.index(site, "regulatory", second)
    assert (before.counts["embedded"], after.counts["embedded"]) == (3, 1)
    assert (after.counts["documents"], after.counts["chunks"], after.counts["restricted"]) == (4, 4, 0)
    assert sha256_folder(folder) == sealed
    hit = opened(site, after.outputs["artifact"])[1].search("When does the gate open?", as_of="2020-01-01", k=1)[0]
    assert (hit.key, hit.version) == ("9013-7", second)
    assert assemble.index(site, "regulatory", second) == after


def test_a_rule_of_access_makes_another_index_and_counts_what_it_hides(site: Settings) -> None:
    version = publish(site, 0, [doc(number, f"Rule {number} is in force.") for number in range(3)])
    plain = assemble.index(site, "regulatory", version)
    edit(site, access=[{"key": "-1$", "roles": ["counsel"]}])
    ruled = assemble.index(site, "regulatory", version)
    assert ruled.outputs != plain.outputs and ruled.counts["restricted"] == 1
    _, index = opened(site, ruled.outputs["artifact"])
    assert {hit.key for hit in index.search("Which rule is in force?", as_of="2020-01-01", k=5)} == {"9013-0", "9013-2"}


def test_a_reranker_that_is_not_there_is_named_before_anything_is_built(site: Settings) -> None:
    version = publish(site, 0, [doc(0, "A rule.")])
    edit(site, reranker="nobody/nothing")
    with pytest.raises(BadInput, match="no reranker"):
        assemble.index(site, "regulatory", version)
    assert not (site.artifacts / "index").exists()
