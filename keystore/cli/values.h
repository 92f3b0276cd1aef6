#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"

namespace coffer {

/// "90s", "15m", "8h", "7d", "2w", "0": seconds. kInvalid for anything else.
Result<std::int64_t> parse_duration(std::string_view text);
std::string format_duration(std::int64_t seconds);

/// "2026-12-31" (midnight) or "2026-12-31T18:00:00Z", UTC: Unix seconds.
Result<std::int64_t> parse_time(const std::string& text);

/// "4k", "16k", "64K", "1M", "65536": a power of two within bounds, as its logarithm.
Result<unsigned> parse_chunk_size(std::string_view text);

/// "1.5 GiB".
std::string format_bytes(std::uint64_t bytes);

/// With `\x1b` and the like in place of control characters: a name that somebody chose must not
/// write to the terminal of whoever looks at it.
std::string printable(std::string_view text);

/// As one word of a shell's command line, quoted if it has to be; control characters as `\033` in
/// $'…', which bash, ksh and zsh read.
std::string shell_word(std::string_view text);

/// Rows of printable text in aligned columns, the first row as a heading; on stdout.
void print_table(const std::vector<std::vector<std::string>>& rows);

}  // namespace coffer
