"""The supported public collections, one module each."""

from covidcxr.data.sources import actualmed, covid_chestxray, covid_cxnet, figure1, kermany, nih, radiography
from covidcxr.data.sources.base import GitHubArchive, Item, KaggleDataset, Role, Source

__all__ = ["SOURCES", "GitHubArchive", "Item", "KaggleDataset", "Role", "Source", "children_origins", "origins"]

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


def origins(role: Role) -> tuple[str, ...]:
    """Return the origins of the collections with a role, sorted."""
    return tuple(sorted(source.origin for source in SOURCES.values() if source.role is role))


def children_origins() -> frozenset[str]:
    """Return the origins whose patients are all children."""
    return frozenset(source.origin for source in SOURCES.values() if source.children)
