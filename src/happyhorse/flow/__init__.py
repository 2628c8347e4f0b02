"""Flow-matching maths: the path from data to noise, time grids, guidance. Pure functions."""
