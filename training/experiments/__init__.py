"""Commands around a training run: automatic configuration, profiling, ablations, the three moons."""
