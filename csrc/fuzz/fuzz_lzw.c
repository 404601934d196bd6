/*
 * Fuzzes the LZW coders in every dialect: both decoders, with input and output cut in any way, must come to the
 * same bytes and the same end.
 *
 * With libFuzzer:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -Icsrc/include -Icsrc/common -Icsrc/lzw \
 *       csrc/fuzz/fuzz_lzw.c csrc/lzw/[a-z]*.c csrc/common/result.c -o fuzz
 *   ./fuzz -max_total_time=60 csrc/fuzz/corpus/lzw
 * With any compiler and sanitizer, -DFUZZ_STANDALONE makes a program that codes contents of many kinds and damages
 * them by itself:
 *   ./fuzz CASES [SEED]        (tests/test_sanitizers.py builds and runs this one)
 */
#include "fuzz_common.h"

/* Sizes of pieces: often tiny, sometimes large. */
static size_t piece(void) { return below(4) ? below(12) : below((size_t)1 << below(16)); }

/* How decoding ended. */
typedef struct outcome {
    tsr_result rc;
    tsr_lzw_status status;
    size_t n_read; /* on an error: the fault's offset */
    size_t n_written;
    uint8_t *bytes;
} outcome;

static tsr_lzw_decoder *new_decoder(const tsr_lzw_dialect *dialect) {
    const size_t size = tsr_lzw_decoder_size(dialect);
    CHECK(size < (size_t)1 << 20);
    tsr_lzw_decoder *decoder = malloc(size);
    CHECK(decoder);
    memset(decoder, 0xA5, size);
    tsr_lzw_decoder_init(decoder, dialect);
    return decoder;
}

static outcome decode_at_once(const tsr_lzw_dialect *dialect, const uint8_t *src, size_t src_len, size_t dst_len) {
    outcome o = {TSR_OK, TSR_LZW_NEED_INPUT, 0, 0, malloc(dst_len ? dst_len : 1)};
    tsr_lzw_decoder *decoder = new_decoder(dialect);
    uint8_t *exact = copy(src, src_len);
    tsr_lzw_progress progress;
    CHECK(o.bytes);
    o.rc = tsr_lzw_decode_whole(decoder, o.bytes, 0, dst_len, exact, src_len, &progress);
    CHECK(progress.n_read <= src_len && progress.n_written <= dst_len);
    o.status = progress.status;
    o.n_read = progress.n_read;
    o.n_written = progress.n_written;
    free(exact);
    free(decoder);
    return o;
}

/* Decodes piece by piece, and checks that it comes to the same end. Between the calls whole output moves. */
static void decode_in_pieces(const tsr_lzw_dialect *dialect, const uint8_t *src, size_t src_len, size_t dst_len,
                             const outcome *expected, int whole) {
    tsr_lzw_decoder *decoder = new_decoder(dialect);
    uint8_t *all = copy(NULL, 0);
    size_t n_read = 0, n_written = 0;
    for (;;) {
        const size_t n_src = below(3) ? piece() : src_len, n_dst = below(3) ? piece() : dst_len;
        const size_t src_piece = n_src < src_len - n_read ? n_src : src_len - n_read;
        const size_t dst_piece = n_dst < dst_len - n_written ? n_dst : dst_len - n_written;
        uint8_t *in = copy(src + n_read, src_piece), *out = malloc(n_written + dst_piece ? n_written + dst_piece : 1);
        tsr_lzw_progress progress;
        tsr_result rc;
        CHECK(out);
        if (n_written) memcpy(out, all, n_written);
        if (whole) {
            rc = tsr_lzw_decode_whole(decoder, out, n_written, n_written + dst_piece, in, src_piece, &progress);
        } else {
            uint8_t *part = malloc(dst_piece ? dst_piece : 1);
            CHECK(part);
            rc = tsr_lzw_decode(decoder, part, dst_piece, in, src_piece, &progress);
            if (progress.n_written) memcpy(out + n_written, part, progress.n_written);
            free(part);
        }
        free(in);
        free(all);
        all = out;
        CHECK(progress.n_read <= src_piece && progress.n_written <= dst_piece);
        n_written += progress.n_written;
        if (rc != TSR_OK) {
            CHECK(rc == expected->rc);
            /* The fault's code may have begun in an earlier piece. */
            CHECK(progress.n_read ? n_read + progress.n_read == expected->n_read : n_read >= expected->n_read);
            break;
        }
        n_read += progress.n_read;
        if (progress.status == TSR_LZW_NEED_INPUT) CHECK(progress.n_read == src_piece);
        if (progress.status == TSR_LZW_OUTPUT_FULL) CHECK(progress.n_written == dst_piece);
        if (progress.status == TSR_LZW_END || (progress.status == TSR_LZW_NEED_INPUT && n_read == src_len) ||
            (progress.status == TSR_LZW_OUTPUT_FULL && n_written == dst_len)) {
            CHECK(expected->rc == TSR_OK && progress.status == expected->status);
            if (progress.status != TSR_LZW_OUTPUT_FULL) CHECK(n_read == expected->n_read);
            break;
        }
    }
    CHECK(n_written == expected->n_written && !memcmp(all, expected->bytes, n_written));
    free(all);
    free(decoder);
}

static outcome decode_every_way(const tsr_lzw_dialect *dialect, const uint8_t *src, size_t src_len, size_t dst_len) {
    const outcome o = decode_at_once(dialect, src, src_len, dst_len);
    CHECK(o.rc <= 0 && o.rc >= TSR_RESULT_LAST);
    decode_in_pieces(dialect, src, src_len, dst_len, &o, 0);
    decode_in_pieces(dialect, src, src_len, dst_len, &o, 1);
    return o;
}

/* The codes of n bytes in random pieces; the caller frees them. */
static uint8_t *encode_in_pieces(const tsr_lzw_dialect *dialect, const uint8_t *content, size_t n, size_t *n_codes) {
    const size_t bound = tsr_lzw_encode_bound(dialect, n);
    tsr_lzw_encoder *encoder = malloc(tsr_lzw_encoder_size(dialect));
    uint8_t *codes = malloc(bound ? bound : 1);
    size_t n_read = 0;
    tsr_lzw_progress progress;
    CHECK(encoder && codes);
    tsr_lzw_encoder_init(encoder, dialect);
    *n_codes = 0;
    do {
        const size_t n_src = below(3) ? piece() : n, n_dst = below(3) ? piece() : bound;
        const size_t src_piece = n_src < n - n_read ? n_src : n - n_read;
        const size_t dst_piece = n_dst < bound - *n_codes ? n_dst : bound - *n_codes;
        uint8_t *in = copy(content + n_read, src_piece), *out = malloc(dst_piece ? dst_piece : 1);
        CHECK(out);
        CHECK(tsr_lzw_encode(encoder, out, dst_piece, in, src_piece, n_read + src_piece == n, &progress) == TSR_OK);
        CHECK(progress.n_read <= src_piece && progress.n_written <= dst_piece);
        if (progress.n_written) memcpy(codes + *n_codes, out, progress.n_written);
        n_read += progress.n_read;
        *n_codes += progress.n_written;
        free(out);
        free(in);
    } while (progress.status != TSR_LZW_END);
    free(encoder);
    return codes;
}

static void round_trip(const tsr_lzw_dialect *dialect, const uint8_t *content, size_t n) {
    uint8_t *literals = copy(content, n);
    for (size_t i = 0; i < n; i++) literals[i] &= (uint8_t)((1u << dialect->literal_bits) - 1);
    size_t n_codes;
    uint8_t *codes = encode_in_pieces(dialect, literals, n, &n_codes);
    const outcome o = decode_every_way(dialect, codes, n_codes, n);
    CHECK(o.rc == TSR_OK && o.n_written == n && !memcmp(o.bytes, literals, n));
    /* Codes of fewer than 8 bits cannot be told from the zeros that fill up the last byte. */
    if (dialect->end_code)
        CHECK(o.status == TSR_LZW_END);
    else if (dialect->literal_bits >= 7)
        CHECK(o.status == TSR_LZW_NEED_INPUT);
    free(o.bytes);
    free(codes);
    free(literals);
}

static tsr_lzw_dialect dialect_from(uint8_t flags, uint8_t bits) {
    return (tsr_lzw_dialect){flags & 1, (uint8_t)(1 + (bits & 7)), (uint8_t)(1 + (bits >> 4)), flags >> 1 & 1,
                             flags >> 2 & 1, flags >> 3 & 1, flags >> 4 & 1, flags >> 5 & 1};
}

/* Two bytes of dialect, one of room for output (its highest bit: encode the rest, else decode it), one of cuts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 4) return 0;
    const tsr_lzw_dialect dialect = dialect_from(data[0], data[1]);
    if (!tsr_lzw_dialect_valid(&dialect)) return 0;
    state = data[3] + 1u;
    if (data[2] & 0x80) {
        round_trip(&dialect, data + 4, size - 4);
    } else {
        const size_t room = (size_t)(data[2] & 7) << (2 * (data[2] >> 3 & 7));
        free(decode_every_way(&dialect, data + 4, size - 4, room + (data[2] >> 6 & 1)).bytes);
    }
    return 0;
}

#ifdef FUZZ_STANDALONE
/* Contents of many kinds: constant, periodic, few symbols, uniform, and copies of what came before. */
static void fill(uint8_t *content, size_t n) {
    const unsigned kind = (unsigned)below(5), few = 1 + (unsigned)below(9);
    for (size_t i = 0; i < n; i++) {
        const uint64_t r = random64();
        switch (kind) {
        case 0: content[i] = 7; break;
        case 1: content[i] = (uint8_t)(i % few + i / 1000); break;
        case 2: content[i] = (uint8_t)(r % few); break;
        case 3: content[i] = (uint8_t)r; break;
        default: content[i] = i > 40 && r % 16 ? content[i - 40 + few] : (uint8_t)r; break;
        }
    }
}

static tsr_lzw_dialect any_dialect(void) {
    static const tsr_lzw_dialect known[] = {
        {1, 8, 12, 1, 1, 1, 0, 0}, {0, 8, 12, 0, 1, 1, 0, 0}, {1, 8, 12, 0, 1, 1, 0, 0}, {0, 8, 16, 0, 1, 0, 1, 0},
        {0, 8, 16, 0, 0, 0, 1, 0}, {0, 8, 9, 0, 1, 0, 1, 0},  {0, 8, 9, 0, 1, 0, 1, 1},  {0, 2, 12, 0, 1, 1, 0, 0},
    };
    tsr_lzw_dialect dialect;
    if (below(2)) return known[below(sizeof known / sizeof *known)];
    do {
        dialect = dialect_from((uint8_t)random64(), (uint8_t)random64());
    } while (!tsr_lzw_dialect_valid(&dialect));
    return dialect;
}

int main(int argc, char **argv) {
    static const size_t sizes[] = {0, 1, 2, 7, 64, 300, 500, 4096, 9000, 20000, 70000, 300000};
    const size_t n_cases = argc > 1 ? strtoull(argv[1], NULL, 10) : 100;
    state = argc > 2 ? strtoull(argv[2], NULL, 10) | 1 : 1;
    size_t n_decodes = 0;
    for (size_t c = 0; c < n_cases; c++) {
        const size_t n = sizes[below(sizeof sizes / sizeof *sizes)] + below(3);
        const tsr_lzw_dialect dialect = any_dialect();
        uint8_t *content = copy(NULL, 0);
        content = realloc(content, n ? n : 1);
        CHECK(content);
        fill(content, n);
        round_trip(&dialect, content, n);
        for (size_t i = 0; i < n; i++) content[i] &= (uint8_t)((1u << dialect.literal_bits) - 1);
        size_t n_codes;
        uint8_t *codes = encode_in_pieces(&dialect, content, n, &n_codes);
        for (int m = 0; m < 12 && n_codes; m++) {
            uint8_t *bad = copy(codes, n_codes);
            const tsr_lzw_dialect read_as = below(8) ? dialect : any_dialect();
            for (size_t flips = below(4); flips-- > 0;) bad[below(n_codes)] ^= (uint8_t)(1u << below(8));
            const size_t n_bad = below(4) ? n_codes : below(n_codes + 1);
            const size_t room = below(4) ? 2 * n + below(100) : below(n + 1);
            free(decode_every_way(&read_as, bad, n_bad, room).bytes);
            n_decodes++;
            free(bad);
        }
        free(codes);
        free(content);
    }
    printf("%zu streams and %zu damaged ones, each whole and in pieces: no fault\n", n_cases, n_decodes);
    return 0;
}
#endif
