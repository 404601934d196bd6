/* Two integers a byte: plain loops that compilers vectorise, for the QUANTIZE_TARGET of what includes this. */
#include "tsr_bits.h"

QUANTIZE_TARGET static void pack(uint8_t *TSR_RESTRICT dst, const uint8_t *TSR_RESTRICT src, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const uint16_t pair = tsr_load16(src + 2 * i);
        dst[i] = (uint8_t)((pair & 0x0F) | (pair >> 4 & 0xF0));
    }
}

QUANTIZE_TARGET static void unpack(uint8_t *TSR_RESTRICT dst, const uint8_t *TSR_RESTRICT src, size_t n) {
    for (size_t i = 0; i < n; i++)
        tsr_store16(dst + 2 * i, (uint16_t)((src[i] & 0x0F) | (src[i] & 0xF0) << 4));
}
