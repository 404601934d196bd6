#include "prune_internal.h"

#if TSR_ARM64
#include <arm_neon.h>

/* NEON is in every AArch64 compiler's baseline. */
#define PRUNE_NAME tsr_prune_neon
#define PRUNE_PATH TSR_CPU_NEON
#define PRUNE_TARGET

static const uint8_t bit_of_lane[16] = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};

/* A bit for each of 64 bytes that are 0 or 255. */
TSR_INLINE uint64_t bits_of(const uint8x16_t bytes[4]) {
    const uint8x16_t bit = vld1q_u8(bit_of_lane);
    const uint8x16_t low = vpaddq_u8(vandq_u8(bytes[0], bit), vandq_u8(bytes[1], bit));
    const uint8x16_t high = vpaddq_u8(vandq_u8(bytes[2], bit), vandq_u8(bytes[3], bit));
    const uint8x16_t sum = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sum, sum)), 0);
}

/* 16 bytes of 255 where a bit is set. */
TSR_INLINE uint8x16_t bytes_of(uint64_t word, int quarter) {
    const uint8x16_t pair =
        vcombine_u8(vdup_n_u8((uint8_t)(word >> (16 * quarter))), vdup_n_u8((uint8_t)(word >> (16 * quarter + 8))));
    return vtstq_u8(pair, vld1q_u8(bit_of_lane));
}

#define DEFINE_GROUP(T, W, LANES)                                                                            \
    TSR_INLINE uint##W##x##LANES##_t is_least_##W(const uint8_t *src, T t, int by_value) {                   \
        const uint##W##x##LANES##_t sign = vdupq_n_u##W((T)1 << (W - 1));                                    \
        const uint##W##x##LANES##_t x = vreinterpretq_u##W##_u8(vld1q_u8(src));                              \
        const uint##W##x##LANES##_t magnitude = vbicq_u##W(x, sign);                                         \
        const uint##W##x##LANES##_t value =                                                                  \
            vbslq_u##W(vtstq_u##W(x, sign), vsubq_u##W(sign, magnitude), vorrq_u##W(x, sign));               \
        return vcgeq_u##W(by_value ? value : magnitude, vdupq_n_u##W(t));                                    \
    }

DEFINE_GROUP(uint16_t, 16, 8)
DEFINE_GROUP(uint32_t, 32, 4)
DEFINE_GROUP(uint64_t, 64, 2)

/* Eight numbers from `src` as bytes of 0 or 255. */
TSR_INLINE uint8x8_t eight_16(const uint8_t *src, uint16_t t, int by_value) {
    return vmovn_u16(is_least_16(src, t, by_value));
}

TSR_INLINE uint8x8_t eight_32(const uint8_t *src, uint32_t t, int by_value) {
    return vmovn_u16(vcombine_u16(vmovn_u32(is_least_32(src, t, by_value)),
                                  vmovn_u32(is_least_32(src + 16, t, by_value))));
}

TSR_INLINE uint8x8_t eight_64(const uint8_t *src, uint64_t t, int by_value) {
    uint16x4_t halves[2];
    for (int i = 0; i < 2; i++)
        halves[i] = vmovn_u32(vcombine_u32(vmovn_u64(is_least_64(src + 32 * i, t, by_value)),
                                           vmovn_u64(is_least_64(src + 32 * i + 16, t, by_value))));
    return vmovn_u16(vcombine_u16(halves[0], halves[1]));
}

#define DEFINE_AT_LEAST(T, W)                                                           \
    TSR_INLINE uint64_t at_least_##W(const uint8_t *src, T t, int by_value) {           \
        uint8x16_t bytes[4];                                                            \
        for (size_t i = 0; i < 4; i++)                                                  \
            bytes[i] = vcombine_u8(eight_##W(src + 16 * i * sizeof t, t, by_value),     \
                                   eight_##W(src + (16 * i + 8) * sizeof t, t, by_value)); \
        return bits_of(bytes);                                                          \
    }

DEFINE_AT_LEAST(uint16_t, 16)
DEFINE_AT_LEAST(uint32_t, 32)
DEFINE_AT_LEAST(uint64_t, 64)

/* Doubling the bytes of a mask makes one for elements twice as wide. */
TSR_INLINE void zero_bytes(uint8_t *x, uint8x16_t kept) { vst1q_u8(x, vandq_u8(vld1q_u8(x), kept)); }

TSR_INLINE void zero_2(uint8_t *x, uint8x16_t kept) {
    zero_bytes(x, vzip1q_u8(kept, kept));
    zero_bytes(x + 16, vzip2q_u8(kept, kept));
}

TSR_INLINE void zero_4(uint8_t *x, uint8x16_t kept) {
    zero_2(x, vzip1q_u8(kept, kept));
    zero_2(x + 32, vzip2q_u8(kept, kept));
}

TSR_INLINE void zero_8(uint8_t *x, uint8x16_t kept) {
    zero_4(x, vzip1q_u8(kept, kept));
    zero_4(x + 64, vzip2q_u8(kept, kept));
}

TSR_INLINE void zero_16(uint8_t *x, uint64_t kept) {
    for (int i = 0; i < 4; i++) zero_2(x + 32 * i, bytes_of(kept, i));
}

TSR_INLINE void zero_32(uint8_t *x, uint64_t kept) {
    for (int i = 0; i < 4; i++) zero_4(x + 64 * i, bytes_of(kept, i));
}

TSR_INLINE void zero_64(uint8_t *x, uint64_t kept) {
    for (int i = 0; i < 4; i++) zero_8(x + 128 * i, bytes_of(kept, i));
}

TSR_INLINE uint64_t nonzero(const uint8_t *mask) {
    uint8x16_t bytes[4];
    for (int i = 0; i < 4; i++) {
        const uint8x16_t x = vld1q_u8(mask + 16 * i);
        bytes[i] = vtstq_u8(x, x);
    }
    return bits_of(bytes);
}

TSR_INLINE void spread(uint8_t *mask, uint64_t kept) {
    for (int i = 0; i < 4; i++) vst1q_u8(mask + 16 * i, vandq_u8(bytes_of(kept, i), vdupq_n_u8(1)));
}

#include "prune_template.h"
#endif
