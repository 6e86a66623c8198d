"""A trained model to a bundle: graphs, verification, quantisation, extras, model card."""
