#include "mount-tools/mount_command.h"

#include <fcntl.h>
#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/dup_filter_sink.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "fs/fuse/fuse_session.h"
#include "fs/fuse/mount_table.h"
#include "keystore/base/clock.h"
#include "keystore/base/unique_fd.h"
#include "keystore/cli/exit_code.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"
#include "mount-tools/commands.h"
#include "mount-tools/control.h"
#include "mount-tools/daemon.h"
#include "mount-tools/hardening.h"
#include "mount-tools/lock_command.h"
#include "mount-tools/mounter.h"
#include "mount-tools/scope_create.h"
#include "mount-tools/wiring.h"

#ifndef PR_SET_IO_FLUSHER
#define PR_SET_IO_FLUSHER 57
#endif

namespace coffer {
namespace {

/// Options of mount(8) and fstab that are none of ours and change nothing here.
constexpr std::array<std::string_view, 12> kIgnored = {"defaults", "auto",   "noauto", "user",
                                                       "users",    "nouser", "owner",  "group",
                                                       "_netdev",  "nofail", "async",  "rw"};
/// Those that go to the kernel as they are.
constexpr std::array<std::string_view, 10> kForKernel = {
    "nodev", "nosuid", "noexec", "noatime", "relatime", "sync", "dirsync", "dev", "suid", "exec"};

struct Parsed {
  MountOptions mount;
  bool nonempty = false;
};

Result<std::int64_t> lifetime_of(const std::string& option, const std::string& value) {
  const auto seconds = parse_duration(value);
  if (!seconds) {
    return Error{Code::kInvalid, 0, "mount option '" + option + "': " + seconds.error().message()};
  }
  return *seconds;
}

Result<void> apply_option(const std::string& option, MountCommand& command, Parsed& parsed) {
  const std::size_t equals = option.find('=');
  const std::string key = option.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
  if (std::find(kIgnored.begin(), kIgnored.end(), key) != kIgnored.end() || key.starts_with("x-") ||
      key.starts_with("comment")) {
    return {};
  }
  if (std::find(kForKernel.begin(), kForKernel.end(), key) != kForKernel.end()) {
    parsed.mount.extra.push_back(key);
  } else if (key == "ro") {
    command.read_only = true;
  } else if (key == "allow_other") {
    parsed.mount.allow_other = true;
  } else if (key == "noallow_other") {
    parsed.mount.allow_other = false;
  } else if (key == "nonempty") {
    parsed.nonempty = true;
  } else if (key == "noseccomp") {
    command.filter_calls = false;
  } else if (key == "passphrase_file" && !value.empty()) {
    command.passphrase.file = value;
  } else if (key == "log" && !value.empty()) {
    command.log_file = value;
  } else if (key == "key_ttl" && !value.empty()) {
    command.key_lifetime.ttl_s = TRY(lifetime_of(option, value));
    if (command.key_lifetime.ttl_s == 0)
      return Error{Code::kInvalid, 0, "mount option '" + option + "': at least a second"};
  } else if (key == "key_grace" && !value.empty()) {
    command.key_lifetime.grace_s = TRY(lifetime_of(option, value));
  } else if (key == "threads" && !value.empty() &&
             value.find_first_not_of("0123456789") == std::string::npos) {
    command.threads = static_cast<unsigned>(std::min(1024UL, std::stoul(value.substr(0, 9))));
  } else {
    return Error{Code::kInvalid, 0,
                 "mount option '" + option + "' is not known; see coffer mount --help"};
  }
  return {};
}

Result<Parsed> parse_options(MountCommand& command) {
  Parsed parsed;
  parsed.mount.allow_other = ::geteuid() == 0;
  for (const std::string& list : command.options) {
    std::size_t start = 0;
    while (start <= list.size()) {
      const std::size_t end = std::min(list.find(',', start), list.size());
      if (end > start) TRY(apply_option(list.substr(start, end - start), command, parsed));
      start = end + 1;
    }
  }
  parsed.mount.read_only = command.read_only;
  return parsed;
}

bool lies_within(const std::string& path, const std::string& directory) {
  return path == directory || directory == "/" || path.starts_with(directory + "/");
}

Result<void> check_mountpoint(const std::string& mountpoint, const StoreConfig& config,
                              bool nonempty) {
  for (const std::string& own : {config.root, config.keystore}) {
    if (lies_within(mountpoint, own) || lies_within(own, mountpoint)) {
      return Error{
          Code::kMountPoint, 0,
          "the mount point " + mountpoint + " covers " + own + " or lies in it; choose another"};
    }
  }
  if (is_mounted(mountpoint)) {
    return Error{
        Code::kBusy, 0,
        "something is mounted at " + mountpoint + " already; run: coffer umount " + mountpoint};
  }
  std::error_code failure;
  const bool empty = std::filesystem::is_empty(mountpoint, failure);
  if (!failure && !empty && !nonempty) {
    return Error{
        Code::kMountPoint, 0,
        "the mount point " + mountpoint + " is not empty; choose another or give -o nonempty"};
  }
  return {};
}

Result<std::string> absolute_mountpoint(const std::string& given) {
  std::error_code failure;
  const auto path = std::filesystem::canonical(given, failure);
  if (failure) return Error{Code::kMountPoint, failure.value(), "mount point " + given};
  const bool directory = std::filesystem::is_directory(path, failure);
  if (failure == std::errc::not_connected) {
    return Error{Code::kBusy, 0,
                 "a dead mount is at " + path.string() + "; run: coffer umount " + path.string()};
  }
  if (!directory) return Error{Code::kMountPoint, ENOTDIR, "mount point " + given};
  return path.string();
}

std::shared_ptr<spdlog::logger> make_logger(const MountCommand& command) {
  // The same failure over and over (a damaged file read in a loop) is one line and a count.
  const auto filter = std::make_shared<spdlog::sinks::dup_filter_sink_mt>(std::chrono::seconds(5));
  if (!command.log_file.empty()) {
    // It names files. What keeps it from being made the sink says as well.
    const UniqueFd made(::open(command.log_file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    filter->add_sink(std::make_shared<spdlog::sinks::basic_file_sink_mt>(command.log_file));
  } else if (command.foreground) {
    filter->add_sink(std::make_shared<spdlog::sinks::stderr_sink_mt>());
  } else {
    filter->add_sink(
        std::make_shared<spdlog::sinks::syslog_sink_mt>("coffer", LOG_PID, LOG_DAEMON, true));
  }
  auto logger = std::make_shared<spdlog::logger>("coffer", filter);
  logger->flush_on(spdlog::level::info);
  return logger;
}

/// What a mount says of itself beside what its store knows.
struct MountFacts {
  std::string mountpoint;
  std::int64_t since = 0;
  Hardening hardening = {};
};

std::string status_line(OpenStore& store, const MountFacts& facts) {
  const Vfs::Counts counts = store.vfs().counts();
  const LockedMemoryUse memory = locked_memory_use();
  const auto policy = store.broker().policy();
  return json_line({{"mountpoint", facts.mountpoint},
                    {"store", store.config().root},
                    {"store_id", store.config().store.hex()},
                    {"keystore", store.config().keystore},
                    {"master_key", store.session().master->describe().uri},
                    {"key_ttl_s", store.session().keyring->lifetime().ttl_s},
                    {"key_grace_s", store.session().keyring->lifetime().grace_s},
                    {"read_only", store.vfs().read_only()},
                    {"locked", store.vfs().locked()},
                    {"pid", ::getpid()},
                    {"since", format_time(facts.since)},
                    {"engine", store.engine().name()},
                    {"policy", policy ? "generation " + std::to_string((*policy)->generation())
                                      : policy.error().message()},
                    {"audit_log", store.session().audit->path()},
                    {"audit_mode", to_string(store.session().audit->mode())},
                    {"audit_lines", store.session().audit->lines()},
                    {"audit_dropped", store.session().audit->dropped()},
                    {"inodes", counts.inodes},
                    {"open_files", counts.open_files},
                    {"locked_bytes", memory.locked},
                    {"key_memory", memory.secret ? "secret" : "locked"},
                    {"privileges", facts.hardening.privileges},
                    {"system_calls", facts.hardening.system_calls}});
}

std::string answer_control(OpenStore& store, FuseSession& session, const MountFacts& facts,
                           const std::string& request, const Caller& caller,
                           const PassphraseSource& passphrase) {
  const auto parsed = nlohmann::json::parse(request, nullptr, false);
  const auto verb = parsed.is_object() ? parsed.value("verb", nlohmann::json()) : nlohmann::json();
  if (verb == "status") return status_line(store, facts);
  if (verb == "learn") {
    // Whoever learns asks again in time; one that is killed is not learnt for.
    store.broker().tell_more(kLearningStep);
    return R"({"learning":true})";
  }
  if (verb == "lock") return serve_lock(store, session, request, caller);
  if (verb == "unlock") return serve_unlock(store, caller, passphrase);
  if (verb == "scope-create") return serve_scope_create(store, request, caller);
  return R"({"error":"unknown verb"})";
}

Result<void> mount_and_serve(const MountCommand& command, const Parsed& parsed,
                             const std::string& root, spdlog::logger& logger, Mounter& mounter,
                             const std::function<void()>& ready) {
  OpenStore::Options options;
  options.root = root;
  options.read_only = command.read_only;
  options.for_kernel = true;
  options.purpose = "mounted at " + parsed.mount.mountpoint;
  options.passphrase = command.passphrase;
  options.key_lifetime = command.key_lifetime;
  options.report = [&logger](const Error& error) { logger.error("{}", error.message()); };
  options.tell = [&logger](const std::string& what) { logger.info("{}", what); };
  const auto store = TRY(OpenStore::open(options));
  TRY(store->check_root());
  MountFacts facts{.mountpoint = parsed.mount.mountpoint};
  {
    const auto session = TRY(FuseSession::begin(
        store->vfs(), TRY(mounter.mount()), command.threads, logger, [&mounter, &logger, &facts] {
          if (const auto unmounted = mounter.unmount(); !unmounted) {
            logger.error("{}; run: coffer umount {}", unmounted.error().message(),
                         facts.mountpoint);
          }
        }));
    TRY(mounter.raise_read_ahead());
    facts.hardening = harden_daemon(command.filter_calls,
                                    is_on_network(store->session().master->describe().uri), logger);
    facts.since = store->session().clock->unix_seconds();
    const std::string control = control_path(facts.mountpoint);
    const auto server = TRY(ControlServer::start(
        control, [&store, &session, &facts](const std::string& request, const Caller& caller,
                                            const PassphraseSource& passphrase) {
          return answer_control(*store, *session, facts, request, caller, passphrase);
        }));
    if (store->lock() != nullptr) TRY(store->lock()->set_control(options.purpose, control));
    logger.info("mounted {} at {}{}, {}", root, facts.mountpoint,
                command.read_only ? " read-only" : "", store->engine().name());
    if (const std::size_t left = store->vfs().journals_left(); left > 0) {
      logger.info("a crash left the journals of {} files; each is applied when its file is opened",
                  left);
    }
    ready();
    TRY(session->serve());
  }
  if (store->vfs().locked())
    (void)store->session().note("/", "unmounted while locked, after " + refused_so_far(*store));
  auto finished = store->vfs().finish();
  logger.info("unmounted {}", facts.mountpoint);
  return finished;
}

int serve_until_unmounted(const MountCommand& command, const Parsed& parsed,
                          const std::string& root, const std::function<void()>& ready) {
  // Memory is freed by writing back; a daemon that writes must not wait for itself. Needs
  // CAP_SYS_RESOURCE.
  ::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0);
  bool detached = false;
  std::shared_ptr<spdlog::logger> logger;
  try {
    logger = make_logger(command);
  } catch (const spdlog::spdlog_ex& failure) {
    return report_failure(
        Error{Code::kIo, 0, std::string("log file: ") + failure.what() + "; choose another"});
  }
  // A process of its own mounts, and this one may do less from here on: before it has a thread, a
  // key, or anything of the store.
  auto mounter = Mounter::start(parsed.mount);
  if (!mounter) return report_failure(mounter.error());
  if (auto given_up = give_up_daemon_privileges(); !given_up)
    return report_failure(given_up.error());
  const auto outcome = mount_and_serve(command, parsed, root, *logger, *mounter, [&] {
    detached = true;
    ready();
  });
  if (outcome) return 0;
  if (detached) {
    logger->error("{}", outcome.error().message());
    return exit_code(outcome.error().code);
  }
  return report_failure(outcome.error());
}

}  // namespace

int run_mount(MountCommand command) {
  auto parsed = parse_options(command);
  if (!parsed) return report_failure(parsed.error());
  const auto config = read_store_config(command.store);
  if (!config) return report_failure(config.error());
  auto mountpoint = absolute_mountpoint(command.mountpoint);
  if (!mountpoint) return report_failure(mountpoint.error());
  parsed->mount.mountpoint = *mountpoint;
  parsed->mount.source = config->root;
  if (auto free = check_mountpoint(*mountpoint, *config, parsed->nonempty); !free) {
    return report_failure(free.error());
  }
  if (!command.log_file.empty()) {
    auto log_file = absolute_path(command.log_file);
    if (!log_file) return report_failure(log_file.error());
    command.log_file = *log_file;
  }
  if (command.foreground) return serve_until_unmounted(command, *parsed, config->root, [] {});
  return run_in_background([&](const std::function<void()>& ready) {
    return serve_until_unmounted(command, *parsed, config->root, ready);
  });
}

void add_mount_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb = *app.add_subcommand("mount", "Show a store in plaintext at a mount point");
  const auto command = std::make_shared<MountCommand>();
  verb.add_option("STORE", command->store, "The store's directory")->required();
  verb.add_option("MOUNTPOINT", command->mountpoint, "An empty directory")->required();
  verb.add_option(
      "-o", command->options,
      "Options, comma-separated: ro, allow_other, noallow_other, nonempty, "
      "passphrase_file=F, log=F,\n"
      "key_ttl=15m (how long keys are used before the KMS is asked anew), key_grace=0s (how\n"
      "much longer while it can't be reached), threads=N, noseccomp, nodev, nosuid, noexec,\n"
      "noatime");
  verb.add_flag("--read-only,-r", command->read_only, "Change nothing; any number may mount so");
  verb.add_flag("--foreground,-f", command->foreground, "Stay in the foreground and log to stderr");
  verb.add_option("--log", command->log_file, "Log to FILE instead of syslog");
  add_passphrase_options(verb, command->passphrase, chosen);
  verb.callback([command, &chosen] {
    chosen.run = [command]() -> Result<int> { return run_mount(*command); };
  });
}

}  // namespace coffer
