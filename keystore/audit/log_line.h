#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/audit/merkle_tree.h"
#include "keystore/base/ids.h"
#include "keystore/base/result.h"

namespace coffer {

// Lines of the audit log: how each holds the one before it (keystore/AUDIT.md, "Lines").

/// What a line adds to, and gives the next.
using ChainValue = std::array<std::uint8_t, 16>;

/// How many pieces of lines, at most, the line after them vouches for.
inline constexpr std::uint64_t kMostTorn = 16;

/// The MAC of lines, under the store's key for them. Immutable; for many threads.
class LineMac {
 public:
  explicit LineMac(Bytes key) : key_(key) {}
  /// What stands before line 0.
  [[nodiscard]] ChainValue start(LogId id) const;
  [[nodiscard]] ChainValue next(const ChainValue& before, Bytes body) const;
  [[nodiscard]] ChainValue of_side_file(std::string_view text) const;

 private:
  HmacKey key_;
};

/// The end of a line that ends as ours do; nothing is checked yet.
struct LineEnd {
  std::uint64_t n = 0;
  std::uint64_t torn = 0;  ///< lines before it that it vouches for
  ChainValue mac{};
  Bytes body;  ///< what the MAC is over, beside the chain value before it
};
std::optional<LineEnd> parse_line_end(Bytes line);

/// `,"torn":T,"n":N` (T only if it is not 0): the last fields before the MAC.
std::string number_fields(std::uint64_t torn, std::uint64_t n);
/// `,"mac":"…"}`.
std::string mac_field(const ChainValue& mac);

/// What another log was, that this one begins anew after.
struct EndedLog {
  static constexpr const char* kAltered = "lines were altered";
  static constexpr const char* kCut = "the file was cut short";
  static constexpr const char* kGone = "the file is gone";
  static constexpr const char* kTorn = "the file ended within a line";

  LogId id;
  std::uint64_t lines = 0;
  std::string why;
};

/// The `log` member of a file's first line.
struct LogHead {
  LogId id;
  ChainValue prev{};
  MerkleTree tree;  ///< of all lines before this one: its size is the line's number
  std::optional<EndedLog> after;
};
/// `,"log":{…}`.
std::string head_field(const LogHead& head);
/// Of a line whose MAC holds by what its own head says. kInvalid if it is no first line, kCorrupt
/// if it does not hold.
Result<LogHead> parse_head(Bytes line, const LineMac& mac);
/// What a first line claims, believed or not. kInvalid if it is none.
Result<LogHead> claimed_head(Bytes line);

/// Goes over lines in their order and says which hold.
class LineWalk {
 public:
  /// Before the line of number `next`, after the chain value `at`.
  LineWalk(const LineMac& mac, const ChainValue& at, std::uint64_t next)
      : mac_(&mac), chain_(at), pending_chain_(at), next_(next) {}

  enum class Found {
    kHolds,    ///< and so do the torn ones that it vouches for
    kPending,  ///< does not hold by what is known; the next may vouch for it
    kDamage,   ///< goes on from the line before it as that stands now: damage lies before
  };
  Found step(Bytes line);

  /// The number of the next line after the last that held, and the chain value there.
  [[nodiscard]] std::uint64_t next() const { return next_; }
  [[nodiscard]] const ChainValue& chain() const { return chain_; }
  /// Lines after that which do not hold, so far; and the chain value if they are vouched for.
  [[nodiscard]] std::uint64_t pending() const { return pending_; }
  [[nodiscard]] const ChainValue& pending_chain() const { return pending_chain_; }
  /// After kHolds: the leaves that this step added, torn lines first.
  [[nodiscard]] const std::vector<Digest>& leaves() const { return leaves_; }

 private:
  void accept(const LineEnd& end);

  const LineMac* mac_;
  ChainValue chain_;
  ChainValue pending_chain_;
  std::uint64_t next_;
  std::uint64_t pending_ = 0;
  std::optional<ChainValue> stated_;  // what the last pending line says its own value is
  std::vector<Digest> torn_leaves_;
  std::vector<Digest> leaves_;
};

}  // namespace coffer
