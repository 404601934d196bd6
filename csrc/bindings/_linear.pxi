# Products with quantized matrices.

LINEAR_GROUP = TSR_LINEAR_GROUP


cdef class LinearProduct:
    """Rows of activations made ready to be multiplied with a quantized matrix.

    Parameters
    ----------
    x : buffer of float
        Rows of n_in activations, n_in > 0.
    values, scale, zero_point : buffers of bytes, float, bytes
        As `tsr_linear` has them: n_out rows each. `zero_point` is `None` for signed integers.
    bits : {8, 4}
    group_size : int
        A multiple of `LINEAR_GROUP`, or at least n_in.
    """
    cdef const float[:, ::1] x
    cdef const uint8_t[:, ::1] values
    cdef const float[:, ::1] scale
    cdef const uint8_t[:, ::1] zero_point
    cdef Workspace workspace
    cdef tsr_linear c

    def __init__(self, const float[:, ::1] x not None, const uint8_t[:, ::1] values not None,
                 const float[:, ::1] scale not None, const uint8_t[:, ::1] zero_point, int bits,
                 Py_ssize_t group_size):
        cdef Py_ssize_t n_out = values.shape[0], n_in = x.shape[1], n_groups
        if bits not in (4, 8):
            raise ValueError(f"bits must be 4 or 8, not {bits}")
        if group_size < n_in and (group_size < 1 or group_size % TSR_LINEAR_GROUP):
            raise ValueError(f"group_size must be a multiple of {TSR_LINEAR_GROUP}, or a whole row")
        n_groups = -(-n_in // max(group_size, 1))
        if n_in < 1 or values.shape[1] != (n_in * bits + 7) // 8:
            raise ValueError(f"rows of {values.shape[1]} bytes do not hold {n_in} numbers of {bits} bits")
        if scale.shape[0] != n_out or scale.shape[1] != n_groups:
            raise ValueError(f"scale must have the shape ({n_out}, {n_groups})")
        if zero_point is not None and (zero_point.shape[0] != n_out or zero_point.shape[1] != n_groups):
            raise ValueError(f"zero_point must have the shape ({n_out}, {n_groups})")
        self.x, self.values, self.scale, self.zero_point = x, values, scale, zero_point
        self.c.n_out, self.c.n_in = <size_t>n_out, <size_t>n_in
        self.c.group_size, self.c.bits = <size_t>max(group_size, n_in) if n_groups == 1 else <size_t>group_size, bits
        cdef size_t n_rows = <size_t>x.shape[0]
        self.workspace = Workspace(tsr_linear_workspace_size(&self.c, n_rows))
        if not n_rows or not n_out:
            return
        self.c.values, self.c.scale = &values[0, 0], &scale[0, 0]
        if zero_point is not None:
            self.c.zero_point = &zero_point[0, 0]
        with nogil:
            tsr_linear_prepare(self.workspace.at, &self.c, &x[0, 0], n_rows)

    def multiply(self, float[:, ::1] out not None, Py_ssize_t first, Py_ssize_t last):
        """Compute the output features from `first` up to `last`; `out` has a row of n_out for each of x."""
        if out.shape[0] != self.x.shape[0] or <size_t>out.shape[1] != self.c.n_out:
            raise ValueError(f"out must have the shape ({self.x.shape[0]}, {self.c.n_out})")
        if not 0 <= first <= last <= out.shape[1]:
            raise ValueError("first and last must be within the output features")
        if out.shape[0] and out.shape[1]:
            with nogil:
                tsr_linear_multiply(&out[0, 0], &self.c, self.workspace.at, <size_t>out.shape[0], <size_t>first,
                                    <size_t>last)
