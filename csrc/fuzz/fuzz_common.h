/* What the fuzzers share. */
#ifndef TSR_FUZZ_COMMON_H
#define TSR_FUZZ_COMMON_H

#include "tersor.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHECK(condition)                                                       \
    do {                                                                       \
        if (!(condition)) {                                                    \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);    \
            abort();                                                           \
        }                                                                      \
    } while (0)

static inline void *room(size_t n) {
    void *p = malloc(n ? n : 1);
    CHECK(p);
    return p;
}

/* Exactly sized heap copies, so that the sanitizer sees every byte too many. */
static inline uint8_t *copy(const uint8_t *bytes, size_t n) {
    uint8_t *p = room(n);
    if (n) memcpy(p, bytes, n);
    return p;
}

static uint64_t state;

static inline uint64_t random64(void) { /* xorshift64*, Vigna 2016 */
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545F4914F6CDD1Du;
}

static inline size_t below(size_t n) { return (size_t)(random64() % n); }

/* libFuzzer's entry, which every fuzzer defines. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
