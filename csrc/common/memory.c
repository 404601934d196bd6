#if defined(__linux__)
#define _DEFAULT_SOURCE /* madvise */
#include <stdint.h>
#include <sys/mman.h>
#endif
#include "tersor.h"

void tsr_memory_expect_fill(void *buffer, size_t size) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    const uintptr_t large_page = (uintptr_t)2 << 20;
    const uintptr_t start = ((uintptr_t)buffer + large_page - 1) & ~(large_page - 1);
    const uintptr_t end = ((uintptr_t)buffer + size) & ~(large_page - 1);
    if (start < end) (void)madvise((void *)start, end - start, MADV_HUGEPAGE);
#else
    (void)buffer;
    (void)size;
#endif
}
