"""The Grafana dashboard as code, over the families of serving/metrics.py and Triton's own; `scripts/grafana.py` writes it to docker/.

Releases stand on the time axis as annotations, by the gateway's count of switches; which release it was, the panel of requests by release
shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pipelines.monitoring.grafana_panels import ROWS, Panel

SOURCE = {"type": "prometheus", "uid": "ratchet-prometheus"}
UID = "ratchet"
WIDTH, HEIGHT = 24, 8
_SWITCHED = "changes(ratchet_release_switches[2m]) > 0"


def dashboard() -> dict[str, Any]:
    """As Grafana's provisioning reads it (schema 39)."""
    return {
        "uid": UID,
        "title": "Ratchet",
        "description": "What the gateways and Triton report. What answers are worth is on the board's monitoring page.",
        "tags": ["ratchet"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "utc",
        "annotations": {"list": [_releases()]},
        "templating": {"list": [_domains()]},
        "panels": list(_panels()),
    }


def provisioning() -> dict[str, dict[str, Any]]:
    """Name of the file -> its content: where the data come from, and where dashboards lie."""
    source = {"name": "Prometheus", "access": "proxy", "url": "http://127.0.0.1:9090", "isDefault": True, "editable": False, **SOURCE}
    folder = {
        "name": "ratchet",
        "type": "file",
        "disableDeletion": True,
        "allowUiUpdates": False,
        "options": {"path": "/etc/ratchet/dashboards"},
    }
    return {
        "datasource.yaml": {"apiVersion": 1, "datasources": [source]},
        "dashboards.yaml": {"apiVersion": 1, "providers": [folder]},
    }


def _releases() -> dict[str, Any]:
    return {
        "name": "Releases",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": _SWITCHED,
        "step": "30s",
        "titleFormat": "another release went live",
        "textFormat": "{{instance}}",
    }


def _domains() -> dict[str, Any]:
    query = "label_values(ratchet_requests_total, domain)"
    return {
        "name": "domain",
        "label": "Domain",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "domain"},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS.items():
        number += 1
        yield {"id": number, "type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": _place(0, y, WIDTH, 1)}
        y, x = y + 1, 0
        for panel in panels:
            if x + panel.width > WIDTH:
                x, y = 0, y + HEIGHT
            number += 1
            yield _panel(panel, number, _place(x, y, panel.width, HEIGHT))
            x += panel.width
        y += HEIGHT


def _place(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": panel.minimum, "max": panel.maximum}
    options: dict[str, Any] = {"reduceOptions": {"calcs": ["lastNotNull"]}}
    if panel.kind == "timeseries":
        defaults["custom"] = {
            "fillOpacity": 20 if panel.stacked else 5,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        }
        options = {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {name: value for name, value in defaults.items() if value is not None}, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + k), "datasource": SOURCE, "expr": query, "legendFormat": legend}
            for k, (query, legend) in enumerate(panel.queries)
        ],
    }
