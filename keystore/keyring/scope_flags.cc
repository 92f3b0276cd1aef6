#include "keystore/keyring/scope_flags.h"

#include <algorithm>
#include <string>

#include "keystore/keyring/schema.h"

namespace coffer {
namespace {

constexpr std::string_view kScopePrefix = "scope:";
constexpr std::uint8_t kStrict = 1;
constexpr std::uint8_t kPurge = 2;

std::string row_name(ScopeId scope) {
  return std::string(kScopePrefix) + std::to_string(scope.value);
}

Result<ScopeFlags> flags_from(Bytes value) {
  if (value.size() != 1 || value[0] == 0)
    return Error{Code::kCorrupt, 0, "keystore: malformed flags of a scope"};
  if ((value[0] & ~(kStrict | kPurge)) != 0) {
    return Error{Code::kUnknownVersion, 0,
                 "a scope of the keystore has flags that this program does not know; use a newer "
                 "coffer"};
  }
  return ScopeFlags{.strict = (value[0] & kStrict) != 0, .purge = (value[0] & kPurge) != 0};
}

}  // namespace

Result<void> write_scope_flags(Database& database, ScopeId scope, ScopeFlags flags) {
  if (flags == ScopeFlags{}) {
    Statement remove = TRY(database.prepare("DELETE FROM meta WHERE name = ?1;"));
    return remove.start(row_name(scope)).run();
  }
  const auto value =
      static_cast<std::uint8_t>((flags.strict ? kStrict : 0) | (flags.purge ? kPurge : 0));
  return write_meta(database, row_name(scope), {&value, 1});
}

Result<void> read_scope_flags(Database& database, std::vector<ScopeRow>& scopes) {
  // ';' comes after ':'.
  Statement statement = TRY(database.prepare(
      "SELECT name, value FROM meta WHERE name >= 'scope:' AND name < 'scope;' ORDER BY name;"));
  Query row = statement.start();
  while (TRY(row.next())) {
    const auto scope = std::find_if(scopes.begin(), scopes.end(), [&](const ScopeRow& each) {
      return row.text(0) == row_name(each.id);
    });
    if (scope == scopes.end())
      return Error{Code::kCorrupt, 0, "keystore: flags of a scope that is not there"};
    scope->settings.flags = TRY(flags_from(row.blob(1)));
  }
  return {};
}

}  // namespace coffer
