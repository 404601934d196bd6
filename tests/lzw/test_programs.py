"""Other people's programs read what tersor writes, and tersor reads what they write.

Each program is started once with many files, so that thousands of inputs are cheap.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from lzw_tools import (
    CODERS,
    COMPAT,
    KINDS,
    TIFF,
    Coder,
    Z,
    codes_of,
    distinct_pairs,
    gif,
    gif_file,
    gif_frames,
    make_bytes,
    needs,
    pack,
    run,
    tiff_file,
    tiff_pages,
    z,
)

from tersor import lzw

both = pytest.mark.parametrize("coder", CODERS, ids=lambda coder: coder.name)

# Around the sizes of the table and of its widths.
EDGES = [d + size - 258 for size in (512, 1024, 2048, 4096) for d in range(-4, 5)]
SIZES = [
    1,
    2,
    3,
    4,
    5,
    8,
    9,
    100,
    510,
    511,
    512,
    513,
    1023,
    1024,
    4093,
    4094,
    4095,
    4096,
    4097,
    *EDGES,
    9_999,
    30_000,
]
LARGE = [65_000, 65_280, 65_535, 65_536, 65_537, 400_000, 1_500_000]


def inputs(coder: Coder, bits: int = 8, sizes: list[int] | None = None) -> list[bytes]:
    """Inputs of all kinds and sizes that are quick for a coder."""
    sizes = sizes or SIZES + LARGE
    if coder.name == "reference":
        sizes = [n for n in sizes if n < 5000]
    return [
        make_bytes(kind, n, bits)
        for kind in KINDS
        for n in sizes
        if n <= 70_000 or kind in ("text", "random", "runs")
    ]


# ---- Unix .Z ----------------------------------------------------------------------------------------


def write_files(folder: Path, contents: list[bytes], suffix: str = "") -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{i}{suffix}" for i in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


@needs("compress")
@both
@pytest.mark.parametrize("bits", range(10, 17))
def test_compress_writes_the_same_bytes(coder: Coder, bits: int, tmp_path: Path) -> None:
    """Where compress is right: with -C, or -b9 and a full table, it writes what no program can read."""
    contents = inputs(coder)
    paths = write_files(tmp_path, contents)
    run("compress", "-f", f"-b{bits}", *paths, codes=(0, 2))
    for path, content in zip(paths, contents, strict=True):
        theirs = path.with_name(path.name + ".Z")
        ours = coder.compress(content, z(bits))
        if theirs.exists():
            assert ours == theirs.read_bytes()
        else:
            assert len(ours) >= len(content)  # compress keeps a file that would grow
        assert coder.decompress(ours, z(bits)) == content


@both
@needs("compress")
@pytest.mark.parametrize("bits", [12, 16])
def test_compress_of_what_grows(coder: Coder, bits: int) -> None:
    """On standard output compress writes even what is larger than its input."""
    for content in (b"", b"a", b"ab", make_bytes("random", 5000), make_bytes("random", 65_536)):
        if len(content) <= coder.largest:
            assert run("compress", "-c", f"-b{bits}", input=content, codes=(0, 2)) == coder.compress(
                content, z(bits)
            )


@pytest.mark.parametrize("program", [pytest.param(p, marks=needs(p)) for p in ("compress", "gzip")])
@both
@pytest.mark.parametrize("bits", range(10, 17))
@pytest.mark.parametrize("block_mode", [True, False])
def test_z_files_are_read(program: str, coder: Coder, bits: int, block_mode: bool, tmp_path: Path) -> None:
    contents = inputs(coder)
    rules = z(bits, block_mode)
    paths = write_files(tmp_path, [coder.compress(content, rules) for content in contents], ".Z")
    run(program, "-d", "-f", *paths)
    for path, content in zip(paths, contents, strict=True):
        assert path.with_suffix("").read_bytes() == content


@needs("7z")
def test_z_files_are_read_by_7z(tmp_path: Path) -> None:
    for i, bits in enumerate(range(10, 17)):
        for block_mode in (True, False):
            content = make_bytes(KINDS[i % len(KINDS)], 200_000)
            path = tmp_path / f"{bits}{block_mode}.Z"
            path.write_bytes(CODERS[0].compress(content, z(bits, block_mode)))
            assert run("7z", "e", "-so", path) == content


@pytest.mark.parametrize("program", [pytest.param(p, marks=needs(p)) for p in ("compress", "gzip")])
@pytest.mark.parametrize("block_mode", [True, False])
def test_nine_bits_as_gzip_reads_them(program: str, block_mode: bool, tmp_path: Path) -> None:
    """A full table makes codes of 10 bits; the old `compress` reads so what it writes otherwise."""
    contents = inputs(CODERS[0])
    options = {"max_bits": 9, "block_mode": block_mode, "full_grows": True}
    paths = write_files(tmp_path, [lzw.compress(content, "z", **options) for content in contents], ".Z")
    run(program, "-d", "-f", *paths)
    for path, content in zip(paths, contents, strict=True):
        assert path.with_suffix("").read_bytes() == content
        assert lzw.decompress(lzw.compress(content, "z", **options), "z", full_grows=True) == content


@needs("7z")
def test_nine_bits_as_7z_reads_them(tmp_path: Path) -> None:
    """Codes stay at 9 bits."""
    for content in (make_bytes("text", 20_000), make_bytes("random", 5000), distinct_pairs(300)):
        (tmp_path / "a.Z").write_bytes(lzw.compress(content, "z", max_bits=9))
        assert run("7z", "e", "-so", tmp_path / "a.Z") == content


@needs("tar")
@needs("compress")
def test_a_tar_archive(tmp_path: Path) -> None:
    write_files(tmp_path / "files", [make_bytes("text", 5000), b"", make_bytes("runs", 100_000)])
    archive = run("tar", "-C", tmp_path, "-cf", "-", "files")
    for coder in CODERS:
        if len(archive) <= coder.largest:
            assert coder.decompress(run("compress", "-c", input=archive), Z) == archive
    (tmp_path / "t.tar.Z").write_bytes(CODERS[0].compress(archive, Z))
    listed = run("tar", "-tZf", tmp_path / "t.tar.Z").split()
    assert sorted(listed) == [b"files/", b"files/0", b"files/1", b"files/2"]


# ---- TIFF -------------------------------------------------------------------------------------------


@needs("tiffcp")
@both
def test_libtiff_reads_our_strips(coder: Coder, tmp_path: Path) -> None:
    contents = inputs(coder)
    path = tmp_path / "ours.tif"
    path.write_bytes(tiff_file((coder.compress(content, TIFF), len(content)) for content in contents))
    run("tiffcp", "-c", "none", path, tmp_path / "raw.tif")
    pages = [*tiff_pages((tmp_path / "raw.tif").read_bytes())]
    assert len(pages) == len(contents)
    for (strips, _), content in zip(pages, contents, strict=True):
        assert b"".join(strips) == content


@needs("tiffcp")
@both
def test_libtiff_writes_strips_that_we_read(coder: Coder, tmp_path: Path) -> None:
    contents = inputs(coder)
    path = tmp_path / "raw.tif"
    path.write_bytes(tiff_file(((content, len(content)) for content in contents), compression=1))
    run("tiffcp", "-c", "lzw:1", path, tmp_path / "lzw.tif")
    for (strips, size), content in zip(
        tiff_pages((tmp_path / "lzw.tif").read_bytes()), contents, strict=True
    ):
        assert len(strips) == 1
        assert coder.decompress(strips[0], TIFF, size) == content
        assert coder.decompress(strips[0], TIFF) == content


@needs("tiffcp")
@both
def test_libtiff_reads_compat_strips_as_we_do(coder: Coder, tmp_path: Path) -> None:
    """The oldest LZW TIFFs, with the bits the other way around."""
    contents = inputs(coder, sizes=[n for n in SIZES if n >= 4])
    strips = [pack(codes_of(content, COMPAT, 4094), COMPAT) for content in contents]
    path = tmp_path / "compat.tif"
    path.write_bytes(tiff_file(zip(strips, map(len, contents), strict=True)))
    run("tiffcp", "-c", "none", path, tmp_path / "raw.tif")
    pages = tiff_pages((tmp_path / "raw.tif").read_bytes())
    for (theirs, _), strip, content in zip(pages, strips, contents, strict=True):
        assert b"".join(theirs) == content
        assert coder.decompress(strip, COMPAT) == content


@needs("raw2tiff")
@both
def test_an_image_of_many_strips(coder: Coder, tmp_path: Path) -> None:
    pixels = make_bytes("image", 200 * 300)
    (tmp_path / "raw").write_bytes(pixels)
    run("raw2tiff", "-w", "300", "-l", "200", "-c", "lzw", "-r", "7", tmp_path / "raw", tmp_path / "a.tif")
    ((strips, size),) = tiff_pages((tmp_path / "a.tif").read_bytes())
    assert len(strips) == 29
    rows = [coder.decompress(strip, TIFF, min(2100, size - 2100 * i)) for i, strip in enumerate(strips)]
    assert b"".join(rows) == pixels


# ---- GIF --------------------------------------------------------------------------------------------


def square(n: int) -> int:
    """Width of a frame of about n pixels."""
    return max(1, round(n**0.5))


@needs("gif2rgb")
@both
@pytest.mark.parametrize("bits", range(2, 9))
def test_giflib_reads_our_frames(coder: Coder, bits: int, tmp_path: Path) -> None:
    for kind in ("text", "random", "one run", "pairs"):
        for width in (1, 2, 16, 62, 64, 140):
            pixels = make_bytes(kind, width * width, bits)
            path = tmp_path / "a.gif"
            path.write_bytes(gif_file([(coder.compress(pixels, gif(bits)), width, width)], bits))
            rgb = np.frombuffer(run("gif2rgb", "-1", path), "u1").reshape(-1, 3)
            grey = np.frombuffer(pixels, "u1").astype(int) * 255 // ((1 << bits) - 1)
            assert (rgb == grey[:, None]).all(), (kind, width)


@needs("gif2rgb")
@both
@pytest.mark.parametrize("bits", range(2, 9))
def test_giflib_writes_frames_that_we_read(coder: Coder, bits: int, tmp_path: Path) -> None:
    """It chooses its own palette, of as many grey values, whose order the file tells."""
    width = 130
    pixels = np.frombuffer(make_bytes("image", width * width, bits), "u1")
    grey = (pixels.astype(int) * 255 // ((1 << bits) - 1)).astype("u1")
    (tmp_path / "a.rgb").write_bytes(np.repeat(grey, 3).tobytes())
    size = str(width)
    file = run("gif2rgb", "-1", "-c", str(bits), "-s", size, size, tmp_path / "a.rgb")
    ((data, n_pixels, m),) = gif_frames(file)
    rules = gif(m)
    assert m == bits
    indices = coder.decompress(data, rules)
    assert len(indices) == n_pixels == width * width
    assert indices == coder.decompress(data, rules, n_pixels)
    path = tmp_path / "b.gif"
    path.write_bytes(file)
    palette = np.frombuffer(file[13 : 13 + (3 << bits)], "u1").reshape(-1, 3)
    theirs = np.frombuffer(run("gif2rgb", "-1", path), "u1").reshape(-1, 3)
    assert (palette[np.frombuffer(indices, "u1")] == theirs).all()


@needs("gifbuild")
@both
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_gifbuild_from_and_to_text(coder: Coder, bits: int, tmp_path: Path) -> None:
    """A description with a digit for each pixel to a file, and ours back to a description."""
    digits = "0123456789abcdef"[: 1 << bits]
    for n, kind in enumerate(("text", "random", "one run", "image")):
        width, height = 40 + n, 100
        pixels = make_bytes(kind, width * height, bits)
        rows = [pixels[i : i + width] for i in range(0, len(pixels), width)]
        image = "".join("".join(digits[pixel] for pixel in row) + "\n" for row in rows)
        colours = "".join(f"\trgb {i:03} {i:03} {i:03} is {digit}\n" for i, digit in enumerate(digits))
        screen = f"screen width {width}\nscreen height {height}\nscreen colors {1 << bits}\n"
        screen += "screen background 0\npixel aspect byte 0\n\n"
        place = f"image # 1\nimage left 0\nimage top 0\nimage bits {width} by {height}\n"
        text = f"{screen}screen map\n\tsort flag off\n{colours}end\n\n"
        file = run("gifbuild", input=f"{text}{place}{image}".encode())
        ((data, *size),) = gif_frames(file)
        assert size == [len(pixels), bits]
        assert coder.decompress(data, gif(bits)) == pixels
        path = tmp_path / "ours.gif"
        path.write_bytes(gif_file([(coder.compress(pixels, gif(bits)), width, height)], bits))
        assert f"by {height}\n{image}" in run("gifbuild", "-d", path).decode()


@needs("giftext")
def test_giftext_finds_no_fault(tmp_path: Path) -> None:
    frames = [(CODERS[0].compress(make_bytes("text", 60 * 60, 8), gif(8)), 60, 60)] * 3
    (tmp_path / "a.gif").write_bytes(gif_file(frames, 8))
    text = run("giftext", tmp_path / "a.gif").decode()
    assert text.count("Image Size") == 3
    assert "terminated normally" in text
