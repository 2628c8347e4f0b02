import json

import pytest
import torch

from happyhorse.errors import DeviceMemoryError, WeightsError
from happyhorse.memory.plan import Plan, Room, Seat, plan
from happyhorse.memory.rows import ChunkedMLP
from happyhorse.sampling import public_parts
from happyhorse.sampling.public_parts import Choice, choose, enlarger_for, load_public, placement_for
from happyhorse.sampling.public_request import make_public_request
from happyhorse.sampling.published import BASE, DISTILL, PublishedShape
from happyhorse.weights.convert import convert, converted_folder
from happyhorse.weights.registry import public

CPU = torch.device("cpu")
PLENTY = Room(2**40, 2**40)


def request(**changes):
    return make_public_request("a horse", DISTILL, **{"seconds": 1, "size": (64, 64), "seed": 1, "steps": 2, **changes})


def make(choice: Choice, asked, room: Room = PLENTY):
    placement = placement_for(choice, asked, False, room)
    return load_public(choice, placement, CPU).make(asked)


# --------------------------------------------------------------------------------------------------------- from files
def test_a_clip_from_the_authors_own_files(public_models):
    clip = make(choose("magihuman-distill", request()), request())
    assert clip.frames.shape == (25, 64, 64, 3) and clip.audio.shape == (2, 44_100)
    assert clip.recipe["model"] == "magihuman-distill"
    again = make(choose("magihuman-distill", request()), request())
    assert (again.frames == clip.frames).all() and again.recipe == clip.recipe
    guided = make_public_request("a horse", BASE, negative="rain", seconds=1, size=(64, 64), seed=1, steps=2)
    other = make(choose("magihuman-base", guided), guided)
    assert other.recipe["weights"] != clip.recipe["weights"]


def test_every_module_holds_what_its_file_says(public_models, golden):
    text = public_parts.load_text(public_models / "t5gemma", CPU)
    assert text.dtype == torch.bfloat16
    image = public_parts.load_image(public_models / "wan-vae", CPU)
    assert next(image.parameters()).dtype == torch.bfloat16
    case = golden("wan_vae")
    found = image.encode(case["image"])  # type: ignore[operator]
    assert case.relative_l2("image_latent", found) < 0.03
    picture = public_parts.load_picture(public_models / "turbo-vae", CPU)
    name, value = next(iter(golden("turbo_vae_weights").items()))
    assert torch.equal(picture.state_dict()[name], value.bfloat16())
    sound, case = public_parts.load_sound(public_models / "stable-audio", CPU), golden("audio_vae")
    assert case.error("waveform", sound.decode(case["latent"].transpose(1, 2))) < 1e-4  # type: ignore[operator]


def test_layers_work_on_some_rows_at_a_time(public_models):
    weights = public("magihuman-distill")
    model = public_parts.load_transformer(weights.folders["transformer"], "magihuman-distill", "distill", "bf16", CPU)
    assert all(isinstance(layer.mlp, ChunkedMLP) for layer in model.block.layers)  # type: ignore


def test_converted_weights_are_used_when_they_are_asked_for(public_models):
    with pytest.raises(WeightsError, match="happyhorse convert magihuman-distill --format int8"):
        make(choose("magihuman-distill", request(), "int8"), request())
    folder = converted_folder("magihuman-distill", "int8")
    convert(public_models / "magihuman-distill", folder, "int8")
    clip = make(choose("magihuman-distill", request(), "int8"), request())
    plain = make(choose("magihuman-distill", request()), request())
    assert clip.frames.shape == plain.frames.shape
    assert clip.recipe["weights"] != plain.recipe["weights"]
    difference = abs(clip.latents.video - plain.latents.video).mean()  # type: ignore[union-attr]
    assert 0 < difference < 0.1


def test_a_converted_copy_of_another_model_is_refused(public_models):
    convert(public_models / "magihuman-540p", converted_folder("magihuman-distill", "int8"), "int8")
    with pytest.raises(WeightsError, match="is not magihuman-distill in int8"):
        make(choose("magihuman-distill", request(), "int8"), request())


# ------------------------------------------------------------------------------------------------ what is not there
def test_what_is_missing_is_named_with_the_command_that_gets_it(public_models):
    (public_models / "magihuman-1080p" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="happyhorse pull magihuman-1080p"):
        choose("magihuman-distill", request(render="1080p"))
    assert choose("magihuman-distill", request(render="720p")).enlarger_kind == "540p"
    with pytest.raises(WeightsError, match="makes no clips by itself"):
        choose("magihuman-540p", request())


def test_files_that_are_not_what_they_should_be(public_models):
    with pytest.raises(WeightsError, match="cannot be read as JSON"):
        path = public_models / "turbo-vae" / "TurboV3-Wan22-TinyShallow_7_7.json"
        path.write_text("{")
        public_parts.load_picture(path.parent, CPU)
    with pytest.raises(WeightsError, match="no readable tokenizer"):
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (public_models / "t5gemma" / name).write_text("{")
        public_parts.load_tokenizer(public_models / "t5gemma")


def test_which_enlarger_a_size_takes():
    assert enlarger_for(PublishedShape(5, 512, 896)) == "540p"
    assert enlarger_for(PublishedShape(5, 704, 1280)) == "540p"
    assert enlarger_for(PublishedShape(5, 1088, 1920)) == "1080p"


# ------------------------------------------------------------------------------------------------------------ planning
def test_a_plan_has_a_seat_for_every_stage(public_models):
    asked = request(render=(96, 96))
    placement = placement_for(choose("magihuman-distill", asked), asked, True, PLENTY)
    assert [seat.stage.name for seat in placement.seats] == ["text", "image", "generate", "render", "picture", "sound"]
    assert [seat.mode for seat in placement.seats] == ["resident"] * 6
    assert placement.seat("generate").stage.passes == 2


def test_on_a_cpu_nothing_is_streamed_but_from_disk(public_models):
    asked = request()
    choice = choose("magihuman-distill", asked)
    needed = public_parts.stages("distill", asked, False, "bf16", public_parts.text_config(choice))
    least = max(stage.least for stage in needed)
    placement = placement_for(choice, asked, False, Room(int(least / 0.94) + 1000, 0))
    assert {seat.mode for seat in placement.seats} <= {"in turn", "resident", "from disk"}
    assert not any(seat.kept for seat in placement.seats if seat.mode == "in turn")
    with pytest.raises(DeviceMemoryError, match="are missing"):
        placement_for(choice, asked, False, Room(least // 2, 0))


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("number_format", ["bf16", "int8"])
def test_every_placement_makes_the_same_clip(public_models, number_format, device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    asked, place, name = request(), torch.device(device), "magihuman-distill"
    if number_format != "bf16":
        convert(public_models / name, converted_folder(name, number_format), number_format)
    choice = choose(name, asked, number_format)
    needed = public_parts.stages("distill", asked, False, number_format, public_parts.text_config(choice))
    everything = Plan(tuple(Seat(stage, "resident") for stage in needed))
    expected = load_public(choice, everything, place).make(asked)
    for mode in ("in turn", "streamed", "from disk"):
        seats = [Seat(stage, mode if stage.layers or mode == "in turn" else "resident", kept=False) for stage in needed]
        clip = load_public(choice, Plan(tuple(seats)), place).make(asked)
        assert (clip.frames == expected.frames).all() and (clip.audio == expected.audio).all(), mode


def test_plans_of_shrinking_room_go_through_all_modes(public_models):
    asked = request()
    every = public_parts.stages("distill", asked, False, "bf16", public_parts.T5GEMMA_9B)
    needed = [stage for stage in every if stage.layers]
    least, most = max(stage.least for stage in needed), sum(stage.whole for stage in needed)
    seen = set()
    for host in (2**40, 0):
        for share in (0, 0.02, 0.1, 1):
            placement = plan(needed, Room(int((least + share * (most - least)) / 0.94) + 1000, host))
            seen |= {seat.mode for seat in placement.seats}
            assert placement.peak <= (least + share * (most - least)) + 2000
    assert seen == {"resident", "in turn", "streamed", "from disk"}


def test_smaller_formats_need_less(public_models):
    asked = request()
    sizes = {
        number_format: next(
            stage.weights
            for stage in public_parts.stages("distill", asked, False, number_format, public_parts.T5GEMMA_9B)
            if stage.name == "generate"
        )
        for number_format in ("bf16", "int8", "fp8")
    }
    assert sizes["int8"] == sizes["fp8"] < sizes["bf16"]
    json.dumps(sizes)
