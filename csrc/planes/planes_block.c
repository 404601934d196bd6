/* A block: content to planes to coded planes, and back (docs/format.md, kind 1). */
#include "planes_internal.h"

#define PLANE_HEADER 4 /* u8 mode, u24 size */

size_t tsr_block_encode_bound(size_t src_len) {
    return 8 * PLANE_HEADER + TSR_PLANE_ROOM(src_len);
}

/* Planes of a whole block, and what coding one of them takes. */
size_t tsr_block_workspace_size(size_t content_len) { return content_len + tsr_plane_scratch_size(content_len); }

/* ---- Choice of filter ---------------------------------------------------------------------------- */

enum { SAMPLE_RUNS = 8, SAMPLE_RUN = 256, SAMPLE = SAMPLE_RUNS * SAMPLE_RUN };

static int choose_filter(const uint8_t *src, size_t n, int typesize) {
    /* Rotations by 2 and 4 bits are rarely best, and then by a hair that a sample cannot tell. */
    static const int candidates[] = {TSR_FILTER_NONE, 1, 3, TSR_FILTER_DELTA};
    uint8_t sample[8][SAMPLE];
    uint8_t *planes[8];
    uint64_t least = 0;
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
        if (filter == TSR_FILTER_NONE || bits + price < least) {
            least = bits;
            best = filter;
        }
    }
    return best;
}

/* ---- Blocks -------------------------------------------------------------------------------------- */

tsr_result tsr_block_encode(uint8_t *dst, size_t dst_cap, const uint8_t *src, size_t src_len, int typesize,
                            int filter, int codec, void *workspace, size_t *n_written, uint8_t *shape) {
    const size_t n = src_len / (size_t)typesize;
    const uint8_t *planes[8] = {src};
    uint8_t *out = dst + PLANE_HEADER * typesize, *const scratch = (uint8_t *)workspace + src_len;

    if (dst_cap < tsr_block_encode_bound(src_len)) return TSR_ERR_DST_TOO_SMALL;
    if (typesize == 1) {
        filter = TSR_FILTER_NONE;
    } else {
        uint8_t *split[8];
        if (filter == TSR_FILTER_CHOOSE)
            filter = codec == TSR_CODEC_RAW ? TSR_FILTER_NONE : choose_filter(src, n, typesize);
        for (int p = 0; p < typesize; p++) planes[p] = split[p] = (uint8_t *)workspace + (size_t)p * n;
        tsr_planes_active()->split(split, src, n, typesize, filter);
    }
    for (int p = 0; p < typesize; p++) {
        uint8_t mode;
        const size_t size = tsr_plane_encode(out, planes[p], n, codec, 0, scratch, &mode);
        dst[PLANE_HEADER * p] = mode;
        tsr_store24(dst + PLANE_HEADER * p + 1, (uint32_t)size);
        out += size;
    }
    const size_t n_rest = src_len % (size_t)typesize;
    memcpy(out, src + src_len - n_rest, n_rest);
    *n_written = (size_t)(out + n_rest - dst);
    *shape = (uint8_t)((typesize == 8 ? 3 : typesize / 2) | filter << 2);
    return TSR_OK;
}

tsr_result tsr_block_inspect(const uint8_t *src, size_t src_len, size_t content_len, uint8_t shape,
                             tsr_plane_info planes[8], int *n_planes) {
    const int typesize = 1 << (shape & 3), filter = shape >> 2;
    if (filter > TSR_FILTER_DELTA || (filter != TSR_FILTER_NONE && typesize == 1)) return TSR_ERR_SHAPE;
    if (content_len < (size_t)typesize) return TSR_ERR_SHAPE;
    const size_t n = content_len / (size_t)typesize;
    size_t total = (size_t)(PLANE_HEADER * typesize) + content_len % (size_t)typesize;
    if (src_len < total) return TSR_ERR_PAYLOAD_SIZE;
    for (int p = 0; p < typesize; p++) {
        planes[p].mode = src[PLANE_HEADER * p];
        planes[p].size = tsr_load24(src + PLANE_HEADER * p + 1);
        total += planes[p].size;
        const tsr_result rc = tsr_plane_check(planes[p].mode, planes[p].size, n);
        if (rc != TSR_OK) return rc;
    }
    *n_planes = typesize;
    return total == src_len ? TSR_OK : TSR_ERR_PAYLOAD_SIZE;
}

tsr_result tsr_block_decode(uint8_t *dst, size_t dst_len, const uint8_t *src, size_t src_len, uint8_t shape,
                            void *workspace, size_t *fault) {
    tsr_plane_info info[8];
    const uint8_t *planes[8];
    uint8_t *const scratch = (uint8_t *)workspace + dst_len;
    int typesize;

    *fault = 0;
    tsr_result rc = tsr_block_inspect(src, src_len, dst_len, shape, info, &typesize);
    if (rc != TSR_OK) return rc;
    const size_t n = dst_len / (size_t)typesize, n_rest = dst_len % (size_t)typesize;
    const uint8_t *in = src + PLANE_HEADER * typesize;
    for (int p = 0; p < typesize; p++) {
        uint8_t *const out = typesize == 1 ? dst : (uint8_t *)workspace + (size_t)p * n;
        *fault = (size_t)(in - src);
        if (typesize > 1 && info[p].mode == PLANE_RAW) {
            planes[p] = in; /* joined straight from the payload */
        } else {
            rc = tsr_plane_decode(out, n, in, info[p].size, info[p].mode, 0, scratch);
            if (rc != TSR_OK) return rc;
            planes[p] = out;
        }
        in += info[p].size;
    }
    if (typesize > 1) tsr_planes_active()->join(dst, planes, n, typesize, shape >> 2);
    memcpy(dst + dst_len - n_rest, in, n_rest);
    return TSR_OK;
}
