"""Publishing in one line."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.config import DomainConfig, Settings
from pipelines.corpus import warehouse
from pipelines.corpus.documents import Document


def publish(
    settings: Settings, domain: DomainConfig, minor: int, rows: Sequence[Document], parent: int | None = None
) -> warehouse.Published:
    """`Test_v1.<minor>` from an arrival of its own."""
    return warehouse.publish(settings, domain, f"a{minor}", rows, version_id=f"Test_v1.{minor}", parent_snapshot=parent)
