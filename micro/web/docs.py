"""``/docs``: Swagger UI from the files of the `offapi` package, served by ourselves, so that it works offline.

The package is only looked up, never imported: importing it reads 9 MB of templates.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse, Response

from micro.web.problems import Problem
from micro.web.responses import JsonResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FILES = {
    "/docs/swagger.js": ("swagger_bundle.js", "text/javascript"),
    "/docs/swagger.css": ("swagger_style.css", "text/css"),
}
DOCS = frozenset({"/docs", "/docs/start.js", *_FILES})
"""Every path that the documentation needs."""

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger.css">
</head>
<body>
<div id="docs" data-url="{url}"></div>
<script src="/docs/swagger.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
_START = """"use strict";
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();
SwaggerUIBundle({
  url: document.getElementById("docs").dataset.url,
  dom_id: "#docs",
  presets: [SwaggerUIBundle.presets.apis],
  deepLinking: true,
  persistAuthorization: false,
  validatorUrl: null,
});
"""


def docs_page(title: str, openapi_url: str = "/openapi.json") -> Response:
    """The HTML page; its scripts and styles are at the other paths of `DOCS`, under a strict content security policy."""
    from html import escape  # noqa: PLC0415 - loaded when first used: brings the table of all HTML entities

    page = _PAGE.format(title=escape(title), url=escape(openapi_url))
    return Response(page, media_type="text/html", headers=_HEADERS)


def docs_asset(path: str) -> Response:
    """The script or style at a path of `DOCS`. Raises a 404 `Problem` for other paths and without `offapi`."""
    if path == "/docs/start.js":
        return Response(_START, media_type="text/javascript", headers=_HEADERS)
    file, media_type = _FILES.get(path, ("", ""))
    spec = importlib.util.find_spec("offapi") if file else None
    if spec is None or spec.origin is None:
        raise Problem(404)
    headers = {**_HEADERS, "Cache-Control": "public, max-age=86400"}
    return FileResponse(Path(spec.origin).with_name(file), media_type=media_type, headers=headers)


def document_response(path: str, title: str, document: Callable[[], Mapping[str, Any]]) -> Response:
    """What to answer a GET of ``/openapi.json`` or of a path of `DOCS` with."""
    if path == "/openapi.json":
        return JsonResponse(document())
    return docs_page(title) if path == "/docs" else docs_asset(path)
