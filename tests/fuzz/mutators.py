"""Seeded changes of files and stores, of the kinds that copies, editors and other programs make.

Each mutator takes the content of a file as bytes (a store: a mapping of paths to bytes) and a random generator, and
gives a :class:`Change`; the same seed gives the same change. Headers and tables are changed with the checksums taken
out, which would tell of everything; bytes are changed with the checksums left.

A change is *visible* if a check that knows the format, and no other copy of the file, can see it: something is missing,
misspelt, cut, or has a value or a unit that it cannot have. Another number in its place that is as good is not.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import yaml
from astropy import units as u
from astropy.io import fits

__all__ = ["BYTES", "FITS", "STORE", "TEXT", "YAML", "Change", "Mutator"]


@dataclass(frozen=True)
class Change:
    """What a mutator made.

    Parameters
    ----------
    content : bytes or mapping
        The changed content.
    told : str
        What was done.
    visible : bool
        Whether a check can see it without a checksum.
    keeps_sums : bool
        Whether checksums of the original are still in the file, and so tell of it.
    """

    content: Any
    told: str
    visible: bool = False
    keeps_sums: bool = False


type Mutator = Callable[[Any, np.random.Generator], Change]

VALUES = (0, -1, 7, 1e300, -1e-5, "", "abc", "deg", True, False, 2**40, 1.5, "nan", "GeV", "2020-01-01")
"""What the value of a header card becomes."""
IMPOSSIBLE = (1e300, "abc", "", "nan")
"""Those that no card with a number or a name from a list can have; others may be right somewhere."""
UNITS = ("", "GeV", "MeV", "keV", "erg", "deg", "rad", "s", "m2", "cm2", "TeVV", "1/s/TeV/sr", "unknown")
FORMATS = ("D", "E", "K", "I", "B", "L", "5A", "2D", "0D", "PD()", "C")
NUMBERS = (0.0, -1.0, np.nan, np.inf, -np.inf, 1e30, 1e-30, 1e10)


def flip_bits(content: bytes, rng: np.random.Generator) -> Change:
    changed = bytearray(content)
    n = int(rng.integers(1, 9))
    for byte, bit in zip(rng.integers(0, len(content), n), rng.integers(0, 8, n), strict=True):
        changed[byte] ^= 1 << int(bit)
    return Change(bytes(changed), f"{n} bits flipped", keeps_sums=True)


def flip_header_bits(content: bytes, rng: np.random.Generator) -> Change:
    """Bits of the headers, which are a small part of a file."""
    changed = bytearray(content)
    lines = [k for k in range(0, len(content), 80) if content[k : k + 80].isascii() and content[k + 8 : k + 9] == b"="]
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.choice(lines)) + int(rng.integers(0, 40))] ^= 1 << int(rng.integers(0, 7))
    return Change(bytes(changed), "bits of headers flipped", keeps_sums=True)


def cut(content: bytes, rng: np.random.Generator) -> Change:
    end = int(rng.integers(0, len(content)))
    return Change(content[:end], f"cut at {end}", visible=True, keeps_sums=True)


def lose_block(content: bytes, rng: np.random.Generator) -> Change:
    start = int(rng.integers(0, len(content) // 2880)) * 2880
    how = rng.choice(["zeros", "removed", "twice"])
    block = content[start : start + 2880]
    middle = {"zeros": bytes(len(block)), "removed": b"", "twice": 2 * block}[str(how)]
    after = content[:start] + middle + content[start + 2880 :]
    return Change(after, f"block at {start}: {how}", visible=how != "zeros", keeps_sums=True)


def _with_hdus(content: bytes, change: Callable[[Any], tuple[str, bool]]) -> Change:
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), fits.open(io.BytesIO(content), memmap=False) as hdus:
        copies = fits.HDUList([hdu.copy() for hdu in hdus])
        told, visible = change(copies)
        copies.writeto(out, output_verify="silentfix+ignore", checksum="remove")
    return Change(out.getvalue(), told, visible)


def _pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(0, len(items)))]


def _without_sums(content: bytes) -> bytes:
    """Checksums taken out of the headers, lengths kept; as bytes, since astropy mends what it writes."""
    changed = bytearray(content)
    for key in (b"CHECKSUM= ", b"DATASUM = "):
        start = -1
        while (start := content.find(key, start + 1)) >= 0:
            if start % 80 == 0:
                changed[start : start + 80] = b"COMMENT".ljust(80)
    return bytes(changed)


def change_card(content: bytes, rng: np.random.Generator) -> Change:
    """A card whose value is another, that is gone, or has another name; by bytes, as astropy mends structure."""
    structure = ("SIMPLE", "END", "COMMENT", "HISTORY", "")
    lines = [
        k
        for k in range(0, len(content), 80)
        if content[k : k + 80].isascii()
        and content[k + 8 : k + 10] == b"= "
        and content[k : k + 8].decode().strip() not in structure
    ]
    start = int(_pick(lines, rng))
    key = content[start : start + 8].decode().strip()
    how = str(rng.choice(["value", "value", "gone", "renamed"]))
    visible = True
    if how == "value":
        value = _pick(VALUES, rng)
        card = fits.Card(key, value).image.encode()
        how, visible = f"= {value!r}", value in IMPOSSIBLE
    elif how == "gone":
        card = b"COMMENT".ljust(80)
    else:
        card = (key[:-1] + "Q").ljust(8).encode() + content[start + 8 : start + 80]
    content = _without_sums(content)
    return Change(content[:start] + card + content[start + 80 :], f"card {key} {how}", visible)


def _table(hdus: Any, rng: np.random.Generator) -> Any:
    return _pick([hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU) and len(hdu.columns)], rng)


def change_column(content: bytes, rng: np.random.Generator) -> Change:
    def change(hdus: Any) -> tuple[str, bool]:
        hdu = _table(hdus, rng)
        k = int(rng.integers(0, len(hdu.columns)))
        column, place = hdu.columns[k], hdus.index(hdu)
        how = str(rng.choice(["gone", "renamed", "unit", "format", "rows"]))
        columns = list(hdu.columns)
        told = f"column {column.name} of {hdu.name} {how}"
        header = hdu.header.copy()
        if how == "unit":
            unit, before = _pick(UNITS, rng), column.unit
            hdu.columns.change_unit(column.name, unit)
            return f"{told} {before!r} -> {unit!r}", not _convertible(before, unit)
        if how == "renamed":
            hdu.columns.change_name(column.name, str(column.name)[:-1] + "Q")
            return told, True
        if how == "rows":
            n = int(rng.choice([0, 1, len(hdu.data) // 2]))
            hdus[place] = fits.BinTableHDU(hdu.data[:n], header=header, name=hdu.name)
            return f"{told} {n}", False
        if how == "gone":
            del columns[k]
        else:
            new = str(_pick(FORMATS, rng))
            columns[k] = fits.Column(column.name, new, unit=column.unit)
            told += f" {new}"
        hdus[place] = fits.BinTableHDU.from_columns(columns, header=header, nrows=len(hdu.data))
        return told, how == "gone"

    return _with_hdus(content, change)


def change_values(content: bytes, rng: np.random.Generator) -> Change:
    """Numbers of a column or an image: one, some or a tenth of them."""

    def change(hdus: Any) -> tuple[str, bool]:
        images = [hdu for hdu in hdus if hdu.is_image and hdu.data is not None]
        hdu = _pick(images, rng) if images else _table(hdus, rng)
        name = hdu.name if images else _pick([c.name for c in hdu.columns], rng)
        values = np.array(hdu.data if images else hdu.data[name])
        number = _pick(NUMBERS, rng)
        if values.dtype.kind not in "fiu" or not values.size:
            return f"{name} of {hdu.name} as it was", False
        n = max(1, values.size // int(rng.choice([1, 10, 1000])))
        with np.errstate(invalid="ignore", over="ignore"):
            values.ravel()[rng.integers(0, values.size, n)] = np.asarray(number).astype(values.dtype)
        if images:
            hdu.data = values
        else:
            hdu.data[name][...] = values
        seen = values.dtype.kind == "f" and (number == 1e30 or not np.isfinite(number))
        return f"values of {name} of {hdu.name} {number}", seen

    return _with_hdus(content, change)


def _convertible(before: str | None, after: str) -> bool:
    """Whether a unit can take the place of another without notice."""
    try:
        return u.Unit(after).is_equivalent(u.Unit(before or ""))
    except ValueError:
        return False


def change_extensions(content: bytes, rng: np.random.Generator) -> Change:
    def change(hdus: Any) -> tuple[str, bool]:
        k = int(rng.integers(1, len(hdus))) if len(hdus) > 1 else 0
        how = str(rng.choice(["gone", "twice", "renamed", "moved"]))
        told = f"extension {hdus[k].name} {how}"
        if how == "renamed":
            hdus[k].name = hdus[k].name + "Q"
        elif how == "twice":
            hdus.append(hdus[k].copy())
        elif k:
            hdu = hdus.pop(k)
            if how == "moved":
                hdus.append(hdu)
        return told, True

    return _with_hdus(content, change)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys and entries."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in items for place in ((*path, key), *_places(value, (*path, key)))]


def _misspelt(word: str, rng: np.random.Generator) -> str:
    k = int(rng.integers(0, len(word)))
    return str(rng.choice([word[:k] + word[k + 1 :], word[:k] + "x" + word[k:], word.upper() + "_", word + "s"]))


FREE_TEXT = ("name", "link", "datasets_names", "unit")
"""Keys whose value may be another text that means something else."""
REQUIRED = ("type", "value", "unit", "frame", "parameters", "spectral")
"""Keys without which a model of a file has no meaning; others have defaults that are in the format."""
YAML_VALUES = (None, True, "abc", "", -1, 0, 1e300, float("nan"), [], [1, 2], {}, {"a": 1}, "1e-3 TeV", "TeVV", 10**40)


def change_node(content: bytes, rng: np.random.Generator) -> Change:
    """A key or an entry of a YAML file."""
    tree = yaml.safe_load(content)
    told, visible = _change_tree(tree, rng)
    return Change(yaml.safe_dump(tree, sort_keys=False).encode(), told, visible)


def _change_tree(tree: Any, rng: np.random.Generator) -> tuple[str, bool]:
    place = _pick(_places(tree), rng)
    node = tree
    for key in place[:-1]:
        node = node[key]
    key, how = place[-1], str(rng.choice(["gone", "value", "value", "misspelt", "misspelt", "twice"]))
    told = f"{'.'.join(map(str, place))} {how}"
    visible = True
    if how == "twice" and isinstance(node, list):
        node.append(node[key])
    elif how in ("gone", "twice"):
        del node[key]
        visible = key in REQUIRED
    elif how == "value":
        before = node[key]
        node[key] = _pick(YAML_VALUES, rng)
        told += f" {node[key]!r}"
        visible = node[key] is not None and _kind(before) != _kind(node[key]) and key not in FREE_TEXT
    elif isinstance(node[key], str) and node[key] and rng.random() < 0.5:
        node[key] = _misspelt(node[key], rng)
        told += f" {node[key]!r}"
        visible = key not in FREE_TEXT
    elif isinstance(node, dict):
        node[_misspelt(str(key), rng)] = node.pop(key)
        told += f" {list(node)[-1]!r}"
    return told, visible


def _kind(value: Any) -> type:
    return float if isinstance(value, int) and not isinstance(value, bool) else type(value)


def cut_text(content: bytes, rng: np.random.Generator) -> Change:
    """As :func:`cut`, which text does not show where a line or an entry ends."""
    return replace(cut(content, rng), visible=False)


def insert(content: bytes, rng: np.random.Generator) -> Change:
    """Other bytes in the place of some, or more of them at the end."""
    at, n, m = int(rng.integers(0, len(content) + 1)), int(rng.integers(0, 64)), int(rng.integers(1, 64))
    text = rng.bytes(m) if rng.random() < 0.5 else str(rng.integers(-9, 10**12)).encode()
    return Change(content[:at] + text + content[at + n :], f"{len(text)} bytes for {n} at {at}", keeps_sums=True)


def repeat_line(content: bytes, rng: np.random.Generator) -> Change:
    """A line of a text file twice, gone, or in another place."""
    lines = content.splitlines(keepends=True)
    k = int(rng.integers(0, len(lines)))
    how = str(rng.choice(["twice", "gone", "moved"]))
    line = lines.pop(k)
    if how == "twice":
        lines[k:k] = [line, line]
    elif how == "moved":
        lines.insert(int(rng.integers(0, len(lines) + 1)), line)
    return Change(b"".join(lines), f"line {k} {how}")


type Store = Mapping[str, bytes]


def change_member(store: Store, rng: np.random.Generator) -> Change:
    """Bytes of one file of a store; of the small ones that say what there is as often as of the large ones."""
    names = sorted(store)
    small = [name for name in names if name.endswith(".json")]
    name = _pick(small if rng.random() < 0.5 else names, rng)
    change = _pick((flip_bits, cut, insert), rng)(store[name], rng)
    return Change({**store, name: change.content}, f"{name}: {change.told}", visible=True, keeps_sums=True)


def change_members(store: Store, rng: np.random.Generator) -> Change:
    """Files of a store that are gone, exchanged, or there again under another name."""
    one, other = _pick(sorted(store), rng), _pick(sorted(store), rng)
    how = str(rng.choice(["gone", "exchanged", "copied", "overwritten"]))
    changed = dict(store)
    if how == "gone":
        del changed[one]
    elif how == "exchanged":
        changed |= {one: store[other], other: store[one]}
    elif how == "copied":
        changed[f"{other.rpartition('/')[0]}/more/{one.rpartition('/')[2]}".lstrip("/")] = store[one]
    else:
        changed[one] = store[other]
    return Change(changed, f"{one} {how} ({other})", visible=True, keeps_sums=True)


def change_metadata(store: Store, rng: np.random.Generator) -> Change:
    """A key of what zarr says of a group or an array."""
    name = _pick([name for name in sorted(store) if name.endswith("zarr.json")], rng)
    tree = json.loads(store[name])
    told, _ = _change_tree(tree, rng)
    return Change({**store, name: json.dumps(tree).encode()}, f"{name}: {told}", visible=True, keeps_sums=True)


def forge_header(store: Store, rng: np.random.Generator) -> Change:
    """A key of the header, its hash made anew: what an attacker does, who can also make whole stores."""
    tree = json.loads(store["zarr.json"])
    header = json.loads(tree["attributes"]["pymc_gamma"])
    told, _ = _change_tree(header, rng)
    text = json.dumps(header)
    tree["attributes"] |= {
        "pymc_gamma": text, "pymc_gamma_hash": hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    }  # fmt: skip
    return Change({**store, "zarr.json": json.dumps(tree).encode()}, f"forged: {told}")


BYTES: tuple[Mutator, ...] = (flip_bits, flip_bits, cut, insert)
"""Of any file."""
FITS: tuple[Mutator, ...] = (
    flip_bits, flip_header_bits, cut, lose_block, change_card, change_card, change_card, change_column, change_column,
    change_values, change_values, change_extensions, insert,
)  # fmt: skip
"""Of a FITS file that is not compressed."""
YAML: tuple[Mutator, ...] = (
    change_node,
    change_node,
    change_node,
    change_node,
    flip_bits,
    cut_text,
    insert,
    repeat_line,
)
TEXT: tuple[Mutator, ...] = (flip_bits, cut_text, insert, repeat_line)
STORE: tuple[Mutator, ...] = (change_member, change_members, change_metadata, forge_header, forge_header)
"""Of a store of a response, as a mapping of paths to bytes."""
