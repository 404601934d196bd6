/* Codebooks: search trees, and the drivers that take rows of elements through the kernels chunk by chunk. */
#include "codebook_internal.h"

#include <float.h>
#include <math.h>

static const codebook_kernels *active = &tsr_codebook_scalar;

void tsr_codebook_install(int path) {
    active = &tsr_codebook_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_codebook_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_codebook_avx512;
#elif TSR_ARM64
    if (path == TSR_CPU_NEON) active = &tsr_codebook_neon;
#endif
    (void)path;
}

int tsr_codebook_kernel_path(void) { return active->path; }

/* ---- Search trees ------------------------------------------------------------------------------------- */

static int depth_of(size_t n_levels) {
    return n_levels <= SMALL_LEVELS ? 4 : (int)tsr_log2_floor((uint32_t)n_levels - 1) + 1;
}

size_t tsr_codebook_tree_size(size_t n_levels, int type) {
    return ((size_t)1 << depth_of(n_levels)) * (type == TSR_FLOAT64 ? sizeof(double) : sizeof(float));
}

static float next_below_float(float x) {
    const uint32_t bits = tsr_float_bits(x);
    return tsr_float_from_bits(x > 0 ? bits - 1 : x < 0 ? bits + 1 : 0x80000001);
}

static double next_below_double(double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = x > 0 ? bits - 1 : x < 0 ? bits + 1 : 0x8000000000000001;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* The largest double, or float, that is not above the middle between a < b: what is above it, is nearer to b. */
static double threshold_double(float a, float b) {
    if (isnan(b)) return INFINITY;
    if (isinf(b)) return DBL_MAX;
    if (isinf(a)) return a;
    const double sum = (double)a + b;
    const double b_in_sum = sum - a;
    const double lost = (a - (sum - b_in_sum)) + (b - b_in_sum); /* by rounding the sum (Knuth's TwoSum) */
    return lost < 0 ? next_below_double(sum / 2) : sum / 2;
}

static float threshold_float(float a, float b) {
    const double exact = threshold_double(a, b);
    if (exact == DBL_MAX) return FLT_MAX;
    const float t = (float)exact;
    return t > exact ? next_below_float(t) : t;
}

void tsr_codebook_tree(void *tree, const float *levels, size_t n_levels, int type) {
    const int depth = depth_of(n_levels);
    /* Thresholds in order, from the last: of equal levels only the first is ever chosen. */
    double sorted[TSR_CODEBOOK_LEVELS_MAX];
    for (size_t i = (size_t)1 << depth; i-- > 0;) {
        if (i + 1 >= n_levels) sorted[i] = INFINITY;
        else if (levels[i] == levels[i + 1]) sorted[i] = sorted[i + 1];
        else if (type == TSR_FLOAT64) sorted[i] = threshold_double(levels[i], levels[i + 1]);
        else sorted[i] = threshold_float(levels[i], levels[i + 1]);
    }
    const size_t size = (size_t)1 << depth;
    for (size_t node = 0; node < size; node++) {
        double t = INFINITY; /* no node has the number 0 */
        if (node > 0) {
            const unsigned level = tsr_log2_floor((uint32_t)node);
            const size_t place = node - ((size_t)1 << level);
            t = sorted[(2 * place + 1) * (size >> (level + 1)) - 1];
        }
        if (type == TSR_FLOAT64) ((double *)tree)[node] = t;
        else ((float *)tree)[node] = (float)t;
    }
}

/* ---- Groups along the rows ------------------------------------------------------------------------------ */

/* Where a run of elements that share a group ends. */
typedef struct position {
    size_t group, left;
} position;

static position position_at(const tsr_codebook *c, size_t element) {
    return (position){element / c->run % c->n_groups, c->run - element % c->run};
}

static void advance(position *p, const tsr_codebook *c, size_t n) {
    p->left -= n;
    if (p->left) return;
    p->left = c->run;
    if (++p->group == c->n_groups) p->group = 0;
}

static size_t codebook_of(const tsr_codebook *c, size_t group) { return c->n_codebooks == 1 ? 0 : group; }

/* What the indices of a group stand for, as float32 or as 16-bit floats. */
typedef struct value_table {
    size_t group;
    union {
        float wide[TSR_CODEBOOK_LEVELS_MAX];
        uint16_t narrow[TSR_CODEBOOK_LEVELS_MAX];
    } values;
} value_table;

static void value_table_init(value_table *t) {
    memset(t, 0, sizeof *t);
    t->group = SIZE_MAX;
}

static void value_table_set(value_table *t, const tsr_codebook *c, size_t group, int type) {
    if (t->group == group) return;
    t->group = group;
    const float *const levels = c->levels + codebook_of(c, group) * c->n_levels;
    const float scale = c->scales ? c->scales[group] : 1;
    for (size_t i = 0; i < c->n_levels; i++) {
        const float value = levels[i] * scale;
        if (type == TSR_FLOAT16) t->values.narrow[i] = tsr_float16_from_float(value);
        else if (type == TSR_BFLOAT16) t->values.narrow[i] = tsr_bfloat16_from_float(value);
        else t->values.wide[i] = value;
    }
}

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

static size_t size_of_float(int type) { return type == TSR_FLOAT64 ? 8 : type == TSR_FLOAT32 ? 4 : 2; }

/* ---- Assignment ----------------------------------------------------------------------------------------- */

static void assign_double(uint8_t *indices, const double *x, size_t n, const double *tree, int depth, unsigned last,
                          float divisor) {
    for (size_t i = 0; i < n; i++) {
        const double scaled = x[i] / divisor;
        unsigned node = 1;
        CODEBOOK_DESCEND(node, scaled, tree, depth);
        node -= 1u << depth;
        indices[i] = (uint8_t)(node < last ? node : last);
    }
}

static void pack(uint8_t *dst, const uint8_t *indices, size_t n) {
    for (size_t i = 0; i < n / 2; i++) dst[i] = (uint8_t)(indices[2 * i] | indices[2 * i + 1] << 4);
    if (n & 1) dst[n / 2] = indices[n - 1];
}

static void unpack(uint8_t *indices, const uint8_t *src, size_t n) {
    for (size_t i = 0; i < n / 2; i++) {
        indices[2 * i] = src[i] & 15;
        indices[2 * i + 1] = src[i] >> 4;
    }
    if (n & 1) indices[n - 1] = src[n / 2] & 15;
}

/* Sums of squares in so many lanes come out the same however wide registers are. */
#define LANES 16

static double sum_lanes(const double lanes[LANES]) {
    double sum = 0;
    for (int k = 0; k < LANES; k++) sum += lanes[k];
    return sum;
}

/* What is not finite counts as kept. The square of a float is exact as a double. */
static double squared_error(const float *x, const float *y, size_t n) {
    double lanes[LANES] = {0};
    for (size_t i = 0; i < n; i += LANES)
        for (size_t k = 0; k < smaller(LANES, n - i); k++) {
            const float difference = x[i + k] - y[i + k];
            const double d = fabsf(x[i + k]) <= FLT_MAX ? difference : 0;
            lanes[k] += d * d;
        }
    return sum_lanes(lanes);
}

static double squared_error_double(const double *x, const float *y, size_t n) {
    double lanes[LANES] = {0};
    for (size_t i = 0; i < n; i++) {
        const double d = fabs(x[i]) <= DBL_MAX ? x[i] - y[i] : 0;
        lanes[i % LANES] += d * d;
    }
    return sum_lanes(lanes);
}

void tsr_codebook_assign(uint8_t *dst, const void *x, int type, const tsr_codebook_rows *rows,
                         const tsr_codebook *codebook, const void *trees, double *error) {
    const codebook_kernels *const kernels = active;
    const int depth = depth_of(codebook->n_levels), small = codebook->n_levels <= SMALL_LEVELS;
    const size_t tree_size = tsr_codebook_tree_size(codebook->n_levels, type);
    const unsigned last = (unsigned)codebook->n_levels - 1;
    const uint8_t *src = x;
    uint8_t buffer[CHUNK];
    float wide[CHUNK], values[CHUNK];
    value_table table;
    value_table_init(&table);
    position at = position_at(codebook, rows->first);
    if (error) *error = 0;
    for (size_t r = 0; r < rows->n_rows; r++)
        for (size_t done = 0; done < rows->row; done += CHUNK) {
            const size_t n = smaller(CHUNK, rows->row - done);
            uint8_t *const indices = rows->packed ? buffer : dst;
            const void *chunk = src;
            if (size_of_float(type) == 2) {
                kernels->widen(wide, chunk, n, type);
                chunk = wide;
            }
            for (size_t i = 0, part; i < n; i += part) {
                part = smaller(n - i, at.left);
                const void *const tree = (const uint8_t *)trees + codebook_of(codebook, at.group) * tree_size;
                const float scale = codebook->scales ? codebook->scales[at.group] : 1;
                const float divisor = scale == 0 ? 1 : scale;
                if (type == TSR_FLOAT64)
                    assign_double(indices + i, (const double *)chunk + i, part, tree, depth, last, divisor);
                else kernels->assign(indices + i, (const float *)chunk + i, part, tree, depth, last, divisor);
                if (error) {
                    value_table_set(&table, codebook, at.group, TSR_FLOAT32);
                    kernels->look_up(values + i, indices + i, part, &table.values, 4, small);
                }
                advance(&at, codebook, part);
            }
            if (error)
                *error += type == TSR_FLOAT64 ? squared_error_double(chunk, values, n) : squared_error(chunk, values, n);
            if (rows->packed) pack(dst, indices, n);
            dst += rows->packed ? (n + 1) / 2 : n;
            src += n * size_of_float(type);
        }
}

/* ---- Dequantization ------------------------------------------------------------------------------------- */

static unsigned largest(const uint8_t *indices, size_t n) {
    uint8_t most = 0;
    for (size_t i = 0; i < n; i++) most = indices[i] > most ? indices[i] : most;
    return most;
}

tsr_result tsr_codebook_dequantize(void *dst, int type, const uint8_t *indices, const tsr_codebook_rows *rows,
                                   const tsr_codebook *codebook) {
    const codebook_kernels *const kernels = active;
    const int small = codebook->n_levels <= SMALL_LEVELS, width = (int)size_of_float(type);
    const unsigned last = (unsigned)codebook->n_levels - 1;
    uint8_t buffer[CHUNK], *out = dst;
    value_table table;
    value_table_init(&table);
    position at = position_at(codebook, rows->first);
    for (size_t r = 0; r < rows->n_rows; r++)
        for (size_t done = 0; done < rows->row; done += CHUNK) {
            const size_t n = smaller(CHUNK, rows->row - done);
            const uint8_t *chunk = indices;
            if (rows->packed) {
                unpack(buffer, indices, n);
                chunk = buffer;
            }
            if (last < (rows->packed ? 15 : 255) && largest(chunk, n) > last) return TSR_ERR_CODEBOOK_INDEX;
            for (size_t i = 0, part; i < n; i += part) {
                part = smaller(n - i, at.left);
                value_table_set(&table, codebook, at.group, type);
                kernels->look_up(out, chunk + i, part, &table.values, width, small);
                out += part * (size_t)width;
                advance(&at, codebook, part);
            }
            indices += rows->packed ? (n + 1) / 2 : n;
        }
    return TSR_OK;
}
