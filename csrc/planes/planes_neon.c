#include "planes_internal.h"

#if TSR_ARM64
#include <arm_neon.h>

#define PLANES_NAME tsr_planes_neon
#define PLANES_PATH TSR_CPU_NEON
#define PLANES_TARGET /* NEON is AArch64's baseline */

/* For each byte where its bits are, lowest first, a byte each and zeros after them. */
#define ONE_IF(m, k) ((uint64_t)((m) >> (k) & 1))
#define ONES_BELOW(m, k)                                                                                     \
    (ONE_IF(m, 0) * (k > 0) + ONE_IF(m, 1) * (k > 1) + ONE_IF(m, 2) * (k > 2) + ONE_IF(m, 3) * (k > 3) +     \
     ONE_IF(m, 4) * (k > 4) + ONE_IF(m, 5) * (k > 5) + ONE_IF(m, 6) * (k > 6))
#define PLACE(m, k) (ONE_IF(m, k) * k << 8 * ONES_BELOW(m, k))
#define PLACES(m) \
    PLACE(m, 1) | PLACE(m, 2) | PLACE(m, 3) | PLACE(m, 4) | PLACE(m, 5) | PLACE(m, 6) | PLACE(m, 7)
#define PLACES_4(m) PLACES(m), PLACES((m) + 1), PLACES((m) + 2), PLACES((m) + 3)
#define PLACES_16(m) PLACES_4(m), PLACES_4((m) + 4), PLACES_4((m) + 8), PLACES_4((m) + 12)
#define PLACES_64(m) PLACES_16(m), PLACES_16((m) + 16), PLACES_16((m) + 32), PLACES_16((m) + 48)
static const uint64_t places[256] = {PLACES_64(0), PLACES_64(64), PLACES_64(128), PLACES_64(192)};

static const uint8_t bit_of_lane[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

/* In every byte the number of bits in it and those before; none exceeds 64. */
TSR_INLINE uint64_t count_up(uint8x8_t bits) {
    return vget_lane_u64(vreinterpret_u64_u8(vcnt_u8(bits)), 0) * 0x0101010101010101u;
}

static size_t split_flags(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n, uint8_t common) {
    const uint8x16_t same = vdupq_n_u8(common), bit = vld1q_u8(bit_of_lane);
    size_t i = 0, n_literals = 0;
    for (; i + 64 <= n; i += 64) {
        uint8x16_t in[4], differs[4];
        for (int k = 0; k < 4; k++) {
            in[k] = vld1q_u8(src + i + 16 * k);
            differs[k] = vbicq_u8(bit, vceqq_u8(in[k], same));
        }
        const uint8x16_t sums = vpaddq_u8(vpaddq_u8(differs[0], differs[1]), vpaddq_u8(differs[2], differs[3]));
        const uint8x8_t bits = vget_low_u8(vpaddq_u8(sums, sums));
        vst1_u8(flags + i / 8, bits);
        const uint64_t masks = vget_lane_u64(vreinterpret_u64_u8(bits), 0), ends = count_up(bits);
        for (int k = 0; k < 8; k++) {
            const uint8x8_t eight = k & 1 ? vget_high_u8(in[k / 2]) : vget_low_u8(in[k / 2]);
            const uint8x8_t order = vcreate_u8(places[masks >> (8 * k) & 0xFF]);
            vst1_u8(literals + n_literals + (ends << 8 >> (8 * k) & 0xFF), vtbl1_u8(eight, order));
        }
        n_literals += ends >> 56;
    }
    return n_literals + tsr_planes_split_flags_scalar(flags + i / 8, literals + n_literals, src + i, n - i, common);
}

static void join_flags(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals, uint8_t common) {
    const uint8x16_t zero = vdupq_n_u8(0), bit = vld1q_u8(bit_of_lane);
    size_t i = 0;
    for (; i + 64 <= n; i += 64) {
        const uint8_t *const bits = flags + i / 8;
        const uint64_t ends = count_up(vld1_u8(bits));
        for (int k = 0; k < 4; k++) {
            const uint8x16_t pair = vcombine_u8(vdup_n_u8(bits[2 * k]), vdup_n_u8(bits[2 * k + 1]));
            const uint8x16_t differs = vtstq_u8(pair, bit);
            /* Minus the lanes that differ up to here: the complement is the rank of one that does. */
            uint8x16_t sum = vaddq_u8(differs, vextq_u8(zero, differs, 15));
            sum = vaddq_u8(sum, vextq_u8(zero, sum, 14));
            sum = vaddq_u8(sum, vextq_u8(zero, sum, 12));
            sum = vaddq_u8(sum, vextq_u8(zero, sum, 8));
            const uint8x16_t rank = vmvnq_u8(vandq_u8(sum, differs));
            const uint8x16_t next = vld1q_u8(literals + (ends << 8 >> (16 * k) & 0xFF));
            vst1q_u8(dst + i + 16 * k, vqtbx1q_u8(vdupq_n_u8(common), next, rank));
        }
        literals += ends >> 56;
    }
    tsr_planes_join_flags_scalar(dst + i, n - i, flags + i / 8, literals, common);
}

#define PLANES_FLAGS split_flags, join_flags
#define PLANES_ZEROS tsr_planes_split_zeros_scalar, tsr_planes_join_zeros_scalar
#include "planes_template.h"
#endif
