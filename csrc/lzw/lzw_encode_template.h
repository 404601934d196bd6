/* An encoder's search for strings, for table entries of the type ENTRY; the functions' names end in SUFFIX. */
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(verb) JOIN(verb, SUFFIX)
#define IS_WIDE (sizeof(ENTRY) == sizeof(uint64_t))
#define CODE_BITS (IS_WIDE ? 16 : 12)
#define LIMIT ((ENTRY)1 << CODE_BITS)
#define KEY(code, byte) ((ENTRY)(code) << (CODE_BITS + 8) | (ENTRY)(byte) << CODE_BITS)
#define EMPTY_SLOT ((ENTRY)EMPTY)

/* The code of a pair, LIMIT or more if there is none: 0 if entries are wide, else what has another stamp. */
TSR_INLINE uint32_t NAME(pair_code)(uint32_t pair, uint32_t stamp) {
    return IS_WIDE ? pair | (0 - (uint32_t)(pair == 0)) : pair ^ stamp;
}

/* The key is xored away if it is the entry's, and the code is left; else the result is LIMIT or more. */
TSR_INLINE ENTRY NAME(match)(ENTRY entry, uint32_t code, uint8_t byte) { return entry ^ KEY(code, byte); }

/* Searches the slots from `slot` on for the entry, and gets to the slot that it has or would have. */
TSR_INLINE size_t NAME(probe)(const tsr_lzw_encoder *e, size_t slot, uint32_t code, uint8_t byte) {
    const ENTRY *const table = (const ENTRY *)e->table;
    const size_t mask = ((size_t)2 << (64 - e->hash_shift)) - 1;
    while (table[slot] != EMPTY_SLOT && NAME(match)(table[slot], code, byte) >= LIMIT) slot = (slot + 1) & mask;
    return slot;
}

/* Makes the string longer by a byte; 0 if the table lacks that string, and *slot is where it belongs. */
TSR_INLINE int NAME(extend)(const tsr_lzw_encoder *e, string *s, uint8_t byte, size_t *slot) {
    const ENTRY *const table = (const ENTRY *)e->table;
    if (s->n_head == HEAD) {
        s->base = s->code;
        s->head = 0;
        s->n_head = 0;
    }
    s->head |= (uint64_t)byte << 8 * s->n_head;
    *slot = NAME(probe)(e, home_slot(s->base, s->head, s->n_head + 1, e->hash_shift), s->code, byte);
    if (table[*slot] == EMPTY_SLOT) return 0;
    s->code = (uint32_t)NAME(match)(table[*slot], s->code, byte);
    s->n_head++;
    return 1;
}

/* One byte, with no eye to speed. 1 if it ended the string; the longer one is then added, if there is room. */
static int NAME(step)(tsr_lzw_encoder *e, string *s, uint8_t byte) {
    const int adding = e->next < e->codes.table_size;
    if (is_single(s)) {
        uint16_t *const pair = &e->pairs[s->code | (uint32_t)byte << 8];
        const uint32_t code = NAME(pair_code)(*pair, e->stamp);
        if (code >= LIMIT) {
            if (adding) *pair = (uint16_t)(e->next | e->stamp);
            return 1;
        }
        s->code = code;
        s->head |= (uint64_t)byte << 8;
        s->n_head = 2;
        return 0;
    }
    size_t slot;
    if (NAME(extend)(e, s, byte, &slot)) return 0;
    if (adding) ((ENTRY *)e->table)[slot] = KEY(s->code, byte) | e->next;
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
        const ENTRY entry = table[slot];                                                   \
        ENTRY longer = NAME(match)(entry, code, byte);                                     \
        if (longer >= LIMIT) {                                                             \
            const ENTRY second = table[slot + 1];                                          \
            n_head = (length);                                                             \
            slot += entry != EMPTY_SLOT;                                                   \
            found_end = second == EMPTY_SLOT;                                              \
            if (TSR_LIKELY(found_end)) break;                                              \
            longer = NAME(match)(second, code, byte);                                      \
            if (TSR_UNLIKELY(longer >= LIMIT)) break;                                      \
        }                                                                                  \
        code = (uint32_t)longer;                                                           \
    }

/*
 * Finds up to n_max strings and returns their number. *src_at is behind the first byte of the first one; it moves
 * on to behind the bytes so far of *s, the string that has not come to its end. Eight bytes from *src_at - 1 on
 * must be readable, for each place up to src_last.
 */
static size_t NAME(find)(tsr_lzw_encoder *e, string *s, uint16_t *TSR_RESTRICT strings, size_t n_max,
                         const uint8_t **src_at, const uint8_t *src_last) {
    uint16_t *const pairs = e->pairs;
    ENTRY *const table = (ENTRY *)e->table;
    const unsigned shift = IS_WIDE ? e->hash_shift : NARROW_SHIFT;
    const uint32_t stamp = e->stamp, n_literals = e->codes.n_literals;
    const uint64_t no_literals = (uint64_t)(0x100 - n_literals) * UINT64_C(0x0101010101010101);
    const int adding = e->next < e->codes.table_size;
    const uint8_t *src = *src_at;
    uint32_t next = e->next;
    size_t n_strings = 0;

    while (src <= src_last && n_strings < n_max) {
        uint64_t head;
        memcpy(&head, src - 1, sizeof head);
        if (TSR_UNLIKELY(head & no_literals)) break;
        uint16_t *const pair = &pairs[(uint16_t)head];
        uint32_t code = NAME(pair_code)(*pair, stamp);
        if (code >= LIMIT) {
            strings[n_strings++] = (uint8_t)head;
            if (adding) *pair = (uint16_t)(next++ | stamp);
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
            } while (NAME(extend)(e, s, *src++, &slot));
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

#undef JOIN_
#undef JOIN
#undef NAME
#undef IS_WIDE
#undef CODE_BITS
#undef LIMIT
#undef KEY
#undef EMPTY_SLOT
#undef TRY
