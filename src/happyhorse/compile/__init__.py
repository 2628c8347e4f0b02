"""Makes a model fast from outside; the model never mentions it, and the plain path stays what it is."""
