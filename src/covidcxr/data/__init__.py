"""Public collections: download, reading, and one manifest with labels, patients, groups and splits."""
