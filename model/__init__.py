"""What the model is. Importing this package loads nothing; `twofold.model.contract` is torch-free, the networks are not."""
