"""Thin handlers, one file per noun: wire -> codes -> rows -> bytes -> response."""
