/*
 * Does one piece of tersor's work again and again, so that the difference between two numbers of repetitions
 * is that work and nothing else:
 *   ./work PATH WORK REPETITIONS TYPESIZE FILE
 * PATH is a CPU path; for WORK see main(). FILE has at most 1 MiB.
 */
#include "huffman_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define REQUIRE(condition)                                              \
    do {                                                                \
        if (!(condition)) {                                             \
            fprintf(stderr, "work.c:%d: %s\n", __LINE__, #condition);   \
            exit(1);                                                    \
        }                                                               \
    } while (0)

int main(int argc, char **argv) {
    static uint8_t content[TSR_BLOCK_CONTENT_MAX], decoded[TSR_BLOCK_CONTENT_MAX];
    REQUIRE(argc == 6);
    int path = 0;
    while (path < TSR_CPU_PATHS && strcmp(tsr_cpu_path_name(path), argv[1])) path++;
    REQUIRE(tsr_cpu_select(path) == 0);
    const char *const work = argv[2];
    const int n_repetitions = atoi(argv[3]), typesize = atoi(argv[4]);
    FILE *file = fopen(argv[5], "rb");
    REQUIRE(file);
    const size_t n = fread(content, 1, sizeof content, file), cap = tsr_block_encode_bound(n) + TSR_HUFFMAN_ROOM(n);
    REQUIRE(fclose(file) == 0 && n >= 256);

    uint8_t *const coded = malloc(cap), *const workspace = malloc(tsr_block_workspace_size(n)), shape, unseen[256];
    uint32_t counts[256];
    huffman_plan plan;
    size_t n_coded, fault;
    REQUIRE(coded && workspace);
    tsr_huffman_histogram(counts, content, n);
    tsr_huffman_plan(&plan, counts, n, n);
    for (int s = 0; s < 256; s++) unseen[s] = counts[s] ? 0 : 0xFF;
    if (!strcmp(work, "decode"))
        REQUIRE(!tsr_block_encode(coded, cap, content, n, typesize, TSR_FILTER_CHOOSE, TSR_CODEC_AUTO, workspace,
                                  &n_coded, &shape));
    if (!strcmp(work, "decode_lanes"))
        n_coded = tsr_huffman_encode(coded, cap, &plan, content, n, PLANE_LANES_TWICE);

    for (int i = 0; i < n_repetitions; i++) {
        if (!strcmp(work, "encode"))
            REQUIRE(!tsr_block_encode(coded, cap, content, n, typesize, TSR_FILTER_CHOOSE, TSR_CODEC_AUTO,
                                      workspace, &n_coded, &shape));
        else if (!strcmp(work, "decode"))
            REQUIRE(!tsr_block_decode(decoded, n, coded, n_coded, shape, workspace, &fault));
        else if (!strcmp(work, "encode_lanes"))
            tsr_huffman_encode(coded, cap, &plan, content, n, PLANE_LANES_TWICE);
        else if (!strcmp(work, "decode_lanes"))
            REQUIRE(!tsr_huffman_decode(decoded, n, coded, n_coded, PLANE_LANES_TWICE));
        else if (!strcmp(work, "count_unseen"))
            tsr_huffman_active()->count_unseen(counts, content, n, unseen, n);
        else if (!strcmp(work, "histogram"))
            tsr_huffman_active()->histogram(counts, content, n, n, n);
        else
            REQUIRE(!"a known work");
    }
    free(coded);
    free(workspace);
    return 0;
}
