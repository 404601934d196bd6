#include "tsr_compiler.h"

#if TSR_X86
#define PLANES_NAME tsr_planes_avx2
#define PLANES_PATH TSR_CPU_AVX2
#define PLANES_TARGET TSR_TARGET("avx2,bmi2")
#include "planes_template.h"
#endif
