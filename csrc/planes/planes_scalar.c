/* The plain path (SSE2 or NEON as far as the compiler's baseline goes), and the choice of path. */
#define PLANES_NAME tsr_planes_scalar
#define PLANES_PATH TSR_CPU_SCALAR
#define PLANES_TARGET
#include "planes_template.h"

static const planes_kernels *active = &tsr_planes_scalar;

const planes_kernels *tsr_planes_active(void) { return active; }

void tsr_planes_install(int path) {
    active = &tsr_planes_scalar;
#if TSR_X86
    if (path == TSR_CPU_AVX2) active = &tsr_planes_avx2;
    if (path == TSR_CPU_AVX512) active = &tsr_planes_avx512;
#endif
    (void)path;
}

int tsr_planes_kernel_path(void) { return active->path; }
