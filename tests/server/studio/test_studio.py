import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("playwright", reason="pip install playwright (its browser is not needed)")

from playwright.sync_api import Page, expect

from happyhorse.clip import read_recipe
from happyhorse.codecs.images import write_png
from happyhorse.codecs.media import probe, write_mp4
from happyhorse.data.scenes.known_prompts import unknown_parts
from happyhorse.data.scenes.sentences import LANGUAGES, sentences
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.server.pages import STUDIO

Studio = Any
WAIT = 30_000
# The first test waits while Chromium is installed.
pytestmark = pytest.mark.timeout(600)
expect.set_options(timeout=WAIT)


def take(page: Page, number: int) -> Any:
    return page.get_by_role("article", name=f"Clip {number}")


def make(page: Page, prompt: str, size: str = "64x64", seconds: str = "1") -> None:
    """Fills the form and sends it."""
    page.get_by_label("What should be seen and heard?").fill(prompt)
    page.get_by_label("Seconds", exact=True).fill(seconds)
    if not page.get_by_label("Exact size").is_visible():
        page.get_by_text("More", exact=True).click()
    page.get_by_label("Exact size").fill(size)
    page.get_by_role("button", name="Make four").click()


def all_ready(page: Page, count: int = 4) -> None:
    expect(page.locator(".take .player")).to_have_count(count)


# ------------------------------------------------------------------------------------------------- without a browser
def test_examples_are_what_the_foal_knows() -> None:
    examples = json.loads((STUDIO / "examples.json").read_text("utf-8"))
    assert [scene["family"] for scene in examples["scenes"]] == list(FAMILIES)
    assert [speech["language"] for speech in examples["speech"]] == list(LANGUAGES)
    for speech in examples["speech"]:
        assert set(speech["sentences"]) <= set(sentences(speech["language"]))
    prompts = [scene["prompt"] for scene in examples["scenes"]]
    prompts += [one["prompt"].format(sentence=said) for one in examples["speech"] for said in one["sentences"]]
    assert not {prompt: unknown for prompt in prompts if (unknown := unknown_parts(prompt))}


def test_pages_refer_only_to_files_that_are_there() -> None:
    for page in STUDIO.glob("*.html"):
        text = page.read_text("utf-8")
        names = re.findall(r'(?:src|href)="([^"#]+)(?:#[^"]*)?"', text)
        assert names and all((STUDIO / name).exists() for name in names), page.name
        assert "style=" not in text and not re.search(r"<script(?![^>]*src=)|\son\w+=", text), page.name
    for script in (STUDIO / "js").glob("*.js"):
        text = script.read_text("utf-8")
        assert all((STUDIO / "js" / name).exists() for name in re.findall(r'from "\./([^"]+)"', text)), script.name
        icons = re.findall(r'\b(?:icon|sign): "(\w+)"', text)
        assert all((STUDIO / "icons" / f"{name}.svg").exists() for name in icons), script.name


# ---------------------------------------------------------------------------------------------------- in the browser
def test_from_a_prompt_to_a_render_that_is_downloaded(serve: Callable, visit: Callable, tmp_path: Path) -> None:
    studio = serve()
    page = visit(studio.url)
    page.get_by_role("button", name="a red ball bounces on wood").click()
    expect(page.get_by_label("What should be seen and heard?")).to_have_value("a red ball bounces on wood")
    make(page, "a red ball bounces on wood")
    all_ready(page)

    take(page, 1).get_by_role("button", name="Play").click()
    expect(page.locator(".player.playing")).to_have_count(1)
    take(page, 2).get_by_role("button", name="Play").click()
    expect(take(page, 2).locator(".player.playing")).to_be_visible()
    expect(page.locator(".player.playing")).to_have_count(1)

    take(page, 1).get_by_role("button", name="Compare").click()
    take(page, 3).get_by_role("button", name="Compare").click()
    both = page.get_by_role("dialog", name="Two clips in step")
    both.get_by_role("button", name="Pause both").click()
    both.get_by_label("Position in both clips").fill("0.5")
    times = [film.evaluate("film => film.currentTime") for film in both.locator("video").all()]
    assert times == [0.5, 0.5]
    heard = [not film.evaluate("film => film.muted") for film in both.locator("video").all()]
    assert heard == [True, False]
    both.get_by_role("button", name="Keep clip 3").click()
    expect(take(page, 3).get_by_role("button", name="Keep")).to_have_attribute("aria-pressed", "true")
    expect(page.locator(".take.faded")).to_have_count(3)

    take(page, 3).get_by_role("button", name="Render", exact=True).click()
    expect(take(page, 3)).to_contain_text("256x256", timeout=2 * WAIT)
    with page.expect_download() as saved:
        take(page, 3).get_by_role("button", name="Download").click()
    path = tmp_path / saved.value.suggested_filename
    saved.value.save_as(path)
    recipe = read_recipe(path)
    assert recipe["prompt"] == "a red ball bounces on wood" and recipe["render"]["size"] == "256x256"
    assert probe(path).seconds == pytest.approx(1, abs=0.1)
    assert path.name == f"a-red-ball-bounces-on-wood-256x256-{recipe['seed']}.mp4"


def test_what_is_wrong_is_said_beside_its_field(serve: Callable, visit: Callable, tmp_path: Path) -> None:
    studio = serve(model="foal", stub=True)
    page = visit(studio.url)
    page.get_by_label("What should be seen and heard?").fill("a giraffe")
    expect(page.locator("#prompt-note")).to_contain_text("the foal was never shown giraffe")
    make(page, "")
    expect(page.locator("#prompt-trouble")).to_contain_text("prompt")
    expect(page.get_by_label("What should be seen and heard?")).to_be_focused()
    make(page, "a ball", size="100x100")
    expect(page.locator("#size-trouble")).to_contain_text("100x100 cannot be made; the nearest size is 128x128")
    expect(page.get_by_label("Exact size")).to_have_attribute("aria-invalid", "true")
    make(page, "a ball", seconds="99")
    expect(page.locator("#seconds-trouble")).to_contain_text("ask for 0.5 to 10 s")
    expect(page.locator("#size-trouble")).to_be_empty()

    large, broken, good = tmp_path / "large.png", tmp_path / "broken.png", tmp_path / "good.png"
    large.write_bytes(bytes(21 * 2**20))
    broken.write_bytes(b"no picture")
    write_png(good, np.full((64, 64, 3), 90, np.uint8))
    trouble = page.locator("#drop-input_reference-trouble")
    page.get_by_label("First image", exact=True).set_input_files(large)
    expect(trouble).to_contain_text("large.png has 21 MB; the limit is 20 MB")
    page.get_by_label("First image", exact=True).set_input_files(broken)
    expect(trouble).to_contain_text("broken.png cannot be read as an image")
    page.get_by_label("First image", exact=True).set_input_files(good)
    expect(trouble).to_be_empty()
    expect(page.get_by_role("img", name="First image: good.png")).to_be_visible()
    page.get_by_role("button", name="Remove first image").click()
    expect(page.get_by_role("img", name="First image: good.png")).to_have_count(0)
    assert not studio.service.queue.page().jobs


def test_the_form_offers_what_the_chosen_model_takes(serve: Callable, visit: Callable, public_models: Path) -> None:
    studio = serve(models=("foal", "magihuman-distill"), stub=True)
    page = visit(studio.url)
    image = public_models / "first.png"
    write_png(image, np.full((64, 64, 3), 90, np.uint8))
    page.get_by_label("Last image", exact=True).set_input_files(image)
    page.get_by_text("More", exact=True).click()
    size = page.get_by_label("Exact size")
    expect(size).to_have_attribute("placeholder", "128x128")

    page.get_by_label("Model", exact=True).select_option("magihuman-distill")
    expect(page.locator(".drop:visible")).to_have_count(2)
    expect(page.get_by_label("Last image", exact=True)).to_be_hidden()
    expect(size).to_have_attribute("placeholder", "448x256")
    make(page, "a giraffe sings", size="70x64")
    all_ready(page)
    expect(page.locator("#prompt-note")).to_contain_text("70x64 is made as 64x64")
    jobs = studio.service.queue.page().jobs
    assert [job.model for job in jobs] == 4 * ["magihuman-distill"]
    assert not any(job.request["media"] for job in jobs), "what the model does not take was sent"


def test_a_reload_in_mid_job_finds_everything_again(studio: Studio, visit: Callable) -> None:
    studio.gate.close()
    page = visit(studio.url)
    make(page, "a white horse trots")
    expect(take(page, 1).get_by_role("progressbar")).to_have_attribute("aria-valuetext", re.compile("making"))
    page.get_by_label("What should be seen and heard?").fill("a draft")
    page.reload()
    expect(page.get_by_label("What should be seen and heard?")).to_have_value("a draft")
    expect(page.get_by_role("progressbar")).to_have_count(4)
    expect(take(page, 1).get_by_role("progressbar")).to_have_attribute("aria-valuetext", re.compile("making"))
    take(page, 4).get_by_role("button", name="Cancel").click()
    expect(take(page, 4)).to_contain_text("cancelled")
    studio.gate.open()
    all_ready(page, 3)


def test_by_keyboard_alone(studio: Studio, visit: Callable) -> None:
    page = visit(studio.url)

    def go_to(selector: str) -> None:
        for _ in range(80):
            if page.locator(f"{selector}:focus").count():
                return
            page.keyboard.press("Tab")
        raise AssertionError(f"{selector} cannot be reached by Tab")

    page.keyboard.type("heavy rain in a street")
    page.keyboard.press("Enter")
    all_ready(page)
    go_to("[aria-label='Play clip 1']")
    page.keyboard.press("Enter")
    expect(page.locator(".player.playing")).to_have_count(1)
    go_to(".take:first-child .take-buttons button")
    page.keyboard.press("Space")
    expect(page.locator(".take.kept")).to_have_count(1)

    page.goto(f"{studio.url}/library.html")
    expect(page.locator(".spine")).to_have_count(4)
    go_to("#words")
    page.keyboard.type("RAIN street")
    expect(page.get_by_text("4 of 4 clips")).to_be_visible()
    page.keyboard.type(" snow")
    expect(page.get_by_text("0 of 4 clips")).to_be_visible()
    page.locator("#words").fill("")
    go_to(".spine")
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog").get_by_text("Seed")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator(".spine").first).to_be_focused()
    page.keyboard.press("Enter")
    go_to(".detail-buttons button:last-child")
    page.keyboard.press("Enter")
    expect(page.locator(".spine")).to_have_count(3)
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator(".spine")).to_have_count(4)


def test_a_clip_of_the_library_is_varied_and_deleted(studio: Studio, visit: Callable) -> None:
    page = visit(studio.url)
    page.route("**/events", lambda route: route.abort())  # without events the page asks again and again
    make(page, "a blue ball")
    all_ready(page)
    page.get_by_role("link", name="Library").click()
    page.locator(".spine").first.click()
    page.get_by_role("button", name="Vary").click()
    all_ready(page, 8)
    expect(page.locator(".sheet")).to_have_count(2)
    page.get_by_role("link", name="Library").click()
    page.locator(".spine").first.click()
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".spine")).to_have_count(7)
    page.get_by_role("link", name="Make").click()  # leaving the page does at once what could still be undone
    expect(page.locator(".take")).to_have_count(7)


def test_a_key_is_asked_for_when_the_server_wants_one(serve: Callable, visit: Callable) -> None:
    studio = serve(stub=True, keys=True)
    secret = studio.service.keys.create("studio", ("generate", "read", "delete"))
    page = visit(studio.url)
    dialog = page.get_by_role("dialog", name="This server asks for a key")
    dialog.get_by_label("API key").fill("hh_wrong")
    page.keyboard.press("Enter")
    expect(dialog.locator("#key-why")).to_contain_text("key")
    dialog.get_by_label("API key").fill(secret if isinstance(secret, str) else secret[0])
    page.keyboard.press("Enter")
    make(page, "a ball")
    all_ready(page)
    take(page, 1).get_by_role("button", name="Play").click()
    expect(page.locator(".player.playing")).to_have_count(1)


def test_a_phone_shows_every_page_in_full(studio: Studio, visit: Callable) -> None:
    page = visit(studio.url, has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})
    make(page, "a-very-long-word-that-does-not-fit-into-the-width-of-any-phone " * 2)
    all_ready(page)
    for path in ("", "library.html", "arena.html"):
        page.goto(f"{studio.url}/{path}")
        expect(page.locator(".take .player, .spine img, .empty").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        small = page.evaluate(
            "() => [...document.querySelectorAll('button, select, summary, nav a, .input')]"
            ".filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 44)"
            ".map((one) => one.outerHTML)"
        )
        assert small == [], path


def test_a_vote_opens_when_both_have_played_and_names_come_after(studio: Studio, visit: Callable, arena: Path) -> None:
    pytest.importorskip("pyloudnorm")
    from happyhorse.arena.arena import Arena

    for name, level in (("alpha", 0.1), ("beta", 0.4)):
        Arena(arena).entries.add(name, clips_of(arena.parent / name, level))
    page = visit(f"{studio.url}/arena.html")
    votes = page.get_by_role("group", name="Which is better?").get_by_role("button")
    expect(votes).to_have_count(4)
    page.keyboard.press("ArrowLeft")
    page.get_by_role("button", name="Play left clip").click()
    expect(page.locator("figcaption").first).to_have_text("played")
    expect(votes.first).to_be_disabled()
    told = page.locator("#match").inner_html()
    assert "alpha" not in told and "beta" not in told
    page.get_by_role("button", name="Play right clip").click()
    expect(votes.first).to_be_enabled()
    page.keyboard.press("ArrowLeft")
    names = [page.locator("figcaption .name").nth(side) for side in (0, 1)]
    expect(names[1]).to_be_visible()
    assert {name.inner_text() for name in names} == {"alpha", "beta"}
    expect(page.locator("#standings > table tbody tr")).to_have_count(2)
    expect(page.get_by_role("button", name="Next match")).to_be_focused()
    page.keyboard.press("Enter")
    expect(votes.first).to_be_disabled()
    recorded = Arena(arena).votes.all()
    assert [(vote.choice, vote.played) for vote in recorded] == [("left", True)] and recorded[0].seconds > 0.8


def clips_of(folder: Path, level: float) -> Path:
    """A model's clip of one prompt."""
    folder.mkdir()
    tone = (level * np.sin(2 * np.pi * 440 * np.arange(12_000) / 24_000)).astype(np.float32)[None]
    write_mp4(folder / "0.mp4", np.full((12, 64, 64, 3), 120, np.uint8), tone, 24, 24_000, "")
    line = {"file": "0.mp4", "prompt": "a red ball bounces", "category": "foley", "board": "text-to-video"}
    (folder / "prompts.jsonl").write_text(json.dumps(line), encoding="utf-8")
    return folder
