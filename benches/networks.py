"""Makes the networks of the comparison: for each one folder with diffusers' layout, and one ONNX file per component.

    python benches/networks.py folders OUT NAME…    the pipeline folders, OUT/NAME/model
    python benches/networks.py onnx OUT NAME…       OUT/NAME/{text_encoder,generator,decoder}.onnx from these folders

`benches/networks/NAME` holds the configurations of a network, `benches/networks/pipeline` the files that they have in common.
`emoji` gets the very weights that models/emoji ships, as long as compiling left all of them under their own names; otherwise, and
always for the others, they are seeded random ones, and the times are the same.
16-bit floats hold all of them exactly, so that every side computes with the same numbers whether it stores 16 or 32 bits.
"""

import json
import math
import pathlib
import shutil
import sys

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel

HERE = pathlib.Path(__file__).resolve().parent
SHIPPED = HERE.parent / "models" / "emoji"
CONFIGS = ("unet/config.json", "vae/config.json", "text_encoder/config.json")
SHARED = ("model_index.json", "scheduler/scheduler_config.json")
WEIGHTS = {
    "unet": "unet/diffusion_pytorch_model.safetensors",
    "vae": "vae/diffusion_pytorch_model.safetensors",
    "text_encoder": "text_encoder/model.safetensors",
}
# The timestep of a one-step generator: the last one.
TIMESTEP = 999


def read_json(path):
    return json.loads(pathlib.Path(path).read_text())


def modules(configs):
    """The three networks of a folder of configurations, with whatever weights the libraries begin with."""
    text = read_json(configs / "text_encoder/config.json")
    return {
        "unet": UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(configs / "unet")),
        "vae": AutoencoderKL.from_config(AutoencoderKL.load_config(configs / "vae")),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text)),
    }


# Published files have this prefix, and transformers 5 dropped it from its modules' own names.
PREFIX = "text_model."


def file_names(component, state):
    if component != "text_encoder":
        return state
    return {name if name.startswith(PREFIX) else PREFIX + name: value for name, value in state.items()}


def load(component, module, state):
    if component == "text_encoder" and not any(name.startswith(PREFIX) for name in module.state_dict()):
        state = {name.removeprefix(PREFIX): value for name, value in state.items()}
    module.load_state_dict(state)
    return module.float().eval()


def shipped_weights(networks):
    """The weights of the shipped bundle under diffusers' names, or None where the bundle has not kept all of them.

    Compiling folded the time embedding of the fixed timestep into the bias of each block's first convolution. That sum becomes the
    bias, and the time embedding is zero: the same function, and what is folded for us is folded for every side.
    """
    bundle = {}
    manifest = read_json(SHIPPED / "manifest.json")
    for name in manifest["weights"]:
        bundle |= load_file(SHIPPED / name)
    program = read_json(SHIPPED / manifest["components"]["generator"])
    weight = [value.get("weight") for value in program["values"]]
    # Which constant is the bias of which convolution is read off the operations.
    for node in program["nodes"]:
        names = [weight[value] for value in node["inputs"] if weight[value]]
        kernels = [name for name in names if name.endswith("conv1.weight")]
        constants = [name for name in names if name.startswith("generator.constant.")]
        if kernels and constants:
            bundle[kernels[0].removesuffix("weight") + "bias"] = bundle[constants[0]]
    prefixes = {"unet": "generator.unet.", "vae": "decoder.", "text_encoder": "text_encoder."}
    filled = {}
    for component, module in networks.items():
        state = {}
        for name, value in file_names(component, module.state_dict()).items():
            found = bundle.get(prefixes[component] + name)
            if found is not None:
                state[name] = found.float().reshape(value.shape)
            elif "time_emb" in name or name.startswith(("encoder.", "quant_conv.")) or not value.is_floating_point():
                state[name] = torch.zeros_like(value)
            else:
                print(f"models/emoji has no {prefixes[component]}{name}: its network is compared with seeded weights instead")
                return None
        filled[component] = state
    return filled


def random_weights(networks):
    """Seeded weights of a size that keeps activations near 1."""
    filled = {}
    for seed, (component, module) in enumerate(sorted(networks.items())):
        random = torch.Generator().manual_seed(seed)
        state = {}
        for name, value in sorted(file_names(component, module.state_dict()).items()):
            if not value.is_floating_point():
                state[name] = value
                continue
            noise = torch.randn(value.shape, generator=random)
            if value.dim() == 1:
                made = 0.1 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
            elif "embedding.weight" in name:
                made = 0.5 * noise
            else:
                made = noise / math.sqrt(value[0].numel())
            # The last layer small: what the generator divides by is small too.
            state[name] = (0.1 * made if name == "conv_out.weight" else made).half().float()
        filled[component] = state
    return filled


def write_folders(out, names):
    for name in names:
        configs, folder = HERE / "networks" / name, out / name / "model"
        networks = modules(configs)
        filled = (shipped_weights(networks) if name == "emoji" else None) or random_weights(networks)
        shutil.rmtree(out / name, ignore_errors=True)
        files = {file: configs / file for file in CONFIGS} | {file: HERE / "networks" / "pipeline" / file for file in SHARED}
        for file, source in files.items():
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, folder / file)
        for component, state in filled.items():
            load(component, networks[component], state)
            save_file({key: value.contiguous() for key, value in state.items()}, folder / WEIGHTS[component])
        tokenizer = read_json(SHIPPED / "tokenizer.json")
        tokens = networks["text_encoder"].config.max_position_embeddings
        tokenizer["truncation"]["max_length"] = tokenizer["padding"]["strategy"]["Fixed"] = tokens
        (folder / "tokenizer").mkdir(exist_ok=True)
        (folder / "tokenizer/tokenizer.json").write_text(json.dumps(tokenizer))
        millions = {component: sum(p.numel() for p in module.parameters()) / 1e6 for component, module in networks.items()}
        print(name, ", ".join(f"{component} {count:.2f} M parameters" for component, count in millions.items()))


class TextEncoder(torch.nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids):
        return self.network(input_ids.long()).last_hidden_state


class Generator(torch.nn.Module):
    """The U-Net at the last timestep, and from the noise that it predicts to the latent."""

    def __init__(self, unet, schedule):
        super().__init__()
        # What the timestep contributes is the same for every image: added to the biases here, as our compiler does.
        with torch.no_grad():
            embedding = unet.time_embedding(unet.time_proj(torch.tensor([TIMESTEP])))
            for block in unet.modules():
                if type(block).__name__ == "ResnetBlock2D":
                    block.conv1.bias += block.time_emb_proj(torch.nn.functional.silu(embedding))[0]
                    block.time_emb_proj = None
                    block.forward = without_time(block.forward)
        self.unet = unet
        self.alpha = float(schedule.alphas_cumprod[TIMESTEP].double() ** 0.5)
        self.sigma = float((1 - schedule.alphas_cumprod[TIMESTEP].double()) ** 0.5)

    def forward(self, noise, encoder_hidden_states):
        epsilon = self.unet(noise, TIMESTEP, encoder_hidden_states).sample
        return (noise - epsilon * self.sigma) / self.alpha


def without_time(forward):
    return lambda hidden, *_, **__: forward(hidden, None)


class Decoder(torch.nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.vae = vae
        self.shift = vae.config.shift_factor or 0.0

    def forward(self, latents):
        return self.vae.decode(latents / self.vae.config.scaling_factor + self.shift).sample


def components(folder):
    """The three components of a pipeline folder as they are compared: module, example inputs, output name."""
    networks = modules(folder)
    for component, module in networks.items():
        load(component, module, load_file(folder / WEIGHTS[component]))
    schedule = DDIMScheduler.from_config(DDIMScheduler.load_config(folder / "scheduler"))
    text, unet = networks["text_encoder"].config, networks["unet"].config
    latent = torch.zeros(1, unet.in_channels, unet.sample_size, unet.sample_size)
    tokens = text.max_position_embeddings
    return {
        "text_encoder": (TextEncoder(networks["text_encoder"]), {"input_ids": torch.zeros(1, tokens, dtype=torch.int32)}, "last_hidden_state"),
        "generator": (
            Generator(networks["unet"], schedule),
            {"noise": latent, "encoder_hidden_states": torch.zeros(1, tokens, text.hidden_size)},
            "latents",
        ),
        "decoder": (Decoder(networks["vae"]), {"latents": latent}, "sample"),
    }


def write_onnx(out, names):
    for name in names:
        for component, (module, inputs, output) in components(out / name / "model").items():
            path = out / name / f"{component}.onnx"
            with torch.no_grad():
                program = torch.onnx.export(
                    module.eval(), tuple(inputs.values()), input_names=list(inputs), output_names=[output],
                    opset_version=20, dynamo=True, optimize=True, verbose=False,
                )
            program.save(path, external_data=False)
            print(path)


if __name__ == "__main__":
    torch.manual_seed(0)
    {"folders": write_folders, "onnx": write_onnx}[sys.argv[1]](pathlib.Path(sys.argv[2]), sys.argv[3:])
