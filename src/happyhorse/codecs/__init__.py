"""Codecs between media and latents: picture, sound, text, and the files that hold them."""
