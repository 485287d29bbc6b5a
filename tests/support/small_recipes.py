"""Recipes that train in seconds."""

from covidcxr.labels import LABELS


def small_recipe(**changes: object) -> str:
    """Return a recipe that trains in seconds: the classic network at 32 px on covid against normal."""
    values: dict[str, object] = {
        "labels": ["normal", "covid"],
        "architecture": "seed_cnn",
        "size": 32,
        "folds": 0,
        "phases": '{ trainable = "all", epochs = 3, learning_rate = 1e-3 }',
    }
    values |= changes
    selections = ", ".join(f'{{ label = "{label}" }}' for label in values["labels"])
    return f"""
name = "small"
description = "For tests."
[data]
select = [{selections}]
[preprocessing]
size = {values["size"]}
crop = 0.9
equalize = true
[model]
architecture = "{values["architecture"]}"
[augmentation]
flip = true
rotation = 5
contrast = 0.1
[training]
seed = 3
batch_size = 8
validation_folds = {values["folds"]}
class_weights = true
phases = [{values["phases"]}]
"""


def robust_recipe(**changes: object) -> str:
    """Return a recipe that computes its head in seconds: the network that pools over the lungs, at 64 px."""
    values = {"labels": LABELS, "architecture": "lung_pooled", "size": 64, "phases": "PHASES"}
    settings = "{ within = 1.0, opacities = 10.0, contrast = 0.5, inverse_regularisation = 0.01 }"
    return small_recipe(**values | changes).replace("phases = [PHASES]", f"robust_head = {settings}")
