#include "keystore/broker/policy.h"

#include <algorithm>

namespace coffer {
namespace {

bool lies_within(std::string_view path, std::string_view directory) {
  if (directory == "/") return true;
  return path == directory || (path.size() > directory.size() && path.starts_with(directory) &&
                               path[directory.size()] == '/');
}

Result<Grant> grant_from(const GrantRow& row) {
  Grant grant;
  grant.id = row.id;
  grant.scope = row.scope;
  grant.deny = row.deny;
  grant.rights.bits = row.rights;
  grant.everyone = row.everyone;
  grant.not_before = row.not_before;
  grant.not_after = row.not_after;
  grant.revoked_at = row.revoked_at;
  grant.purpose = row.purpose;
  for (const std::string& text : row.selectors) {
    auto selector = Selector::parse(text);
    if (!selector) {
      return Error{
          Code::kCorrupt, 0,
          "keystore: grant " + std::to_string(row.id.value) + ": " + selector.error().context};
    }
    grant.selectors.push_back(std::move(*selector));
  }
  return grant;
}

/// Alone, or beside others.
bool leaves_only_reading(const Grant& grant) {
  if (grant.revoked_at.has_value()) return false;
  const bool writing = grant.rights.contains(Right::kWrite);
  return grant.deny ? writing : grant.rights.contains(Right::kRead) && !writing;
}

}  // namespace

Result<Policy> Policy::from(const PolicySnapshot& snapshot) {
  Policy policy;
  policy.names_ = snapshot.names;
  policy.xattrs_ = snapshot.xattrs;
  policy.generation_ = snapshot.generation;
  policy.scopes_ = snapshot.scopes;
  for (std::size_t index = 0; index < policy.scopes_.size(); ++index)
    policy.by_id_.emplace(policy.scopes_[index].id, index);
  for (const ScopeRow& scope : policy.scopes_) policy.some_strict_ |= scope.settings.flags.strict;
  for (const GrantRow& row : snapshot.grants) {
    Grant grant = TRY(grant_from(row));
    for (const Selector& selector : grant.selectors) policy.sources_.add(selector.sources());
    policy.some_only_read_ |= leaves_only_reading(grant);
    policy.grants_[row.scope].push_back(std::move(grant));
  }
  if (policy.scope_at("/") == nullptr)
    return Error{Code::kCorrupt, 0, "keystore: there is no root scope"};
  return policy;
}

const ScopeRow* Policy::scope(ScopeId id) const {
  const auto found = by_id_.find(id);
  return found == by_id_.end() ? nullptr : &scopes_[found->second];
}

const ScopeRow* Policy::scope_at(std::string_view path) const {
  const auto found = std::find_if(scopes_.begin(), scopes_.end(),
                                  [&](const ScopeRow& row) { return row.path == path; });
  return found == scopes_.end() ? nullptr : &*found;
}

const ScopeRow& Policy::scope_containing(std::string_view path) const {
  const ScopeRow* deepest = scope_at("/");
  for (const ScopeRow& row : scopes_) {
    if (lies_within(path, row.path) && row.path.size() > deepest->path.size()) deepest = &row;
  }
  return *deepest;
}

ScopeFlags Policy::flags(ScopeId id) const {
  const ScopeRow* const row = scope(id);
  return row == nullptr ? ScopeFlags{} : row->settings.flags;
}

std::span<const Grant> Policy::grants(ScopeId id) const {
  const auto found = grants_.find(id);
  if (found == grants_.end()) return {};
  return found->second;
}

Decision Policy::decide(ScopeId scope_id, const Identity& who, Rights wanted,
                        std::int64_t now) const {
  Decision last{
      .allowed = false, .code = Code::kDenied, .grant = {}, .reason = "no right asked for"};
  const ScopeRow* const in = scope(scope_id);
  if (in != nullptr && !is_usable(in->state)) {
    last.code = Code::kRevoked;
    last.reason =
        in->state == KeyState::kSuspended ? "the scope is suspended" : "the scope was revoked";
    return last;
  }
  for (const Right right : kAllRights) {
    if (!wanted.contains(right)) continue;
    last = coffer::decide(grants(scope_id), who, right, now);
    if (!last.allowed) break;
  }
  return last;
}

std::optional<std::int64_t> Policy::next_change(std::int64_t now) const {
  std::optional<std::int64_t> next;
  for (const auto& [scope, grants] : grants_) {
    for (const Grant& grant : grants) {
      for (const auto& time : {grant.not_before, grant.not_after}) {
        if (time.has_value() && *time > now && (!next.has_value() || *time < *next)) next = time;
      }
    }
  }
  return next;
}

bool Policy::on_the_way(std::string_view path, const Identity& who, std::int64_t now) const {
  return std::any_of(scopes_.begin(), scopes_.end(), [&](const ScopeRow& row) {
    return row.id != kRootScope && lies_within(row.path, path) &&
           coffer::decide(grants(row.id), who, Right::kList, now).allowed;
  });
}

bool Policy::scope_at_or_below(std::string_view path) const {
  return std::any_of(scopes_.begin(), scopes_.end(), [&](const ScopeRow& row) {
    return row.id != kRootScope && lies_within(row.path, path);
  });
}

Result<std::string> normalise_path(std::string_view path) {
  std::string out;
  std::size_t at = 0;
  while (at < path.size()) {
    const std::size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part == "." || part == "..") {
      return Error{Code::kInvalid, 0,
                   "path " + std::string(path) + ": '.' and '..' have no place in it"};
    }
    if (!part.empty()) out.append("/").append(part);
    at = end + 1;
  }
  return out.empty() ? "/" : out;
}

}  // namespace coffer
