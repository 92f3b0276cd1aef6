#include <fcntl.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "keystore/cli/exit_code.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/store_config.h"
#include "keystore/cli/values.h"
#include "mount-tools/commands.h"
#include "mount-tools/parallel.h"
#include "mount-tools/progress.h"
#include "mount-tools/tree.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

constexpr std::size_t kBufferSize = std::size_t{1} << 20U;

struct VerifyOptions {
  std::string store;
  bool json = false;
  PassphraseOptions passphrase;
};

/// Something that is not as it should be.
struct Finding {
  std::string path;
  Code cause = Code::kCorrupt;
  std::string message;
};

struct Report {
  std::vector<Finding> findings;
  std::uint64_t files = 0;
  std::uint64_t directories = 0;
  std::uint64_t bytes = 0;
  std::uint64_t keys_without_file = 0;
  std::uint64_t spare_keys = 0;
  bool whole = true;  ///< all of the store was seen
};

/// Reads every byte below a path and notes what does not authenticate.
class Verifier {
 public:
  Verifier(Vfs& vfs, Progress& progress)
      : vfs_(vfs), progress_(progress), caller_(Caller::self()) {}

  void run(const std::string& path) {
    const Who who(caller_);
    scan(who, path);
    progress_.expect(expected_bytes_, files_.size());
    for_each_in_parallel(files_.size(), [&](std::size_t i) {
      if (auto read = verify_file(files_[i]); !read) note(files_[i], read.error());
      progress_.add_file();
      return true;
    });
    // Not in the order in which threads came upon them.
    std::stable_sort(report_.findings.begin(), report_.findings.end(),
                     [](const Finding& a, const Finding& b) { return a.path < b.path; });
    report_.files = files_.size();
    report_.bytes = progress_.bytes();
  }

  /// Live keys whose file was not seen. For a run over the whole store.
  Result<void> check_keys(Keyring& keyring) {
    return keyring.visit_keys([&](const KeyRow& key) {
      if (key.state == KeyState::kPreActivation && !seen_.contains(key.file)) ++report_.spare_keys;
      if (key.state == KeyState::kActive && !seen_.contains(key.file)) {
        ++report_.keys_without_file;
        report_.findings.push_back(
            {.path = "",
             .cause = Code::kNotFound,
             .message =
                 "key of file " + key.file.hex() +
                 ": the file is gone from the backing directory, and no deletion is on record "
                 "(one in the last second before a crash may not be)"});
      }
      return true;
    });
  }

  [[nodiscard]] Report& report() { return report_; }

 private:
  void note(const std::string& path, const Error& error) {
    MutexLock lock(mutex_);
    report_.findings.push_back({.path = path, .cause = error.code, .message = error.message()});
    if (is_refusal(error.code)) report_.whole = false;
  }

  void scan(const Who& who, const std::string& path) {
    const auto found = find_path(vfs_, who, path);
    if (!found) {
      note(path, found.error());
      report_.whole = false;  // what lies below is not seen
      return;
    }
    if (S_ISREG(found->attributes.st_mode)) {
      files_.push_back(path);
      expected_bytes_ += static_cast<std::uint64_t>(found->attributes.st_size);
      return;
    }
    if (S_ISLNK(found->attributes.st_mode)) {
      if (const auto target = vfs_.read_symlink(who, found->inode.get()); !target)
        note(path, target.error());
      return;
    }
    if (!S_ISDIR(found->attributes.st_mode)) return;
    ++report_.directories;
    std::vector<std::string> foreign;
    const auto names = list_names(vfs_, who, found->inode.get(), &foreign);
    if (!names) {
      note(path, names.error());
      report_.whole = false;
      return;
    }
    for (const std::string& stored : foreign) {
      note(path, Error{Code::kCorrupt, 0, "backing entry " + stored + " is not this directory's"});
    }
    for (const std::string& name : *names) scan(who, join_path(path, name));
  }

  void saw(FileId file) {
    MutexLock lock(mutex_);
    seen_.insert(file);
  }

  Result<void> verify_file(const std::string& path) {
    const Who who(caller_);
    const Found found = TRY(find_path(vfs_, who, path));
    auto opened = vfs_.open(who, found.inode.get(), O_RDONLY);
    if (!opened) {
      // Damaged, which is reported; but not gone, which would be another finding.
      if (const auto claimed = vfs_.claimed_file(who, found.inode.get())) saw(*claimed);
      return std::move(opened).error();
    }
    const OpenHandle handle(vfs_, std::move(*opened));
    EncryptedFile& content = handle.get().file->content();
    saw(content.keys().file);
    ByteVector buffer(kBufferSize);
    std::uint64_t offset = 0;
    while (offset < content.size()) {
      const std::size_t length = TRY(content.read(offset, buffer));
      if (length == 0) break;
      offset += length;
      progress_.add_bytes(length);
    }
    return {};
  }

  Vfs& vfs_;
  Progress& progress_;
  const Caller caller_;
  std::vector<std::string> files_;
  std::uint64_t expected_bytes_ = 0;
  Mutex mutex_;
  std::unordered_set<FileId> seen_;  // both under mutex_ while files are read
  Report report_;
};

std::string_view advice_for(const Finding& finding) {
  if (finding.message.find("; ") != std::string::npos) return {};  // says it itself
  return finding.cause == Code::kNotFound ? "restore the file from a backup, unless it was deleted"
                                          : next_step(finding.cause);
}

void print_report_json(const Report& report, double seconds) {
  auto findings = nlohmann::ordered_json::array();
  for (const Finding& finding : report.findings) {
    nlohmann::ordered_json row;
    if (!finding.path.empty()) row["path"] = finding.path;
    row["cause"] = to_string(finding.cause);
    row["message"] = finding.message;
    row["next_step"] = advice_for(finding);
    findings.push_back(std::move(row));
  }
  print_json({{"files", report.files},
              {"directories", report.directories},
              {"bytes", report.bytes},
              {"seconds", seconds},
              {"spare_keys", report.spare_keys},
              {"keys_without_file", report.keys_without_file},
              {"findings", std::move(findings)}});
}

void print_text(const Report& report, double seconds) {
  for (const Finding& finding : report.findings) {
    const bool named = finding.message.starts_with(finding.path);
    const std::string advice(advice_for(finding));
    std::printf("%s: %s%s%s\n", std::string(to_string(finding.cause)).c_str(),
                named ? "" : (finding.path + ": ").c_str(), finding.message.c_str(),
                advice.empty() ? "" : ("; " + advice).c_str());
  }
  std::printf("verified %llu files in %llu directories, %s in %.1f s: %zu findings\n",
              static_cast<unsigned long long>(report.files),
              static_cast<unsigned long long>(report.directories),
              format_bytes(report.bytes).c_str(), seconds, report.findings.size());
}

Result<int> verify(const VerifyOptions& options) {
  const StorePath what = TRY(parse_store_path(options.store));
  const auto store = TRY(OpenStore::open_read_only(what.root, options.passphrase));
  double seconds = 0;
  Report report;
  {
    Progress progress("verifying");
    Verifier verifier(store->vfs(), progress);
    verifier.run(what.path);
    if (what.path == "/" && verifier.report().whole)
      TRY(verifier.check_keys(*store->session().keyring));
    seconds = progress.seconds();
    report = std::move(verifier.report());
  }
  if (options.json) {
    print_report_json(report, seconds);
  } else {
    print_text(report, seconds);
  }
  return report.findings.empty() ? 0 : exit_code(report.findings.front().cause);
}

}  // namespace

void add_verify_command(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& verb =
      *app.add_subcommand("verify", "Read and authenticate everything in a store, without a mount");
  const auto options = std::make_shared<VerifyOptions>();
  verb.add_option("STORE", options->store, "STORE or STORE:PATH")->required();
  verb.add_flag("--json", options->json, "The findings as JSON");
  add_passphrase_options(verb, options->passphrase);
  verb.callback([options, &chosen] { chosen.run = [options] { return verify(*options); }; });
}

}  // namespace coffer
