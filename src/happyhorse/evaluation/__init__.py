"""Rulers: what a clip shows and sounds like, measured from its pixels and its waveform alone."""
