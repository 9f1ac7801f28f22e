"""Writes tests/fixtures/single_file: names, shapes and checksums of models in the original key layout, as diffusers reads them.

Each file has the stored tensors and, for each network, the tensors that diffusers makes from them. No weights are kept:
the values of a stored tensor are computed from its name (`values`), here and in the test. In the small models every
tensor that diffusers' own `from_single_file` returns has a checksum of its values; the full-size models have names and shapes.

The inverse of diffusers' conversion is written here by hand and holds only if diffusers, given the result, returns the names
that it began with.

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/single_file.py
"""

import hashlib
import json
import pathlib
import re
import tempfile
import zlib

import numpy
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.loaders import single_file_utils
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "single_file"


def values(name, shape):
    """Whole numbers below 2^24, other ones for each name and index, as f32."""
    index = numpy.arange(int(numpy.prod(shape, dtype=numpy.int64)), dtype=numpy.uint64)
    numbers = (numpy.uint64(zlib.crc32(name.encode())) + index * numpy.uint64(2654435761)) % numpy.uint64(1 << 24)
    return torch.from_numpy(numbers.astype(numpy.float32).reshape(shape))


def checksum(tensor):
    return hashlib.sha256(tensor.contiguous().numpy().astype("<f4").tobytes()).hexdigest()[:16]


# From diffusers' names to the original ones.


def unet_name(name, config):
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    for new, old in [
        ("conv_in.", "input_blocks.0.0."),
        ("time_embedding.linear_1.", "time_embed.0."),
        ("time_embedding.linear_2.", "time_embed.2."),
        ("add_embedding.linear_1.", "label_emb.0.0."),
        ("add_embedding.linear_2.", "label_emb.0.2."),
        ("conv_norm_out.", "out.0."),
        ("conv_out.", "out.2."),
        ("mid_block.resnets.0.", "middle_block.0."),
        ("mid_block.attentions.0.", "middle_block.1."),
        ("mid_block.resnets.1.", "middle_block.2."),
    ]:
        if name.startswith(new):
            name = old + name.removeprefix(new)
    for level in range(levels):
        for layer in range(layers + 1):
            block = f"input_blocks.{1 + level * (layers + 1) + layer}"
            name = name.replace(f"down_blocks.{level}.resnets.{layer}.", f"{block}.0.")
            name = name.replace(f"down_blocks.{level}.attentions.{layer}.", f"{block}.1.")
            block = f"output_blocks.{level * (layers + 1) + layer}"
            name = name.replace(f"up_blocks.{level}.resnets.{layer}.", f"{block}.0.")
            name = name.replace(f"up_blocks.{level}.attentions.{layer}.", f"{block}.1.")
        name = name.replace(f"down_blocks.{level}.downsamplers.0.conv.", f"input_blocks.{(level + 1) * (layers + 1)}.0.op.")
        index = 2 if "CrossAttn" in config["up_block_types"][level] else 1
        name = name.replace(f"up_blocks.{level}.upsamplers.0.conv.", f"output_blocks.{level * (layers + 1) + layers}.{index}.conv.")
    if re.match(r"(input_blocks|output_blocks)\.\d+\.0\.|middle_block\.[02]\.", name):
        for new, old in [
            ("norm1", "in_layers.0"),
            ("conv1", "in_layers.2"),
            ("time_emb_proj", "emb_layers.1"),
            ("norm2", "out_layers.0"),
            ("conv2", "out_layers.3"),
            ("conv_shortcut", "skip_connection"),
        ]:
            name = name.replace(f".{new}.", f".{old}.")
    return "model.diffusion_model." + name


def vae_name(name, config):
    levels = len(config["block_out_channels"])
    for index in range(levels):
        name = name.replace(f"encoder.down_blocks.{index}.resnets.", f"encoder.down.{index}.block.")
        name = name.replace(f"encoder.down_blocks.{index}.downsamplers.0.", f"encoder.down.{index}.downsample.")
        name = name.replace(f"decoder.up_blocks.{index}.resnets.", f"decoder.up.{levels - 1 - index}.block.")
        name = name.replace(f"decoder.up_blocks.{index}.upsamplers.0.", f"decoder.up.{levels - 1 - index}.upsample.")
    for new, old in [
        ("mid_block.resnets.0.", "mid.block_1."),
        ("mid_block.resnets.1.", "mid.block_2."),
        ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
        ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
        ("mid_block.attentions.0.to_", "mid.attn_1."),
        ("conv_norm_out.", "norm_out."),
        ("conv_shortcut.", "nin_shortcut."),
    ]:
        name = name.replace(new, old)
    return "first_stage_model." + name


def open_clip(shapes, prefix):
    """OpenCLIP's tensors for those of transformers: joint projections, and the last one transposed."""
    stored = {}
    for name, shape in shapes.items():
        name = name.removeprefix("text_model.")
        match = re.match(r"encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)", name)
        if match:
            stored[f"{prefix}transformer.resblocks.{match[1]}.attn.in_proj_{match[3]}"] = [3 * shape[0], *shape[1:]]
            continue
        if name == "text_projection.weight":
            stored[f"{prefix}text_projection"] = shape[::-1]
            continue
        for new, old in [
            ("embeddings.token_embedding", "token_embedding"),
            ("embeddings.position_embedding.weight", "positional_embedding"),
            ("final_layer_norm", "ln_final"),
            ("encoder.layers.", "transformer.resblocks."),
            ("layer_norm", "ln_"),
            ("mlp.fc1", "mlp.c_fc"),
            ("mlp.fc2", "mlp.c_proj"),
            ("self_attn.out_proj", "attn.out_proj"),
        ]:
            name = name.replace(new, old)
        stored[prefix + name] = shape
    return stored


def shapes(model):
    return {name: list(tensor.shape) for name, tensor in model.state_dict().items()}


def text_shapes(model):
    """With the prefix `text_model.`, which transformers 5.6 dropped for the class without projection."""
    prefix = "" if any(name.startswith("text_model.") for name in model.state_dict()) else "text_model."
    return {prefix + name: shape for name, shape in shapes(model).items() if not name.endswith("position_ids")}


def encoder(width, layers, heads, projection=None, vocabulary=49408, positions=77, act="quick_gelu"):
    config = CLIPTextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        max_position_embeddings=positions,
        hidden_act=act,
        projection_dim=projection or width,
    )
    return (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)


def front_coded(tensors):
    """Sorted lines: characters shared with the name before, the rest of the name, the shape, further columns."""
    lines, before = [], ""
    for name, columns in sorted(tensors.items()):
        shared = 0
        while shared < min(len(before), len(name)) and before[shared] == name[shared]:
            shared += 1
        lines.append(" ".join([str(shared), name[shared:], *columns]))
        before = name
    return lines


def written(shape):
    return "x".join(map(str, shape)) or "-"


def case(name, unet, vae, encoders, extra, full):
    """One model. `encoders` has (folder, model, its prefix in the file)."""
    networks = {"unet": unet, "vae": vae, **{folder: model for folder, model, _ in encoders}}
    stored = {unet_name(key, unet.config): shape for key, shape in shapes(unet).items()}
    for key, shape in shapes(vae).items():
        attention = ".attentions." in key and len(shape) == 2
        stored[vae_name(key, vae.config)] = [*shape, 1, 1] if attention else shape
    for _, model, prefix in encoders:
        if prefix.endswith("transformer."):
            stored.update({prefix + key: shape for key, shape in text_shapes(model).items()})
        else:
            stored.update(open_clip(text_shapes(model), prefix))
    checkpoint = {key: torch.empty(shape, device="meta") if full else values(key, shape) for key, shape in stored.items()}
    unused = {key: torch.empty(shape, device="meta") if full else values(key, shape) for key, shape in extra.items()}
    checkpoint.update(unused)

    # What diffusers makes of it.
    loaded = {
        "unet": single_file_utils.convert_ldm_unet_checkpoint(dict(checkpoint), config=dict(unet.config)),
        "vae": single_file_utils.convert_ldm_vae_checkpoint(dict(checkpoint), config=dict(vae.config)),
    }
    if full:
        for folder, model, prefix in encoders:
            if prefix.endswith("transformer."):
                loaded[folder] = single_file_utils.convert_ldm_clip_checkpoint(dict(checkpoint))
            else:
                loaded[folder] = single_file_utils.convert_open_clip_checkpoint(model, dict(checkpoint), prefix=prefix)
    else:
        with tempfile.TemporaryDirectory() as folder:
            for subfolder, model in networks.items():
                model.config.save_pretrained(f"{folder}/{subfolder}") if subfolder.startswith("text") else model.save_config(
                    f"{folder}/{subfolder}"
                )
            path = f"{folder}/model.safetensors"
            save_file(checkpoint, path)
            options = {"config": folder, "local_files_only": True}
            loaded["unet"] = UNet2DConditionModel.from_single_file(path, subfolder="unet", **options).state_dict()
            loaded["vae"] = AutoencoderKL.from_single_file(path, subfolder="vae", **options).state_dict()
            for subfolder, model, _ in encoders:
                encoder_model = single_file_utils.create_diffusers_clip_model_from_ldm(
                    type(model), dict(checkpoint), subfolder=subfolder, **options
                )
                loaded[subfolder] = encoder_model.state_dict()
    lines = ["= stored", *front_coded({key: [written(shape)] for key, shape in {**stored, **extra}.items()})]
    for folder, model in networks.items():
        is_text = folder.startswith("text")
        expected = text_shapes(model) if is_text else shapes(model)
        found = loaded[folder]
        if is_text:
            found = {(key if key.startswith("text_") else "text_model." + key): value for key, value in found.items()}
            found = {key: value for key, value in found.items() if not key.endswith("position_ids")}
        assert {key: list(value.shape) for key, value in found.items()} == expected, (name, folder)
        columns = {key: [written(shape), *([] if full else [checksum(found[key])])] for key, shape in expected.items()}
        lines += [f"= {folder}", *front_coded(columns)]
        print(name, folder, len(expected))
    (OUT / f"{name}.txt").write_text("\n".join(lines) + "\n")
    config = {folder: json.loads(json.dumps(dict(model.config) if not folder.startswith("text") else model.config.to_dict(), default=str)) for folder, model in networks.items()}
    kept = [
        *["in_channels", "out_channels", "block_out_channels", "layers_per_block", "down_block_types", "up_block_types", "sample_size"],
        *["cross_attention_dim", "attention_head_dim", "transformer_layers_per_block", "use_linear_projection", "addition_embed_type"],
        *["addition_time_embed_dim", "projection_class_embeddings_input_dim", "latent_channels", "scaling_factor"],
        *["vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "hidden_act"],
    ]
    return {folder: {key: keys[key] for key in kept if key in keys} for folder, keys in config.items()}


CROSS, PLAIN = "CrossAttnDownBlock2D", "DownBlock2D"
UP_CROSS, UP_PLAIN = "CrossAttnUpBlock2D", "UpBlock2D"


def unet(channels, crosses, text, heads, linear, size, depth=1, layers=2, added=None):
    return UNet2DConditionModel(
        sample_size=size,
        block_out_channels=channels,
        down_block_types=[CROSS if cross else PLAIN for cross in crosses],
        up_block_types=[UP_CROSS if cross else UP_PLAIN for cross in reversed(crosses)],
        layers_per_block=layers,
        cross_attention_dim=text,
        attention_head_dim=heads,
        use_linear_projection=linear,
        transformer_layers_per_block=depth,
        addition_embed_type="text_time" if added else None,
        addition_time_embed_dim=256 if added else None,
        projection_class_embeddings_input_dim=added,
    )


def vae(channels, layers, scaling, size):
    levels = len(channels)
    return AutoencoderKL(
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        block_out_channels=channels,
        layers_per_block=layers,
        latent_channels=4,
        scaling_factor=scaling,
        sample_size=size,
    )


# Tensors of published files that belong to no network.
NOISE = {"betas": [1000], "alphas_cumprod": [1000], "sqrt_alphas_cumprod": [1000], "model_ema.decay": [], "model_ema.num_updates": []}
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
FOUR = [True, True, True, False]


def main():
    OUT.mkdir(parents=True, exist_ok=True)
    configs = {}
    with torch.device("meta"):
        full_vae = [128, 256, 512, 512]
        configs["sd15-full"] = case(
            "sd15-full",
            unet([320, 640, 1280, 1280], FOUR, 768, 8, False, 64),
            vae(full_vae, 2, 0.18215, 512),
            [("text_encoder", encoder(768, 12, 12), "cond_stage_model.transformer.")],
            {**NOISE, POSITIONS: [1, 77], "model_ema.diffusion_modelinput_blocks00weight": [320, 4, 3, 3]},
            True,
        )
        # The last layer of OpenCLIP is in the file and not in the model.
        last = open_clip(
            {key: shape for key, shape in text_shapes(encoder(1024, 24, 16)).items() if ".layers.23." in key}, "cond_stage_model.model."
        )
        configs["sd21-full"] = case(
            "sd21-full",
            unet([320, 640, 1280, 1280], FOUR, 1024, [5, 10, 20, 20], True, 96),
            vae(full_vae, 2, 0.18215, 768),
            [("text_encoder", encoder(1024, 23, 16, act="gelu"), "cond_stage_model.model.")],
            {**NOISE, **last, "cond_stage_model.model.logit_scale": [], "cond_stage_model.model.text_projection": [1024, 1024]},
            True,
        )
        configs["sdxl-full"] = case(
            "sdxl-full",
            unet([320, 640, 1280], [False, True, True], 2048, [5, 10, 20], True, 128, depth=[1, 2, 10], added=2816),
            vae(full_vae, 2, 0.13025, 1024),
            [
                ("text_encoder", encoder(768, 12, 12), "conditioner.embedders.0.transformer."),
                ("text_encoder_2", encoder(1280, 32, 20, 1280, act="gelu"), "conditioner.embedders.1.model."),
            ],
            {"conditioner.embedders.1.model.logit_scale": [], "denoiser.sigmas": [1000]},
            True,
        )
    small = {"vocabulary": 96, "positions": 16}
    configs["sd1-small"] = case(
        "sd1-small",
        unet([32, 64, 96, 96], FOUR, 64, 8, False, 64),
        vae([32, 64, 64], 2, 0.18215, 512),
        [("text_encoder", encoder(64, 2, 1, **small), "cond_stage_model.transformer.")],
        {**NOISE, POSITIONS: [1, 16]},
        False,
    )
    configs["sd2-small"] = case(
        "sd2-small",
        unet([64, 128], [True, False], 128, [1, 2], True, 96, layers=1),
        vae([32, 64], 1, 0.18215, 768),
        [("text_encoder", encoder(128, 2, 2, act="gelu", **small), "cond_stage_model.model.")],
        {"cond_stage_model.model.logit_scale": [], "cond_stage_model.model.text_projection": [128, 128]},
        False,
    )
    configs["sdxl-small"] = case(
        "sdxl-small",
        unet([64, 128], [False, True], 192, [1, 2], True, 128, depth=[1, 2], added=6 * 256 + 96),
        vae([32, 64], 1, 0.13025, 1024),
        [
            ("text_encoder", encoder(64, 2, 1, **small), "conditioner.embedders.0.transformer."),
            ("text_encoder_2", encoder(128, 3, 2, 96, act="gelu", **small), "conditioner.embedders.1.model."),
        ],
        {"conditioner.embedders.1.model.logit_scale": []},
        False,
    )
    (OUT / "configs.json").write_text(json.dumps(configs, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
