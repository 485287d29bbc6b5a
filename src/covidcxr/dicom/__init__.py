"""DICOM in a hospital's network: receive images, score them, send results into the same study."""
