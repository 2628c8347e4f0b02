import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("pyloudnorm")

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from fastapi.testclient import TestClient

from happyhorse.arena.arena import Arena
from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import write_mp4
from happyhorse.server import arena_routes
from happyhorse.server.errors import ServiceError, videos_body

TEXT, IMAGE = "text-to-video", "image-to-video"
Clips = Callable[..., Path]


@pytest.fixture
def clips(tmp_path: Path) -> Clips:
    """Makes a folder of a model's clips: one for each prompt, 0.5 s of a colour with a tone."""

    def make(name: str, prompts: dict[str, str], level: float = 0.2, image: str | None = None) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        lines = []
        for number, (prompt, category) in enumerate(prompts.items()):
            frames = np.full((12, 32, 32, 3), 40 * len(name) + number, np.uint8)
            tone = (level * np.sin(2 * np.pi * 440 * np.arange(12_000) / 24_000)).astype(np.float32)[None]
            write_mp4(folder / f"{number}.mp4", frames, tone, 24, 24_000, "")
            line = {"file": f"{number}.mp4", "prompt": prompt, "category": category, "board": IMAGE if image else TEXT}
            lines.append({**line, "image": image} if image else line)
        if image:
            write_png(folder / image, np.full((32, 32, 3), 200, np.uint8))
        (folder / "prompts.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
        return folder

    return make


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "arena"


def client(folder: Path) -> TestClient:
    """A voter of their own, with the errors that the service makes of refusals."""
    app = FastAPI()
    app.include_router(arena_routes.router(folder))

    @app.exception_handler(ServiceError)
    async def refused(_: Request, error: ServiceError) -> JSONResponse:
        return JSONResponse(videos_body(error), error.status)

    return TestClient(app)


@pytest.fixture
def voter(folder: Path, clips: Clips) -> TestClient:
    prompts = {"a red ball bounces": "foley", "rain in a street": "ambience"}
    arena = Arena(folder)
    arena.entries.add("quiet", clips("quiet", prompts, level=0.05))
    arena.entries.add("loud", clips("loud", prompts, level=0.4))
    return client(folder)


def ballot(match: dict, /, choice: str = "left", **changes) -> dict:
    return {"match": match["match"], "choice": choice, "seconds": 1.5, "played": True, **changes}


def error_of(answer) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def test_names_are_told_after_the_vote_and_not_before(voter: TestClient) -> None:
    answer = voter.get("/arena/api/match", params={"board": TEXT})
    assert "loud" not in answer.text and "quiet" not in answer.text
    names = voter.post("/arena/api/vote", json=ballot(answer.json())).json()
    assert {names["left"], names["right"]} == {"loud", "quiet"}


def test_clips_come_in_parts_and_under_names_that_tell_nothing(voter: TestClient, folder: Path) -> None:
    match = voter.get("/arena/api/match").json()
    whole = voter.get(match["left"]["clip"])
    part = voter.get(match["left"]["clip"], headers={"Range": "bytes=4-11"})
    assert whole.headers["content-type"] == "video/mp4" and part.status_code == 206
    assert part.content == whole.content[4:12]
    hashes = [path.stem for path in (folder / "clips").iterdir()]
    told = json.dumps(match) + str(whole.headers)
    assert not any(name in told for name in hashes)
    again = voter.get("/arena/api/match").json()
    assert again["left"]["clip"] != match["left"]["clip"]


def test_gains_make_both_equally_loud(voter: TestClient) -> None:
    match = voter.get("/arena/api/match").json()
    names = voter.post("/arena/api/vote", json=ballot(match)).json()
    gains = {names[side]: match[side]["gain"] for side in ("left", "right")}
    assert gains["quiet"] / gains["loud"] == pytest.approx(8, rel=0.05)


def test_a_match_is_its_voters_alone(voter: TestClient, folder: Path) -> None:
    match = voter.get("/arena/api/match").json()
    other = client(folder)
    assert error_of(other.get(match["left"]["clip"]))[:2] == (404, "match_not_found")
    assert error_of(other.post("/arena/api/vote", json=ballot(match)))[:2] == (404, "match_not_found")
    cookie = voter.cookies.get(arena_routes.COOKIE)
    assert cookie and "HttpOnly" in voter.get("/arena/api/match").headers["set-cookie"]


@pytest.mark.parametrize(
    ("change", "refusal"),
    [
        ({"played": False}, (409, "vote_refused", None)),
        ({"choice": "neither"}, (400, "invalid_value", "choice")),
        ({"seconds": -1}, (400, "invalid_value", "seconds")),
        ({"names": True}, (400, "unknown_field", "names")),
        ({"match": "0" * 24}, (404, "match_not_found", "match")),
    ],
)
def test_votes_that_do_not_count(voter: TestClient, change: dict, refusal: tuple) -> None:
    match = voter.get("/arena/api/match").json()
    assert error_of(voter.post("/arena/api/vote", json=ballot(match, **change))) == refusal
    assert voter.get("/arena/api/table").json()["votes"] == 0


def test_a_vote_cannot_be_given_twice(voter: TestClient) -> None:
    match = voter.get("/arena/api/match").json()
    assert voter.post("/arena/api/vote", json=ballot(match)).status_code == 200
    assert error_of(voter.post("/arena/api/vote", json=ballot(match, "right"))) == (409, "vote_refused", None)


def test_the_table_counts_votes_and_keeps_boards_and_categories_apart(voter: TestClient) -> None:
    match = voter.get("/arena/api/match", params={"category": "foley"}).json()
    assert match["category"] == "foley" and match["image"] is None
    voter.post("/arena/api/vote", json=ballot(match, "tie"))
    foley = voter.get("/arena/api/table", params={"board": TEXT, "category": "foley"}).json()
    assert foley["votes"] == 1 and [row["rating"] for row in foley["rows"]] == [1000, 1000]
    assert {(pair["model"], pair["ties"]) for pair in foley["rivals"]} == {("loud", 1), ("quiet", 1)}
    assert voter.get("/arena/api/table", params={"category": "ambience"}).json()["votes"] == 0


def test_matches_of_the_image_board_show_the_image(voter: TestClient, folder: Path, clips: Clips) -> None:
    for name in ("one", "other"):
        Arena(folder).entries.add(name, clips(name, {"it rolls away": "motion"}, image="first.png"))
    match = voter.get("/arena/api/match", params={"board": IMAGE}).json()
    assert voter.get(match["image"]).headers["content-type"] == "image/png"


def test_an_empty_arena_says_how_clips_come_in(folder: Path) -> None:
    answer = client(folder).get("/arena/api/match")
    assert error_of(answer)[:2] == (404, "no_match") and "happyhorse arena add" in answer.text
    assert client(folder).get("/arena/api/match", params={"board": "audio"}).is_client_error
    assert client(folder).get("/arena/api/boards").json()["boards"] == [TEXT, IMAGE]
