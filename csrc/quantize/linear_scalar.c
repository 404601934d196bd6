/* The plain path, the rounding of activations, and the choice of path. */
#include "linear_internal.h"

#define LINEAR_NAME tsr_linear_scalar
#define LINEAR_PATH TSR_CPU_SCALAR
#define LINEAR_TARGET
#define LINEAR_INLINE static
#define LINEAR_UNROLL

typedef struct words {
    int16_t at[LINEAR_STEP];
} words;

typedef struct ints {
    int32_t at[LINEAR_LANES];
} ints;

typedef struct floats {
    float at[LINEAR_LANES];
} floats;

TSR_INLINE words load_words(const int16_t *src) {
    words x;
    memcpy(x.at, src, sizeof x.at);
    return x;
}

TSR_INLINE words load_bytes(const uint8_t *src, int is_signed) {
    words x;
    for (int i = 0; i < LINEAR_STEP; i++) x.at[i] = is_signed ? (int8_t)src[i] : src[i];
    return x;
}

TSR_INLINE words load_nibbles(const uint8_t *src, int is_signed) {
    const int sign = is_signed ? 8 : 0;
    words x;
    for (int i = 0; i < LINEAR_LANES; i++) {
        x.at[2 * i] = (int16_t)(((src[i] & 15) ^ sign) - sign);
        x.at[2 * i + 1] = (int16_t)((src[i] >> 4 ^ sign) - sign);
    }
    return x;
}

TSR_INLINE words all_words(int z) {
    words x;
    for (int i = 0; i < LINEAR_STEP; i++) x.at[i] = (int16_t)z;
    return x;
}

TSR_INLINE words less(words x, words z) {
    for (int i = 0; i < LINEAR_STEP; i++) x.at[i] = (int16_t)(x.at[i] - z.at[i]);
    return x;
}

TSR_INLINE ints no_ints(void) { return (ints){{0}}; }

TSR_INLINE floats no_floats(void) { return (floats){{0}}; }

TSR_INLINE ints dot(ints sum, words a, words b) {
    for (int l = 0; l < LINEAR_LANES; l++)
        sum.at[l] += a.at[2 * l] * b.at[2 * l] + a.at[2 * l + 1] * b.at[2 * l + 1];
    return sum;
}

TSR_INLINE floats add_scaled(floats sum, ints x, float factor) {
    for (int l = 0; l < LINEAR_LANES; l++) {
        const float product = (float)x.at[l] * factor;
        sum.at[l] += product;
    }
    return sum;
}

TSR_INLINE void store_floats(float *dst, floats x) { memcpy(dst, x.at, sizeof x.at); }

#include "linear_template.h"

static const linear_kernels *active = &tsr_linear_scalar;

void tsr_linear_install(int path) {
    active = &tsr_linear_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_linear_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_linear_avx512;
#elif TSR_ARM64
    if (path == TSR_CPU_NEON) active = &tsr_linear_neon;
#endif
    (void)path;
}

int tsr_linear_kernel_path(void) { return active->path; }

/* ---- Activations ----------------------------------------------------------------------------------- */

/* Where the parts of a workspace lie; the values begin at a cache line. */
static linear_input layout(void *workspace, const tsr_linear *w, size_t n_rows) {
    linear_input x;
    x.block = LINEAR_BLOCK_MAX;
    if (w->group_size < w->n_in)
        while (w->group_size % x.block) x.block /= 2;
    x.n_blocks = (w->n_in + x.block - 1) / x.block;
    x.blocks_per_group = w->group_size < w->n_in ? w->group_size / x.block : x.n_blocks;
    x.n_groups = (x.n_blocks + x.blocks_per_group - 1) / x.blocks_per_group;
    x.n_padded = (w->n_in + LINEAR_STEP - 1) / LINEAR_STEP * LINEAR_STEP;
    const uintptr_t start = ((uintptr_t)workspace + 63) & ~(uintptr_t)63;
    x.values = (const int16_t *)start;
    x.scale = (const float *)(start + n_rows * x.n_padded * sizeof *x.values);
    return x;
}

size_t tsr_linear_workspace_size(const tsr_linear *w, size_t n_rows) {
    const linear_input x = layout(NULL, w, n_rows);
    return 63 + n_rows * (x.n_padded * sizeof *x.values + x.n_blocks * sizeof *x.scale);
}

/* Rounds n values to integers of at most 32767; returns the factor that takes them back. */
static float round_block(int16_t *dst, const float *src, size_t n) {
    const float round = 12582912.0f; /* 1.5 * 2^23: added and taken away again, it leaves an integer */
    const uint32_t infinite = 0x7F800000;
    uint32_t most = 0;
    float largest;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, src + i, 4);
        bits &= 0x7FFFFFFF;
        most = bits > most ? bits : most;
    }
    memcpy(&largest, &most, 4);
    /* Values so small that their factor has no inverse count as zero; NaN and infinity make all NaN. */
    if (most >= infinite || largest < 1e-30f) {
        memset(dst, 0, n * sizeof *dst);
        return most >= infinite ? largest - largest : 0;
    }
    const float inverse = 32767 / largest;
    for (size_t i = 0; i < n; i++) {
        const float product = src[i] * inverse;
        const float moved = product + round;
        dst[i] = (int16_t)(moved - round);
    }
    return largest / 32767;
}

void tsr_linear_prepare(void *workspace, const tsr_linear *w, const float *src, size_t n_rows) {
    const linear_input x = layout(workspace, w, n_rows);
    int16_t *values = (int16_t *)(uintptr_t)x.values;
    float *scale = (float *)(uintptr_t)x.scale;
    for (size_t r = 0; r < n_rows; r++, src += w->n_in, values += x.n_padded) {
        for (size_t i = 0; i < w->n_in; i += x.block)
            *scale++ = round_block(values + i, src + i, w->n_in - i < x.block ? w->n_in - i : x.block);
        memset(values + w->n_in, 0, (x.n_padded - w->n_in) * sizeof *values);
    }
}

void tsr_linear_multiply(float *dst, const tsr_linear *w, const void *workspace, size_t n_rows, size_t first,
                         size_t last) {
    const linear_input x = layout((void *)(uintptr_t)workspace, w, n_rows);
    active->multiply(dst, w, &x, n_rows, first, last);
}
