#pragma once

#include <sys/types.h>

#include <compare>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/access/source.h"
#include "keystore/base/result.h"

namespace coffer {

/// One fact about a process, `type:key:value`, named as SPIRE names it (`unix:uid:1000`). What
/// there is, and what each kind says, stands in fs/IDENTITY.md.
class Selector {
 public:
  /// From what a person wrote; kInvalid unless it is a kind that this program can attest and its
  /// value is in the one form that will compare equal: a decimal id without leading zeros, hex in
  /// lower case, a path as the kernel writes it.
  static Result<Selector> parse(std::string_view text);
  /// Of what the system says; nothing if it is not in that form (a file's name may be anything), or
  /// there is no such kind. `kind` is the text before the value, `unix:path:`.
  static std::optional<Selector> attested(std::string_view kind, std::string_view value);

  static Selector unix_uid(uid_t uid);
  static Selector unix_gid(gid_t gid);
  static Selector unix_supplementary_gid(gid_t gid);

  [[nodiscard]] const std::string& text() const { return text_; }
  /// What has to be read of a process to know whether it holds. Of what a request says itself of
  /// its caller, uid and gid: nothing.
  [[nodiscard]] Sources sources() const;
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
  /// What was read: of a selector from elsewhere nothing is known, neither that it holds nor that
  /// it does not.
  Sources known = Sources::all();
  /// The kernel's words for its control groups (/proc/TID/cgroup), where they were read.
  std::shared_ptr<const std::string> cgroups = {};
  /// Held once: no grant lets in by it any more, and a deny refuses by it as before. Sorted.
  std::vector<Selector> past = {};

  /// It is known to hold.
  [[nodiscard]] bool has(const Selector& selector) const;
  /// It holds or did once.
  [[nodiscard]] bool had(const Selector& selector) const;
  /// It is not known not to hold.
  [[nodiscard]] bool may_have(const Selector& selector) const;
};

}  // namespace coffer
