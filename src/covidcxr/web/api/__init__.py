"""The JSON interfaces: predictions, reports and the Open Inference Protocol."""
