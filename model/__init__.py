"""What the model is. Importing this package loads nothing; `model.contract` is torch-free, the networks are not."""
