"""Malformed bundles: manifest, programs and tokenizer, hashed again so that the format refuses them; and files that are not those of their hashes."""

import json

from formats import Tensors, rehash, sha256
from harness import remove, replace
from rows_common import HTML, LFS_POINTER, MANY_BRACKETS, MARK, Row, replaced, with_bundle
from rows_models import NULL, setting, tokenizer_changes
from rows_tensors import TWICE, flipped

COMMANDS = ("inspect", "generate")
MANIFEST = "manifest.json"
LISTED = r"manifest\.json"


def manifest_rows():
    def row(fault, change, *words):
        return Row("bundle-manifest", fault, with_bundle(change), COMMANDS, words)

    for fault, content in [
        ("empty", b""),
        ("html", HTML),
        ("lfs-pointer", LFS_POINTER),
        ("cut", lambda content: content[: len(content) // 2]),
        ("list", lambda content: b"[" + content + b"]"),
        ("number", b"7"),
        ("100000-brackets", MANY_BRACKETS),
        ("byte-order-mark", lambda content: MARK + content),
        ("utf-16", lambda content: content.decode().encode("utf-16")),
        ("not-utf-8", lambda content: content.replace(b'"Small"', b'"\xff\xfe"')),
        ("two-objects", lambda content: content + content),
        ("17-deep", lambda content: content.replace(b'"Small"', b"[" * 17 + b"]" * 17)),
        ("one-mebibyte-and-more", lambda content: content + b" " * (1 << 20)),
        ("100-MB", lambda content: content + b" " * (100 << 20)),
        ("key-twice", lambda content: content.replace(b'"title"', b'"title": "a", "title"', 1)),
    ]:
        yield row(fault, replaced(MANIFEST, content), LISTED)
    yield row("missing-file", lambda bundle: remove(bundle / MANIFEST), LISTED)
    yield row("folder-instead", lambda bundle: (remove(bundle / MANIFEST), (bundle / MANIFEST).mkdir()), LISTED)

    def generation(**changes):
        def change(bundle):
            manifest = json.loads((bundle / MANIFEST).read_bytes())
            generation = {key: value for key, value in (manifest["generation"] | changes).items() if value is not None}
            setting(MANIFEST, generation=generation)(bundle)

        return change

    def entries(change_list):
        def change(bundle):
            manifest = json.loads((bundle / MANIFEST).read_bytes())
            change_list(manifest["files"])
            replace(bundle / MANIFEST, json.dumps(manifest))

        return change

    def first_named(name):
        return entries(lambda files: files[0].update(name=name))

    def renamed(old, new):
        """A file under another name wherever the manifest names it."""

        def change(bundle):
            text = (bundle / MANIFEST).read_text()
            replace(bundle / MANIFEST, text.replace(json.dumps(old), json.dumps(new)))

        return change

    for fault, changes, word in [
        ("format-other", dict(format="other-bundle"), "other-bundle"),
        ("format-missing", dict(format=None), "format"),
        ("format-number", dict(format=1), r"format|string|integer"),
        ("version-2", dict(version=2), r"version 2"),
        ("version-0", dict(version=0), r"version 0"),
        ("version-huge", dict(version=2**40), r"version|4294967296|1099511627776|u32"),
        ("version-text", dict(version="1"), r"version|string|u32"),
        ("key-unknown", dict(surprise=1), "surprise"),
        ("title-missing", dict(title=None), "title"),
        ("title-number", dict(title=7), r"title|string|integer"),
        ("card-missing", dict(card=None), "card"),
        ("card-not-listed", dict(card="NOTES.md"), r"NOTES\.md"),
        ("tokenizer-not-listed", dict(tokenizer="words.json"), r"words\.json"),
        ("tokenizer-null", dict(tokenizer=NULL), r"tokenizer|string|null"),
        ("tokenizer-is-weights", dict(tokenizer="weights-00001.safetensors"), r"weights-00001"),
        ("weights-not-listed", dict(weights=["other.safetensors"]), r"other\.safetensors"),
        ("weights-twice", dict(weights=["weights-00001.safetensors"] * 2), r"weights-00001"),
        ("weights-none", dict(weights=[]), r"weight|tensor"),
        ("weights-text", dict(weights="weights-00001.safetensors"), r"weights|sequence"),
        ("weights-is-tokenizer", dict(weights=["tokenizer.json"]), r"tokenizer\.json"),
        ("components-list", dict(components=["a.json"]), r"components|map|sequence"),
        ("component-not-listed", dict(components=dict(decoder="d.json", generator="generator.json", text_encoder="text-encoder.json")), r"d\.json"),
        (
            "components-exchanged",
            dict(components=dict(decoder="generator.json", generator="decoder.json", text_encoder="text-encoder.json")),
            r"decoder|generator",
        ),
        ("files-none", dict(files=[]), r"not listed|files"),
        ("files-object", dict(files={}), r"files|sequence|map"),
    ]:
        yield row(
            fault,
            setting(MANIFEST, **changes),
            LISTED + (r"|tokenizer\.json|weights-00001|decoder|generator" if "manifest" not in fault else ""),
            word,
        )
    for fault, change, word in [
        ("latent-zero", generation(latent=[4, 0, 8]), r"latent"),
        ("latent-other", generation(latent=[4, 9, 9]), r"latent|noise"),
        ("latent-two", generation(latent=[4, 8]), r"latent|length"),
        ("latent-huge", generation(latent=[2**30, 2**30, 2**30]), r"latent|axis|elements"),
        ("latent-negative", generation(latent=[-4, 8, 8]), r"latent|invalid value|usize|-4"),
        ("tokens-zero", generation(prompt_tokens=0), r"prompt_tokens"),
        ("tokens-17", generation(prompt_tokens=17), r"prompt_tokens|input_ids|17"),
        ("tokens-huge", generation(prompt_tokens=2**40), r"prompt_tokens|axis"),
        ("tokens-text", generation(prompt_tokens="16"), r"prompt_tokens|string|usize"),
        ("tokens-missing", generation(prompt_tokens=None), r"prompt_tokens"),
        ("image-zero", generation(image=[0, 0]), r"image"),
        ("image-other", generation(image=[48, 32]), r"image|sample"),
        ("image-4097", generation(image=[4097, 4097]), r"image|side|4097"),
        ("image-huge", generation(image=[2**62, 2**62]), r"image|side"),
        ("generation-key-unknown", generation(surprise=1), "surprise"),
    ]:
        yield row(fault, change, LISTED + r"|text_encoder|generator|decoder", word)
    for fault, name, word in [
        ("name-parent", "../decoder.json", r"\.\./decoder"),
        ("name-absolute", "/etc/hostname", r"/etc/hostname"),
        ("name-in-folder", "a/b.json", r"a/b\.json"),
        ("name-backslash", "..\\decoder.json", r"decoder\.json"),
        ("name-drive", "C:decoder.json", r"C:decoder"),
        ("name-hidden", ".decoder.json", r"\.decoder"),
        ("name-dots", "..", r"\.\."),
        ("name-empty", "", r'""'),
        ("name-nul", "a\0.json", r"a\\"),
        ("name-escape-sequence", "a\x1b[31m.json", r"a\\"),
        ("name-not-ascii", "décoder.json", r"coder\.json"),
        ("name-of-101", "a" * 101, r"101|a{50}"),
        ("name-of-200000", "a" * 200_000, r"200000|a{50}"),
        ("name-manifest", "manifest.json", r"manifest\.json"),
        ("name-listed-twice", "generator.json", r"generator\.json"),
        ("name-by-case-alone", "Generator.JSON", r"Generator\.JSON"),
    ]:
        yield row(fault, first_named(name), LISTED, word)
        if fault in ["name-parent", "name-absolute", "name-hidden"]:
            yield row("component-" + fault, renamed("decoder.json", name), LISTED, word)

    def without_decoder(bundle):
        setting(MANIFEST, components=dict(generator="generator.json", text_encoder="text-encoder.json"))(bundle)
        path = bundle / "weights-00001.safetensors"
        # Its tensors too, or they are what is refused.
        left = [tensor for tensor in Tensors.read(path.read_bytes()).tensors() if not tensor[0].startswith("decoder.")]
        replace(path, Tensors.of(left).bytes())
        rehash(bundle)

    yield row("component-missing", without_decoder, LISTED, r"decoder")
    # `generate` has no use for the file; `inspect` says that every hash is right.
    not_on_disk = entries(lambda files: files.append(dict(name="more.bin", size=1, chunks=[sha256(b"x")])))
    yield Row("bundle-manifest", "entry-not-on-disk", with_bundle(not_on_disk), ("inspect",), (r"more\.bin",))
    for fault, change, word in [
        ("size-missing", entries(lambda files: files[0].pop("size")), "size"),
        ("size-negative", entries(lambda files: files[0].update(size=-1)), r"size|-1|u64"),
        ("size-fraction", entries(lambda files: files[0].update(size=1.5)), r"size|1\.5|u64"),
        ("size-5-GB", entries(lambda files: files[0].update(size=5 << 30)), r"bytes|decoder\.json"),
        ("size-huge", entries(lambda files: files[0].update(size=2**64 - 1)), r"bytes|decoder\.json"),
        ("sizes-sum-overflow", entries(lambda files: [entry.update(size=2**63) for entry in files]), r"bytes"),
        ("size-one-more", entries(lambda files: files[0].update(size=files[0]["size"] + 1)), r"decoder\.json"),
        ("size-one-less", entries(lambda files: files[0].update(size=files[0]["size"] - 1)), r"decoder\.json"),
        ("hashes-none", entries(lambda files: files[0].update(chunks=[])), r"decoder\.json"),
        ("hashes-two", entries(lambda files: files[0].update(chunks=files[0]["chunks"] * 2)), r"decoder\.json"),
        ("hash-short", entries(lambda files: files[0].update(chunks=["ab"])), r"decoder\.json"),
        ("hash-capitals", entries(lambda files: files[0].update(chunks=[files[0]["chunks"][0].upper()])), r"decoder\.json"),
        ("hash-no-hexadecimal", entries(lambda files: files[0].update(chunks=["g" * 64])), r"decoder\.json"),
        ("hash-number", entries(lambda files: files[0].update(chunks=[7])), r"chunks|string|integer"),
        ("hash-of-other-file", entries(lambda files: files[0].update(chunks=files[1]["chunks"])), r"decoder\.json"),
        ("entry-key-unknown", entries(lambda files: files[0].update(address="https://example.org/a")), "address"),
        ("entries-1001", entries(lambda files: files.extend(dict(name=f"f{n}", size=0, chunks=[]) for n in range(1001))), r"1,?000|files|f0"),
    ]:
        yield row(fault, change, LISTED + r"|decoder\.json", word)


def program_rows():
    """Changes of the decoder's program, hashed again."""
    name, file = "decoder.json", r"decoder"

    def edited(change):
        def apply(bundle):
            program = json.loads((bundle / name).read_bytes())
            result = change(program)
            replace(bundle / name, result if isinstance(result, bytes) else json.dumps(program))
            rehash(bundle)

        return with_bundle(apply)

    def text(change):
        def apply(bundle):
            replace(bundle / name, change((bundle / name).read_bytes()))
            rehash(bundle)

        return with_bundle(apply)

    def node(kind, program):
        return next(node for node in program["nodes"] if node["op"]["kind"] == kind)

    def weight(program):
        return next(value for value in program["values"] if value.get("weight"))

    def on(kind, **changes):
        def change(program):
            node(kind, program)["op"].update(changes)

        return change

    def no(kind, key):
        return lambda program: node(kind, program)["op"].pop(key) and None

    many = 20_001
    for fault, make, word in [
        ("empty", text(lambda content: b""), r"json|EOF|empty"),
        ("html", text(lambda content: HTML), r"expected|JSON"),
        ("cut", text(lambda content: content[: len(content) // 2]), r"EOF|expected|JSON"),
        ("list", text(lambda content: b"[]"), r"expected|version|invalid"),
        ("100000-brackets", text(lambda content: MANY_BRACKETS), r"nest|depth"),
        ("17-deep", text(lambda content: content.replace(b'"decoder"', b"[" * 17 + b"]" * 17, 1)), r"nest|depth"),
        ("not-utf-8", text(lambda content: content.replace(b'"decoder"', b'"\xff"', 1)), r"UTF-8|unicode|invalid"),
        ("9-MiB", text(lambda content: content + b" " * (9 << 20)), r"bytes"),
        ("key-twice", text(lambda content: content.replace(b'"nodes":', b'"nodes":[],"nodes":', 1)), TWICE),
        ("version-9", edited(lambda p: p.update(version=9)), r"version 9"),
        ("version-0", edited(lambda p: p.update(version=0)), r"version 0"),
        ("key-unknown", edited(lambda p: p.update(shader="@compute")), "shader"),
        ("nodes-missing", edited(lambda p: p.pop("nodes") and None), "nodes"),
        ("nodes-none", edited(lambda p: p.update(nodes=[])), r"computed|sample|tensor"),
        ("nodes-reversed", edited(lambda p: p["nodes"].reverse()), r"before it is computed|operation"),
        ("node-twice", edited(lambda p: p["nodes"].insert(0, p["nodes"][0])), r"written before|writes|operation"),
        ("node-left-out", edited(lambda p: p["nodes"].pop(0) and None), r"before it is computed|operation"),
        ("nodes-20001", edited(lambda p: p.update(nodes=p["nodes"] * (many // len(p["nodes"]) + 1))), r"operations"),
        ("values-20001", edited(lambda p: p["values"].extend([{"shape": [1], "dtype": "f32"}] * many)), r"tensors"),
        ("input-unknown", edited(lambda p: p["nodes"][3]["inputs"].__setitem__(0, 10**6)), r"1000000"),
        ("input-beyond-32-bits", edited(lambda p: p["nodes"][3]["inputs"].__setitem__(0, 2**40)), r"1099511627776|u32|expected"),
        ("input-negative", edited(lambda p: p["nodes"][3]["inputs"].__setitem__(0, -1)), r"-1|u32|expected"),
        (
            "input-itself",
            edited(lambda p: p["nodes"][3].update(inputs=[p["nodes"][3]["output"], *p["nodes"][3]["inputs"][1:]])),
            r"before it is computed|operation",
        ),
        ("input-too-few", edited(lambda p: p["nodes"][0]["inputs"].pop() and None), r"takes|operation 0"),
        ("input-too-many", edited(lambda p: p["nodes"][0]["inputs"].append(p["nodes"][0]["inputs"][0])), r"takes|operation 0"),
        ("output-unknown", edited(lambda p: p["nodes"][0].update(output=10**6)), r"1000000"),
        ("output-weight", edited(lambda p: p["nodes"][0].update(output=p["nodes"][0]["inputs"][1])), r"writes|operation 0"),
        ("operation-unknown", edited(lambda p: p["nodes"][0]["op"].update(kind="shell")), r"shell"),
        ("operation-key-unknown", edited(on("conv2d", surprise=1)), r"surprise"),
        ("operation-key-missing", edited(no("conv2d", "stride")), r"stride"),
        ("operation-null", edited(lambda p: p["nodes"][0].update(op=None)), r"op|expected|null"),
        ("convolution-stride-zero", edited(on("conv2d", stride=[0, 1])), r"conv2d|stride"),
        ("convolution-dilation-zero", edited(on("conv2d", dilation=[0, 0])), r"conv2d|dilation"),
        ("convolution-groups-zero", edited(on("conv2d", groups=0)), r"conv2d|groups"),
        ("convolution-groups-3", edited(on("conv2d", groups=3)), r"conv2d|groups"),
        ("convolution-padding-huge", edited(on("conv2d", padding=[2**62, 2**62, 2**62, 2**62])), r"conv2d|padding|overflow"),
        ("convolution-padding-more", edited(on("conv2d", padding=[2, 2, 2, 2])), r"conv2d"),
        ("convolution-bias-denied", edited(on("conv2d", bias=False)), r"conv2d|takes"),
        ("convolution-activation-unknown", edited(on("conv2d", act="mish")), r"mish"),
        ("group-norm-groups-zero", edited(on("group_norm", groups=0)), r"group_norm|groups"),
        ("group-norm-groups-7", edited(on("group_norm", groups=7)), r"group_norm|groups"),
        ("group-norm-epsilon-text", edited(on("group_norm", epsilon="small")), r"epsilon|expected|f32"),
        ("attention-scale-null", edited(on("attention", scale=None)), r"scale|expected|null"),
        ("permute-axis-twice", edited(on("permute", axes=[0, 0, 0])), r"permute"),
        ("permute-axis-beyond", edited(on("permute", axes=[0, 2, 9])), r"permute"),
        ("permute-none", edited(on("permute", axes=[])), r"permute"),
        ("slice-start-beyond", edited(on("slice", start=[0, 0, 10**6])), r"slice"),
        ("slice-start-huge", edited(on("slice", start=[2**63, 0, 2**63])), r"slice|overflow"),
        ("slice-start-short", edited(on("slice", start=[0])), r"slice"),
        ("shape-other", edited(lambda p: p["values"][p["nodes"][0]["output"]].update(shape=[1, 1, 1, 1])), r"operation 0|gives"),
        ("shape-negative", edited(lambda p: p["values"][0].update(shape=[-1, 4, 8, 8])), r"-1|usize|expected"),
        ("shape-axis-too-long", edited(lambda p: p["values"][0].update(shape=[(1 << 24) + 1])), r"axis"),
        ("shape-product-huge", edited(lambda p: p["values"][0].update(shape=[1 << 24, 1 << 24, 1 << 24])), r"elements"),
        ("shape-overflow", edited(lambda p: p["values"][0].update(shape=[2**63, 2**63])), r"axis|elements"),
        ("shape-9-axes", edited(lambda p: p["values"][0].update(shape=[1] * 9)), r"axes"),
        ("shape-text", edited(lambda p: p["values"][0].update(shape="1")), r"shape|expected|sequence"),
        ("dtype-unknown", edited(lambda p: p["values"][0].update(dtype="f8")), r"f8"),
        ("dtype-of-activation-f16", edited(lambda p: p["values"][p["nodes"][0]["output"]].update(dtype="f16")), r"f16|f32|F16"),
        ("dtype-of-weight-i32", edited(lambda p: weight(p).update(dtype="i32")), r"I32|i32"),
        ("weight-unknown", edited(lambda p: weight(p).update(weight="nobody.has.this")), r"nobody\.has\.this"),
        ("weight-number", edited(lambda p: weight(p).update(weight=7)), r"weight|string|integer"),
        ("weight-other-shape", edited(lambda p: weight(p).update(shape=[*weight(p)["shape"], 1])), r"operation|weight"),
        ("weight-dropped", edited(lambda p: weight(p).pop("weight") and None), r"before it is computed|operation"),
        ("port-unknown-value", edited(lambda p: p["inputs"][0].update(value=10**6)), r"1000000"),
        ("port-renamed", edited(lambda p: p["inputs"][0].update(name="other")), r"other"),
        ("port-twice", edited(lambda p: p["inputs"].append(p["inputs"][0])), r"twice|latents"),
        ("port-same-name", edited(lambda p: p["outputs"].append(dict(p["outputs"][0]))), r"two ports|sample"),
        ("ports-none", edited(lambda p: p.update(outputs=[])), r"port|sample"),
        ("input-port-none", edited(lambda p: p.update(inputs=[])), r"computed|port|latents|operation"),
        ("output-port-is-input", edited(lambda p: p["outputs"][0].update(value=p["inputs"][0]["value"])), r"sample"),
        ("input-port-is-weight", edited(lambda p: p["inputs"].append({"name": "w", "value": p["nodes"][0]["inputs"][1]})), r"weight|input w"),
    ]:
        yield Row("bundle-program", fault, make, COMMANDS, (file, word))


def tokenizer_rows():
    name, file = "tokenizer.json", r"tokenizer\.json"
    # What the bundle's own reader need not see: it takes lengths from the program.
    unseen = ["padding-to-longest", "padding-17", "padding-multiple", "truncation-missing", "truncation-8", "post-processor-missing"]
    for fault, content, words in tokenizer_changes():
        if fault in unseen:
            continue

        def change(bundle, content=content):
            replace(bundle / name, content((bundle / name).read_bytes()))
            rehash(bundle)

        yield Row("bundle-tokenizer", fault, with_bundle(change), COMMANDS, (file, words))


def hash_rows():
    """Files that are not those of the manifest: nothing is hashed again."""
    for name in ["decoder.json", "generator.json", "text-encoder.json", "weights-00001.safetensors", "tokenizer.json", "README.md"]:
        for fault, change in [
            ("bit", lambda content: flipped(content)),
            ("cut", lambda content: content[:-1]),
            ("longer", lambda content: content + b"\n"),
            ("empty", lambda content: b""),
        ]:
            # A program's text could change in ways that the format would refuse: the hash must be what refuses.
            words = (name.replace(".", r"\."), r"SHA-256|hash|manifest says|bytes")
            yield Row("bundle-hashes", f"{name}-{fault}", with_bundle(replaced(name, change)), COMMANDS, words)
        yield Row(
            "bundle-hashes", f"{name}-missing", with_bundle(lambda bundle, name=name: remove(bundle / name)), COMMANDS, (name.replace(".", r"\."),)
        )
        folder = lambda bundle, name=name: (remove(bundle / name), (bundle / name).mkdir())
        yield Row("bundle-hashes", f"{name}-folder", with_bundle(folder), COMMANDS, (name.replace(".", r"\."),))
    exchange = lambda bundle: (
        replace(bundle / "x", (bundle / "decoder.json").read_bytes()),
        replace(bundle / "decoder.json", (bundle / "generator.json").read_bytes()),
        replace(bundle / "generator.json", (bundle / "x").read_bytes()),
    )
    yield Row("bundle-hashes", "programs-exchanged", with_bundle(exchange), COMMANDS, (r"decoder\.json|generator\.json",))


def rows():
    yield from manifest_rows()
    yield from program_rows()
    yield from tokenizer_rows()
    yield from hash_rows()
