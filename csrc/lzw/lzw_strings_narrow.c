/* An encoder's table of up to 4096 strings. */
#include "lzw_strings.h"

/*
 * A hash table in which a string is looked up by its stem, which is the string without its last byte, and by that
 * byte. Each byte has a row of slots, in which the stem's code counts from the start; single bytes count as the
 * codes after table_size. So slot and byte together tell the stem, and an entry holds just the byte and the string's
 * code. As rows overlap, a slot can be taken by another string. An entry that has to go elsewhere is marked as
 * displaced, and `stems` tells its stem.
 *
 * What costs time is not the work but the branches that a processor cannot foresee, and where strings end is hard
 * to foresee. So the search has no branch that depends on it: one load, an xor, a comparison and a conditional move
 * lead from each byte to the next.
 */
typedef uint32_t entry;

/* An entry is a stamp, whether it is displaced, a byte, and a code. */
#define CODE_LIMIT ((entry)1 << 16)
#define DISPLACED ((entry)1 << 24)
#define STAMP_UNIT ((entry)1 << 25)
#define KEY(stamp, byte) ((stamp) | (entry)(byte) << 16)

/* Stamps go down from table to table. So entries of older ones are greater than any valid one, and so they are once
 * a key was xored with them. They do as empty slots, and nothing has to be cleared but once in a long while. */
#define EMPTY_BYTE 0xFF
#define STAMP_OF_EMPTY (0 - STAMP_UNIT)

/* The slots in which rows begin: many more than strings, so that few are displaced, and few enough for a cache. */
#define N_ROW_SLOTS ((size_t)1 << 15)

/* From a slot that is taken to the next one to try; odd, and so all in which a row may begin are tried. */
#define STRIDE 0x9E35

/* Bytes from here to the one whose pair with the byte before is brought near. */
#define AHEAD 5

/* The codes of the stems come after the entries. */
TSR_INLINE size_t n_slots(const lzw_codes *codes) { return N_ROW_SLOTS + codes->table_size + 256; }

TSR_INLINE entry *slots_of(tsr_lzw_encoder *e) { return (entry *)e->table; }

TSR_INLINE uint16_t *stems_of(tsr_lzw_encoder *e) { return (uint16_t *)(slots_of(e) + n_slots(&e->codes)); }

size_t tsr_lzw_narrow_size(const tsr_lzw_dialect *dialect) {
    const lzw_codes codes = tsr_lzw_codes(dialect);
    return n_slots(&codes) * sizeof(entry) + codes.table_size * sizeof(uint16_t);
}

void tsr_lzw_narrow_init(tsr_lzw_encoder *e) { e->stamp = 0; /* memory that is new has to be cleared */ }

void tsr_lzw_narrow_clear(tsr_lzw_encoder *e) {
    if (e->stamp == 0) {
        memset(slots_of(e), EMPTY_BYTE, n_slots(&e->codes) * sizeof(entry));
        e->stamp = STAMP_OF_EMPTY;
    }
    e->stamp -= STAMP_UNIT;
}

/* The start of a byte's row; rows of bytes that are near each other are far apart. */
TSR_INLINE size_t row(uint8_t byte) { return byte * 0x4E80u % N_ROW_SLOTS; }

/* Tries the slots after one that is taken by another string, until the entry is found or a slot that is free. */
static entry search(tsr_lzw_encoder *e, size_t *slot, entry key, uint16_t stem) {
    const entry *slots = slots_of(e);
    const uint16_t *stems = stems_of(e);
    for (;;) {
        *slot = (*slot + STRIDE) % N_ROW_SLOTS;
        const entry found = slots[*slot], code = found ^ key;
        if (code >= STAMP_UNIT || (code < CODE_LIMIT && stems[code] == stem)) return found;
    }
}

TSR_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/*
 * Writes the codes of the strings found to codes[n, n_max), single bytes as they count in a row, and returns where
 * they end. If strings are added, n is the next code, and these are the stems. If they are `regular`, a processor
 * foresees where they end, and is faster with branches.
 */
TSR_INLINE size_t find(tsr_lzw_encoder *e, string *s, uint16_t *codes, size_t n, size_t n_max,
                       const uint8_t **src_at, const uint8_t *src_last, int adding, int regular) {
    entry *const slots = slots_of(e);
    const uint32_t n_literals = e->codes.n_literals, stamp = e->stamp;
    const int64_t table_size = e->codes.table_size;
    const uint8_t *src = *src_at;
    /* The string so far. The next one is the smaller of what the key leaves of the entry, which is its code or else
     * greater than any code or byte, and of the byte that begins a new one. */
    int64_t current = table_size + src[-1];

    while (src <= src_last && n < n_max && *src < n_literals) {
        TSR_PREFETCH(slots + row(src[AHEAD]) + table_size + src[AHEAD - 1]);
        const uint8_t byte = *src++;
        const int64_t byte_alone = table_size + byte;
        const entry *start = slots + row(byte);
        TSR_OPAQUE(start); /* adding `current` is then part of the load, and takes no time */
        size_t slot = row(byte) + (size_t)current;
        int64_t key = KEY(stamp, byte), found = start[current], longer = found ^ key;
        if (TSR_UNLIKELY((uint64_t)(longer - table_size) < (uint64_t)(STAMP_UNIT - table_size))) {
            key |= DISPLACED;
            found = search(e, &slot, (entry)key, (uint16_t)current);
            longer = found ^ key;
        }
        if (regular && longer < table_size) {
            current = longer;
            continue;
        }
        codes[n] = (uint16_t)current;
        const int64_t added = key | (int64_t)n;
        if (adding) slots[slot] = (entry)(regular ? added : smaller(found, added));
        current = regular ? byte_alone : smaller(longer, byte_alone);
        n += regular || current >= table_size;
    }
    *s = current >= table_size ? single(src[-1]) : (string){(uint32_t)current, 0, 0, 2};
    *src_at = src;
    return n;
}

size_t tsr_lzw_narrow_find(tsr_lzw_encoder *e, string *s, uint16_t *TSR_RESTRICT strings, size_t n_max,
                           const uint8_t **src_at, const uint8_t *src_last) {
    const uint8_t *src = *src_at;
    uint16_t *codes = strings;
    size_t n;
    if (is_adding(e)) {
        const size_t next = e->next;
        codes = stems_of(e);
        n_max += next;
        n = e->is_regular ? find(e, s, codes, next, n_max, src_at, src_last, 1, 1)
                          : find(e, s, codes, next, n_max, src_at, src_last, 1, 0);
        e->next = (uint32_t)n;
        codes += next;
        n -= next;
    } else {
        n = find(e, s, codes, 0, n_max, src_at, src_last, 0, 0);
    }
    for (size_t i = 0; i < n; i++) strings[i] = codes[i] & (e->codes.table_size - 1);
    const size_t n_bytes = (size_t)(*src_at - src);
    e->is_regular = n * 5 > n_bytes * 4 || n * 16 < n_bytes;
    return n;
}

int tsr_lzw_narrow_step(tsr_lzw_encoder *e, string *s, uint8_t byte) {
    const uint32_t current = s->code + (is_single(s) ? e->codes.table_size : 0);
    size_t slot = row(byte) + current;
    entry key = KEY(e->stamp, byte), longer = slots_of(e)[slot] ^ key;
    if (longer >= CODE_LIMIT && longer < STAMP_UNIT) {
        key |= DISPLACED;
        longer = search(e, &slot, key, (uint16_t)current) ^ key;
    }
    if (longer < CODE_LIMIT) {
        *s = (string){longer, 0, 0, 2};
        return 0;
    }
    if (is_adding(e)) {
        stems_of(e)[e->next] = (uint16_t)current;
        slots_of(e)[slot] = key | e->next;
    }
    return 1;
}
