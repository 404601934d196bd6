#include "tsr_compiler.h"

#if TSR_X86
#define PLANES_NAME tsr_planes_avx2
#define PLANES_PATH TSR_CPU_AVX2
#define PLANES_TARGET TSR_TARGET("avx2,bmi2")
#define PLANES_FLAGS tsr_planes_split_flags_scalar, tsr_planes_join_flags_scalar
#include "planes_template.h"
#endif
