#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "keystore/access/grant.h"
#include "keystore/keyring/rows.h"

namespace coffer {

/// Scopes and grants as of one moment, in the form decisions are made from. Immutable once built.
class Policy {
 public:
  /// kCorrupt if a stored grant can't be understood (it is then not safe to leave it out: it might
  /// be a deny).
  static Result<Policy> from(const PolicySnapshot& snapshot);

  [[nodiscard]] NamesMode names() const { return names_; }
  /// Objects of the store may have extended attributes.
  [[nodiscard]] bool xattrs() const { return xattrs_; }
  [[nodiscard]] std::uint64_t generation() const { return generation_; }
  /// Null if there is none.
  [[nodiscard]] const ScopeRow* scope(ScopeId id) const;
  [[nodiscard]] const ScopeRow* scope_at(std::string_view path) const;
  /// The scope whose subtree `path` lies in.
  [[nodiscard]] const ScopeRow& scope_containing(std::string_view path) const;
  [[nodiscard]] const std::vector<ScopeRow>& scopes() const { return scopes_; }
  /// None if there is no such scope.
  [[nodiscard]] ScopeFlags flags(ScopeId id) const;
  /// True if some scope is strict.
  [[nodiscard]] bool some_strict() const { return some_strict_; }
  /// True if somebody may be let in to read what he can't write to.
  [[nodiscard]] bool some_only_read() const { return some_only_read_; }
  [[nodiscard]] std::span<const Grant> grants(ScopeId id) const;

  /// Each of `wanted` has to be granted; the first refusal decides. Nothing is granted in a scope
  /// that is not in use.
  [[nodiscard]] Decision decide(ScopeId scope, const Identity& who, Rights wanted,
                                std::int64_t now) const;
  /// When a grant begins or ends next: until then, decisions stay what they are at `now`.
  [[nodiscard]] std::optional<std::int64_t> next_change(std::int64_t now) const;
  /// True if `path` is on the way to a scope that `who` may list: a directory above a granted scope
  /// can be passed, not listed.
  [[nodiscard]] bool on_the_way(std::string_view path, const Identity& who, std::int64_t now) const;
  /// True if a scope other than the root lies at or below `path`.
  [[nodiscard]] bool scope_at_or_below(std::string_view path) const;
  /// All that the grants ask for beyond what a request tells of its caller.
  [[nodiscard]] Sources sources() const { return sources_; }

 private:
  NamesMode names_ = NamesMode::kEncrypted;
  bool xattrs_ = false;
  bool some_strict_ = false;
  bool some_only_read_ = false;
  std::uint64_t generation_ = 0;
  std::vector<ScopeRow> scopes_;
  std::map<ScopeId, std::size_t> by_id_;  // each the index of a scope
  std::map<ScopeId, std::vector<Grant>> grants_;
  Sources sources_;
};

/// "/a//b/" → "/a/b", "" and "/" → "/". kInvalid for ".." and ".".
Result<std::string> normalise_path(std::string_view path);

}  // namespace coffer
