"""The training loop: stages to steps, steps to losses, checkpoints, validation."""
