"""A prompt becomes a clip: python examples/generate.py"""

from happyhorse import Pipeline

pipe = Pipeline.from_pretrained("foal")
clip = pipe("a red ball bounces on wood", seconds=5, seed=7)
clip.save("ball.mp4", overwrite=True)
print(
    f"ball.mp4: {clip.frames.shape[0]} frames at {clip.fps} fps, {clip.audio.shape[1]} samples at {clip.sample_rate} Hz"
)
