#include "tersor.h"

int tsr_lzw_dialect_valid(const tsr_lzw_dialect *d) {
    const int flags = d->msb_first | d->early_change | d->clear_code | d->end_code | d->grouped | d->full_grows;
    return flags <= 1 && d->literal_bits > d->early_change && d->literal_bits <= 8 && d->max_bits > d->literal_bits &&
           d->max_bits + d->full_grows <= 16 && (d->clear_code || !d->end_code) &&
           (d->grouped ? !d->end_code && !d->early_change : !d->full_grows);
}
