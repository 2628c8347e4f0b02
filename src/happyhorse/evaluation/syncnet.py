"""SyncNet (Chung and Zisserman 2016) for those who have its weights: LSE-D and LSE-C of talking faces.

Two networks map five frames of a face and the twenty columns of MFCCs that sound with them to one space. LSE-D is the
distance at the best shift of the sound within 15 frames, averaged over the clip (lower is better); LSE-C is how far it
lies below the median over shifts (higher is better). Distances are plain Euclidean ones, not normalised.

It was trained on faces at 25 frames a second cut out by a face tracker. There is none here: the face is taken to fill
the middle of the picture, as the talkers' faces do. Windows whose shifts reach past an end of the clip are left out,
as the published code leaves their distance to zero padding.

Shapes: frames [F, height, width, 3] at 24 per second; waveform [S] at 24 kHz; windows W = frames at 25 per second - 4.
"""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import pickle
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from happyhorse.codecs.images import fit_image
from happyhorse.data.scenes.scene import FPS, SAMPLE_RATE
from happyhorse.data.scenes.speech import resample
from happyhorse.errors import MissingToolError, WeightsError
from happyhorse.evaluation.judge import Judgement
from happyhorse.weights.store import file_hash

FACE_FPS = 25
SOUND_RATE = 16_000
FACE = 224
"""Pixels of a face's side."""
WINDOW = 5
"""Frames of a window."""
COLUMNS = 4
"""Columns of MFCCs per frame."""
SHIFTS = 15
"""Frames by which the sound is shifted either way."""
CHUNK = 20
"""Windows that are looked at together."""


class SyncNet(nn.Module):
    """The two networks, under the names of the published weights."""

    def __init__(self, width: int = 1024) -> None:
        super().__init__()
        self.netcnnaud = nn.Sequential(
            *_layer(nn.Conv2d(1, 64, 3, padding=1)),
            nn.MaxPool2d(1, 1),
            *_layer(nn.Conv2d(64, 192, 3, padding=1)),
            nn.MaxPool2d(3, (1, 2)),
            *_layer(nn.Conv2d(192, 384, 3, padding=1)),
            *_layer(nn.Conv2d(384, 256, 3, padding=1)),
            *_layer(nn.Conv2d(256, 256, 3, padding=1)),
            nn.MaxPool2d(3, 2),
            *_layer(nn.Conv2d(256, 512, (5, 4))),
        )
        flat = (1, 3, 3)
        self.netcnnlip = nn.Sequential(
            *_layer(nn.Conv3d(3, 96, (5, 7, 7), (1, 2, 2))),
            nn.MaxPool3d(flat, (1, 2, 2)),
            *_layer(nn.Conv3d(96, 256, (1, 5, 5), (1, 2, 2), (0, 1, 1))),
            nn.MaxPool3d(flat, (1, 2, 2), (0, 1, 1)),
            *_layer(nn.Conv3d(256, 256, flat, padding=(0, 1, 1))),
            *_layer(nn.Conv3d(256, 256, flat, padding=(0, 1, 1))),
            *_layer(nn.Conv3d(256, 256, flat, padding=(0, 1, 1))),
            nn.MaxPool3d(flat, (1, 2, 2)),
            *_layer(nn.Conv3d(256, 512, (1, 6, 6))),
        )
        self.netfcaud, self.netfclip = _head(width), _head(width)

    def lips(self, frames: Tensor) -> Tensor:
        """Frames [1, 3, W + 4, 224, 224] to [W, width]; only the first layer looks at more than one frame."""
        return self.netfclip(self.netcnnlip(frames)[0, :, :, 0, 0].T)

    def sound(self, windows: Tensor) -> Tensor:
        """MFCCs [W, 1, 13, 20] to [W, width]."""
        return self.netfcaud(self.netcnnaud(windows).flatten(1))


def _layer(convolution: nn.Conv2d | nn.Conv3d) -> tuple[nn.Module, ...]:
    norm = nn.BatchNorm2d if isinstance(convolution, nn.Conv2d) else nn.BatchNorm3d
    return convolution, norm(convolution.out_channels), nn.ReLU(inplace=True)


def _head(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(512, 512), nn.BatchNorm1d(512), nn.ReLU(), nn.Linear(512, width))


# -------------------------------------------------------------------------------------------------------------- scores


@dataclasses.dataclass(frozen=True)
class LipSyncError:
    """What the distances of all windows and shifts come to."""

    distance: float
    """LSE-D."""
    confidence: float
    """LSE-C."""
    late: int
    """Frames at 25 per second by which the sound comes after the lips, at the least distance."""


def lip_sync_error(lips: Tensor, sound: Tensor, shifts: int = SHIFTS) -> LipSyncError:
    """Scores of embeddings [W, D]; W > 2 ``shifts``."""
    used = range(shifts, len(lips) - shifts)
    assert len(used), f"{len(lips)} windows are too few for shifts of {shifts}"
    inner = lips[shifts : len(lips) - shifts]
    moved = [sound[shifts + shift : len(sound) - shifts + shift] for shift in range(-shifts, shifts + 1)]
    distances = torch.stack([(inner - other).norm(dim=1).mean() for other in moved])
    best = int(distances.argmin())
    return LipSyncError(float(distances[best]), float(distances.median() - distances[best]), best - shifts)


# -------------------------------------------------------------------------------------------------------------- inputs


def faces(frames: NDArray[np.uint8]) -> Tensor:
    """The middle of each frame at 25 per second, [1, 3, F', 224, 224] in 0..255, blue first."""
    count = round(len(frames) * FACE_FPS / FPS)
    nearest = np.minimum((np.arange(count) * FPS / FACE_FPS).round().astype(int), len(frames) - 1)
    sized = np.stack([fit_image(frame, FACE, FACE) for frame in frames])[nearest]
    return torch.from_numpy(sized[..., ::-1].copy()).permute(3, 0, 1, 2)[None].float()


def cepstra(waveform: NDArray[np.floating]) -> Tensor:
    """Thirteen MFCCs, a hundred columns a second, [1, 13, columns], of 16-bit levels as SyncNet was trained on."""
    library = importlib.import_module("python_speech_features")
    sound = resample(torch.from_numpy(np.asarray(waveform, np.float32)), SAMPLE_RATE, SOUND_RATE).numpy()
    return torch.from_numpy(library.mfcc((sound.clip(-1, 1) * 32767).astype(np.int16), SOUND_RATE).T)[None].float()


class SyncNetJudge:
    """SyncNet with the weights of a file."""

    name = "SyncNet"
    families = ("talker",)

    def __init__(self, weights: Path) -> None:
        """MissingToolError without python_speech_features; WeightsError for a file that is missing or does not fit."""
        if importlib.util.find_spec("python_speech_features") is None:
            raise MissingToolError("SyncNet needs its MFCCs: pip install python_speech_features")
        self.model = load_syncnet(weights)
        self.fingerprint = file_hash(weights)

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8], waveform: NDArray[np.floating]) -> list[Judgement]:
        pictures, columns = faces(frames), cepstra(waveform)
        windows = min(pictures.shape[2] - WINDOW, columns.shape[2] // COLUMNS - WINDOW) + 1
        if windows <= 2 * SHIFTS:
            return []
        starts = range(0, windows, CHUNK)
        lips = [self.model.lips(pictures[:, :, at : min(at + CHUNK, windows) + WINDOW - 1]) for at in starts]
        heard = columns.unfold(2, WINDOW * COLUMNS, COLUMNS)[0].transpose(0, 1)[:windows, None]
        sound = [self.model.sound(heard[at : at + CHUNK]) for at in starts]
        found = lip_sync_error(torch.cat(lips), torch.cat(sound))
        near = float(abs(found.late) <= 1)
        return [
            Judgement("SyncNet LSE-D", found.distance),
            Judgement("SyncNet LSE-C", found.confidence),
            Judgement("SyncNet: voice within a frame", near),
        ]


def load_syncnet(path: Path) -> SyncNet:
    """SyncNet with the published weights. Raises WeightsError if the file is missing, damaged or something else."""
    model = SyncNet()
    try:
        model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise WeightsError(f"{path} was not found or may not be read; give SyncNet's weights") from error
    except (RuntimeError, pickle.UnpicklingError, TypeError, AttributeError, EOFError) as error:
        raise WeightsError(f"{path} does not hold SyncNet's weights") from error
    return model.eval()
