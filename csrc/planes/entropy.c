/* Estimates of entropy, in integers so that every machine makes the same choices by them. */
#include "planes_internal.h"

/* log2(c) in 1/256, by the first terms of its series: close enough to compare entropies. */
uint32_t tsr_log2_256(uint32_t c) {
    const unsigned e = tsr_log2_floor(c);
    const uint32_t m = (uint32_t)(((uint64_t)c << 16 >> e) - (1u << 16)); /* fraction, 16 bits */
    const uint32_t bend = (uint32_t)(((uint64_t)m * (65536 - m)) >> 16);  /* m (1 - m) */
    return (e << 8) + ((m + (bend * 22 >> 6)) >> 8);
}

/* Order-0 entropy of n sampled bytes, in bits / 256, with the correction for small samples of Miller
 * (1955): without it the filter that spreads a plane over most symbols would look too good. */
uint64_t tsr_entropy(const uint8_t *bytes, size_t n) {
    uint16_t counts[256] = {0};
    uint64_t bits = (uint64_t)n * tsr_log2_256((uint32_t)n);
    uint64_t n_symbols = 0;
    for (size_t i = 0; i < n; i++) counts[bytes[i]]++;
    for (int s = 0; s < 256; s++) {
        n_symbols += counts[s] > 0;
        if (counts[s] > 1) bits -= (uint64_t)counts[s] * tsr_log2_256(counts[s]);
    }
    return bits + (n_symbols - 1) * 185; /* half of log2(e) a symbol */
}
