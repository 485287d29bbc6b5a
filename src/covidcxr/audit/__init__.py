"""The shortcut audit: what a model's figures rest on, each test with a number, an interval, a verdict and a picture."""
