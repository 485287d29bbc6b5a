"""The networks that find the lungs: data, training, report."""
