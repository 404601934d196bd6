# cython: language_level=3, boundscheck=False, wraparound=False, freethreading_compatible=True
# The one extension module: unpack buffers, call C without the GIL, map the result. See _native.pyi.
from libc.stdint cimport SIZE_MAX, uint8_t, uint16_t, uint32_t, uint64_t
from tersor cimport *

from tersor.errors import CorruptDataError, UnsupportedFormatError

include "_errors.pxi"
include "_buffers.pxi"
include "_cpu.pxi"
include "_block.pxi"
include "_lzw.pxi"
include "_code.pxi"
include "_prune.pxi"
