"""The documentation of an API as one page without a script and without anything from elsewhere."""

import base64
import hashlib
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from upwell_shared.web.policies import public, requires
from upwell_shared.web.problems import STATUS, slug_of, urn
from upwell_shared.web.routing import api_router

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1b2530; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid #d5dce3; } h3 { margin: 1.5rem 0 .25rem; }
code, pre { font: 14px/1.45 ui-monospace, monospace; background: #f3f6f8; border-radius: 4px; }
code { padding: .1rem .3rem; } pre { padding: .75rem; overflow-x: auto; }
table { border-collapse: collapse; } td, th { text-align: left; padding: .2rem 1rem .2rem 0; vertical-align: top; }
a { color: #005a8c; } .method { font-weight: 700; }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


def docs_router() -> APIRouter:
    """`/v1/openapi.json` and, for people, `/v1/docs`."""
    router = api_router("/v1", dependencies=[requires(public)])

    @router.get("/openapi.json", include_in_schema=False)
    async def openapi(request: Request) -> Response:
        return Response(orjson.dumps(request.app.openapi()), media_type="application/json")

    @router.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        page = render(request.app.openapi())
        return Response(page, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

    return router


def render(document: Mapping[str, Any]) -> str:
    """The page for an OpenAPI document; every text of the document is escaped."""
    title = escape(document["info"]["title"])
    schemas = document["components"]["schemas"]
    return "".join(
        (
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
            f"<p>{escape(document['info'].get('description', ''))}</p>",
            '<p>The same for machines: <a href="openapi.json">openapi.json</a>. ',
            'Errors are <a href="#problems">problems</a>; bodies are <a href="#schemas">schemas</a>.</p>',
            *(
                _operation(path, method, operation)
                for path, operations in document["paths"].items()
                for method, operation in operations.items()
            ),
            '<h2 id="problems">Problems</h2><table><tr><th>Type</th><th>Status</th><th>What to do</th></tr>',
            *_problems(),
            '</table><h2 id="schemas">Schemas</h2>',
            *(_schema(name, schema) for name, schema in sorted(schemas.items())),
            "</body></html>",
        )
    )


def _operation(path: str, method: str, operation: Mapping[str, Any]) -> str:
    parts = [f'<h2><span class="method">{escape(method.upper())}</span> <code>{escape(path)}</code></h2>']
    parts.append(f"<p>{escape(operation.get('description') or operation.get('summary', ''))}</p>")
    parts.append(f"<p>Policy: <code>{escape(operation['x-upwell-policy'])}</code></p>")
    if parameters := operation.get("parameters"):
        parts.append("<h3>Parameters</h3><table>")
        parts.extend(
            f"<tr><td><code>{escape(p['name'])}</code></td><td>{escape(p['in'])}"
            f"{', required' if p.get('required') else ''}</td><td>{_type(p.get('schema', {}))}</td>"
            f"<td>{escape(p.get('description', ''))}</td></tr>"
            for p in parameters
        )
        parts.append("</table>")
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        parts.append(f"<h3>Body</h3><p><code>{escape(kind)}</code>: {_type(schema)}</p>{_fields(schema)}")
    parts.append("<h3>Answers</h3><table>")
    parts.extend(
        f"<tr><td>{escape(status)}</td><td>{escape(response['description'])}</td><td>{_contents(response)}</td></tr>"
        for status, response in operation["responses"].items()
    )
    return "".join((*parts, "</table>"))


def _fields(schema: Mapping[str, Any]) -> str:
    """The fields of an object that stands in its place instead of being referred to."""
    required = schema.get("required", ())
    rows = [
        f"<tr><td><code>{escape(name)}</code></td><td>{'required' if name in required else 'optional'}</td>"
        f"<td>{_type(field)}</td><td>{escape(field.get('description', '') or _limits(field))}</td></tr>"
        for name, field in schema.get("properties", {}).items()
    ]
    return f"<table>{''.join(rows)}</table>" if rows else ""


def _limits(field: Mapping[str, Any]) -> str:
    told = {
        "minimum": "at least",
        "maximum": "at most",
        "minLength": "from",
        "maxLength": "up to",
        "pattern": "like",
    }
    unit = {"minLength": " characters", "maxLength": " characters"}
    return ", ".join(f"{word} {field[key]}{unit.get(key, '')}" for key, word in told.items() if key in field)


def _contents(response: Mapping[str, Any]) -> str:
    return ", ".join(_type(content.get("schema", {})) for content in response.get("content", {}).values())


def _type(schema: Mapping[str, Any]) -> str:
    if reference := schema.get("$ref"):
        name = escape(str(reference).rpartition("/")[2])
        return f'<a href="#schema-{name}">{name}</a>'
    if alternatives := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(_type, alternatives))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("format") or schema.get("type") or "any"))


def _schema(name: str, schema: Mapping[str, Any]) -> str:
    text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
    return f'<h3 id="schema-{escape(name)}">{escape(name)}</h3><pre>{escape(text)}</pre>'


def _problems() -> Iterator[str]:
    for kind, status in sorted(STATUS.items(), key=lambda entry: (entry[1], entry[0].__name__)):
        text = " ".join((kind.__doc__ or "").split())
        yield f"<tr><td><code>{escape(urn(slug_of(kind)))}</code></td><td>{status}</td><td>{escape(text)}</td></tr>"
