#include "quantize_internal.h"

#if TSR_ARM64
#include <arm_neon.h>
#include <math.h>

#define QUANTIZE_NAME tsr_quantize_neon
#define QUANTIZE_PATH TSR_CPU_NEON
#define QUANTIZE_TARGET /* NEON is AArch64's baseline */

typedef float32x4x4_t unit;
typedef uint32x4_t flags;

#define FOR_PARTS TSR_UNROLL for (int k = 0; k < 4; k++)

TSR_INLINE unit unit_set(float x) {
    unit y;
    FOR_PARTS y.val[k] = vdupq_n_f32(x);
    return y;
}

TSR_INLINE unit unit_load(const float *p) {
    unit y;
    FOR_PARTS y.val[k] = vld1q_f32(p + 4 * k);
    return y;
}

TSR_INLINE void unit_store(float *p, unit x) {
    FOR_PARTS vst1q_f32(p + 4 * k, x.val[k]);
}

#define DEFINE_OPERATION(name)                                          \
    TSR_INLINE unit unit_##name(unit x, unit y) {                       \
        FOR_PARTS x.val[k] = v##name##q_f32(x.val[k], y.val[k]);        \
        return x;                                                       \
    }
DEFINE_OPERATION(add)
DEFINE_OPERATION(sub)
DEFINE_OPERATION(mul)
DEFINE_OPERATION(div)
DEFINE_OPERATION(min)
DEFINE_OPERATION(max)

TSR_INLINE float unit_least(unit x) {
    return vminvq_f32(vminq_f32(vminq_f32(x.val[0], x.val[1]), vminq_f32(x.val[2], x.val[3])));
}

TSR_INLINE float unit_most(unit x) {
    return vmaxvq_f32(vmaxq_f32(vmaxq_f32(x.val[0], x.val[1]), vmaxq_f32(x.val[2], x.val[3])));
}

TSR_INLINE unit unit_round(unit x) {
    FOR_PARTS x.val[k] = vrndnq_f32(x.val[k]);
    return x;
}

/* x - y * z, rounded once. */
TSR_INLINE unit unit_sub_product(unit x, unit y, unit z) {
    FOR_PARTS x.val[k] = vfmsq_f32(x.val[k], y.val[k], z.val[k]);
    return x;
}

/* Whether the magnitude of all, NaN excluded, is below. */
TSR_INLINE int unit_all_below(unit x, unit limit) {
    uint32x4_t below = vcaltq_f32(x.val[0], limit.val[0]);
    FOR_PARTS below = vandq_u32(below, vcaltq_f32(x.val[k], limit.val[k]));
    return vminvq_u32(below) != 0;
}

TSR_INLINE flags unit_no_flags(void) { return vdupq_n_u32(0); }

TSR_INLINE flags unit_flag_not_finite(flags f, unit x) {
    const float32x4_t infinity = vdupq_n_f32(INFINITY);
    FOR_PARTS f = vornq_u32(f, vcaltq_f32(x.val[k], infinity));
    return f;
}

TSR_INLINE int unit_any_flag(flags f) { return vmaxvq_u32(f) != 0; }

TSR_INLINE unit unit_load_bytes(const uint8_t *p, uint8_t flip) {
    const uint8x16_t bytes = veorq_u8(vld1q_u8(p), vdupq_n_u8(flip));
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
    unit y;
    y.val[0] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(low)));
    y.val[1] = vcvtq_f32_u32(vmovl_u16(vget_high_u16(low)));
    y.val[2] = vcvtq_f32_u32(vmovl_u16(vget_low_u16(high)));
    y.val[3] = vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)));
    return y;
}

/* Adds integers; the bits above the lowest eight are dropped. */
TSR_INLINE void unit_store_bytes(uint8_t *p, unit x, unit add) {
    int16x4_t sum[4];
    FOR_PARTS sum[k] = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(x.val[k]), vcvtnq_s32_f32(add.val[k])));
    const int8x8_t low = vmovn_s16(vcombine_s16(sum[0], sum[1])), high = vmovn_s16(vcombine_s16(sum[2], sum[3]));
    vst1q_u8(p, vreinterpretq_u8_s8(vcombine_s8(low, high)));
}

#define DEFINE_HALVES(name)                                                     \
    TSR_INLINE unit unit_load_##name(const uint8_t *p) {                        \
        unit y;                                                                 \
        FOR_PARTS y.val[k] = tsr_##name##_load_neon(p + 8 * k);                 \
        return y;                                                               \
    }                                                                           \
    TSR_INLINE void unit_store_##name(uint8_t *p, unit x) {                     \
        FOR_PARTS tsr_##name##_store_neon(p + 8 * k, x.val[k]);                 \
    }
DEFINE_HALVES(float16)
DEFINE_HALVES(bfloat16)

TSR_INLINE float64x2_t load_two_doubles(const uint8_t *p) { return vreinterpretq_f64_u8(vld1q_u8(p)); }

TSR_INLINE unit unit_load_float64(const uint8_t *p) {
    unit y;
    FOR_PARTS {
        const float32x2_t low = vcvt_f32_f64(load_two_doubles(p + 32 * k));
        y.val[k] = vcvt_high_f32_f64(low, load_two_doubles(p + 32 * k + 16));
    }
    return y;
}

TSR_INLINE void unit_store_float64(uint8_t *p, unit x) {
    FOR_PARTS {
        vst1q_u8(p + 32 * k, vreinterpretq_u8_f64(vcvt_f64_f32(vget_low_f32(x.val[k]))));
        vst1q_u8(p + 32 * k + 16, vreinterpretq_u8_f64(vcvt_high_f64_f32(x.val[k])));
    }
}

#define QUANTIZE_STREAM NULL
#include "quantize_template.h"
#endif
