/* The plain path, and the choice of path. */
#include "../cpu/cpu.h"
#include "prune_internal.h"

#define DEFINE_GROUP(T, W)                                                                       \
    TSR_INLINE uint64_t at_least_##W(const uint8_t *src, T t, int by_value) {                    \
        uint64_t word = 0;                                                                       \
        for (size_t i = 0; i < GROUP; i++) {                                                     \
            const uint64_t is_least = key_##W(load_##W(src, i), by_value) >= t;                  \
            word |= is_least << i;                                                               \
        }                                                                                        \
        return word;                                                                             \
    }                                                                                            \
    TSR_INLINE void zero_##W(uint8_t *x, uint64_t kept) {                                        \
        for (size_t i = 0; i < GROUP; i++) {                                                     \
            const T all = (T)(0 - (kept >> i & 1)), y = (T)(load_##W(x, i) & all);               \
            memcpy(x + i * sizeof y, &y, sizeof y);                                              \
        }                                                                                        \
    }

DEFINE_GROUP(uint16_t, 16)
DEFINE_GROUP(uint32_t, 32)
DEFINE_GROUP(uint64_t, 64)

TSR_INLINE uint64_t nonzero(const uint8_t *mask) {
    uint64_t word = 0;
    for (int i = 0; i < GROUP; i++) word |= (uint64_t)(mask[i] != 0) << i;
    return word;
}

TSR_INLINE void spread(uint8_t *mask, uint64_t kept) {
    for (int i = 0; i < GROUP; i++) mask[i] = (uint8_t)(kept >> i & 1);
}

#define PRUNE_NAME tsr_prune_scalar
#define PRUNE_PATH TSR_CPU_SCALAR
#define PRUNE_TARGET
#include "prune_template.h"

static const prune_kernels *active = &tsr_prune_scalar;

const prune_kernels *tsr_prune_active(void) { return active; }

void tsr_prune_install(int path) {
    active = &tsr_prune_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_prune_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_prune_avx512;
#elif TSR_ARM64
    if (path == TSR_CPU_NEON) active = &tsr_prune_neon;
#endif
    (void)path;
}

int tsr_prune_kernel_path(void) { return active->path; }
