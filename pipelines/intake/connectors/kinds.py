"""Which connector serves which kind of source."""

from __future__ import annotations

from pipelines.intake.connectors import ecfr, federal_register, fhir_export, hf_dataset, prefix
from pipelines.intake.connectors.pull import Gathered, Pull, secret
from pipelines.intake.fetch import Fetcher
from pipelines.source_config import Ecfr, FederalRegister, FhirExport, HfDataset, OverHttp, Source


def gather(source: Source, pull: Pull) -> Gathered:
    """Bring what is new since the watermark. Unavailable when the source does not answer: nothing is lost, the next run goes on."""
    if isinstance(source, HfDataset):
        return hf_dataset.gather(source, pull)
    if not isinstance(source, OverHttp):
        return prefix.gather(source, pull)
    with _fetcher(source) as fetcher:
        match source:
            case FederalRegister():
                return federal_register.gather(source, pull, fetcher)
            case Ecfr():
                return ecfr.gather(source, pull, fetcher)
            case FhirExport():
                return fhir_export.gather(source, pull, fetcher)


def let_go(source: Source, address: str) -> None:
    """What was fetched is delivered: the source may clear it away."""
    if address and isinstance(source, FhirExport):
        with _fetcher(source) as fetcher:
            fhir_export.let_go(fetcher, address)


def _fetcher(source: OverHttp) -> Fetcher:
    headers = {}
    if isinstance(source, FhirExport) and source.token_env is not None:
        headers["Authorization"] = f"Bearer {secret(source.token_env, source.name)}"
    return Fetcher(source.http, source.url, hosts=source.hosts, secret_headers=headers)
