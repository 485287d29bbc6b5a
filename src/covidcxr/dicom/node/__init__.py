"""The DICOM node: receive images, queue them, send results."""
