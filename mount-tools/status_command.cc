#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "fs/fuse/mount_table.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/commands.h"
#include "mount-tools/control.h"

namespace coffer {
namespace {

struct StatusOptions {
  std::string mountpoint;
  bool json = false;
};

Result<nlohmann::ordered_json> status_of(const std::string& path) {
  const std::string answer = TRY(ask_mount(path, R"({"verb":"status"})"));
  auto status = nlohmann::ordered_json::parse(answer, nullptr, false);
  if (!status.is_object()) return Error{Code::kIo, 0, "the mount's answer was not understood"};
  return status;
}

std::string shown(const nlohmann::ordered_json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

void print_one(const nlohmann::ordered_json& status) {
  std::vector<std::vector<std::string>> rows;
  for (const auto& [key, value] : status.items()) {
    std::string name = key;
    std::replace(name.begin(), name.end(), '_', ' ');
    rows.push_back({name, shown(value)});
  }
  print_table(rows);
}

std::string mode_of(const nlohmann::ordered_json& status) {
  const std::string mode = status.value("read_only", false) ? "ro" : "rw";
  return status.value("locked", false) ? mode + ", locked" : mode;
}

Result<int> show_one(const StatusOptions& options) {
  std::string mountpoint = options.mountpoint;
  if (!is_mounted(mountpoint)) mountpoint = TRY(absolute_path(mountpoint));
  auto status = status_of(control_path(mountpoint));
  if (!status) {
    if (status.error().code != Code::kNotFound) return std::move(status).error();
    const auto mounted = find_mount(mountpoint);
    if (mounted && mounted->type == "fuse.coffer") {
      return Error{Code::kIo, 0,
                   "the daemon of " + mountpoint + " is gone; run: coffer umount " + mountpoint};
    }
    return Error{Code::kNotFound, 0, "no coffer mount at " + mountpoint + "; see: coffer status"};
  }
  if (options.json) {
    print_json(*status);
  } else {
    print_one(*status);
  }
  return 0;
}

Result<int> show_all(const StatusOptions& options) {
  auto list = nlohmann::ordered_json::array();
  std::vector<std::vector<std::string>> rows = {
      {"MOUNTPOINT", "STORE", "MODE", "PID", "ENGINE", "OPEN FILES"}};
  for (const std::string& path : control_paths()) {
    auto status = status_of(path);
    if (!status) continue;
    rows.push_back({shown((*status)["mountpoint"]), shown((*status)["store"]), mode_of(*status),
                    shown((*status)["pid"]), shown((*status)["engine"]),
                    shown((*status)["open_files"])});
    list.push_back(std::move(*status));
  }
  if (options.json) {
    print_json(list);
  } else if (list.empty()) {
    std::puts("no mounts");
  } else {
    print_table(rows);
  }
  return 0;
}

}  // namespace

void add_status_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand("status", "Show this user's mounts, or one of them closely");
  const auto options = std::make_shared<StatusOptions>();
  verb.add_option("MOUNTPOINT", options->mountpoint, "Where a store is mounted");
  verb.add_flag("--json", options->json, "As JSON");
  verb.callback([options, &chosen] {
    chosen.run = [options] {
      return options->mountpoint.empty() ? show_all(*options) : show_one(*options);
    };
  });
}

}  // namespace coffer
