from __future__ import annotations

import importlib.util
import json
import re
from typing import Any

import pytest
import yaml

from pipelines.config import PROJECT
from pipelines.monitoring import grafana
from pipelines.serving.metrics import FAMILIES

FOLDER = PROJECT / "docker" / "observe" / "grafana"
TRITON = {
    "nv_inference_queue_duration_us",
    "nv_inference_request_success",
    "nv_inference_compute_infer_duration_us",
}
"""Of Triton 2.x's own /metrics, those that are used."""
ENDINGS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
KNOWN = {f"{name}{ending}": family for name, family in FAMILIES.items() for ending in ENDINGS[family.kind]}
AGE = "ratchet_pointer_age_seconds"
"""Made when it is scraped."""
DASHBOARD = grafana.dashboard()
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]] + [
    DASHBOARD["annotations"]["list"][0]["expr"],
    DASHBOARD["templating"]["list"][0]["definition"],
]


def named(query: str) -> set[str]:
    return set(re.findall(r"\b(?:ratchet|nv)_[a-z0-9_]+", query))


def test_every_metric_of_a_panel_is_reported() -> None:
    every = {name for query in QUERIES for name in named(query)}
    assert every <= KNOWN.keys() | TRITON | {AGE}
    assert {re.sub("_(total|bucket|sum|count)$", "", name) for name in every} >= FAMILIES.keys(), "a family that nobody sees"


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_is_whole_and_asks_for_labels_that_there_are(query: str) -> None:
    assert query.count("(") == query.count(")") and query.count("{") == query.count("}")
    labels = {label for name in named(query) if name in KNOWN for label in KNOWN[name].labels} | {"le", "instance"}
    wanted = {one.strip() for some in re.findall(r"by \(([^)]*)\)|on \(([^)]*)\)", query) for part in some for one in part.split(",")}
    wanted |= set(re.findall(r"(\w+)(?:=~|!=|=)\"", query))
    assert wanted - {""} <= labels


def test_rates_are_of_counters_only() -> None:
    for query in QUERIES:
        for name in re.findall(r"(?:rate|increase)\((ratchet_[a-z_]+)", query):
            assert KNOWN[name].kind != "gauge", name


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_says_what_it_is(panel: dict[str, Any]) -> None:
    assert panel["title"] and len(panel["description"]) > 20 and panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"] and panel["targets"]
    for page in re.findall(r"docs/[a-z/-]+\.md", panel["description"]):
        assert (PROJECT / page).is_file(), page
    for target in panel["targets"]:
        # A legend that names a label which the query drops shows nothing.
        kept = {one.strip() for some in re.findall(r"by \(([^)]*)\)", target["expr"]) for one in some.split(",")}
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= kept
        assert target["datasource"]["uid"] == grafana.SOURCE["uid"]


def test_panels_lie_side_by_side_and_have_numbers_of_their_own() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= grafana.WIDTH
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)


def test_the_alerts_that_panels_name_are_there() -> None:
    rules = (PROJECT / "docker/observe/rules.yaml").read_text(encoding="utf-8")
    for name in {name for panel in PANELS for name in re.findall(r"\bRatchet[A-Z]\w+", panel["description"])}:
        assert f"alert: {name}\n" in rules, name


def test_the_files_are_those_that_the_script_writes() -> None:
    spec = importlib.util.spec_from_file_location("grafana_script", PROJECT / "scripts" / "grafana.py")
    assert spec is not None and spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    made = script.files()
    assert {path.name for path in FOLDER.iterdir()} == made.keys()
    for name, content in made.items():
        assert (FOLDER / name).read_text(encoding="utf-8") == content, f"run scripts/grafana.py: {name}"
    assert json.loads(made["ratchet.json"])["uid"] == grafana.UID
    assert yaml.safe_load(made["datasource.yaml"])["datasources"][0]["uid"] == grafana.SOURCE["uid"]


def test_grafana_finds_prometheus_and_the_dashboard_where_compose_puts_them() -> None:
    compose = yaml.safe_load((PROJECT / "docker/compose.yaml").read_text(encoding="utf-8"))
    one = compose["services"]["grafana"]
    mounted = dict(volume.rsplit(":", 1)[0].split(":") for volume in one["volumes"] if volume.startswith("./"))
    folder = grafana.provisioning()["dashboards.yaml"]["providers"][0]["options"]["path"]
    assert mounted["./observe/grafana/ratchet.json"] == f"{folder}/ratchet.json"
    assert mounted["./observe/grafana/datasource.yaml"].startswith("/etc/grafana/provisioning/datasources/")
    assert mounted["./observe/grafana/dashboards.yaml"].startswith("/etc/grafana/provisioning/dashboards/")
    listens = next(word for word in compose["services"]["prometheus"]["command"] if "listen-address" in word)
    assert grafana.provisioning()["datasource.yaml"]["datasources"][0]["url"] == f"http://{listens.split('=')[1]}"
    assert one["environment"]["GF_SERVER_HTTP_ADDR"] == "127.0.0.1"
    assert one["environment"]["GF_ANALYTICS_REPORTING_ENABLED"] == "false"
