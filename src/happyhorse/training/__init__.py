"""From scenes to weights: the loop, its losses, optimisers, checkpoints and runs."""
