"""The page at /docs: every route with its fields and an example, written from the OpenAPI document.

It needs no scripts and nothing from other hosts, so it works behind the strictest policy and without a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from typing import Any

STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 16px/1.55 system-ui, sans-serif; max-width: 58rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.15rem; margin: 0; } nav ul { columns: 2 20rem; padding-left: 1.2rem; }
section { border-top: 1px solid var(--line); padding: 1.5rem 0; }
code, pre { font: .875rem/1.5 ui-monospace, monospace; }
pre { background: var(--soft); padding: .8rem 1rem; overflow-x: auto; border-radius: .4rem; }
table { border-collapse: collapse; width: 100%; } .method { font-weight: 600; }
td, th { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
"""


def page(document: dict[str, Any]) -> str:
    """The OpenAPI document as a page of HTML."""
    info, routes = document["info"], list(_routes(document))
    links = "".join(f'<li><a href="#{_anchor(m, p)}"><code>{m} {escape(p)}</code></a></li>' for m, p, _ in routes)
    sections = "".join(_section(method, path, route, document) for method, path, route in routes)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>{escape(info["title"])}</title><link rel="stylesheet" href="/docs.css">'
        f"</head><body><h1>{escape(info['title'])}</h1>{_paragraphs(info.get('description', ''))}"
        '<p>For programs: <a href="/openapi.json">openapi.json</a>.</p>'
        f"<nav><ul>{links}</ul></nav>{sections}</body></html>"
    )


def _routes(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            yield method.upper(), path, route


def _section(method: str, path: str, route: dict[str, Any], document: dict[str, Any]) -> str:
    body = route.get("requestBody", {}).get("content", {})
    schema = body.get("multipart/form-data", body.get("application/json", {})).get("schema", {})
    example = body.get("application/json", {}).get("schema", {}).get("example")
    answers = [(status, answer.get("description", "")) for status, answer in route["responses"].items()]
    return (
        f'<section id="{_anchor(method, path)}">'
        f'<h2><span class="method">{method}</span> <code>{escape(path)}</code></h2>'
        f"<p><strong>{escape(route.get('summary', ''))}.</strong> {escape(_plain(route))}</p>"
        f"{_table('Parameters', _parameters(route))}{_table('Fields', _fields(schema))}"
        f"{_example(method, path, route, example)}{_table('Answers', answers)}</section>"
    )


def _plain(route: dict[str, Any]) -> str:
    return route.get("description", "").replace("``", "")


def _parameters(route: dict[str, Any]) -> list[tuple[str, str]]:
    return [(f"{one['name']} ({one['in']})", one.get("description", "")) for one in route.get("parameters", [])]


def _fields(schema: dict[str, Any]) -> list[tuple[str, str]]:
    required = schema.get("required", [])
    return [
        (f"{name}{' *' if name in required else ''}", _field_text(field))
        for name, field in schema.get("properties", {}).items()
    ]


def _field_text(field: dict[str, Any]) -> str:
    kinds = [part for part in field.get("anyOf", [field]) if part.get("type") != "null"]
    found = [_limits(part) for part in (field, *kinds)]
    texts = [part.get("description", "") for part in (field, *kinds)]
    return " ".join(dict.fromkeys(text for text in (*texts, *found) if text))


def _limits(field: dict[str, Any]) -> str:
    """ "From 0 to 100.", "At most 5000 characters." """
    words = [
        f"{word} {field[key]}"
        for key, word in (("minimum", "from"), ("exclusiveMinimum", "more than"), ("maximum", "to"))
        if key in field
    ]
    if "maxLength" in field:
        words.append(f"at most {field['maxLength']} characters")
    text = " ".join(words)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    if not rows:
        return ""
    lines = "".join(f"<tr><td><code>{escape(str(name))}</code></td><td>{escape(text)}</td></tr>" for name, text in rows)
    return f"<table><thead><tr><th>{title}</th><th></th></tr></thead><tbody>{lines}</tbody></table>"


def _example(method: str, path: str, route: dict[str, Any], example: Any) -> str:
    lines = [f"curl http://127.0.0.1:8000{path}"]
    if method not in ("GET", "POST") or (method == "POST" and not example):
        lines[0] += f" -X {method}"
    headers = [one for one in route.get("parameters", []) if one["name"] == "X-DashScope-Async"]
    lines += [f"  -H '{one['name']}: enable'" for one in headers]
    if example:
        lines += ["  -H 'Content-Type: application/json'", f"  -d '{json.dumps(example)}'"]
    return "<pre>" + escape(" \\\n".join(lines)) + "</pre>"


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{escape(part)}</p>" for part in text.split("\n\n") if part)


def _anchor(method: str, path: str) -> str:
    return f"{method.lower()}{path.replace('/', '-').replace('{', '').replace('}', '')}"
