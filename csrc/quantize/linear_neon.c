#include "linear_internal.h"

#if TSR_ARM64
#include <arm_neon.h>

#define LINEAR_NAME tsr_linear_neon
#define LINEAR_PATH TSR_CPU_NEON
#define LINEAR_TARGET

typedef struct words {
    int16x8_t of[4];
} words;

typedef struct ints {
    int32x4_t of[4];
} ints;

typedef struct floats {
    float32x4_t of[4];
} floats;

TSR_INLINE words load_words(const int16_t *src) {
    return (words){{vld1q_s16(src), vld1q_s16(src + 8), vld1q_s16(src + 16), vld1q_s16(src + 24)}};
}

TSR_INLINE words widen(uint8x16_t a, uint8x16_t b, int is_signed) {
    const int8x16_t c = vreinterpretq_s8_u8(a), d = vreinterpretq_s8_u8(b);
    if (is_signed)
        return (words){{vmovl_s8(vget_low_s8(c)), vmovl_high_s8(c), vmovl_s8(vget_low_s8(d)), vmovl_high_s8(d)}};
    return (words){{vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(a))), vreinterpretq_s16_u16(vmovl_high_u8(a)),
                    vreinterpretq_s16_u16(vmovl_u8(vget_low_u8(b))), vreinterpretq_s16_u16(vmovl_high_u8(b))}};
}

TSR_INLINE words load_bytes(const uint8_t *src, int is_signed) {
    return widen(vld1q_u8(src), vld1q_u8(src + 16), is_signed);
}

TSR_INLINE words load_nibbles(const uint8_t *src, int is_signed) {
    const uint8x16_t x = vld1q_u8(src);
    uint8x16_t even = vandq_u8(x, vdupq_n_u8(15)), odd = vshrq_n_u8(x, 4);
    if (is_signed) {
        const uint8x16_t sign = vdupq_n_u8(8);
        even = vsubq_u8(veorq_u8(even, sign), sign);
        odd = vsubq_u8(veorq_u8(odd, sign), sign);
    }
    return widen(vzip1q_u8(even, odd), vzip2q_u8(even, odd), is_signed);
}

TSR_INLINE words all_words(int z) {
    const int16x8_t all = vdupq_n_s16((int16_t)z);
    return (words){{all, all, all, all}};
}

TSR_INLINE words less(words x, words z) {
    for (int i = 0; i < 4; i++) x.of[i] = vsubq_s16(x.of[i], z.of[i]);
    return x;
}

TSR_INLINE ints no_ints(void) { return (ints){{vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0), vdupq_n_s32(0)}}; }

TSR_INLINE floats no_floats(void) {
    return (floats){{vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0), vdupq_n_f32(0)}};
}

TSR_INLINE ints dot(ints sum, words a, words b) {
    for (int i = 0; i < 4; i++) {
        const int32x4_t low = vmull_s16(vget_low_s16(a.of[i]), vget_low_s16(b.of[i]));
        const int32x4_t high = vmull_high_s16(a.of[i], b.of[i]);
        sum.of[i] = vaddq_s32(sum.of[i], vpaddq_s32(low, high));
    }
    return sum;
}

TSR_INLINE floats add_scaled(floats sum, ints x, float factor) {
    for (int i = 0; i < 4; i++) sum.of[i] = vaddq_f32(sum.of[i], vmulq_n_f32(vcvtq_f32_s32(x.of[i]), factor));
    return sum;
}

TSR_INLINE void store_floats(float *dst, floats x) {
    for (int i = 0; i < 4; i++) vst1q_f32(dst + 4 * i, x.of[i]);
}

#include "linear_template.h"
#endif
