"""A clip goes on for as long again, picture and sound: python examples/continue_a_clip.py"""

from happyhorse import Pipeline
from happyhorse.sampling.extend import extend, load_start
from happyhorse.sampling.request import make_request

PROMPT = "a white horse trots across gravel"

pipe = Pipeline.from_pretrained("foal")
pipe(PROMPT, seed=1).save("first.mp4", overwrite=True)
request = make_request(pipe.parts.sampling, PROMPT, seed=2)
extend(pipe, load_start("first.mp4"), request, seconds=10).save("long.mp4", overwrite=True)
