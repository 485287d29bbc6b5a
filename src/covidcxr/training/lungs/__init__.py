"""Networks that find the lungs: data, training, report."""
