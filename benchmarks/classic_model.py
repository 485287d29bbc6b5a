"""Write the classic network (random weights: speed does not depend on them) as the tutorials save it."""

import sys

from keras import Input, Sequential, layers


def main() -> None:
    """Build and save the four-convolution network on RGB images of 224 px."""
    blocks = [part for n in (64, 64, 128) for part in (_convolution(n), layers.MaxPooling2D(), layers.Dropout(0.25))]
    head = [layers.Flatten(), layers.Dense(64, "relu"), layers.Dropout(0.5), layers.Dense(1, "sigmoid")]
    Sequential([Input((224, 224, 3)), _convolution(32), *blocks, *head]).save(sys.argv[1])


def _convolution(filters: int) -> layers.Layer:
    return layers.Conv2D(filters, 3, activation="relu")


if __name__ == "__main__":
    main()
