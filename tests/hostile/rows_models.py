"""Malformed pipeline folders: configurations, the index, shards of weights, the schedule, the tokenizer, parts that do not fit each other."""

import json
import os

from formats import Tensors
from harness import remove, replace
from rows_common import HTML, LFS_POINTER, MANY_BRACKETS, MARK, Row, replaced, with_model

ANY_JSON = r"JSON|expected|UTF-8|empty|EOF|LFS|HTML|depth|recursion|object|nest"


def text_faults(name):
    """(name, change) for a JSON file that is none, or no object."""
    at = lambda change: replaced(name, change)

    def folder(model):
        remove(model / name)
        (model / name).mkdir()

    return [
        ("empty", at(b"")),
        ("html", at(HTML)),
        ("lfs-pointer", at(LFS_POINTER)),
        ("cut", at(lambda content: content[: len(content) // 2])),
        ("list", at(lambda content: b"[" + content + b"]")),
        ("text", at(b'"a text"')),
        ("null", at(b"null")),
        ("number", at(b"7")),
        ("100000-brackets", at(MANY_BRACKETS)),
        ("100000-objects", at(b'{"a":' * 100_000)),
        ("utf-16", at(lambda content: content.decode().encode("utf-16"))),
        ("not-utf-8", at(lambda content: content.replace(b'"_', b'"\xff', 1).replace(b'"v', b'"\xff', 1))),
        ("two-objects", at(lambda content: content + content)),
        ("comment", at(lambda content: b"// a comment\n" + content)),
        ("folder-instead", folder),
    ]


def missing(name):
    return lambda model: remove(model / name)


def setting(name, **changes):
    """A change of some keys of a JSON file; None leaves the key out, a `Raw` stands as it is."""

    def change(model):
        path = model / name
        object = json.loads(path.read_bytes())
        raw = {}
        for key, value in changes.items():
            if value is None:
                object.pop(key, None)
            elif isinstance(value, Raw):
                object[key] = raw[value.mark] = value.mark
                raw[value.mark] = value
            else:
                object[key] = value
        text = json.dumps(object, indent=1)
        for mark, value in raw.items():
            text = text.replace(json.dumps(mark), value.text)
        replace(path, text)

    return change


class Raw:
    """JSON text that Python would not write."""

    def __init__(self, text):
        self.text, self.mark = text, f"raw {id(self)}"


NULL = Raw("null")


def config_rows():
    tested = {
        "vae": ("run vae_decoder", "export", "train teacher"),
        "unet": ("run unet", "export", "pairs"),
        "text_encoder": ("run text_encoder", "export", "pairs"),
    }
    for component, commands in tested.items():
        name, file = f"{component}/config.json", rf"{component}/config\.json"
        for fault, change in text_faults(name):
            yield Row(f"config-{component}", fault, with_model(change), commands, (file,))
        yield Row(f"config-{component}", "missing-file", with_model(missing(name)), commands, (file,))

    common = {"vae": "AutoencoderKL", "unet": "UNet2DConditionModel"}
    for component, own in common.items():
        for fault, value in [
            ("class-unknown", "SomethingElse2D"),
            ("class-other", next(name for name in common.values() if name != own)),
            ("class-number", 7),
        ]:
            name = f"{component}/config.json"
            words = (rf"{component}/config\.json", r"_class_name|" + str(value))
            yield Row(f"config-{component}", fault, with_model(setting(name, _class_name=value)), tested[component], words)

    # (fault, changes, words): the key must be named; where the weights are what does not fit, one of their tensors may be.
    vae = [
        ("channels-empty", dict(block_out_channels=[]), "block_out_channels"),
        ("channels-zero", dict(block_out_channels=[0, 0, 0]), "block_out_channels"),
        ("channels-negative", dict(block_out_channels=[-8, 8, 16]), "block_out_channels"),
        ("channels-text", dict(block_out_channels="8, 8, 16"), "block_out_channels"),
        ("channels-texts", dict(block_out_channels=["8", "8", "16"]), "block_out_channels"),
        ("channels-fraction", dict(block_out_channels=[8.5, 8, 16]), "block_out_channels"),
        ("channels-huge", dict(block_out_channels=[2**40, 8, 16]), "block_out_channels"),
        ("channels-beyond-64-bits", dict(block_out_channels=Raw("[1e400, 8, 16]")), r"block_out_channels|number"),
        ("channels-large", dict(block_out_channels=[16384, 16384, 16384]), r"block_out_channels|encoder\.|decoder\."),
        ("channels-no-multiple", dict(block_out_channels=[8, 8, 12]), r"block_out_channels|norm_num_groups"),
        ("channels-1000", dict(block_out_channels=[8] * 1000), "block_out_channels"),
        ("levels-missing", dict(block_out_channels=None), r"block_out_channels|block_types"),
        ("latent-zero", dict(latent_channels=0), "latent_channels"),
        ("latent-text", dict(latent_channels="4"), "latent_channels"),
        ("latent-list", dict(latent_channels=[4]), "latent_channels"),
        ("latent-null", dict(latent_channels=NULL), "latent_channels"),
        ("latent-huge", dict(latent_channels=10**9), "latent_channels"),
        ("latent-16", dict(latent_channels=16), r"latent_channels|quant_conv|conv_in|conv_out"),
        ("groups-zero", dict(norm_num_groups=0), "norm_num_groups"),
        ("groups-truth", dict(norm_num_groups=True), "norm_num_groups"),
        ("groups-missing", dict(norm_num_groups=None), r"norm_num_groups"),
        ("layers-zero", dict(layers_per_block=0), "layers_per_block"),
        ("layers-million", dict(layers_per_block=1_000_000), "layers_per_block"),
        ("layers-two", dict(layers_per_block=2), r"layers_per_block|resnets"),
        ("scaling-zero", dict(scaling_factor=0), "scaling_factor"),
        ("scaling-text", dict(scaling_factor="0.18"), "scaling_factor"),
        ("scaling-infinite", dict(scaling_factor=Raw("1e999")), r"scaling_factor|number"),
        ("scaling-nan", dict(scaling_factor=Raw("NaN")), r"scaling_factor|JSON"),
        ("shift-text", dict(shift_factor="no"), "shift_factor"),
        ("activation-unknown", dict(act_fn="mish"), "act_fn"),
        ("down-unknown", dict(down_block_types=["DownEncoderBlock2D", "AttnDownEncoderBlock2D", "DownEncoderBlock2D"]), "down_block_types"),
        ("down-too-few", dict(down_block_types=["DownEncoderBlock2D"]), "down_block_types"),
        ("up-unknown", dict(up_block_types=["Up", "Up", "Up"]), "up_block_types"),
        ("up-number", dict(up_block_types=3), "up_block_types"),
        ("mean-given", dict(latents_mean=[0.0, 0.0, 0.0, 0.0]), "latents_mean"),
        ("attention-text", dict(mid_block_add_attention="yes"), "mid_block_add_attention"),
        ("quant-conv-none", dict(use_post_quant_conv=False), r"post_quant_conv"),
        ("in-channels-zero", dict(in_channels=0), "in_channels"),
        ("out-channels-4", dict(out_channels=4), r"out_channels|conv_out"),
        ("out-channels-huge", dict(out_channels=2**62), "out_channels"),
    ]
    unet = [
        ("channels-empty", dict(block_out_channels=[]), "block_out_channels"),
        ("channels-huge", dict(block_out_channels=[2**40, 16, 32]), "block_out_channels"),
        ("channels-large", dict(block_out_channels=[16384, 16384, 16384]), r"block_out_channels|conv_in|attention_head_dim"),
        ("channels-null", dict(block_out_channels=NULL), "block_out_channels"),
        ("sample-size-text", dict(sample_size="8"), "sample_size"),
        ("sample-size-zero", dict(sample_size=0), "sample_size"),
        ("sample-size-missing", dict(sample_size=None), "sample_size"),
        ("sample-size-oblong", dict(sample_size=[8, 16]), "sample_size"),
        ("sample-size-odd", dict(sample_size=7), "sample_size"),
        ("sample-size-huge", dict(sample_size=2**40), "sample_size"),
        ("sample-size-2^62", dict(sample_size=2**62), "sample_size"),
        ("sample-size-100000", dict(sample_size=100_000), "sample_size"),
        ("in-channels-zero", dict(in_channels=0), "in_channels"),
        ("in-channels-9", dict(in_channels=9), r"in_channels|conv_in"),
        ("in-channels-huge", dict(in_channels=2**50), "in_channels"),
        ("out-channels-8", dict(out_channels=8), r"out_channels|conv_out"),
        ("cross-text", dict(cross_attention_dim="32"), "cross_attention_dim"),
        ("cross-zero", dict(cross_attention_dim=0), "cross_attention_dim"),
        ("cross-64", dict(cross_attention_dim=64), r"cross_attention_dim|attn2"),
        ("cross-list-short", dict(cross_attention_dim=[32]), "cross_attention_dim"),
        ("heads-zero", dict(attention_head_dim=0), "attention_head_dim"),
        ("heads-no-divisor", dict(attention_head_dim=7), "attention_head_dim"),
        ("heads-negative", dict(attention_head_dim=-1), "attention_head_dim"),
        ("heads-other-key", dict(num_attention_heads=2), "num_attention_heads"),
        ("transformers-million", dict(transformer_layers_per_block=1_000_000_000), "transformer_layers_per_block"),
        ("layers-zero", dict(layers_per_block=0), "layers_per_block"),
        ("layers-list-long", dict(layers_per_block=[1, 1, 1, 1, 1]), "layers_per_block"),
        ("epsilon-zero", dict(norm_eps=0), "norm_eps"),
        ("epsilon-negative", dict(norm_eps=-1e-5), "norm_eps"),
        ("epsilon-text", dict(norm_eps="1e-5"), "norm_eps"),
        ("groups-7", dict(norm_num_groups=7), r"norm_num_groups|block_out_channels"),
        ("mid-unknown", dict(mid_block_type="UNetMidBlock2DSimpleCrossAttn"), "mid_block_type"),
        ("down-unknown", dict(down_block_types=["DownBlock2D", "SimpleCrossAttnDownBlock2D", "DownBlock2D"]), "down_block_types"),
        ("down-too-many", dict(down_block_types=["DownBlock2D"] * 9), "down_block_types"),
        ("time-fourier", dict(time_embedding_type="fourier"), "time_embedding_type"),
        ("classes", dict(class_embed_type="timestep"), "class_embed_type"),
        ("class-embeddings", dict(num_class_embeds=10), "num_class_embeds"),
        ("activation-unknown", dict(act_fn="gelu"), "act_fn"),
        (
            "added-conditions",
            dict(addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=80),
            r"addition_embed_type|add_embedding",
        ),
        ("added-unknown", dict(addition_embed_type="image_hint"), "addition_embed_type"),
        ("resnet-shift", dict(resnet_time_scale_shift="scale_shift"), "resnet_time_scale_shift"),
        ("frequency-shift-huge", dict(freq_shift=10**6), "freq_shift"),
        ("kernel-even", dict(conv_in_kernel=4), "conv_in_kernel"),
        ("kernel-huge", dict(conv_out_kernel=10**6 + 1), "conv_out_kernel"),
        ("linear-text", dict(use_linear_projection="true"), "use_linear_projection"),
        ("linear-other", dict(use_linear_projection=False), r"use_linear_projection|proj_in"),
    ]
    text_encoder = [
        ("vocabulary-zero", dict(vocab_size=0), "vocab_size"),
        ("vocabulary-huge", dict(vocab_size=2**40), "vocab_size"),
        ("vocabulary-one-more", dict(vocab_size=Raw("100")), r"vocab_size|token_embedding"),
        ("vocabulary-missing", dict(vocab_size=None), r"vocab_size|token_embedding"),
        ("width-33", dict(hidden_size=33), r"hidden_size|num_attention_heads|token_embedding|layer_norm"),
        ("width-64", dict(hidden_size=64), r"hidden_size|token_embedding|layer_norm"),
        ("width-huge", dict(hidden_size=2**33), "hidden_size"),
        ("width-text", dict(hidden_size="32"), "hidden_size"),
        ("inner-negative", dict(intermediate_size=-1), "intermediate_size"),
        ("layers-million", dict(num_hidden_layers=1_000_000), "num_hidden_layers"),
        ("layers-two", dict(num_hidden_layers=2), r"num_hidden_layers|layers\.1"),
        ("layers-zero", dict(num_hidden_layers=0), "num_hidden_layers"),
        ("heads-zero", dict(num_attention_heads=0), "num_attention_heads"),
        ("heads-no-divisor", dict(num_attention_heads=5), "num_attention_heads"),
        ("positions-zero", dict(max_position_embeddings=0), "max_position_embeddings"),
        ("positions-8", dict(max_position_embeddings=8), r"max_position_embeddings|position_embedding"),
        ("positions-huge", dict(max_position_embeddings=2**40), "max_position_embeddings"),
        ("activation-unknown", dict(hidden_act="relu6"), "hidden_act"),
        ("epsilon-zero", dict(layer_norm_eps=0), "layer_norm_eps"),
        ("architecture-other", dict(architectures=["BertModel"]), r"architectures|BertModel"),
        ("architectures-text", dict(architectures="CLIPTextModel2"), r"architectures"),
        ("model-type-other", dict(model_type="bert"), r"model_type|bert"),
        ("end-negative", dict(eos_token_id=-1), "eos_token_id"),
        ("end-huge", dict(eos_token_id=2**40), "eos_token_id"),
        ("whole-clip", dict(text_config={}), "text_config"),
        ("dropout", dict(attention_dropout=0.1), "attention_dropout"),
    ]
    for component, faults in [("vae", vae), ("unet", unet), ("text_encoder", text_encoder)]:
        name = f"{component}/config.json"
        for fault, changes, words in faults:
            # `run` takes the size of its inputs, not of the configuration.
            commands = tested[component]
            if component == "unet" and fault.startswith("sample-size") and fault != "sample-size-text":
                commands = commands[1:]
            if component == "unet" and fault == "added-conditions":
                commands = commands[1:]
            # The autoencoder of a teacher need not be able to encode for the student.
            file = rf"{component}/(config\.json|[a-z_]*model\.safetensors)"
            yield Row(f"config-{component}", fault, with_model(setting(name, **changes)), commands, (file, words))


def index_rows():
    name, file = "model_index.json", r"model_index\.json"
    commands = ("export", "pairs", "gallery")
    for fault, change in text_faults(name):
        if fault not in ["not-utf-8"]:
            yield Row("model-index", fault, with_model(change), commands, (file,))
    yield Row("model-index", "not-utf-8", with_model(replaced(name, b'{"_class_name": "\xff\xfe"}')), commands, (file,))
    for fault, changes, words in [
        ("pipeline-unknown", dict(_class_name="FluxPipeline"), r"_class_name|FluxPipeline"),
        ("pipeline-xl", dict(_class_name="StableDiffusionXLPipeline"), r"_class_name|StableDiffusionXLPipeline"),
        ("pipeline-number", dict(_class_name=7), r"_class_name"),
        ("pipeline-missing", dict(_class_name=None), r"_class_name"),
        ("class-unknown", dict(unet=["diffusers", "UNet3DConditionModel"]), r"UNet3DConditionModel"),
        ("class-transformer", dict(unet=NULL, transformer=["diffusers", "SD3Transformer2DModel"]), r"unet|transformer"),
        ("class-path", dict(vae=["../../elsewhere", "AutoencoderKL"]), r"vae"),
        ("class-of-own-code", dict(vae=["my_module", "AutoencoderKL"]), r"vae|my_module"),
        ("component-text", dict(vae="AutoencoderKL"), r"vae"),
        ("component-of-one", dict(text_encoder=["CLIPTextModel"]), r"text_encoder"),
        ("component-of-numbers", dict(unet=[1, 2]), r"unet"),
        ("component-null", dict(unet=NULL), r"unet"),
        ("component-missing", dict(vae=None), r"vae"),
        ("text-encoder-other", dict(text_encoder=["transformers", "T5EncoderModel"]), r"T5EncoderModel"),
        ("second-text-encoder", dict(text_encoder_2=["transformers", "CLIPTextModelWithProjection"]), r"text_encoder_2"),
    ]:
        yield Row("model-index", fault, with_model(setting(name, **changes)), commands, (file, words))

    def link_to_other_file(model):
        outside = model.parent / "outside.txt"
        outside.write_text("a file of someone else's: canary\n")
        remove(model / name)
        os.symlink(outside, model / name)

    yield Row("model-index", "link-to-another-file", with_model(link_to_other_file), commands, (file,))


def scheduler_rows():
    name, file = "scheduler/scheduler_config.json", r"scheduler/scheduler_config\.json"
    commands = ("export", "pairs")
    for fault, change in text_faults(name):
        if fault in ["empty", "html", "cut", "list", "100000-brackets", "byte-order-mark", "utf-16", "folder-instead"]:
            yield Row("scheduler", fault, with_model(change), commands, (file,))
    yield Row("scheduler", "missing-file", with_model(missing(name)), commands, (r"scheduler_config\.json",))
    for fault, changes, words in [
        ("class-unknown", dict(_class_name="SomeScheduler"), r"_class_name|SomeScheduler"),
        ("class-flow", dict(_class_name="FlowMatchEulerDiscreteScheduler"), r"_class_name|FlowMatch"),
        ("class-number", dict(_class_name=7), "_class_name"),
        ("steps-zero", dict(num_train_timesteps=0), "num_train_timesteps"),
        ("steps-negative", dict(num_train_timesteps=-1000), "num_train_timesteps"),
        ("steps-500", dict(num_train_timesteps=500), r"num_train_timesteps|timestep 999"),
        ("steps-billion", dict(num_train_timesteps=10**9), "num_train_timesteps"),
        ("steps-text", dict(num_train_timesteps="1000"), "num_train_timesteps"),
        ("steps-fraction", dict(num_train_timesteps=1000.5), "num_train_timesteps"),
        ("beta-zero", dict(beta_start=0), "beta_start"),
        ("beta-negative", dict(beta_start=-0.001), "beta_start"),
        ("beta-one", dict(beta_end=1.0), "beta_end"),
        ("beta-text", dict(beta_end="0.012"), "beta_end"),
        ("beta-infinite", dict(beta_end=Raw("1e999")), r"beta_end|number"),
        ("beta-nan", dict(beta_start=Raw("NaN")), r"beta_start|JSON"),
        ("schedule-unknown", dict(beta_schedule="squaredcos_cap_v2"), "beta_schedule"),
        ("schedule-number", dict(beta_schedule=1), "beta_schedule"),
        ("prediction-v", dict(prediction_type="v_prediction"), "prediction_type"),
        ("prediction-sample", dict(prediction_type="sample"), "prediction_type"),
        ("betas-given", dict(trained_betas=[0.1] * 1000), "trained_betas"),
        ("rescaled", dict(rescale_betas_zero_snr=True), "rescale_betas_zero_snr"),
        ("thresholding", dict(thresholding=True), "thresholding"),
        ("clipped", dict(clip_sample=True), "clip_sample"),
        ("clip-by-default", dict(clip_sample=None), "clip_sample"),
        ("spacing-unknown", dict(timestep_spacing="random"), "timestep_spacing"),
        ("offset-too-large", dict(steps_offset=1000), "steps_offset"),
        ("offset-negative", dict(steps_offset=-1), "steps_offset"),
        ("alpha-text", dict(set_alpha_to_one="no"), "set_alpha_to_one"),
    ]:
        yield Row("scheduler", fault, with_model(setting(name, **changes)), commands, (file, words))


# Harmless oddities of tokenizer.json: nothing that makes the library behind `pairs` and `export` fail in its own way.
def tokenizer_changes():
    def edited(change):
        def apply(content):
            tokenizer = json.loads(content)
            result = change(tokenizer)
            return json.dumps(tokenizer if result is None else result).encode()

        return apply

    def at(*keys, value):
        def change(tokenizer):
            container = tokenizer
            for key in keys[:-1]:
                container = container[key]
            container[keys[-1]] = value

        return edited(change)

    def without(*keys):
        def change(tokenizer):
            container = tokenizer
            for key in keys[:-1]:
                container = container[key]
            container.pop(keys[-1])

        return edited(change)

    nested = {"type": "Lowercase"}
    for _ in range(30):
        nested = {"type": "Sequence", "normalizers": [nested]}
    return [
        ("empty", lambda content: b"", ""),
        ("html", lambda content: HTML, ""),
        ("lfs-pointer", lambda content: LFS_POINTER, ""),
        ("cut", lambda content: content[: len(content) // 2], ""),
        ("list", lambda content: b"[]", ""),
        ("object-empty", lambda content: b"{}", ""),
        ("byte-order-mark", lambda content: MARK + content, ""),
        ("utf-16", lambda content: content.decode().encode("utf-16"), ""),
        ("100-brackets", lambda content: b"[" * 100, ""),
        ("version-2", at("version", value="2.0"), r"version|2\.0"),
        ("key-unknown", at("surprise", value=1), "surprise"),
        ("model-word-level", at("model", "type", value="WordLevel"), r"WordLevel"),
        ("model-unigram", at("model", value={"type": "Unigram", "unk_id": 0, "vocab": [["a", 0.0]]}), r"Unigram|special|start token"),
        ("model-missing", without("model"), "model missing|no model|type"),
        ("model-key-unknown", at("model", "cache_capacity", value=10), "cache_capacity"),
        ("byte-fallback", at("model", "byte_fallback", value=True), "byte_fallback"),
        ("dropout", at("model", "dropout", value=0.5), "dropout"),
        ("vocabulary-missing", without("model", "vocab"), r"vocab"),
        ("id-text", at("model", "vocab", value={"a": "0"}), r"vocab|token|id|invalid type|match"),
        ("merge-unknown", at("model", "merges", value=[["q", "zz"]]), r"merge|zz|vocab"),
        ("merge-of-three", at("model", "merges", value=[["a", "b", "c"]]), r"merge|match|length"),
        ("padding-missing", without("padding"), r"padding"),
        ("padding-null", at("padding", value=None), r"padding"),
        ("padding-to-longest", at("padding", "strategy", value="BatchLongest"), r"padding|length"),
        ("padding-17", at("padding", "strategy", value={"Fixed": 17}), r"padding|length"),
        ("padding-multiple", at("padding", "pad_to_multiple_of", value=7), r"pad_to_multiple_of"),
        ("padding-id-beyond", at("padding", "pad_id", value=10**6), r"pad_id|padding|1000000|filled"),
        ("truncation-missing", at("truncation", value=None), r"truncation|length"),
        ("truncation-8", at("truncation", "max_length", value=8), r"truncation|length"),
        ("added-empty", edited(lambda t: t["added_tokens"].append(dict(t["added_tokens"][-1], id=10**4, content=""))), r"added|empty|token"),
        ("replace-by-pattern", at("normalizer", value={"type": "Replace", "pattern": {"Regex": "a+"}, "content": "b"}), r"replace"),
        ("prepend", at("normalizer", value={"type": "Prepend", "prepend": "_"}), r"Prepend"),
        ("strip-accents", at("normalizer", value={"type": "StripAccents"}), r"StripAccents"),
        ("normalizer-unknown", at("normalizer", value={"type": "Nonsense"}), r"Nonsense|normalizer|match|variant"),
        ("normalizer-number", at("normalizer", value={"type": 7}), r"normalizer|match|variant|type"),
        ("normalizers-nested", at("normalizer", value=nested), r"nest|depth|recursion"),
        ("splitter-unknown", at("pre_tokenizer", value={"type": "Digits", "individual_digits": True}), r"Digits"),
        ("post-processor-unknown", at("post_processor", value={"type": "Nonsense"}), r"Nonsense|post_processor|match|variant"),
        ("post-processor-missing", at("post_processor", value=None), r"start|special|prompts|template|post_processor"),
    ]


def tokenizer_rows():
    name, file = "tokenizer/tokenizer.json", r"tokenizer/tokenizer\.json"
    for fault, content, words in tokenizer_changes():
        yield Row("tokenizer", fault, with_model(replaced(name, content)), ("export", "pairs"), (file, words))
    yield Row("tokenizer", "missing-file", with_model(missing(name)), ("export", "pairs"), (r"tokenizer",))
    folder = lambda model: (remove(model / name), (model / name).mkdir())
    yield Row("tokenizer", "folder-instead", with_model(folder), ("export", "pairs"), (file,))


def parts_rows():
    """Components that are sound and do not fit each other: both must be named."""

    def cross_attention_24(model):
        setting("unet/config.json", cross_attention_dim=24)(model)
        path = model / "unet/diffusion_pytorch_model.safetensors"
        cut = lambda name, dtype, shape, data: (
            (name, dtype, [shape[0], 24], data[: shape[0] * 96]) if ".attn2.to_k." in name or ".attn2.to_v." in name else (name, dtype, shape, data)
        )
        replace(path, Tensors.of([cut(*tensor) for tensor in Tensors.read(path.read_bytes()).tensors()]).bytes())

    def inpainting_9(model):
        setting("unet/config.json", in_channels=9)(model)
        path = model / "unet/diffusion_pytorch_model.safetensors"
        replace(path, Tensors.read(path.read_bytes()).changed("conv_in.weight", lambda d, s, b: (d, [s[0], 9, 3, 3], bytes(s[0] * 324))).bytes())

    def positions_8(model):
        setting("text_encoder/config.json", max_position_embeddings=8)(model)
        path = model / "text_encoder/model.safetensors"
        name = "text_model.embeddings.position_embedding.weight"
        replace(path, Tensors.read(path.read_bytes()).changed(name, lambda d, s, b: (d, [8, s[1]], b[: 32 * s[1]])).bytes())

    def fewer_embeddings(model):
        path = model / "text_encoder/model.safetensors"
        config = json.loads((model / "text_encoder/config.json").read_bytes())
        rows = config["vocab_size"] - 2
        setting("text_encoder/config.json", vocab_size=rows)(model)
        name = "text_model.embeddings.token_embedding.weight"
        replace(path, Tensors.read(path.read_bytes()).changed(name, lambda d, s, b: (d, [rows, s[1]], b[: 4 * rows * s[1]])).bytes())

    def latents_16(model):
        setting("vae/config.json", latent_channels=16)(model)
        path = model / "vae/diffusion_pytorch_model.safetensors"
        file = Tensors.read(path.read_bytes())
        wide = {"encoder.conv_out.weight": (32, None), "encoder.conv_out.bias": (32,), "quant_conv.weight": (32, 32), "quant_conv.bias": (32,)}
        wide |= {"post_quant_conv.weight": (16, 16), "post_quant_conv.bias": (16,), "decoder.conv_in.weight": (None, 16)}

        def resized(name, dtype, shape, data):
            shape = [new or old for new, old in zip([*wide.get(name, ()), *[None] * 4], shape)]
            count = 1
            for length in shape:
                count *= length
            return name, dtype, shape, (data * (4 * count // len(data) + 1))[: 4 * count]

        replace(path, Tensors.of([resized(*tensor) for tensor in file.tensors()]).bytes())

    for fault, change, words in [
        ("cross-attention-24", cross_attention_24, (r"unet", r"text_encoder", "24", "32")),
        ("unet-of-9-channels", inpainting_9, (r"unet", r"in_channels|channels", "9", "4")),
        ("positions-fewer-than-tokens", positions_8, (r"text_encoder|max_position_embeddings", r"token", "16", "8")),
        ("embeddings-fewer-than-tokens", fewer_embeddings, (r"text_encoder|vocab_size|embedding", r"token")),
        ("autoencoder-of-16-channels", latents_16, (r"unet", r"vae|autoencoder", "16", "4")),
    ]:
        yield Row("parts", fault, with_model(change), ("export", "pairs"), words)


SHARDS = [f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2)]
INDEX = "diffusion_pytorch_model.safetensors.index.json"


def sharded(model):
    """Splits the autoencoder's weights into two files with an index, as diffusers saves large ones."""
    folder = model / "vae"
    path = folder / "diffusion_pytorch_model.safetensors"
    tensors = Tensors.read(path.read_bytes()).tensors()
    remove(path)
    half = len(tensors) // 2
    halves = [tensors[:half], tensors[half:]]
    for shard, part in zip(SHARDS, halves):
        replace(folder / shard, Tensors.of(part).bytes())
    size = sum(len(data) for *_, data in tensors)
    weight_map = {tensor[0]: shard for shard, part in zip(SHARDS, halves) for tensor in part}
    replace(folder / INDEX, json.dumps({"metadata": {"total_size": size}, "weight_map": weight_map}))


def shards_rows():
    commands = ("run vae_decoder", "export", "train teacher")
    index_file = r"index\.json"
    first_shard = r"diffusion_pytorch_model-00001-of-00002\.safetensors"
    tensor = r"[a-z_]+\.[a-z0-9_.]*(weight|bias)"

    def indexed(change):
        def apply(model):
            sharded(model)
            path = model / "vae" / INDEX
            index = json.loads(path.read_bytes())
            result = change(index, model / "vae")
            replace(path, result if isinstance(result, bytes) else json.dumps(index))

        return with_model(apply)

    def pointing(name):
        def change(index, folder):
            index["weight_map"] = {tensor: name if shard == SHARDS[0] else shard for tensor, shard in index["weight_map"].items()}

        return change

    def named(index):
        return sorted(index["weight_map"], key=lambda name: index["weight_map"][name])

    def wrong_shard(index, folder):
        index["weight_map"][named(index)[0]] = SHARDS[1]

    def not_in_shards(index, folder):
        index["weight_map"]["decoder.more.weight"] = SHARDS[0]

    def in_both(index, folder):
        first, second = (Tensors.read((folder / shard).read_bytes()).tensors() for shard in SHARDS)
        replace(folder / SHARDS[1], Tensors.of([*second, first[0]]).bytes())

    def cycle(index, folder):
        other = "other.safetensors.index.json"
        replace(folder / other, json.dumps({"weight_map": {"a": INDEX}}))
        pointing(other)(index, folder)

    for fault, change, words in [
        ("empty", lambda index, folder: b"", (index_file,)),
        ("html", lambda index, folder: HTML, (index_file,)),
        ("lfs-pointer", lambda index, folder: LFS_POINTER, (index_file,)),
        ("list", lambda index, folder: b"[]", (index_file,)),
        ("100000-brackets", lambda index, folder: MANY_BRACKETS, (index_file,)),
        ("not-utf-8", lambda index, folder: b'{"weight_map": {"\xff": "a"}}', (index_file,)),
        ("map-missing", lambda index, folder: index.pop("weight_map") and None, (index_file, "weight_map")),
        ("map-list", lambda index, folder: index.update(weight_map=list(index["weight_map"])), (index_file, "weight_map")),
        ("map-null", lambda index, folder: index.update(weight_map=None), (index_file, "weight_map")),
        ("map-empty", lambda index, folder: index.update(weight_map={}), (index_file, "weight_map")),
        ("map-of-numbers", lambda index, folder: index.update(weight_map={name: 1 for name in index["weight_map"]}), (index_file, tensor)),
        ("map-one-number", lambda index, folder: index["weight_map"].update({named(index)[0]: 7}), (index_file, tensor)),
        ("map-one-null", lambda index, folder: index["weight_map"].update({named(index)[0]: None}), (index_file, tensor)),
        ("map-of-lists", lambda index, folder: index["weight_map"].update({named(index)[0]: [SHARDS[0]]}), (index_file, tensor)),
        ("shard-parent", pointing("../vae/" + SHARDS[0]), (index_file, r"\.\./vae")),
        ("shard-far-above", pointing("../../../../etc/hostname"), (index_file, r"\.\./\.\.")),
        ("shard-absolute", pointing("/etc/hostname"), (index_file, r"/etc/hostname")),
        ("shard-in-folder", pointing("inner/a.safetensors"), (index_file, r"inner/a")),
        ("shard-backslash", pointing("..\\a.safetensors"), (index_file, r"a\.safetensors")),
        ("shard-hidden", pointing(".hidden.safetensors"), (index_file, r"\.hidden")),
        ("shard-nameless", pointing(""), (index_file,)),
        ("shard-dot", pointing("."), (index_file,)),
        ("shard-nul", pointing("a\0.safetensors"), (index_file, r"a\\")),
        ("shard-address", pointing("https://example.org/a.safetensors"), (index_file, r"example\.org")),
        ("shard-long-name", pointing("n" * 5000 + ".safetensors"), (index_file, "n{50}")),
        ("shard-pickle", pointing("diffusion_pytorch_model.bin"), (r"diffusion_pytorch_model\.bin",)),
        ("shard-index-itself", pointing(INDEX), (index_file,)),
        ("shard-cycle", cycle, (r"other\.safetensors\.index\.json",)),
        ("shard-missing", lambda index, folder: remove(folder / SHARDS[0]), (first_shard,)),
        ("shard-folder", lambda index, folder: (remove(folder / SHARDS[0]), (folder / SHARDS[0]).mkdir()) and None, (first_shard,)),
        ("shard-empty", lambda index, folder: replace(folder / SHARDS[0], b""), (first_shard,)),
        ("shard-cut", lambda index, folder: replace(folder / SHARDS[0], (folder / SHARDS[0]).read_bytes()[:-50]), (first_shard,)),
        ("shard-lfs-pointer", lambda index, folder: replace(folder / SHARDS[0], LFS_POINTER), (first_shard,)),
        ("tensor-in-other-shard", wrong_shard, (index_file + "|0000[12]-of-00002", tensor)),
        ("tensor-in-no-shard", not_in_shards, (index_file + "|0000[12]-of-00002", r"decoder\.more\.weight")),
        ("tensor-in-two-shards", in_both, (index_file + "|0000[12]-of-00002", tensor)),
    ]:
        yield Row("weights-shards", fault, indexed(change), commands, words)


def rows():
    yield from config_rows()
    yield from index_rows()
    yield from scheduler_rows()
    yield from tokenizer_rows()
    yield from parts_rows()
    yield from shards_rows()
