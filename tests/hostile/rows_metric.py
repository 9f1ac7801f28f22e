"""Malformed metrics: checkpoints of PyTorch (.pth), and the configuration in a metric's folder."""

import io
import json
import struct
import zipfile

from formats import Global, Persistent, Pickle, Reduce, checkpoint, floats, stored_tensor, strides
from harness import link_tree, replace
from rows_common import HTML, LFS_POINTER, Row
from rows_data import values_alone
from rows_models import text_faults
from samples import PUBLISHED_ELEMENTS, PUBLISHED_STORAGE, published_checkpoint, published_pickle

NAME = "net.slice3.14.weight"
SHAPE = (256, 128, 3, 3)
COUNT = 256 * 128 * 9
NAMED = r"net\.slice3\.14\.weight"
NO_CHECKPOINT = r"checkpoint|PyTorch|pickle|zip|ZIP|header|format"


def tensor(**changes):
    """The tensor with some of its parts changed."""
    parts = dict(shape=SHAPE, elements=PUBLISHED_ELEMENTS) | changes
    return {NAME: stored_tensor(parts.pop("shape"), parts.pop("elements"), **parts)}


def raw_tensor(*arguments):
    """The tensor with arguments of any kind."""
    return {NAME: Reduce(Global("torch._utils", "_rebuild_tensor_v2"), arguments)}


def storage(*identity):
    return Persistent(identity)


SOUND_STORAGE = storage("storage", Global("torch", "FloatStorage"), "0", "cpu", PUBLISHED_ELEMENTS)
HOOKS = Reduce(Global("collections", "OrderedDict"), ())


def archive_faults():
    """(name, bytes, words) for archives that lie about themselves."""
    sound = published_checkpoint()
    data = sound.index(PUBLISHED_STORAGE[:64])

    def edited(signature, entry, field, value, size="<I"):
        """One number of an entry's header, in the file's list (PK 1 2) or before the entry (PK 3 4), changed."""
        at = -1
        name_at = {b"PK\x01\x02": (28, 46), b"PK\x03\x04": (26, 30)}[signature]
        while True:
            at = sound.index(signature, at + 1)
            length = struct.unpack_from("<H", sound, at + name_at[0])[0]
            if sound[at + name_at[1] : at + name_at[1] + length] == entry:
                break
        changed = bytearray(sound)
        struct.pack_into(size, changed, at + field, value)
        return bytes(changed)

    listed, entry = b"PK\x01\x02", b"archive/data/0"
    return [
        ("zip-cut-in-storage", lambda: sound[: data + 100_000], NO_CHECKPOINT),
        ("zip-without-end", lambda: sound[:-22], NO_CHECKPOINT),
        ("zip-end-alone", b"PK\x05\x06" + bytes(18), NO_CHECKPOINT),
        ("zip-signature-alone", b"PK\x03\x04", NO_CHECKPOINT),
        ("zip-storage-altered", lambda: sound[:data] + b"\x01" + sound[data + 1 :], r"data/0|checksum|CRC|" + NAMED),
        ("zip-storage-missing", lambda: published_checkpoint(storages={}), r"data/0|storage|" + NAMED),
        ("zip-storage-short", lambda: published_checkpoint(storages={"0": PUBLISHED_STORAGE[:1000]}), r"net\.[a-z0-9.]+|lin\d|storage"),
        ("zip-size-larger", lambda: edited(listed, entry, 24, len(PUBLISHED_STORAGE) + 1_000_000_000), r"data/0|size|bytes|zip"),
        ("zip-sizes-larger", lambda: edited(listed, entry, 20, len(PUBLISHED_STORAGE) + 1_000_000_000), r"data/0|size|bytes|zip"),
        ("zip-size-smaller", lambda: edited(listed, entry, 24, 1000), r"data/0|size|bytes|zip"),
        ("zip-offset-beyond-file", lambda: edited(listed, entry, 42, 2_000_000_000), r"data/0|zip|ZIP|offset"),
        ("zip-compression-unknown", lambda: edited(listed, entry, 10, 77, "<H"), r"data/0|compress|zip"),
        ("zip-encrypted", lambda: edited(listed, entry, 8, 1, "<H"), r"data/0|encrypt|password|zip"),
        ("zip-pickle-missing", lambda: checkpoint(b"", {"0": PUBLISHED_STORAGE}).replace(b"data.pkl", b"data.pkx"), r"data\.pkl|pickle"),
        ("zip-pickle-empty", lambda: checkpoint(b"", {"0": PUBLISHED_STORAGE}), r"pickle|data\.pkl"),
        ("zip-pickle-size-huge", lambda: edited(listed, b"archive/data.pkl", 24, 4_000_000_000), r"data\.pkl|bytes|zip|pickle"),
        ("zip-big-endian", lambda: published_checkpoint(byte_order="big"), r"byte.?order|endian"),
        ("zip-of-other-files", lambda: zip_of({"readme.txt": b"nothing"}), r"data\.pkl|pickle|checkpoint"),
    ]


def zip_of(files):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def pickle_faults():
    """(name, changes of entries or a whole pickle, words)."""
    large = 2**62
    return [
        ("tensor-missing", {NAME: None}, NAMED),
        ("tensor-surplus", {"more.weight": stored_tensor((2,), PUBLISHED_ELEMENTS)}, r"more\.weight"),
        ("tensor-number", {NAME: 7}, NAMED),
        ("tensor-text", {NAME: "weights"}, NAMED),
        ("tensor-null", {NAME: Raw(b"N")}, NAMED),
        ("shape-other", tensor(shape=(256, 128, 3, 2)), NAMED),
        ("shape-transposed", tensor(shape=(128, 256, 3, 3)), NAMED),
        ("shape-negative", tensor(shape=(-256, 128, 3, 3)), NAMED),
        ("shape-huge", tensor(shape=(large, 4, 3, 3)), NAMED),
        ("shape-overflow", tensor(shape=(2**40, 2**40, 3, 3)), NAMED),
        ("shape-text", raw_tensor(SOUND_STORAGE, 0, "256", strides(SHAPE), False, HOOKS), r"shape"),
        ("shape-of-texts", raw_tensor(SOUND_STORAGE, 0, ("a", "b", "c", "d"), strides(SHAPE), False, HOOKS), r"shape"),
        ("offset-beyond-storage", tensor(offset=PUBLISHED_ELEMENTS), NAMED),
        ("offset-partly-beyond", tensor(offset=PUBLISHED_ELEMENTS - COUNT + 1), NAMED),
        ("offset-negative", tensor(offset=-1), NAMED),
        ("offset-huge", tensor(offset=large), NAMED),
        ("offset-text", raw_tensor(SOUND_STORAGE, "0", SHAPE, strides(SHAPE), False, HOOKS), r"offset"),
        ("stride-negative", tensor(stride=(-1152, 9, 3, 1)), NAMED),
        ("stride-huge", tensor(stride=(large, 9, 3, 1)), NAMED),
        ("stride-beyond-storage", tensor(stride=(100_000, 9, 3, 1)), NAMED),
        ("stride-too-few", tensor(stride=(9, 3, 1)), NAMED),
        ("stride-too-many", tensor(stride=(1152, 9, 3, 1, 1)), NAMED),
        ("storage-elements-fewer", tensor(elements=1000), NAMED),
        ("storage-elements-negative", tensor(elements=-1), NAMED),
        ("storage-elements-huge", tensor(elements=large), NAMED + r"|storage"),
        ("storage-elements-more-than-stored", tensor(elements=PUBLISHED_ELEMENTS * 4, offset=PUBLISHED_ELEMENTS), NAMED),
        ("storage-unknown", tensor(key="7"), NAMED + r"|data/7"),
        ("storage-path", tensor(key="../data/0"), NAMED + r"|\.\./data"),
        ("storage-of-integers", tensor(storage="LongStorage"), NAMED),
        ("storage-of-truths", tensor(storage="BoolStorage"), NAMED),
        ("storage-complex", tensor(storage="ComplexFloatStorage"), NAMED + r"|ComplexFloatStorage"),
        ("storage-class-unknown", tensor(storage="SurpriseStorage"), NAMED + r"|SurpriseStorage"),
        (
            "storage-id-short",
            raw_tensor(storage("storage", Global("torch", "FloatStorage")), 0, SHAPE, strides(SHAPE), False, HOOKS),
            NAMED + r"|storage",
        ),
        ("storage-id-text", raw_tensor(storage("0"), 0, SHAPE, strides(SHAPE), False, HOOKS), NAMED + r"|storage|persistent"),
        ("storage-number", raw_tensor(7, 0, SHAPE, strides(SHAPE), False, HOOKS), NAMED + r"|storage"),
        ("arguments-too-few", raw_tensor(SOUND_STORAGE, 0), NAMED + r"|argument"),
        ("value-nan", "nan", NAMED),
        ("value-infinite", "infinite", NAMED),
        ("variance-negative", "variance", r"net\.slice1\.1\.running_var"),
        ("head-negative", "head", r"lin2"),
        # Pickles that call something: nothing is ever called, and the file is refused.
        ("calls-print", {NAME: Reduce(Global("builtins", "print"), ("called",))}, NAMED + r"|builtins\.print"),
        ("calls-system", {NAME: Reduce(Global("os", "system"), ("true",))}, NAMED + r"|os\.system"),
        ("calls-eval-of-tensor", {NAME: Reduce(Global("builtins", "eval"), (stored_tensor(SHAPE, PUBLISHED_ELEMENTS),))}, NAMED + r"|builtins\.eval"),
        ("calls-getattr", {NAME: Reduce(Reduce(Global("builtins", "getattr"), (Global("os", "path"), "join")), ("a", "b"))}, NAMED + r"|getattr"),
        ("is-one-call", Pickle().value(Reduce(Global("builtins", "print"), ("called",))).end(), r"tensor|missing|print|not fit|pickle"),
        ("is-list", Pickle().value([1, 2, 3]).end(), r"tensor|missing|dict|not fit|pickle"),
        ("is-number", Pickle().value(7).end(), r"tensor|missing|dict|not fit|pickle"),
        ("is-empty", Pickle().value({}).end(), r"tensor|missing|net\.|not fit|pickle"),
        ("never-ends", published_pickle()[:-1], r"pickle|EOF|end"),
        ("cut", published_pickle()[:2000], r"pickle|EOF|end"),
        ("opcode-unknown", b"\x80\x02\xff.", r"pickle|opcode"),
        ("protocol-99", b"\x80\x63}.", r"pickle|protocol"),
        ("nested-100000", b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", r"pickle|nest|depth|tensor"),
        ("text-length-4-GB", b"\x80\x02X\xff\xff\xff\xff", r"pickle|EOF|end|bytes"),
        ("memo-unknown", b"\x80\x02h\x05.", r"pickle|memo"),
        ("stack-empty", b"\x80\x02s.", r"pickle|stack"),
    ]


class Raw:
    """Opcodes as they are."""

    def __init__(self, content):
        self.content = content

    def write(self, pickle):
        return pickle.raw(self.content)


def with_values(kind):
    """A checkpoint in which one tensor has a storage of its own, with numbers that nobody can use."""
    if kind in ["nan", "infinite"]:
        content = floats([0.01] * (COUNT - 1) + [float("nan") if kind == "nan" else float("inf")])
        changes = {NAME: stored_tensor(SHAPE, COUNT, key="1")}
    elif kind == "variance":
        content = floats([0.01] * 63 + [-0.5])
        changes = {"net.slice1.1.running_var": stored_tensor((64,), 64, key="1")}
    else:
        content = floats([0.01] * 255 + [-0.5])
        changes = {"lin2.model.1.weight": stored_tensor((1, 256, 1, 1), 256, key="1")}
    return published_checkpoint(changes, {"0": PUBLISHED_STORAGE, "1": content})


def rows():
    commands = ("distance, published",)
    file = r"sd15_metric\.pth"

    def row(fault, content, words):
        return Row(
            "pth",
            fault,
            lambda folder, samples: (folder / "sd15_metric.pth").write_bytes(content() if callable(content) else content),
            commands,
            (file, words),
        )

    for fault, content, words in [
        ("empty", b"", NO_CHECKPOINT),
        ("html", HTML, NO_CHECKPOINT),
        ("lfs-pointer", LFS_POINTER, NO_CHECKPOINT),
        ("zeros", bytes(4096), NO_CHECKPOINT),
        ("safetensors", struct.pack("<Q", 2) + b"{}", NO_CHECKPOINT),
        ("legacy-header-alone", b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.", NO_CHECKPOINT),
        ("tar-empty", bytes(257) + b"ustar" + bytes(250), NO_CHECKPOINT + r"|tar|TAR"),
    ]:
        yield row(fault, content, words)
    yield Row("pth", "folder-empty", lambda folder, samples: (folder / "sd15_metric.pth").mkdir(), commands, (file,))
    yield Row("pth", "missing-file", lambda folder, samples: None, commands, (file,))

    def two_gigabytes(folder, samples):
        with open(folder / "sd15_metric.pth", "wb") as sparse:
            sparse.truncate(2 << 30)

    yield Row("pth", "two-gigabytes", two_gigabytes, commands, (file, r"MiB|large|bytes"))
    for fault, content, words in archive_faults():
        yield row(fault, content, words)
    for fault, changes, words in pickle_faults():
        if isinstance(changes, str):
            yield row(fault, lambda kind=changes: with_values(kind), words)
        elif isinstance(changes, bytes):
            yield row(fault, lambda pickle=changes: checkpoint(pickle, {"0": PUBLISHED_STORAGE}), words)
        else:
            yield row(fault, lambda changes=changes: published_checkpoint(changes), words)

    for fault, change in text_faults("config.json"):
        if fault in ["empty", "html", "list", "100000-brackets", "byte-order-mark", "cut", "folder-instead"]:
            make = lambda folder, samples, change=change: change(link_tree(samples.metric, folder / "metric"))
            yield Row("metric-config", fault, make, ("distance, metric",), (r"metric/config\.json",))
    make = lambda folder, samples: values_alone(link_tree(samples.metric, folder / "metric") / "config.json")
    yield Row("metric-config", "values-without-keys", make, ("distance, metric",), (r"metric/config\.json",))
    for fault, changes, words in [
        ("encoder-missing", dict(encoder=None), "encoder"),
        ("encoder-number", dict(encoder=15), r"encoder|string"),
        ("channels-zero", dict(in_channels=0), "in_channels"),
        ("channels-huge", dict(in_channels=2**60), r"in_channels|net\.slice1\.0\.weight"),
        ("channels-16", dict(in_channels=16), r"in_channels|net\.slice1\.0\.weight"),
        ("widths-four", dict(widths=[4, 4, 8, 8]), "widths|length 5|5"),
        ("widths-zero", dict(widths=[4, 4, 0, 8, 8]), "widths"),
        ("widths-large", dict(widths=[2**20] * 5), r"widths|net\.slice"),
        ("widths-huge", dict(widths=[2**40] * 5), "widths"),
        ("widths-other", dict(widths=[8, 4, 8, 8, 8]), r"widths|net\.slice"),
        ("norm-unknown", dict(norm="layer"), "norm|layer"),
        ("space-unknown", dict(space="audio"), "space|audio"),
        ("scaling-missing", dict(scaling=None), "scaling"),
        ("scaling-number", dict(scaling=0.18), "scaling|struct|map"),
        ("key-unknown", dict(surprise=1), "surprise"),
    ]:

        def make(folder, samples, changes=changes):
            metric = link_tree(samples.metric, folder / "metric")
            config = json.loads((metric / "config.json").read_bytes()) | changes
            replace(metric / "config.json", json.dumps({key: value for key, value in config.items() if value is not None}))

        yield Row("metric-config", fault, make, ("distance, metric",), (r"metric/(config\.json|model\.safetensors)", words))
