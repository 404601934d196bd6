/*
 * The plane kernels, written once as plain loops that compilers vectorise, and included by each
 * instruction set's file with
 *     PLANES_NAME    the table's name
 *     PLANES_PATH    its tsr_cpu_path
 *     PLANES_TARGET  the target attribute
 *     PLANES_FLAGS   the table's split_flags and join_flags
 *     PLANES_ZEROS   the table's split_zeros and join_zeros
 */
#include "planes_internal.h"

/* Elements whose differences are undone at a time; see join below. */
#define RUN 512

#define DEFINE_WIDTH(T, W)                                                                              \
    /* `before` is the element before x, for the delta filter. */                                       \
    PLANES_TARGET TSR_INLINE T filter_##W(T x, T before, int filter) {                                  \
        if (filter == TSR_FILTER_NONE) return x;                                                        \
        if (filter == TSR_FILTER_DELTA) {                                                               \
            const T d = (T)(x - before);                                                                \
            return (T)((T)(d << 1) ^ (T)(0 - (T)(d >> (W - 1))));                                       \
        }                                                                                               \
        return (T)(x << filter | x >> (W - filter));                                                    \
    }                                                                                                   \
    /* All but the sum that undoes a delta. */                                                          \
    PLANES_TARGET TSR_INLINE T unfilter_##W(T y, int filter) {                                          \
        if (filter == TSR_FILTER_NONE) return y;                                                        \
        if (filter == TSR_FILTER_DELTA) return (T)((T)(y >> 1) ^ (T)(0 - (T)(y & 1)));                  \
        return (T)(y >> filter | (T)(y << (W - filter)));                                               \
    }                                                                                                   \
    PLANES_TARGET TSR_INLINE void split_##W(uint8_t *const *planes, const uint8_t *TSR_RESTRICT src,    \
                                            size_t n, int filter) {                                     \
        uint8_t *TSR_RESTRICT out[W / 8];                                                               \
        T x, before = 0;                                                                                \
        for (int p = 0; p < W / 8; p++) out[p] = planes[p];                                             \
        if (n == 0) return;                                                                             \
        memcpy(&x, src, sizeof x);                                                                      \
        x = filter_##W(x, 0, filter);                                                                   \
        for (int p = 0; p < W / 8; p++) out[p][0] = (uint8_t)(x >> (8 * p));                            \
        /* The element before is loaded again, which leaves no dependence between the rounds. */        \
        for (size_t i = 1; i < n; i++) {                                                                \
            memcpy(&x, src + i * sizeof x, sizeof x);                                                   \
            memcpy(&before, src + (i - 1) * sizeof x, sizeof x);                                        \
            x = filter_##W(x, before, filter);                                                          \
            for (int p = 0; p < W / 8; p++) out[p][i] = (uint8_t)(x >> (8 * p));                        \
        }                                                                                               \
    }                                                                                                   \
    PLANES_TARGET TSR_INLINE void join_##W(uint8_t *TSR_RESTRICT dst, const uint8_t *const *planes,     \
                                           size_t n, int filter) {                                      \
        const uint8_t *TSR_RESTRICT in[W / 8];                                                          \
        T before = 0;                                                                                   \
        for (int p = 0; p < W / 8; p++) in[p] = planes[p];                                              \
        /* The sum cannot be vectorised, so that it has a loop of its own over elements in the cache. */\
        for (size_t start = 0; start < n; start += RUN) {                                               \
            const size_t end = n - start < RUN ? n : start + RUN;                                       \
            for (size_t i = start; i < end; i++) {                                                      \
                T x = 0;                                                                                \
                for (int p = 0; p < W / 8; p++) x = (T)(x | (T)((T)in[p][i] << (8 * p)));               \
                x = unfilter_##W(x, filter);                                                            \
                memcpy(dst + i * sizeof x, &x, sizeof x);                                               \
            }                                                                                           \
            if (filter != TSR_FILTER_DELTA) continue;                                                   \
            for (size_t i = start; i < end; i++) {                                                      \
                T x;                                                                                    \
                memcpy(&x, dst + i * sizeof x, sizeof x);                                               \
                before = (T)(before + x);                                                               \
                memcpy(dst + i * sizeof x, &before, sizeof x);                                          \
            }                                                                                           \
        }                                                                                               \
    }

DEFINE_WIDTH(uint16_t, 16)
DEFINE_WIDTH(uint32_t, 32)
DEFINE_WIDTH(uint64_t, 64)

/* A constant in each call lets the compiler drop the other branches from the loop. */
#define BY_FILTER(function, ...)                                                       \
    do {                                                                               \
        if (filter == TSR_FILTER_NONE) function(__VA_ARGS__, TSR_FILTER_NONE);         \
        else if (filter == TSR_FILTER_DELTA) function(__VA_ARGS__, TSR_FILTER_DELTA);  \
        else if (filter == 1) function(__VA_ARGS__, 1);                                \
        else if (filter == 2) function(__VA_ARGS__, 2);                                \
        else if (filter == 3) function(__VA_ARGS__, 3);                                \
        else function(__VA_ARGS__, TSR_FILTER_ROTATE_MAX);                             \
    } while (0)

PLANES_TARGET static void split(uint8_t *const *planes, const uint8_t *src, size_t n, int typesize, int filter) {
    if (typesize == 2) BY_FILTER(split_16, planes, src, n);
    else if (typesize == 4) BY_FILTER(split_32, planes, src, n);
    else BY_FILTER(split_64, planes, src, n);
}

PLANES_TARGET static void join(uint8_t *dst, const uint8_t *const *planes, size_t n, int typesize, int filter) {
    if (typesize == 2) BY_FILTER(join_16, dst, planes, n);
    else if (typesize == 4) BY_FILTER(join_32, dst, planes, n);
    else BY_FILTER(join_64, dst, planes, n);
}

const planes_kernels PLANES_NAME = {PLANES_PATH, split, join, PLANES_FLAGS, PLANES_ZEROS};
