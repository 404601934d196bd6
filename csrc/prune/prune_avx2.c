#include "prune_internal.h"

#if TSR_X86
#include <immintrin.h>

#define PRUNE_NAME tsr_prune_avx2
#define PRUNE_PATH TSR_CPU_AVX2
#define PRUNE_TARGET TSR_TARGET("avx2,bmi,bmi2,popcnt")

/* Comparisons are of signed numbers, so that keys by value are those of the header less their middle. */
#define MIDDLE(T, W, t, by_value) (int##W##_t)((by_value) ? (T)((t) - ((T)1 << (W - 1))) : (t))

PRUNE_TARGET TSR_INLINE __m256i load(const uint8_t *src) { return _mm256_loadu_si256((const __m256i *)(const void *)src); }

PRUNE_TARGET TSR_INLINE uint64_t at_least_16(const uint8_t *src, uint16_t t, int by_value) {
    const __m256i rest = _mm256_set1_epi16(0x7FFF), least = _mm256_set1_epi16(MIDDLE(uint16_t, 16, t, by_value));
    uint64_t word = 0;
    for (int i = 0; i < 2; i++) {
        __m256i below[2];
        for (int k = 0; k < 2; k++) {
            const __m256i x = load(src + 64 * i + 32 * k);
            const __m256i magnitude = _mm256_and_si256(x, rest);
            below[k] = _mm256_cmpgt_epi16(least, by_value ? _mm256_sign_epi16(magnitude, x) : magnitude);
        }
        const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(below[0], below[1]), 0xD8);
        word |= (uint64_t)(uint32_t)_mm256_movemask_epi8(bytes) << (32 * i);
    }
    return ~word;
}

PRUNE_TARGET TSR_INLINE uint64_t at_least_32(const uint8_t *src, uint32_t t, int by_value) {
    const __m256i rest = _mm256_set1_epi32(0x7FFFFFFF), least = _mm256_set1_epi32(MIDDLE(uint32_t, 32, t, by_value));
    uint64_t word = 0;
    for (int i = 0; i < 8; i++) {
        const __m256i x = load(src + 32 * i);
        const __m256i magnitude = _mm256_and_si256(x, rest);
        const __m256i below = _mm256_cmpgt_epi32(least, by_value ? _mm256_sign_epi32(magnitude, x) : magnitude);
        word |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(below)) << (8 * i);
    }
    return ~word;
}

PRUNE_TARGET TSR_INLINE uint64_t at_least_64(const uint8_t *src, uint64_t t, int by_value) {
    const __m256i rest = _mm256_set1_epi64x(INT64_MAX), zero = _mm256_setzero_si256();
    const __m256i least = _mm256_set1_epi64x(MIDDLE(uint64_t, 64, t, by_value));
    uint64_t word = 0;
    for (int i = 0; i < 16; i++) {
        const __m256i x = load(src + 32 * i), minus = _mm256_cmpgt_epi64(zero, x);
        __m256i key = _mm256_and_si256(x, rest);
        if (by_value) key = _mm256_sub_epi64(_mm256_xor_si256(key, minus), minus);
        const __m256i below = _mm256_cmpgt_epi64(least, key);
        word |= (uint64_t)(unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(below)) << (4 * i);
    }
    return ~word;
}

/* `bit` has the bits of a vector's elements, `kept` shifted so that the first comes lowest. */
#define DEFINE_ZERO(W, TURNS, SET1, ...)                                                               \
    PRUNE_TARGET TSR_INLINE void zero_##W(uint8_t *x, uint64_t kept) {                                 \
        const __m256i bit = __VA_ARGS__;                                                               \
        for (int i = 0; i < TURNS; i++) {                                                              \
            const __m256i set = _mm256_and_si256(SET1((int##W##_t)(kept >> (64 / TURNS * i))), bit);   \
            const __m256i keep = _mm256_cmpeq_epi##W(set, bit);                                        \
            _mm256_storeu_si256((__m256i *)(void *)(x + 32 * i), _mm256_and_si256(load(x + 32 * i), keep)); \
        }                                                                                              \
    }

DEFINE_ZERO(16, 4, _mm256_set1_epi16,
            _mm256_setr_epi16(1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, INT16_MIN))
DEFINE_ZERO(32, 8, _mm256_set1_epi32, _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128))
DEFINE_ZERO(64, 16, _mm256_set1_epi64x, _mm256_setr_epi64x(1, 2, 4, 8))

PRUNE_TARGET TSR_INLINE uint64_t nonzero(const uint8_t *mask) {
    const __m256i zero = _mm256_setzero_si256();
    const uint32_t low = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(mask), zero));
    const uint32_t high = (uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(load(mask + 32), zero));
    return ~((uint64_t)high << 32 | low);
}

PRUNE_TARGET TSR_INLINE void spread(uint8_t *mask, uint64_t kept) {
    const __m256i byte_of_bit = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    for (int i = 0; i < 2; i++) {
        const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)(kept >> (32 * i))), byte_of_bit);
        const __m256i set = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit);
        _mm256_storeu_si256((__m256i *)(void *)(mask + 32 * i), _mm256_and_si256(set, _mm256_set1_epi8(1)));
    }
}

#include "prune_template.h"
#endif
