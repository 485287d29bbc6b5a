"""A prediction as DICOM objects: report, picture of the map, presentation state."""
