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

size_t tsr_codebook_tree_size(size_t n_levels) { return ((size_t)1 << depth_of(n_levels)) * sizeof(float); }

static float next_below(float x) {
    const uint32_t bits = tsr_float_bits(x);
    return tsr_float_from_bits(x > 0 ? bits - 1 : x < 0 ? bits + 1 : 0x80000001);
}

/* The largest float that is not above the middle between a < b: what is above it is nearer to b. */
static float threshold(float a, float b) {
    if (isnan(b)) return INFINITY;
    if (isinf(b)) return FLT_MAX;
    if (isinf(a)) return a;
    const double sum = (double)a + b;
    const double b_in_sum = sum - a;
    const double lost = (a - (sum - b_in_sum)) + (b - b_in_sum); /* by rounding the sum (Knuth's TwoSum) */
    const float t = (float)(sum / 2);
    return t > sum / 2 || (t == sum / 2 && lost < 0) ? next_below(t) : t;
}

void tsr_codebook_tree(float *tree, const float *levels, size_t n_levels) {
    const size_t size = (size_t)1 << depth_of(n_levels);
    float sorted[TSR_CODEBOOK_LEVELS_MAX];
    /* From the last: of equal levels only the first is ever chosen. */
    for (size_t i = size; i-- > 0;) {
        if (i + 1 >= n_levels) sorted[i] = INFINITY;
        else sorted[i] = levels[i] == levels[i + 1] ? sorted[i + 1] : threshold(levels[i], levels[i + 1]);
    }
    tree[0] = INFINITY; /* no node has this number */
    for (size_t node = 1; node < size; node++) {
        const unsigned level = tsr_log2_floor((uint32_t)node);
        const size_t place = node - ((size_t)1 << level);
        tree[node] = sorted[(2 * place + 1) * (size >> (level + 1)) - 1];
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

/* ---- Assignment ----------------------------------------------------------------------------------------- */

static double squared_error(const float *x, const float *y, size_t n) {
    double lanes[ERROR_LANES] = {0}, sum = 0;
    active->add_squares(lanes, x, y, n);
    for (int k = 0; k < ERROR_LANES; k++) sum += lanes[k];
    return sum;
}

/* Two integers a byte, an odd one alone in its byte. */
static void pack(uint8_t *dst, const uint8_t *indices, size_t n) {
    tsr_quantize_active()->pack(dst, indices, n / 2);
    if (n & 1) dst[n / 2] = indices[n - 1];
}

static void unpack(uint8_t *indices, const uint8_t *src, size_t n) {
    tsr_quantize_active()->unpack(indices, src, n / 2);
    if (n & 1) indices[n - 1] = src[n / 2] & 15;
}

/* One added to an exponent of all ones becomes a sign. */
static int all_finite(const float *x, size_t n) {
    uint32_t signs = 0;
    for (size_t i = 0; i < n; i++) signs |= (tsr_float_bits(x[i]) & 0x7F800000) + 0x00800000;
    return signs >> 31 == 0;
}

size_t tsr_codebook_assign(uint8_t *dst, const void *x, int type, const tsr_codebook_rows *rows,
                         const tsr_codebook *codebook, const float *trees, double *error) {
    const int depth = depth_of(codebook->n_levels), small = codebook->n_levels <= SMALL_LEVELS;
    const unsigned last = (unsigned)codebook->n_levels - 1;
    const size_t n_all = rows->n_rows * rows->row;
    size_t n_done = 0, first = n_all;
    uint8_t buffer[TILE];
    float floats[TILE], values[TILE];
    value_table table;
    value_table_init(&table);
    position at = position_at(codebook, rows->first);
    if (error) *error = 0;
    for (size_t r = 0; r < rows->n_rows; r++)
        for (size_t done = 0; done < rows->row; done += TILE) {
            const size_t n = smaller(TILE, rows->row - done);
            uint8_t *const indices = rows->packed ? buffer : dst;
            const float *const tile = tile_load(floats, x, n_done, n, type, tsr_quantize_active());
            for (size_t i = 0, part; i < n; i += part) {
                part = smaller(n - i, at.left);
                const float *const tree = trees + (codebook_of(codebook, at.group) << depth);
                const float scale = codebook->scales ? codebook->scales[at.group] : 1;
                active->assign(indices + i, tile + i, part, tree, depth, last, scale > 0 ? scale : 1);
                if (error) {
                    value_table_set(&table, codebook, at.group, TSR_FLOAT32);
                    active->look_up(values + i, indices + i, part, &table.values, 4, small);
                }
                advance(&at, codebook, part);
            }
            if (error) *error += squared_error(tile, values, n);
            if (first == n_all && !all_finite(tile, n)) first = n_done + tsr_first_not_finite(tile, n);
            if (rows->packed) pack(dst, indices, n);
            dst += rows->packed ? (n + 1) / 2 : n;
            n_done += n;
        }
    return first;
}

/* ---- Dequantization ------------------------------------------------------------------------------------- */

static unsigned largest(const uint8_t *indices, size_t n) {
    uint8_t most = 0;
    for (size_t i = 0; i < n; i++) most = indices[i] > most ? indices[i] : most;
    return most;
}

tsr_result tsr_codebook_dequantize(void *dst, int type, const uint8_t *indices, const tsr_codebook_rows *rows,
                                   const tsr_codebook *codebook) {
    const int small = codebook->n_levels <= SMALL_LEVELS;
    const int width = type == TSR_FLOAT16 || type == TSR_BFLOAT16 ? 2 : 4;
    const unsigned last = (unsigned)codebook->n_levels - 1;
    uint8_t buffer[TILE], *out = dst;
    float floats[TILE];
    value_table table;
    value_table_init(&table);
    position at = position_at(codebook, rows->first);
    for (size_t r = 0; r < rows->n_rows; r++)
        for (size_t done = 0; done < rows->row; done += TILE) {
            const size_t n = smaller(TILE, rows->row - done);
            const uint8_t *tile = indices;
            uint8_t *const values = type == TSR_FLOAT64 ? (uint8_t *)floats : out;
            if (rows->packed) {
                unpack(buffer, indices, n);
                tile = buffer;
            }
            if (last < (rows->packed ? 15 : 255) && largest(tile, n) > last) return TSR_ERR_CODEBOOK_INDEX;
            for (size_t i = 0, part; i < n; i += part) {
                part = smaller(n - i, at.left);
                value_table_set(&table, codebook, at.group, type);
                active->look_up(values + i * (size_t)width, tile + i, part, &table.values, width, small);
                advance(&at, codebook, part);
            }
            if (type == TSR_FLOAT64) tsr_quantize_active()->from_float(out, floats, n, type);
            out += n * tsr_float_size(type);
            indices += rows->packed ? (n + 1) / 2 : n;
        }
    return TSR_OK;
}
