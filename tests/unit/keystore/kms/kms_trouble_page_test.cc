// Whether all providers are tried, and what KMS.md says of it.

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "keystore/base/atomic_file.h"
#include "keystore/kms/master_kms.h"
#include "tests/unit/keystore/kms/kms_trouble.h"
#include "tests/unit/keystore/kms/kms_trouble_kinds.h"

namespace coffer {
namespace {

/// One that the program knows and that is not tried here.
TEST(KmsTroubleSuite, IsAboutEveryProvider) {
  std::set<std::string> tried;
  for (const auto make : kProvidersInTrouble) tried.insert(make().scheme);
  const auto unknown = create_master("nothing:", [](bool) -> Result<SecretBytes> {
    return Error{Code::kKeyUnavailable, 0, "nobody"};
  });
  ASSERT_FALSE(unknown.ok());
  // "… (there are local:PATH, passphrase:, …)"
  std::istringstream forms(unknown.error().message());
  std::size_t known = 0;
  for (std::string word; forms >> word;) {
    const auto colon = word.find(':');
    if (colon == std::string::npos || word.starts_with('\'')) continue;
    ++known;
    EXPECT_TRUE(tried.contains(word.substr(0, colon + 1))) << word;
  }
  EXPECT_EQ(known, tried.size()) << unknown.error().message();
}

std::string said(const KmsOutcome& outcome) {
  return outcome ? "`" + std::string(to_string(*outcome)) + "`" : "goes on";
}

/// The table of KMS.md.
std::string table() {
  std::ostringstream out;
  std::ostringstream otherwise;
  std::vector<std::string> reasons;
  out << "| | said |";
  for (const auto make : kProvidersInTrouble) out << " " << make().name << " |";
  out << "\n|---|---|";
  for ([[maybe_unused]] const auto make : kProvidersInTrouble) out << "---|";
  for (const TroubleKind& kind : kTroubles) {
    out << "\n| " << kind.words << " | " << said(kind.outcome) << " |";
    for (const auto make : kProvidersInTrouble) {
      const KmsInTrouble provider = make();
      const KmsCause& cause = provider.troubles.*kind.cause;
      if (!cause.otherwise().empty()) otherwise << "\n- " << provider.name << ", " << kind.words;
      for (const auto& [call, outcome] : cause.otherwise())
        otherwise << (call == cause.otherwise().begin()->first ? ": " : ", ") << call << " "
                  << said(outcome);
      if (cause.is_there()) {
        out << " tried |";
        continue;
      }
      auto found = std::ranges::find(reasons, cause.why_not());
      if (found == reasons.end()) found = reasons.insert(found, cause.why_not());
      out << " " << static_cast<char>('a' + (found - reasons.begin())) << " |";
    }
  }
  out << "\n\nThere is none: ";
  for (std::size_t i = 0; i < reasons.size(); ++i)
    out << (i == 0 ? "" : "; ") << static_cast<char>('a' + i) << ": " << reasons[i];
  out << ".\n\nWhere a call is told otherwise:\n" << otherwise.str() << "\n";
  return out.str();
}

TEST(KmsTroubleSuite, IsWrittenDown) {
  const auto page = read_small_file(COFFER_KMS_PAGE, 100'000);
  ASSERT_TRUE(page.ok()) << page.error().message();
  EXPECT_NE(as_text(*page).find(table()), std::string::npos) << "keystore/KMS.md should have:\n"
                                                             << table();
}

}  // namespace
}  // namespace coffer
