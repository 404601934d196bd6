/* Selection of kernels. Each area keeps constant tables of functions and installs one of them. */
#ifndef TSR_CPU_H
#define TSR_CPU_H

#include "tersor.h"

/* Called by tsr_cpu_select() with a path that the machine has. */
void tsr_huffman_install(int path);
void tsr_planes_install(int path);
void tsr_code_install(int path);
void tsr_prune_install(int path);

#endif
