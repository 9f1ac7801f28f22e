#!/usr/bin/env bash
# transformers 4.46.3 and 5.24.0: `CLIPTokenizer` gives other ids for ordinary punctuation, from the same vocab.json and merges.txt.
#
# Expected: a published tokenizer gives the same ids in both. Seen: version 4 cleans texts with ftfy (if it is installed, as its
# documentation asks) before they are split, version 5 splits them as they are. A curly apostrophe, a ligature, full-width letters and
# HTML entities then become other tokens, so that a text encoder trained with one sees other prompts with the other.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat >"$folder/ids.py" <<'PYTHON'
import json, sys
from transformers import CLIPTokenizer
tokenizer = CLIPTokenizer.from_pretrained(sys.argv[1])
texts = ["don\u2019t", "\ufb01ne", "&amp;", "\uff46\uff55\uff4c\uff4c", "a red heart"]
print(json.dumps([tokenizer(text)["input_ids"] for text in texts]))
PYTHON
mkdir "$folder/tokenizer"
python3 - "$folder/tokenizer" <<'PYTHON'
import json, sys
printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
characters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
merges = ["r e", "re d</w>", "h e", "a r", "he ar", "hear t</w>"]
words = characters + [c + "</w>" for c in characters] + ["".join(m.split()) for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
json.dump({word: i for i, word in enumerate(words)}, open(f"{sys.argv[1]}/vocab.json", "w"))
open(f"{sys.argv[1]}/merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")
special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
json.dump(special | {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77}, open(f"{sys.argv[1]}/tokenizer_config.json", "w"))
PYTHON
for version in 4.46.3 5.24.0; do
  python3 -m venv "$folder/$version"
  "$folder/$version/bin/pip" install --quiet --disable-pip-version-check "transformers==$version" ftfy==6.3.1
  "$folder/$version/bin/python" "$folder/ids.py" "$folder/tokenizer" >"$folder/$version.json" 2>/dev/null
done
python3 - "$folder" <<'PYTHON'
import json, sys
old, new = (json.load(open(f"{sys.argv[1]}/{version}.json")) for version in ("4.46.3", "5.24.0"))
for name, a, b in zip(["curly apostrophe", "ligature", "HTML entity", "full width", "plain words"], old, new):
    print(f"{name:17} {'the same' if a == b else f'{a} and {b}'}")
sys.exit(0 if [a == b for a, b in zip(old, new)] == [False, False, False, False, True] else 1)
PYTHON
