"""The shortcut audit: tests of what a model depends on, each with a figure, an interval, a verdict and a picture."""
