"""Training: from a manifest and a recipe to a model file. Needs the extra ``train``."""
