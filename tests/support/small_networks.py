"""EfficientNet-Lite0 of few blocks, for tests of what surrounds the network."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from covidcxr.training.networks import efficientnet_lite


@contextmanager
def few_blocks() -> Iterator[None]:
    """Build EfficientNet-Lite0 with 6 blocks instead of 16 as long as the context lasts.

    All kinds of layers, one residual, the names of the first and last layers and the sides of the stages stay.
    test_networks.py and test_lung_pooled.py are about the whole network.
    """
    first, second, *others = efficientnet_lite.STAGES
    few = (first, second, *(stage._replace(repeats=1) for stage in others if stage.stride == 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(efficientnet_lite, "STAGES", few)
        yield
