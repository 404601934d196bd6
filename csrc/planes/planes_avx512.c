#include "planes_internal.h"

#if TSR_X86
#include <immintrin.h>

#define PLANES_NAME tsr_planes_avx512
#define PLANES_PATH TSR_CPU_AVX512
#define PLANES_TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,avx512vbmi2,bmi2,popcnt")

PLANES_TARGET static size_t split_flags(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n,
                                        uint8_t common) {
    const __m512i same = _mm512_set1_epi8((char)common);
    size_t i = 0, n_literals = 0;
    for (; i + 64 <= n; i += 64) {
        const __m512i x = _mm512_loadu_si512(src + i);
        const __mmask64 differs = _mm512_cmpneq_epi8_mask(x, same);
        memcpy(flags + i / 8, &differs, 8);
        _mm512_storeu_si512(literals + n_literals, _mm512_maskz_compress_epi8(differs, x));
        n_literals += (size_t)_mm_popcnt_u64(differs);
    }
    return n_literals + tsr_planes_split_flags_scalar(flags + i / 8, literals + n_literals, src + i, n - i, common);
}

PLANES_TARGET static void join_flags(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals,
                                     uint8_t common) {
    const __m512i same = _mm512_set1_epi8((char)common);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        __mmask64 differs;
        memcpy(&differs, flags + i / 8, 8);
        _mm512_storeu_si512(dst + i, _mm512_mask_expand_epi8(same, differs, _mm512_loadu_si512(literals)));
        literals += _mm_popcnt_u64(differs);
    }
    tsr_planes_join_flags_scalar(dst + i, n - i, flags + i / 8, literals, common);
}

#define PLANES_FLAGS split_flags, join_flags
#include "planes_template.h"
#endif
