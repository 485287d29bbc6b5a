"""The public collections that covidcxr reads, one module each."""

from covidcxr.data.sources import actualmed, covid_chestxray, covid_cxnet, figure1, kermany, nih, radiography
from covidcxr.data.sources.base import GitHubArchive, Item, KaggleDataset, Source

__all__ = ["SOURCES", "GitHubArchive", "Item", "KaggleDataset", "Source"]

SOURCES: dict[str, Source] = {
    "covid-chestxray": covid_chestxray.SOURCE,
    "kermany": kermany.SOURCE,
    "nih": nih.SOURCE,
    "radiography": radiography.SOURCE,
    "covid-cxnet": covid_cxnet.SOURCE,
    "figure1": figure1.SOURCE,
    "actualmed": actualmed.SOURCE,
}
"""Name of each collection to its description."""
