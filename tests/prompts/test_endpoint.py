import base64
import json
import socket

import numpy as np
import pytest

from happyhorse.codecs.images import read_image, write_png
from happyhorse.errors import ConfigError, MediaError
from happyhorse.prompts.endpoint import IMAGE_SIDE_MAX, KEY, MODEL, URL, Endpoint, ask, find_endpoint, image_part

HELLO = [{"role": "user", "content": "héllo"}]
SECRET = "sk-very-secret-1234"


def test_the_endpoint_comes_from_arguments_then_from_the_environment():
    environment = {URL: "http://a/v1", MODEL: "big", KEY: f"{SECRET}\n"}
    assert find_endpoint(environment=environment) == Endpoint("http://a/v1", "big", SECRET)
    given = find_endpoint("http://b/v1", "small", "other", environment)
    assert (given.url, given.model, given.key) == ("http://b/v1", "small", "other")
    assert find_endpoint(environment={URL: "http://a", MODEL: "m"}).key == ""


def test_without_an_endpoint_it_says_what_to_set():
    with pytest.raises(ConfigError, match=f"set {URL} and {MODEL}"):
        find_endpoint(environment={KEY: SECRET})
    with pytest.raises(ConfigError, match=f"set {MODEL} to"):
        find_endpoint(environment={URL: "http://a/v1", MODEL: " "})


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://a:80/v1", "http://a:80/v1/chat/completions"),
        ("https://a/v1/", "https://a/v1/chat/completions"),
        ("https://a/v1/chat/completions", "https://a/v1/chat/completions"),
        ("https://[::1]/x?version=2#top", "https://[::1]/x/chat/completions?version=2"),
    ],
)
def test_the_address_of_the_chat_is_made_of_the_base(url, address):
    endpoint = Endpoint(url, "m")
    assert endpoint.address == address
    assert endpoint.shown == address.partition("?")[0]


@pytest.mark.parametrize(
    "url",
    ["", "a/v1", "file:///etc/passwd", "http://", "http://a:b", "http://a:0", "http://[a", "http://ä/v1", "http://a b"],
)
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ConfigError, match="no address of an endpoint"):
        Endpoint(url, "m")


def test_a_key_is_shown_nowhere():
    assert SECRET not in repr(Endpoint("http://a/v1", "m", SECRET))
    with pytest.raises(ConfigError) as refused:
        Endpoint("http://a/v1", "m", f"{SECRET}\nX: y")
    assert SECRET not in str(refused.value)
    with pytest.raises(ConfigError) as refused:
        Endpoint(f"http://me:{SECRET}@a/v1", "m")
    assert SECRET not in str(refused.value)


def test_a_question_gets_its_answer(played):
    played.answers = ["hällo", "again"]
    assert ask(played.endpoint(SECRET), HELLO) == "hällo"
    assert played.asked == [{"model": "little", "messages": HELLO, "temperature": 0.0, "stream": False}]
    assert played.paths == ["/v1/chat/completions"]
    assert played.headers[0]["Authorization"] == f"Bearer {SECRET}"
    assert ask(played.endpoint(), HELLO) == "again"
    assert "Authorization" not in played.headers[1]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (
            401,
            json.dumps({"error": {"message": f"bad key {SECRET}"}}).encode(),
            f"401: bad key [key]; check the key in {KEY}",
        ),
        (404, b'{"error": "no such model"}', '404: {"error": "no such model"}; check the address'),
        (429, b"", "429: Too Many Requests; wait a while"),
        (500, b"<html>\n\x1b[31moh" + b"x" * 5000, "500: <html> [31mohxxx"),
        (418, b"tea", "418: tea; check the address"),
    ],
)
def test_a_refusal_gives_its_number_first_words_and_a_way_out(played, status, body, words):
    played.answers = [(status, body)]
    with pytest.raises(ConfigError) as refused:
        ask(played.endpoint(SECRET), HELLO)
    assert words in str(refused.value)
    assert SECRET not in str(refused.value)
    assert len(str(refused.value)) < 350
    assert "\n" not in str(refused.value)


def test_a_redirect_is_not_followed(played):
    played.answers = [lambda handler: handler.reply(302, b"", Location=f"{played.url}/elsewhere")]
    with pytest.raises(ConfigError, match="answered 302: Found"):
        ask(played.endpoint(SECRET), HELLO)
    assert len(played.paths) == 1


def test_nobody_is_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refused, and nobody else's
        with pytest.raises(ConfigError, match="cannot be reached"):
            ask(Endpoint(f"http://127.0.0.1:{taken.getsockname()[1]}/v1", "m"), HELLO)


def test_a_connection_that_breaks_is_said(played):
    played.answers = [lambda handler: handler.connection.close()]
    with pytest.raises(ConfigError, match="cannot be reached"):
        ask(played.endpoint(), HELLO)


def test_a_slow_answer_is_not_waited_for(played):
    played.answers = [lambda handler: played.over.wait(5)]
    with pytest.raises(ConfigError, match=r"did not answer within 0\.2 s"):
        ask(played.endpoint(seconds=0.2), HELLO)


def test_an_answer_that_trickles_is_not_waited_for(played):
    def trickle(handler):
        handler.reply(200, b"", **{"Content-Length": "1000"})
        while not played.over.wait(0.05):
            handler.wfile.write(b" ")

    played.answers = [trickle]
    with pytest.raises(ConfigError, match=r"did not answer within 0\.2 s"):
        ask(played.endpoint(seconds=0.2), HELLO)


def test_an_endless_answer_is_cut(played, monkeypatch):
    monkeypatch.setattr("happyhorse.prompts.endpoint.ANSWER_BYTES_MAX", 1000)
    played.answers = [b"x" * 2000]
    with pytest.raises(ConfigError, match="its answer has more than"):
        ask(played.endpoint(), HELLO)


@pytest.mark.parametrize(
    "body",
    [
        b"<html>hi</html>",
        b"",
        b"{}",
        b"[]",
        b'{"choices": []}',
        b'{"choices": [{"message": {"content": null}}]}',
        b"[" * 10**5,
    ],
)
def test_what_is_no_chat_completion_is_said(played, body):
    played.answers = [body]
    with pytest.raises(ConfigError, match="answered no chat completion"):
        ask(played.endpoint(), HELLO)


def test_an_image_is_sent_small_and_without_what_the_file_says_besides(tmp_path):
    row = np.linspace(0, 255, 2000).astype(np.uint8)
    write_png(tmp_path / "wide.png", np.repeat(np.tile(row, (100, 1))[..., None], 3, axis=2))
    part = image_part(tmp_path / "wide.png")
    head, data = part["image_url"]["url"].split(",")
    assert head == "data:image/jpeg;base64"
    (tmp_path / "sent.jpg").write_bytes(base64.b64decode(data))
    assert read_image(tmp_path / "sent.jpg").shape == (50, IMAGE_SIDE_MAX, 3)


def test_what_is_no_image_is_refused(tmp_path):
    with pytest.raises(MediaError, match="not found"):
        image_part(tmp_path / "none.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(MediaError):
        image_part(tmp_path / "text.png")
