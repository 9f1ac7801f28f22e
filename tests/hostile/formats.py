"""The file formats that the suites read and write: safetensors, PNG, PyTorch checkpoints, bundles, a small emoji font."""

import hashlib
import io
import json
import struct
import zipfile
import zlib
from pathlib import Path

CHUNK_BYTES = 16 << 20
SIZES = {"F64": 8, "I64": 8, "F32": 4, "I32": 4, "F16": 2, "BF16": 2, "U8": 1, "BOOL": 1}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


# safetensors


class Tensors:
    """A parsed safetensors file: the entries of its header in the order of their data, and the data."""

    def __init__(self, entries, data, metadata=None):
        self.entries, self.data, self.metadata = entries, data, metadata

    @classmethod
    def read(cls, content):
        length = struct.unpack("<Q", content[:8])[0]
        header = json.loads(content[8 : 8 + length])
        metadata = header.pop("__metadata__", None)
        entries = sorted(([name, entry] for name, entry in header.items()), key=lambda item: item[1]["data_offsets"])
        return cls(entries, content[8 + length :], metadata)

    @classmethod
    def of(cls, tensors):
        """From (name, dtype, shape, bytes)."""
        entries, data = [], b""
        for name, dtype, shape, content in tensors:
            entries.append([name, {"dtype": dtype, "shape": list(shape), "data_offsets": [len(data), len(data) + len(content)]}])
            data += content
        return cls(entries, data)

    def tensors(self):
        """As `of` takes them."""
        return [(name, entry["dtype"], entry["shape"], self.data[slice(*entry["data_offsets"])]) for name, entry in self.entries]

    def changed(self, name, change):
        """A copy with one tensor changed: `change(dtype, shape, bytes)` gives the new ones, None leaves the tensor out."""
        result = []
        for tensor, *parts in self.tensors():
            parts = change(*parts) if tensor == name else parts
            if parts is not None:
                result.append((tensor, *parts))
        return Tensors.of(result)

    def header(self):
        # By hand, so that a name can stand there twice.
        parts = [f"{json.dumps('__metadata__')}:{json.dumps(self.metadata)}"] if self.metadata else []
        parts += [f"{json.dumps(name)}:{json.dumps(entry, separators=(',', ':'))}" for name, entry in self.entries]
        return ("{" + ",".join(parts) + "}").encode()

    def bytes(self):
        return with_header(self.header(), self.data)

    def with_entry(self, name, **changes):
        """A copy with another header entry for one tensor; a value of None leaves the key out."""
        entries = []
        for tensor, entry in self.entries:
            if tensor == name:
                entry = {key: value for key, value in (entry | changes).items() if value is not None}
            entries.append([tensor, entry])
        return Tensors(entries, self.data, self.metadata)


def with_header(header, data):
    return struct.pack("<Q", len(header)) + header + data


def floats(values):
    return struct.pack(f"<{len(values)}f", *values)


def wave(count, scale=1.0):
    """Numbers that look like a latent's: spread evenly around 0 with a deviation of about 1."""
    return [scale * (((index * 7919) % 1000) / 289.0 - 1.73) for index in range(count)]


# PNG


def chunk(kind, content, crc=None):
    crc = zlib.crc32(kind + content) if crc is None else crc
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)


PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def png(width, height, pixels, colour=2, depth=8):
    """`pixels` row by row: 3 bytes each for colour 2 (RGB), 4 for colour 6 (RGBA)."""
    stride = {2: 3, 6: 4}[colour] * width
    rows = b"".join(b"\0" + pixels[row * stride : (row + 1) * stride] for row in range(height))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG_SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


# PyTorch checkpoints


class Pickle:
    """Writes pickles of protocol 2 by opcode: what torch.save writes, and what it never would."""

    def __init__(self):
        self.out = io.BytesIO()
        self.out.write(b"\x80\x02")

    def raw(self, content):
        self.out.write(content)
        return self

    def value(self, value):
        if isinstance(value, bool):
            return self.raw(b"\x88" if value else b"\x89")
        if isinstance(value, int):
            if -(2**31) <= value < 2**31:
                return self.raw(b"J" + struct.pack("<i", value))
            size = value.bit_length() // 8 + 1
            return self.raw(b"\x8a" + bytes([size]) + value.to_bytes(size, "little", signed=True))
        if isinstance(value, str):
            content = value.encode()
            return self.raw(b"X" + struct.pack("<I", len(content)) + content)
        if isinstance(value, (tuple, list)):
            self.raw(b"(")
            for item in value:
                self.value(item)
            return self.raw(b"t" if isinstance(value, tuple) else b"l")
        if isinstance(value, dict):
            self.raw(b"}(")
            for key, item in value.items():
                self.value(key).value(item)
            return self.raw(b"u")
        if value is None:
            return self.raw(b"N")
        return value.write(self)

    def end(self):
        return self.raw(b".").out.getvalue()


class Global:
    """A name that a pickle refers to."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def write(self, pickle):
        return pickle.raw(b"c" + self.module.encode() + b"\n" + self.name.encode() + b"\n")


class Reduce:
    """A call: what makes pickles dangerous, and how torch.save writes tensors."""

    def __init__(self, call, arguments):
        self.call, self.arguments = call, arguments

    def write(self, pickle):
        return pickle.value(self.call).value(self.arguments).raw(b"R")


class Persistent:
    """A storage by its id."""

    def __init__(self, identity):
        self.identity = identity

    def write(self, pickle):
        return pickle.value(self.identity).raw(b"Q")


def strides(shape):
    found = []
    step = 1
    for length in reversed(shape):
        found.insert(0, step)
        step *= length
    return tuple(found)


def stored_tensor(shape, elements, offset=0, stride=None, key="0", storage="FloatStorage", rebuild="_rebuild_tensor_v2", call=None):
    """A tensor as torch.save writes it: a view of a storage of so many elements."""
    pid = Persistent(("storage", Global("torch", storage), key, "cpu", elements))
    arguments = (pid, offset, tuple(shape), strides(shape) if stride is None else stride, False, Reduce(Global("collections", "OrderedDict"), ()))
    return Reduce(call or Global("torch._utils", rebuild), arguments)


def checkpoint(pickle, storages, byte_order="little"):
    """torch.save's archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickle)
        archive.writestr("archive/byteorder", byte_order)
        for key, content in storages.items():
            archive.writestr(f"archive/data/{key}", content)
        archive.writestr("archive/version", "3\n")
    return out.getvalue()


# Bundles


def rehash(folder):
    """Writes the sizes and hashes of a bundle's files into its manifest, as whoever makes a bundle can."""
    path = Path(folder) / "manifest.json"
    manifest = json.loads(path.read_bytes())
    for entry in manifest["files"]:
        file = Path(folder) / str(entry["name"])
        if file.is_file():
            content = file.read_bytes()
            entry["size"] = len(content)
            entry["chunks"] = [sha256(content[at : at + CHUNK_BYTES]) for at in range(0, len(content), CHUNK_BYTES)]
    path.unlink()
    path.write_text(json.dumps(manifest, indent=2))


# A font with colour bitmaps (tables CBLC and CBDT), and the names of its emoji


def emoji_font(count, side=136):
    """A font in which the code points from U+1F300 on are images, and the CLDR annotations that name them."""
    glyphs = count + 1
    first = 0x1F300
    images = []
    for index in range(count):
        colour = bytes([(index * 37) % 256, (index * 91) % 256, (index * 53) % 256, 255])
        edge = side // 4 + index % (side // 4)
        row_inside = bytes(4 * edge) + colour * (side - 2 * edge) + bytes(4 * edge)
        rows = [row_inside if edge <= row < side - edge else bytes(4 * side) for row in range(side)]
        images.append(png(side, side, b"".join(rows), colour=6))
    # Small metrics (height, width, bearings, advance), the length, and the PNG: image format 17.
    data, offsets = struct.pack(">HH", 3, 0), []
    for image in images:
        offsets.append(len(data))
        data += struct.pack(">BBbbB", side, side, 0, 101, side) + struct.pack(">I", len(image)) + image
    offsets.append(len(data))
    subtable = struct.pack(">HHI", 1, 17, offsets[0]) + b"".join(struct.pack(">I", offset - offsets[0]) for offset in offsets)
    array = struct.pack(">HHI", 1, count, 8)
    line = struct.pack(">bbBbbbbbbbbb", 101, -27, side, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    size = struct.pack(">IIII", 8 + 48, len(array) + len(subtable), 1, 0) + line + line + struct.pack(">HHBBBb", 1, count, 109, 109, 32, 1)
    index = struct.pack(">HHI", 3, 0, 1) + size + array + subtable

    head = struct.pack(">IIIIHHQQhhhhHHhhh", 0x10000, 0x10000, 0, 0x5F0F3CF5, 0, 2048, 0, 0, 0, 0, 2550, 2550, 0, 8, 2, 0, 0)
    hhea = struct.pack(">IhhhHhhhhhhhhhhhH", 0x10000, 1900, -500, 0, 2550, 0, 0, 2550, 1, 0, 0, 0, 0, 0, 0, 0, glyphs)
    hmtx = struct.pack(">Hh", 2550, 0) * glyphs
    maxp = struct.pack(">IH", 0x5000, glyphs)
    groups = struct.pack(">III", first, first + count - 1, 1)
    cmap = struct.pack(">HH", 0, 1) + struct.pack(">HHI", 3, 10, 12) + struct.pack(">HHIII", 12, 0, 16 + 12, 0, 1) + groups
    notice = "A font of rectangles".encode("utf-16-be")
    name = struct.pack(">HHH", 0, 1, 18) + struct.pack(">HHHHHH", 3, 1, 0x409, 0, len(notice), 0) + notice
    tables = {b"CBDT": data, b"CBLC": index, b"cmap": cmap, b"head": head, b"hhea": hhea, b"hmtx": hmtx, b"maxp": maxp, b"name": name}
    font = struct.pack(">IHHHH", 0x10000, len(tables), 128, 3, 0)
    at = 12 + 16 * len(tables)
    body = b""
    for tag, content in tables.items():
        padded = content + bytes(-len(content) % 4)
        font += tag + struct.pack(">III", 0, at + len(body), len(content))
        body += padded
    lines = []
    for number in range(count):
        word = "".join(chr(ord("a") + int(digit)) for digit in f"{number:03}")
        lines.append(f'<annotation cp="{chr(first + number)}">shape | {word}</annotation>')
        lines.append(f'<annotation cp="{chr(first + number)}" type="tts">{word} shape</annotation>')
    return font + body, "<ldml><annotations>\n" + "\n".join(lines) + "\n</annotations></ldml>\n"
