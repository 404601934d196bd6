"""The command line, in this process through `main` and in others as users run it."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import tersor
from tersor.cli import commands, main, show

RNG = np.random.default_rng(11)
DATA = bytes(RNG.geometric(0.2, 700_000).astype("u1"))


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "tersor.cli", *arguments]
    return subprocess.run(command, input=stdin, capture_output=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bytes_file() -> str:
    Path("data.bin").write_bytes(DATA)
    return "data.bin"


def array_file() -> str:
    np.save("array.npy", RNG.normal(size=(500, 700)).astype("f4"))
    return "array.npy"


def model_file() -> str:
    tensors = {"w": RNG.normal(0, 0.1, (300, 300)).astype("f4"), "b": np.zeros(300, "f4")}
    safetensors.numpy.save_file(tensors, "model.safetensors", {"format": "np"})
    return "model.safetensors"


FILES = {"bytes": bytes_file, "array": array_file, "model": model_file}
COMPRESSED = {
    "bytes": "data.bin.tsr",
    "array": "array.npy.tsr",
    "model": "model.tsr.safetensors",
}


# ---- Round trips ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_round_trip_with_default_names(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = FILES[kind]()
    original = Path(name).read_bytes()
    assert main(["compress", name]) == 0
    assert sorted(os.listdir()) == sorted([name, COMPRESSED[kind]])
    assert Path(COMPRESSED[kind]).stat().st_size < len(original)
    os.unlink(name)
    assert main(["decompress", COMPRESSED[kind]]) == 0
    assert Path(name).read_bytes() == original
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("options", [["-T", "1"], ["--codec", "raw"], ["--typesize", "4"]])
def test_options_of_compress(options: list[str]) -> None:
    assert main(["compress", bytes_file(), "-o", "out", *options]) == 0
    assert tersor.decompress(Path("out").read_bytes()) == DATA
    assert main(["decompress", "out", "-o", "back", "-T", "2"]) == 0
    assert Path("back").read_bytes() == DATA


def test_pipes() -> None:
    packed = run("compress", "-", stdin=DATA)
    assert (packed.returncode, packed.stderr) == (0, b"")
    assert tersor.decompress(packed.stdout) == DATA
    restored = run("decompress", "-", stdin=packed.stdout)
    assert (restored.returncode, restored.stdout, restored.stderr) == (0, DATA, b"")
    assert os.listdir() == []


def test_file_to_standard_output() -> None:
    assert run("compress", bytes_file(), "-o", "-").stdout == run("compress", "-", stdin=DATA).stdout


def test_compressed_npy_file_is_an_array() -> None:
    name = array_file()
    assert main(["compress", name]) == 0
    frame = Path("array.npy.tsr").read_bytes()
    assert np.array_equal(tersor.decompress_array(frame), np.load(name))
    assert len(frame) < len(tersor.compress(Path(name).read_bytes(), typesize=1)) * 0.95


def test_file_named_npy_that_is_none_is_bytes() -> None:
    Path("odd.npy").write_bytes(b"no array")
    assert main(["compress", "odd.npy"]) == 0
    assert tersor.decompress(Path("odd.npy.tsr").read_bytes()) == b"no array"


def test_empty_file() -> None:
    Path("empty").write_bytes(b"")
    assert main(["compress", "empty"]) == 0
    assert main(["decompress", "empty.tsr", "-o", "back"]) == 0
    assert Path("back").read_bytes() == b""


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions")
@pytest.mark.parametrize("kind", FILES)
def test_output_has_the_inputs_permissions(kind: str) -> None:
    name = FILES[kind]()
    os.chmod(name, 0o640)
    assert main(["compress", name]) == 0
    assert main(["decompress", COMPRESSED[kind], "-o", "back"]) == 0
    assert [os.stat(n).st_mode & 0o777 for n in (COMPRESSED[kind], "back")] == [0o640, 0o640]


# ---- Refusals ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_existing_output_needs_force(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, packed = FILES[kind](), COMPRESSED[kind]
    Path(packed).write_bytes(b"precious")
    assert main(["compress", name]) == 1
    assert capsys.readouterr().err == f"tersor: {packed}: the output exists; -f replaces it\n"
    assert Path(packed).read_bytes() == b"precious"
    assert main(["compress", name, "-f"]) == 0
    assert main(["decompress", packed]) == 1
    assert main(["decompress", packed, "-f"]) == 0


def damaged(kind: str) -> dict[str, bytes]:
    """Bad versions of a compressed file."""
    name = FILES[kind]()
    assert main(["compress", name]) == 0
    good = Path(COMPRESSED[kind]).read_bytes()
    os.unlink(name)
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 16
    return {
        "flipped": bytes(flipped),
        "truncated": good[: len(good) // 2],
        "cut by a byte": good[:-1],
        "extended": good + b"\0",
        "empty": b"",
        "random": RNG.bytes(5000),
        "text": b"once upon a time",
    }


BAD = ["flipped", "truncated", "cut by a byte", "extended", "empty", "random", "text"]


@pytest.mark.parametrize("damage", BAD)
@pytest.mark.parametrize("kind", FILES)
def test_bad_input_is_one_line_and_no_file(
    kind: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = COMPRESSED[kind]
    Path(packed).write_bytes(damaged(kind)[damage])
    assert main(["decompress", packed]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tersor: {packed}: ")
    assert err.count("\n") == 1
    assert os.listdir() == [packed]


@pytest.mark.parametrize("damage", BAD)
def test_bad_input_from_a_pipe(damage: str) -> None:
    result = run("decompress", "-", "-o", "out", stdin=damaged("bytes")[damage])
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1
    assert b"Traceback" not in result.stderr
    assert "out" not in os.listdir()


@pytest.mark.parametrize("damage", ["empty", "random", "text", "truncated"])
def test_inspect_of_bad_input(damage: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.tsr").write_bytes(damaged("bytes")[damage])
    assert main(["inspect", "bad.tsr"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_model_that_is_no_safetensors(capsys: pytest.CaptureFixture[str]) -> None:
    Path("m.safetensors").write_bytes(b"nonsense, and long enough for a header size")
    assert main(["compress", "m.safetensors"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert os.listdir() == ["m.safetensors"]


@pytest.mark.parametrize("kind", FILES)
def test_max_length(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = FILES[kind]()
    size = sum(a.nbytes for a in safetensors.numpy.load_file(name).values()) if kind == "model" else 0
    size = size or os.path.getsize(name)
    assert main(["compress", name]) == 0
    packed = COMPRESSED[kind]
    assert main(["decompress", packed, "-o", "out", "--max-length", str(size - 1)]) == 1
    assert "allowed" in capsys.readouterr().err
    assert "out" not in os.listdir()
    assert main(["decompress", packed, "-o", "out", "--max-length", str(size)]) == 0


def test_missing_input(capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("compress", "decompress", "inspect", "bench"):
        name = "missing.tsr" if command == "decompress" else "missing"
        assert main([command, name]) == 1
        assert capsys.readouterr().err == f"tersor: {name}: No such file or directory\n"
    assert os.listdir() == []


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["explode"],
        ["compress"],
        ["compress", "x", "--codec", "best"],
        ["compress", "x", "--typesize", "3"],
        ["compress", "x", "-T", "0"],
        ["decompress", "x", "--max-length", "many"],
    ],
)
def test_wrong_arguments_are_status_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(arguments)
    assert exit.value.code == 2


def test_arguments_that_do_not_go_together_are_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    Path("plain").write_bytes(tersor.compress(b"x"))
    model = model_file()
    for arguments in (
        ["decompress", "plain"],
        ["compress", model, "--typesize", "4"],
        ["compress", model, "-o", "-"],
    ):
        assert main(arguments) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_interrupt_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    name = bytes_file()

    def interrupt(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "_copy", interrupt)
    assert main(["compress", name]) == 130
    assert os.listdir() == [name]


def test_reader_that_goes_away_is_no_traceback() -> None:
    packed = Path("zeros.tsr")
    packed.write_bytes(tersor.compress(bytes(50_000_000)))
    command = f"{sys.executable} -m tersor.cli decompress zeros.tsr -o - | head -c 10"
    result = subprocess.run(command, shell=True, capture_output=True)
    assert (result.stdout, result.stderr) == (bytes(10), b"")


def test_full_disk_is_one_line() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("no /dev/full")
    Path("zeros.tsr").write_bytes(tersor.compress(bytes(1_000_000)))
    command = [sys.executable, "-m", "tersor.cli", "decompress", "zeros.tsr", "-o", "-"]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert result.stderr.count(b"\n") == 1


# ---- Reports ----------------------------------------------------------------------------------------


def test_inspect_frames(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = tersor.compress(DATA), tersor.compress(bytes(1000), typesize=8)
    Path("two.tsr").write_bytes(first + second)
    assert main(["inspect", "two.tsr", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["file_bytes"] == os.path.getsize("two.tsr")
    assert report["content_bytes"] == len(DATA) + 1000
    assert report["ratio"] == report["file_bytes"] / report["content_bytes"]
    assert [f["content_bytes"] for f in report["frames"]] == [len(DATA), 1000]
    assert report["frames"][0]["blocks"] == 3
    assert report["frames"][0]["planes"] == {"huffman, 2 x 64 lanes": 3}
    assert report["frames"][1]["planes"] == {"single": 8}
    assert main(["inspect", "two.tsr"]) == 0
    assert f"{len(DATA) + 1000:,} bytes in {report['file_bytes']:,}" in capsys.readouterr().out


def test_inspect_sparse(capsys: pytest.CaptureFixture[str]) -> None:
    pruned = np.where(RNG.random((300, 400)) < 0.1, RNG.normal(size=(300, 400)), 0).astype("f4")
    Path("pruned.tsr").write_bytes(tersor.compress_array(pruned))
    assert main(["inspect", "pruned.tsr", "--json"]) == 0
    frame = json.loads(capsys.readouterr().out)["frames"][0]
    assert [name for name in frame["filters"] if name.startswith("sparse ")]
    assert sum(frame["planes"].values()) == 1 + 5  # the header's, and of four bytes and the positions
    tersor.checkpoint.save_file({"w": pruned, "b": pruned + 1}, "pruned.safetensors")
    assert main(["inspect", "pruned.safetensors", "--json"]) == 0
    methods = {t["name"]: t["methods"] for t in json.loads(capsys.readouterr().out)["tensors"]}
    assert methods["w"].startswith("positions by gaps, ")
    assert len(methods["w"].split(", ")) == 5
    assert "positions" not in methods["b"]


def test_inspect_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", model_file()]) == 0
    assert main(["inspect", "model.tsr.safetensors", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["file_bytes"] == os.path.getsize("model.tsr.safetensors")
    assert report["content_bytes"] == 4 * (90_000 + 300)
    assert report["metadata"] == {"format": "np"}
    rows = {t["name"]: t for t in report["tensors"]}
    assert rows["w"]["shape"] == [300, 300]
    assert rows["b"]["methods"] == "single, single, single, single"
    assert main(["inspect", "model.tsr.safetensors"]) == 0
    table = capsys.readouterr().out
    assert f"{rows['w']['compressed_nbytes']:,}" in table
    assert main(["inspect", "model.safetensors"]) == 0
    assert "stored" in capsys.readouterr().out


@pytest.fixture
def one_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(show, "_SECONDS", 0)
    monkeypatch.setattr(show, "_ROUNDS", 1)


@pytest.mark.usefixtures("one_round")
def test_demo(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo"]) == 0
    out = capsys.readouterr().out
    assert "model restored byte for byte: 241,568 bytes" in out
    assert "safetensors opens the compressed file: 8 tensors" in out
    model = tersor.compress(
        (Path(show.__file__).parents[1] / "data/digits.safetensors").read_bytes(), typesize=4
    )
    assert f"{len(model):,}" in out
    assert out.count("zlib 6") == 2
    assert os.listdir() == []


@pytest.mark.usefixtures("one_round")
def test_bench(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", bytes_file()]) == 0
    assert f"{len(tersor.compress(DATA)):,}" in capsys.readouterr().out
    assert main(["bench", array_file()]) == 0
    assert main(["bench", model_file()]) == 0
    assert "tersor (files)" in capsys.readouterr().out
    assert main(["bench"]) == 0
    assert "Model: a network for handwritten digits" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(["--version"])
    assert exit.value.code == 0
    assert capsys.readouterr().out == f"tersor {tersor.__version__}\n"


def test_command_line_starts_without_numpy_torch_or_rich() -> None:
    code = "import sys, tersor.cli; print([m for m in ('numpy', 'torch', 'rich') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_tables_on_a_terminal_need_no_rich(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setitem(sys.modules, "rich.table", None)
    commands.print_table("title", ("a", "b"), [("x", 1)])
    assert terminal.getvalue() == "title\n  a  b\n  x  1\n\n"


def test_missing_folder_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", bytes_file(), "-o", "nowhere/out"]) == 1
    assert capsys.readouterr().err == "tersor: nowhere/out: No such file or directory\n"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX pipes")
def test_what_is_no_regular_file_is_written_to_and_not_replaced() -> None:
    name = bytes_file()
    os.mkfifo("pipe")
    with open("copy", "wb") as copy:
        reader = subprocess.Popen(["cat", "pipe"], stdout=copy)
    assert main(["compress", name, "-o", "pipe"]) == 0
    assert reader.wait() == 0
    assert tersor.decompress(Path("copy").read_bytes()) == DATA
    assert Path("pipe").is_fifo()


# ---- .Z ---------------------------------------------------------------------------------------------

READERS = [["uncompress", "-c"], ["gzip", "-dc"], ["7z", "x", "-so"]]


@pytest.mark.parametrize("reader", READERS, ids=lambda r: r[0])
def test_z_files_are_read_by_others(reader: list[str]) -> None:
    if shutil.which(reader[0]) is None:
        pytest.skip(f"no {reader[0]}")
    assert main(["compress", bytes_file(), "--format", "z"]) == 0
    assert subprocess.run([*reader, "data.bin.Z"], capture_output=True, check=True).stdout == DATA


@pytest.mark.skipif(shutil.which("compress") is None, reason="no compress")
def test_z_files_are_those_of_compress() -> None:
    assert main(["compress", bytes_file(), "--format", "z"]) == 0
    theirs = subprocess.run(["compress", "-c", "data.bin"], capture_output=True).stdout
    assert Path("data.bin.Z").read_bytes() == theirs


def test_z_round_trip_with_default_names() -> None:
    name = bytes_file()
    assert main(["compress", name, "--format", "z"]) == 0
    os.unlink(name)
    assert main(["decompress", "data.bin.Z"]) == 0
    assert Path(name).read_bytes() == DATA


def test_z_is_known_by_its_beginning() -> None:
    packed = run("compress", "-", "--format", "z", stdin=DATA)
    assert packed.stdout == tersor.lzw.compress(DATA, "z")
    restored = run("decompress", "-", stdin=packed.stdout)
    assert (restored.returncode, restored.stdout, restored.stderr) == (0, DATA, b"")
    Path("odd.name").write_bytes(packed.stdout)
    assert main(["decompress", "odd.name", "-o", "back"]) == 0
    assert Path("back").read_bytes() == DATA


def test_z_takes_any_file_as_bytes() -> None:
    for name in (array_file(), model_file()):
        original = Path(name).read_bytes()
        assert main(["compress", name, "--format", "z"]) == 0
        assert tersor.lzw.decompress(Path(name + ".Z").read_bytes(), "z") == original


@pytest.mark.parametrize("bad", [b"\x1f\x9d", b"\x1f\x9d\x88abc", b"\x1f\x9d\x90a\xffbc", b"\x1f\x9d\xf0abc"])
def test_bad_z_is_one_line_and_no_file(bad: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    Path("bad.Z").write_bytes(bad)
    assert main(["decompress", "bad.Z"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("tersor: bad.Z: ")
    assert err.count("\n") == 1
    assert os.listdir() == ["bad.Z"]


def test_z_max_length(capsys: pytest.CaptureFixture[str]) -> None:
    Path("zeros.Z").write_bytes(tersor.lzw.compress(bytes(10_000), "z"))
    assert main(["decompress", "zeros.Z", "--max-length", "9999"]) == 1
    assert "allowed" in capsys.readouterr().err
    assert main(["decompress", "zeros.Z", "--max-length", "10000"]) == 0


@pytest.mark.parametrize("options", [["--codec", "huffman"], ["--typesize", "2"]])
def test_z_has_no_options_of_frames(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", bytes_file(), "--format", "z", *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_inspect_z(capsys: pytest.CaptureFixture[str]) -> None:
    Path("some.Z").write_bytes(tersor.lzw.compress(DATA, "z", max_bits=13))
    assert main(["inspect", "some.Z", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["kind"], report["max_bits"], report["block_mode"]) == ("z", 13, True)
    assert (report["content_bytes"], report["file_bytes"]) == (len(DATA), os.path.getsize("some.Z"))
    assert main(["inspect", "some.Z"]) == 0
    assert f"{len(DATA):,} bytes in" in capsys.readouterr().out


def test_codec_lzw(capsys: pytest.CaptureFixture[str]) -> None:
    Path("text").write_bytes(Path(__file__).read_bytes())
    assert main(["compress", "text", "--codec", "lzw"]) == 0
    assert tersor.decompress(Path("text.tsr").read_bytes()) == Path("text").read_bytes()
    assert main(["inspect", "text.tsr", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["frames"][0]["planes"] == {"lzw": 1}
