/*
 * The kernels in terms of units of UNIT floats, included by each instruction set's file, which defines
 *     QUANTIZE_NAME, QUANTIZE_PATH, QUANTIZE_TARGET  the table's name, its tsr_cpu_path, the target attribute
 *     QUANTIZE_STREAM                                the table's `stream`
 *     unit, flags                                    sixteen floats; what unit_flag_not_finite() collects
 *     unit_...()                                     what the names say; of unit_min() and unit_max() it is open
 *                                                    what comes of NaN
 * Whatever is done to an element twice gives the same, so a last unit that is not whole overlaps the one before.
 */
#include <float.h>

#include "quantize_internal.h"
#include "quantize_pack.h"

/* Bytes that elements are fetched ahead: what the hardware fetches by itself ends with every page. */
#define AHEAD 4096

#define KERNEL QUANTIZE_TARGET static
#define KERNEL_INLINE QUANTIZE_TARGET TSR_INLINE

/* Runs a statement for i = 0, UNIT, ... and lastly n - UNIT; n >= UNIT. */
#define FOR_UNITS(n, ...)                          \
    do {                                           \
        size_t i = 0;                              \
        for (; i + UNIT <= (n); i += UNIT) {       \
            __VA_ARGS__;                           \
        }                                          \
        if (i < (n)) {                             \
            i = (n) - UNIT;                        \
            __VA_ARGS__;                           \
        }                                          \
    } while (0)

KERNEL_INLINE unit load_ahead(const float *p) {
    TSR_PREFETCH((const uint8_t *)p + AHEAD);
    return unit_load(p);
}

KERNEL void to_float(float *dst, const uint8_t *src, size_t n, int type) {
    if (n < UNIT) tsr_quantize_scalar.to_float(dst, src, n, type);
    else if (type == TSR_FLOAT16) FOR_UNITS(n, unit_store(dst + i, unit_load_float16(src + 2 * i)));
    else if (type == TSR_BFLOAT16) FOR_UNITS(n, unit_store(dst + i, unit_load_bfloat16(src + 2 * i)));
    else FOR_UNITS(n, unit_store(dst + i, unit_load_float64(src + 8 * i)));
}

KERNEL void from_float(uint8_t *dst, const float *src, size_t n, int type) {
    if (n < UNIT) tsr_quantize_scalar.from_float(dst, src, n, type);
    else if (type == TSR_FLOAT16) FOR_UNITS(n, unit_store_float16(dst + 2 * i, unit_load(src + i)));
    else if (type == TSR_BFLOAT16) FOR_UNITS(n, unit_store_bfloat16(dst + 2 * i, unit_load(src + i)));
    else FOR_UNITS(n, unit_store_float64(dst + 8 * i, unit_load(src + i)));
}

KERNEL int range_rows(float *min, float *max, const float *src, size_t n_rows, size_t n_row) {
    int all_finite = 1;
    if (n_row < UNIT) return tsr_quantize_scalar.range_rows(min, max, src, n_rows, n_row);
    for (size_t r = 0; r < n_rows; r++, src += n_row) {
        unit low = unit_load(src), high = low;
        flags bad = unit_no_flags();
        FOR_UNITS(n_row, {
            const unit x = load_ahead(src + i);
            low = unit_min(low, x);
            high = unit_max(high, x);
            bad = unit_flag_not_finite(bad, x);
        });
        if (TSR_UNLIKELY(unit_any_flag(bad))) {
            all_finite &= tsr_quantize_scalar.range_rows(min + r, max + r, src, 1, n_row);
            continue;
        }
        const float lowest = unit_least(low), highest = unit_most(high);
        min[r] = lowest < min[r] ? lowest : min[r];
        max[r] = highest > max[r] ? highest : max[r];
    }
    return all_finite;
}

KERNEL int range_each(float *min, float *max, const float *src, size_t n) {
    int all_finite = 1;
    if (n < UNIT) return tsr_quantize_scalar.range_each(min, max, src, n);
    FOR_UNITS(n, {
        const unit x = load_ahead(src + i);
        if (TSR_UNLIKELY(unit_any_flag(unit_flag_not_finite(unit_no_flags(), x)))) {
            all_finite &= tsr_quantize_scalar.range_each(min + i, max + i, src + i, UNIT);
        } else {
            unit_store(min + i, unit_min(unit_load(min + i), x));
            unit_store(max + i, unit_max(unit_load(max + i), x));
        }
    });
    return all_finite;
}

/*
 * Rounds quotients without dividing. A product with the reciprocal comes near; what then remains of x is computed
 * exactly, and below half the scale it proves that the integer is the nearest. Returns 0, with nothing stored, where
 * it does not: if an element is halfway, or close to it, or not finite.
 */
KERNEL_INLINE int quantize(uint8_t *dst, const float *src, unit scale, unit reciprocal, unit zero, unit least,
                           unit most) {
    const unit x = load_ahead(src), steps = unit_round(unit_mul(x, reciprocal));
    if (TSR_UNLIKELY(!unit_all_below(unit_sub_product(x, steps, scale), unit_mul(scale, unit_set(0.5f))))) return 0;
    unit_store_bytes(dst, unit_min(unit_max(steps, least), most), zero);
    return 1;
}

KERNEL int quantize_rows(uint8_t *dst, const float *src, size_t n_rows, size_t n_row, const float *scale,
                         const uint8_t *zero, const affine_grid *grid) {
    const quantize_kernels *const plain = &tsr_quantize_scalar;
    const unit lowest = unit_set(grid->lowest), highest = unit_set(grid->highest);
    int all_finite = 1;
    if (n_row < UNIT) return plain->quantize_rows(dst, src, n_rows, n_row, scale, zero, grid);
    for (size_t r = 0; r < n_rows; r++, dst += n_row, src += n_row) {
        const uint8_t *const zero_point = zero ? zero + r : NULL;
        const unit s = unit_set(scale[r]), reciprocal = unit_set(1 / scale[r]), z = unit_set(zero ? zero[r] : 0);
        const unit least = unit_sub(lowest, z), most = unit_sub(highest, z);
        FOR_UNITS(n_row, {
            if (!quantize(dst + i, src + i, s, reciprocal, z, least, most))
                all_finite &= plain->quantize_rows(dst + i, src + i, 1, UNIT, scale + r, zero_point, grid);
        });
    }
    return all_finite;
}

KERNEL int quantize_each(uint8_t *dst, const float *src, size_t n, const float *scale, const uint8_t *zero,
                         const affine_grid *grid) {
    const quantize_kernels *const plain = &tsr_quantize_scalar;
    const unit lowest = unit_set(grid->lowest), highest = unit_set(grid->highest), one = unit_set(1);
    int all_finite = 1;
    if (n < UNIT) return plain->quantize_each(dst, src, n, scale, zero, grid);
    FOR_UNITS(n, {
        const uint8_t *const zero_points = zero ? zero + i : NULL;
        const unit s = unit_load(scale + i), z = zero ? unit_load_bytes(zero_points, 0) : unit_set(0);
        if (!quantize(dst + i, src + i, s, unit_div(one, s), z, unit_sub(lowest, z), unit_sub(highest, z)))
            all_finite &= plain->quantize_each(dst + i, src + i, UNIT, scale + i, zero_points, grid);
    });
    return all_finite;
}

KERNEL_INLINE void dequantize(float *dst, const uint8_t *src, unit scale, unit zero, uint8_t flip) {
    const unit x = unit_mul(unit_sub(unit_load_bytes(src, flip), zero), scale);
    unit_store(dst, unit_min(unit_max(x, unit_set(-FLT_MAX)), unit_set(FLT_MAX)));
}

KERNEL void dequantize_rows(float *dst, const uint8_t *src, size_t n_rows, size_t n_row, const float *scale,
                            const uint8_t *zero, const affine_grid *grid) {
    const uint8_t flip = grid->flip;
    if (n_row < UNIT) {
        tsr_quantize_scalar.dequantize_rows(dst, src, n_rows, n_row, scale, zero, grid);
        return;
    }
    for (size_t r = 0; r < n_rows; r++, dst += n_row, src += n_row) {
        const unit s = unit_set(scale[r]), z = unit_set((float)((zero ? zero[r] : 0u) + flip));
        FOR_UNITS(n_row, dequantize(dst + i, src + i, s, z, flip));
    }
}

KERNEL void dequantize_each(float *dst, const uint8_t *src, size_t n, const float *scale, const uint8_t *zero,
                            const affine_grid *grid) {
    const uint8_t flip = grid->flip;
    const unit origin = unit_set(flip);
    if (n < UNIT) {
        tsr_quantize_scalar.dequantize_each(dst, src, n, scale, zero, grid);
        return;
    }
    FOR_UNITS(n, {
        const unit z = zero ? unit_add(unit_load_bytes(zero + i, 0), origin) : origin;
        dequantize(dst + i, src + i, unit_load(scale + i), z, flip);
    });
}

const quantize_kernels QUANTIZE_NAME = {
    QUANTIZE_PATH, to_float,        from_float,      range_rows, range_each, quantize_rows,
    quantize_each, dequantize_rows, dequantize_each, pack,       unpack,     QUANTIZE_STREAM,
};
