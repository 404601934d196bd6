/* An encoder's table of up to 65,536 strings. */
#include "lzw_strings.h"

/*
 * The table has two parts. Strings of two bytes are found by just these bytes, in `pairs`. Longer ones are in a
 * hash table with open addressing, whose entries hold a key, which is the code of a string and the byte after it,
 * and the code of the longer string.
 *
 * Where the search for an entry begins does not follow from its key, though, as the code in it is known only
 * once the entry of the string before is found. It is hashed from the bytes of the string, or rather from those
 * of its last group of HEAD bytes and from the code at which that group began (its base; 0 for the first group).
 * So a processor loads the entries of all lengths at once while it still compares the first one's key; in a table
 * of this size that is worth more than to have no branches. The search begins at an even slot, and hardly ever
 * has to go on after the odd one that follows.
 */
#define HEAD 8

typedef uint64_t entry;

#define CODE_BITS 16
#define LIMIT ((entry)1 << CODE_BITS)
#define KEY(code, byte) ((entry)(code) << (CODE_BITS + 8) | (entry)(byte) << CODE_BITS)

/* What all bytes of an empty slot are. As an entry it would have a key that no string has. */
#define EMPTY UINT64_MAX

#define PAIRS_SIZE ((sizeof(uint16_t)) << 16)

static unsigned hash_shift(const lzw_codes *codes) { return 65 - (tsr_log2_floor(codes->table_size) + 1); }

TSR_INLINE size_t n_slots(unsigned hash_shift) { return (size_t)2 << (64 - hash_shift); }

/* Codes of the strings of two bytes, 0 if there is none; the first byte is the lower one. They come after the
 * entries. */
TSR_INLINE uint16_t *pairs_of(tsr_lzw_encoder *e) { return (uint16_t *)(e->table + n_slots(e->hash_shift)); }

size_t tsr_lzw_wide_size(const tsr_lzw_dialect *dialect) {
    const lzw_codes codes = tsr_lzw_codes(dialect);
    return n_slots(hash_shift(&codes)) * sizeof(entry) + PAIRS_SIZE;
}

void tsr_lzw_wide_init(tsr_lzw_encoder *e) { e->hash_shift = hash_shift(&e->codes); }

void tsr_lzw_wide_clear(tsr_lzw_encoder *e) {
    memset(e->table, (uint8_t)EMPTY, n_slots(e->hash_shift) * sizeof(entry));
    memset(pairs_of(e), 0, PAIRS_SIZE);
}

/* The even slot where the search for the string that ends with the head's byte number n begins. */
TSR_INLINE size_t home_slot(uint32_t base, uint64_t head, unsigned n, unsigned shift) {
    static const uint64_t factors[HEAD + 1] = { /* odd numbers without a pattern */
        0,
        UINT64_C(0x9E3779B97F4A7C15), UINT64_C(0xD1B54A32D192ED03), UINT64_C(0xAEF17502108EF2D9),
        UINT64_C(0xDB4F0B9175AE2165), UINT64_C(0xBBE0563303A4615F), UINT64_C(0xA0F2EC75A1FE1575),
        UINT64_C(0x89E182857D9ED689), UINT64_C(0xC6D1D6C8ED0C9631)};
    return (size_t)(((head << (64 - 8 * n)) + base) * factors[n] >> shift) * 2;
}

/* The key is xored away if it is the entry's, and the code is left; else the result is LIMIT or more. */
TSR_INLINE entry match(entry found, uint32_t code, uint8_t byte) { return found ^ KEY(code, byte); }

/* Searches the slots from `slot` on for the entry, and gets to the slot that it has or would have. */
TSR_INLINE size_t probe(const tsr_lzw_encoder *e, size_t slot, uint32_t code, uint8_t byte) {
    const entry *const table = e->table;
    const size_t mask = ((size_t)2 << (64 - e->hash_shift)) - 1;
    while (table[slot] != EMPTY && match(table[slot], code, byte) >= LIMIT) slot = (slot + 1) & mask;
    return slot;
}

/* Makes the string longer by a byte; 0 if the table lacks that string, and *slot is where it belongs. */
TSR_INLINE int extend(const tsr_lzw_encoder *e, string *s, uint8_t byte, size_t *slot) {
    const entry *const table = e->table;
    if (s->n_head == HEAD) {
        s->base = s->code;
        s->head = 0;
        s->n_head = 0;
    }
    s->head |= (uint64_t)byte << 8 * s->n_head;
    *slot = probe(e, home_slot(s->base, s->head, s->n_head + 1, e->hash_shift), s->code, byte);
    if (table[*slot] == EMPTY) return 0;
    s->code = (uint32_t)match(table[*slot], s->code, byte);
    s->n_head++;
    return 1;
}

int tsr_lzw_wide_step(tsr_lzw_encoder *e, string *s, uint8_t byte) {
    const int adding = is_adding(e);
    if (is_single(s)) {
        uint16_t *const pair = &pairs_of(e)[s->code | (uint32_t)byte << 8];
        if (*pair == 0) {
            if (adding) *pair = (uint16_t)e->next;
            return 1;
        }
        s->code = *pair;
        s->head |= (uint64_t)byte << 8;
        s->n_head = 2;
        return 0;
    }
    size_t slot;
    if (extend(e, s, byte, &slot)) return 0;
    if (adding) e->table[slot] = KEY(s->code, byte) | e->next;
    return 1;
}

/*
 * Looks in the two slots where its search begins for the string that is longer by a byte than the one of `length`
 * bytes, and leaves the loop around if it is not there. The length being a constant wherever this is used, each
 * length has branches of its own: one that is mispredicted is what ends a string, and about all that it costs.
 */
#define TRY(length)                                                                        \
    {                                                                                      \
        slot = home_slot(0, head, (length) + 1, shift);                                    \
        const uint8_t byte = (uint8_t)(head >> 8 * (length));                              \
        const entry first = table[slot];                                                   \
        entry longer = match(first, code, byte);                                     \
        if (longer >= LIMIT) {                                                             \
            const entry second = table[slot + 1];                                          \
            n_head = (length);                                                             \
            slot += first != EMPTY;                                                   \
            found_end = second == EMPTY;                                              \
            if (TSR_LIKELY(found_end)) break;                                              \
            longer = match(second, code, byte);                                      \
            if (TSR_UNLIKELY(longer >= LIMIT)) break;                                      \
        }                                                                                  \
        code = (uint32_t)longer;                                                           \
    }

size_t tsr_lzw_wide_find(tsr_lzw_encoder *e, string *s, uint16_t *TSR_RESTRICT strings, size_t n_max,
                         const uint8_t **src_at, const uint8_t *src_last) {
    uint16_t *const pairs = pairs_of(e);
    entry *const table = e->table;
    const unsigned shift = e->hash_shift;
    const uint32_t n_literals = e->codes.n_literals;
    const uint64_t no_literals = (uint64_t)(0x100 - n_literals) * UINT64_C(0x0101010101010101);
    const int adding = is_adding(e);
    const uint8_t *src = *src_at;
    uint32_t next = e->next;
    size_t n_strings = 0;

    while (src <= src_last && n_strings < n_max) {
        uint64_t head;
        memcpy(&head, src - 1, sizeof head);
        if (TSR_UNLIKELY(head & no_literals)) break;
        uint16_t *const pair = &pairs[(uint16_t)head];
        uint32_t code = *pair;
        if (code == 0) {
            strings[n_strings++] = (uint8_t)head;
            if (adding) *pair = (uint16_t)next++;
            src++;
            continue;
        }
        size_t slot;
        unsigned n_head;
        int found_end = 0;
        do {
            TRY(2)
            TRY(3)
            TRY(4)
            TRY(5)
            TRY(6)
            TRY(7)
            n_head = HEAD;
        } while (0);
        src += n_head - 1;
        if (TSR_UNLIKELY(!found_end)) {
            /* The string goes on, or the search for the next one does. */
            *s = (string){code, 0, n_head < HEAD ? head & (((uint64_t)1 << 8 * n_head) - 1) : head, n_head};
            do {
                if (src >= src_last + (WORD - 1) || *src >= n_literals) {
                    e->next = next;
                    *src_at = src;
                    return n_strings;
                }
            } while (extend(e, s, *src++, &slot));
            src--;
            code = s->code;
        }
        strings[n_strings++] = (uint16_t)code;
        if (adding) table[slot] = KEY(code, *src) | next++;
        src++;
    }
    *s = single(src[-1]);
    e->next = next;
    *src_at = src;
    return n_strings;
}
