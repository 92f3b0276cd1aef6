#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/backing_place.h"
#include "mount-tools/commands.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

struct PathOptions {
  std::string store;
  std::string path;
  bool reverse = false;
  bool json = false;
  PassphraseOptions passphrase;
};

/// A backing path as it may be given: absolute, or relative to the store's directory with or
/// without a slash before it.
std::string relative_to(const std::string& root, const std::string& given) {
  if (given == root) return "";
  if (given.starts_with(root + "/")) return given.substr(root.size() + 1);
  return given.starts_with("/") ? given.substr(1) : given;
}

/// What stands at the end of the way, as far as it can be told.
struct Target {
  std::string type = "nothing";
  std::optional<FileId> file;
  std::string target_sidecar;  ///< of a symlink with a long target
};

Target look_at(Vfs& vfs, const Who& who, const std::string& path, const std::string& backing) {
  Target target;
  if (path == "/") return {.type = "directory", .file = {}, .target_sidecar = {}};
  const auto [directory, stored] = split_backing(backing);
  const auto dir = open_backing_dir(vfs.backing_root(), directory);
  const auto status = dir ? (*dir)->status_of(stored) : Result<struct stat>(dir.error());
  if (!status) return target;
  if (S_ISDIR(status->st_mode)) {
    target.type = "directory";
  } else if (S_ISREG(status->st_mode)) {
    target.type = "file";
    const auto inode = find_damaged(vfs, who, path);
    const auto claimed = inode ? vfs.claimed_file(who, inode->get()) : Result<FileId>(Error{});
    if (claimed) target.file = *claimed;
  } else if (S_ISLNK(status->st_mode)) {
    target.type = "symlink";
    const auto text = (*dir)->read_symlink(stored);
    if (text && ScopeNames::is_long_target(*text)) target.target_sidecar = *text;
  } else {
    target.type = "special";
  }
  return target;
}

void print_steps(const std::vector<BackingStep>& steps, const Target& target) {
  std::vector<std::vector<std::string>> rows = {{"NAME", "STORED", "DIRECTORY"}};
  for (const BackingStep& step : steps) {
    rows.push_back({step.name, step.stored, step.directory.hex()});
    if (!step.sidecar.empty()) rows.push_back({"", step.sidecar, ""});
  }
  if (!target.target_sidecar.empty()) rows.push_back({"", target.target_sidecar, ""});
  print_table(rows);
}

nlohmann::ordered_json steps_json(const std::vector<BackingStep>& steps) {
  auto list = nlohmann::ordered_json::array();
  for (const BackingStep& step : steps) {
    nlohmann::ordered_json row = {
        {"name", step.name}, {"stored", step.stored}, {"directory", step.directory.hex()}};
    if (!step.sidecar.empty()) row["sidecar"] = step.sidecar;
    list.push_back(std::move(row));
  }
  return list;
}

Result<int> show_path(const PathOptions& options) {
  const auto store = TRY(OpenStore::open_read_only(options.store, options.passphrase));
  const std::string& root = store->config().root;
  const bool reverse = options.reverse || !options.path.starts_with("/") || options.path == root ||
                       options.path.starts_with(root + "/");
  const Who who = store->vfs().who(Caller::self());
  const auto steps = reverse ? TRY(steps_from(store->vfs(), who, relative_to(root, options.path)))
                             : TRY(steps_to(store->vfs(), who, TRY(normalise_path(options.path))));
  const std::string path = plain_path(steps);
  const std::string backing = backing_path(steps);
  const Target target = look_at(store->vfs(), who, path, backing);
  if (options.json) {
    nlohmann::ordered_json shown = {
        {"path", path}, {"backing", backing}, {"type", target.type}, {"steps", steps_json(steps)}};
    if (target.file.has_value()) shown["file"] = target.file->hex();
    if (!target.target_sidecar.empty()) shown["target_sidecar"] = target.target_sidecar;
    print_json(shown);
    return 0;
  }
  std::puts(reverse ? path.c_str() : (backing == "." ? root : root + "/" + backing).c_str());
  if (target.file.has_value()) std::printf("file %s\n", target.file->hex().c_str());
  if (!steps.empty()) print_steps(steps, target);
  return 0;
}

}  // namespace

void add_path_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand(
      "path", "Show where a path of the store lies in the backing, and the other way");
  const auto options = std::make_shared<PathOptions>();
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("PATH", options->path, "A path in the store, from /; or a backing path")
      ->required();
  verb.add_flag("--reverse", options->reverse, "PATH is a backing path, whatever it looks like");
  verb.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.footer(
      "A backing path is one below STORE, or relative to it. Of a path at which nothing stands\n"
      "it says where it would.");
  verb.callback([options, &chosen] { chosen.run = [options] { return show_path(*options); }; });
}

}  // namespace coffer
