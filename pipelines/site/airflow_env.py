"""Everything about Airflow that differs between sites, as AIRFLOW__* variables. The rest is in airflow.cfg."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

from pipelines.config import PROJECT, Ports, Settings, domain_names, load_domain
from pipelines.errors import RatchetError
from pipelines.site import secrets

QUIET = {
    # Offline and silent: none of the libraries may look for updates, models or statistics servers.
    "DO_NOT_TRACK": "1",
    "ANONYMIZED_TELEMETRY": "False",
    "GX_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "RAGAS_DO_NOT_TRACK": "true",
    "TRANSFORMERS_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


def airflow_home(settings: Settings) -> Path:
    """Where Airflow keeps its metadata database and logs."""
    return settings.var / "airflow"


def metadata_database(settings: Settings) -> Path:
    """Airflow's own SQLite file."""
    return airflow_home(settings) / "airflow.db"


def ratchet_env(settings: Settings) -> dict[str, str]:
    """What makes a child process load the same Settings as this one, plus the silence above."""
    ports = {f"RATCHET_PORT_{name.upper()}": str(getattr(settings.ports, name)) for name in Ports.model_fields}
    env = {
        **QUIET,
        **ports,
        "RATCHET_ENVIRONMENT": settings.environment,
        "RATCHET_CONFIGS": str(settings.configs),
        "RATCHET_VAR": str(settings.var),
        "RATCHET_HOST": settings.host,
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # A proxy in the environment would carry loopback calls off this host.
        "NO_PROXY": "127.0.0.1,localhost",
        "no_proxy": "127.0.0.1,localhost",
    }
    for name in ("landing", "database_url", "redis_url", "gateway_workers", "today"):
        if (value := getattr(settings, name)) is not None:
            env[f"RATCHET_{name.upper()}"] = str(value)
    return env | addresses(settings)


def addresses(settings: Settings) -> dict[str, str]:
    """The variables in which domain files say that addresses for alerts and summaries are. They hold secrets, so no file does."""
    named: set[str] = set()
    for name in domain_names(settings):
        with suppress(RatchetError):  # a broken file is told elsewhere
            alerts = load_domain(name, settings).monitors.alerts
            named |= {one for one in (alerts.urls_env, alerts.summary_to_env) if one}
    return {name: os.environ[name] for name in sorted(named) if name in os.environ}


def airflow_env(settings: Settings) -> dict[str, str]:
    """The variables every Airflow process of this site needs, `ratchet_env` included. Draws the secrets if need be."""
    keys, _ = secrets.ensure(settings, ())
    home, url = airflow_home(settings), settings.url("airflow")
    database = f"sqlite:///{metadata_database(settings)}"
    return {
        **ratchet_env(settings),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(PROJECT / "airflow.cfg"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(PROJECT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PROJECT / "plugins"),
        # Without it every task dies at its start, in silence, when the port is not 8080.
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__CORE__FERNET_KEY": keys.fernet_key,
        # The host's name may not resolve without a network; everything is local.
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
        "AIRFLOW__API__HOST": settings.host,
        "AIRFLOW__API__PORT": str(settings.ports.airflow),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__SECRET_KEY": keys.api_secret,
        "AIRFLOW__API_AUTH__JWT_SECRET": keys.jwt_secret,
        "AIRFLOW__API_AUTH__JWT_ISSUER": "ratchet",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": database,
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(home / "bundles"),
        "AIRFLOW__FAB__CONFIG_FILE": str(home / "webserver_config.py"),
    }
