"""Errors that a user can cause and mend: each message names the value, the limit and the way out."""

from __future__ import annotations


class HappyhorseError(ValueError):
    """Base of every error that the command line prints in a line or two, without a traceback (exit code 2)."""


class ConfigError(HappyhorseError):
    """A configuration has an unknown key, a missing key, or a value outside its range."""


class PromptError(HappyhorseError):
    """A prompt is empty or longer than the model can read."""


class SizeError(HappyhorseError):
    """A width, height, aspect or duration that the model cannot make."""


class MediaError(HappyhorseError):
    """A file that is missing, damaged, too large, or not the medium it was given as."""


class OutputError(HappyhorseError):
    """A result that cannot be written where it was asked for."""


class WeightsError(HappyhorseError):
    """A model or weight file that is unknown, missing, damaged, or does not fit its model."""


class MissingToolError(HappyhorseError):
    """An optional package or program that the request needs and this machine does not have."""


class CompileError(HappyhorseError):
    """A model or size that cannot be compiled here, or a compiled package that does not fit or is damaged."""


class DeviceMemoryError(HappyhorseError):
    """No way of placing a model's weights fits the memory that is free."""
