/*
 * Code tables of wide alphabets: the runs of values that have a code, and the differences between
 * neighbours' lengths, as numbers in Elias' gamma code (1975): k zero bits, then the number's k + 1 bits.
 */
#include "huffman_wide_internal.h"

#define FIRST_PREVIOUS 8 /* the first length is told as a difference too */

tsr_result tsr_code_check_lengths(const uint32_t n_of_length[TSR_CODE_MAX_LENGTH + 1], size_t n) {
    uint64_t used = 0;
    size_t total = 0;
    if (n_of_length[0]) return TSR_ERR_TABLE_LENGTH;
    for (int l = 1; l <= TSR_CODE_MAX_LENGTH; l++) {
        /* At most 2^24 codes of a length, so no sum of 57 can overflow before it is compared. */
        if (n_of_length[l] > TSR_CODE_SYMBOLS_MAX) return TSR_ERR_CODE_OVERSUBSCRIBED;
        if (l < 32 && n_of_length[l] >> l > 1) return TSR_ERR_CODE_OVERSUBSCRIBED;
        used += (uint64_t)n_of_length[l] << (TSR_CODE_MAX_LENGTH - l);
        total += n_of_length[l];
    }
    if (used > (uint64_t)1 << TSR_CODE_MAX_LENGTH) return TSR_ERR_CODE_OVERSUBSCRIBED;
    if (total != n) return TSR_ERR_CODE_INCOMPLETE;
    if (n == 1 && n_of_length[1] == 1) return TSR_OK;
    return used == (uint64_t)1 << TSR_CODE_MAX_LENGTH ? TSR_OK : TSR_ERR_CODE_INCOMPLETE;
}

/* ---- Writing ---------------------------------------------------------------------------------------- */

static void put_gamma(bit_writer *w, uint32_t value) { put_bits(w, value, 2 * tsr_log2_floor(value) + 1); }

static uint32_t zigzag(int difference) {
    return difference < 0 ? (uint32_t)(-2 * difference - 1) : (uint32_t)(2 * difference);
}

/* A length takes at most 13 bits, a run and the gap before it as many as they have values and two more. */
size_t tsr_code_table_bound(size_t n_alphabet) { return 2 * n_alphabet + 32; }

size_t tsr_code_table_write(uint8_t *dst, const uint8_t *lengths, size_t n_alphabet) {
    bit_writer w = {dst, 0, 0};
    int previous = FIRST_PREVIOUS;
    for (size_t s = 0; s < n_alphabet;) {
        const size_t gap_start = s;
        while (s < n_alphabet && !lengths[s]) s++;
        /* Only the first gap can be empty. */
        put_gamma(&w, (uint32_t)(s - gap_start) + (gap_start == 0));
        const size_t start = s;
        while (s < n_alphabet && lengths[s]) s++;
        if (s == start) break;
        put_gamma(&w, (uint32_t)(s - start));
        for (size_t i = start; i < s; i++) {
            put_gamma(&w, zigzag(lengths[i] - previous) + 1);
            previous = lengths[i];
        }
    }
    return (size_t)(finish_bits(&w) - dst);
}

/* ---- Reading ---------------------------------------------------------------------------------------- */

typedef struct gamma_reader {
    const uint8_t *src;
    uint64_t at, n_bits;
} gamma_reader;

static unsigned next_bit(gamma_reader *r) {
    const unsigned bit = r->src[r->at >> 3] >> (7 - (r->at & 7)) & 1;
    r->at++;
    return bit;
}

static tsr_result get_gamma(gamma_reader *r, uint32_t *value) {
    unsigned n_more = 0;
    for (;; n_more++) {
        if (r->at == r->n_bits) return TSR_ERR_TABLE_TRUNCATED;
        if (next_bit(r)) break;
    }
    if (n_more > 24) return TSR_ERR_TABLE_OVERRUN;
    if (r->n_bits - r->at < n_more) return TSR_ERR_TABLE_TRUNCATED;
    *value = 1;
    while (n_more-- > 0) *value = *value << 1 | next_bit(r);
    return TSR_OK;
}

/* A gap or a run: it must not reach past the alphabet. */
static tsr_result get_run(gamma_reader *r, uint32_t *run, size_t n_left, int minus) {
    const tsr_result rc = get_gamma(r, run);
    if (rc != TSR_OK) return rc;
    *run -= (uint32_t)minus;
    return *run > n_left ? TSR_ERR_TABLE_OVERRUN : TSR_OK;
}

tsr_result tsr_code_table_read(uint8_t *lengths, size_t n_alphabet, const uint8_t *src, size_t src_len) {
    gamma_reader r = {src, 0, 8 * (uint64_t)src_len};
    uint32_t n_of_length[TSR_CODE_MAX_LENGTH + 1] = {0}, run, difference;
    int length = FIRST_PREVIOUS;
    size_t n = 0;
    memset(lengths, 0, n_alphabet);
    for (size_t s = 0; s < n_alphabet;) {
        tsr_result rc = get_run(&r, &run, n_alphabet - s, s == 0);
        if (rc != TSR_OK) return rc;
        s += run;
        if (s == n_alphabet) break;
        rc = get_run(&r, &run, n_alphabet - s, 0);
        if (rc != TSR_OK) return rc;
        n += run;
        for (; run > 0; run--) {
            rc = get_gamma(&r, &difference);
            if (rc != TSR_OK) return rc;
            if (difference > 2 * TSR_CODE_MAX_LENGTH) return TSR_ERR_TABLE_LENGTH;
            difference--;
            length += difference & 1 ? -(int)(difference / 2) - 1 : (int)(difference / 2);
            if (length < 1 || length > TSR_CODE_MAX_LENGTH) return TSR_ERR_TABLE_LENGTH;
            lengths[s++] = (uint8_t)length;
            n_of_length[length]++;
        }
    }
    if ((r.n_bits - r.at) / 8) return TSR_ERR_TABLE_LONG;
    while (r.at < r.n_bits)
        if (next_bit(&r)) return TSR_ERR_PADDING;
    return tsr_code_check_lengths(n_of_length, n);
}
