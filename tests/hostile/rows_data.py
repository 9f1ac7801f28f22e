"""Malformed pair sets (their index) and image folders."""

import json
import os
import struct
import zlib

from formats import PNG_SIGNATURE, chunk
from harness import link_tree, remove, replace
from rows_common import HTML, LFS_POINTER, MANY_BRACKETS, Row
from rows_models import setting, text_faults
from samples import SIZE, square


def pair_index_rows():
    name, file = "index.json", r"index\.json"
    both = ("distil", "pairs --resume")

    def row(fault, change, commands, *words):
        return Row("pair-index", fault, lambda folder, samples: change(link_tree(samples.pairs, folder / "pairs")), commands, words)

    for fault, change in text_faults(name):
        if fault != "not-utf-8":
            yield row(fault, change, both, file)
    yield row("not-utf-8", lambda pairs: replace(pairs / name, b'{"version": "\xff"}'), both, file)
    yield row("missing-file", lambda pairs: remove(pairs / name), ("distil",), file)
    # The values in the order of the keys: the same content in another form.
    yield row("values-without-keys", lambda pairs: values_alone(pairs / name), both, file)

    def inner(**changes):
        def change(pairs):
            index = json.loads((pairs / name).read_bytes())
            index["options"] = {key: value for key, value in (index["options"] | changes).items() if value is not None}
            replace(pairs / name, json.dumps(index))

        return change

    def edited(change_index):
        def change(pairs):
            index = json.loads((pairs / name).read_bytes())
            change_index(index)
            replace(pairs / name, json.dumps(index))

        return change

    # A set made with other options, or by another teacher, is not resumed: that is a matter of usage, and only `distil` reads it.
    one = ("distil",)
    for fault, change, commands, word in [
        ("version-2", setting(name, version=2), both, r"version"),
        ("version-text", setting(name, version="1"), both, r"version|string|u32"),
        ("version-missing", setting(name, version=None), both, "version"),
        ("key-unknown", setting(name, surprise=1), both, "surprise"),
        ("option-unknown", inner(surprise=1), both, "surprise"),
        ("teacher-other", setting(name, teacher="0" * 64), one, "teacher"),
        ("teacher-number", setting(name, teacher=7), both, r"teacher|string|integer"),
        ("shape-huge", setting(name, shape=[2**42, 8, 8]), both, "shape"),
        ("shape-zero", setting(name, shape=[0, 8, 8]), both, "shape"),
        ("shape-8-channels", setting(name, shape=[8, 8, 8]), both, "shape|latent"),
        ("shape-16-rows", setting(name, shape=[4, 16, 16]), both, "shape|latent"),
        ("shape-turned", setting(name, shape=[4, 4, 16]), both, "shape|latent"),
        ("shape-two", setting(name, shape=[4, 64]), both, r"shape|length"),
        ("shape-negative", setting(name, shape=[-4, 8, 8]), both, r"shape|-4|usize"),
        ("shape-product-overflow", setting(name, shape=[2**32, 2**32, 2**32]), both, "shape"),
        ("shape-missing", setting(name, shape=None), both, "shape"),
        ("prompts-none", setting(name, prompts=[]), both, "prompt"),
        ("prompts-of-numbers", setting(name, prompts=[1, 2]), both, r"prompt|string|integer"),
        ("prompts-one-more", edited(lambda index: index["prompts"].append("another")), both, "prompt"),
        ("names-one-less", edited(lambda index: index["names"].pop()), both, "name"),
        ("shards-none", setting(name, shards=[]), both, "shards"),
        ("shards-one-more", edited(lambda index: index["shards"].append("")), both, "shards"),
        ("shards-text", setting(name, shards="none"), both, r"shards|sequence|string"),
        ("shard-number", edited(lambda index: index["shards"].__setitem__(0, 7)), both, r"shards|string|integer"),
        ("shard-hash-empty", edited(lambda index: index["shards"].__setitem__(1, "")), one, r"pairs-00001-of-00002"),
        ("shard-hash-other", edited(lambda index: index["shards"].__setitem__(1, "0" * 64)), one, r"pairs-00001-of-00002"),
        ("count-huge", inner(count=2**63), both, r"count|\d+ pairs|shards"),
        ("count-text", inner(count="8"), both, r"count|string|u64"),
        ("count-9", inner(count=9), one, r"count|9 pairs|shards"),
        ("count-7", inner(count=7), one, r"count|7 pairs|seed|latent"),
        ("shard-zero", inner(shard=0), both, r"shard"),
        ("shard-negative", inner(shard=-4), both, r"shard|-4|u64"),
        ("shard-3", inner(shard=3), one, r"shard"),
        ("seed-beyond-64-bits", inner(base_seed=2**64), both, r"seed|u64|18446744073709551616"),
        ("guidance-text", inner(guidance="2"), both, r"guidance|string|f64"),
        ("steps-negative", inner(steps=-1), both, r"steps|-1|usize"),
    ]:
        file = r"pairs" if fault == "teacher-other" else r"index\.json|pairs-0000[01]-of-00002\.safetensors"
        yield row(fault, change, commands, file, word)

    for fault, shape in [("huge", [2**42, 8, 8]), ("8-channels", [8, 8, 8]), ("zero", [0, 8, 8]), ("turned", [4, 4, 16])]:

        def change(pairs, shape=shape):
            setting(name, shape=shape)(pairs)
            remove(pairs / "pairs-00001-of-00002.safetensors")

        yield row(f"shape-{fault}-and-shard-missing", change, ("pairs --resume",), file, "shape")

    def many_shards(pairs):
        index = json.loads((pairs / name).read_bytes())
        index["shards"] = [""] * 1_000_000
        index["options"] |= {"count": 1_000_000, "shard": 1}
        replace(pairs / name, json.dumps(index))

    yield row("shards-million", many_shards, one, r"index\.json|pairs-\d+-of-\d+")


def values_alone(path):
    replace(path, json.dumps(list(json.loads(path.read_bytes()).values())))


def header(width, height, depth=8, colour=2, compression=0, filtering=0, interlace=0):
    return struct.pack(">IIBBBBB", width, height, depth, colour, compression, filtering, interlace)


def image_of(ihdr, data, before=b""):
    return PNG_SIGNATURE + chunk(b"IHDR", ihdr) + before + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def image_rows():
    commands = ("data check", "train autoencoder")
    sound = square((220, 30, 30))
    rows_of = lambda width, height, channels=3: zlib.compress((b"\0" + bytes(width * channels)) * height)
    data = rows_of(SIZE, SIZE)
    ihdr_at = 8 + 8 + 13
    jpeg = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xd9"

    def row(fault, change, *words, kind="images"):
        def make(folder, samples):
            images = link_tree(samples.images, folder / "images")
            change(images)

        return Row(kind, fault, make, commands, words)

    for fault, content in [
        ("empty", b""),
        ("signature-alone", PNG_SIGNATURE),
        ("text", b"not an image\n"),
        ("html", HTML),
        ("lfs-pointer", LFS_POINTER),
        ("jpeg", jpeg),
        ("gif", b"GIF89a\x01\x00\x01\x00\x00\x00\x00;"),
        ("cut", sound[: len(sound) // 2]),
        ("cut-in-header", sound[:20]),
        ("header-checksum", sound[:ihdr_at] + b"\0\0\0\0" + sound[ihdr_at + 4 :]),
        ("header-alone", PNG_SIGNATURE + chunk(b"IHDR", header(SIZE, SIZE))),
        ("header-second", PNG_SIGNATURE + chunk(b"IDAT", data) + chunk(b"IHDR", header(SIZE, SIZE)) + chunk(b"IEND", b"")),
        ("header-of-12", PNG_SIGNATURE + chunk(b"IHDR", header(SIZE, SIZE)[:12]) + chunk(b"IDAT", data) + chunk(b"IEND", b"")),
        ("width-zero", image_of(header(0, SIZE), data)),
        ("height-zero", image_of(header(SIZE, 0), data)),
        ("width-4097", image_of(header(4097, 1), rows_of(4097, 1))),
        ("sides-50000", image_of(header(50_000, 50_000), data)),
        ("sides-2^31", image_of(header(2**31 - 1, 2**31 - 1), data)),
        ("sides-4-GiB", image_of(header(2**32 - 1, 2**32 - 1), data)),
        ("depth-3", image_of(header(SIZE, SIZE, depth=3), data)),
        ("colour-5", image_of(header(SIZE, SIZE, colour=5), data)),
        ("compression-1", image_of(header(SIZE, SIZE, compression=1), data)),
        ("filter-method-1", image_of(header(SIZE, SIZE, filtering=1), data)),
        ("interlace-7", image_of(header(SIZE, SIZE, interlace=7), data)),
        ("palette-missing", image_of(header(SIZE, SIZE, colour=3), rows_of(SIZE, SIZE, 1))),
        ("data-missing", PNG_SIGNATURE + chunk(b"IHDR", header(SIZE, SIZE)) + chunk(b"IEND", b"")),
        ("data-empty", image_of(header(SIZE, SIZE), b"")),
        ("data-no-zlib", image_of(header(SIZE, SIZE), bytes(100))),
        ("data-too-short", image_of(header(SIZE, SIZE), rows_of(SIZE, SIZE // 2))),
        ("data-cut", image_of(header(SIZE, SIZE), data[: len(data) // 2])),
        ("filter-9", image_of(header(SIZE, SIZE), zlib.compress((b"\x09" + bytes(SIZE * 3)) * SIZE))),
        ("chunk-length-huge", PNG_SIGNATURE + chunk(b"IHDR", header(SIZE, SIZE)) + struct.pack(">I", 2**31) + b"IDAT" + data),
        ("chunk-critical-unknown", image_of(header(SIZE, SIZE), data, chunk(b"QRST", b"x"))),
    ]:
        yield row(fault, lambda images, content=content: replace(images / "red.png", content), r"red\.png")
    for fault, change in [
        ("folder-instead", lambda images: (remove(images / "red.png"), (images / "red.png").mkdir())),
        ("missing-file", lambda images: remove(images / "red.png")),
        (
            "link-out-of-folder",
            lambda images: (
                replace(images.parent / "outside.png", sound),
                remove(images / "red.png"),
                os.symlink("../outside.png", images / "red.png"),
            ),
        ),
        ("link-to-itself", lambda images: (remove(images / "red.png"), os.symlink("red.png", images / "red.png"))),
        ("pipe", lambda images: (remove(images / "red.png"), os.mkfifo(images / "red.png"))),
        ("80-MB", lambda images: replace(images / "red.png", sound + bytes(80 << 20))),
    ]:
        yield row(fault, change, r"red\.png")

    metadata = "metadata.jsonl"
    lines_of = lambda *lines: "".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines)
    line = lambda **changes: {key: value for key, value in ({"file_name": "red.png", "text": "red square"} | changes).items() if value is not None}
    for fault, content, word in [
        ("line-no-json", lines_of("red.png, red square"), r"line 1"),
        ("line-cut", lines_of(line(), '{"file_name": "gre'), r"line 2"),
        ("line-list", lines_of('["red.png", "red square"]'), r"line 1"),
        ("line-number", lines_of("7"), r"line 1"),
        ("line-100000-brackets", MANY_BRACKETS + b"\n", r"line 1"),
        ("line-not-utf-8", b'{"file_name": "red.png", "text": "\xff\xfe"}\n', r"line 1"),
        ("utf-16", lines_of(line()).encode("utf-16"), r"line 1|UTF"),
        ("html", HTML, r"line 1"),
        ("lfs-pointer", LFS_POINTER, r"line 1|LFS"),
        ("line-2-MiB", lines_of(line(text="x" * (2 << 20))), r"line 1"),
        ("text-missing", lines_of(line(text=None, caption="red square")), r"line 1.*text|text.*line 1|text"),
        ("text-number", lines_of(line(text=7)), r"line 1|text"),
        ("text-list", lines_of(line(text=["red square"])), r"line 1|text"),
        ("name-missing", lines_of(line(file_name=None)), r"file_name"),
        ("name-number", lines_of(line(file_name=7)), r"line 1|file_name"),
        ("name-parent", lines_of(line(file_name="../red.png")), r"\.\./red\.png"),
        ("name-parent-inside", lines_of(line(file_name="a/../red.png")), r"a/\.\./red\.png"),
        ("name-absolute", lines_of(line(file_name="/etc/hostname.png")), r"/etc/hostname"),
        ("name-drive", lines_of(line(file_name="C:red.png")), r"C:red"),
        ("name-backslash", lines_of(line(file_name="..\\red.png")), r"red\.png"),
        ("name-nul", lines_of(line(file_name="a\0.png")), r"line 1"),
        ("name-escape-sequence", lines_of(line(file_name="a\x1b[31m.png")), r"line 1"),
        ("name-empty", lines_of(line(file_name="")), r"line 1|file_name"),
        ("name-of-nothing", lines_of(line(file_name="nothing.png")), r"nothing\.png"),
        ("name-twice", lines_of(line(), line()), r"red\.png|line 2"),
        ("name-long", lines_of(line(file_name="n" * 5000 + ".png")), r"line 1|n{50}"),
        ("phrasings-text", lines_of(line(phrasings="red square")), r"line 1|phrasings"),
        ("phrasings-of-nulls", lines_of(line(phrasings=[None])), r"line 1|phrasings"),
        ("phrasings-1001", lines_of(line(phrasings=[f"square {n}" for n in range(1001)])), r"phrasings|line 1"),
        ("phrasing-trained-and-held-out", lines_of(line(phrasings=["a", "b"], held_out=["b"])), r"held_out"),
    ]:

        def change(images, content=content):
            replace(images / metadata, content)
            # Only what the lines name: the others have no other caption.
            for path in images.glob("*.png"):
                if path.name != "red.png":
                    path.unlink()

        yield row(fault, change, r"metadata\.jsonl|red\.png|nothing\.png", word, kind="images-metadata")
    yield row(
        "folder-instead", lambda images: (remove(images / metadata), (images / metadata).mkdir()), r"metadata\.jsonl", kind="images-metadata"
    )
    yield row(
        "link-out-of-folder",
        lambda images: (os.rename(images / metadata, images.parent / "outside.jsonl"), os.symlink("../outside.jsonl", images / metadata)),
        r"metadata\.jsonl",
        kind="images-metadata",
    )

    def captioned(change):
        def apply(images):
            remove(images / metadata)
            for path in images.glob("*.png"):
                (images / f"{path.stem}.txt").write_text(f"{path.stem} square\n")
            change(images)

        return apply

    for fault, change in [
        ("missing", lambda images: remove(images / "red.txt")),
        ("not-utf-8", lambda images: replace(images / "red.txt", b"\xff\xfe red")),
        ("utf-16", lambda images: replace(images / "red.txt", "red square".encode("utf-16"))),
        ("70-KB", lambda images: replace(images / "red.txt", "red " * 17_500)),
        ("1001-lines", lambda images: replace(images / "red.txt", "".join(f"red {n}\n" for n in range(1001)))),
        ("folder", lambda images: (remove(images / "red.txt"), (images / "red.txt").mkdir())),
        (
            "link-out-of-folder",
            lambda images: (
                replace(images.parent / "outside.txt", "canary"),
                remove(images / "red.txt"),
                os.symlink("../outside.txt", images / "red.txt"),
            ),
        ),
        ("pipe", lambda images: (remove(images / "red.txt"), os.mkfifo(images / "red.txt"))),
    ]:
        yield row(fault, captioned(change), r"red\.(png|txt)", kind="images-captions")

    def empty(images):
        for path in images.iterdir():
            path.unlink()

    def deep(images):
        directory = images
        for _ in range(20):
            directory = directory / "inner"
        directory.mkdir(parents=True)
        replace(directory / "a.png", sound)

    def name_not_utf_8(images):
        with open(os.fsencode(images) + b"/\xff\xfe.png", "wb") as file:
            file.write(sound)

    for fault, change, word in [
        ("empty", empty, r"images|image|image"),
        ("20-folders-deep", deep, r"inner"),
        ("name-not-utf-8", name_not_utf_8, r"UTF-8"),
        ("jpeg-beside", lambda images: replace(images / "photo.jpg", jpeg), r"photo\.jpg"),
        ("webp-beside", lambda images: replace(images / "photo.webp", b"RIFF"), r"photo\.webp"),
        ("is-a-file", lambda images: (remove(images), replace(images, b"x")), r"images"),
        ("missing", lambda images: remove(images), r"images"),
        ("link-to-itself", lambda images: (remove(images), os.symlink("images", images)), r"images"),
    ]:
        yield row(fault, change, word, kind="images-folder")


def rows():
    yield from pair_index_rows()
    yield from image_rows()
