#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <thread>

#include "keystore/base/clock.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/line_tail.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

constexpr auto kFollowPoll = std::chrono::milliseconds(200);
constexpr std::array<std::string_view, 7> kEvents = {"release", "refuse", "close",  "withdraw",
                                                     "admin",   "key",    "dropped"};

struct ShowOptions {
  std::string store;
  std::string since;
  std::string until;
  std::string path;
  std::string scope;
  std::string selector;
  std::string decision;
  std::string event;
  bool follow = false;
  bool json = false;
};

/// Set by SIGINT while lines are followed.
std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free);

/// A time, or how long ago.
Result<std::string> time_bound(const std::string& text) {
  if (text.empty()) return std::string();
  if (const auto ago = parse_duration(text)) return format_time(Clock().unix_seconds() - *ago);
  return format_time(TRY(parse_time(text)));
}

std::string text_field(const nlohmann::json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string number_field(const nlohmann::json& line, const char* name) {
  const auto found = line.find(name);
  return found != line.end() && found->is_number_integer() ? found->dump() : std::string();
}

class LineFilter {
 public:
  static Result<LineFilter> from(const ShowOptions& options) {
    LineFilter filter(options);
    filter.since_ = TRY(time_bound(options.since));
    filter.until_ = TRY(time_bound(options.until));
    if (!options.decision.empty() && options.decision != "allow" && options.decision != "deny") {
      return Error{Code::kInvalid, 0, "no decision: " + options.decision + " (allow or deny)"};
    }
    if (!options.event.empty() &&
        std::find(kEvents.begin(), kEvents.end(), options.event) == kEvents.end()) {
      return Error{Code::kInvalid, 0,
                   "no event: " + options.event + "; see coffer audit show --help"};
    }
    return filter;
  }

  [[nodiscard]] const std::string& since() const { return since_; }

  [[nodiscard]] bool takes(const nlohmann::json& line) const {
    const std::string time = text_field(line, "time");
    // Times of one form compare as texts; the bounds lack the fraction and the Z.
    const auto seconds = [](const std::string& text) { return text.substr(0, 19); };
    if (!since_.empty() && seconds(time) < seconds(since_)) return false;
    if (!until_.empty() && seconds(time) >= seconds(until_)) return false;
    if (!options_.decision.empty() && text_field(line, "decision") != options_.decision) {
      return false;
    }
    if (!options_.event.empty() && text_field(line, "event") != options_.event) return false;
    if (!options_.scope.empty() && text_field(line, "scope") != options_.scope) return false;
    return takes_path(text_field(line, "path")) && takes_identity(line);
  }

 private:
  explicit LineFilter(const ShowOptions& options) : options_(options) {}

  /// The path itself, and what is below it.
  [[nodiscard]] bool takes_path(const std::string& path) const {
    if (options_.path.empty() || path == options_.path) return true;
    const std::string below = options_.path.ends_with('/') ? options_.path : options_.path + "/";
    return path.starts_with(below);
  }

  [[nodiscard]] bool takes_identity(const nlohmann::json& line) const {
    if (options_.selector.empty()) return true;
    const auto identity = line.find("identity");
    if (identity == line.end() || !identity->is_object()) return false;
    if (const auto selectors = identity->find("selectors"); selectors != identity->end()) {
      for (const nlohmann::json& selector : *selectors) {
        if (selector == options_.selector) return true;
      }
    }
    return options_.selector == "unix:uid:" + number_field(*identity, "uid") ||
           options_.selector == "unix:gid:" + number_field(*identity, "gid");
  }

  const ShowOptions& options_;
  std::string since_;
  std::string until_;
};

/// No control characters: a name must not write to the reader's terminal.
std::string shown(std::string text) {
  for (char& byte : text) {
    if (static_cast<unsigned char>(byte) < 0x20 || byte == 0x7f) byte = '?';
  }
  return text.empty() ? "-" : text;
}

std::string who(const nlohmann::json& line) {
  const auto identity = line.find("identity");
  if (identity == line.end() || !identity->is_object()) return "-";
  std::string text;
  for (const char* const name : {"uid", "pid"}) {
    const std::string value = number_field(*identity, name);
    if (!value.empty()) text += (text.empty() ? "" : " ") + std::string(name) + " " + value;
  }
  return shown(text);
}

void print_row(const std::string& time, const std::string& event, const std::string& decision,
               const std::string& rights, const std::string& identity, const std::string& grant,
               const std::string& what) {
  std::printf("%-27s  %-8s  %-8s  %-10s  %-20s  %-5s  %s\n", time.c_str(), event.c_str(),
              decision.c_str(), rights.c_str(), identity.c_str(), grant.c_str(), what.c_str());
}

void print_line(const nlohmann::json& line) {
  std::string what = text_field(line, "path");
  const std::string detail = text_field(line, "detail");
  const std::string reason = text_field(line, "reason");
  if (what.empty()) what = text_field(line, "scope");
  if (!detail.empty()) what += (what.empty() ? "" : "  ") + detail;
  if (text_field(line, "decision") == "deny" && !reason.empty()) what += "  (" + reason + ")";
  for (const char* const name : {"bytes_read", "bytes_written", "lost"}) {
    const std::string value = number_field(line, name);
    if (!value.empty()) what += "  " + std::string(name) + " " + value;
  }
  print_row(shown(text_field(line, "time")), shown(text_field(line, "event")),
            shown(text_field(line, "decision")), shown(text_field(line, "right")), who(line),
            shown(number_field(line, "grant")), shown(what));
}

/// Prints what of a line is to be shown.
void show_line(std::string_view text, const LineFilter& filter, bool json) {
  const auto line = nlohmann::json::parse(text, nullptr, false);
  if (!line.is_object() || !filter.takes(line)) return;
  if (json) {
    std::printf("%.*s\n", static_cast<int>(text.size()), text.data());
  } else {
    print_line(line);
  }
}

Result<int> show(const ShowOptions& options) {
  const LineFilter filter = TRY(LineFilter::from(options));
  const StoreConfig config = TRY(read_store_config(options.store));
  const std::string path = audit_log_path(config.store);
  auto tail = LineTail::from_oldest(path, filter.since());
  if (!tail && tail.error().code == Code::kNotFound) {
    return Error{Code::kNotFound, 0, "no audit log at " + path + " on this node"};
  }
  if (!tail) return std::move(tail).error();
  if (!options.json) print_row("TIME", "EVENT", "DECISION", "RIGHT", "WHO", "GRANT", "WHAT");
  const auto show_new = [&] {
    auto read = tail->read([&](std::string_view line) { show_line(line, filter, options.json); });
    std::fflush(stdout);
    return read;
  };
  TRY(show_new());
  if (!options.follow) return 0;
  // As `tail -F`.
  struct sigaction action {};
  action.sa_handler = [](int) { interrupted = true; };
  ::sigaction(SIGINT, &action, nullptr);
  while (!interrupted) {
    TRY(show_new());
    std::this_thread::sleep_for(kFollowPoll);
  }
  return 0;
}

}  // namespace

void add_audit_show_command(CLI::App& audit, ChosenCommand& chosen) {
  const auto options = std::make_shared<ShowOptions>();
  CLI::App& verb = *audit.add_subcommand("show", "Show lines of the log");
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("--since", options->since,
                  "A time, as 2026-12-31T18:00:00Z, or how long ago: 1h");
  verb.add_option("--until", options->until, "The same");
  verb.add_option("--path", options->path, "Only of this path in the store, and below");
  verb.add_option("--scope", options->scope, "Only of the scope at this path");
  verb.add_option("--selector", options->selector, "Only of who has it, as unix:uid:1000");
  verb.add_option("--decision", options->decision, "allow or deny");
  verb.add_option("--event", options->event,
                  "release, refuse, close, withdraw, admin, key or dropped");
  verb.add_flag("--follow", options->follow, "Go on with lines as they come, until SIGINT");
  verb.add_flag("--json", options->json, "The lines as they stand in the log");
  verb.callback([options, &chosen] { chosen.run = [options] { return show(*options); }; });
}

}  // namespace coffer
