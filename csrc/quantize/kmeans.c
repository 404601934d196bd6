/*
 * k-means of numbers on a line. Clusters are then intervals of the sorted values, and the best intervals are found
 * by dynamic programming (Wang and Song 2011; divide and conquer as Gronlund et al. 2017): over the values
 * themselves where few differ, else over bins of neighbours. From there Lloyd's iteration moves the ends of the
 * intervals among all the values. No step is random.
 */
#include "tersor.h"
#include "tsr_bits.h"
#include "tsr_float.h"

#include <float.h>

/* ---- Sorting ---------------------------------------------------------------------------------------------- */

#define DIGITS 3
#define DIGIT_BITS 11
#define DIGIT_VALUES (1 << DIGIT_BITS)

/* Unsigned numbers in the order of the floats. -0 is 0, and every NaN comes last. */
TSR_INLINE uint32_t key_of(float x) {
    const uint32_t bits = x != x ? 0x7FFFFFFF : tsr_float_bits(x + 0.0f);
    return bits ^ ((uint32_t)((int32_t)bits >> 31) | 0x80000000);
}

TSR_INLINE float value_of(uint32_t key) {
    return tsr_float_from_bits(key ^ (key & 0x80000000 ? 0x80000000 : 0xFFFFFFFF));
}

/* Element i of the keys, or of pairs of a key and a weight below it. */
TSR_INLINE uint32_t digit_at(const void *elements, size_t i, int digit, int pairs) {
    const uint32_t key = pairs ? (uint32_t)(((const uint64_t *)elements)[i] >> 32) : ((const uint32_t *)elements)[i];
    return key >> (digit * DIGIT_BITS) & (DIGIT_VALUES - 1);
}

/* Sets next[v] to the place of the first element with the digit v. */
static void find_places(size_t *next, const size_t *counts) {
    size_t sum = 0;
    for (int v = 0; v < DIGIT_VALUES; v++) {
        next[v] = sum;
        sum += counts[v];
    }
}

/* Moves elements to the places of their digits. Finding some places before the moves keeps loads of `next` from
 * waiting until it is known where the stores before them go. */
TSR_INLINE void move_by_digit(void *TSR_RESTRICT dst, const void *TSR_RESTRICT src, size_t n, size_t *next,
                              int digit, int pairs) {
    size_t places[256];
    for (size_t i = 0, part; i < n; i += part) {
        part = n - i < 256 ? n - i : 256;
        for (size_t k = 0; k < part; k++) places[k] = next[digit_at(src, i + k, digit, pairs)]++;
        for (size_t k = 0; k < part; k++)
            if (pairs) ((uint64_t *)dst)[places[k]] = ((const uint64_t *)src)[i + k];
            else ((uint32_t *)dst)[places[k]] = ((const uint32_t *)src)[i + k];
    }
}

typedef struct sort_work {
    size_t next[DIGIT_VALUES];
    size_t counts[DIGITS][DIGIT_VALUES];
    uint64_t elements[];
} sort_work;

size_t tsr_sort_workspace_size(size_t n, int weighted) {
    return sizeof(sort_work) + 2 * n * (weighted ? sizeof(uint64_t) : sizeof(uint32_t));
}

void tsr_sort_floats(float *sorted, float *sorted_weights, const float *x, const float *weights, size_t n,
                     void *workspace) {
    sort_work *const work = workspace;
    uint64_t *const pairs = work->elements;
    uint32_t *const keys = (uint32_t *)(void *)pairs;
    memset(work->counts, 0, sizeof work->counts);
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = key_of(x[i]);
        if (weights) pairs[i] = (uint64_t)key << 32 | tsr_float_bits(weights[i]);
        else keys[i] = key;
        for (int d = 0; d < DIGITS; d++) work->counts[d][key >> (d * DIGIT_BITS) & (DIGIT_VALUES - 1)]++;
    }
    for (int d = 0; d < DIGITS; d++) {
        find_places(work->next, work->counts[d]);
        if (weights) move_by_digit(d & 1 ? pairs : pairs + n, d & 1 ? pairs + n : pairs, n, work->next, d, 1);
        else move_by_digit(d & 1 ? keys : keys + n, d & 1 ? keys + n : keys, n, work->next, d, 0);
    }
    for (size_t i = 0; i < n; i++) {
        sorted[i] = value_of(weights ? (uint32_t)(pairs[n + i] >> 32) : keys[n + i]);
        if (weights) sorted_weights[i] = tsr_float_from_bits((uint32_t)pairs[n + i]);
    }
}

/* ---- Condensing --------------------------------------------------------------------------------------------- */

/* Values whose keys have the same upper half share sign, exponent and 7 bits of the mantissa. Where they are more than a
 * share of all, the lower half tells them apart further. What is most frequent, often zero, is left out of "all". */
#define UPPER_VALUES ((uint32_t)1 << 16)
#define SHARE_BITS 15

typedef struct bucket {
    uint64_t n, sum; /* of the lower halves, in which values are linear */
} bucket;

typedef struct condense_work {
    uint64_t counts[UPPER_VALUES];
    uint32_t places[UPPER_VALUES]; /* first bucket * 32 + the bits of the lower half that do not matter */
    bucket buckets[TSR_CONDENSED_MAX];
} condense_work;

size_t tsr_condense_workspace_size(void) { return sizeof(condense_work); }

size_t tsr_condense(float *values, float *weights, const float *x, size_t n, void *workspace) {
    condense_work *const work = workspace;
    memset(work, 0, sizeof *work);
    for (size_t i = 0; i < n; i++) work->counts[key_of(x[i]) >> 16]++;
    uint32_t n_buckets = 0;
    uint64_t most = 0;
    for (size_t upper = 0; upper < UPPER_VALUES; upper++)
        if (work->counts[upper] > most) most = work->counts[upper];
    for (size_t upper = 0; upper < UPPER_VALUES; upper++) {
        uint32_t n_bits = 0;
        if (work->counts[upper] == 0) continue;
        while (n_bits < 16 && work->counts[upper] >> n_bits > (n - most) >> SHARE_BITS) n_bits++;
        work->places[upper] = n_buckets << 5 | (16 - n_bits);
        n_buckets += (uint32_t)1 << n_bits;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t key = key_of(x[i]), place = work->places[key >> 16];
        bucket *const b = &work->buckets[(place >> 5) + ((key & 0xFFFF) >> (place & 31))];
        b->n++;
        b->sum += key & 0xFFFF;
    }
    size_t n_found = 0;
    for (uint32_t upper = 0; upper < UPPER_VALUES; upper++) {
        if (work->counts[upper] == 0) continue;
        const bucket *const buckets = &work->buckets[work->places[upper] >> 5];
        const double first = value_of(upper << 16), step = value_of(upper << 16 | 1) - first;
        for (uint32_t k = 0; k < UPPER_VALUES >> (work->places[upper] & 31); k++) {
            if (buckets[k].n == 0) continue;
            values[n_found] = (float)(first + step * ((double)buckets[k].sum / (double)buckets[k].n));
            weights[n_found++] = (float)buckets[k].n;
        }
    }
    return n_found;
}

/* ---- Sums over intervals ------------------------------------------------------------------------------------ */

/* Sums of so many values are kept, so that those of intervals take few additions. No sum is a difference of others:
 * a large value would leave nothing of the small ones. */
#define BLOCK 128

typedef struct values {
    const float *x; /* ascending */
    const float *weights; /* NULL: 1 each */
    size_t n;
    double *block_sums;    /* of weight * x */
    double *block_weights; /* used when there are weights */
} values;

typedef struct mass {
    double weight, sum;
} mass;

#define SUM_LANES 8

/* In lanes, which compilers can keep in registers side by side. */
static mass sum_directly(const values *v, size_t from, size_t to) {
    double sums[SUM_LANES] = {0}, weights[SUM_LANES] = {0};
    size_t i = from;
    for (; i + SUM_LANES <= to; i += SUM_LANES)
        for (size_t k = 0; k < SUM_LANES; k++) {
            const double weight = v->weights ? (double)v->weights[i + k] : 1;
            sums[k] += weight * v->x[i + k];
            weights[k] += weight;
        }
    for (size_t k = 0; i < to; i++, k++) {
        const double weight = v->weights ? (double)v->weights[i] : 1;
        sums[k] += weight * v->x[i];
        weights[k] += weight;
    }
    mass m = {0, 0};
    for (int k = 0; k < SUM_LANES; k++) {
        m.sum += sums[k];
        m.weight += weights[k];
    }
    return m;
}

static void sum_blocks(values *v) {
    for (size_t b = 0; b < v->n / BLOCK; b++) {
        const mass m = sum_directly(v, b * BLOCK, (b + 1) * BLOCK);
        v->block_sums[b] = m.sum;
        if (v->weights) v->block_weights[b] = m.weight;
    }
}

static mass mass_of(const values *v, size_t from, size_t to) {
    const size_t first = (from + BLOCK - 1) / BLOCK, last = to / BLOCK;
    if (first >= last) return sum_directly(v, from, to);
    const mass before = sum_directly(v, from, first * BLOCK), after = sum_directly(v, last * BLOCK, to);
    mass m = {before.weight + after.weight, before.sum + after.sum};
    for (size_t b = first; b < last; b++) {
        m.sum += v->block_sums[b];
        m.weight += v->weights ? v->block_weights[b] : BLOCK;
    }
    return m;
}

/* How many values are at or below the limit, which is no fewer than `from` and no more than `to`. */
static size_t count_up_to(const values *v, double limit, size_t from, size_t to) {
    while (from < to) {
        const size_t middle = from + (to - from) / 2;
        if (v->x[middle] <= limit) from = middle + 1;
        else to = middle;
    }
    return from;
}

/* ---- Bins ------------------------------------------------------------------------------------------------------ */

#define BINS_MAX 1024
#define NONE BINS_MAX

/* Neighbouring values that the dynamic programming keeps together. */
typedef struct bin {
    size_t from, to;
    double spread; /* weight * width^2: the finest division for the error has equal ones */
    size_t next;   /* in order; NONE after the last */
} bin;

static void measure_bin(bin *b, const values *v) {
    const double width = (double)v->x[b->to - 1] - v->x[b->from];
    const double weight = v->weights ? mass_of(v, b->from, b->to).weight : (double)(b->to - b->from);
    b->spread = weight * width * width;
}

/* Halves the widest bin until there are enough, or none that holds two different values. Bin 0 is the first. */
static size_t cut_into_bins(bin bins[BINS_MAX], const values *v) {
    size_t n = 1;
    bins[0] = (bin){0, v->n, 0, NONE};
    measure_bin(&bins[0], v);
    while (n < BINS_MAX) {
        size_t widest = 0;
        for (size_t b = 1; b < n; b++)
            if (bins[b].spread > bins[widest].spread) widest = b;
        bin *const low = &bins[widest], *const high = &bins[n];
        if (low->spread == 0) break;
        const double middle = ((double)v->x[low->from] + v->x[low->to - 1]) / 2;
        *high = (bin){count_up_to(v, middle, low->from, low->to), low->to, 0, low->next};
        low->to = high->from;
        low->next = n++;
        measure_bin(low, v);
        measure_bin(high, v);
    }
    return n;
}

/* ---- Dynamic programming ------------------------------------------------------------------------------------------ */

typedef struct programme {
    size_t n; /* bins, in order from here on */
    double weight[BINS_MAX], mean[BINS_MAX];
    /* Least error of the first j bins in one cluster fewer, and in this many. */
    double before[BINS_MAX + 1], least[BINS_MAX + 1];
    uint16_t first[TSR_CODEBOOK_LEVELS_MAX][BINS_MAX + 1]; /* bin of the last cluster, by clusters - 1 and j */
    double error[BINS_MAX * (BINS_MAX + 1) / 2];           /* of bins i to j as one cluster: triangle row j */
} programme;

static double *errors_to(programme *p, size_t j) { return p->error + j * (j + 1) / 2; }

/* Clusters grow by a bin at a time. Nothing cancels out, so values of very different size do no harm. */
static void measure_clusters(programme *p) {
    double weight[BINS_MAX], mean[BINS_MAX];
    for (size_t j = 0; j < p->n; j++) {
        double *TSR_RESTRICT const error = errors_to(p, j);
        const double *TSR_RESTRICT const shorter = errors_to(p, j ? j - 1 : 0);
        const double x = p->mean[j], w = p->weight[j];
        for (size_t i = 0; i < j; i++) {
            const double difference = x - mean[i], sum = weight[i] + w;
            const double shift = difference * (w / sum);
            error[i] = shorter[i] + weight[i] * difference * shift;
            mean[i] += shift;
            weight[i] = sum;
        }
        error[j] = 0;
        mean[j] = x;
        weight[j] = w;
    }
}

/* The best first bins of the last cluster ascend with j: those of the middle j bound the others'. */
static void place_last(programme *p, uint16_t *first, size_t j_from, size_t j_to, size_t i_from, size_t i_to) {
    if (j_from > j_to) return;
    const size_t j = j_from + (j_to - j_from) / 2;
    const double *const error = errors_to(p, j - 1);
    size_t best = i_from;
    double least = p->before[i_from] + error[i_from];
    for (size_t i = i_from + 1; i <= i_to && i < j; i++) {
        const double sum = p->before[i] + error[i];
        if (sum < least) {
            least = sum;
            best = i;
        }
    }
    p->least[j] = least;
    first[j] = (uint16_t)best;
    place_last(p, first, j_from, j - 1, i_from, best);
    place_last(p, first, j + 1, j_to, best, i_to);
}

/* Sets ends[q] to the bin after cluster q, of k < n clusters. */
static void best_clusters(programme *p, size_t k, size_t *ends) {
    measure_clusters(p);
    for (size_t j = 1; j <= p->n; j++) p->least[j] = errors_to(p, j - 1)[0];
    memset(p->first[0], 0, sizeof p->first[0]);
    for (size_t q = 1; q < k; q++) {
        memcpy(p->before, p->least, sizeof p->before);
        /* All bins are what the last cluster is asked for. */
        place_last(p, p->first[q], q + 1 < k ? q + 1 : p->n, p->n, q, p->n - 1);
    }
    size_t j = p->n;
    for (size_t q = k; q-- > 0;) {
        ends[q] = j;
        j = p->first[q][j];
    }
}

/* ---- All of it ------------------------------------------------------------------------------------------------------- */

/* The error falls by less and less; this often it has all but stopped. */
#define ROUNDS_MAX 200

/* Moves each level to the mean of the values that are nearest to it, and again until nothing changes. The level
 * `fixed` stays where it is. */
static void iterate(double *levels, size_t k, size_t fixed, const values *v) {
    size_t ends[TSR_CODEBOOK_LEVELS_MAX] = {0};
    for (int round = 0; round < ROUNDS_MAX; round++) {
        int changed = 0;
        size_t from = 0;
        for (size_t q = 0; q < k; q++) {
            const size_t end = q + 1 < k ? count_up_to(v, (levels[q] + levels[q + 1]) / 2, from, v->n) : v->n;
            changed |= end != ends[q];
            ends[q] = from = end;
        }
        if (!changed) return;
        for (size_t q = 0; q < k; q++) {
            const mass m = mass_of(v, q ? ends[q - 1] : 0, ends[q]);
            if (m.weight > 0 && q != fixed) levels[q] = m.sum / m.weight;
        }
    }
}

typedef struct kmeans_work {
    programme programme;
    bin bins[BINS_MAX];
    double block_sums[];
} kmeans_work;

size_t tsr_kmeans_workspace_size(size_t n, int weighted) {
    return sizeof(kmeans_work) + n / BLOCK * sizeof(double) * (weighted ? 2 : 1);
}

/* Levels for the values as bins: one each where that is few enough. */
static size_t first_levels(double *levels, size_t k, const values *v, kmeans_work *work) {
    programme *const p = &work->programme;
    size_t ends[TSR_CODEBOOK_LEVELS_MAX];
    p->n = 0;
    size_t n_bins = cut_into_bins(work->bins, v);
    for (size_t b = 0; n_bins-- > 0; b = work->bins[b].next) {
        const mass m = mass_of(v, work->bins[b].from, work->bins[b].to);
        p->weight[p->n] = m.weight;
        p->mean[p->n++] = m.sum / m.weight;
    }
    if (p->n <= k) {
        memcpy(levels, p->mean, p->n * sizeof *levels);
        return p->n;
    }
    best_clusters(p, k, ends);
    for (size_t q = 0; q < k; q++) {
        double weight = 0, sum = 0;
        for (size_t b = q ? ends[q - 1] : 0; b < ends[q]; b++) {
            weight += p->weight[b];
            sum += p->weight[b] * p->mean[b];
        }
        levels[q] = sum / weight;
    }
    return k;
}

/* Takes the zeros out of sorted values; returns how many are left. */
static size_t remove_zeros(float *x, float *weights, size_t n) {
    const values v = {x, NULL, n, NULL, NULL};
    const size_t from = count_up_to(&v, -FLT_TRUE_MIN, 0, n), to = count_up_to(&v, 0, from, n);
    memmove(x + from, x + to, (n - to) * sizeof *x);
    if (weights) memmove(weights + from, weights + to, (n - to) * sizeof *weights);
    return n - (to - from);
}

size_t tsr_kmeans(float *codebook, size_t n_levels, float *sorted, float *weights, size_t n, int keep_zero,
                  void *workspace) {
    kmeans_work *const work = workspace;
    double levels[TSR_CODEBOOK_LEVELS_MAX];
    size_t k = 0, fixed = n_levels;
    if (keep_zero) n = remove_zeros(sorted, weights, n);
    values v = {sorted, weights, n, work->block_sums, work->block_sums + n / BLOCK};
    sum_blocks(&v);
    const size_t k_free = n_levels - (keep_zero ? 1 : 0);
    if (n > 0 && k_free > 0) k = first_levels(levels, k_free, &v, work);
    if (keep_zero) {
        for (fixed = 0; fixed < k && levels[fixed] < 0;) fixed++;
        if (fixed == k || levels[fixed] > 0) {
            memmove(levels + fixed + 1, levels + fixed, (k++ - fixed) * sizeof *levels);
            levels[fixed] = 0;
        }
    }
    iterate(levels, k, fixed, &v);
    for (size_t q = 0; q < k; q++) codebook[q] = (float)levels[q];
    return k;
}
