/* other.c - a second file that includes the header, and so has vtables of its own.
 *
 * SPDX-License-Identifier: MIT
 */
#include "rawwaker_asyncffi.h"

RAWWAKER_ASYNCFFI_DEFINE(other_u32, uint32_t)

rawwaker_future other_u32_to_raw(other_u32_future f) { return other_u32_into_raw(f); }
other_u32_future other_u32_to_ffi(rawwaker_future f) { return other_u32_from_raw(f); }
