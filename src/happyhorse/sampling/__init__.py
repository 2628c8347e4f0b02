"""From noise to clips: samplers, conditions and the pipeline."""
