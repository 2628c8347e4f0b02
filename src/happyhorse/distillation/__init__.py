"""Few steps instead of many: a student that is taught by the difference of two scores (DMD-2)."""
