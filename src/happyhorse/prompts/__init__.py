"""Prompts in the form that the large model was trained on: written, read, checked, and made out of short ones."""
