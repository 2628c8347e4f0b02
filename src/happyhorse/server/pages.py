"""What people see: the studio's files at /, and the page about the API at /docs."""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from happyhorse.server import reference

STUDIO = Path(__file__).parent / "studio"


class Studio(StaticFiles):
    """Static files that browsers ask for again each time: an update of the server is one of its pages, too."""

    def file_response(self, full_path, stat_result, scope: Scope, status_code: int = 200) -> Response:
        response = super().file_response(full_path, stat_result, scope, status_code)
        response.headers.setdefault("Cache-Control", "no-cache")
        return response


def add_pages(app: FastAPI, folder: Path = STUDIO) -> None:
    """Adds /docs, and the files of ``folder`` at /, if there is an index.html; else / leads to /docs. Comes last."""

    @app.get("/docs", include_in_schema=False)
    def docs() -> HTMLResponse:
        return HTMLResponse(reference.page(app.openapi()))

    @app.get("/docs.css", include_in_schema=False)
    def style() -> Response:
        return Response(reference.STYLE, media_type="text/css")

    if (folder / "index.html").is_file():
        app.mount("/", Studio(directory=folder, html=True), name="studio")
        return

    @app.get("/", include_in_schema=False)
    def start() -> RedirectResponse:
        return RedirectResponse("/docs")
