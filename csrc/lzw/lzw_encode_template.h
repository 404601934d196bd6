/* An encoder's search for strings, for table entries of the type ENTRY; the functions' names end in SUFFIX. */
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(verb) JOIN(verb, SUFFIX)
#define NO_ENTRY ((ENTRY)EMPTY)

/* The key is xored away if it is the entry's, and the code is left; else the result is no code. */
TSR_INLINE ENTRY NAME(match)(ENTRY entry, ENTRY code, uint64_t byte) { return entry ^ KEY(code, (uint8_t)byte, ENTRY); }

TSR_INLINE ENTRY NAME(match_two)(ENTRY a, ENTRY b, ENTRY code, uint64_t byte) {
    const ENTRY in_a = NAME(match)(a, code, byte), in_b = NAME(match)(b, code, byte);
    return in_a < in_b ? in_a : in_b;
}

/* Searches the slots from `slot` on; returns the entry's, or the empty one that the entry would have. */
TSR_INLINE size_t NAME(probe)(const tsr_lzw_encoder *e, size_t slot, uint32_t code, uint8_t byte) {
    const ENTRY *const table = (const ENTRY *)e->table;
    const size_t mask = ((size_t)2 << (64 - e->hash_shift)) - 1;
    while (table[slot] != NO_ENTRY && NAME(match)(table[slot], code, byte) >> CODE_BITS(ENTRY)) slot = (slot + 1) & mask;
    return slot;
}

/* Makes the string longer by a byte; 0 if the table lacks that string, which is then added. */
static int NAME(extend)(tsr_lzw_encoder *e, uint8_t byte) {
    ENTRY *const table = (ENTRY *)e->table;
    const int adding = e->next < e->codes.table_size;
    e->head |= e->length < HEAD ? (uint64_t)byte << 8 * e->length : 0;
    if (e->length == 1) {
        uint16_t *pair = &e->pairs[e->head];
        const uint32_t code = pair_code(*pair, e->stamp, sizeof(ENTRY) == 8);
        if (code >> CODE_BITS(ENTRY)) {
            if (adding) *pair = (uint16_t)(e->next | e->stamp);
            return 0;
        }
        e->code = code;
    } else {
        size_t slot = e->length < HEAD ? home_slot(e->head, e->length + 1, e->hash_shift)
                                       : home_slot_long(e->code, byte, e->hash_shift);
        slot = NAME(probe)(e, slot, e->code, byte);
        if (table[slot] == NO_ENTRY) {
            if (adding) table[slot] = KEY(e->code, byte, ENTRY) | e->next;
            return 0;
        }
        e->code = (uint32_t)NAME(match)(table[slot], e->code, byte);
    }
    e->length += e->length < HEAD;
    return 1;
}

/*
 * Finds up to n_max strings and returns their number; *src_at moves on from behind the first string's first byte,
 * which is also in memory, to behind the next string's. Eight bytes from *src_at - 1 on must be readable, for
 * each place up to src_last.
 *
 * A branch that depends on the length of a string is mispredicted about once a string, which costs more than
 * to look at the entries of all lengths up to HEAD and to choose by arithmetic. Only data of which most
 * strings are single bytes (many_literals) is better off with a branch for those.
 */
TSR_INLINE size_t NAME(find)(tsr_lzw_encoder *e, uint16_t *TSR_RESTRICT strings, size_t n_max, const uint8_t **src_at,
                   const uint8_t *src_last, const int many_literals) {
    uint16_t *const pairs = e->pairs;
    ENTRY *const table = (ENTRY *)e->table;
    const unsigned shift = e->hash_shift;
    const size_t spare = (size_t)2 << (64 - shift);
    const ENTRY limit = (ENTRY)1 << CODE_BITS(ENTRY);
    const uint32_t stamp = e->stamp;
    const int adding = e->next < e->codes.table_size;
    const uint64_t no_literals = (uint64_t)(0x100 - e->codes.n_literals) * UINT64_C(0x0101010101010101);
    uint32_t next = e->next;
    size_t n_strings = 0;
    const uint8_t *src = *src_at;
    uint32_t code;
    uint64_t head;
    unsigned length;

    while (src <= src_last && n_strings < n_max) {
        memcpy(&head, src - 1, sizeof head);
        if (TSR_UNLIKELY(head & no_literals)) break;
        const uint32_t pair = pairs[(uint16_t)head];
        const ENTRY m2 = pair_code(pair, stamp, sizeof(ENTRY) == 8);
        if (many_literals && m2 >= limit) {
            strings[n_strings++] = (uint8_t)head;
            if (adding) pairs[(uint16_t)head] = (uint16_t)(next++ | stamp);
            src++;
            continue;
        }
        const size_t s3 = home_slot(head, 3, shift), s4 = home_slot(head, 4, shift), s5 = home_slot(head, 5, shift);
        const ENTRY e3 = table[s3], e4 = table[s4], e5 = table[s5];
        const ENTRY m3 = NAME(match_two)(e3, table[s3 + 1], m2, head >> 16);
        const ENTRY m4 = NAME(match_two)(e4, table[s4 + 1], m3, head >> 24);
        const ENTRY m5 = NAME(match_two)(e5, table[s5 + 1], m4, head >> 32);
        const int has2 = m2 < limit, has3 = (m2 | m3) < limit, has4 = (m2 | m3 | m4) < limit;
        const int has5 = (m2 | m3 | m4 | m5) < limit;
        size_t slot = has2 ? s3 + (e3 != NO_ENTRY) : spare;
        code = has2 ? (uint32_t)m2 : (uint8_t)head;
        slot = has3 ? s4 + (e4 != NO_ENTRY) : slot;
        code = has3 ? (uint32_t)m3 : code;
        slot = has4 ? s5 + (e5 != NO_ENTRY) : slot;
        code = has4 ? (uint32_t)m4 : code;
        length = 1 + (unsigned)has2 + (unsigned)has3 + (unsigned)has4;
        src += length - 1;
        if (TSR_UNLIKELY(has5 | (table[slot | 1] != NO_ENTRY))) {
            if (has5) {
                code = (uint32_t)m5;
                length++;
                src++;
            }
            /* The string goes on, or its search does. */
            for (;;) {
                if (src > src_last + (WORD - 2) || *src >= e->codes.n_literals) goto out;
                const uint8_t byte = *src;
                slot = length < HEAD ? home_slot(head, length + 1, shift) : home_slot_long(code, byte, shift);
                slot = NAME(probe)(e, slot, code, byte);
                if (table[slot] == NO_ENTRY) break;
                code = (uint32_t)NAME(match)(table[slot], code, byte);
                length += length < HEAD;
                src++;
            }
        }
        const uint8_t byte = *src++;
        if (adding) {
            pairs[(uint16_t)head] = (uint16_t)(length > 1 ? pair : next | stamp);
            table[slot] = KEY(code, byte, ENTRY) | next;
            next++;
        }
        strings[n_strings++] = (uint16_t)code;
    }
    code = src[-1];
    head = code;
    length = 1;
out:
    e->code = code;
    e->head = head & (((uint64_t)1 << 8 * length) - 1);
    e->length = length;
    e->next = next;
    *src_at = src;
    return n_strings;
}

#undef JOIN_
#undef JOIN
#undef NAME
#undef NO_ENTRY
