"""Write the benchmark tables of docs/benchmarks.md in Markdown.

    python benchmarks/tables.py [--quick] [--output FILE] [--update docs/benchmarks.md]

MB/s are 10**6 bytes of uncompressed data a second, on one thread. The peers of a table take turns, so
that whatever else the machine does meets all of them, and the best of several turns counts.
"""

from __future__ import annotations

import argparse
import heapq
import os
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from math import inf
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import inputs
import numpy as np
import peers
from inputs import UnavailableError
from numpy.typing import NDArray
from pages import QUICK_BYTES, head_line, table
from peers import Peer, to_bytes

import tersor
from tersor import _native
from tersor.huffman import HuffmanCode
from tersor.parallel import n_cores

MARKERS = "<!-- benchmarks -->", "<!-- /benchmarks -->"
OPTIMUM_BLOCK = 256 << 10
LARGE_MODEL_COPIES = 11  # of 90.9 MB

# In a process of its own, since a peak never falls again. Linux lets a child's `ru_maxrss` begin at
# what its parent had; the high-water mark in /proc does not.
PEAK_MEMORY = """
import sys
import tersor.checkpoint
task, *files = sys.argv[1:]
if task:
    getattr(tersor.checkpoint, task)(*files)
try:
    with open("/proc/self/status") as status:
        print(next(int(line.split()[1]) << 10 for line in status if line.startswith("VmHWM")))
except OSError:
    import resource
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(peak if sys.platform == "darwin" else peak << 10)
"""


# ---- Measuring ----------------------------------------------------------------------------------


class Result(NamedTuple):
    """What one peer did with one input."""

    peer: Peer
    ratio: float
    compress: float  # MB/s
    decompress: float


def measure(
    makers: Iterable[Callable[[], tuple[Peer, Any]]], repetitions: int, missing: set[str]
) -> list[Result]:
    """Race peers, each made with its data. Those that are not installed are noted in `missing`."""
    runs: list[tuple[Peer, Any, Any]] = []
    for make in makers:
        try:
            peer, source = make()
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        source = peer.sample(source)
        runs.append((peer, source, peer.checked(source)))
    best = [[inf, inf] for _ in runs]
    for _ in range(repetitions):
        for times, (peer, source, compressed) in zip(best, runs, strict=True):
            times[0] = min(times[0], _seconds(peer.compress, peer.fresh(source)))
            times[1] = min(times[1], _seconds(peer.decompress, compressed))
    results = []
    for (compress, decompress), (peer, source, compressed) in zip(best, runs, strict=True):
        size = len(to_bytes(source))
        ratio = len(to_bytes(compressed)) / size
        results.append(Result(peer, ratio, size / compress / 1e6, size / decompress / 1e6))
    return results


def _seconds(function: Callable[[Any], Any], argument: Any) -> float:
    start = perf_counter()
    result = function(argument)
    seconds = perf_counter() - start
    del result  # only now: freeing it is not part of the work
    return seconds


# ---- Markdown -----------------------------------------------------------------------------------


def results_table(results: list[Result]) -> Iterator[str]:
    """Format a race, the best of each column in bold."""
    whole = [r for r in results if not r.peer.slow]

    def rows() -> Iterator[list[str]]:
        for r in results:
            cells = [f"{r.ratio:.4f}", _speed(r.compress), _speed(r.decompress)]
            if r.peer.only_reads:
                cells[:2] = ["", ""]
            is_best = [
                r.ratio == min(w.ratio for w in whole),
                r.compress == max(w.compress for w in whole),
                r.decompress == max(w.decompress for w in whole),
            ]
            marked = [f"**{c}**" if b else c for c, b in zip(cells, is_best, strict=True)]
            yield [r.peer.name + (" *" if r.peer.slow else ""), *marked]

    yield from table(["", "ratio", "compress MB/s", "decompress MB/s"], rows())


def _speed(megabytes: float) -> str:
    return f"{megabytes:.0f}" if megabytes >= 10 else f"{megabytes:.1f}"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"


def _title(function: Callable[[], Any]) -> str:
    return str(function.__doc__).partition("\n")[0].rstrip(".")


# ---- The tables ---------------------------------------------------------------------------------


def byte_tables(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Compare peers on bytes, one table an input."""
    yield "### Bytes"
    yield ""
    for name, function in inputs.INPUTS.items():
        try:
            data, typesize = inputs.load(name)
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        yield f"`{name}`: {_title(function)}, {_megabytes(len(data))}"
        yield ""
        makers = [
            lambda p=p: (peers.make(p, name, typesize), data)  # noqa: B023 - called before the next
            for p in peers.names_for(name)
        ]
        yield from results_table(measure(makers, repetitions, missing))
    yield f"\\* on the first {peers.SLOW_SIZE >> 10} KiB only: its ratio does not compare."
    yield ""


def lzw_tables(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Compare with what else speaks LZW."""
    yield "### LZW"
    yield ""
    yield f"\\* on the first {peers.SLOW_SIZE >> 10} KiB only; those without a ratio read and do not write."
    yield ""
    for name in peers.LZW_INPUTS:
        try:
            data = inputs.load(name).data
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        for format, makers in peers.LZW_PEERS.items():
            yield f"{peers.LZW_TITLES[format]} of `{name}`"
            yield ""
            races = [
                lambda m=m: (peers.lzw_peer(m, format, data), data)  # noqa: B023 - called before the next
                for m in makers
            ]
            yield from results_table(measure(races, repetitions, missing))


def kernel_table(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Compare the CPU paths of the block coder."""
    yield "### Kernels"
    yield ""
    yield "The block coder alone, into memory that is there already: compress / decompress MB/s by CPU path."
    yield ""
    rows = []
    names: list[str] = []
    for name in inputs.BYTE_INPUTS:
        try:
            data, typesize = inputs.load(name)
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        makers = [lambda p=p: (peers.block_coder(p, len(data)), data) for p in _native.cpu_paths()]  # noqa: B023
        makers.append(lambda: (peers.make("zstandard 1", name, typesize), data))  # noqa: B023
        results = measure(makers, repetitions, missing)
        names = [r.peer.name for r in results]
        rows.append([f"`{name}`", *(f"{_speed(r.compress)} / {_speed(r.decompress)}" for r in results)])
    yield from table(["", *names], rows)


def thread_table(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Tell what a second core gains."""
    yield "### Threads"
    yield ""
    rows = []
    for name in inputs.BYTE_INPUTS:
        try:
            data = inputs.load(name).data
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        one, two = measure([lambda n=n: (peers.threaded(n), data) for n in (1, 2)], repetitions, missing)  # noqa: B023
        gains = two.compress / one.compress, two.decompress / one.decompress
        rows.append([f"`{name}`", *(f"{_speed(r.compress)} / {_speed(r.decompress)}" for r in (one, two))])
        rows[-1].append(f"{gains[0]:.2f} / {gains[1]:.2f}")
    yield from table(["compress / decompress MB/s", "1 thread", "2 threads", "gain"], rows)


def small_table(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Tell what a call costs on small inputs."""
    yield "### Small inputs"
    yield ""
    yield "Microseconds a call, compress / decompress, and compressed bytes; pieces of the BF16 exponents."
    yield ""
    try:
        data = inputs.load("bf16_exponents").data
    except UnavailableError as reason:
        missing.add(str(reason))
        return
    rows = []
    for size in (100, 1000, 10_000):
        piece = data[:size]
        calls = 200_000 // (100 + size)
        row = [f"{size:,} bytes"]
        for compress, decompress in peers.SMALL_PEERS.values():
            packed = compress(piece)
            times = [
                min(timeit.repeat(partial(function, argument), number=calls, repeat=5 * repetitions)) / calls
                for function, argument in ((compress, piece), (decompress, packed))
            ]
            row.append(f"{times[0] * 1e6:.1f} / {times[1] * 1e6:.1f}, {len(packed):,} bytes")
        rows.append(row)
    yield from table(["", *peers.SMALL_PEERS], rows)


def code_table(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Compare codes for alphabets of any size."""
    yield "### Codes of any alphabet"
    yield ""
    yield f"`HuffmanCode` of {_megabytes(inputs.CODE_SIZE)} of symbols, made before: encode / decode MB/s."
    yield f"\\* on the first {peers.SLOW_SIZE >> 10} KiB only."
    yield ""
    rows = []
    names: list[str] = []
    for name, make in inputs.CODE_INPUTS.items():
        data = make()
        code = HuffmanCode.from_data(data)
        makers = [lambda p=p: (peers.code_peer(p, code, data), data) for p in peers.CODE_PEERS]  # noqa: B023
        results = measure(makers, repetitions, missing)
        names = [r.peer.name + (" *" if r.peer.slow else "") for r in results]
        rows.append([name, *(f"{_speed(r.compress)} / {_speed(r.decompress)}" for r in results)])
    yield from table(["", *names], rows)


def checkpoint_table(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Compare peers on model files."""
    yield "### Model files"
    yield ""
    for dtype in ["BF16", "F32"]:
        with tempfile.TemporaryDirectory() as folder:
            try:
                path = inputs.write_model(Path(folder, "model.safetensors"), dtype)
            except UnavailableError as reason:
                missing.add(str(reason))
                return
            yield f"{dtype}, {_megabytes(path.stat().st_size)}"
            yield ""
            makers = [
                lambda p=p: (peers.checkpoint_peer(p, dtype), path)  # noqa: B023 - likewise
                for p in peers.CHECKPOINT_PEERS
            ]
            yield from results_table(measure(makers, repetitions, missing))
    yield (
        "From file to file, so that for the fast ones reading and writing files is most of the time; `bf16` "
        "and `f32` above are the same weights in memory. tersor goes tensor by tensor; the others are given "
        "the data of all tensors at once."
    )
    yield ""


def array_table(repetitions: int, missing: set[str]) -> Iterator[str]:
    """Compare with NumPy's compressed files."""
    yield "### Arrays"
    yield ""
    for name, function in inputs.ARRAYS.items():
        try:
            a = inputs.load_array(name)
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        yield f"`{name}`: {_title(function)}, {_megabytes(a.nbytes)}"
        yield ""
        makers = [lambda p=p: (p, a) for p in peers.ARRAY_PEERS.values()]  # noqa: B023 - likewise
        yield from results_table(measure(makers, repetitions, missing))


def optimum_bits(counts: Iterable[int]) -> int:
    """Size of the best Huffman code for these counts, of any length, without its code table."""
    heap = [int(c) for c in counts if c]
    heapq.heapify(heap)
    bits = 0
    while len(heap) > 1:
        # Each merge makes the codes below it one bit longer.
        merged = heapq.heappop(heap) + heapq.heappop(heap)
        bits += merged
        heapq.heappush(heap, merged)
    return bits


def entropy_bits(counts: NDArray[Any]) -> float:
    """Order-0 entropy of all that is counted."""
    seen = counts[counts > 0]
    return float(seen @ np.log2(seen.sum() / seen))


def optimum_table(missing: set[str]) -> Iterator[str]:
    """Compare sizes with the least that coding byte by byte could reach."""
    yield "### Size against the optimum"
    yield ""
    yield (
        "Whole frames (code tables, checksums and all) against two bounds, each taken of "
        f"{OPTIMUM_BLOCK >> 10} KiB at a time and without any table: Huffman codes of unlimited length, and "
        "the order-0 entropy."
    )
    yield ""
    rows = []
    for name in inputs.BYTE_INPUTS:
        try:
            data = inputs.load(name).data
        except UnavailableError as reason:
            missing.add(str(reason))
            continue
        values = np.frombuffer(data, np.uint8)
        counts = [np.bincount(values[at : at + OPTIMUM_BLOCK]) for at in range(0, len(data), OPTIMUM_BLOCK)]
        size = len(tersor.compress(data, "huffman"))
        bounds = sum(map(optimum_bits, counts)) / 8, sum(map(entropy_bits, counts)) / 8
        row = [f"`{name}`", f"{size:,}"]
        for bound in bounds:
            row += [f"{bound:,.0f}", f"{100 * size / bound - 100:+.2f} %"]
        rows.append(row)
    yield from table(["", "tersor", "Huffman", "difference", "entropy", "difference"], rows)


def memory_table(missing: set[str]) -> Iterator[str]:
    """Tell the peak memory of work on a large model file."""
    yield "### Peak memory"
    yield ""
    with tempfile.TemporaryDirectory() as folder:
        source, compressed, restored = (Path(folder, name) for name in ("source", "tsr", "restored"))
        try:
            inputs.write_model(source, "F32", copies=LARGE_MODEL_COPIES)
        except UnavailableError as reason:
            missing.add(str(reason))
            return
        tasks: list[tuple[str, list[Path]]] = [
            ("", []),
            ("compress_file", [source, compressed]),
            ("decompress_file", [compressed, restored]),
        ]
        rows = []
        for task, files in tasks:
            command = [sys.executable, "-c", PEAK_MEMORY, task, *map(str, files)]
            peak = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            rows.append([task or "after `import tersor.checkpoint`", _megabytes(peak)])
        yield (
            f"F32 model of {_megabytes(source.stat().st_size)}, all {n_cores()} cores; the whole "
            "process, Python and NumPy included."
        )
        yield ""
        yield from table(["", "peak"], rows)


# ---- The page -----------------------------------------------------------------------------------


def page(repetitions: int) -> Iterator[str]:
    """Make all tables, line by line."""
    missing: set[str] = set()
    yield head_line()
    yield ""
    yield (
        "One thread unless said otherwise. Ratio: compressed to original size. MB/s: 10^6 bytes of the "
        f"original a second, best of {repetitions}, all peers of a table in turn."
    )
    if (cap := inputs.cap()) is not None:
        yield f"Inputs are cut to {_megabytes(cap)}."
    yield ""
    yield from byte_tables(repetitions, missing)
    yield from kernel_table(repetitions, missing)
    yield from thread_table(repetitions, missing)
    yield from small_table(repetitions, missing)
    yield from code_table(repetitions, missing)
    yield from lzw_tables(repetitions, missing)
    yield from checkpoint_table(repetitions, missing)
    yield from array_table(repetitions, missing)
    yield from optimum_table(missing)
    yield from memory_table(missing)
    for name in ("quantize", "codebook", "linear", "prune", "pruner"):
        try:
            yield from import_module(f"tables_{name}").tables(repetitions)
        except (ImportError, UnavailableError) as reason:
            missing.add(str(reason))
    for reason in sorted(missing):
        yield f"Left out: {reason}."


def around(path: Path) -> tuple[str, str]:
    """Read what stands before and after the tables in a page, markers included."""
    start, end = MARKERS
    before, found, rest = path.read_text().partition(start)
    _, found_end, after = rest.partition(end)
    if not (found and found_end):
        raise SystemExit(f"{path} has no {start} ... {end}")
    return before + start, end + after


def main() -> None:
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small inputs and few repetitions")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables here")
    parser.add_argument("--update", type=Path, metavar="FILE", help="replace them in this page")
    options = parser.parse_args()
    if options.quick:
        os.environ.setdefault("TERSOR_BENCH_BYTES", str(QUICK_BYTES))
    if options.update:
        around(options.update)  # before the work rather than after it
    lines = []
    for line in page(repetitions=2 if options.quick else 5):
        print(line, flush=True)
        lines.append(line)
    text = "\n".join(lines).strip() + "\n"
    if options.output:
        options.output.write_text(text)
    if options.update:
        before, after = around(options.update)
        options.update.write_text(f"{before}\n{text}{after}")


if __name__ == "__main__":
    main()
