/*
 * Fuzzes the pruning kernels on every CPU path that the machine has: all must do what plain loops say, inside
 * buffers of exactly the right size.
 *
 * With libFuzzer:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/{include,common,cpu,huffman,lzw,planes,prune} \
 *       csrc/fuzz/fuzz_prune.c csrc/{common,cpu,huffman,lzw,planes,prune}/[a-z]*.c -o fuzz
 *   ./fuzz -max_total_time=60
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that takes random numbers:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py and tests/test_neon.py build and run this one)
 */
#ifdef FUZZ_GUARDED
#include "guarded_malloc.h" /* for want of AddressSanitizer */
#endif
#include "fuzz_common.h"

static uint64_t number_at(const uint8_t *numbers, size_t i, size_t width) {
    uint64_t x = 0;
    memcpy(&x, numbers + i * width, width);
    return x;
}

static uint64_t key_of(uint64_t x, const tsr_prune_order *order) {
    const uint64_t sign = (uint64_t)1 << (8 * order->width - 1), magnitude = x & (sign - 1);
    if (!order->by_value) return magnitude;
    return x & sign ? sign - magnitude : sign + magnitude;
}

/* Counts and keys between two bounds, and the key of a rank among all. */
static void check_counts(const uint8_t *src, size_t n, const tsr_prune_order *order, uint64_t lo, uint64_t hi,
                         size_t rank) {
    const size_t width = order->width;
    uint8_t *const all = room(n * width), *const inside = room(n * width);
    size_t n_below = 0, n_inside = 0;
    int has_nan = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t x = number_at(src, i, width), key = key_of(x, order);
        has_nan |= (x & (((uint64_t)1 << (8 * width - 1)) - 1)) > order->infinity;
        memcpy(all + i * width, &key, width);
        n_below += key < lo;
        if (key >= lo && key <= hi) memcpy(inside + n_inside++ * width, &key, width);
    }
    for (int short_by = 0; short_by < 2; short_by++) {
        const size_t cap = n_inside - (n_inside && short_by);
        uint8_t *const keys = room(cap * width);
        tsr_prune_counts counts;
        tsr_prune_count(&counts, keys, cap, src, n, order, lo, hi);
        CHECK(counts.n_below == n_below && counts.n_inside == n_inside && !counts.has_nan == !has_nan);
        if (cap == n_inside) CHECK(memcmp(keys, inside, cap * width) == 0);
        free(keys);
    }
    tsr_prune_rank found;
    tsr_prune_select(&found, all, n, (int)width, rank);
    size_t n_less = 0, n_equal = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t key = key_of(number_at(src, i, width), order);
        n_less += key < found.key;
        n_equal += key == found.key;
    }
    CHECK(found.n_less == n_less && found.n_equal == n_equal && n_less <= rank && rank < n_less + n_equal);
    free(all);
    free(inside);
}

static void check_masks(const uint8_t *src, size_t n, const tsr_prune_order *order, uint64_t threshold,
                        size_t n_ties, size_t other_width) {
    const size_t width = order->width, n_bits = (n + 7) / 8;
    uint8_t *const expected = room(n), *const mask = room(n), *const bits = room(n_bits);
    size_t left = n_ties, n_zeroed = 0;
    for (size_t i = 0; i < n; i++) {
        const uint64_t key = key_of(number_at(src, i, width), order);
        expected[i] = key > threshold || (key == threshold && left > 0);
        left -= key == threshold && left > 0;
        n_zeroed += !expected[i];
    }
    size_t ties = n_ties;
    tsr_prune_mask(mask, src, n, order, threshold, &ties);
    CHECK(ties == left && memcmp(mask, expected, n) == 0);
    tsr_prune_pack(bits, mask, n);
    for (size_t i = 0; i < n; i++) CHECK((bits[i / 8] >> (i % 8) & 1) == mask[i]);
    CHECK(n % 8 == 0 || bits[n / 8] >> (n % 8) == 0);
    memset(mask, 7, n);
    tsr_prune_unpack(mask, bits, n);
    CHECK(memcmp(mask, expected, n) == 0);

    uint8_t *const by_threshold = copy(src, n * width), *const by_mask = copy(src, n * width);
    uint8_t *const by_score = room(n * other_width);
    memset(by_score, 9, n * other_width);
    ties = n_ties;
    CHECK(tsr_prune_apply(by_threshold, n, order, threshold, &ties) == n_zeroed && ties == left);
    CHECK(tsr_prune_apply_mask(by_mask, (int)width, mask, n) == n_zeroed);
    ties = n_ties;
    CHECK(tsr_prune_apply_scored(by_score, (int)other_width, src, n, order, threshold, &ties) == n_zeroed);
    for (size_t i = 0; i < n; i++) {
        const uint64_t x = mask[i] ? number_at(src, i, width) : 0, nines = mask[i] ? 0x0909090909090909u : 0;
        CHECK(number_at(by_threshold, i, width) == x && number_at(by_mask, i, width) == x);
        CHECK(memcmp(by_score + i * other_width, &nines, other_width) == 0);
    }
    free(expected);
    free(mask);
    free(bits);
    free(by_threshold);
    free(by_mask);
    free(by_score);
}

static void check_groups(const uint8_t *src, size_t n, const tsr_prune_order *order, int n_kept, int m) {
    const size_t n_groups = n / (size_t)m;
    uint8_t *const numbers = copy(src, n_groups * (size_t)m * order->width), *const mask = room(n_groups * (size_t)m);
    tsr_prune_mask_nm(mask, numbers, n_groups, order, n_kept, m);
    for (size_t start = 0; start < n_groups * (size_t)m; start += (size_t)m)
        for (size_t i = start; i < start + (size_t)m; i++) {
            const uint64_t key = key_of(number_at(src, i, order->width), order);
            int n_better = 0;
            for (size_t j = start; j < start + (size_t)m; j++) {
                const uint64_t other = key_of(number_at(src, j, order->width), order);
                n_better += other > key || (other == key && j < i);
            }
            CHECK(mask[i] == (n_better < n_kept));
        }
    free(numbers);
    free(mask);
}

/* The first eight bytes choose what is done with the numbers that are the rest. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const uint64_t infinities[] = {0x7F80, 0x7F800000, 0x7FF0000000000000u};
    if (size < 8) return 0;
    const unsigned w = data[0] % 3;
    const tsr_prune_order order = {(uint8_t)(2u << w), data[0] >> 7, infinities[w]};
    const uint64_t max_key = order.infinity + (order.by_value ? (uint64_t)1 << (8 * order.width - 1) : 0);
    const size_t n = (size - 8) / order.width;
    if (n == 0) return 0;
    uint8_t *const src = copy(data + 8, n * order.width);
    uint64_t lo = key_of(number_at(src, data[1] % n, order.width), &order);
    uint64_t hi = key_of(number_at(src, data[2] % n, order.width), &order);
    lo = lo > max_key ? max_key : lo;
    hi = hi > max_key ? max_key : hi;
    for (int path = 0; path < TSR_CPU_PATHS; path++) {
        if (tsr_cpu_select(path)) continue;
        check_counts(src, n, &order, lo, hi, (data[3] << 8 | data[4]) % n);
        check_masks(src, n, &order, data[5] == 255 ? max_key + 1 : lo, data[5], (size_t)2 << data[6] % 3);
        check_groups(src, n, &order, data[5] % (1 + (data[7] & 31)), 1 + (data[7] & 31));
        check_groups(src, n, &order, data[5] % 5, 4);
    }
    free(src);
    return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv) {
    static const size_t sizes[] = {1, 2, 31, 63, 64, 65, 130, 500, 4100, 9000};
    const size_t n_cases = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 1;
    for (size_t c = 0; c < n_cases; c++) {
        const size_t size = 8 + 8 * sizes[below(sizeof sizes / sizeof *sizes)] + below(9);
        uint8_t *const data = room(size);
        /* Of few values, so that there are ties, or of any; the highest bytes choose exponent and sign. */
        const uint64_t mask = below(2) ? 0xC001C001C001C001u : ~(uint64_t)0;
        for (size_t i = 0; i < size; i += 8) {
            const uint64_t x = i ? random64() & mask : random64();
            memcpy(data + i, &x, size - i < 8 ? size - i : 8);
        }
        LLVMFuzzerTestOneInput(data, size);
        free(data);
    }
    tsr_cpu_select(tsr_cpu_best());
    printf("%zu arrays on every path, lastly on %s: no fault\n", n_cases, tsr_cpu_path_name(tsr_prune_kernel_path()));
    return 0;
}
#endif
