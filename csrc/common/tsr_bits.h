/* Unaligned little-endian loads and stores, and bit counts. */
#ifndef TSR_BITS_H
#define TSR_BITS_H

#include "tsr_compiler.h"

#if defined(_MSC_VER) && !defined(__clang__)
#include <intrin.h>
#include <stdlib.h>
#endif

TSR_INLINE uint16_t tsr_load16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

TSR_INLINE void tsr_store16(uint8_t *p, uint16_t v) { memcpy(p, &v, sizeof v); }

TSR_INLINE uint64_t tsr_load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

TSR_INLINE uint64_t tsr_load64_be(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
#if defined(_MSC_VER) && !defined(__clang__)
    return _byteswap_uint64(v);
#else
    return __builtin_bswap64(v);
#endif
}

TSR_INLINE void tsr_store64_be(uint8_t *p, uint64_t v) {
#if defined(_MSC_VER) && !defined(__clang__)
    v = _byteswap_uint64(v);
#else
    v = __builtin_bswap64(v);
#endif
    memcpy(p, &v, sizeof v);
}

TSR_INLINE uint32_t tsr_load24(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
}

TSR_INLINE void tsr_store24(uint8_t *p, uint32_t v) {
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
}

/* Index of the highest set bit; v must not be zero. */
TSR_INLINE unsigned tsr_log2_floor(uint32_t v) {
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long i;
    _BitScanReverse(&i, v);
    return (unsigned)i;
#else
    return 31u - (unsigned)__builtin_clz(v);
#endif
}

/* Index of the lowest set bit; v must not be zero. */
TSR_INLINE unsigned tsr_lowest_bit(uint64_t v) {
#if defined(_MSC_VER) && !defined(__clang__)
    unsigned long i;
    _BitScanForward64(&i, v);
    return (unsigned)i;
#else
    return (unsigned)__builtin_ctzll(v);
#endif
}

TSR_INLINE size_t tsr_count_ones(const uint8_t *bytes, size_t n) {
    uint64_t sum = 0;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = 0;
        memcpy(&x, bytes + i, n - i < 8 ? n - i : 8);
        x -= x >> 1 & 0x5555555555555555u;
        x = (x & 0x3333333333333333u) + (x >> 2 & 0x3333333333333333u);
        sum += ((x + (x >> 4)) & 0x0F0F0F0F0F0F0F0Fu) * 0x0101010101010101u >> 56;
    }
    return (size_t)sum;
}

#endif
