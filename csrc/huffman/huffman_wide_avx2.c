/* Codes for wide alphabets: the same loops with the shifts of BMI2, which need no flags and any register. */
#include "tsr_compiler.h"

#if TSR_X86
#define WIDE_TARGET TSR_TARGET("avx2,bmi,bmi2")
#include "huffman_wide_kernels.h"

const wide_kernels tsr_code_avx2 = {TSR_CPU_AVX2, measure_any, encode_any, decode_any};
#endif
