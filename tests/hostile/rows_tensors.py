"""Malformed safetensors files, wherever one is read: weights of components, of metrics and of bundles, inputs, latents, pair shards."""

import io
import json
import struct
import zipfile

from formats import Tensors, floats, rehash, sha256, with_header
from harness import link_tree, remove, replace
from rows_common import HTML, LFS_POINTER, MANY_BRACKETS, Row, with_bundle, with_model

# Words for files that are no safetensors file at all. The file's name must also occur.
SHORT = r"empty|0 bytes|too (short|small)|no (valid |sound )?safetensors|not a (valid |sound )?safetensors|header|truncat|incomplete|ends|LFS|HTML|ZIP|gzip|pickle"
HEADER = r"header|safetensors|JSON"
RANGE = r"offset|overlap|gap|range|bytes|data_offsets|location|buffer|size|truncat|incomplete|ends|cover"
TWICE = r"twice|duplicate|two times|more than once|repeated|again|several times"


def container_faults(content):
    """(name, bytes, words) for files that are broken as containers, whatever their tensors are."""
    length = struct.unpack("<Q", content[:8])[0]
    header, data = content[8 : 8 + length], content[8 + length :]
    zipped = io.BytesIO()
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}.")
    return [
        ("empty", b"", SHORT),
        ("seven-bytes", content[:7], SHORT),
        ("length-alone", content[:8], SHORT),
        ("length-0", struct.pack("<Q", 0) + content[8:], HEADER),
        ("length-one-less", struct.pack("<Q", length - 1) + content[8:], HEADER),
        ("length-one-more", struct.pack("<Q", length + 1) + content[8:], HEADER),
        ("length-beyond-file", struct.pack("<Q", len(content)) + content[8:], HEADER),
        ("length-100-MB", struct.pack("<Q", 100_000_001) + content[8:], HEADER),
        ("length-huge", b"\xff" * 8 + content[8:], HEADER),
        ("cut-in-header", content[: 8 + length // 2], SHORT),
        ("cut-in-data", content[: -len(data) // 2], RANGE + "|" + SHORT),
        ("last-byte-missing", content[:-1], RANGE + "|" + SHORT),
        ("one-byte-more", content + b"\0", RANGE + "|" + SHORT),
        ("header-no-json", with_header(b"x" * length, data), HEADER),
        ("header-list", with_header(b"[" + header.rstrip() + b"]", data), HEADER),
        ("header-null", with_header(b"null", data), HEADER),
        ("header-open", with_header(header.rstrip()[:-1], data), HEADER),
        ("header-two-objects", with_header(header + header, data), HEADER),
        ("header-not-utf-8", with_header(header.replace(b'"dtype"', b'"\xff\xfe"', 1), data), HEADER),
        ("header-100000-brackets", with_header(MANY_BRACKETS, data), HEADER),
        ("header-byte-order-mark", with_header(b"\xef\xbb\xbf" + header, data), HEADER),
        ("metadata-of-numbers", with_header(b'{"__metadata__":{"step":7},' + header[1:], data), r"__metadata__|metadata|" + HEADER),
        ("lfs-pointer", LFS_POINTER, SHORT),
        ("html", HTML, SHORT),
        ("zip", zipped.getvalue(), SHORT),
        ("pickle", b"\x80\x02}q\0.", SHORT),
        ("gzip", b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + bytes(100), SHORT),
    ]


def entry_faults(content, tensor, neighbour):
    """(name, bytes, words) for headers that say something impossible of `tensor`; `neighbour` is stored beside it."""
    file = Tensors.read(content)
    entry = dict(file.entries)[tensor]
    other = dict(file.entries)[neighbour]
    start, end = entry["data_offsets"]
    named = tensor.replace(".", r"\.")
    said = lambda **changes: file.with_entry(tensor, **changes).bytes()
    either = named + "|" + neighbour.replace(".", r"\.")
    as_it_is = lambda number: with_header(
        file.header().replace(
            json.dumps(tensor).encode() + b":" + json.dumps(entry, separators=(",", ":")).encode(), json.dumps(tensor).encode() + b":" + number
        ),
        file.data,
    )
    gap = Tensors(
        [
            [name, entry | {"data_offsets": [at + 64 * (at >= end) for at in entry["data_offsets"]]} if entry["data_offsets"][0] >= end else entry]
            for name, entry in file.entries
        ],
        file.data[:end] + bytes(64) + file.data[end:],
    )
    twice = Tensors(file.entries + [[tensor, entry]], file.data)
    twice_other_shape = Tensors([[tensor, entry | {"shape": [1, *entry["shape"]]}], *file.entries], file.data)
    twice_other_last = Tensors([*file.entries, [tensor, entry | {"shape": [1, *entry["shape"]]}]], file.data)
    return [
        ("entry-number", as_it_is(b"7"), named),
        ("entry-null", as_it_is(b"null"), named),
        ("entry-without-dtype", said(dtype=None), named),
        ("entry-without-shape", said(shape=None), named),
        ("entry-without-offsets", said(data_offsets=None), named),
        ("dtype-unknown", said(dtype="F12"), named),
        ("dtype-number", said(dtype=4), named),
        ("dtype-lower-case", said(dtype=entry["dtype"].lower()), named),
        ("shape-text", said(shape="4"), named),
        ("shape-negative", said(shape=[-1, *entry["shape"][1:]]), named),
        ("shape-fraction", said(shape=[1.5, *entry["shape"][1:]]), named),
        ("shape-overflow", said(shape=[2**63, 2**63, 4]), named),
        ("shape-beyond-64-bits", said(shape=[10**30]), named),
        ("shape-one-more", said(shape=[entry["shape"][0] + 1, *entry["shape"][1:]]), named),
        ("offsets-three", said(data_offsets=[start, end, end]), named),
        ("offsets-negative", said(data_offsets=[-4, end]), named),
        ("offsets-fraction", said(data_offsets=[start + 0.5, end]), named),
        ("offsets-reversed", said(data_offsets=[end, start]), either),
        ("offsets-beyond-file", said(data_offsets=[start + 10**9, end + 10**9]), either),
        ("offsets-huge", said(data_offsets=[2**64 - 1, 2**64 - 1]), either),
        ("overlap", said(data_offsets=[other["data_offsets"][0], other["data_offsets"][0] + end - start]), either),
        ("gap", gap.bytes(), either + "|" + "gap|hole|leave|cover"),
        ("name-twice", twice.bytes(), f"({named}).*({TWICE})|({TWICE}).*({named})"),
        ("name-twice-other-shape", twice_other_shape.bytes(), f"({named}).*({TWICE})|({TWICE}).*({named})"),
        ("name-twice-other-shape-last", twice_other_last.bytes(), f"({named}).*({TWICE})|({TWICE}).*({named})"),
    ]


def fit_faults(content, tensor, finite=True):
    """(name, bytes, words) for files that are sound and do not fit what reads them."""
    file = Tensors.read(content)
    named = tensor.replace(".", r"\.")
    shape = next(shape for name, _, shape, _ in file.tensors() if name == tensor)
    width = {"F32": 4, "F16": 2}
    faults = [
        ("missing", file.changed(tensor, lambda *_: None), named),
        ("renamed", Tensors([[name + "x" if name == tensor else name, entry] for name, entry in file.entries], file.data), named),
        ("one-axis-more", file.with_entry(tensor, shape=[1, *shape]), named),
        (
            "other-shape",
            file.changed(tensor, lambda dtype, shape, data: (dtype, [shape[0] + 1, *shape[1:]], data + data[: len(data) // shape[0]])),
            named,
        ),
        ("empty-axis", file.changed(tensor, lambda dtype, shape, data: (dtype, [0, *shape[1:]], b"")), named),
        ("of-integers", file.changed(tensor, lambda dtype, shape, data: ("I32", shape, bytes(len(data) // width[dtype] * 4))), named),
        ("of-bytes", file.changed(tensor, lambda dtype, shape, data: ("U8", shape, bytes(len(data) // width[dtype]))), named),
        ("of-truths", file.changed(tensor, lambda dtype, shape, data: ("BOOL", shape, bytes(len(data) // width[dtype]))), named),
    ]
    if finite:
        bits = {"nan": {"F32": b"\0\0\xc0\x7f", "F16": b"\0\x7e"}, "infinite": {"F32": b"\0\0\x80\x7f", "F16": b"\0\x7c"}}
        bits["minus-infinite"] = {"F32": b"\0\0\x80\xff", "F16": b"\0\xfc"}
        for name, pattern in bits.items():
            put = lambda dtype, shape, data, pattern=pattern: (dtype, shape, data[: -len(pattern[dtype])] + pattern[dtype])
            faults.append((f"value-{name}", file.changed(tensor, put), named))
    return [(name, file.bytes(), words) for name, file, words in faults]


def surplus_faults(content):
    """(name, bytes, words) for tensors that nothing asked for."""
    file = Tensors.read(content)
    more = lambda name: Tensors.of([*file.tensors(), (name, "F32", [2], bytes(8))]).bytes()
    many = Tensors.of([*file.tensors(), *[(f"more.{index}", "F32", [0], b"") for index in range(20_001)]])
    return [
        ("surplus", more("more.weight"), r"more\.weight"),
        ("surplus-control-characters", more("more\x1b[31m\x00\u202eweight"), r"more\\u"),
        ("surplus-name-of-200000", more("n" * 200_000), r"n{100}"),
        ("surplus-20001", many.bytes(), r"more\.0|20,?001|tensors"),
    ]


def path_faults(path_of):
    """(name, change, words) for what is no file where a file should be."""

    def folder(root):
        remove(path_of(root))
        path_of(root).mkdir()

    def missing(root):
        remove(path_of(root))

    def loop(root):
        remove(path_of(root))
        path_of(root).symlink_to(path_of(root).name)

    def dangling(root):
        remove(path_of(root))
        path_of(root).symlink_to("nowhere.safetensors")

    return [("folder-instead", folder), ("missing-file", missing), ("link-to-itself", loop), ("link-to-nowhere", dangling)]


def component_rows():
    """Weights of a pipeline folder: everything for the autoencoder, the rest for the other two."""
    for component, name, tensor, neighbour, commands, all_faults in [
        (
            "vae",
            "diffusion_pytorch_model",
            "decoder.conv_in.weight",
            "decoder.conv_norm_out.bias",
            ("run vae_decoder", "export", "train teacher"),
            True,
        ),
        ("unet", "diffusion_pytorch_model", "conv_in.weight", "conv_norm_out.bias", ("run unet", "export", "pairs"), False),
        (
            "text_encoder",
            "model",
            "text_model.final_layer_norm.weight",
            "text_model.final_layer_norm.bias",
            ("run text_encoder", "export", "pairs"),
            False,
        ),
    ]:
        path = f"{component}/{name}.safetensors"
        file = rf"{component}.*{name}\.safetensors"

        def row(fault, faults_of, words, path=path, file=file, commands=commands, component=component):
            def change(model):
                content = (model / path).read_bytes()
                replace(model / path, next(changed for name, changed, _ in faults_of(content) if name == fault))

            return Row(f"weights-{component}", fault, with_model(change), commands, (file, words))

        sample = tiny(tensor, neighbour)
        families = [lambda content, t=tensor: fit_faults(content, t)]
        if all_faults:
            families += [container_faults, lambda content, t=tensor, n=neighbour: entry_faults(content, t, n), surplus_faults]
        for faults_of in families:
            for fault, _, words in faults_of(sample):
                yield row(fault, faults_of, words)
        if not all_faults:
            for fault in ["empty", "cut-in-data", "lfs-pointer", "header-100000-brackets"]:
                yield row(fault, container_faults, next(words for name, _, words in container_faults(sample) if name == fault))
        for fault, change in path_faults(lambda root, path=path: root / path):
            yield Row(f"weights-{component}", fault, with_model(change), commands, (file,))


def tiny(tensor, neighbour):
    """A small file with these two tensors: enough to list the faults by name."""
    return Tensors.of(
        [(neighbour, "F32", [4], floats([0.0] * 4)), (tensor, "F32", [4, 2], floats([0.0] * 8)), ("z", "F32", [1], floats([0.0]))]
    ).bytes()


def bundle_rows():
    """Weights of a bundle, hashed again: the format is what refuses them."""
    path, file = "weights-00001.safetensors", r"weights-00001\.safetensors"
    commands = ("inspect", "generate")
    # A matrix is stored in 16 bits, a bias in 32.
    for label, tensor, neighbour, families in [
        ("", "decoder.decoder.conv_in.bias", "decoder.decoder.conv_norm_out.bias", "all"),
        ("f16-", "decoder.decoder.conv_in.weight", "decoder.decoder.conv_norm_out.bias", "fit"),
    ]:

        def row(fault, faults_of, words, tensor=tensor, label=label):
            def change(bundle):
                content = (bundle / path).read_bytes()
                replace(bundle / path, next(changed for name, changed, _ in faults_of(content) if name == fault))
                rehash(bundle)

            # A tensor that does not fit is the program's as much as the file's.
            files = file if faults_of not in fitting else any_file
            return Row("bundle-weights", label + fault, with_bundle(change), commands, (files, words))

        any_file = file + r"|decoder|manifest\.json"
        fit = lambda content, t=tensor: fit_faults(content, t)
        fitting = [fit, surplus_faults]
        chosen = [fit]
        if families == "all":
            chosen += [container_faults, lambda content, t=tensor, n=neighbour: entry_faults(content, t, n), surplus_faults]
        for faults_of in chosen:
            for fault, _, words in faults_of(tiny(tensor, neighbour)):
                yield row(fault, faults_of, words)


def metric_rows():
    """A metric's folder."""
    path, file = "model.safetensors", r"metric/model\.safetensors"
    tensor, neighbour = "net.slice1.0.weight", "net.slice1.0.bias"

    def row(fault, faults_of, words, commands=("distance, metric",)):
        def make(folder, samples):
            metric = link_tree(samples.metric, folder / "metric")
            content = (metric / path).read_bytes()
            replace(metric / path, next(changed for name, changed, _ in faults_of(content) if name == fault))

        return Row("metric-weights", fault, make, commands, (file, words))

    fit = lambda content: fit_faults(content, tensor)
    for faults_of in [fit, surplus_faults]:
        for fault, _, words in faults_of(tiny(tensor, neighbour)):
            yield row(fault, faults_of, words)
    for fault, _, words in container_faults(tiny(tensor, neighbour)):
        if fault in ["empty", "cut-in-data", "length-huge", "header-100000-brackets", "lfs-pointer", "html", "zip"]:
            yield row(fault, container_faults, words)
    for fault in ["name-twice", "name-twice-other-shape", "overlap", "shape-overflow", "dtype-unknown"]:
        faults_of = lambda content: entry_faults(content, tensor, neighbour)
        yield row(fault, faults_of, next(words for name, _, words in faults_of(tiny(tensor, neighbour)) if name == fault))

    def negative_head(folder, samples):
        metric = link_tree(samples.metric, folder / "metric")
        put = lambda dtype, shape, data: (dtype, shape, floats([-0.25]) + data[4:])
        replace(metric / path, Tensors.read((metric / path).read_bytes()).changed("lin2.model.1.weight", put).bytes())

    yield Row("metric-weights", "head-below-zero", negative_head, ("distance, metric", "distil, metric"), (r"metric", r"lin2"))
    for fault, change in path_faults(lambda root: root / path):

        def make(folder, samples, change=change):
            change(link_tree(samples.metric, folder / "metric"))

        yield Row("metric-weights", fault, make, ("distance, metric",), (r"model\.safetensors",))
    for fault, content, words in [
        ("published-empty", b"", SHORT),
        ("published-html", HTML, SHORT),
        ("published-lfs-pointer", LFS_POINTER, SHORT),
        ("published-one-tensor", Tensors.of([("net.slice1.0.weight", "F32", [64, 4, 3, 3], bytes(64 * 36 * 4))]).bytes(), r"net\.slice1\.0\.bias"),
        (
            "published-16-channels",
            Tensors.of([("net.slice1.0.weight", "F32", [64, 16, 3, 3], bytes(64 * 144 * 4))]).bytes(),
            r"16 channels|channels.*16",
        ),
        (
            "published-trunk",
            Tensors.of([("module.model.features.0.weight", "F32", [64, 4, 3, 3], bytes(64 * 36 * 4))]).bytes(),
            r"without heads|trunk|features",
        ),
        ("published-integers", Tensors.of([("net.slice1.0.weight", "I32", [64, 4, 3, 3], bytes(64 * 36 * 4))]).bytes(), r"net\.slice1\.0\.weight"),
    ]:
        make = lambda folder, samples, content=content: (folder / "sd15_metric.safetensors").write_bytes(content)
        yield Row("metric-weights", fault, make, ("distance, published safetensors",), (r"sd15_metric\.safetensors", words))


def input_rows():
    """Tensors that are given to `run` and to `distance`."""
    file = r"inputs\.safetensors"
    tensor, neighbour = "sample", "timestep"

    def row(kind, fault, faults_of, words, commands, source):
        def make(folder, samples):
            content = source(samples).read_bytes()
            replace(folder / "inputs.safetensors", next(changed for name, changed, _ in faults_of(content) if name == fault))

        return Row(kind, fault, make, commands, (file, words))

    unet = lambda samples: samples.unet_inputs
    entries = lambda content: entry_faults(content, tensor, neighbour)
    for faults_of in [container_faults, entries]:
        for fault, _, words in faults_of(tiny(tensor, neighbour)):
            yield row("inputs-run", fault, faults_of, words, ("run unet, inputs",), unet)
    two = lambda samples: samples.two_latents
    entries_of_latents = lambda content: entry_faults(content, "in1", "in0")
    fit_of_latents = lambda content: fit_faults(content, "in1")
    for faults_of in [entries_of_latents, fit_of_latents]:
        for fault, _, words in faults_of(tiny("in1", "in0")):
            yield row("inputs-distance", fault, faults_of, words, ("distance, inputs",), two)
    for fault, _, words in container_faults(tiny("in1", "in0")):
        if fault in ["empty", "cut-in-data", "length-huge", "header-100000-brackets", "lfs-pointer", "pickle", "one-byte-more"]:
            yield row("inputs-distance", fault, container_faults, words, ("distance, inputs",), two)

    # Tensors that are sound and do not fit the component: the input is named, not the file, which holds several.
    both = ("run unet, inputs", "run unet on burn, inputs")
    for fault, name, change, commands, words in [
        ("sample-missing", "sample", lambda *_: None, both, ("sample",)),
        ("sample-of-3-channels", "sample", lambda d, s, b: (d, [1, 3, 8, 8], b[:768]), both, ("sample", "4")),
        ("sample-of-3-axes", "sample", lambda d, s, b: (d, [4, 8, 8], b), both, ("sample",)),
        ("sample-empty", "sample", lambda d, s, b: (d, [0, 4, 8, 8], b""), both, ("sample",)),
        # burn can do it, our programs cannot.
        ("sample-7-rows", "sample", lambda d, s, b: (d, [1, 4, 7, 8], b[:896]), both[:1], ("sample",)),
        ("timestep-missing", "timestep", lambda *_: None, both, ("timestep",)),
        ("timestep-two-for-one", "timestep", lambda d, s, b: (d, [2], b + b), both, ("timestep",)),
        ("timestep-scalar", "timestep", lambda d, s, b: (d, [], b), both, ("timestep",)),
        ("states-width-7", "encoder_hidden_states", lambda d, s, b: (d, [1, 16, 7], b[:448]), both, ("encoder_hidden_states", "32", "7")),
        ("states-of-two", "encoder_hidden_states", lambda d, s, b: (d, [2, 8, 32], b), both, ("encoder_hidden_states",)),
        ("states-no-token", "encoder_hidden_states", lambda d, s, b: (d, [1, 0, 32], b""), both, ("encoder_hidden_states",)),
        ("sample-of-bytes", "sample", lambda d, s, b: ("U8", s, b[:256]), both, (file, "sample")),
    ]:

        def make(folder, samples, name=name, change=change):
            replace(folder / "inputs.safetensors", Tensors.read(samples.unet_inputs.read_bytes()).changed(name, change).bytes())

        yield Row("inputs-fit", fault, make, commands, words)
    for fault, values, shape in [
        ("id-beyond-vocabulary", [1e6] * 16, [1, 16]),
        ("id-negative", [-1.0] * 16, [1, 16]),
        ("id-fraction", [0.5] * 16, [1, 16]),
        ("id-nan", [float("nan")] * 16, [1, 16]),
        ("ids-too-many", [1.0] * 17, [1, 17]),
        ("ids-of-one-axis", [1.0] * 16, [16]),
    ]:
        content = Tensors.of([("input_ids", "F32", shape, floats(values))]).bytes()
        make = lambda folder, samples, content=content: replace(folder / "inputs.safetensors", content)
        yield Row("inputs-fit", fault, make, ("run text_encoder, inputs",), ("input_ids",))
    for fault, shape in [("latents-of-16-channels", [1, 16, 4, 4]), ("latents-of-5-axes", [1, 1, 4, 8, 8])]:
        content = Tensors.of([("latents", "F32", shape, bytes(1024))]).bytes()
        make = lambda folder, samples, content=content: replace(folder / "inputs.safetensors", content)
        yield Row("inputs-fit", fault, make, ("run vae_decoder, inputs",), ("latents",))


def shard_rows():
    """Shards of a pair set, hashed again in its index."""
    shard = "pairs-00001-of-00002.safetensors"
    file = r"pairs-00001-of-00002\.safetensors"

    def row(fault, faults_of, words):
        def make(folder, samples):
            pairs = link_tree(samples.pairs, folder / "pairs")
            content = (pairs / shard).read_bytes()
            put_shard(pairs, 1, next(changed for name, changed, _ in faults_of(content) if name == fault))

        return Row("pair-shards", fault, make, ("distil",), (file, words))

    for fault, _, words in container_faults(tiny("latent", "prompt")):
        if fault in ["empty", "cut-in-data", "one-byte-more", "length-huge", "header-100000-brackets", "html"]:
            yield row(fault, container_faults, words)
    entries = lambda content: entry_faults(content, "latent", "prompt")
    for fault, _, words in entries(tiny("latent", "prompt")):
        if fault in ["name-twice", "name-twice-other-shape", "shape-overflow", "overlap", "dtype-unknown", "offsets-reversed"]:
            yield row(fault, entries, words)
    for fault, name, change, words in [
        ("latent-missing", "latent", lambda *_: None, "latent"),
        ("seed-missing", "seed", lambda *_: None, "seed"),
        ("prompt-missing", "prompt", lambda *_: None, "prompt"),
        ("latent-of-16-bits", "latent", lambda d, s, b: ("F16", s, b[: len(b) // 2]), "latent"),
        ("latent-flat", "latent", lambda d, s, b: (d, [len(b) // 4], b), "latent"),
        ("latent-other-rows", "latent", lambda d, s, b: (d, [s[0], s[1], s[2] // 2, s[3] * 2], b), "latent"),
        ("latent-one-less", "latent", lambda d, s, b: (d, [s[0] - 1, *s[1:]], b[: len(b) - len(b) // s[0]]), "latent"),
        ("latent-nan", "latent", lambda d, s, b: (d, s, b"\0\0\xc0\x7f" + b[4:]), "latent"),
        ("latent-infinite", "latent", lambda d, s, b: (d, s, b"\0\0\x80\x7f" + b[4:]), "latent"),
        ("seed-of-floats", "seed", lambda d, s, b: ("F64", s, b), "seed"),
        ("seed-one-less", "seed", lambda d, s, b: (d, [s[0] - 1], b[8:]), "seed"),
        ("prompt-beyond-list", "prompt", lambda d, s, b: (d, s, struct.pack("<q", 10**6) + b[8:]), "prompt"),
        ("prompt-negative", "prompt", lambda d, s, b: (d, s, struct.pack("<q", -1) + b[8:]), "prompt"),
        ("prompt-of-floats", "prompt", lambda d, s, b: ("F64", s, b), "prompt"),
    ]:
        yield row(fault, lambda content, f=fault, n=name, c=change: [(f, Tensors.read(content).changed(n, c).bytes(), "")], words)

    for fault, change in [
        ("not-its-hash", lambda pairs: replace(pairs / shard, flipped((pairs / shard).read_bytes()))),
        ("cut-not-its-hash", lambda pairs: replace(pairs / shard, (pairs / shard).read_bytes()[:-100])),
        ("missing-file", lambda pairs: remove(pairs / shard)),
        ("exchanged", lambda pairs: exchange(pairs / shard, pairs / "pairs-00000-of-00002.safetensors")),
        ("folder-instead", lambda pairs: (remove(pairs / shard), (pairs / shard).mkdir())),
    ]:

        def make(folder, samples, change=change):
            change(link_tree(samples.pairs, folder / "pairs"))

        yield Row("pair-shards", fault, make, ("distil",), (r"pairs-0000[01]-of-00002\.safetensors",))


def flipped(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0x80]) + content[middle + 1 :]


def exchange(first, second):
    contents = first.read_bytes(), second.read_bytes()
    replace(first, contents[1])
    replace(second, contents[0])


def put_shard(pairs, number, content):
    """A shard's bytes and its hash in the index."""
    index = json.loads((pairs / "index.json").read_bytes())
    index["shards"][number] = sha256(content)
    replace(pairs / f"pairs-{number:05}-of-{len(index['shards']):05}.safetensors", content)
    replace(pairs / "index.json", json.dumps(index))


def rows():
    yield from component_rows()
    yield from bundle_rows()
    yield from metric_rows()
    yield from input_rows()
    yield from shard_rows()
