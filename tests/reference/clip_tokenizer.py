"""CLIP's tokenizer in the forms of published folders, and the ids that transformers gives.

The vocabulary is that of OpenAI's CLIP (MIT licence), as the package `open_clip_torch` carries it. Without an argument,
tests/fixtures/tokenizers is written: the vocabulary cut after the first 1,000 merges, several kinds of settings beside it
and, for each, added tokens and ids by transformers. With a folder as argument, the whole vocabulary is written there, with
ids of 5,000 texts, for the ignored test of crates/onestep-pipeline/tests/tokenizers.rs:

    pip install -r tests/reference/requirements.txt open_clip_torch
    python tests/reference/clip_tokenizer.py
    python tests/reference/clip_tokenizer.py /tmp/clip
    ONESTEP_CLIP_TOKENIZER=/tmp/clip cargo test --release -p onestep-pipeline --test tokenizers -- --ignored

`--against OTHER.json` prints how many of the 5,000 texts have other ids in another run's ids.json. A run with transformers 4
(in its own environment, with ftfy) takes the class CLIPTokenizer that was written in Python.
"""

import argparse
import gzip
import importlib.util
import json
import pathlib
import random
import shutil
import tempfile

import transformers
from transformers import CLIPTokenizer

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "tokenizers"
START, END = "<|startoftext|>", "<|endoftext|>"
TEXTS = [
    "", " ", "red heart", "Red  HEART!!", "a photo of a cat, on the mat", "hello!world !", "it's 10:45, don't", "ünïcödé Straße",
    "x\ty\nz", "<|endoftext|> <|startoftext|>", "<|ENDOFTEXT|>", "<|StartOfText|>!", "my thing <cat> <dog> My Thing", "日本語 🍎",
    "the quick brown fox jumps over the lazy dog and then the quick brown fox jumps over the lazy dog again and again",
]


def alphabet():
    """One printable character for each byte, printable bytes first, as GPT-2 orders them."""
    prints = [*range(33, 127), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in prints]
    return [chr(byte) for byte in prints] + [chr(256 + i) for i in range(len(others))]


def vocabulary(count):
    """The first merges of the file, and the tokens that they make."""
    package = pathlib.Path(importlib.util.find_spec("open_clip").submodule_search_locations[0])
    lines = gzip.open(package / "bpe_simple_vocab_16e6.txt.gz").read().decode().split("\n")
    merges = lines[1 : 1 + count]
    signs = alphabet()
    tokens = signs + [sign + "</w>" for sign in signs] + [merge.replace(" ", "") for merge in merges] + [START, END]
    assert len(tokens) == len(set(tokens))
    return {token: i for i, token in enumerate(tokens)}, merges


def token(content, normalized, special=None):
    flags = {"content": content, "lstrip": False, "normalized": normalized, "rstrip": False, "single_word": False}
    return flags if special is None else {**flags, "special": special}


def typed(content, normalized):
    return {"__type": "AddedToken", **token(content, normalized)}


def forms(start, end):
    """Files beside vocabulary and merges, by the name of the form."""
    config = {
        "add_prefix_space": False, "bos_token": typed(START, True), "do_lower_case": True, "eos_token": typed(END, True), "errors": "replace",
        "model_max_length": 77, "pad_token": END, "tokenizer_class": "CLIPTokenizer", "unk_token": typed(END, True),
    }
    tokens = {"bos_token": token(START, True), "eos_token": token(END, True), "pad_token": END, "unk_token": token(END, True)}
    bang = {**tokens, "pad_token": "!"}
    decoder = {"0": token("!", False, True), str(start): token(START, True, True), str(end): token(END, False, True)}
    names = {"bos_token": START, "eos_token": END, "unk_token": END, "tokenizer_class": "CLIPTokenizer", "model_max_length": 77}
    without = {key: value for key, value in decoder.items() if key != "0"}
    C, M, A = "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"
    return {
        "sd1": {C: config, M: tokens},
        "sd2": {C: config, M: bang},
        "sdxl-2": {C: {**config, "pad_token": "!"}, M: bang},
        "sdxl-2-decoder": {C: {**names, "pad_token": "!", "added_tokens_decoder": decoder}, M: bang},
        "decoder-over-map": {C: {**names, "pad_token": END, "added_tokens_decoder": without}, M: bang},
        "only-map": {M: bang},
        "only-config": {C: config},
        "nothing": {},
        "no-pad": {C: {key: value for key, value in config.items() if key != "pad_token"}},
        "additional": {C: config, M: {**tokens, "additional_special_tokens": ["<cat>"]}},
        "added": {C: config, M: tokens, A: {"<dog>": end + 1}},
        "added-in-decoder": {C: {**config, "added_tokens_decoder": {**without, str(end + 1): token("my thing", True, False)}}},
        "no-limit": {C: {**config, "model_max_length": int(1e30)}, M: tokens},
        "left": {C: {**config, "padding_side": "left", "truncation_side": "left"}, M: tokens},
        "pad-of-its-own": {C: {**config, "pad_token": "[PAD]"}},
    }


def write(folder, vocab, merges, files):
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=1), encoding="utf-8")


def ids(tokenizer, texts, length):
    return [tokenizer(text, padding="max_length", truncation=True, max_length=length)["input_ids"] for text in texts]


def fixtures():
    shutil.rmtree(FIXTURES, ignore_errors=True)
    vocab, merges = vocabulary(1000)
    write(FIXTURES, vocab, merges, {})
    cases = []
    for name, files in forms(vocab[START], vocab[END]).items():
        with tempfile.TemporaryDirectory() as home:
            folder = pathlib.Path(home) / "tokenizer"
            write(folder, vocab, merges, files)
            tokenizer = CLIPTokenizer.from_pretrained(folder)
            length = min(tokenizer.model_max_length, 24)
            tokenizer.save_pretrained(pathlib.Path(home) / "saved")
            saved = json.loads((pathlib.Path(home) / "saved" / "tokenizer.json").read_text(encoding="utf-8"))
            found = ids(tokenizer, TEXTS, length)
            if name == "sd2":
                # Padding and truncation are written since the tokenizer has padded.
                tokenizer.save_pretrained(pathlib.Path(home) / "used")
                for file in ("tokenizer.json", "tokenizer_config.json"):
                    shutil.copy(pathlib.Path(home) / "used" / file, FIXTURES / f"transformers-5-{file}")
        cases.append({
            "name": name, "files": files, "length": length, "model_max_length": min(tokenizer.model_max_length, 10**6),
            "pad_id": tokenizer.pad_token_id, "added_tokens": saved["added_tokens"], "ids": found,
        })
    text = json.dumps({"texts": TEXTS, "cases": cases}, ensure_ascii=False, separators=(",", ":"))
    (FIXTURES / "cases.json").write_text(text.replace('{"name"', '\n{"name"') + "\n", encoding="utf-8")


def captions(count):
    """Texts like prompts, and texts unlike them."""
    rng = random.Random(1)
    words = """a an the photo painting of red Blue cat DOG woman's man in on with under city street night, sunset. 4k 8K (masterpiece:1.2) [best]
        trending artstation, "quoted" it's don't they're I'll we've he'd 1920s 3.5mm café naïve Zürich São piñata Ångström straße İstanbul ΟΔΥΣΣΕΥΣ
        привет мир 日本語 漢字 한국어 العربية हिन्दी ไทย 🍎 👩‍🚒 ❤️ ½ ² ① Ⅷ — … “curly” ‘single’ <lora:x:0.8> <|endoftext|> <|startoftext|> !!! ?! & @ # % ~ `code`
        hyper-realistic unreal_engine C++ and/or e.g. &amp; &lt;b&gt; \u200b \u00a0 \ufeff \u0000 \u0301 \ufb01ne ｆｕｌｌ""".split(" ")
    texts = []
    for _ in range(count):
        parts = [rng.choice(words).strip("\n") for _ in range(rng.randint(1, 30))]
        if rng.random() < 0.2:
            parts.append("".join(chr(rng.choice([rng.randint(32, 126), rng.randint(160, 0x24F), rng.randint(0x370, 0x52F)])) for _ in range(8)))
        texts.append(rng.choice([" ", " ", " ", "  ", ""]).join(parts))
    return texts


def whole(out):
    shutil.rmtree(out, ignore_errors=True)
    vocab, merges = vocabulary(49152 - 256 - 2)
    write(out, vocab, merges, forms(vocab[START], vocab[END])["sd1"])
    tokenizer = CLIPTokenizer.from_pretrained(out)
    texts = captions(5000)
    found = {"texts": texts, "ids": ids(tokenizer, texts, 77)}
    (out / "ids.json").write_text(json.dumps(found), encoding="utf-8")
    print(f"transformers {transformers.__version__}, {type(tokenizer).__name__}, fast: {tokenizer.is_fast}")


def compare(out, other):
    ours, theirs = (json.loads(path.read_text(encoding="utf-8")) for path in (out / "ids.json", other))
    assert ours["texts"] == theirs["texts"]
    different = [text for text, a, b in zip(ours["texts"], ours["ids"], theirs["ids"]) if a != b]
    print(f"{len(different)} of {len(ours['texts'])} texts have other ids; the first:", *map(repr, different[:5]), sep="\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("out", nargs="?", type=pathlib.Path)
    parser.add_argument("--against", type=pathlib.Path)
    options = parser.parse_args()
    if options.out is None:
        fixtures()
    else:
        whole(options.out)
        if options.against:
            compare(options.out, options.against)
