# Buffers in and out, without copies.
from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc
from cpython.object cimport PyObject
from cpython.ref cimport Py_XDECREF
from libc.string cimport memcpy
from libc.string cimport memcpy, strchr

import threading


cdef int get_bytes(object data, Py_buffer *view, bint writable) except -1:
    """Get the memory of any contiguous buffer; the caller releases it."""
    cdef int flags = PyBUF_ANY_CONTIGUOUS | PyBUF_FORMAT
    PyObject_GetBuffer(data, view, flags | PyBUF_WRITABLE if writable else flags)
    # An object array's memory is pointers, which mean nothing outside this process.
    if view.format is not NULL and strchr(view.format, c"O") is not NULL:
        PyBuffer_Release(view)
        raise TypeError("arrays of Python objects have no bytes to compress")
    return 0


cdef Py_ssize_t buffer_size(object data) except -1:
    cdef Py_buffer view
    cdef Py_ssize_t size
    get_bytes(data, &view, False)
    size = view.len
    PyBuffer_Release(&view)
    return size


cdef class Bytes1D:
    """The memory of any contiguous buffer as a flat run of bytes, for `memoryview`."""
    cdef Py_buffer source

    def __cinit__(self, data, bint writable=False):
        get_bytes(data, &self.source, writable)

    def __dealloc__(self):
        PyBuffer_Release(&self.source)

    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, self.source.buf, self.source.len, self.source.readonly, flags)


def byte_view(data, *, bint writable=False):
    """View any contiguous buffer as bytes, without a copy.

    Parameters
    ----------
    data : buffer
        C- or Fortran-contiguous; its bytes are taken in the order of memory.
    writable : bool
        Ask for a buffer that may be written.

    Returns
    -------
    memoryview
        One-dimensional, of unsigned bytes.

    Raises
    ------
    TypeError
        If `data` has no buffer or holds Python objects.
    BufferError
        If it is not contiguous, or not writable where that is asked for.
    """
    return memoryview(Bytes1D(data, writable))


cdef extern from "Python.h":
    PyObject *_new_bytes "PyBytes_FromStringAndSize"(char *, Py_ssize_t) except NULL
    int _resize_bytes "_PyBytes_Resize"(PyObject **, Py_ssize_t) except -1
    char *_bytes_at "PyBytes_AS_STRING"(PyObject *)


cdef class OutputBytes:
    """A `bytes` object while it is being filled through a writable buffer."""
    cdef PyObject *content  # owned; NULL once it is given away
    cdef Py_ssize_t size
    cdef int exports

    def __cinit__(self, Py_ssize_t size):
        if size < 0:
            raise ValueError("size must not be negative")
        self.content = _new_bytes(NULL, size)
        self.size = size
        tsr_memory_expect_fill(_bytes_at(self.content), <size_t>size)

    def __dealloc__(self):
        Py_XDECREF(self.content)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.content is NULL:
            raise BufferError("the output is finished")
        PyBuffer_FillInfo(view, self, _bytes_at(self.content), self.size, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1

    def finish(self, size=None):
        """Give away the first `size` bytes (all by default).

        All views must have been released, and none can be made after.
        """
        cdef Py_ssize_t n = self.size if size is None else size
        cdef PyObject *content = self.content
        if self.exports or content is NULL:
            raise BufferError("the output is still being written, or finished")
        if not 0 <= n <= self.size:
            raise ValueError("size must be within the output")
        self.content = NULL  # a failed resize frees it
        if n != self.size and n > 0:
            _resize_bytes(&content, n)
        result = <object>content
        Py_XDECREF(content)
        return result if n else b""


def copy_into(uint8_t[::1] out not None, const uint8_t[::1] data not None):
    """Copy `data` to the front of `out`, letting other threads run: fresh memory takes its time."""
    cdef size_t size = <size_t>data.shape[0]
    if data.shape[0] > out.shape[0]:
        raise BufferError("the destination is too small")
    if size:
        with nogil:
            memcpy(&out[0], &data[0], size)


cdef class Workspace:
    """Memory for a kernel, freed with the object."""
    cdef void *at

    def __cinit__(self, size_t size):
        self.at = PyMem_RawMalloc(size)
        if self.at is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self.at)


_local = threading.local()


cdef Workspace block_workspace():
    """This thread's workspace for blocks, kept because fresh memory costs more than a small block."""
    workspace = getattr(_local, "workspace", None)
    if workspace is None:
        workspace = _local.workspace = Workspace(tsr_block_workspace_size(TSR_BLOCK_CONTENT_MAX))
    return <Workspace>workspace
