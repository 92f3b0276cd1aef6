#include "mount-tools/quarantine.h"

#include <fcntl.h>

#include <array>
#include <ctime>
#include <nlohmann/json.hpp>

#include "keystore/base/clock.h"
#include "keystore/cli/print_json.h"
#include "keystore/crypto/random.h"
#include "mount-tools/backing_place.h"

namespace coffer {
namespace {

constexpr const char* kQuarantineDir = "quarantine";
constexpr std::string_view kNoteSuffix = ".json";

std::string quarantine_path() { return std::string(kPrivateDir) + "/" + kQuarantineDir; }

/// "20261231T180000Z-1f2e3d4c": in the order of time, and no two alike.
std::string new_name() {
  std::array<std::uint8_t, 4> random{};
  random_bytes(random);
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::array<char, 32> text{};
  std::strftime(text.data(), text.size(), "%Y%m%dT%H%M%SZ-", &parts);
  return text.data() + to_hex(random);
}

}  // namespace

Result<void> Quarantine::make_place() {
  if (place_ != nullptr) return {};
  const auto private_dir = TRY(open_backing_dir(root_, kPrivateDir));
  if (auto made = private_dir->make_dir(kQuarantineDir, 0700);
      !made && made.error().code != Code::kExists) {
    return made;
  }
  const auto quarantine = TRY(private_dir->open_dir(kQuarantineDir));
  const std::string name = new_name();
  TRY(quarantine->make_dir(name, 0700));
  TRY(quarantine->sync());
  TRY(private_dir->sync());
  place_ = TRY(quarantine->open_dir(name));
  path_ = quarantine_path() + "/" + name;
  return {};
}

Result<std::string> Quarantine::set_aside(const Finding& finding) {
  const auto [directory, stored] = split_backing(finding.backing);
  const auto from = TRY(open_backing_dir(root_, directory));
  if (S_ISDIR(TRY(from->status_of(stored)).st_mode))
    return Error{Code::kUnsupported, 0, "directories are left where they are"};
  TRY(make_place());
  const std::string number = std::to_string(++count_);
  // Nothing in plaintext: whoever may read the backing may read this.
  const std::string note = json_line({{"format", 1},
                                      {"from", finding.backing},
                                      {"kind", to_string(finding.kind)},
                                      {"cause", to_string(finding.cause)}});
  TRY(place_->replace_small(number + std::string(kNoteSuffix), as_bytes(note + "\n"), 0600));
  TRY(from->rename(stored, *place_, number, RENAME_NOREPLACE));
  if (ScopeNames::is_long_name(stored)) {
    // Without its entry it would be garbage. It may well be missing.
    (void)from->rename(ScopeNames::name_sidecar(stored), *place_, number + ".name",
                       RENAME_NOREPLACE);
  }
  TRY(place_->sync());
  TRY(from->sync());
  return path_ + "/" + number;
}

std::vector<std::string> quarantined_items(const BackingDir& root) {
  std::vector<std::string> items;
  for (const std::string& run : stored_names(root, quarantine_path())) {
    const std::string path = join_backing(quarantine_path(), run);
    for (const std::string& name : stored_names(root, path)) {
      if (name.find_first_not_of("0123456789") == std::string::npos)
        items.push_back(join_backing(path, name));
    }
  }
  return items;
}

}  // namespace coffer
