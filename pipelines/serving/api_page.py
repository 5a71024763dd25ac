"""docs/api.md, made of the OpenAPI document: `python -m pipelines.serving.api_page > docs/api.md`."""

from __future__ import annotations

import sys

from pipelines.serving.openapi import ERRORS, HEADERS, Json, document, ref

INTRODUCTION = """\
<!-- Made by `python -m pipelines.serving.api_page > docs/api.md`; a test compares it. -->
# The gateway's API

OpenAI's endpoints, so OpenAI's own clients work unmodified; the gateway serves the same as OpenAPI 3.1 under `/openapi.json`.
```python
client = openai.OpenAI(base_url="http://127.0.0.1:8090/v1", api_key=KEY)  # `ratchet keys issue` draws KEY
reply = client.chat.completions.create(model="regulatory", messages=[{"role": "user", "content": QUESTION}])
reply.choices[0].message.content  # the answer, or the nearest passage
reply.ratchet["release"], reply.ratchet["sources"]  # where it comes from
```
A model is a domain and follows its live release. `regulatory@r3` (or `regulatory/r3`) is that release for good, for a key that may pin.
Decoding is greedy: `temperature` and its like have no effect. `extra_body={"as_of": "2014-03-01"}` answers by the text in force that day.
"""


def markdown(found: Json) -> str:
    """The document as a page."""
    lines = [INTRODUCTION]
    lines += [
        "## Errors",
        "",
        'Always `{"error": {"message", "type", "param", "code"}}`; an official client raises its own class for each.',
    ]
    lines += ["", "| status | code | when |", "|---|---|---|"]
    lines += [f"| {status} | {', '.join(f'`{code}`' for code in codes.split(', '))} | {when} |" for status, (codes, when) in ERRORS.items()]
    lines += ["", "A stream that fails after its first text ends with an event that holds such an error, then `[DONE]`."]
    for tag in found["tags"]:
        lines += ["", f"## {tag['name'].capitalize()}", "", f"{tag['description']}."]
        for path, methods in found["paths"].items():
            for method, operation in methods.items():
                if tag["name"] in operation["tags"]:
                    lines += _operation(method, path, operation)
    lines += ["", "## Bodies"]
    for name, schema in found["components"]["schemas"].items():
        if schema.get("properties"):
            lines += ["", f"### {name}", "", *_fields(schema)]
    return "\n".join(lines) + "\n"


def _operation(method: str, path: str, operation: Json) -> list[str]:
    lines = ["", f"### `{method.upper()} {path}`", "", f"{operation['summary']}. {operation.get('description', '')}".strip()]
    if "requestBody" in operation:
        [(media, content)] = operation["requestBody"]["content"].items()
        lines += ["", f"Body: {_kind(content['schema']) if media == 'application/json' else f'`{media}`'}."]
    if operation.get("parameters"):
        lines += ["", "| parameter | in | |", "|---|---|---|"]
        lines += [f"| `{one['name']}` | {one['in']} | {one.get('description', '')} |" for one in operation["parameters"]]
    good, bad = [], []
    for status, reply in operation["responses"].items():
        schema = reply.get("content", {}).get("application/json", {}).get("schema")
        if schema == ref("Error"):
            bad.append(status)
        else:
            good.append(f"{status}: {reply['description']}{f', {_kind(schema)}' if schema and '$ref' in schema else ''}.")
    lines += ["", " ".join(good) + (f" Errors: {', '.join(bad)}." if bad else "")]
    if any("headers" in reply and "X-Request-Id" in reply["headers"] for reply in operation["responses"].values()):
        told = "; ".join(f"`{name}`: {header['description']}" for name, header in HEADERS.items())
        lines += [f"Headers: {told}."]
    return lines


def _fields(schema: Json) -> list[str]:
    required = schema.get("required", ())
    lines = ["| field | type | |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        words = [field.get("description", ""), "" if name in required else "optional"]
        if field.get("default") is not None:
            words.append(f"default `{str(field['default']).lower() if isinstance(field['default'], bool) else field['default']}`")
        lines.append(f"| `{name}` | {_kind(field)} | {'; '.join(word for word in words if word)} |")
    return lines


def _kind(schema: Json) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(_kind(one) for one in schema[several])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join("null" if one is None else f"`{one}`" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    kind = schema.get("type", "any")
    words = [" or ".join(kind) if isinstance(kind, list) else str(kind)]
    if kind == "object" and schema.get("properties"):
        words = [f"object ({', '.join(f'`{name}`' for name in schema['properties'])})"]
    for mark, word in (("minLength", "at least"), ("maxLength", "at most")):
        if mark in schema and schema[mark] != 1:
            words.append(f"{word} {schema[mark]} characters")
    if "pattern" in schema:
        words.append(f"`{schema['pattern']}`".replace("|", "\\|"))
    return ", ".join(words)


if __name__ == "__main__":
    sys.stdout.write(markdown(document()))
