#include "keystore/cli/grant_text.h"

#include <nlohmann/json.hpp>

#include "keystore/access/grant.h"
#include "keystore/base/clock.h"
#include "keystore/cli/commands.h"

namespace coffer {

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " ") + text;
  return all;
}

std::string who_text(const GrantRow& grant) {
  return grant.everyone ? "everyone" : joined(grant.selectors);
}

std::string effect_text(const GrantRow& grant) { return grant.deny ? "deny" : "allow"; }

nlohmann::ordered_json grant_json(const GrantRow& grant, const PolicySnapshot& policy,
                                  std::int64_t now) {
  nlohmann::ordered_json row = {{"id", grant.id.value},
                                {"scope", scope_path(policy, grant.scope)},
                                {"effect", effect_text(grant)},
                                {"rights", to_string(Rights{grant.rights})},
                                {"everyone", grant.everyone},
                                {"selectors", grant.selectors},
                                {"state", to_string(lifetime_at(grant, now))},
                                {"purpose", grant.purpose},
                                {"created", format_time(grant.created_at)},
                                {"created_by", grant.created_by}};
  if (grant.not_before) row["not_before"] = format_time(*grant.not_before);
  if (grant.not_after) row["not_after"] = format_time(*grant.not_after);
  if (grant.revoked_at) row["revoked"] = format_time(*grant.revoked_at);
  return row;
}

}  // namespace coffer
