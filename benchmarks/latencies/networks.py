"""Networks that no device profile was measured on: its suite draws its own."""

from __future__ import annotations

from collections.abc import Iterator

_TORCHVISION = (
    "resnet18 resnet50 resnext50_32x4d wide_resnet50_2 vgg11 vgg16 alexnet squeezenet1_1 densenet121 inception_v3 "
    "googlenet mobilenet_v2 mobilenet_v3_large mobilenet_v3_small mnasnet1_0 shufflenet_v2_x1_0 efficientnet_b0 "
    "efficientnet_v2_s regnet_y_400mf regnet_y_800mf regnet_x_1_6gf convnext_tiny vit_b_16 vit_b_32 swin_t"
)
_TIMM = (
    "resnet26d ecaresnet26t resnext26ts mobilenetv2_050 ghostnet_100 hardcorenas_a lcnet_100 tinynet_c dla34 "
    "convnext_atto deit_tiny_patch16_224 mixer_s32_224 poolformer_s12 convmixer_768_32 repvgg_a0"
)
HELD_OUT = (
    *(f"torchvision:{name}" for name in _TORCHVISION.split()),
    *(f"timm:{name}" for name in _TIMM.split() if name != "convmixer_768_32"),
)


def asked(networks: str, batches: str) -> Iterator[tuple[str, int]]:
    """Names and batch sizes, both separated by commas: all networks at the first batch size, then at the next."""
    for batch in map(int, filter(None, batches.split(","))):
        for name in filter(None, networks.split(",")):
            yield name, batch
