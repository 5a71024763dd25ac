"""A site with the domain `d`, of which these tests release by hand."""

from __future__ import annotations

import shutil

import pytest

from pipelines.config import PROJECT, Settings

DOMAIN = """\
domain: d
description: a domain without documents
owner: compliance
dataset: Set
sources: {formats: [jsonl]}
contract: {expectations: []}
privacy: {profile: public}
task: {}
gate: {goldens: goldens/d.jsonl, floors: {}}
roles: {approvers: [approver, deputy]}
"""


@pytest.fixture
def settings(settings: Settings) -> Settings:
    own = settings.model_copy(update={"configs": settings.var / "configs"})
    shutil.copytree(PROJECT / "configs", own.configs)
    (own.configs / "domains" / "d.yaml").write_text(DOMAIN, encoding="utf-8")
    return own
