/*
 * Stands in for malloc() where no AddressSanitizer runs, as under emulation: every block ends where a page begins
 * that cannot be touched, so that a byte too many is a fault. To be included before anything else.
 */
#ifndef TSR_GUARDED_MALLOC_H
#define TSR_GUARDED_MALLOC_H

#define _DEFAULT_SOURCE
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

typedef struct guarded_mapping {
    void *start;
    size_t size;
} guarded_mapping;

static inline void *guarded_malloc(size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    guarded_mapping m = {NULL, (n + sizeof m + page - 1) / page * page + page};
    m.start = mmap(NULL, m.size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (m.start == MAP_FAILED) return NULL;
    uint8_t *const end = (uint8_t *)m.start + m.size - page;
    if (mprotect(end, page, PROT_NONE)) return NULL;
    memcpy(end - n - sizeof m, &m, sizeof m); /* just before the block */
    return end - n;
}

static inline void guarded_free(void *p) {
    guarded_mapping m;
    if (!p) return;
    memcpy(&m, (uint8_t *)p - sizeof m, sizeof m);
    munmap(m.start, m.size);
}

#define malloc guarded_malloc
#define free guarded_free

#endif
