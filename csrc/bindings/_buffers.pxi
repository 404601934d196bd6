# Buffers in and out, without copies.
from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_FORMAT, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
    PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_RawFree, PyMem_RawMalloc


cdef class Bytes1D:
    """The memory of any contiguous buffer as a flat run of bytes, for `memoryview`."""
    cdef Py_buffer source

    def __cinit__(self, data, bint writable=False):
        cdef int flags = PyBUF_ANY_CONTIGUOUS | PyBUF_FORMAT
        PyObject_GetBuffer(data, &self.source, flags | PyBUF_WRITABLE if writable else flags)
        # An object array's memory is pointers, which mean nothing outside this process.
        if self.source.format is not NULL and b"O" in <bytes>self.source.format:
            PyBuffer_Release(&self.source)
            raise TypeError("arrays of Python objects have no bytes to compress")

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


cdef class OutputBytes:
    """A `bytes` object of known size while it is being filled through a writable buffer."""
    cdef object content
    cdef Py_ssize_t size
    cdef int exports

    def __cinit__(self, Py_ssize_t size):
        if size < 0:
            raise ValueError("size must not be negative")
        self.content = PyBytes_FromStringAndSize(NULL, size)
        self.size = size

    def __getbuffer__(self, Py_buffer *view, int flags):
        if self.content is None:
            raise BufferError("the output is finished")
        PyBuffer_FillInfo(view, self, PyBytes_AS_STRING(self.content), self.size, 0, flags)
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1

    def finish(self):
        """Give the bytes away; all views must have been released, and none can be made after."""
        if self.exports:
            raise BufferError("the output is still being written")
        content, self.content = self.content, None
        return content


cdef class Workspace:
    """Memory for a kernel, freed with the object."""
    cdef void *at

    def __cinit__(self, size_t size):
        self.at = PyMem_RawMalloc(size)
        if self.at is NULL:
            raise MemoryError()

    def __dealloc__(self):
        PyMem_RawFree(self.at)
