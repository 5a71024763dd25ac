"""The gateway's own description: whole, true of the models it is made from, and the same as docs/api.md."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import jsonschema
import pytest

from pipelines.config import PROJECT, Settings
from pipelines.errors import BadInput, Conflict, NotAllowed, NotFound, RatchetError, Unavailable
from pipelines.serving import api_page, openapi, shapes
from pipelines.serving.answer import Answer

DOCUMENT = openapi.document()


def validator(name: str) -> Any:
    schema = {"$ref": f"#/components/schemas/{name}", "components": DOCUMENT["components"]}
    return jsonschema.Draft202012Validator(schema)


def test_docs_api_md_is_made_from_it() -> None:
    made = api_page.markdown(DOCUMENT)
    assert made == (PROJECT / "docs" / "api.md").read_text(encoding="utf-8"), "run `python -m pipelines.serving.api_page > docs/api.md`"


def test_the_command_prints_the_same_every_time() -> None:
    done = subprocess.run([sys.executable, "-m", "pipelines.serving.api_page"], capture_output=True, text=True, cwd=PROJECT, check=True)
    assert done.stdout == api_page.markdown(DOCUMENT)


def test_schemathesis_reads_it_and_every_reference_leads_somewhere() -> None:
    import schemathesis

    operations = list(schemathesis.openapi.from_dict(DOCUMENT).get_all_operations())
    assert len(operations) == 13 and all(type(one).__name__ == "Ok" for one in operations)
    for reference in re.findall(r"#/components/schemas/(\w+)", str(DOCUMENT)):
        assert reference in DOCUMENT["components"]["schemas"]
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)


def test_every_route_of_the_application_is_described_and_no_other(settings: Settings) -> None:
    from pipelines.serving.gateway import create_app

    served = {
        (re.sub(r":path}", "}", route.path), method)
        for route in create_app(settings).routes
        for method in getattr(route, "methods", None) or ()
        if method != "HEAD"
    }
    described = {(path, method.upper()) for path, methods in DOCUMENT["paths"].items() for method in methods}
    assert described == served


def test_every_request_field_is_described() -> None:
    for model in (shapes.ChatRequest, shapes.CompletionRequest, shapes.EmbeddingRequest):
        assert set(DOCUMENT["components"]["schemas"][model.__name__]["properties"]) == set(model.model_fields)


@pytest.mark.parametrize(
    "error", [shapes.NoKey("x"), shapes.TooLarge("x"), shapes.NoModel("x"), shapes.Filtered("x"),
              NotAllowed("x"), NotFound("x"), BadInput("x", where="model"), Conflict("x"), Unavailable("x")],
    ids=lambda error: type(error).__name__,
)  # fmt: skip
def test_every_error_is_described(error: RatchetError) -> None:
    status, body = shapes.fault(error)
    validator("Error").validate(body)
    codes, _ = openapi.ERRORS[status]
    assert body["error"]["code"] in codes.split(", ")


def test_what_is_answered_is_as_described() -> None:
    answer = Answer("text", None, None, (), True, "no_passage", 0.0, 3, 4, 0.1)
    facts = shapes.facts_of(answer, "law/r1", "2015-06-01", "id", False)
    facts |= {"min_logprob": -0.1, "cache": None, "route": "own", "guards": [{"rule": "numbers", "action": "report", "where": "answer"}]}
    said = shapes.Said("text", "stop", 3, 4)
    validator("ChatCompletion").validate(shapes.completion(said, "chat", "id", "law", facts))
    validator("Completion").validate(shapes.completion(said, "text", "id", "law", facts))
    described = set(DOCUMENT["components"]["schemas"]["Facts"]["properties"])
    assert described == set(facts), "every fact is described, and no other"


def test_what_is_not_as_described_is_refused() -> None:
    for name, value in (("Error", {"error": {}}), ("ChatCompletion", {}), ("Models", {"object": "list"}), ("Facts", {"reason": "whim"})):
        assert not validator(name).is_valid(value)
