#include "tsr_compiler.h"

#if TSR_X86
#define PLANES_NAME tsr_planes_avx512
#define PLANES_PATH TSR_CPU_AVX512
#define PLANES_TARGET TSR_TARGET("avx512f,avx512bw,avx512dq,avx512vl,avx512vbmi,bmi2")
#include "planes_template.h"
#endif
