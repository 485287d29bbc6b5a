"""Metrics, protocols, reports and the model card."""
