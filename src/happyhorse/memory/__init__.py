"""Running models that are larger than the memory of the device."""
