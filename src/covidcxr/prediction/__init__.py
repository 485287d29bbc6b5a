"""From a model file to predictions, without TensorFlow."""
