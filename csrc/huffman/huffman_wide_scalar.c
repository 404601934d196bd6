/* Codes for wide alphabets: the loops in portable C, and the choice of loops. */
#include "cpu.h"
#define WIDE_TARGET
#include "huffman_wide_kernels.h"

const wide_kernels tsr_code_scalar = {TSR_CPU_SCALAR, measure_any, encode_any, decode_any};

static const wide_kernels *active = &tsr_code_scalar;

const wide_kernels *tsr_code_active(void) { return active; }

void tsr_code_install(int path) {
#if TSR_X86
    if (path == TSR_CPU_AVX2 || path == TSR_CPU_AVX512) {
        active = &tsr_code_avx2;
        return;
    }
#endif
    (void)path;
    active = &tsr_code_scalar;
}

int tsr_code_kernel_path(void) { return active->path; }
