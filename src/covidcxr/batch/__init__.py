"""Scoring of very many images: one plan, one function that scores a shard of it, one file for each shard done."""
