/* What differs between compilers and machines, in one place. */
#ifndef TSR_COMPILER_H
#define TSR_COMPILER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) || defined(_M_X64)
#define TSR_X86 1
#else
#define TSR_X86 0
#endif

#if defined(__aarch64__) || defined(_M_ARM64)
#define TSR_ARM64 1
#else
#define TSR_ARM64 0
#endif

#if defined(_MSC_VER) && !defined(__clang__)
/* MSVC accepts every intrinsic everywhere, so it needs no target attribute. */
#define TSR_TARGET(features)
#define TSR_INLINE static __forceinline
#define TSR_LIKELY(x) (x)
#define TSR_UNLIKELY(x) (x)
#define TSR_PREFETCH(p) ((void)(p))
#define TSR_RESTRICT __restrict
#define TSR_UNROLL
#define TSR_OPAQUE(x) ((void)0)
#else
#define TSR_TARGET(features) __attribute__((target(features)))
#define TSR_INLINE static inline __attribute__((always_inline))
#define TSR_LIKELY(x) __builtin_expect(!!(x), 1)
#define TSR_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define TSR_PREFETCH(p) __builtin_prefetch(p)
#define TSR_RESTRICT __restrict__
/* Before a loop of few and constant turns. */
#define TSR_UNROLL _Pragma("GCC unroll 8")
/* Hides from the compiler how the variable x was computed. */
#define TSR_OPAQUE(x) __asm__("" : "+r"(x))
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#error "tersor's kernels are written for little-endian machines"
#endif

#endif
