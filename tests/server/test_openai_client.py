"""The published client of the /v1/videos dialect, against a server on a real port."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi")
pytest.importorskip("openai")

import openai
import uvicorn

from happyhorse.cli.serve import listen
from happyhorse.clip import read_recipe
from happyhorse.codecs.images import jpeg
from happyhorse.server.app import create_app
from happyhorse.server.keys import Keys
from happyhorse.server.settings import Settings
from happyhorse.server.worker import Worker, makers_of

# The hosted service behind this client is closed, of which it warns.
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """Its server asks for a key, and has a worker with stub clips in a thread."""
    folder = tmp_path_factory.mktemp("service")
    key = Keys(folder).create("test", ("admin",))
    app = create_app(Settings(folder=folder, stub=True, keys=True, per_minute=6000, burst=100))
    service, listening = app.state.service, listen("127.0.0.1", 0)
    worker = Worker(service.queue, service.blobs, makers_of(service.offers, "cpu", True))
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    making = threading.Thread(target=worker.run)
    making.start()
    serving = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    serving.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
    yield openai.OpenAI(api_key=key, base_url=url, max_retries=0, timeout=60)
    worker.stop()
    making.join()
    server.should_exit = True
    serving.join()
    listening.close()


def test_a_clip_is_created_polled_and_downloaded(client, tmp_path: Path) -> None:
    video = client.videos.create_and_poll(
        prompt="a red ball bounces on wood", model="foal", seconds="4", size="160x96", poll_interval_ms=50
    )
    assert (video.status, video.progress, video.object, video.model) == ("completed", 100, "video", "foal")
    assert video.error is None and video.completed_at >= video.created_at
    client.videos.download_content(video.id).write_to_file(tmp_path / "clip.mp4")
    assert read_recipe(tmp_path / "clip.mp4")["prompt"] == "a red ball bounces on wood"
    assert client.videos.download_content(video.id, variant="thumbnail").content[:2] == b"\xff\xd8"

    remix = client.videos.remix(video.id, prompt="a blue ball bounces on wood")
    assert remix.remixed_from_video_id == video.id
    assert client.videos.poll(remix.id, poll_interval_ms=50).status == "completed"
    film = ("clip.mp4", (tmp_path / "clip.mp4").read_bytes(), "video/mp4")
    longer = client.videos.extend(video=film, prompt="it rolls away", seconds="4")
    assert float(longer.seconds) > 4 and client.videos.poll(longer.id, poll_interval_ms=50).status == "completed"
    sound = client.videos.edit(video=film, prompt="a bell", extra_body={"generate_sound": True})
    assert client.videos.poll(sound.id, poll_interval_ms=50).status == "completed"

    listed = [found.id for found in client.videos.list(limit=2)]
    assert listed[::-1] == [video.id, remix.id, longer.id, sound.id]
    assert client.videos.delete(video.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.videos.retrieve(video.id)


def test_an_image_and_further_fields_go_with_it(client) -> None:
    picture = ("frame.jpg", jpeg(np.full((64, 96, 3), 128, np.uint8)), "image/jpeg")
    video = client.videos.create(prompt="a ball", input_reference=picture, extra_body={"seed": 7, "n": 2})
    assert (video.size, video.seed, len(video.data)) == ("160x96", 7, 2)


def test_refusals_become_the_client_s_errors(client) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(prompt="a ball", size="1280x720")
    assert refused.value.param == "size" and "nearest" in refused.value.message
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.create(prompt="a ball", extra_body={"lora": {"name": "x", "scale": 1}})
    assert refused.value.param == "lora" and refused.value.code == "unknown_field"
    with pytest.raises(openai.NotFoundError):
        client.videos.create(prompt="a ball", model="sora-2")
    with pytest.raises(openai.AuthenticationError):
        client.with_options(api_key="hh_" + "x" * 32).videos.list()


def test_models_are_listed(client) -> None:
    assert [model.id for model in client.models.list()] == ["foal"]
