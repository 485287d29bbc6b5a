"""Colours of the activation map, shared by Python and the page's scripts."""

COLOURS = (
    (13, 8, 135),
    (67, 3, 158),
    (106, 0, 168),
    (143, 13, 164),
    (177, 42, 144),
    (204, 71, 120),
    (225, 100, 98),
    (241, 131, 76),
    (252, 166, 54),
    (252, 206, 37),
    (240, 249, 33),
)
"""Red, green, blue for 0, 0.1, ... 1: every tenth of the colour map "plasma" of S. van der Walt and N. Smith (2015,
CC0). Its lightness increases from blue to yellow, also for people who lack the receptors for red or green."""
FAINT, FULL = 0.15, 0.6
"""Nothing is drawn below FAINT; opacity increases from there to its full value at FULL."""
