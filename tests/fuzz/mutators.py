"""Seeded changes of FITS and YAML files, of the kinds that copies, editors and other programs make.

Each mutator takes bytes and a random generator and gives other bytes; the same seed gives the same file. What was done
is returned beside it, for reports. Files are changed without their checksums where these would tell of everything.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import yaml
from astropy.io import fits

__all__ = ["mutated_fits", "mutated_yaml"]

Mutator = Callable[[bytes, np.random.Generator], tuple[bytes, str]]

VALUES = (0, -1, 7, 1e300, -1e-5, "", "abc", "deg", True, False, 2**40, 1.5, "nan", "GeV", "2020-01-01")
"""What the value of a header card becomes."""
UNITS = ("", "GeV", "MeV", "keV", "erg", "deg", "rad", "s", "m2", "cm2", "TeVV", "1/s/TeV/sr", "unknown")
FORMATS = ("D", "E", "K", "I", "B", "L", "5A", "2D", "0D", "PD()", "C")
NUMBERS = (0.0, -1.0, np.nan, np.inf, -np.inf, 1e30, 1e-30, 1e10)


def flip_bits(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    changed = bytearray(content)
    n = int(rng.integers(1, 9))
    for byte, bit in zip(rng.integers(0, len(content), n), rng.integers(0, 8, n), strict=True):
        changed[byte] ^= 1 << int(bit)
    return bytes(changed), f"{n} bits flipped"


def flip_header_bits(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """Bits of the headers, which are a small part of a file."""
    changed = bytearray(content)
    lines = [k for k in range(0, len(content), 80) if content[k : k + 80].isascii() and content[k + 8 : k + 9] == b"="]
    for _ in range(int(rng.integers(1, 4))):
        changed[int(rng.choice(lines)) + int(rng.integers(0, 40))] ^= 1 << int(rng.integers(0, 7))
    return bytes(changed), "bits of headers flipped"


def cut(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    end = int(rng.integers(0, len(content)))
    return content[:end], f"cut at {end}"


def lose_block(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    start = int(rng.integers(0, len(content) // 2880)) * 2880
    how = rng.choice(["zeros", "removed", "twice"])
    block = content[start : start + 2880]
    middle = {"zeros": bytes(len(block)), "removed": b"", "twice": 2 * block}[str(how)]
    return content[:start] + middle + content[start + 2880 :], f"block at {start}: {how}"


def _with_hdus(content: bytes, change: Callable[[Any], str]) -> tuple[bytes, str]:
    out = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), fits.open(io.BytesIO(content), memmap=False) as hdus:
        copies = fits.HDUList([hdu.copy() for hdu in hdus])
        told = change(copies)
        copies.writeto(out, output_verify="silentfix+ignore", checksum="remove")
    return out.getvalue(), told


def _pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(0, len(items)))]


def change_card(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
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
    if how == "value":
        value = _pick(VALUES, rng)
        card = fits.Card(key, value).image.encode()
        how = f"= {value!r}"
    elif how == "gone":
        card = b"COMMENT".ljust(80)
    else:
        card = (key[:-1] + "Q").ljust(8).encode() + content[start + 8 : start + 80]
    return content[:start] + card + content[start + 80 :], f"card {key} {how}"


def _table(hdus: Any, rng: np.random.Generator) -> Any:
    return _pick([hdu for hdu in hdus if isinstance(hdu, fits.BinTableHDU) and len(hdu.columns)], rng)


def change_column(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    def change(hdus: Any) -> str:
        hdu = _table(hdus, rng)
        k = int(rng.integers(0, len(hdu.columns)))
        column, place = hdu.columns[k], hdus.index(hdu)
        how = str(rng.choice(["gone", "renamed", "unit", "format", "values", "values", "rows"]))
        columns = list(hdu.columns)
        told = f"column {column.name} of {hdu.name} {how}"
        header = hdu.header.copy()
        if how == "values":
            values = np.array(hdu.data[column.name])
            number = _pick(NUMBERS, rng)
            if values.size and values.dtype.kind in "fiu":
                where = rng.integers(0, values.size, max(1, values.size // int(rng.choice([1, 10, 1000]))))
                with np.errstate(invalid="ignore", over="ignore"):
                    values.ravel()[where] = np.asarray(number).astype(values.dtype)
            hdu.data[column.name][...] = values
            return f"{told} {number}"
        if how == "unit":
            unit = _pick(UNITS, rng)
            hdu.columns.change_unit(column.name, unit)
            return f"{told} {unit!r}"
        if how == "renamed":
            hdu.columns.change_name(column.name, str(column.name)[:-1] + "Q")
            return told
        if how == "rows":
            n = int(rng.choice([0, 1, len(hdu.data) // 2]))
            hdus[place] = fits.BinTableHDU(hdu.data[:n], header=header, name=hdu.name)
            return f"{told} {n}"
        if how == "gone":
            del columns[k]
        else:
            new = str(_pick(FORMATS, rng))
            columns[k] = fits.Column(column.name, new, unit=column.unit)
            told += f" {new}"
        hdus[place] = fits.BinTableHDU.from_columns(columns, header=header, nrows=len(hdu.data))
        return told

    return _with_hdus(content, change)


def change_extensions(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    def change(hdus: Any) -> str:
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
        return told

    return _with_hdus(content, change)


FITS_MUTATORS: tuple[Mutator, ...] = (
    flip_bits, flip_header_bits, cut, lose_block, change_card, change_card, change_card, change_column, change_column,
    change_column, change_extensions,
)  # fmt: skip


def mutated_fits(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A FITS file with one change; ``content`` is not compressed."""
    return _pick(FITS_MUTATORS, rng)(content, rng)


def _places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths of all keys and entries."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in items for place in ((*path, key), *_places(value, (*path, key)))]


def _misspelt(word: str, rng: np.random.Generator) -> str:
    k = int(rng.integers(0, len(word)))
    return str(rng.choice([word[:k] + word[k + 1 :], word[:k] + "x" + word[k:], word.upper() + "_", word + "s"]))


YAML_VALUES = (None, True, "abc", "", -1, 0, 1e300, float("nan"), [], [1, 2], {}, {"a": 1}, "1e-3 TeV", "TeVV", 10**40)


def change_node(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    tree = yaml.safe_load(content)
    place = _pick(_places(tree), rng)
    node = tree
    for key in place[:-1]:
        node = node[key]
    key, how = place[-1], str(rng.choice(["gone", "value", "value", "misspelt", "misspelt", "twice"]))
    told = f"{'.'.join(map(str, place))} {how}"
    if how == "gone":
        del node[key]
    elif how == "value":
        node[key] = _pick(YAML_VALUES, rng)
        told += f" {node[key]!r}"
    elif how == "misspelt" and isinstance(node[key], str) and node[key] and rng.random() < 0.5:
        node[key] = _misspelt(node[key], rng)
        told += f" {node[key]!r}"
    elif how == "misspelt" and isinstance(node, dict):
        node[_misspelt(str(key), rng)] = node.pop(key)
        told += f" {list(node)[-1]!r}"
    elif isinstance(node, list):
        node.append(node[key])
    else:
        del node[key]
    return yaml.safe_dump(tree, sort_keys=False).encode(), told


def change_text(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    return _pick((flip_bits, cut), rng)(content, rng)


def mutated_yaml(content: bytes, rng: np.random.Generator) -> tuple[bytes, str]:
    """A YAML file with one change."""
    return _pick((change_node, change_node, change_node, change_node, change_text), rng)(content, rng)
