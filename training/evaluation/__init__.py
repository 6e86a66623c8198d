"""Measures an exported bundle as it is served, with an independent evaluation classifier."""
