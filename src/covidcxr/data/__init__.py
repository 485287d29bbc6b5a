"""Public collections: download them, read them, and write one manifest with labels, patients, groups and splits."""
