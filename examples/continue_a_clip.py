"""A clip goes on where it ended: its last frame is the first of the next. python examples/continue_a_clip.py"""

import numpy as np

from happyhorse import Clip, Pipeline

PROMPT = "heavy rain in a street"

pipe = Pipeline.from_pretrained("foal")
first = pipe(PROMPT, seconds=2, seed=1)
second = pipe(PROMPT, seconds=2, seed=2, image=first.frames[-1])
frames = np.concatenate([first.frames, second.frames[1:]])
audio = np.concatenate([first.audio, second.audio[:, first.sample_rate // first.fps :]], axis=1)
recipe = {**first.recipe, "continued": dict(second.recipe)}
Clip(frames, audio, first.fps, first.sample_rate, recipe).save("long.mp4", overwrite=True)
