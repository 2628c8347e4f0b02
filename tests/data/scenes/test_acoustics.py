import pytest
import torch

from happyhorse.data.scenes import acoustics
from happyhorse.data.scenes.acoustics import Timbre
from happyhorse.data.scenes.ball import TIMBRES as IMPACTS
from happyhorse.data.scenes.horse import TIMBRES as HOOVES
from happyhorse.data.scenes.walker import TIMBRES as STEPS

EVERY_TIMBRE = [*IMPACTS.values(), *HOOVES.values(), *STEPS.values()]


def one(timbre: Timbre, events: int = 1) -> torch.Tensor:
    return acoustics.strike(timbre, events, torch.Generator().manual_seed(0), "cpu")


def spectrum_peak(wave: torch.Tensor) -> float:
    return float(torch.fft.rfft(wave).abs().argmax()) * 24_000 / len(wave)


def test_a_mode_rings_at_its_pitch():
    assert spectrum_peak(one(Timbre(((1000, 0.1, 1.0),), length=0.5))[0]) == pytest.approx(1000, abs=4)


def test_a_mode_falls_to_1_over_e_in_its_decay():
    wave = one(Timbre(((1000, 0.05, 1.0),), length=0.5))[0]
    early, late = wave[240:480].square().mean().sqrt(), wave[240 + 1200 : 480 + 1200].square().mean().sqrt()
    assert float(late / early) == pytest.approx(0.3679, abs=0.02)


@pytest.mark.parametrize("timbre", EVERY_TIMBRE)
def test_contacts_start_at_once_and_end_in_silence(timbre: Timbre):
    waves = one(timbre, 4).abs()
    assert (waves[:, :120].amax(1) > 0.25 * waves.amax(1)).all(), "loud within 5 ms"
    assert (waves[:, -5:].amax(1) < 0.01 * waves.amax(1)).all()


def test_surfaces_differ_in_their_colour_of_sound():
    pitch = {}
    for name, timbre in IMPACTS.items():
        power = torch.fft.rfft(one(timbre, 8), n=24_000).abs().square().mean(0)
        pitch[name] = float((power * torch.arange(len(power))).sum() / power.sum())
    assert pitch["wood"] < 600 < pitch["metal"]
    assert pitch["stone"] > 2 * pitch["wood"]
    ring = {name: one(timbre)[0] for name, timbre in IMPACTS.items()}
    after = {name: float(wave[2400:].square().sum() / wave.square().sum()) for name, wave in ring.items()}
    assert after["metal"] > 0.2 > 0.05 > after["wood"] > after["stone"]


def test_band_noise_keeps_to_its_band_at_unit_level():
    noise = torch.randn(2, 24_000, generator=torch.Generator().manual_seed(1))
    shaped = acoustics.band(noise, 1000, 2000)
    power = torch.fft.rfft(shaped).abs().square()
    assert power[:, 800:2500].sum() > 0.95 * power.sum()
    assert float(shaped.square().mean()) == pytest.approx(1, abs=0.1)


def test_events_are_placed_to_the_sample_and_add_up():
    events = torch.ones(1, 3, 10)
    wave = acoustics.place(events, torch.tensor([[0.001, 0.0012, 0.0998]]), 2400)[0]
    assert wave[:24].sum() == 0
    assert wave[24] == 1
    assert wave[29] == 2
    assert wave[2395:].tolist() == [1] * 5, "cut at the end, not wrapped"
    assert wave.sum() == 25


def test_the_limit_only_turns_down():
    loud, soft = torch.tensor([[2.0, -1.0]]), torch.tensor([[0.5, -0.2]])
    assert acoustics.limit(loud).abs().max() == pytest.approx(0.95)
    assert torch.equal(acoustics.limit(soft), soft)
