"""Thin handlers, one file per route: request -> operation -> latents -> batcher -> pixels -> response."""
