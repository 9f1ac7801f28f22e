"""Writes tests/fixtures/lora: LoRA files of each form, and what diffusers and peft make of the weights that they change.

No weights are kept: those of the models and of the LoRA are computed from their names (`weights`), here and in the test. Of each
merged tensor there are eight products with vectors of 1 and -1: the mean square of the products of a difference is about the
square of its length.

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/lora.py
"""

import json
import pathlib
import tempfile
import warnings

import numpy
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from peft import LoraConfig, inject_adapter_in_model
from safetensors import safe_open
from safetensors.torch import save_file

import single_file as sf

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "lora"
SIGNS = 8


def weights(name, shape):
    """Within 1/8 of zero, and exact in f32."""
    return (sf.values(name, shape) / (1 << 24) - 0.5) / 4


def signs(which, count):
    """The vector number `which`: the top bit of a hash of the index."""
    index = numpy.arange(count, dtype=numpy.uint64)
    return 1.0 - 2.0 * (((index * numpy.uint64(2 * which + 1) * numpy.uint64(0x9E3779B97F4A7C15)) >> numpy.uint64(63)).astype(numpy.float64))


def products(tensor):
    flat = tensor.detach().contiguous().double().numpy().reshape(-1)
    return [float(flat @ signs(which, flat.size)) for which in range(SIGNS)]


def fill(model):
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_text = type(model).__name__.startswith("CLIP")
            prefix = "text_model." if is_text and not name.startswith("text_") else ""
            parameter.copy_(weights(prefix + name, list(parameter.shape)))
    return model.eval()


def pipeline(family):
    small = {"vocabulary": 96, "positions": 16}
    common = {"vae": None, "tokenizer": None, "scheduler": DDIMScheduler()}
    if family == "sd1":
        unet = sf.unet([32, 64, 96, 96], sf.FOUR, 64, 8, False, 64)
        text = sf.encoder(64, 2, 1, **small)
        return StableDiffusionPipeline(
            unet=fill(unet), text_encoder=fill(text), safety_checker=None, feature_extractor=None, requires_safety_checker=False, **common
        )
    unet = sf.unet([64, 128], [False, True], 192, [1, 2], True, 128, depth=[1, 2], added=6 * 256 + 96)
    one, two = sf.encoder(64, 2, 1, **small), sf.encoder(128, 3, 2, 96, act="gelu", **small)
    return StableDiffusionXLPipeline(unet=fill(unet), text_encoder=fill(one), text_encoder_2=fill(two), tokenizer_2=None, **common)


def modules(model, wanted):
    """The modules whose name contains one of these, with the shape of their weight."""
    return {
        name: list(module.weight.shape)
        for name, module in model.named_modules()
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and any(part in name for part in wanted)
    }


def pair_shapes(shape, rank):
    return [rank, *shape[1:]], [shape[0], rank, *([1] * len(shape[2:]))]


def merged_of(pipe, base):
    """The products of every weight that is not as before."""
    found = {}
    for component, model in networks(pipe).items():
        for name, tensor in model.state_dict().items():
            prefix = "text_model." if component.startswith("text") and not name.startswith("text_") else ""
            if not torch.equal(tensor, base[component][name]):
                found.setdefault(component, {})[prefix + name] = products(tensor)
    return found


def networks(pipe):
    return {name: getattr(pipe, name) for name in ["unet", "text_encoder", "text_encoder_2"] if getattr(pipe, name, None) is not None}


def write(name, family, tensors, alphas, metadata, strength, merged):
    case = {
        "family": family,
        "tensors": {key: list(shape) for key, shape in sorted(tensors.items())},
        "alphas": alphas,
        "metadata": metadata,
        "strength": strength,
        "merged": merged,
    }
    (OUT / f"{name}.json").write_text(json.dumps(case, sort_keys=True, separators=(",", ":")).replace('},"', '},\n"') + "\n")
    print(name, len(tensors), {component: len(found) for component, found in merged.items()})


def loaded(name, family, tensors, alphas, strength, metadata=None, skip=()):
    """A case by diffusers' load_lora_weights and fuse_lora."""
    pipe = pipeline(family)
    base = {component: {key: value.clone() for key, value in model.state_dict().items()} for component, model in networks(pipe).items()}
    state = {key: weights(key, list(shape)) for key, shape in tensors.items()}
    state.update({key: torch.tensor(value) for key, value in alphas.items()})
    with tempfile.TemporaryDirectory() as folder:
        save_file(state, f"{folder}/lora.safetensors", metadata=metadata)
        pipe.load_lora_weights(folder, weight_name="lora.safetensors")
        components = [component for component in networks(pipe) if any(hasattr(m, "lora_A") for m in getattr(pipe, component).modules())]
        pipe.fuse_lora(components=components, lora_scale=strength)
        pipe.unload_lora_weights()
    merged = merged_of(pipe, base)
    write(name, family, {**tensors, **{key: [] for key in alphas}}, alphas, metadata or {}, strength, merged)
    return merged


def flat(name):
    return name.replace(".", "_")


LINEAR = ["attn1.to_q", "attn2.to_v", "attn1.to_out.0", "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out"]
CONVOLUTIONS = ["resnets.0.conv1", "resnets.1.conv2", "conv_shortcut", "downsamplers.0.conv", "upsamplers.0.conv", "time_emb_proj"]
TEXT = ["q_proj", "out_proj", "mlp.fc1", "mlp.fc2"]


def kohya(pipe, unet_name, wanted, prefixes, rank=3):
    tensors, alphas = {}, {}
    for component, prefix in prefixes.items():
        for index, (module, shape) in enumerate(modules(getattr(pipe, component), wanted[component]).items()):
            module = unet_name(module) if component == "unet" else module if module.startswith("text_") else "text_model." + module
            down, up = pair_shapes(shape, rank + index % 2)
            tensors[f"{prefix}{flat(module)}.lora_down.weight"] = down
            tensors[f"{prefix}{flat(module)}.lora_up.weight"] = up
            # diffusers gives attention and text encoders the commonest alpha of the file, whatever their own is.
            same = component != "unet" or "attn" in module
            alphas[f"{prefix}{flat(module)}.alpha"] = 2.0 if same or index % 3 == 0 else 0.5
    return tensors, alphas


def original(config):
    """The name of a module in the original layout."""
    return lambda module: sf.unet_name(module + ".weight", config).removeprefix("model.diffusion_model.").removesuffix(".weight")


def peft_case(name, family, strength, wanted, saved, **options):
    """A case that diffusers saves from adapters of peft, with the configuration in the header or without it."""
    pipe = pipeline(family)
    configs, layers = {}, {}
    for component, parts in wanted.items():
        model = getattr(pipe, component)
        configs[component] = LoraConfig(target_modules=list(modules(model, parts)), init_lora_weights=False, **options)
        inject_adapter_in_model(configs[component], model)
        layers[component] = {}
        for key, parameter in model.named_parameters():
            if ".lora_" in key:
                prefix = "text_model." if component.startswith("text") and not key.startswith("text_") else ""
                key = prefix + key.replace(".default", "")
                parameter.data.copy_(weights(f"{component}.{key}", list(parameter.shape)))
                layers[component][key] = parameter.data.clone()
    with tempfile.TemporaryDirectory() as folder:
        keywords = {f"{component}_lora_layers": state for component, state in layers.items()}
        if saved:
            keywords.update({f"{component}_lora_adapter_metadata": config.to_dict() for component, config in configs.items()})
        type(pipe).save_lora_weights(folder, **keywords)
        with safe_open(f"{folder}/pytorch_lora_weights.safetensors", "pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {key: list(file.get_slice(key).get_shape()) for key in file.keys()}
            for key in file.keys():
                assert torch.equal(file.get_tensor(key), weights(key, tensors[key])), key
    if not saved:
        # Without the configuration diffusers takes another scale than training had: the file alone decides.
        metadata.pop("lora_adapter_metadata", None)
        return loaded(name, family, tensors, {}, strength, metadata or None)
    for component in wanted:
        model = getattr(pipe, component)
        for module in model.modules():
            if hasattr(module, "lora_A"):
                module.scaling = {key: value * strength for key, value in module.scaling.items()}
                module.merge()
    merged = {}
    for component, parts in wanted.items():
        for key, value in getattr(pipe, component).state_dict().items():
            if key.endswith(".base_layer.weight"):
                key = key.replace(".base_layer", "")
                prefix = "text_model." if component.startswith("text") and not key.startswith("text_") else ""
                merged.setdefault(component, {})[prefix + key] = products(value)
    write(name, family, tensors, {}, metadata, strength, merged)
    # diffusers reads the same out of the file.
    again = loaded(name + "-again", family, tensors, {}, strength, metadata)
    (OUT / f"{name}-again.json").unlink()
    for component, found in merged.items():
        for key, value in found.items():
            assert numpy.allclose(value, again[component][key], rtol=1e-4, atol=1e-4), (component, key)


def alphas_case():
    """Each module with its own alpha, as kohya trains and merges: weight + strength * alpha / rank * up @ down."""
    pipe = pipeline("sd1")
    tensors, alphas = kohya(pipe, lambda name: name, {"unet": ["mid_block.attentions"], "text_encoder": TEXT}, {"unet": "lora_unet_", "text_encoder": "lora_te_"})
    alphas = {key: [1.0, 2.0, -0.5, 3.25][index % 4] for index, key in enumerate(alphas)}
    merged = {}
    for component, prefix in [("unet", "lora_unet_"), ("text_encoder", "lora_te_")]:
        for name, tensor in networks(pipe)[component].named_parameters():
            name = name if component == "unet" or name.startswith("text_") else "text_model." + name
            key = prefix + flat(name.removesuffix(".weight"))
            if f"{key}.alpha" in alphas and name.endswith(".weight"):
                down, up = (weights(f"{key}.lora_{part}.weight", tensors[f"{key}.lora_{part}.weight"]).double() for part in ["down", "up"])
                change = (up.flatten(1) @ down.flatten(1)).reshape(tensor.shape) * alphas[f"{key}.alpha"] / down.shape[0]
                merged.setdefault(component, {})[name] = products(tensor.double() + 0.75 * change)
    write("kohya-alphas", "sd1", {**tensors, **{key: [] for key in alphas}}, alphas, {}, 0.75, merged)


def middle_case():
    """LoCon with a kernel between the matrices, which diffusers does not read: the kernel of the three convolutions in a row."""
    unet = pipeline("sd1").unet
    tensors, alphas, merged = {}, {}, {}
    for module, shape in modules(unet, ["mid_block.resnets.0.conv1", "down_blocks.1.resnets.0.conv1"]).items():
        rank, name = 3, f"lora_unet_{flat(module)}"
        parts = {
            f"{name}.lora_down.weight": [rank, shape[1], 1, 1],
            f"{name}.lora_mid.weight": [rank, rank, 3, 3],
            f"{name}.lora_up.weight": [shape[0], rank, 1, 1],
        }
        tensors.update(parts)
        alphas[f"{name}.alpha"] = 1.5
        down, mid, up = (weights(key, size).double() for key, size in parts.items())
        # Each input channel's impulse in the middle of a 5x5 image.
        image = torch.zeros(shape[1], shape[1], 5, 5, dtype=torch.float64)
        image[range(shape[1]), range(shape[1]), 2, 2] = 1
        answer = torch.nn.functional.conv2d(torch.nn.functional.conv2d(torch.nn.functional.conv2d(image, down), mid, padding=1), up)
        change = answer[:, :, 1:4, 1:4].flip(2, 3).permute(1, 0, 2, 3)
        base = weights(f"{module}.weight", shape).double()
        merged[f"{module}.weight"] = products(base + 0.8 * 1.5 / rank * change)
    write("kohya-middle", "sd1", {**tensors, **{key: [] for key in alphas}}, alphas, {}, 0.8, {"unet": merged})


def old_names(pipe):
    """As diffusers wrote them before peft."""
    tensors = {}
    for module, shape in modules(pipe.unet, ["mid_block.attentions.0.transformer_blocks.0.attn"]).items():
        module, end = module.rsplit(".attn", 1)
        number, projection = end.split(".", 1)
        down, up = pair_shapes(shape, 2)
        name = f"unet.{module}.attn{number}.processor.{projection.removesuffix('.0')}_lora"
        tensors[f"{name}.down.weight"], tensors[f"{name}.up.weight"] = down, up
    for module, shape in modules(pipe.text_encoder, ["self_attn"]).items():
        down, up = pair_shapes(shape, 2)
        name = module.removeprefix("text_model.").replace("q_proj", "to_q_lora").replace("k_proj", "to_k_lora")
        name = name.replace("v_proj", "to_v_lora").replace("out_proj", "to_out_lora")
        tensors[f"text_encoder.text_model.{name}.down.weight"], tensors[f"text_encoder.text_model.{name}.up.weight"] = down, up
    return tensors


def dotted_names(pipe):
    """As diffusers wrote them later: `.lora.down` in the U-Net, `.lora_linear_layer.down` in text encoders."""
    tensors = {}
    for module, shape in modules(pipe.unet, ["up_blocks.1.attentions.0", "mid_block.attentions.0.proj_in"]).items():
        down, up = pair_shapes(shape, 2)
        tensors[f"unet.{module}.lora.down.weight"], tensors[f"unet.{module}.lora.up.weight"] = down, up
    for module, shape in modules(pipe.text_encoder, ["layers.1.self_attn", "layers.1.mlp"]).items():
        down, up = pair_shapes(shape, 2)
        name = f"text_encoder.text_model.{module.removeprefix('text_model.')}.lora_linear_layer"
        tensors[f"{name}.down.weight"], tensors[f"{name}.up.weight"] = down, up
    return tensors


def main():
    warnings.simplefilter("ignore")
    OUT.mkdir(parents=True, exist_ok=True)
    sd1, xl = pipeline("sd1"), pipeline("xl")
    part = ["mid_block.attentions", "up_blocks.2.attentions.1", "down_blocks.0.resnets.1", "down_blocks.1.resnets.0", "samplers.0.conv"]
    one, two = {"unet": "lora_unet_", "text_encoder": "lora_te_"}, {"unet": "lora_unet_", "text_encoder": "lora_te1_", "text_encoder_2": "lora_te2_"}
    tensors, alphas = kohya(sd1, lambda name: name, {"unet": part, "text_encoder": TEXT}, one)
    loaded("kohya-sd1", "sd1", tensors, alphas, 0.7)
    tensors, alphas = kohya(
        xl, original(xl.unet.config), {"unet": [*LINEAR[:4], "resnets.0.conv1", "time_emb_proj"], "text_encoder": TEXT, "text_encoder_2": TEXT}, two
    )
    loaded("kohya-xl-original", "xl", tensors, alphas, 1.0)
    loaded("kohya-without-alpha", "sd1", {key: shape for key, shape in kohya(sd1, lambda name: name, {"unet": LINEAR[:2]}, {"unet": "lora_unet_"})[0].items()}, {}, 0.5)
    loaded("diffusers-attn-procs", "sd1", old_names(sd1), {}, 1.0)
    loaded("diffusers-dotted", "sd1", dotted_names(sd1), {}, -0.5)
    wanted = {"unet": ["mid_block.attentions.0", "down_blocks.1.resnets.0.conv1", "up_blocks.1.attentions.0"], "text_encoder": TEXT}
    patterns = {"rank_pattern": {"attn1.to_q": 2, "mlp.fc1": 5}, "alpha_pattern": {"attn2.to_v": 3, "q_proj": 1}}
    peft_case("peft-metadata", "sd1", 0.9, wanted, True, r=4, lora_alpha=6, **patterns)
    peft_case("peft-rslora", "sd1", 1.0, {"unet": ["mid_block.attentions.0"]}, True, r=4, lora_alpha=6, use_rslora=True)
    peft_case("peft-without-metadata", "sd1", 1.0, wanted, False, r=4, lora_alpha=6)
    peft_case("peft-xl", "xl", 0.6, {"unet": LINEAR[:3], "text_encoder": TEXT[:2], "text_encoder_2": [*TEXT[:2], "text_projection"]}, True, r=2, lora_alpha=2)
    middle_case()
    alphas_case()


if __name__ == "__main__":
    main()
