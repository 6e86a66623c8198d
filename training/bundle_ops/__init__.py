"""What is done to a bundle after export: figures recorded, extras refreshed, pushed to a hub."""
