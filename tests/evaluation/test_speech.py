import pytest
import torch

from happyhorse.codecs import mel
from happyhorse.data.scenes.sentences import LANGUAGES, sentences
from happyhorse.data.scenes.speech import sentence, speak
from happyhorse.evaluation.speech import SpeechMatcher, Utterance, bank_utterances, standing_out

SAMPLES = 96_000


@pytest.fixture(scope="module")
def matcher():
    return SpeechMatcher(SAMPLES)


def said(utterance: Utterance, lead: int = 10) -> torch.Tensor:
    return speak(sentence(utterance.language, utterance.voice, utterance.sentence, lead), SAMPLES)


def hiss(level: float) -> torch.Tensor:
    return level * torch.randn(SAMPLES, generator=torch.Generator().manual_seed(0))


def test_every_sentence_of_the_bank_is_ranked(matcher):
    heard = matcher.rank(hiss(0.1))
    assert {one.utterance for one in heard} == set(bank_utterances())
    assert len(heard) == 2 * sum(len(sentences(language)) for language in LANGUAGES)
    scores = [one.score for one in heard]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("lead", [5, 10, 15])
def test_each_utterance_is_heard_as_itself_wherever_it_begins(matcher, lead):
    for utterance in bank_utterances()[::13]:
        best, second = matcher.rank(said(utterance, lead) + hiss(1e-3))[:2]
        assert best.utterance == utterance
        assert best.score > 0.9 > second.score


def test_a_sentence_is_heard_in_noise_and_at_any_level(matcher):
    utterance = Utterance("French", "woman", sentences("French")[2])
    sound = said(utterance)
    noisy = sound + hiss(float(sound.square().mean().sqrt()))
    assert matcher.rank(noisy)[0].utterance == utterance
    assert matcher.rank(0.05 * noisy)[0].utterance == utterance


def test_a_sentence_is_heard_through_a_coarse_spectrogram(matcher):
    utterance = Utterance("Korean", "man", sentences("Korean")[4])
    spectrum = mel.log_mel(said(utterance)[None])
    coarse = torch.nn.functional.avg_pool2d(spectrum[:, None], 5, 1, 2)[:, 0]
    magnitude = mel.mel_to_magnitude(coarse, mel.inverse_filters())
    sound = mel.griffin_lim(magnitude, 4, torch.Generator().manual_seed(0))[0]
    assert matcher.rank(sound)[0].utterance == utterance


def test_the_beginning_of_a_sentence_is_not_the_sentence(matcher):
    short = Utterance("English", "man", "hello")
    assert matcher.rank(said(short))[0].utterance == short


def test_a_known_voice_narrows_the_choice(matcher):
    heard = matcher.rank(said(Utterance("German", "man", "hallo")), voice="woman")
    assert {one.utterance.voice for one in heard} == {"woman"}


def test_silence_is_like_nothing(matcher):
    assert matcher.rank(torch.zeros(SAMPLES))[0].score < 0.1


def test_what_is_below_the_range_is_zero():
    sound = torch.cat([torch.zeros(12_000), said(bank_utterances()[0])[12_000:]])
    assert (standing_out(sound)[:, :40] == 0).all()
