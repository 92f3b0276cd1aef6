#pragma once

#include <sys/types.h>

#include <compare>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/base/result.h"

namespace coffer {

/// One fact about a process, `type:key:value`, named as SPIRE names it (`unix:uid:1000`).
class Selector {
 public:
  /// From what a person wrote; kInvalid unless it is a kind that this program can attest and its
  /// value is in the one form that will compare equal (a decimal id without leading zeros).
  static Result<Selector> parse(std::string_view text);

  static Selector unix_uid(uid_t uid);
  static Selector unix_gid(gid_t gid);
  static Selector unix_supplementary_gid(gid_t gid);

  [[nodiscard]] const std::string& text() const { return text_; }
  /// True of what a request says itself of its caller, uid and gid; for all else /proc is read.
  [[nodiscard]] bool is_of_request() const;
  auto operator<=>(const Selector&) const = default;

 private:
  explicit Selector(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

/// What is known of a calling process. An Identity without selectors is granted nothing.
struct Identity {
  uid_t uid = static_cast<uid_t>(-1);
  gid_t gid = static_cast<gid_t>(-1);
  pid_t pid = 0;
  std::vector<Selector> selectors;  ///< sorted

  [[nodiscard]] bool has(const Selector& selector) const;
};

}  // namespace coffer
