"""How much one uploader may deliver in a day: who floods a domain in small portions meets this rule instead of the one about floods."""

from __future__ import annotations

from collections.abc import Iterator

from pipelines.intake.screen.findings import Finding, Seen


def find(seen: Seen) -> Iterator[Finding]:
    """A finding for the arrival that goes beyond a limit, and for each one after it on that day."""
    config, used = seen.config.quota, seen.usage
    if config.documents_per_day is not None and used.documents > config.documents_per_day:
        yield Finding("quota", f"the uploader's {used.documents} documents of the day are more than {config.documents_per_day}")
    if config.mb_per_day is not None and used.size > config.mb_per_day * 1_000_000:
        yield Finding("quota", f"the uploader's {used.size / 1e6:.1f} MB of the day are more than {config.mb_per_day:g}")
