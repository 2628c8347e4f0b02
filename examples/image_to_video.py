"""A picture begins to move: python examples/image_to_video.py PICTURE "what happens in it" """

import sys

from happyhorse import Pipeline

picture, prompt = sys.argv[1:]
clip = Pipeline.from_pretrained("foal")(prompt, image=picture, seed=1)
clip.save("moving.mp4", overwrite=True)
print(f"moving.mp4, {clip.recipe['size']}: its size follows the picture")
