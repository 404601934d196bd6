#include "tersor.h"

const char *tsr_result_text(int result) {
    switch ((tsr_result)result) {
    case TSR_OK: return "no error";
    case TSR_ERR_DST_TOO_SMALL: return "the destination is too small";
    case TSR_ERR_SHAPE: return "the block's shape is not one that format version 1 defines";
    case TSR_ERR_MODE: return "the plane mode is not one that format version 1 defines";
    case TSR_ERR_PAYLOAD_SIZE: return "the plane sizes do not add up to the payload";
    case TSR_ERR_PLANE_SIZE: return "the plane's size does not fit its mode";
    case TSR_ERR_TABLE_TRUNCATED: return "the data ends inside the code table";
    case TSR_ERR_TABLE_NIBBLE: return "the code table has an invalid nibble";
    case TSR_ERR_TABLE_OVERRUN: return "the code table describes more symbols than there are";
    case TSR_ERR_CODE_OVERSUBSCRIBED: return "the code lengths are over-subscribed";
    case TSR_ERR_CODE_INCOMPLETE: return "the code lengths are incomplete";
    case TSR_ERR_STREAM_SHORT: return "the bit stream ends before the last symbol";
    case TSR_ERR_STREAM_LONG: return "bits are left over after the last symbol";
    case TSR_ERR_LANE_STATE: return "the lane states do not fit the stream";
    case TSR_ERR_PADDING: return "padding bits are not zero";
    case TSR_ERR_DEPTH: return "planes are nested too deeply";
    case TSR_ERR_LZW_CODE: return "a code is not in the table yet";
    case TSR_ERR_LZW_FIRST: return "the first code is no literal";
    case TSR_ERR_LZW_SYMBOL: return "a byte is no literal of this dialect";
    case TSR_ERR_GAPS: return "gaps do not fit their plane";
    case TSR_ERR_TABLE_LENGTH: return "a code length is zero or above the limit";
    case TSR_ERR_TABLE_LONG: return "bytes are left over after the code table";
    case TSR_ERR_COUNT: return "the count of symbols is not one that the data can hold";
    case TSR_ERR_CODE_UNASSIGNED: return "the bits are no symbol's code";
    case TSR_ERR_CODEBOOK_INDEX: return "an index is beyond the codebook";
    case TSR_ERR_POSITIONS: return "a sparse block's positions are not all 0, 1 or 2, or none is 1";
    }
    return "unknown error";
}
