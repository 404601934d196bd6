/* The plain path (SSE2 or NEON as far as the compiler's baseline goes), and the choice of path. */
#include "planes_internal.h"

size_t tsr_planes_split_flags_scalar(uint8_t *flags, uint8_t *literals, const uint8_t *src, size_t n,
                                     uint8_t common) {
    size_t n_literals = 0;
    for (size_t i = 0; i < n; i += 8) {
        unsigned byte = 0;
        const size_t end = n - i < 8 ? n - i : 8;
        /* Storing always and moving on only when due leaves no branch to mispredict. */
        for (size_t k = 0; k < end; k++) {
            const unsigned differs = src[i + k] != common;
            literals[n_literals] = src[i + k];
            n_literals += differs;
            byte |= differs << k;
        }
        flags[i / 8] = (uint8_t)byte;
    }
    return n_literals;
}

void tsr_planes_join_flags_scalar(uint8_t *dst, size_t n, const uint8_t *flags, const uint8_t *literals,
                                  uint8_t common) {
    for (size_t i = 0; i < n; i += 8) {
        const unsigned byte = flags[i / 8];
        const size_t end = n - i < 8 ? n - i : 8;
        for (size_t k = 0; k < end; k++) {
            const unsigned differs = byte >> k & 1;
            /* All ones where the literal is taken: a choice without a branch. */
            dst[i + k] = (uint8_t)(common ^ ((common ^ *literals) & (0u - differs)));
            literals += differs;
        }
    }
}

/* The number of bytes is a constant in each call, so that copying is a load and a store. */
TSR_INLINE size_t split_zeros(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n, size_t typesize) {
    const uint8_t *const first = elements;
    const uint64_t sign = (uint64_t)1 << (8 * typesize - 1);
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;
        memcpy(&x, src + i * typesize, typesize);
        memcpy(elements, &x, typesize);
        const int is_zero = (x & (sign - 1)) == 0;
        positions[i] = (uint8_t)(is_zero ? (x == sign) * ELEMENT_MINUS_ZERO : ELEMENT_KEPT);
        elements += is_zero ? 0 : typesize;
    }
    return (size_t)(elements - first) / typesize;
}

TSR_INLINE void join_zeros(uint8_t *dst, size_t n, const uint8_t *positions, const uint8_t *elements,
                           size_t typesize) {
    for (size_t i = 0; i < n; i++) {
        uint64_t x = 0;
        memcpy(&x, elements, typesize);
        x &= 0 - (uint64_t)(positions[i] & ELEMENT_KEPT);
        x |= (uint64_t)(positions[i] >> 1) << (8 * typesize - 1);
        memcpy(dst + i * typesize, &x, typesize);
        elements += positions[i] == ELEMENT_KEPT ? typesize : 0;
    }
}

size_t tsr_planes_split_zeros_scalar(uint8_t *positions, uint8_t *elements, const uint8_t *src, size_t n,
                                     int typesize) {
    if (typesize == 2) return split_zeros(positions, elements, src, n, 2);
    if (typesize == 4) return split_zeros(positions, elements, src, n, 4);
    return split_zeros(positions, elements, src, n, 8);
}

void tsr_planes_join_zeros_scalar(uint8_t *dst, size_t n, const uint8_t *positions, const uint8_t *elements,
                                  int typesize) {
    if (typesize == 2) join_zeros(dst, n, positions, elements, 2);
    else if (typesize == 4) join_zeros(dst, n, positions, elements, 4);
    else join_zeros(dst, n, positions, elements, 8);
}

#define PLANES_NAME tsr_planes_scalar
#define PLANES_PATH TSR_CPU_SCALAR
#define PLANES_TARGET
#define PLANES_FLAGS tsr_planes_split_flags_scalar, tsr_planes_join_flags_scalar
#define PLANES_ZEROS tsr_planes_split_zeros_scalar, tsr_planes_join_zeros_scalar
#include "planes_template.h"

static const planes_kernels *active = &tsr_planes_scalar;

const planes_kernels *tsr_planes_active(void) { return active; }

void tsr_planes_install(int path) {
    active = &tsr_planes_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_planes_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_planes_avx512;
#elif TSR_ARM64
    if (path == TSR_CPU_NEON) active = &tsr_planes_neon;
#endif
    (void)path;
}

int tsr_planes_kernel_path(void) { return active->path; }
