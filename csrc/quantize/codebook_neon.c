/* NEON: compares with every threshold of a small codebook, and looks bytes up in tables of 64. */
#include "codebook_internal.h"

#if TSR_ARM64

/* The number of thresholds that x is at or below, negated. */
TSR_INLINE uint32x4_t at_or_below(const float *tree, float32x4_t x) {
    uint32x4_t count = vdupq_n_u32(0);
    for (int i = 1; i < SMALL_LEVELS; i++) count = vaddq_u32(count, vcleq_f32(x, vdupq_n_f32(tree[i])));
    return count;
}

static void assign(uint8_t *indices, const float *x, size_t n, const float *tree, int depth, unsigned last,
                   float divisor) {
    size_t i = 0;
    if (depth == 4) {
        const float32x4_t d = vdupq_n_f32(divisor);
        const uint8x16_t all = vdupq_n_u8(SMALL_LEVELS - 1), most = vdupq_n_u8((uint8_t)last);
        for (; i + 16 <= n; i += 16) {
            uint16x4_t count[4];
            for (size_t k = 0; k < 4; k++)
                count[k] = vmovn_u32(at_or_below(tree, vdivq_f32(vld1q_f32(x + i + 4 * k), d)));
            const uint8x8_t low = vmovn_u16(vcombine_u16(count[0], count[1]));
            const uint8x8_t high = vmovn_u16(vcombine_u16(count[2], count[3]));
            vst1q_u8(indices + i, vminq_u8(vaddq_u8(all, vcombine_u8(low, high)), most));
        }
    }
    tsr_codebook_assign_scalar(indices + i, x + i, n - i, tree, depth, last, divisor);
}

static void look_up(void *dst, const uint8_t *indices, size_t n, const void *table, int width, int small) {
    size_t i = 0;
    if (small && width == 4) {
        /* One table for each byte of an element. */
        const uint8x16x4_t bytes = vld4q_u8(table);
        for (; i + 16 <= n; i += 16) {
            const uint8x16_t index = vld1q_u8(indices + i);
            uint8x16x4_t found;
            for (int k = 0; k < 4; k++) found.val[k] = vqtbl1q_u8(bytes.val[k], index);
            vst4q_u8((uint8_t *)dst + 4 * i, found);
        }
    } else if (small) {
        const uint8x16x2_t bytes = vld2q_u8(table);
        for (; i + 16 <= n; i += 16) {
            const uint8x16_t index = vld1q_u8(indices + i);
            uint8x16x2_t found;
            for (int k = 0; k < 2; k++) found.val[k] = vqtbl1q_u8(bytes.val[k], index);
            vst2q_u8((uint8_t *)dst + 2 * i, found);
        }
    }
    tsr_codebook_look_up_scalar((uint8_t *)dst + (size_t)width * i, indices + i, n - i, table, width, small);
}

const codebook_kernels tsr_codebook_neon = {TSR_CPU_NEON, assign, look_up, tsr_codebook_add_squares_scalar};
#endif
