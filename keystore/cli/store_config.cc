#include "keystore/cli/store_config.h"

#include <sys/stat.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <sstream>

#include "keystore/base/atomic_file.h"
#include "keystore/broker/policy.h"

namespace coffer {
namespace {

/// What this program reads (fs/FORMAT.md, 8). A new store is of the first.
constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kFormatWithXattrs = 3;
constexpr std::size_t kLargestConfig = 64 * 1024;

std::string environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::string home_relative(const char* variable, const std::string& below_home) {
  const std::string base = environment(variable);
  if (!base.empty()) return base + "/coffer";
  return environment("HOME") + below_home;
}

Result<toml::table> parse_config(const std::string& text, const std::string& path) {
  try {
    return toml::parse(text);
  } catch (const toml::parse_error& error) {
    return Error{Code::kCorrupt, 0, path + ": " + std::string(error.description())};
  }
}

}  // namespace

Result<std::string> absolute_path(const std::string& path) {
  if (path.empty()) return Error{Code::kInvalid, 0, "an empty path"};
  if (char resolved[PATH_MAX]; ::realpath(path.c_str(), resolved) != nullptr)
    return std::string(resolved);
  if (errno != ENOENT) return errno_error(errno, path);
  // What is not there yet: its parent has to be.
  std::string trimmed = path;
  while (trimmed.size() > 1 && trimmed.back() == '/') trimmed.pop_back();
  const std::size_t slash = trimmed.find_last_of('/');
  const std::string name = slash == std::string::npos ? trimmed : trimmed.substr(slash + 1);
  if (name.empty() || name == "." || name == "..") return errno_error(ENOENT, path);
  std::string parent = slash == std::string::npos ? "." : trimmed.substr(0, slash);
  if (parent.empty()) parent = "/";
  auto resolved = absolute_path(parent);
  if (resolved && resolved->back() != '/') resolved->push_back('/');
  if (resolved) resolved->append(name);
  return resolved;
}

Result<StoreConfig> read_store_config(const std::string& root) {
  StoreConfig config;
  auto absolute = absolute_path(root);
  struct stat status {};
  if (!absolute || ::stat(absolute->c_str(), &status) != 0) {
    return Error{Code::kNotAStore, 0, root + " is not there"};
  }
  config.root = std::move(*absolute);
  const std::string path = config.root + "/.coffer/store.toml";
  auto content = read_small_file(path, kLargestConfig);
  if (!content) {
    if (content.error().errno_value == ENOENT || content.error().errno_value == ENOTDIR) {
      return Error{Code::kNotAStore, 0, root + " is not a coffer store"};
    }
    Error error = std::move(content).error();
    if (error.code == Code::kInvalid) error.code = Code::kCorrupt;  // too long, or not a file
    return error;
  }
  const toml::table table = TRY(parse_config(std::string(as_text(*content)), path));
  // Exact: a number with a fraction or an exponent is no version.
  const auto format = table["format"].value_exact<std::int64_t>();
  const auto store = table["store"].value_exact<std::string>();
  const auto keystore = table["keystore"].value_exact<std::string>();
  if (!format || !store || !keystore || keystore->empty()) {
    return Error{Code::kCorrupt, 0, path + " lacks format, store or keystore"};
  }
  if (*format != kFormat && *format != kFormatWithXattrs) {
    return Error{Code::kUnknownVersion, 0,
                 path + " has format " + std::to_string(*format) + ", this program knows " +
                     std::to_string(kFormat) + " and " + std::to_string(kFormatWithXattrs)};
  }
  const auto id = from_hex(*store);
  if (!id || id->size() != 16) return Error{Code::kCorrupt, 0, path + ": malformed store id"};
  config.store = StoreId::from(*id);
  config.keystore = (*keystore)[0] == '/' ? *keystore : config.root + "/" + *keystore;
  return config;
}

Result<void> write_store_config(const std::string& root, StoreId store,
                                const std::string& keystore) {
  const toml::table table{
      {"format", kFormat},
      {"store", store.hex()},
      {"keystore", keystore.empty() ? std::string(".coffer/keystore.db") : keystore}};
  std::ostringstream text;
  text << table << '\n';
  return create_file(root + "/.coffer/store.toml", as_bytes(text.str()), 0644);
}

Result<void> raise_store_format(const std::string& root) {
  const std::string path = root + "/.coffer/store.toml";
  const ByteVector content = TRY(read_small_file(path, kLargestConfig));
  toml::table table = TRY(parse_config(std::string(as_text(content)), path));
  if (table["format"].value<std::int64_t>() == kFormatWithXattrs) return {};
  table.insert_or_assign("format", kFormatWithXattrs);
  std::ostringstream text;
  text << table << '\n';
  return replace_file(path, as_bytes(text.str()), 0644);
}

Result<StorePath> parse_store_path(const std::string& text) {
  StorePath parsed{.root = text, .path = "/", .path_given = false, .trailing_slash = false};
  struct stat status {};
  const std::size_t colon = text.find_last_of(':');
  // A directory whose name has a colon is meant as it stands.
  if (colon == std::string::npos || ::stat(text.c_str(), &status) == 0) return parsed;
  const std::string path = text.substr(colon + 1);
  parsed.root = text.substr(0, colon);
  parsed.path = TRY(normalise_path(path));
  parsed.path_given = !path.empty();
  parsed.trailing_slash = !path.empty() && path.back() == '/';
  return parsed;
}

std::string state_directory() {
  if (std::string given = environment("COFFER_STATE_DIR"); !given.empty()) return given;
  if (::geteuid() == 0) return "/var/lib/coffer";
  return home_relative("XDG_STATE_HOME", "/.local/state/coffer");
}

std::string default_key_directory() {
  if (::geteuid() == 0) return "/etc/coffer/keys";
  return home_relative("XDG_CONFIG_HOME", "/.config/coffer") + "/keys";
}

namespace {

/// Of what this node keeps of one store.
std::string state_path(StoreId store, const char* name) {
  return state_directory() + "/" + store.hex() + "/" + name;
}

}  // namespace

std::string audit_log_path(StoreId store) { return state_path(store, "audit.jsonl"); }

std::string keystore_seen_path(StoreId store) { return state_path(store, "keystore.seen"); }

Result<std::string> master_uri(const std::string& given, StoreId store, const std::string& root) {
  constexpr std::string_view kLocal = "local:";
  std::string uri =
      given.empty() ? "local:" + default_key_directory() + "/" + store.hex() + ".key" : given;
  if (!uri.starts_with(kLocal)) return uri;
  std::string path = uri.substr(kLocal.size());
  if (path.empty()) return Error{Code::kInvalid, 0, "local: needs the path of the key file"};
  if (!given.empty()) path = TRY(absolute_path(path));
  if (path == root || path.starts_with(root + "/")) {
    return Error{Code::kInvalid, 0,
                 "the master key must not lie in the store, whoever copies that would have both; "
                 "give a path outside it"};
  }
  return std::string(kLocal) + path;
}

}  // namespace coffer
