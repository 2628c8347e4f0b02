"""What guidance does: one prompt at four weights, the same seed. python examples/seeds_and_guidance.py"""

import numpy as np

from happyhorse import Pipeline
from happyhorse.codecs.media import write_png

PROMPT = "a white horse trots across cobbles"

pipe = Pipeline.from_pretrained("foal-base")
rows = []
for weight in (1.0, 2.0, 4.0, 8.0):
    clip = pipe(PROMPT, seed=3, seconds=2, steps=25, guidance=weight)
    rows.append(np.concatenate(list(clip.frames[::8]), axis=1))
    print(f"guidance {weight:g}: {sum(clip.timings.values()):.1f} s")
write_png("guidance.png", np.concatenate(rows, axis=0))
