"""Weights in and out of safetensors files, and the registry of models."""
