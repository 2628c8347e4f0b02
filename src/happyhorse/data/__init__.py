"""Training data: procedural scenes with known truth, and pools of rendered clips."""
