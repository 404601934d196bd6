#include "cpu.h"
#include "tsr_compiler.h"

#if TSR_X86
#if defined(_MSC_VER)
#include <intrin.h>
#else
#include <cpuid.h>
#endif

static void cpuid(uint32_t leaf, uint32_t sub, uint32_t regs[4]) {
#if defined(_MSC_VER)
    int r[4];
    __cpuidex(r, (int)leaf, (int)sub);
    for (int i = 0; i < 4; i++) regs[i] = (uint32_t)r[i];
#else
    __cpuid_count(leaf, sub, regs[0], regs[1], regs[2], regs[3]);
#endif
}

/* Which register files the operating system saves; CPUID alone does not tell. */
static uint64_t xcr0(void) {
#if defined(_MSC_VER)
    return _xgetbv(0);
#else
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
#endif
}

static unsigned detect(void) {
    const uint32_t osxsave = 1u << 27, avx = 1u << 28, popcnt = 1u << 23;
    const uint32_t bmi1 = 1u << 3, avx2 = 1u << 5, bmi2 = 1u << 8;
    const uint32_t avx512 = 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31; /* F, DQ, BW, VL */
    const uint32_t vbmi = 1u << 1 | 1u << 6;                           /* VBMI, VBMI2 (ECX) */
    unsigned paths = 1u << TSR_CPU_SCALAR;
    uint32_t r[4];

    cpuid(0, 0, r);
    if (r[0] < 7) return paths;
    cpuid(1, 0, r);
    if ((r[2] & (osxsave | avx | popcnt)) != (osxsave | avx | popcnt)) return paths;
    const uint64_t saved = xcr0();
    cpuid(7, 0, r);
    if ((saved & 0x06) != 0x06 || (r[1] & (bmi1 | avx2 | bmi2)) != (bmi1 | avx2 | bmi2)) return paths;
    paths |= 1u << TSR_CPU_AVX2;
    if ((saved & 0xE6) == 0xE6 && (r[1] & avx512) == avx512 && (r[2] & vbmi) == vbmi)
        paths |= 1u << TSR_CPU_AVX512;
    return paths;
}
#elif TSR_ARM64
#if defined(__linux__)
#include <sys/auxv.h>
#endif

static unsigned detect(void) {
    unsigned paths = 1u << TSR_CPU_SCALAR;
#if defined(__linux__)
    const unsigned long asimd = 1ul << 1;
    if (getauxval(AT_HWCAP) & asimd) paths |= 1u << TSR_CPU_NEON;
#else
    paths |= 1u << TSR_CPU_NEON; /* baseline on every other AArch64 system */
#endif
    return paths;
}
#else
static unsigned detect(void) { return 1u << TSR_CPU_SCALAR; }
#endif

static int selected = TSR_CPU_SCALAR;

const char *tsr_cpu_path_name(int path) {
    static const char *const names[TSR_CPU_PATHS] = {"scalar", "avx2", "avx512", "neon"};
    return path >= 0 && path < TSR_CPU_PATHS ? names[path] : NULL;
}

int tsr_cpu_has(int path) { return path >= 0 && path < TSR_CPU_PATHS && (detect() >> path & 1); }

int tsr_cpu_best(void) {
    int best = TSR_CPU_SCALAR;
    for (int path = 0; path < TSR_CPU_PATHS; path++)
        if (tsr_cpu_has(path)) best = path;
    return best;
}

int tsr_cpu_select(int path) {
    if (!tsr_cpu_has(path)) return -1;
    selected = path;
    tsr_huffman_install(path);
    tsr_planes_install(path);
    tsr_code_install(path);
    tsr_prune_install(path);
    return 0;
}

int tsr_cpu_selected(void) { return selected; }
