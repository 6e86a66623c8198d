"""Data sets to labelled pixels: folders, Parquet, .npz and the hub."""
