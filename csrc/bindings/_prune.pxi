# Pruning: ranks of numbers, masks, and masks applied. Arrays come as their bytes.

PRUNE_BINS = 1 << TSR_PRUNE_BITS
PRUNE_M_MAX = TSR_PRUNE_M_MAX


cdef class PruneOrder:
    """How floats are compared: their size in bytes, the bits of infinity, and by value or by magnitude."""
    cdef tsr_prune_order order

    def __init__(self, int width, uint64_t infinity, bint by_value=False):
        if width not in (2, 4, 8):
            raise ValueError("floats have 2, 4 or 8 bytes")
        self.order.width = <uint8_t>width
        self.order.by_value = by_value
        self.order.infinity = infinity

    @property
    def width(self):
        return self.order.width

    @property
    def max_key(self):
        """The key of infinity, above those of all other numbers."""
        return self.order.infinity + ((<uint64_t>1 << (8 * self.order.width - 1)) if self.order.by_value else 0)


cdef size_t count_numbers(const uint8_t[::1] numbers, int width) except? 0:
    if numbers.shape[0] % width:
        raise ValueError("the bytes are no whole numbers")
    return <size_t>(numbers.shape[0] // width)


cdef const uint8_t *start_of(const uint8_t[::1] view) noexcept:
    """Where the bytes are; an empty view has no first one."""
    return &view[0] if view.shape[0] else NULL


cdef uint8_t *writable_start_of(uint8_t[::1] view) noexcept:
    return &view[0] if view.shape[0] else NULL


cdef int check_key(PruneOrder order, uint64_t key) except -1:
    if key > order.max_key + 1:
        raise ValueError("a key is at most one above that of infinity")
    return 0


def prune_sample(PruneOrder order not None, const uint8_t[::1] numbers not None, uint8_t[::1] keys not None):
    """Fill `keys` with those of a sample of the numbers."""
    cdef size_t n = count_numbers(numbers, order.width), n_keys = count_numbers(keys, order.width)
    if n_keys % 16 or n_keys > n:
        raise ValueError("a sample has a multiple of 16 keys and not more than there are numbers")
    cdef const uint8_t *src = start_of(numbers)
    cdef uint8_t *dst = writable_start_of(keys)
    with nogil:
        tsr_prune_sample(dst, n_keys, src, n, &order.order)


def prune_count(PruneOrder order not None, const uint8_t[::1] numbers not None, uint64_t lo, uint64_t hi,
                uint8_t[::1] keys not None):
    """Count the numbers with keys below `lo`, and from there to `hi`, and tell whether there are NaNs.

    The keys from `lo` to `hi` are put into `keys` if all find room.
    """
    cdef size_t n = count_numbers(numbers, order.width), cap = count_numbers(keys, order.width)
    cdef tsr_prune_counts counts
    if hi > order.max_key:
        raise ValueError("no key is above that of infinity")
    cdef const uint8_t *src = start_of(numbers)
    cdef uint8_t *dst = writable_start_of(keys)
    with nogil:
        tsr_prune_count(&counts, dst, cap, src, n, &order.order, lo, hi)
    return counts.n_below, counts.n_inside, counts.has_nan != 0


def prune_histogram(PruneOrder order not None, const uint8_t[::1] numbers not None, uint64_t lo, uint64_t hi,
                    uint64_t[::1] counts not None):
    """Add the numbers with keys from `lo` to `hi` to the bins that the range is cut into."""
    cdef size_t n = count_numbers(numbers, order.width)
    if counts.shape[0] != 1 << TSR_PRUNE_BITS or lo > hi or hi > order.max_key:
        raise ValueError("no histogram of these bins")
    cdef const uint8_t *src = start_of(numbers)
    with nogil:
        tsr_prune_histogram(&counts[0], src, n, &order.order, lo, hi)


def prune_select(uint8_t[::1] keys not None, int width, size_t rank):
    """Find the key of a rank (0: the least), and how many are less and how many equal. `keys` is spoilt."""
    cdef tsr_prune_rank found
    if width not in (2, 4, 8) or rank >= count_numbers(keys, width):
        raise ValueError("no key has this rank")
    cdef size_t n = count_numbers(keys, width)
    cdef uint8_t *at = &keys[0]
    with nogil:
        tsr_prune_select(&found, at, n, width, rank)
    return found.key, found.n_less, found.n_equal


def prune_select_rows(PruneOrder order not None, const uint8_t[::1] numbers not None, size_t n_rows, size_t rank,
                      uint64_t[:, ::1] found not None):
    """Find key, number of lesser and number of equal ones for the same rank in each of `n_rows` rows."""
    cdef size_t n = count_numbers(numbers, order.width)
    if n_rows == 0 or n % n_rows or rank >= n // n_rows or <size_t>found.shape[0] != n_rows or found.shape[1] != 3:
        raise ValueError("no key has this rank")
    n //= n_rows
    cdef Workspace workspace = Workspace(n * order.width), ranks = Workspace(n_rows * sizeof(tsr_prune_rank))
    cdef tsr_prune_rank *results = <tsr_prune_rank *>ranks.at
    cdef const uint8_t *src = &numbers[0]
    cdef size_t r
    with nogil:
        tsr_prune_select_rows(results, src, n_rows, n, &order.order, rank, workspace.at)
        for r in range(n_rows):
            found[r, 0] = results[r].key
            found[r, 1] = results[r].n_less
            found[r, 2] = results[r].n_equal


def prune_mask(PruneOrder order not None, const uint8_t[::1] numbers not None, uint64_t threshold, size_t n_ties,
               uint8_t[::1] mask not None):
    """Mark with 1 the numbers above the threshold and the first `n_ties` at it, others with 0."""
    cdef size_t n = count_numbers(numbers, order.width)
    check_key(order, threshold)
    if <size_t>mask.shape[0] != n:
        raise ValueError("a mask has a byte for each number")
    cdef const uint8_t *src = start_of(numbers)
    cdef uint8_t *dst = writable_start_of(mask)
    with nogil:
        tsr_prune_mask(dst, src, n, &order.order, threshold, &n_ties)


def prune_mask_rows(PruneOrder order not None, const uint8_t[::1] numbers not None, const uint64_t[:, ::1] found not None,
                    size_t n_pruned, uint8_t[::1] mask not None):
    """The same by rows, with what `prune_select_rows` found; `n_pruned` of each row are not kept."""
    cdef size_t n = count_numbers(numbers, order.width), n_rows = <size_t>found.shape[0], r
    if n_rows == 0 or n % n_rows or found.shape[1] != 3 or <size_t>mask.shape[0] != n or n == 0:
        raise ValueError("a mask has a byte for each number")
    cdef Workspace ranks = Workspace(n_rows * sizeof(tsr_prune_rank))
    cdef tsr_prune_rank *rank = <tsr_prune_rank *>ranks.at
    for r in range(n_rows):
        check_key(order, found[r, 0])
        rank[r] = tsr_prune_rank(found[r, 0], <size_t>found[r, 1], <size_t>found[r, 2])
    cdef const uint8_t *src = &numbers[0]
    cdef uint8_t *dst = &mask[0]
    with nogil:
        tsr_prune_mask_rows(dst, src, n_rows, n // n_rows, &order.order, rank, n_pruned)


def prune_mask_nm(PruneOrder order not None, const uint8_t[::1] numbers not None, int n_kept, int m,
                  uint8_t[::1] mask not None):
    """Mark with 1 the `n_kept` largest of every `m` numbers."""
    cdef size_t n = count_numbers(numbers, order.width)
    if not 1 <= m <= TSR_PRUNE_M_MAX or not 0 <= n_kept <= m or n % <size_t>m or <size_t>mask.shape[0] != n:
        raise ValueError("no such mask")
    cdef const uint8_t *src = start_of(numbers)
    cdef uint8_t *dst = writable_start_of(mask)
    with nogil:
        tsr_prune_mask_nm(dst, src, n // <size_t>m, &order.order, n_kept, m)


def prune_apply(PruneOrder order not None, uint8_t[::1] numbers not None, uint64_t threshold, size_t n_ties):
    """Make the others zero; returns how many they are."""
    cdef size_t n = count_numbers(numbers, order.width)
    check_key(order, threshold)
    cdef uint8_t *at = writable_start_of(numbers)
    with nogil:
        n = tsr_prune_apply(at, n, &order.order, threshold, &n_ties)
    return n


def prune_apply_scored(uint8_t[::1] numbers not None, int width, PruneOrder order not None,
                       const uint8_t[::1] scores not None, uint64_t threshold, size_t n_ties):
    """Make zero the numbers whose scores are below the threshold; returns how many they are."""
    cdef size_t n = count_numbers(scores, order.width)
    check_key(order, threshold)
    if width not in (2, 4, 8) or count_numbers(numbers, width) != n:
        raise ValueError("every number needs a score")
    cdef uint8_t *at = writable_start_of(numbers)
    cdef const uint8_t *src = start_of(scores)
    with nogil:
        n = tsr_prune_apply_scored(at, width, src, n, &order.order, threshold, &n_ties)
    return n


def prune_apply_mask(uint8_t[::1] numbers not None, int width, const uint8_t[::1] mask not None):
    """Make zero the numbers whose mask is 0; returns how many they are."""
    cdef size_t n = <size_t>mask.shape[0]
    if width not in (2, 4, 8) or count_numbers(numbers, width) != n:
        raise ValueError("a mask has a byte for each number")
    cdef uint8_t *at = writable_start_of(numbers)
    cdef const uint8_t *src = start_of(mask)
    with nogil:
        n = tsr_prune_apply_mask(at, width, src, n)
    return n


def prune_pack(const uint8_t[::1] mask not None, uint8_t[::1] bits not None):
    """Put 8 bytes of a mask into each byte of `bits`, the first into the lowest bit."""
    cdef size_t n = <size_t>mask.shape[0]
    if <size_t>bits.shape[0] != (n + 7) // 8:
        raise ValueError("8 bytes of a mask make one of bits")
    cdef const uint8_t *src = start_of(mask)
    cdef uint8_t *dst = writable_start_of(bits)
    with nogil:
        tsr_prune_pack(dst, src, n)


def prune_unpack(const uint8_t[::1] bits not None, uint8_t[::1] mask not None):
    """The way back."""
    cdef size_t n = <size_t>mask.shape[0]
    if <size_t>bits.shape[0] != (n + 7) // 8:
        raise ValueError("8 bytes of a mask make one of bits")
    cdef const uint8_t *src = start_of(bits)
    cdef uint8_t *dst = writable_start_of(mask)
    with nogil:
        tsr_prune_unpack(dst, src, n)
