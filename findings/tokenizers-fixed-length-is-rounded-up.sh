#!/usr/bin/env bash
# tokenizers 0.22.1 (PyPI): a padding with a fixed length and `pad_to_multiple_of` gives more ids than the fixed length, and more than the
# truncation's `max_length`.
#
# Expected: `length=16` wins, because a text encoder with 16 positions reads no more. Seen: the fixed length is rounded up to the
# multiple, so every text has 21 ids, also one that was cut to 16 first. A `tokenizer.json` with both keys is valid, is written so by
# `save`, and reads back with the same effect. A reader that takes `strategy.Fixed` for the number of ids is wrong by five.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check tokenizers==0.22.1
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import sys
from tokenizers import Tokenizer, models, pre_tokenizers

tokenizer = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "red": 2, "heart": 3}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer.enable_truncation(max_length=16)
tokenizer.enable_padding(length=16, pad_to_multiple_of=7)
tokenizer.save(f"{sys.argv[1]}/tokenizer.json")
read_back = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
lengths = [len(one.encode(text).ids) for one in (tokenizer, read_back) for text in ("red heart", "red " * 100)]
print("ids per text with length=16, max_length=16, pad_to_multiple_of=7:", lengths)
sys.exit(0 if lengths == [21, 21, 21, 21] else 1)
PYTHON
