/* A block: content to planes to coded planes, and back (docs/format.md, kind 1). */
#include "planes_internal.h"

#define PLANE_HEADER 4 /* u8 mode, u24 size */

size_t tsr_block_encode_bound(size_t src_len) {
    return TSR_BLOCK_PLANES_MAX * PLANE_HEADER + TSR_PLANE_ROOM(src_len);
}

/* Positions and elements of a sparse block, which are nowhere more than of two bytes each. */
static size_t sparse_size(size_t content_len) { return content_len / 2 + content_len + 2 * TSR_PLANE_SLACK; }

/* Planes of a whole block, and what coding one of them takes, which is of half its size if the block is sparse. */
size_t tsr_block_workspace_size(size_t content_len) {
    const size_t dense = content_len + tsr_plane_scratch_size(content_len);
    const size_t sparse = sparse_size(content_len) + content_len + tsr_plane_scratch_size(content_len / 2);
    return dense > sparse ? dense : sparse;
}

/* ---- Choice of filter ---------------------------------------------------------------------------- */

enum { SAMPLE_RUNS = 8, SAMPLE_RUN = 256, SAMPLE = SAMPLE_RUNS * SAMPLE_RUN };

/* The filter, and what it brings a sample to, in bits / 256. */
static int choose_filter(const uint8_t *src, size_t n, int typesize, uint64_t *n_bits) {
    /* Rotations by 2 and 4 bits are rarely best, and then by a hair that a sample cannot tell. */
    static const int candidates[] = {TSR_FILTER_NONE, 1, 3, TSR_FILTER_DELTA};
    uint8_t sample[8][SAMPLE];
    uint8_t *planes[8];
    int best = TSR_FILTER_NONE;
    const size_t n_runs = n < SAMPLE ? 1 : SAMPLE_RUNS;
    const size_t run = n < SAMPLE ? n : SAMPLE_RUN;

    for (size_t f = 0; f < sizeof candidates / sizeof *candidates; f++) {
        const int filter = candidates[f];
        uint64_t bits = 0;
        for (size_t r = 0; r < n_runs; r++) {
            const size_t start = n_runs == 1 ? 0 : (n - run) / (n_runs - 1) * r;
            for (int p = 0; p < typesize; p++) planes[p] = sample[p] + r * run;
            tsr_planes_active()->split(planes, src + start * (size_t)typesize, run, typesize, filter);
        }
        for (int p = 0; p < typesize; p++) bits += tsr_entropy(sample[p], n_runs * run);
        /* A filter has to earn its time; the running sum of delta takes more of it. */
        const uint64_t price = filter == TSR_FILTER_DELTA ? bits / 64 : bits / 1024;
        if (filter == TSR_FILTER_NONE || bits + price < *n_bits) {
            *n_bits = bits;
            best = filter;
        }
    }
    return best;
}

/* Below the first share of zeros, of 16 parts, a sparse block is not tried, and from the last on it is made; between
 * them it has to save one part in so many. */
enum { SPARSE_TRIED = 1, SPARSE_SURE = 12, SPARSE_EARNED = 64 };

/* The filter of a block that may be sparse, with TSR_FILTER_SPARSE if it is to be; TSR_FILTER_CHOOSE if it is, but too
 * few of its elements are in the sample to tell their filter. */
static int choose_shape(const uint8_t *src, size_t n, int typesize) {
    uint8_t positions[SAMPLE + TSR_PLANE_SLACK], elements[8 * SAMPLE + TSR_PLANE_SLACK];
    uint64_t dense = 0, sparse = 0;
    const size_t n_runs = n < SAMPLE ? 1 : SAMPLE_RUNS, run = n < SAMPLE ? n : SAMPLE_RUN, n_sample = n_runs * run;
    size_t n_kept = 0;
    for (size_t r = 0; r < n_runs; r++) {
        const size_t start = n_runs == 1 ? 0 : (n - run) / (n_runs - 1) * r;
        n_kept += tsr_planes_active()->split_zeros(positions + r * run, elements + n_kept * (size_t)typesize,
                                                   src + start * (size_t)typesize, run, typesize);
    }
    const size_t n_zeros = n_sample - n_kept;
    if (n_zeros * 16 >= n_sample * SPARSE_SURE) return TSR_FILTER_CHOOSE;
    const int filter = choose_filter(src, n, typesize, &dense);
    if (n_zeros * 16 < n_sample * SPARSE_TRIED) return filter;
    const int filter_of_elements = choose_filter(elements, n_kept, typesize, &sparse);
    sparse += tsr_entropy(positions, n_sample);
    return sparse + sparse / SPARSE_EARNED < dense ? filter_of_elements | TSR_FILTER_SPARSE : filter;
}

/* ---- Blocks -------------------------------------------------------------------------------------- */

/* Codes n bytes at *out, moves it behind them, and fills in the plane's header. */
static void encode_plane(uint8_t *header, uint8_t **out, const uint8_t *plane, size_t n, int codec, uint8_t *scratch) {
    const size_t size = tsr_plane_encode(*out, plane, n, codec, 0, scratch, &header[0]);
    tsr_store24(header + 1, (uint32_t)size);
    *out += size;
}

/* The planes of n elements; workspace has room for all of them and for coding one. */
static uint8_t *encode_planes(uint8_t *headers, uint8_t *out, const uint8_t *src, size_t n, int typesize, int filter,
                              int codec, uint8_t *workspace) {
    const uint8_t *planes[8] = {src};
    uint8_t *split[8];
    if (typesize > 1) {
        for (int p = 0; p < typesize; p++) planes[p] = split[p] = workspace + (size_t)p * n;
        tsr_planes_active()->split(split, src, n, typesize, filter);
    }
    for (int p = 0; p < typesize; p++)
        encode_plane(headers + PLANE_HEADER * p, &out, planes[p], n, codec, workspace + (size_t)typesize * n);
    return out;
}

/* Positions, then the planes of the elements that are kept. Returns NULL when that would be larger than the
 * elements, or when there are none. */
static uint8_t *encode_sparse(uint8_t *dst, const uint8_t *src, size_t n, int typesize, int *filter, int codec,
                              uint8_t *workspace) {
    uint8_t *const elements = workspace + n + TSR_PLANE_SLACK, *out = dst + PLANE_HEADER * (1 + typesize);
    const size_t n_kept = tsr_planes_active()->split_zeros(workspace, elements, src, n, typesize);
    const size_t size = n_kept * (size_t)typesize;
    uint8_t *const rest = elements + size + TSR_PLANE_SLACK, *const coded = out;
    uint64_t n_bits;
    if (n_kept == 0) return NULL;
    encode_plane(dst, &out, workspace, n, codec, rest);
    if ((size_t)(out - coded) + size > n * (size_t)typesize) return NULL;
    if (*filter == TSR_FILTER_CHOOSE) *filter = choose_filter(elements, n_kept, typesize, &n_bits);
    return encode_planes(dst + PLANE_HEADER, out, elements, n_kept, typesize, *filter, codec, rest);
}

tsr_result tsr_block_encode(uint8_t *dst, size_t dst_cap, const uint8_t *src, size_t src_len, int typesize,
                            int filter, int codec, void *workspace, size_t *n_written, uint8_t *shape) {
    const size_t n = src_len / (size_t)typesize, n_rest = src_len % (size_t)typesize;
    uint8_t *out = NULL;

    if (dst_cap < tsr_block_encode_bound(src_len)) return TSR_ERR_DST_TOO_SMALL;
    if (filter == TSR_FILTER_CHOOSE) {
        uint64_t n_bits;
        if (typesize == 1 || codec == TSR_CODEC_RAW) filter = TSR_FILTER_NONE;
        else if (codec == TSR_CODEC_LZW) filter = choose_filter(src, n, typesize, &n_bits);
        else filter = choose_shape(src, n, typesize);
    }
    if (filter & TSR_FILTER_SPARSE) { /* TSR_FILTER_CHOOSE has this bit too */
        if (filter != TSR_FILTER_CHOOSE) filter &= ~TSR_FILTER_SPARSE;
        out = encode_sparse(dst, src, n, typesize, &filter, codec, workspace);
        if (out) filter |= TSR_FILTER_SPARSE;
        else if (filter == TSR_FILTER_CHOOSE) filter = TSR_FILTER_NONE;
    }
    if (!out) out = encode_planes(dst, dst + PLANE_HEADER * typesize, src, n, typesize, filter, codec, workspace);
    memcpy(out, src + src_len - n_rest, n_rest);
    *n_written = (size_t)(out + n_rest - dst);
    *shape = (uint8_t)((typesize == 8 ? 3 : typesize / 2) | filter << 2);
    return TSR_OK;
}

tsr_result tsr_block_inspect(const uint8_t *src, size_t src_len, size_t content_len, uint8_t shape,
                             tsr_plane_info planes[TSR_BLOCK_PLANES_MAX], int *n_planes) {
    const int typesize = 1 << (shape & 3), filter = shape >> 2 & 7, sparse = shape >> 5;
    if (filter > TSR_FILTER_DELTA || sparse > 1 || (shape >> 2 && typesize == 1)) return TSR_ERR_SHAPE;
    if (content_len < (size_t)typesize) return TSR_ERR_SHAPE;
    const size_t n = content_len / (size_t)typesize;
    *n_planes = typesize + sparse;
    size_t total = (size_t)(PLANE_HEADER * *n_planes) + content_len % (size_t)typesize;
    if (src_len < total) return TSR_ERR_PAYLOAD_SIZE;
    for (int p = 0; p < *n_planes; p++) {
        planes[p].mode = src[PLANE_HEADER * p];
        planes[p].size = tsr_load24(src + PLANE_HEADER * p + 1);
        total += planes[p].size;
        /* How many elements a sparse block has is known when the positions are decoded. */
        if (sparse && p > 0 && planes[p].mode <= PLANE_GAPS) continue;
        const tsr_result rc = tsr_plane_check(planes[p].mode, planes[p].size, n);
        if (rc != TSR_OK) return rc;
    }
    return total == src_len ? TSR_OK : TSR_ERR_PAYLOAD_SIZE;
}

/* The planes of n elements, which are put together in dst. */
static tsr_result decode_planes(uint8_t *dst, size_t n, const uint8_t *src, const uint8_t **in,
                                const tsr_plane_info *info, int typesize, int filter, uint8_t *workspace,
                                size_t *fault) {
    const uint8_t *planes[8];
    for (int p = 0; p < typesize; p++) {
        uint8_t *const out = typesize == 1 ? dst : workspace + (size_t)p * n;
        *fault = (size_t)(*in - src);
        if (typesize > 1 && info[p].mode == PLANE_RAW && info[p].size == n) {
            planes[p] = *in; /* joined straight from the payload */
        } else {
            const tsr_result rc = tsr_plane_decode(out, n, *in, info[p].size, info[p].mode, 0,
                                                   workspace + (size_t)typesize * n);
            if (rc != TSR_OK) return rc;
            planes[p] = out;
        }
        *in += info[p].size;
    }
    if (typesize > 1) tsr_planes_active()->join(dst, planes, n, typesize, filter);
    return TSR_OK;
}

/* Counts ELEMENT_KEPT. Returns whether there is one, and nothing that is no position. */
static int count_positions(size_t *n_kept, const uint8_t *positions, size_t n) {
    const uint64_t ones = 0x0101010101010101u;
    uint64_t wrong = 0, sum = 0;
    for (size_t i = 0; i < n; i += 8) {
        uint64_t x = 0;
        memcpy(&x, positions + i, n - i < 8 ? n - i : 8);
        wrong |= (x & x >> 1 & ones) | (x & ~(3 * ones));
        sum += (x & ones) * ones >> 56; /* of eight bytes that are 0 or 1 */
    }
    *n_kept = (size_t)sum;
    return !wrong && sum > 0;
}

static tsr_result decode_sparse(uint8_t *dst, size_t n, const uint8_t *src, const uint8_t **in,
                                const tsr_plane_info *info, int typesize, int filter, uint8_t *workspace,
                                size_t *fault) {
    uint8_t *const positions = workspace, *const elements = positions + n + TSR_PLANE_SLACK;
    size_t n_kept = 0;
    *fault = (size_t)(*in - src);
    tsr_result rc = tsr_plane_decode(positions, n, *in, info[0].size, info[0].mode, 0, elements);
    if (rc != TSR_OK) return rc;
    if (!count_positions(&n_kept, positions, n)) return TSR_ERR_POSITIONS;
    *in += info[0].size;
    rc = decode_planes(elements, n_kept, src, in, info + 1, typesize, filter,
                       elements + n_kept * (size_t)typesize + TSR_PLANE_SLACK, fault);
    if (rc == TSR_OK) tsr_planes_active()->join_zeros(dst, n, positions, elements, typesize);
    return rc;
}

tsr_result tsr_block_decode(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len, uint8_t shape,
                            void *workspace, size_t *fault) {
    tsr_plane_info info[TSR_BLOCK_PLANES_MAX];
    const int typesize = 1 << (shape & 3), filter = shape >> 2 & 7;
    const size_t n = dst_len / (size_t)typesize, n_rest = dst_len % (size_t)typesize;
    int n_planes;

    *fault = 0;
    tsr_result rc = tsr_block_inspect(src, src_len, dst_len, shape, info, &n_planes);
    if (rc != TSR_OK) return rc;
    const uint8_t *in = src + PLANE_HEADER * n_planes;
    if (n_planes > typesize) rc = decode_sparse(dst, n, src, &in, info, typesize, filter, workspace, fault);
    else rc = decode_planes(dst, n, src, &in, info, typesize, filter, workspace, fault);
    if (rc == TSR_OK) memcpy(dst + dst_len - n_rest, in, n_rest);
    return rc;
}
