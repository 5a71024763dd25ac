"""Typed configuration: one environment file, one file per domain, nothing read at import.

An unknown key is an error that names the key, the file and the nearest right spelling, because a misspelt threshold that is silently
ignored is worse than a run that does not start.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.compute_config import KINDS, Local, OnNodes, Profile
from pipelines.domain_config import Certificate as Certificate
from pipelines.domain_config import Contract as Contract
from pipelines.domain_config import DomainConfig as DomainConfig
from pipelines.domain_config import Expectation as Expectation
from pipelines.domain_config import Format as Format
from pipelines.domain_config import Gate as Gate
from pipelines.domain_config import Limits as Limits
from pipelines.domain_config import Privacy as Privacy
from pipelines.domain_config import QuestionRule as QuestionRule
from pipelines.domain_config import Retrieval as Retrieval
from pipelines.domain_config import Sources as Sources
from pipelines.domain_config import Task as Task
from pipelines.errors import ConfigError, NotFound
from pipelines.parsing import did_you_mean, parse, read_yaml
from pipelines.plan_config import Budget as Budget
from pipelines.project import PROJECT as PROJECT
from pipelines.recipe_config import Recipe as Recipe
from pipelines.recipe_config import deepspeed_config, resolve
from pipelines.strict import Name, Strict


class Ports(Strict):
    """TCP ports on loopback, each overridable by RATCHET_PORT_<NAME>."""

    airflow: int = Field(8080, ge=1, le=65535)
    mlflow: int = Field(5000, ge=1, le=65535)
    triton_http: int = Field(8000, ge=1, le=65535)
    triton_grpc: int = Field(8001, ge=1, le=65535)
    triton_metrics: int = Field(8002, ge=1, le=65535)
    gateway: int = Field(8090, ge=1, le=65535)


class TritonInstance(Strict):
    """One Triton server of several, as `host:port` of its HTTP and of its gRPC endpoint."""

    http: str = Field(pattern=r"^[A-Za-z0-9.-]+:\d{1,5}$")
    grpc: str = Field(pattern=r"^[A-Za-z0-9.-]+:\d{1,5}$")


class Oidc(Strict):
    """Where people's tokens come from. Signed with an asymmetric algorithm only; see docs/access.md."""

    issuer: str = Field(min_length=1)
    audience: str = Field(min_length=1)
    jwks_url: str = Field(pattern=r"^https?://")
    roles_claim: str = "roles"
    domains_claim: str = Field("domains", description="domains the person may ask; a token without it may ask none")
    tenant_claim: str = "tenant"


class Settings(Strict):
    """Where things are. One file per environment under configs/environments/, overridden by RATCHET_* variables."""

    environment: Name = "dev"
    configs: Path = PROJECT / "configs"
    var: Path = PROJECT / "var"
    landing: Path | None = None
    database_url: str | None = None
    host: str = "127.0.0.1"
    ports: Ports = Ports()
    redis_url: str | None = Field(None, description="cache and budgets shared by gateways; none: each process keeps its own")
    gateway_workers: int = Field(1, ge=1, le=64, description="processes of the gateway on this host")
    tritons: tuple[TritonInstance, ...] = Field((), description="servers behind the gateway; none: this site's own, on its ports")
    oidc: Oidc | None = Field(None, description="none: API keys only")
    today: str | None = Field(None, pattern=r"^\d{4}-\d{2}-\d{2}$", description="fixes the date in tests")

    @property
    def landing_zone(self) -> Path:
        """One folder per domain, one folder per arrival below it: the only place that holds raw text."""
        return self.landing or self.var / "landing"

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the control database, the only authority."""
        return self.database_url or f"sqlite:///{self.var / 'state' / 'ratchet.db'}"

    @property
    def artifacts(self) -> Path:
        """`<kind>/<hash>/`: adapters, training sets, indexes, gate reports."""
        return self.var / "artifacts"

    @property
    def warehouse(self) -> Path:
        """The Iceberg warehouse and its SQLite catalog."""
        return self.var / "warehouse"

    @property
    def logs(self) -> Path:
        """Logs of the supervised services."""
        return self.var / "logs"

    @property
    def secrets(self) -> Path:
        """Generated keys, readable by the owner only."""
        return self.var / "secrets"

    @property
    def requests(self) -> Path:
        """Sealed requests for erasure, readable by the owner only."""
        return self.var / "requests"

    def day(self) -> str:
        """Today's ISO date, UTC, unless it is fixed."""
        return self.today or datetime.now(UTC).date().isoformat()

    def url(self, service: Literal["airflow", "mlflow", "triton_http", "triton_grpc", "triton_metrics", "gateway"]) -> str:
        """`http://host:port` of a service (gRPC: without the scheme)."""
        address = f"{self.host}:{getattr(self.ports, service)}"
        return address if service == "triton_grpc" else f"http://{address}"


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of RATCHET_ENVIRONMENT (default `dev`), overridden by RATCHET_VAR, RATCHET_DATABASE_URL, RATCHET_PORT_<NAME> ..."""
    env = os.environ if environ is None else environ
    configs = Path(env.get("RATCHET_CONFIGS", str(PROJECT / "configs")))
    name = env.get("RATCHET_ENVIRONMENT", "dev")
    path = configs / "environments" / f"{name}.yaml"
    if not path.is_file():
        raise ConfigError(f"no environment named {name!r}", where=str(path), todo=did_you_mean(name, _stems(path.parent)))
    values: dict[str, Any] = read_yaml(path)
    values.update(environment=name, configs=configs)
    for key in ("var", "landing", "database_url", "redis_url", "gateway_workers", "host", "today"):
        if value := env.get(f"RATCHET_{key.upper()}"):  # empty is unset: it would mean the checkout itself
            values[key] = value
    ports = dict(values.get("ports") or {})
    for port in Ports.model_fields:
        if (value := env.get(f"RATCHET_PORT_{port.upper()}")) is not None:
            ports[port] = value
    values["ports"] = ports
    settings = parse(Settings, values, str(path))
    # Relative paths in an environment file mean the project, wherever the process was started.
    return settings.model_copy(update={"var": (PROJECT / settings.var).resolve()})


def domain_names(settings: Settings) -> list[str]:
    """Names of the domain files, sorted; the files may be broken."""
    return _stems(settings.configs / "domains")


def load_domain(name: str, settings: Settings) -> DomainConfig:
    """One domain. NotFound for a name without a file, ConfigError for a broken file."""
    path = settings.configs / "domains" / f"{name}.yaml"
    names = domain_names(settings)
    if name not in names:
        known = ", ".join(names) or "none"
        raise NotFound(f"there is no domain {name!r}", todo=f"{did_you_mean(name, names)}known domains: {known}")
    values = read_yaml(path)
    if "recipe" in values:
        values["recipe"] = resolve(values["recipe"], settings.configs)
    domain = parse(DomainConfig, values, str(path))
    if domain.domain != name:
        raise ConfigError(f"the file is named {name!r} but says domain: {domain.domain!r}", where=str(path), todo="make them agree")
    if domain.recipe.distributed:
        deepspeed_config(domain.recipe, domain.recipe.precision, settings.configs)
    for profile in sorted(set(domain.compute.values())):
        load_profile(profile, settings)
    _require_ranks_on_every_node(domain, settings, str(path))
    return domain


def load_profile(name: str, settings: Settings) -> Profile:
    """A compute profile; `local` needs no file. ConfigError for a name without a file, and for a broken file."""
    path = settings.configs / "compute" / f"{name}.yaml"
    if not path.is_file():
        if name == "local":
            return Local()
        names = _stems(path.parent)
        hint = f"{did_you_mean(name, names)}known profiles: {', '.join(names) or 'none'}"
        raise ConfigError(f"there is no compute profile {name!r}", where=str(path), todo=hint)
    values = read_yaml(path)
    kind = values.get("kind")
    if kind not in KINDS:
        hint = f"{did_you_mean(str(kind), sorted(KINDS))}kinds: {', '.join(sorted(KINDS))}"
        raise ConfigError(f"kind: there is no kind of compute {kind!r}", where=str(path), todo=hint)
    return parse(KINDS[kind], values, str(path))


def _require_ranks_on_every_node(domain: DomainConfig, settings: Settings, where: str) -> None:
    profile, ranks = profile_of(domain, "train", settings), domain.recipe.ranks
    if isinstance(profile, OnNodes) and ranks % profile.nodes:
        raise ConfigError(
            f"compute.train: {domain.compute['train']} has {profile.nodes} nodes, which the recipe's {ranks} ranks do not share out evenly",
            where=where,
            todo=f"set recipe.ranks to {profile.nodes} or a multiple of it, or `nodes` in the profile to a divisor of {ranks}",
        )


def profile_of(domain: DomainConfig, step: str, settings: Settings) -> Profile:
    """Where a step of a domain runs. Only training spreads over several nodes; for another step they would stand idle."""
    profile = load_profile({str(key): value for key, value in domain.compute.items()}.get(step, "local"), settings)
    return profile if step == "train" or isinstance(profile, Local) else profile.model_copy(update={"nodes": 1})


def _stems(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))
