"""DICOM in a hospital's network: receive, score, and send results into the same study. Nothing that came is changed."""
