"""Writes tests/fixtures/nets: tiny diffusers and transformers models with random weights, their inputs and outputs.

Each case is a folder with the library's own config.json, weights (f16, bf16 or f32; the values are exact in that type),
inputs and outputs (case.safetensors, computed in f64 and stored as f32) and, where named, the gradient of
`sum(output * probe)` with respect to every parameter as two numbers, its norm and its product with the parameter (grads.json).

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/nets.py
"""

import json
import pathlib
import shutil

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "nets"


def randomise(model, seed, dtype):
    """Random weights, biases and norms that `dtype` holds exactly; of a size that keeps activations near 1."""
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.randn(parameter.shape, generator=random)
            if parameter.dim() < 2:
                value = 0.2 * noise + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
            elif "embedding.weight" in name:
                value = 0.5 * noise
            else:
                value = noise / parameter[0].numel() ** 0.5
            parameter.copy_(value.to(dtype).float())
    return model.double().eval()


def normal(seed, *shape):
    """Unit Gaussian f32 values, as f64."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).double()


def write(name, config, weights, dtype, tensors, gradients=None, out=OUT):
    """One case. Integer weights (buffers) keep their type."""
    folder = out / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1, sort_keys=True) + "\n")
    weights = {k: v.detach().to(dtype if v.is_floating_point() else v.dtype) for k, v in weights.items()}
    save_file({k: v.contiguous() for k, v in weights.items()}, folder / "weights.safetensors")
    tensors = {k: v.detach() for k, v in tensors.items()}
    tensors = {k: (v.float() if v.is_floating_point() else v.to(torch.int64)).contiguous() for k, v in tensors.items()}
    save_file(tensors, folder / "case.safetensors")
    if gradients:
        text = ",\n".join(f'  "{k}": [{v[0]:.9e}, {v[1]:.9e}]' for k, v in sorted(gradients.items()))
        (folder / "grads.json").write_text("{\n" + text + "\n}\n")


def gradients(model, loss, prefix=""):
    """Norm and product with the parameter, of each parameter's gradient."""
    model.zero_grad()
    loss.backward()
    return {prefix + k: (p.grad.norm().item(), (p.grad * p).sum().item()) for k, p in model.named_parameters()}


def config_of(model):
    """A diffusers configuration as the library writes it."""
    return json.loads(model.to_json_string())


def unet(name, seed, dtype, size, tokens, timesteps, **options):
    """One U-Net case."""
    model = randomise(UNet2DConditionModel(**options), seed, dtype)
    dims = options["cross_attention_dim"]
    batch = 2
    tensors = {
        "sample": normal(seed + 1, batch, options["in_channels"], *size),
        "timestep": torch.tensor(timesteps, dtype=torch.float64),
        "encoder_hidden_states": normal(seed + 2, batch, tokens, dims if isinstance(dims, int) else dims[0]),
    }
    added = None
    if options.get("addition_embed_type") == "text_time":
        pooled = options["projection_class_embeddings_input_dim"] - 6 * options["addition_time_embed_dim"]
        added = {
            "text_embeds": normal(seed + 3, batch, pooled),
            "time_ids": torch.tensor([[64.0, 48, 0, 0, 64, 64], [1024, 768, 16, 5, 512, 512]], dtype=torch.float64),
        }
        tensors |= added
    out = model(
        tensors["sample"],
        tensors["timestep"] if len(timesteps) > 1 else tensors["timestep"][0],
        tensors["encoder_hidden_states"],
        added_cond_kwargs=added,
    ).sample
    tensors["out"] = out
    tensors["probe"] = normal(seed + 4, *out.shape)
    grads = gradients(model, (out * tensors["probe"]).sum())
    if name == "unet-sd15":
        schedule = DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, timestep_spacing="trailing"
        )
        schedule.set_timesteps(1)
        eps = model(tensors["sample"], 999, tensors["encoder_hidden_states"]).sample
        tensors["generator"] = schedule.step(eps, 999, tensors["sample"]).pred_original_sample
    write(name, config_of(model), model.state_dict(), dtype, tensors, grads)


def vae(name, seed, dtype, size, clamped=False, **options):
    """One autoencoder case, both halves; `clamped` puts one log-variance above the clamp and one below."""
    model = randomise(AutoencoderKL(**options), seed, dtype)
    if clamped:
        with torch.no_grad():
            model.quant_conv.bias[-1], model.quant_conv.bias[-2] = 64.0, -64.0
    factor = 2 ** (len(options["block_out_channels"]) - 1)
    images = normal(seed + 1, 2, 3, *size)
    latents = normal(seed + 2, 2, options["latent_channels"], size[0] // factor, size[1] // factor)
    posterior = model.encode(images).latent_dist
    decoded = model.decode(latents).sample
    shift = model.config.shift_factor or 0.0
    tensors = {
        "images": images,
        "mean": posterior.mean,
        "logvar": posterior.logvar,
        "kl": posterior.kl(),
        "latents": latents,
        "decoded": decoded,
        "decoded_from_model_space": model.decode(latents / model.config.scaling_factor + shift).sample,
        "probe_mean": normal(seed + 3, *posterior.mean.shape),
        "probe_decoded": normal(seed + 4, *decoded.shape),
    }
    loss = (posterior.mean * tensors["probe_mean"]).sum() + (decoded * tensors["probe_decoded"]).sum()
    write(name, config_of(model), model.state_dict(), dtype, tensors, gradients(model, loss))


def clip(name, seed, dtype, ids, projecting, prefix, **options):
    """One text encoder case. `prefix` restores the names that published files have and transformers 5 dropped."""
    config = CLIPTextConfig(**options)
    model = randomise((CLIPTextModelWithProjection if projecting else CLIPTextModel)(config), seed, dtype)
    ids = torch.tensor(ids)
    out = model(ids, output_hidden_states=True)
    tensors = {"ids": ids, "last_hidden_state": out.last_hidden_state}
    tensors |= {f"hidden_states.{i}": hidden for i, hidden in enumerate(out.hidden_states)}
    if projecting:
        tensors["text_embeds"] = out.text_embeds
        probed = out.text_embeds
    else:
        tensors["pooler_output"] = out.pooler_output
        probed = out.last_hidden_state
    tensors["probe"] = normal(seed + 1, *probed.shape)
    grads = gradients(model, (probed * tensors["probe"]).sum(), prefix)
    keys = json.loads(config.to_json_string())
    keys["architectures"] = [type(model).__name__]
    weights = {prefix + k: v for k, v in model.state_dict().items()}
    if prefix:
        weights["text_model.embeddings.position_ids"] = torch.arange(options["max_position_embeddings"])[None]
    write(name, keys, weights, dtype, tensors, grads)


def main():
    torch.manual_seed(0)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    unet(
        "unet-sd15", 100, torch.float16, (10, 6), 5, [999.0, 37.0],
        in_channels=4, out_channels=4, block_out_channels=(16, 16, 24), layers_per_block=2, norm_num_groups=8,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=12, attention_head_dim=4,
    )
    unet(
        "unet-sd2", 200, torch.float16, (8, 12), 7, [421.0],
        in_channels=5, out_channels=3, block_out_channels=(16, 32), layers_per_block=(1, 2), norm_num_groups=4,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=20, attention_head_dim=(2, 4), use_linear_projection=True, upcast_attention=True,
        flip_sin_to_cos=False, freq_shift=1, center_input_sample=True, norm_eps=1e-6, downsample_padding=0,
        time_embedding_dim=40, conv_in_kernel=5, conv_out_kernel=1,
    )
    unet(
        "unet-sdxl", 300, torch.float16, (8, 8), 4, [3.0, 999.0],
        in_channels=4, out_channels=4, block_out_channels=(8, 16, 24), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16, attention_head_dim=(1, 2, 4), transformer_layers_per_block=(1, 2, 3),
        use_linear_projection=True, addition_embed_type="text_time", addition_time_embed_dim=6,
        projection_class_embeddings_input_dim=50,
    )
    vae(
        "vae-quant", 400, torch.float16, (16, 24), in_channels=3, out_channels=3, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3,
        block_out_channels=(8, 8, 16), layers_per_block=2, norm_num_groups=4, scaling_factor=0.18215,
    )
    vae(
        "vae-no-quant", 500, torch.float32, (12, 10), in_channels=3, out_channels=3, latent_channels=6,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, scaling_factor=0.3611, shift_factor=0.1159,
        use_quant_conv=False, use_post_quant_conv=False,
    )
    vae(
        "vae-no-attention", 600, torch.bfloat16, (8, 8), clamped=True, in_channels=3, out_channels=3, latent_channels=2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=2, mid_block_add_attention=False,
    )
    # The highest id twice in row 0, as Stable Diffusion 1 pads with it.
    clip(
        "clip-quick-gelu", 700, torch.float16, [[48, 3, 7, 49, 49, 49], [48, 49, 0, 0, 0, 0], [48, 9, 5, 2, 11, 49]], False,
        "text_model.", vocab_size=50, hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=8, hidden_act="quick_gelu", eos_token_id=2, bos_token_id=0, pad_token_id=1,
        projection_dim=24,
    )
    # Ids above the end's, the end twice, and a row without one.
    clip(
        "clip-gelu-projection", 800, torch.bfloat16, [[1, 30, 39, 20, 20, 4, 4], [1, 20, 0, 0, 0, 0, 0], [1, 5, 6, 7, 8, 9, 10]],
        True, "", vocab_size=40, hidden_size=16, intermediate_size=48, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=7, hidden_act="gelu", eos_token_id=20, bos_token_id=1, pad_token_id=0, projection_dim=10,
        layer_norm_eps=1e-4,
    )


if __name__ == "__main__":
    main()
