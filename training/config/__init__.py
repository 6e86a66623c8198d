"""The training configuration: its schema, its presets, and the template for a data set of one's own."""
