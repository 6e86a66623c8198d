"""Runs and bundles to pages, charts and figures for people."""
