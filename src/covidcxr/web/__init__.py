"""The page and the JSON interface. Needs the extra ``web``."""
