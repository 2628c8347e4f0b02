"""The arena over HTTP, as its page asks for it: matches, their clips, votes and tables.

The app includes it before its pages, with what it asks of callers, and turns the ServiceErrors that are raised here
into answers, as for its other routes:

    def may_vote(request: Request) -> None:
        service.caller(token_of(request), "vote")

    app.include_router(arena_routes.router(arena_folder()), dependencies=[Depends(may_vote)])

| route | answer |
|---|---|
| GET /arena/api/boards | names of the boards and categories |
| GET /arena/api/match?board&category | the next match of the voter, without names |
| GET /arena/api/match/{match}/{left, right or image} | its files, with ranges |
| POST /arena/api/vote {match, choice, seconds, played} | who made the two clips |
| GET /arena/api/table?board&category | ratings with intervals, records against each rival |

A voter is a random name in a cookie that scripts cannot read. Files are asked for by match and side: under the name of
their content a clip that was once judged would be known again, and with it the model behind it.
"""

from __future__ import annotations

import contextlib
import re
import secrets
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import BaseModel, Field

from happyhorse.arena.arena import Arena
from happyhorse.arena.arena import Match as Laid
from happyhorse.arena.names import BOARDS, CATEGORIES, TEXT
from happyhorse.arena.vote import WATCHED_MAX
from happyhorse.arena.votes import UnknownMatchError, VoteError
from happyhorse.errors import ConfigError, HappyhorseError
from happyhorse.server.bodies import read_body
from happyhorse.server.errors import ServiceError
from happyhorse.server.forms import Form, Number, parse
from happyhorse.server.service import in_thread
from happyhorse.server.views import ErrorBody

PREFIX = "/arena/api"
COOKIE = "happyhorse_voter"
COOKIE_SECONDS = 365 * 86_400
_NO_DATE = {"Last-Modified": formatdate(0, usegmt=True)}
_VOTER = re.compile(r"[0-9a-f]{32}")

Board = Literal["text-to-video", "image-to-video"]
Category = Literal["portrait-and-dialogue", "foley", "ambience", "motion", "abstract"]
Side = Literal["left", "right", "image"]
assert get_args(Board) == BOARDS and get_args(Category) == CATEGORIES

_FILES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"video/mp4": {}, "video/webm": {}, "image/*": {}}, "description": "The file."},
    206: {"description": "The part of it that Range asks for."},
    416: {"description": "Range is outside of the file."},
}
MatchId = Annotated[str, Path(max_length=64)]
OnBoard = Annotated[Board, Query(description="Clips of prompts alone, or of prompts with an image.")]
InCategory = Annotated[Category | None, Query(description="All categories if left out.")]


class Boards(BaseModel):
    boards: list[str]
    categories: list[str]


class Clip(BaseModel):
    clip: str = Field(description="Where its file is.")
    gain: float = Field(description="What its sound is multiplied by, so that both are equally loud.")


class Match(BaseModel):
    """Two clips of one prompt."""

    match: str
    board: str
    category: str
    prompt: str
    image: str | None = Field(description="Where the image is that both clips begin with.")
    left: Clip
    right: Clip


class Names(BaseModel):
    """Who made the clips of a match."""

    left: str
    right: str


class Standings(BaseModel):
    """The table of a board."""

    board: str
    category: str | None
    votes: int
    rows: list[dict[str, Any]] = Field(description="Models, the best first: rating, low, high, rank, votes, note.")
    rivals: list[dict[str, Any]] = Field(description="Records of each model against each rival that it has met.")
    warnings: list[str]


class VoteForm(Form):
    """A choice."""

    match: str = Field(max_length=64)
    choice: Literal["left", "right", "tie", "both-bad"]
    seconds: Annotated[Number, Field(ge=0, le=WATCHED_MAX, description="How long the clips were watched.")] = 0.0
    played: bool = Field(description="Whether both were played to their ends; only then the vote counts.")


def router(folder: FilePath | None = None) -> APIRouter:
    """The routes of the arena in ``folder``, which need not exist yet."""
    arena = Arena(folder)
    routes = APIRouter(prefix=PREFIX, tags=["arena"], responses=_refusals())

    @routes.get("/boards")
    def boards() -> Boards:
        """What there is to choose from."""
        return Boards(boards=list(BOARDS), categories=list(CATEGORIES))

    @routes.get("/match", response_model=Match)
    def match(
        request: Request, response: Response, board: OnBoard = TEXT, category: InCategory = None
    ) -> dict[str, Any]:
        """The next two clips, without the names of their makers."""
        voter = _voter(request)
        with _refused():
            laid = _next_match(arena, voter, board, category)
        _remember(request, response, voter)
        return _match(laid)

    @routes.get("/match/{match}/{side}", response_class=FileResponse, responses=_FILES)
    def file(match: MatchId, side: Side, request: Request) -> Response:
        """A clip of a match, or the image that both clips begin with."""
        with _refused():
            laid = arena.match(match, _voter(request))
        path = {"left": laid.left_clip, "right": laid.right_clip, "image": laid.image}[side]
        if path is None:
            raise ServiceError(404, "not_found", "the clips of this match begin with no image", "side")
        # A tag or date of the file itself would tell that it was seen in another match.
        return FileResponse(path, headers={"Cache-Control": "no-store", "ETag": f'"{match}-{side}"', **_NO_DATE})

    @routes.post("/vote", response_model=Names, openapi_extra=_body(VoteForm))
    async def vote(request: Request) -> Names:
        """Records a choice; it cannot be changed."""
        form = parse(VoteForm, (await read_body(request)).fields)
        with _refused():
            names = await in_thread(
                arena.vote, form.match, form.choice, _voter(request), form.seconds, played=form.played
            )
        return Names(left=names.left, right=names.right)

    @routes.get("/table", response_model=Standings)
    def table(board: OnBoard = TEXT, category: InCategory = None) -> dict[str, Any]:
        """Ratings by all votes so far."""
        with _refused():
            found = arena.table(board, category)
        votes = sum(record.votes for record in found.rivals.values()) // 2  # each counts for the one and for the other
        return {"board": board, "category": category, "votes": votes, **found.to_dict()}

    return routes


def _next_match(arena: Arena, voter: str, board: Board, category: Category | None) -> Laid:
    try:
        return arena.next_match(voter, board, category)
    except ConfigError as error:  # board and category are known here: it is that there are no two clips to compare
        raise ServiceError(404, "no_match", str(error)) from error


def _match(laid: Laid) -> dict[str, Any]:
    place = f"{PREFIX}/match/{laid.id}"
    return {
        "match": laid.id,
        "board": laid.board,
        "category": laid.category,
        "prompt": laid.prompt,
        "image": f"{place}/image" if laid.image else None,
        "left": {"clip": f"{place}/left", "gain": laid.left_gain},
        "right": {"clip": f"{place}/right", "gain": laid.right_gain},
    }


def _voter(request: Request) -> str:
    """Who asks: from the cookie, or somebody new."""
    name = request.cookies.get(COOKIE, "")
    return name if _VOTER.fullmatch(name) else secrets.token_hex(16)


def _remember(request: Request, response: Response, voter: str) -> None:
    secure = request.url.scheme == "https"
    response.set_cookie(
        COOKIE, voter, max_age=COOKIE_SECONDS, path="/arena", secure=secure, httponly=True, samesite="strict"
    )


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    """What the arena refuses, as clients are told of it; its other errors are about the server's own files."""
    try:
        yield
    except ServiceError:
        raise
    except UnknownMatchError as error:
        raise ServiceError(404, "match_not_found", str(error), "match") from error
    except VoteError as error:
        raise ServiceError(409, "vote_refused", str(error)) from error
    except HappyhorseError as error:
        message = "the arena's files cannot be read on this server; its log says why"
        raise ServiceError(500, "arena_unavailable", message) from error


def _refusals() -> dict[int | str, dict[str, Any]]:
    return {status: {"model": ErrorBody} for status in (400, 401, 403, 404, 409, 413, 415, 429, 500, 503)}


def _body(form: type[Form]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": form.model_json_schema()}}}}
