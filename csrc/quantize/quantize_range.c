/* What floats are like, before they are quantized: their range, and how they are spread over it. */
#include <math.h>

#include "quantize_internal.h"

size_t tsr_float_size(int type) { return type == TSR_FLOAT64 ? 8 : type == TSR_FLOAT32 ? 4 : 2; }

size_t tsr_first_not_finite(const float *x, size_t n) {
    size_t i = 0;
    while (i < n && is_finite(x[i])) i++;
    return i;
}

size_t tsr_float_range(float *min, float *max, const void *src, int type, const tsr_channels *channels) {
    const quantize_kernels *const kernels = tsr_quantize_active();
    float buffer[TILE], wide_min[TILE], wide_max[TILE];
    tsr_channels shape = *channels;
    const int widened = tile_widen(&shape);
    float *const mins = widened ? wide_min : min, *const maxs = widened ? wide_max : max;
    size_t first = channels->n;

    for (size_t c = 0; c < channels->n_channels; c++) min[c] = INFINITY, max[c] = -INFINITY;
    if (widened)
        for (size_t i = 0; i < TILE; i++) mins[i] = INFINITY, maxs[i] = -INFINITY;
    for (size_t at = 0; at < shape.n;) {
        const tile t = tile_at(&shape, at);
        const size_t n = t.n_rows * t.n_row;
        const float *const x = tile_load(buffer, src, at, n, type, kernels);
        float *const tile_min = mins + t.channel, *const tile_max = maxs + t.channel;
        const int all_finite = t.n_row == 1 ? kernels->range_each(tile_min, tile_max, x, n)
                                            : kernels->range_rows(tile_min, tile_max, x, t.n_rows, t.n_row);
        if (TSR_UNLIKELY(!all_finite) && first == channels->n) first = at + tsr_first_not_finite(x, n);
        at += n;
    }
    if (widened) {
        for (size_t i = 0; i < shape.n_channels; i++) {
            const size_t c = i / channels->n_inner % channels->n_channels;
            min[c] = mins[i] < min[c] ? mins[i] : min[c];
            max[c] = maxs[i] > max[c] ? maxs[i] : max[c];
        }
    }
    /* Which of the two zeros was met first depends on the path: the sum is always the positive one. */
    for (size_t c = 0; c < channels->n_channels; c++) min[c] += 0.0f, max[c] += 0.0f;
    return first;
}

void tsr_float_histogram(uint64_t *counts, size_t n_bins, const double *limit, const void *src, int type,
                         const tsr_channels *channels) {
    const quantize_kernels *const kernels = tsr_quantize_active();
    const double half = (double)(n_bins / 2);
    float buffer[TILE];
    for (size_t at = 0; at < channels->n;) {
        const tile t = tile_at(channels, at);
        const size_t n = t.n_rows * t.n_row;
        const float *const x = tile_load(buffer, src, at, n, type, kernels);
        for (size_t r = 0; r < t.n_rows; r++) {
            const double bins_per_one = half / limit[t.channel + r];
            for (size_t i = r * t.n_row; i < (r + 1) * t.n_row; i++) {
                const double place = x[i] * bins_per_one + half;
                if (!is_finite(x[i])) continue;
                const size_t bin = place <= 0 ? 0 : place >= (double)n_bins ? n_bins - 1 : (size_t)place;
                counts[(t.channel + r) * n_bins + bin]++;
            }
        }
        at += n;
    }
}
