#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "keystore/access/grant.h"

namespace coffer::testing {

/// Random grants, identities and moments of a world so small that selectors meet, windows touch and
/// denies hit.
class RandomGrants {
 public:
  explicit RandomGrants(unsigned seed) : random_(seed) {}

  std::vector<Grant> grants() {
    std::vector<Grant> all;
    const unsigned count = below(7);
    for (unsigned i = 0; i < count; ++i) all.push_back(grant(i + 1));
    shuffle(all);
    return all;
  }

  Grant grant(std::int64_t id) {
    Grant grant;
    grant.id = GrantId{id};
    grant.scope = kRootScope;
    grant.deny = below(4) == 0;
    grant.rights.bits = static_cast<std::uint8_t>(below(8));
    grant.everyone = below(5) == 0;
    const unsigned selectors = grant.everyone ? 0 : below(4);
    for (unsigned k = 0; k < selectors; ++k) grant.selectors.push_back(selector());
    if (below(3) == 0) grant.not_before = time();
    if (below(3) == 0) grant.not_after = time();
    if (below(5) == 0) grant.revoked_at = time();
    return grant;
  }

  Identity identity() {
    Identity identity;
    const unsigned count = below(8);
    for (unsigned i = 0; i < count; ++i) identity.selectors.push_back(selector());
    std::sort(identity.selectors.begin(), identity.selectors.end());
    identity.selectors.erase(std::unique(identity.selectors.begin(), identity.selectors.end()),
                             identity.selectors.end());
    return identity;
  }

  Selector selector() {
    const unsigned id = below(3);
    switch (below(3)) {
      case 0:
        return Selector::unix_uid(id);
      case 1:
        return Selector::unix_gid(id);
      default:
        return Selector::unix_supplementary_gid(id);
    }
  }

  Right right() { return kAllRights[below(kAllRights.size())]; }
  std::int64_t time() { return static_cast<std::int64_t>(below(6)) - 2; }
  unsigned below(std::size_t limit) { return static_cast<unsigned>(random_() % limit); }
  void shuffle(std::vector<Grant>& grants) { std::shuffle(grants.begin(), grants.end(), random_); }

 private:
  std::mt19937 random_;
};

inline std::string describe(const std::vector<Selector>& selectors) {
  std::string text;
  for (const Selector& selector : selectors) text += " " + selector.text();
  return text;
}

inline std::string describe(const std::vector<Grant>& grants, const Identity& identity) {
  std::ostringstream out;
  out << "identity {" << describe(identity.selectors) << " }\n";
  const auto number = [](const std::optional<std::int64_t>& value) {
    return value ? std::to_string(*value) : std::string("-");
  };
  for (const Grant& grant : grants) {
    out << "grant " << grant.id.value << (grant.deny ? " deny" : " allow") << " rights "
        << to_string(grant.rights) << (grant.everyone ? " everyone" : "") << " window "
        << number(grant.not_before) << " to " << number(grant.not_after) << " revoked "
        << number(grant.revoked_at) << describe(grant.selectors) << "\n";
  }
  return out.str();
}

}  // namespace coffer::testing
