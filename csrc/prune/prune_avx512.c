#include "prune_internal.h"

#if TSR_X86
#include <immintrin.h>

#define PRUNE_NAME tsr_prune_avx512
#define PRUNE_PATH TSR_CPU_AVX512
#define PRUNE_TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,bmi,bmi2,popcnt")

/* Turns: vectors in a group. */
#define DEFINE_GROUP(T, W, TURNS)                                                                                \
    PRUNE_TARGET TSR_INLINE uint64_t at_least_##W(const uint8_t *src, T t, int by_value) {                       \
        const T sign_bit = (T)((T)1 << (W - 1));                                                                 \
        const __m512i sign = SET1(W)(SIGNED(W, sign_bit)), least = SET1(W)(SIGNED(W, t));                        \
        uint64_t word = 0;                                                                                       \
        TSR_UNROLL                                                                                               \
        for (int i = 0; i < TURNS; i++) {                                                                        \
            const __m512i x = _mm512_loadu_si512(src + 64 * i);                                                  \
            __m512i key = _mm512_andnot_si512(sign, x);                                                          \
            if (by_value)                                                                                        \
                key = SUB(W)(_mm512_or_si512(x, sign), MOVE_MASK(W)(x), sign, key);                              \
            word |= (uint64_t)AT_LEAST(W)(key, least) << (64 / TURNS * i);                                       \
        }                                                                                                        \
        return word;                                                                                             \
    }                                                                                                            \
    PRUNE_TARGET TSR_INLINE void zero_##W(uint8_t *x, uint64_t kept) {                                           \
        TSR_UNROLL                                                                                               \
        for (int i = 0; i < TURNS; i++) {                                                                        \
            uint8_t *const at = x + 64 * i;                                                                      \
            _mm512_storeu_si512(at, LOAD_KEPT(W)(kept >> (64 / TURNS * i), at));                                 \
        }                                                                                                        \
    }

/* What the widths call the same instruction. */
#define SIGNED(W, x) ((int##W##_t)(x))
#define SET1(W) SET1_##W
#define SET1_16(x) _mm512_set1_epi16(x)
#define SET1_32(x) _mm512_set1_epi32(x)
#define SET1_64(x) _mm512_set1_epi64(x)
#define SUB(W) _mm512_mask_sub_epi##W
#define MOVE_MASK(W) _mm512_movepi##W##_mask
#define AT_LEAST(W) _mm512_cmpge_epu##W##_mask
#define LOAD_KEPT(W) LOAD_KEPT_##W
#define LOAD_KEPT_16(kept, at) _mm512_maskz_loadu_epi16((__mmask32)(kept), at)
#define LOAD_KEPT_32(kept, at) _mm512_maskz_loadu_epi32((__mmask16)(kept), at)
#define LOAD_KEPT_64(kept, at) _mm512_maskz_loadu_epi64((__mmask8)(kept), at)

DEFINE_GROUP(uint16_t, 16, 2)
DEFINE_GROUP(uint32_t, 32, 4)
DEFINE_GROUP(uint64_t, 64, 8)

PRUNE_TARGET TSR_INLINE uint64_t nonzero(const uint8_t *mask) {
    const __m512i x = _mm512_loadu_si512(mask);
    return _mm512_test_epi8_mask(x, x);
}

PRUNE_TARGET TSR_INLINE void spread(uint8_t *mask, uint64_t kept) {
    _mm512_storeu_si512(mask, _mm512_maskz_set1_epi8(kept, 1));
}

#include "prune_template.h"
#endif
