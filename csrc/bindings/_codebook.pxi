# Codebooks: the nearest level for each element and the way back, and levels by k-means.

CONDENSED_MAX = TSR_CONDENSED_MAX

cdef class Codebook:
    """Levels, and which elements of an array they are for; any number of threads may use it.

    Parameters
    ----------
    levels : buffer of float32
        One row for each group, or one for all; each ascends.
    scales : buffer of float32, optional
        One for each group.
    n_groups, run : int
        Element e is of group ``e // run % n_groups``.
    """
    cdef tsr_codebook codebook
    cdef const float[:, ::1] levels
    cdef const float[::1] scales
    cdef Workspace trees

    def __cinit__(self, const float[:, ::1] levels not None, const float[::1] scales, size_t n_groups, size_t run):
        if not 1 <= levels.shape[1] <= TSR_CODEBOOK_LEVELS_MAX:
            raise ValueError("a codebook has 1 to 256 levels")
        if n_groups < 1 or run < 1 or <size_t>levels.shape[0] not in (1, n_groups):
            raise ValueError("one codebook is needed, or one for each group")
        if scales is not None and <size_t>scales.shape[0] != n_groups:
            raise ValueError("one scale is needed for each group")
        self.levels, self.scales = levels, scales
        self.codebook.levels = &levels[0, 0]
        if scales is not None:
            self.codebook.scales = &scales[0]
        self.codebook.n_levels = <size_t>levels.shape[1]
        self.codebook.n_codebooks = <size_t>levels.shape[0]
        self.codebook.n_groups = n_groups
        self.codebook.run = run

    cdef int rows_of(self, tsr_codebook_rows *rows, size_t first, size_t n_rows, size_t row, bint packed,
                     size_t n_bytes, size_t n_index_bytes, int type) except -1:
        """Describe a piece of the array, whose buffers are checked to have these sizes."""
        rows.first, rows.n_rows, rows.row, rows.packed = first, n_rows, row, packed
        cdef size_t index_row = (row + 1) // 2 if packed else row
        if packed and self.codebook.n_levels > 16:
            raise ValueError("only indices of up to 16 levels are packed")
        if n_rows and row > (SIZE_MAX >> 4) // n_rows:
            raise ValueError("too many elements")
        if not TSR_FLOAT32 <= type <= TSR_FLOAT64:
            raise ValueError("unknown type of float")
        if n_bytes != n_rows * row * tsr_float_size(type) or n_index_bytes != n_rows * index_row:
            raise ValueError("the buffers' sizes do not fit the rows")

    def prepare(self):
        """Make the search trees, which `assign_into` needs."""
        cdef size_t n = self.codebook.n_codebooks, n_levels = self.codebook.n_levels, g
        cdef size_t size = tsr_codebook_tree_size(n_levels)
        self.trees = Workspace(n * size)
        with nogil:
            for g in range(n):
                tsr_codebook_tree(<float *>(<uint8_t *>self.trees.at + g * size),
                                  self.codebook.levels + g * n_levels, n_levels)

    def assign_into(self, const uint8_t[::1] x not None, int type, uint8_t[::1] out not None, size_t first,
                    size_t n_rows, size_t row, bint packed, bint measure):
        """Find the nearest level for each element of a piece of the array.

        Parameters
        ----------
        x, out : buffers of bytes
            Elements of a type, and their indices.
        first : int
            The element of the array that the piece begins with.
        n_rows, row : int
            Rows, and elements of each; packed indices of a row begin with a byte.
        packed : bool
            Indices come two a byte.
        measure : bool
            Add up the error, too.

        Returns
        -------
        error : float
            Sum of squared errors of the finite elements, if measured; else 0.
        first : int
            Index in the piece of the first element that is not finite, or the number of elements.
        """
        cdef tsr_codebook_rows rows
        cdef double error = 0
        cdef size_t first_not_finite = 0
        self.rows_of(&rows, first, n_rows, row, packed, <size_t>x.shape[0], <size_t>out.shape[0], type)
        if self.trees is None:
            raise ValueError("there are no search trees yet")
        if x.shape[0]:
            with nogil:
                first_not_finite = tsr_codebook_assign(&out[0], &x[0], type, &rows, &self.codebook,
                                                       <const float *>self.trees.at,
                                                       &error if measure else NULL)
        return error, first_not_finite

    def dequantize_into(self, const uint8_t[::1] indices not None, uint8_t[::1] out not None, int type,
                        size_t first, size_t n_rows, size_t row, bint packed):
        """Put its level in the place of each index, multiplied by the group's scale if there are scales.

        Raises
        ------
        CorruptDataError
            If an index is beyond the codebook.
        """
        cdef tsr_codebook_rows rows
        cdef int rc
        self.rows_of(&rows, first, n_rows, row, packed, <size_t>out.shape[0], <size_t>indices.shape[0], type)
        if out.shape[0]:
            with nogil:
                rc = tsr_codebook_dequantize(&out[0], type, &indices[0], &rows, &self.codebook)
            check(rc, NOWHERE)


def sort_floats(const float[::1] x not None, const float[::1] weights, float[::1] out not None,
                float[::1] out_weights):
    """Sort values into `out`, NaN last, and their weights with them if there are any."""
    cdef size_t n = <size_t>x.shape[0]
    cdef bint weighted = weights is not None
    if <size_t>out.shape[0] != n or weighted != (out_weights is not None):
        raise ValueError("the output must be like the input")
    if weighted and (<size_t>weights.shape[0] != n or <size_t>out_weights.shape[0] != n):
        raise ValueError("a weight is needed for each value")
    cdef Workspace workspace = Workspace(tsr_sort_workspace_size(n, weighted))
    cdef float *sorted_weights = &out_weights[0] if weighted and n else NULL
    cdef const float *c_weights = &weights[0] if weighted and n else NULL
    if n:
        with nogil:
            tsr_sort_floats(&out[0], sorted_weights, &x[0], c_weights, n, workspace.at)


def condense(const float[::1] x not None, float[::1] values not None, float[::1] weights not None):
    """Condense finite values to means of neighbours, ascending, and their numbers.

    Parameters
    ----------
    x : buffer of float32
    values, weights : buffers of float32
        Room for `CONDENSED_MAX` numbers each.

    Returns
    -------
    int
        How many means there are.
    """
    cdef size_t n = <size_t>x.shape[0], n_found
    if n < 1 or values.shape[0] < TSR_CONDENSED_MAX or weights.shape[0] < TSR_CONDENSED_MAX:
        raise ValueError("values are needed, and room for their means")
    cdef Workspace workspace = Workspace(tsr_condense_workspace_size())
    with nogil:
        n_found = tsr_condense(&values[0], &weights[0], &x[0], n, workspace.at)
    return n_found


def kmeans(float[::1] levels not None, float[::1] sorted not None, float[::1] weights, bint keep_zero):
    """Find levels for the least squared error of sorted, finite values.

    Parameters
    ----------
    levels : buffer of float32
        Room for the levels; as many are looked for.
    sorted : buffer of float32
        One value or more; changed.
    weights : buffer of float32, optional
        Above zero, one for each value; changed.
    keep_zero : bool
        One level is 0.

    Returns
    -------
    int
        How many levels there are, fewer if there are fewer different values.
    """
    cdef size_t n = <size_t>sorted.shape[0], n_levels = <size_t>levels.shape[0], n_found
    cdef bint weighted = weights is not None
    if not 1 <= n_levels <= TSR_CODEBOOK_LEVELS_MAX:
        raise ValueError("a codebook has 1 to 256 levels")
    if n < 1 or (weighted and <size_t>weights.shape[0] != n):
        raise ValueError("values are needed, and a weight for each")
    cdef Workspace workspace = Workspace(tsr_kmeans_workspace_size(n, weighted))
    cdef float *c_weights = &weights[0] if weighted else NULL
    with nogil:
        n_found = tsr_kmeans(&levels[0], n_levels, &sorted[0], c_weights, n, keep_zero, workspace.at)
    return n_found
