"""Functions in place of other packages' own: the same parameters, the same results."""

from __future__ import annotations

import difflib
import inspect
import io
import itertools
import pathlib
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tersor import lzw
from tersor.integrations import imagecodecs as fast_imagecodecs
from tersor.integrations import ncompress as fast_ncompress
from tersor.integrations import uncompresspy as fast_uncompresspy
from tersor.integrations import unlzw3 as fast_unlzw3

TEXT = inspect.getsource(difflib).encode()
INPUTS = [b"", b"a", b"ab", b"a" * 5000, TEXT, np.random.default_rng(0).bytes(20_000)]


def parameters(function: Callable[..., Any]) -> dict[str, tuple[Any, Any]]:
    return {p.name: (p.kind, p.default) for p in inspect.signature(function).parameters.values()}


def check_signature(ours: Callable[..., Any], theirs: Callable[..., Any]) -> None:
    """All of their parameters, in their order; more of ours only by keyword."""
    mine, wanted = parameters(ours), parameters(theirs)
    assert {name: mine.get(name) for name in wanted} == wanted
    assert [name for name in mine if name in wanted] == list(wanted)
    extra = [mine[name] for name in mine if name not in wanted]
    assert all(
        kind == inspect.Parameter.KEYWORD_ONLY and default is not inspect._empty for kind, default in extra
    )


# ---- unlzw3, uncompresspy ---------------------------------------------------------------------------


def test_unlzw_is_called_alike() -> None:
    unlzw3 = pytest.importorskip("unlzw3")
    check_signature(fast_unlzw3.unlzw, unlzw3.unlzw)
    for content, bits in itertools.product(INPUTS, (9, 12, 16)):
        data = lzw.compress(content, "z", max_bits=bits, full_grows=True)
        assert fast_unlzw3.unlzw(data) == unlzw3.unlzw(data) == content


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x1f",
        b"\x1f\x9d",
        b"\x1f\x8b\x90ab",
        b"\x1f\x9d\xf0ab",
        b"\x1f\x9d\x88ab",
        b"\x1f\x9d\x90\xff\xff",
    ],
)
def test_unlzw_refuses_alike(bad: bytes) -> None:
    unlzw3 = pytest.importorskip("unlzw3")
    for function in (unlzw3.unlzw, fast_unlzw3.unlzw):
        with pytest.raises(ValueError, match=r"."):
            function(bad)


def test_unlzw_of_what_is_no_bytes() -> None:
    unlzw3 = pytest.importorskip("unlzw3")
    for function, bad in itertools.product((unlzw3.unlzw, fast_unlzw3.unlzw), ("text", None, 1.5)):
        with pytest.raises(TypeError):
            function(bad)


def test_uncompresspy_is_called_alike(tmp_path: pathlib.Path) -> None:
    uncompresspy = pytest.importorskip("uncompresspy")
    check_signature(fast_uncompresspy.open, uncompresspy.open)
    check_signature(fast_uncompresspy.LZWFile, uncompresspy.LZWFile)
    path = tmp_path / "a.Z"
    path.write_bytes(lzw.compress(TEXT, "z"))
    for module in (uncompresspy, fast_uncompresspy):
        for name in (path, str(path), bytes(path)):
            with module.open(name, "rb", False, True) as file:
                assert file.read(100) == TEXT[:100]
                assert file.tell() == 100
                assert (file.readable(), file.writable(), file.seekable()) == (True, False, True)
                assert file.seek(5000) == 5000
                assert file.read(50) == TEXT[5000:5050]
                assert file.seek(10) == 10
                assert file.seek(5, 1) == 15
                room = bytearray(30)
                assert file.readinto(room) == 30
                assert room == TEXT[15:45]
                assert file.readline() + file.read() == TEXT[45:]
                assert file.fileno() >= 0
                with pytest.raises(io.UnsupportedOperation):
                    file.write(b"")
            assert file.closed
            with pytest.raises(ValueError, match="closed"):
                file.read()
        with module.open(path, "rt", encoding="utf-8") as file:
            assert [*file] == TEXT.decode().splitlines(keepends=True)
        with io.BytesIO(path.read_bytes()) as raw, module.LZWFile(raw) as file:
            assert file.read() == TEXT


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_uncompresspy_refuses_alike(name: str, tmp_path: pathlib.Path) -> None:
    module: ModuleType = fast_uncompresspy if name == "ours" else pytest.importorskip("uncompresspy")
    good = io.BytesIO(lzw.compress(TEXT, "z"))
    for mode in ("w", "wb", "rbt", "a", "x", "q"):
        with pytest.raises(ValueError, match=r"."):
            module.open(good, mode)
    for option in ("encoding", "errors", "newline"):
        with pytest.raises(ValueError, match=r"."):
            module.open(good, "rb", **{option: "utf-8"})
    with pytest.raises(TypeError):
        module.LZWFile(3)
    with pytest.raises(FileNotFoundError):
        module.open(tmp_path / "none.Z")
    for bad in (b"", b"\x1f\x9d", b"\x1f\x8b\x90ab", b"\x1f\x9d\x85ab"):
        with pytest.raises(ValueError, match=r"."):
            module.open(io.BytesIO(bad))
    (tmp_path / "bad.Z").write_bytes(b"bad")
    with pytest.raises(ValueError, match=r"."):
        module.open(tmp_path / "bad.Z")


# ---- imagecodecs ------------------------------------------------------------------------------------


def test_imagecodecs_is_called_alike() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for name in fast_imagecodecs.__all__:
        check_signature(getattr(fast_imagecodecs, name), getattr(imagecodecs, name))


def test_lzw_check_is_the_same() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for data in [
        b"",
        *(bytes([a]) for a in range(256)),
        *(bytes(p) for p in itertools.product(range(256), repeat=2)),
    ]:
        if data != b"\0":  # whose second byte imagecodecs looks at all the same
            assert fast_imagecodecs.lzw_check(data) == imagecodecs.lzw_check(data), data
    with pytest.raises(TypeError):
        fast_imagecodecs.lzw_check("text")  # type: ignore[arg-type]


def outs(kind: str, n: int) -> Any:
    match kind:
        case "int":
            return n
        case "bytearray":
            return bytearray(n)
        case "memoryview":
            return memoryview(bytearray(n))
        case "array":
            return np.zeros(n, "u1")
    return None


@pytest.mark.parametrize("kind", ["none", "int", "bytearray", "memoryview", "array"])
def test_decode_has_the_same_results(kind: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for content in INPUTS:
        data = lzw.compress(content)
        for n in {0, 1, len(content) // 2, len(content), len(content) + 100}:
            if n == 0 and kind != "int":
                continue
            ours, theirs = outs(kind, n), outs(kind, n)
            mine = fast_imagecodecs.lzw_decode(data, out=ours)
            other = imagecodecs.lzw_decode(data, out=theirs)
            assert type(mine) is type(other)
            assert bytes(mine) == bytes(other) == (content if kind == "none" else content[:n])
            assert (mine is ours) == (other is theirs)
            if kind not in ("none", "int"):
                assert bytes(ours[: len(mine)]) == bytes(theirs[: len(mine)])


@pytest.mark.parametrize("kind", ["none", "int", "bytearray", "memoryview", "array"])
def test_encode_has_the_same_results(kind: str) -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    for content in INPUTS:
        n = len(content) * 2 + 10
        ours, theirs = outs(kind, n), outs(kind, n)
        mine = fast_imagecodecs.lzw_encode(content, out=ours)
        other = imagecodecs.lzw_encode(content, out=theirs)
        assert type(mine) is type(other)
        assert lzw.decompress(mine) == lzw.decompress(other) == content
        exact = outs(kind, len(mine))
        assert bytes(fast_imagecodecs.lzw_encode(content, out=exact)) == bytes(mine)
        if kind != "none":
            with pytest.raises(ValueError, match="out has"):
                fast_imagecodecs.lzw_encode(content, out=outs(kind, len(mine) - 1))


def test_encode_takes_arrays_element_by_element() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    base = np.arange(20_000, dtype="u2").reshape(100, 200)
    for array in (
        base,
        base[::2],
        base[:, ::-3],
        base.T,
        np.asfortranarray(base),
        base.astype(">i4"),
        base > 99,
    ):
        data = fast_imagecodecs.lzw_encode(array)
        assert imagecodecs.lzw_decode(data) == array.tobytes()
        assert fast_imagecodecs.lzw_decode(imagecodecs.lzw_encode(array)) == array.tobytes()


def test_decode_refuses_what_imagecodecs_refuses_for_a_reason() -> None:
    imagecodecs = pytest.importorskip("imagecodecs")
    data = bytes.fromhex("801fffffff")
    for function, error in (
        (imagecodecs.lzw_decode, RuntimeError),
        (fast_imagecodecs.lzw_decode, ValueError),
    ):
        with pytest.raises(error):
            function(data)
        with pytest.raises(TypeError):
            function("text")
    for function in (imagecodecs.lzw_decode, fast_imagecodecs.lzw_decode):
        assert function(b"") == b""
        assert function(lzw.compress(TEXT)[:-2])[:5000] == TEXT[:5000]
        assert (
            function(lzw.compress(TEXT), buffersize=1 << 20) == TEXT
            if "buffersize" in parameters(function)
            else 1
        )
    with pytest.raises((TypeError, ValueError)):
        fast_imagecodecs.lzw_decode(lzw.compress(TEXT), out=bytes(100))


def test_decode_knows_the_oldest_tiffs_by_their_first_code() -> None:
    """Their strips are what a GIF of 8-bit pixels has."""
    imagecodecs = pytest.importorskip("imagecodecs")
    for content in INPUTS:
        strip = lzw.compress(content, "gif", min_code_size=8)
        assert fast_imagecodecs.lzw_check(strip)
        assert fast_imagecodecs.lzw_decode(strip, out=len(content)) == content
        if content:
            assert imagecodecs.lzw_decode(strip, out=len(content)) == content


# ---- ncompress --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ours", "theirs"])
def test_ncompress_is_called_alike(name: str) -> None:
    """Its functions have no signature to compare, only their documentation."""
    module: ModuleType = fast_ncompress if name == "ours" else pytest.importorskip("ncompress")
    for content in INPUTS:
        data = lzw.compress(content, "z")
        for function, source, result in (
            (module.compress, content, data),
            (module.decompress, data, content),
        ):
            if not source:
                continue
            assert function(source) == result
            assert function(in_bytes=source) == result
            assert function(io.BytesIO(source)) == result
            assert function(in_stream=io.BytesIO(source)) == result
            for arguments in ((source,), (io.BytesIO(source),)):
                out = io.BytesIO()
                assert function(*arguments, out) is None
                assert out.getvalue() == result
            out = io.BytesIO()
            assert function(in_stream=io.BytesIO(source), out_stream=out) is None
            assert out.getvalue() == result
    for bad in ("text", 5, None):
        with pytest.raises(TypeError):
            module.compress(bad)
    for bad in (b"", b"\x1f", b"\x1f\x8b\x90aa", b"\x1f\x9d\x91aa", b"\x1f\x9d\x90\xff\xff\xff"):
        with pytest.raises(ValueError, match=r"."):
            module.decompress(bad)
        with pytest.raises(ValueError, match=r"."):
            module.decompress(io.BytesIO(bad))


def test_ncompress_of_large_streams() -> None:
    content = TEXT * 60
    out, back = io.BytesIO(), io.BytesIO()
    fast_ncompress.compress(io.BytesIO(content), out)
    assert out.getvalue() == lzw.compress(content, "z")
    out.seek(0)
    fast_ncompress.decompress(out, back)
    assert back.getvalue() == content


# ---- fsspec -----------------------------------------------------------------------------------------


@pytest.fixture
def fsspec() -> Any:
    module = pytest.importorskip("fsspec")
    from tersor.integrations import fsspec as fast_fsspec

    fast_fsspec.register()
    fast_fsspec.register()
    return module


@pytest.mark.parametrize("suffix", ["tsr", "Z"])
def test_fsspec_files(fsspec: Any, suffix: str, tmp_path: pathlib.Path) -> None:
    for protocol in (f"file://{tmp_path}", "memory://"):
        url = f"{protocol}/a.{suffix}"
        with fsspec.open(url, "wb", compression="infer") as file:
            file.write(TEXT[:1000])
            file.write(TEXT[1000:])
        with fsspec.open(url, "rb", compression=suffix) as file:
            assert file.read() == TEXT
        with fsspec.open(url, "rt", compression="infer", encoding="utf-8") as file:
            assert file.readlines() == TEXT.decode().splitlines(keepends=True)
        with fsspec.open(url, "rb") as file:
            stored = file.read()
        if suffix == "Z":
            assert stored == lzw.compress(TEXT, "z")


def test_pandas_through_fsspec(fsspec: Any, tmp_path: pathlib.Path) -> None:
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": range(1000), "b": [f"text {i}" for i in range(1000)]})
    for suffix in ("tsr", "Z"):
        path = str(tmp_path / f"t.csv.{suffix}")
        with fsspec.open(path, "wt", compression="infer", newline="") as file:
            table.to_csv(file, index=False)
        with fsspec.open(path, "rt", compression="infer") as file, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert pandas.read_csv(file).equals(table)


def test_fsspec_does_not_take_over_a_name(fsspec: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from fsspec.compression import compr

    from tersor.integrations import fsspec as fast_fsspec

    monkeypatch.setitem(compr, "Z", lambda file, mode: file)
    with pytest.raises(ValueError, match="Z"):
        fast_fsspec.register()
