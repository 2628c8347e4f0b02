"""A blind arena: people choose between two clips of one prompt, and their votes rate the models."""
