import json

import pytest

from happyhorse.cli.models import Machine, fit, list_models, pull_model, remove_model, this_machine, verify_model
from happyhorse.errors import WeightsError
from happyhorse.weights import hub, kept
from happyhorse.weights.catalogue import MODELS, SHARED, find
from happyhorse.weights.kept import State

GIB = 2**30
NOTHING, ALL = (
    State("absent", 0, None, 0, tuple(p.name for p in MODELS[0].parts.values())),
    State("complete", 9, 9, 9, ()),
)


@pytest.fixture
def lay(models):
    """Puts a file of 100 bytes with a record into the folder of every part of the models that are named."""

    def go(*names):
        for part in (part for name in names for part in find(name).parts.values()):
            folder = models / part.name
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "weights").write_bytes(bytes(100))
            sha256 = "cd00e292c5970d3c5e2f0ffa5171e555bc46bfc4faddfb4a418b6840b86e79a3"
            kept.write_record(folder, part, [kept.WantedFile("weights", 100, sha256)])

    return go


@pytest.fixture
def hub_gives(monkeypatch, lay):
    """Lets ``pull`` lay the files of a model, or raise an error, without a network."""

    def go(error=None):
        def pull(model, progress):
            progress(0, 200, "")
            progress(150, 200, "folder/a.safetensors")
            progress(200, 200, "folder/a.safetensors")
            if error:
                raise error
            lay(model.name)
            return kept.state(model)

        monkeypatch.setattr(hub, "pull", pull)

    return go


# ------------------------------------------------------------------------------------------------------------- the list
def test_every_model_has_a_line_of_json(lay, capsys):
    lay("magihuman-distill")
    list_models(as_json=True)
    rows = {row["name"]: row for row in map(json.loads, capsys.readouterr().out.splitlines())}
    assert list(rows) == ["foal", "foal-base", *(model.name for model in (*MODELS, *SHARED))]
    assert {name: row["here"] for name, row in rows.items()} == {
        "foal": "complete",
        "foal-base": "complete",
        "magihuman-base": "lacks magihuman-base",
        "magihuman-distill": "complete",
        "magihuman-540p": "absent",
        "magihuman-1080p": "absent",
        **{shared.name: "complete" for shared in SHARED},
    }
    assert rows["magihuman-distill"]["bytes_here"] == 500 and rows["magihuman-distill"]["size"] == "500 bytes"
    assert rows["magihuman-540p"]["size"] == "57.0 GiB"
    assert rows["foal"]["fits"] == "yes" and rows["foal"]["bytes_here"] > 1e6
    assert "Gemma" in rows["magihuman-base"]["licence"]
    assert rows["magihuman-base"]["gated"] == ["t5gemma", "stable-audio"] and rows["foal"]["gated"] == []


def test_the_table_says_where_weights_lie(models, capsys):
    list_models(as_json=False)
    shown = capsys.readouterr().out
    assert str(models) in shown
    for name in ("foal-base", "magihuman-1080p", "stable-audio", "licence", "fits"):
        assert name in shown


@pytest.mark.parametrize(
    ("machine", "here", "word", "why"),
    [
        (Machine(10 * GIB, 64 * GIB, 80 * GIB), NOTHING, "no", "70.8 GiB to fetch, 10.0 GiB free"),
        (Machine(10 * GIB, 64 * GIB, 80 * GIB), ALL, "yes", "takes 32.8 GiB of the GPU's 80.0 GiB"),
        (Machine(200 * GIB, 64 * GIB, 24 * GIB), NOTHING, "yes", "streamed through the GPU's 24.0 GiB"),
        (Machine(200 * GIB, 64 * GIB, 6 * GIB), ALL, "slow", "on the CPU"),
        (Machine(200 * GIB, 16 * GIB, 0), ALL, "slow", "layers read from disk in every step"),
        (Machine(200 * GIB, 4 * GIB, 0), ALL, "no", "the machine has 4.0 GiB"),
    ],
)
def test_whether_a_model_fits(machine, here, word, why):
    assert fit(MODELS[0], here, machine)[0] == word
    assert why in fit(MODELS[0], here, machine)[1]


def test_what_is_here_needs_no_room_and_shared_parts_need_no_gpu():
    begun = State("partial", 7, 16, 60 * GIB, ("magihuman-base", "t5gemma"))
    assert fit(MODELS[0], begun, Machine(11 * GIB, 64 * GIB, 80 * GIB))[0] == "yes"
    lacking = State("partial", 9, None, 5 * GIB, ("magihuman-base",))
    assert "28.5 GiB to fetch" in fit(MODELS[0], lacking, Machine(11 * GIB, 64 * GIB, 80 * GIB))[1]
    assert fit(find("wan-vae"), State("absent", 0, None, 0, ("wan-vae",)), Machine(3 * GIB, 0, 0)) == ("yes", "")


def test_this_machine_is_looked_at_though_the_folder_is_not_there_yet():
    machine = this_machine()
    assert machine.disk > 0 and machine.memory > 0 and machine.gpu >= 0


# ---------------------------------------------------------------------------------------------- pull, verify and remove
def test_a_pull_says_what_it_does(hub_gives, models, capsys):
    hub_gives()
    assert pull_model("magihuman-base") == 0
    said = capsys.readouterr()
    assert said.out == f"magihuman-base is complete: 5 files, 500 bytes, in {models}\n"
    first, second = said.err.splitlines()
    assert "over 70.8 GiB" in first and "Gemma terms of use" in first
    assert second == "150 bytes of 200 bytes: a.safetensors"


def test_an_enlarger_without_a_model_to_enlarge_for(hub_gives, lay, capsys):
    hub_gives()
    assert pull_model("magihuman-540p") == 0
    assert "works beside magihuman-base or magihuman-distill" in capsys.readouterr().err
    lay("magihuman-distill")
    assert pull_model("magihuman-1080p") == 0
    assert "beside" not in capsys.readouterr().err


def test_a_pull_that_is_stopped_or_refused(hub_gives, capsys):
    hub_gives(KeyboardInterrupt())
    assert pull_model("magihuman-base") == 130
    assert "what was fetched is kept, and happyhorse pull magihuman-base goes on" in capsys.readouterr().err
    hub_gives(WeightsError("gated"))
    with pytest.raises(WeightsError, match="gated"):
        pull_model("magihuman-base")


def test_verified_and_damaged_files(lay, models, capsys):
    lay("magihuman-base")
    assert verify_model("magihuman-base", quick=False) == 0
    assert capsys.readouterr().out == "magihuman-base: 5 files, 500 bytes, hashes verified\n"
    (models / "turbo-vae" / "weights").write_bytes(b"1" * 100)
    (models / "wan-vae" / "weights").write_bytes(b"1" * 60)
    assert verify_model("magihuman-base", quick=True) == 2
    assert capsys.readouterr().out == "wan-vae/weights is truncated: 60 bytes instead of 100\n"
    assert verify_model("magihuman-base", quick=False) == 2
    said = capsys.readouterr()
    assert [line.split()[0] for line in said.out.splitlines()] == ["wan-vae/weights", "turbo-vae/weights"]
    assert said.err.splitlines()[-1].endswith("mend them with: happyhorse pull magihuman-base")
    assert verify_model("t5gemma", quick=True) == 0


def test_what_is_removed_and_what_stays(lay, models, capsys):
    lay("magihuman-base", "magihuman-distill")
    remove_model("magihuman-base", force=False)
    said = capsys.readouterr()
    assert said.out == "removed magihuman-base: 100 bytes freed\n"
    assert "note: t5gemma stays, since magihuman-distill uses it" in said.err
    with pytest.raises(WeightsError, match="is used by magihuman-distill"):
        remove_model("wan-vae", force=False)
    remove_model("wan-vae", force=True)
    assert not (models / "wan-vae").exists()


def test_names_that_are_refused():
    for command in (pull_model, lambda name: verify_model(name, True), lambda name: remove_model(name, False)):
        with pytest.raises(WeightsError, match="foal is part of this package"):
            command("foal")
        with pytest.raises(WeightsError, match="no public weights called 'pony'; known are magihuman-base"):
            command("pony")
