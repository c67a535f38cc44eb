"""Small random models of transformers, saved with their image processors as the hub would hand them over."""

from pathlib import Path

import pytest


def _dinov2(transformers, layers=4, size=56, **options):
    return transformers.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=layers,
        num_attention_heads=2,
        mlp_ratio=2,
        image_size=size,
        patch_size=14,
        reshape_hidden_states=False,
        apply_layernorm=True,
        **options,
    )


NECK = {"neck_hidden_sizes": [8, 16, 16, 16], "fusion_hidden_size": 8}
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def _depth_anything(transformers, prefix="DepthAnything", processor="DPT", **options):
    config = getattr(transformers, f"{prefix}Config")(
        backbone_config=_dinov2(transformers, out_features=STAGES),
        reassemble_hidden_size=32,
        patch_size=14,
        head_hidden_size=8,
        **NECK,
        **options,
    )
    size = {"height": 56, "width": 56}
    images = getattr(transformers, f"{processor}ImageProcessor")(
        size=size, keep_aspect_ratio=True, ensure_multiple_of=14
    )
    return getattr(transformers, f"{prefix}ForDepthEstimation")(config), images


def _metric(transformers):
    return _depth_anything(transformers, depth_estimation_type="metric", max_depth=80)


def _prompt(transformers):
    name = "PromptDepthAnything"
    return _depth_anything(transformers, name, name, depth_estimation_type="metric", max_depth=20)


def _dpt(transformers):
    config = transformers.DPTConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        is_hybrid=False,
        **NECK,
    )
    return transformers.DPTForDepthEstimation(config), transformers.DPTImageProcessor(size={"height": 64, "width": 64})


def _glpn(transformers):
    config = transformers.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1] * 4, num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=8
    )
    return transformers.GLPNForDepthEstimation(config), transformers.GLPNImageProcessor()


def _zoedepth(transformers):
    backbone = transformers.BeitConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        use_relative_position_bias=True,
        reshape_hidden_states=False,
        out_features=STAGES,
    )
    config = transformers.ZoeDepthConfig(
        backbone_config=backbone,
        backbone_hidden_size=32,
        bottleneck_features=8,
        num_relative_features=8,
        bin_embedding_dim=16,
        num_attractors=[4, 2, 2, 1],
        **NECK,
    )
    images = transformers.ZoeDepthImageProcessor(size={"height": 64, "width": 64}, ensure_multiple_of=16)
    return transformers.ZoeDepthForDepthEstimation(config), images


def _depth_pro(transformers):
    config = transformers.DepthProConfig(
        patch_size=28,
        fusion_hidden_size=8,
        intermediate_hook_ids=[1, 0],
        intermediate_feature_dims=[8, 8],
        scaled_images_ratios=[0.5, 1],
        scaled_images_overlap_ratios=[0.0, 0.25],
        scaled_images_feature_dims=[16, 8],
        use_fov_model=True,
        num_fov_head_layers=1,
        image_model_config=_dinov2(transformers, 2, 28),
        patch_model_config=_dinov2(transformers, 2, 28),
        fov_model_config=_dinov2(transformers, 2, 28),
    )
    images = transformers.DepthProImageProcessor(size={"height": 56, "width": 56})
    return transformers.DepthProForDepthEstimation(config), images


MODELS = {
    "depth_anything": _depth_anything,
    "depth_anything metric": _metric,
    "prompt_depth_anything": _prompt,
    "dpt": _dpt,
    "glpn": _glpn,
    "zoedepth": _zoedepth,
    "depth_pro": _depth_pro,
}


def save_foreign(name: str, folder: Path, card: str | None = "license: apache-2.0") -> Path:
    """A folder with a model of `MODELS`; the test skips where transformers is not installed.

    Args:
        card: front matter of the model card; None writes none.
    """
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    import torch

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    model, images = MODELS[name](transformers)
    for weights in model.parameters():
        if weights.ndim > 1:  # as large as keeps the spread of what goes through, so that answers differ over a picture
            torch.nn.init.normal_(weights, std=weights[0].numel() ** -0.5)
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d) and part.out_channels == 1 and part.bias is not None:
            torch.nn.init.constant_(part.bias, 0.5)  # an answer that is cut off at 0 is not 0 everywhere
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    if card is not None:
        (folder / "README.md").write_text(f"---\n{card}\n---\n# A model\n")
    return folder
