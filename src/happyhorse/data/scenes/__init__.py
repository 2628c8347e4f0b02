"""Procedural scenes: small, honest worlds whose truth is known."""
