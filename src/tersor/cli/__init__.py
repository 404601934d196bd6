"""The command line: ``tersor compress``, ``decompress``, ``inspect``, ``demo``, ``bench``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Sequence

from .. import __version__
from ..frame import CODECS

EXIT_OK, EXIT_BAD, EXIT_USAGE = 0, 1, 2


def _threads(text: str) -> int:
    n = int(text)
    if n < 1:
        raise argparse.ArgumentTypeError("at least one thread is needed")
    return n


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tersor",
        description="Compress files, NumPy arrays and model files with fast Huffman coding, or to .Z.",
        epilog="Exit status: 0 done, 1 bad data or file, 2 usage.",
    )
    parser.add_argument("--version", action="version", version=f"tersor {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, help: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=help, description=help[0].upper() + help[1:] + ".")

    def add_io(command: argparse.ArgumentParser) -> None:
        command.add_argument("file", metavar="FILE", help="input; - is standard input")
        command.add_argument("-o", "--output", metavar="OUT", help="output; - is standard output")
        command.add_argument("-f", "--force", action="store_true", help="replace an existing output")
        command.add_argument(
            "-T", "--threads", type=_threads, metavar="N", help="workers (default: all cores)"
        )

    compress = add("compress", "compress a file: .safetensors as a model, .npy as an array, others as bytes")
    add_io(compress)
    compress.add_argument("--codec", choices=list(CODECS), help="in .tsr files (default: auto)")
    compress.add_argument(
        "--format",
        choices=["tsr", "z"],
        default="tsr",
        help="of the output; z is what uncompress, gzip -d and 7-Zip read",
    )
    compress.add_argument(
        "--typesize",
        type=int,
        choices=[1, 2, 4, 8],
        help="size in bytes of the numbers that a file of bytes consists of (default: 1)",
    )

    compress.add_argument(
        "--recipe",
        metavar="NAME|FILE.json",
        help="quantize a model first, with loss: lossless, int8, int4, deep, tiny, or a recipe of your own",
    )

    decompress = add("decompress", "restore what compress made, or any .Z file")
    add_io(decompress)
    decompress.add_argument(
        "--max-length", type=int, default=-1, metavar="N", help="refuse content of more than N bytes"
    )

    inspect = add("inspect", "show what a compressed file consists of")
    inspect.add_argument("file", metavar="FILE")
    inspect.add_argument("--json", action="store_true", help="for programs")
    inspect.add_argument(
        "--html", metavar="OUT", help="write a page with plots, of a model; - is standard output"
    )
    inspect.add_argument("--original", metavar="FILE", help="the model as it was before, for the page")
    inspect.add_argument("-f", "--force", action="store_true", help="replace an existing page")

    add("demo", "compress an embedded model and text, check them, and compare sizes and speeds")
    bench = add("bench", "compare sizes and speeds on a file of yours")
    bench.add_argument("file", metavar="FILE", nargs="?", help="by default what demo shows")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the program's name; by default those of this process.

    Returns
    -------
    int
        0 done; 1 bad data or a file that cannot be read or written, with one line on standard error; 130
        interrupted. Usage errors leave through `SystemExit` with status 2, as argparse has it.
    """
    arguments = _parser().parse_args(argv)
    from . import commands  # not before: --help and --version stay quick

    try:
        getattr(commands, arguments.command)(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader went away, as `head` does. Keep the interpreter from complaining of it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BAD
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except commands.UsageError as error:
        print(f"tersor: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (ValueError, OSError, ImportError) as error:
        # TersorError is a ValueError, and so are the complaints of the libraries below about bad data.
        message = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        name = getattr(arguments, "file", None) or arguments.command
        where = error.filename if isinstance(error, OSError) and error.filename else name
        print(f"tersor: {where}: {message}", file=sys.stderr)
        return EXIT_BAD
    return EXIT_OK
