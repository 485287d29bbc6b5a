"""covidcxr: COVID-19 on frontal chest X-rays, for education and research only."""

__version__ = "0.1.0"

DISCLAIMER = "For education and research only. Not a medical device, not a diagnosis."
