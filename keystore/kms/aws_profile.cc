#include "keystore/kms/aws_profile.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <string_view>

#include "keystore/kms/node_settings.h"
#include "keystore/kms/private_file.h"

namespace coffer {
namespace {

constexpr std::size_t kMostOfFile = 64 * 1024;

/// "[profile NAME]" of the config file, "[NAME]" of the credentials file; "[default]" of both.
bool is_section(std::string_view line, bool config, const std::string& name) {
  constexpr std::string_view kProfile = "profile";
  if (!line.ends_with(']')) return false;
  std::string_view title = trimmed(line.substr(1, line.size() - 2));
  if (config && title.starts_with(kProfile) && title.size() > kProfile.size() &&
      (title[kProfile.size()] == ' ' || title[kProfile.size()] == '\t')) {
    title = trimmed(title.substr(kProfile.size()));
  } else if (config && title != "default") {
    return false;
  }
  if (title.size() > 1 && title.starts_with('"') && title.ends_with('"'))
    title = title.substr(1, title.size() - 2);
  return title == name;
}

void set(AwsProfile& profile, std::string_view name, std::string_view value) {
  constexpr std::array<std::string_view, 6> kOtherWays = {"source_profile",     "credential_source",
                                                          "credential_process", "sso_session",
                                                          "sso_start_url",      "sso_account_id"};
  if (name == "aws_secret_access_key") {
    profile.secret_access_key = SecretBytes::copy_of(as_bytes(value));
  } else if (name == "aws_session_token") {
    profile.session_token = SecretBytes::copy_of(as_bytes(value));
  } else if (name == "aws_access_key_id") {
    profile.access_key_id = value;
  } else if (name == "role_arn") {
    profile.role_arn = value;
  } else if (name == "web_identity_token_file") {
    profile.web_identity_token_file = value;
  } else if (name == "role_session_name") {
    profile.role_session_name = value;
  } else if (name == "region") {
    profile.region = value;
  } else if (std::ranges::find(kOtherWays, name) != kOtherWays.end()) {
    profile.other_way = name;
  }
}

void add(AwsProfile& profile, std::string_view text, bool config, const std::string& name) {
  bool inside = false;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view raw = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    const std::string_view line = trimmed(raw);
    if (line.empty() || line[0] == '#' || line[0] == ';') continue;
    if (line[0] == '[') {
      inside = is_section(line, config, name);
      profile.found = profile.found || inside;
      continue;
    }
    // What is indented belongs to a setting of several ("s3 =").
    const std::size_t equals = line.find('=');
    if (!inside || raw[0] == ' ' || raw[0] == '\t' || equals == std::string_view::npos) continue;
    set(profile, trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1)));
  }
}

/// What the later file says goes before; a key and its token are of one file.
void merge(AwsProfile& profile, AwsProfile later) {
  profile.found = profile.found || later.found;
  if (!later.access_key_id.empty()) {
    profile.access_key_id = std::move(later.access_key_id);
    profile.secret_access_key = std::move(later.secret_access_key);
    profile.session_token = std::move(later.session_token);
  }
  const auto take = [](std::string& from, std::string& to) {
    if (!from.empty()) to = std::move(from);
  };
  take(later.role_arn, profile.role_arn);
  take(later.web_identity_token_file, profile.web_identity_token_file);
  take(later.role_session_name, profile.role_session_name);
  take(later.region, profile.region);
  take(later.other_way, profile.other_way);
}

}  // namespace

Result<AwsProfile> AwsProfile::read(const std::string& config_file,
                                    const std::string& credentials_file, const std::string& name) {
  AwsProfile profile;
  for (const std::string* const file : {&config_file, &credentials_file}) {
    if (file->empty()) continue;
    const auto text = read_private_file("AWS file", *file, kMostOfFile);
    if (!text && text.error().errno_value == ENOENT) continue;
    if (!text) return text.error();
    if (text->size() == kMostOfFile)
      return Error{Code::kKeyUnavailable, 0, "AWS file " + *file + " is too long"};
    AwsProfile here;
    add(here, as_text(text->expose()), file == &config_file, name);
    merge(profile, std::move(here));
  }
  return profile;
}

}  // namespace coffer
