"""Outside sources a domain pulls from: `sources.collect` in its file, one entry per source, told apart by `kind`.

No secret stands here: an entry names the environment variable that holds it.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from croniter import croniter
from pydantic import AnyHttpUrl, Field, TypeAdapter, field_validator, model_validator

from pipelines.strict import Name, Strict

EnvironmentName = Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]{0,79}$", description="an environment variable that holds a secret")]
HostName = Annotated[str, Field(pattern=r"^[A-Za-z0-9.-]+(:\d{1,5})?$")]
_HTTP_URL = TypeAdapter(AnyHttpUrl)


def _a_day(value: str) -> str:
    if len(value) != 10 or date.fromisoformat(value).isoformat() != value:
        raise ValueError("not a date written YYYY-MM-DD")
    return value


class Http(Strict):
    """How patiently, and how much, is fetched over HTTP."""

    timeout_seconds: float = Field(30, gt=0, description="to connect, and between two pieces of a body")
    total_seconds: float = Field(900, gt=0, description="for one request with all its retries")
    attempts: int = Field(5, ge=1, le=20, description="without progress")
    backoff_seconds: float = Field(0.5, gt=0, description="first pause; doubles, with jitter")
    max_wait_seconds: float = Field(120, gt=0, description="longest pause; a source that asks for more is left for the next run")
    max_mb: float = Field(50, gt=0, description="largest response, unpacked")
    trust_env: bool = Field(False, description="obey HTTP_PROXY, SSL_CERT_FILE ... of the environment")
    ca_file: Path | None = Field(None, description="certificates to trust instead of the public ones")
    contact: str | None = Field(None, max_length=200, description="who may be asked about our requests; goes into the User-Agent")


class Pulled(Strict):
    """What every source has."""

    name: Name
    schedule: str = Field("5 * * * *", description="cron, UTC")
    max_items: int = Field(200, ge=1, le=10_000, description="documents, objects or rows per run; the rest follows in the next")

    @field_validator("schedule")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if len(value.split()) != 5 or not croniter.is_valid(value):
            raise ValueError("not a cron schedule of five fields, e.g. '5 * * * *'")
        return value


class OverHttp(Pulled):
    """What every HTTP source has."""

    url: str
    http: Http = Http()
    hosts: tuple[HostName, ...] = Field((), description="further hosts that its links may lead to")

    @field_validator("url")
    @classmethod
    def _is_http(cls, value: str) -> str:
        checked = _HTTP_URL.validate_python(value)
        if checked.username or checked.password or checked.query or checked.fragment:
            raise ValueError("an address without user, password, query and fragment")
        return value.rstrip("/")


class FederalRegister(OverHttp):
    """Documents of the Federal Register, oldest first, by day of publication."""

    kind: Literal["federal_register"]
    url: str = "https://www.federalregister.gov/api/v1"
    since: str = Field(description="first day of publication, YYYY-MM-DD")
    types: tuple[Literal["RULE", "PRORULE", "NOTICE", "PRESDOCU"], ...] = ("RULE",)
    agencies: tuple[str, ...] = Field((), description="slugs, e.g. consumer-financial-protection-bureau")
    cfr_title: int | None = Field(None, ge=1, le=50)
    cfr_part: int | None = Field(None, ge=1)
    term: str | None = None
    format: Literal["xml", "json"] = Field("xml", description="the official XML, or one JSON object with the plain text")
    effective: Literal["effective_on", "publication_date"] = "effective_on"
    patience_days: int = Field(14, ge=0, description="how long to wait for a full text that is not there yet, or fails")

    _day = field_validator("since")(_a_day)

    @model_validator(mode="after")
    def _part_needs_title(self) -> FederalRegister:
        if self.cfr_part is not None and self.cfr_title is None:
            raise ValueError("cfr_part needs cfr_title")
        return self


class Ecfr(OverHttp):
    """Parts of the Code of Federal Regulations: one full XML per part and day on which it changed."""

    kind: Literal["ecfr"]
    url: str = "https://www.ecfr.gov/api/versioner/v1"
    parts: tuple[Annotated[str, Field(pattern=r"^\d{1,2}/\d{1,5}[a-z]?$")], ...] = Field(min_length=1, description="`<title>/<part>`")
    since: str | None = Field(None, description="oldest version to take, YYYY-MM-DD; default: the one in force")

    _day = field_validator("since")(lambda value: value if value is None else _a_day(value))


class FhirExport(OverHttp):
    """Bulk export of a FHIR R4 server (HL7 Bulk Data Access)."""

    kind: Literal["fhir_export"]
    level: Literal["system", "patient", "group"] = "system"
    group: str | None = Field(None, pattern=r"^[A-Za-z0-9.-]{1,64}$")
    types: tuple[Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]+$")], ...] = ("DocumentReference", "DiagnosticReport", "Composition")
    type_filters: tuple[str, ...] = ()
    since: str | None = Field(None, description="FHIR instant; default: everything the first time")
    token_env: EnvironmentName | None = None
    wait_minutes: float = Field(20, ge=0, description="how long one run polls; the next one goes on with the same export")

    @model_validator(mode="after")
    def _group_has_an_id(self) -> FhirExport:
        if (self.level == "group") != (self.group is not None):
            raise ValueError("`group` goes with `level: group`, and only with it")
        return self


class Prefix(Pulled):
    """Objects under a prefix: a folder of this host, S3, GCS."""

    kind: Literal["prefix"]
    url: str = Field(pattern=r"^(/|(file|s3|gs|gcs|memory)://)", description="an absolute path, s3://bucket/prefix, gs://bucket/prefix")
    include: tuple[str, ...] = Field(("*",), description="shell patterns of the path below the prefix")
    ignore: tuple[str, ...] = ("*.tmp", "*.part", "*.partial", "*.crdownload", "*~")
    quiet_seconds: float = Field(60, ge=0, description="an object changed later than that ago may still be written")
    max_mb: float = Field(50, gt=0)
    effective: Literal["modified", "collected"] = "modified"
    options: dict[str, Any] = Field({}, description="of the fsspec file system; nothing secret")
    credentials_env: EnvironmentName | None = Field(None, description="holds a JSON object of further options")

    @field_validator("options")
    @classmethod
    def _hold_no_secret(cls, value: dict[str, Any]) -> dict[str, Any]:
        if found := [key for key in value if key in ("key", "secret", "token", "password") or key.endswith(("_key", "_secret", "_token"))]:
            raise ValueError(f"{found[0]!r} is a secret: put it into the variable that credentials_env names")
        return value


class HfDataset(Pulled):
    """New rows of a Hugging Face dataset that lies on this host: in the hub's cache, or in a folder. Nothing is downloaded."""

    kind: Literal["hf_dataset"]
    dataset: str | None = Field(None, pattern=r"^[\w.-]+(/[\w.-]+)?$")
    revision: str = "main"
    folder: Path | None = None
    config: str | None = None
    split: str = "train"
    columns: tuple[str, ...] = Field((), description="default: all")
    rows_per_file: int = Field(1000, ge=1)
    effective: str | None = Field(None, description="YYYY-MM-DD; default: the day of collection")
    max_items: int = Field(10_000, ge=1, le=1_000_000, description="rows per run")

    _day = field_validator("effective")(lambda value: value if value is None else _a_day(value))

    @model_validator(mode="after")
    def _one_place(self) -> HfDataset:
        if (self.dataset is None) == (self.folder is None):
            raise ValueError("name either `dataset` or `folder`")
        return self


Source = Annotated[FederalRegister | Ecfr | FhirExport | Prefix | HfDataset, Field(discriminator="kind")]
