"""Whole data sets: `twofold synthesize`, `augment` and `counterfactual`. Importing it loads nothing."""
