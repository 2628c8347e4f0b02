import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from happyhorse.cli.prompt import write_prompt
from happyhorse.errors import ConfigError, PromptError
from happyhorse.prompts.structure import Line, StructuredPrompt, parse

ANSWER = {"description": 'A man says, "oui".', "dialogue": [], "background": "Rain"}
ANSWER["dialogue"] = [{"speaker": "Man", "language": "French", "text": "oui"}]


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    for name in ("URL", "MODEL", "KEY"):
        monkeypatch.delenv(f"HAPPYHORSE_LLM_{name}", raising=False)


def write(short, rewrite=False, url=None, model=None, image=None, as_json=False):
    write_prompt(short, rewrite, url, model, image, as_json)


def test_the_prompt_goes_to_stdout_and_notes_to_stderr(capsys):
    write('a man says "Guten Morgen" in the rain')
    said = capsys.readouterr()
    assert parse(said.out) == StructuredPrompt(
        'a man says "Guten Morgen" in the rain', (Line("Man", "English", "Guten Morgen"),)
    )
    notes = said.err.splitlines()
    assert all(note.startswith("note: ") for note in notes)
    assert 'taken to be English: "Guten Morgen"' in notes[0]
    assert "8 words" in notes[1]
    assert "no background sound" in notes[2]


def test_json_is_one_line_with_all_parts(capsys):
    write('a man says in Mandarin "你好"', as_json=True)
    out = capsys.readouterr().out
    assert len(out.splitlines()) == 1
    parts = json.loads(out)
    assert parts["dialogue"] == [{"speaker": "Man", "language": "Mandarin", "text": "你 好"}]
    assert parse(parts["prompt"]).description == parts["description"]
    assert parts["background"] == ""
    assert len(parts["notes"]) == 2


def test_rewriting_is_off_until_it_is_asked_for(tmp_path):
    with pytest.raises(ConfigError, match="--url and --model is for a language model: add --rewrite"):
        write("a horse", url="http://127.0.0.1/v1", model="m")
    with pytest.raises(ConfigError, match="--image"):
        write("a horse", image=tmp_path / "a.png")
    with pytest.raises(ConfigError, match="HAPPYHORSE_LLM_URL and HAPPYHORSE_LLM_MODEL"):
        write("a horse", rewrite=True)


def test_an_empty_prompt_prints_nothing(capsys):
    with pytest.raises(PromptError, match="empty"):
        write(" ")
    assert capsys.readouterr().out == ""


def test_a_language_model_is_asked_by_the_environment(monkeypatch, capsys):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers["Content-Length"]))
            body = json.dumps({"choices": [{"message": {"content": json.dumps(ANSWER)}}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setenv("HAPPYHORSE_LLM_URL", f"http://127.0.0.1:{server.server_port}/v1")
        monkeypatch.setenv("HAPPYHORSE_LLM_MODEL", "little")
        write('a man says "oui"', rewrite=True)
    said = capsys.readouterr()
    assert parse(said.out) == StructuredPrompt('A man says, "oui".', (Line("Man", "French", "oui"),), "Rain")
    assert "taken to be" not in said.err
    assert "4 words" in said.err
