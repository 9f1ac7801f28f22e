"""Writes tests/fixtures/sdxl: the conditions that a tiny StableDiffusionXLPipeline with random weights makes of prompts.

    pip install -r tests/reference/requirements.txt
    OMP_NUM_THREADS=1 python tests/reference/sdxl.py
"""

import json
import pathlib
import shutil

import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel
from nets import randomise
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, PreTrainedTokenizerFast

OUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "sdxl"
PROMPTS = ["red square", "a green square, blue"]
LENGTH = 8
# Height and width of an image.
SIZE = (72, 80)


def tokenizer():
    """A tokenizer.json in the form that onestep learns, in memory."""
    special = ["<|unk|>", "<|startoftext|>", "<|endoftext|>"]
    made = Tokenizer(models.BPE(unk_token="<|unk|>", end_of_word_suffix="</w>"))
    made.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("isolated")])
    trainer = trainers.BpeTrainer(vocab_size=60, special_tokens=[AddedToken(s, special=True, normalized=False) for s in special], end_of_word_suffix="</w>", show_progress=False)
    made.train_from_iterator(PROMPTS, trainer)
    ids = [(s, made.token_to_id(s)) for s in special[1:]]
    made.post_processor = TemplateProcessing(single="<|startoftext|> $A <|endoftext|>", special_tokens=ids)
    made.enable_truncation(LENGTH)
    made.enable_padding(length=LENGTH, pad_id=ids[1][1], pad_token="<|endoftext|>")
    return made


def text_encoder(kind, seed, vocabulary, end, **options):
    """A text encoder, and its configuration as the library writes it."""
    config = CLIPTextConfig(
        vocab_size=vocabulary, num_hidden_layers=3, max_position_embeddings=LENGTH, eos_token_id=end, bos_token_id=0, pad_token_id=0, **options
    )
    model = randomise(kind(config), seed, torch.float16)
    keys = json.loads(config.to_json_string())
    keys["architectures"] = [kind.__name__]
    return model, keys


def main():
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    made = tokenizer()
    (OUT / "tokenizer.json").write_text(made.to_str(pretty=True) + "\n")
    end = made.token_to_id("<|endoftext|>")
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=made, model_max_length=LENGTH, unk_token="<|unk|>", bos_token="<|startoftext|>", eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )
    first, first_keys = text_encoder(
        CLIPTextModel, 10, made.get_vocab_size(), end, hidden_size=16, intermediate_size=24, num_attention_heads=2, hidden_act="quick_gelu"
    )
    second, second_keys = text_encoder(
        CLIPTextModelWithProjection, 20, made.get_vocab_size(), end, hidden_size=24, intermediate_size=32, num_attention_heads=4,
        hidden_act="gelu", projection_dim=10,
    )
    for name, model, keys in [("text_encoder", first, first_keys), ("text_encoder_2", second, second_keys)]:
        (OUT / f"{name}.json").write_text(json.dumps(keys, indent=1, sort_keys=True) + "\n")
        save_file({k: v.half().contiguous() for k, v in model.state_dict().items()}, OUT / f"{name}.safetensors")
    unet = UNet2DConditionModel(
        block_out_channels=(8, 8), norm_num_groups=4, layers_per_block=1, cross_attention_dim=40, attention_head_dim=2,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=10 + 6 * 4,
    )
    tensors = {}
    for zeros in [True, False]:
        pipeline = StableDiffusionXLPipeline(
            vae=None, text_encoder=first, text_encoder_2=second, tokenizer=wrapped, tokenizer_2=wrapped, unet=unet, scheduler=DDIMScheduler(),
            force_zeros_for_empty_prompt=zeros, add_watermarker=False,
        )
        with torch.no_grad():
            states, negative, pooled, negative_pooled = pipeline.encode_prompt(PROMPTS, do_classifier_free_guidance=True)
        name = "zeros" if zeros else "empty"
        tensors |= {"states": states, "text_embeds": pooled, f"{name}.states": negative[:1], f"{name}.text_embeds": negative_pooled[:1]}
    time_ids = pipeline._get_add_time_ids(SIZE, (0, 0), SIZE, dtype=torch.float32, text_encoder_projection_dim=10)
    tensors["time_ids"] = time_ids.repeat(len(PROMPTS), 1)
    save_file({k: v.detach().float().contiguous() for k, v in tensors.items()}, OUT / "case.safetensors")


if __name__ == "__main__":
    main()
