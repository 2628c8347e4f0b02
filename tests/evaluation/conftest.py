import pytest
import torch

from happyhorse.codecs.codec import Codecs
from happyhorse.data.scenes.world import FAMILIES
from happyhorse.evaluation.adherence import Probe
from happyhorse.evaluation.instruments import Fitted, Validation
from happyhorse.evaluation.measure import Bench
from happyhorse.evaluation.readings import Instruments
from happyhorse.evaluation.speech import SpeechMatcher

SECONDS = 2.0
SIZE = (64, 64)


class Transparent:
    """A codec that loses nothing."""

    def encode(self, media):
        return media

    def decode(self, latent):
        return latent


class TransparentSound(Transparent):
    """Sound as 64 channels of a frame's samples, the rest of which are left out of the latent but not of the sound."""

    def __init__(self):
        self._sound = None

    def encode(self, media):
        self._sound = media
        return media.unflatten(1, (-1, 1000))[:, :, :64]

    def decode(self, latent):
        return self._sound


class Echo:
    """A recogniser that hears what it is told to."""

    name = "echo"
    fingerprint = "echo"
    languages = ("English", "German", "French", "Korean", "Mandarin", "Cantonese", "Japanese")

    def __init__(self, text=""):
        self.text = text

    def transcribe(self, waveform, language):
        return self.text


@pytest.fixture(scope="session")
def fitted():
    """Instruments of which one probe is trusted, and sees wood wherever it looks."""
    values = FAMILIES["ball"].attributes["surface"]
    always_wood = Probe(values, torch.zeros(1536), torch.zeros(3, 1536), torch.tensor([1.0, 0.0, 0.0]))
    key = ("ball", "surface", "picture")
    return Fitted({key: always_wood}, {}, {key: Validation(1.0, 1.0, 1)})


@pytest.fixture(scope="session")
def matcher():
    return SpeechMatcher(round(SECONDS * 24_000))


@pytest.fixture
def bench(fitted, matcher):
    instruments = Instruments(fitted, matcher, recognisers=(Echo("hello my friend"),))
    return Bench(SIZE, instruments, Codecs(Transparent(), TransparentSound()))
