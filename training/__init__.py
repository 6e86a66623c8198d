"""Makes a model: data, stages, evaluation, export. Meets the service only in the bundle."""
