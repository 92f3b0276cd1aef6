#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "keystore/audit/log_verifier.h"
#include "keystore/base/atomic_file.h"
#include "keystore/cli/commands.h"
#include "keystore/cli/exit_code.h"
#include "keystore/cli/keystore_session.h"
#include "keystore/cli/print_json.h"
#include "keystore/cli/values.h"

namespace coffer {
namespace {

constexpr std::size_t kLargestCheckpoint = 64 * 1024;

struct AuditOptions {
  std::string store;
  std::vector<std::string> checkpoints;
  bool allow_removed = false;
  bool key = false;
  std::string mode;
  std::string log;
  bool json = false;
  PassphraseOptions passphrase;
};

/// What others hold against the logs of this node: the keystore, and files that were kept.
Result<std::vector<KnownCheckpoint>> known_checkpoints(const KeystoreSession& session,
                                                       const AuditOptions& options) {
  std::vector<KnownCheckpoint> known;
  const std::string here = log_place(session.audit->path());
  for (const LogCheckpoint& kept : TRY(session.keyring->log_checkpoints())) {
    known.push_back({.source = "the keystore's checkpoint of " + format_time(kept.at),
                     .note = kept.note,
                     .is_here = kept.place == here});
  }
  for (const std::string& path : options.checkpoints) {
    const ByteVector content = TRY(read_small_file(path, kLargestCheckpoint));
    known.push_back({.source = path, .note = std::string(as_text(content))});
  }
  return known;
}

nlohmann::ordered_json verdict_json(const LogVerdict& verdict) {
  auto logs = nlohmann::ordered_json::array();
  for (const LogSummary& log : verdict.logs) {
    logs.push_back({{"log", log.log.hex()},
                    {"first", log.first},
                    {"lines", log.lines},
                    {"files", log.files},
                    {"torn", log.torn},
                    {"checkpoints", log.proven},
                    {"signed_lines", log.signed_lines}});
  }
  auto findings = nlohmann::ordered_json::array();
  for (const LogFinding& finding : verdict.findings) {
    nlohmann::ordered_json one = {
        {"code", to_string(finding.code)}, {"log", finding.log.hex()}, {"line", finding.line}};
    if (!finding.file.empty()) {
      one["file"] = finding.file;
      one["row"] = finding.row;
    }
    one["what"] = finding.what;
    findings.push_back(std::move(one));
  }
  return {{"whole", verdict.findings.empty()},
          {"logs", std::move(logs)},
          {"findings", std::move(findings)},
          {"notes", verdict.notes}};
}

void print_verdict(const LogVerdict& verdict) {
  for (const LogSummary& log : verdict.logs) {
    std::printf("log %s: lines %llu to %llu in %zu file%s, %zu checkpoint%s, signed up to %llu\n",
                log.log.hex().c_str(), static_cast<unsigned long long>(log.first),
                static_cast<unsigned long long>(log.lines), log.files, log.files == 1 ? "" : "s",
                log.proven, log.proven == 1 ? "" : "s",
                static_cast<unsigned long long>(log.signed_lines));
  }
  for (const std::string& note : verdict.notes) std::printf("note: %s\n", note.c_str());
  for (const LogFinding& finding : verdict.findings) {
    std::string where =
        "log " + finding.log.hex().substr(0, 8) + ", line " + std::to_string(finding.line);
    if (!finding.file.empty()) where += ", " + finding.file + ":" + std::to_string(finding.row);
    std::printf("%s: %s\n", where.c_str(), finding.what.c_str());
  }
  std::puts(verdict.findings.empty() ? "whole" : "NOT whole");
}

Result<int> verify_audit(const AuditOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  AuditSecrets secrets = TRY(session.keyring->audit_secrets());
  const AuditKeys keys{.lines = std::move(secrets.lines), .seed = std::move(secrets.seed)};
  // The keystore's are read first: what is written meanwhile is more than they say, never less.
  const std::vector<KnownCheckpoint> known = TRY(known_checkpoints(session, options));
  const LogVerdict verdict = TRY(verify_logs(session.audit->path(), session.config.store, keys,
                                             known, {.allow_removed = options.allow_removed}));
  if (options.json) {
    print_json(verdict_json(verdict));
  } else {
    print_verdict(verdict);
  }
  int outcome = 0;
  for (const LogFinding& finding : verdict.findings) {
    // Altered is graver than cut off.
    if (outcome != exit_code(Code::kCorrupt)) outcome = exit_code(finding.code);
  }
  return outcome;
}

Result<int> print_checkpoint(const AuditOptions& options) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadOnly, options.passphrase));
  const auto made = TRY(session.audit->checkpoint());
  if (!made) {
    return Error{Code::kNotFound, 0, "audit log " + session.audit->path() + " has no line yet"};
  }
  if (options.key) {
    AuditSecrets secrets = TRY(session.keyring->audit_secrets());
    const Ed25519Key key(std::move(secrets.seed));
    std::puts(verifier_key(log_origin(session.config.store, made->log), key.public_key()).c_str());
  } else {
    std::fputs(made->note.c_str(), stdout);
  }
  return 0;
}

Result<int> set_audit_mode(const AuditOptions& options) {
  const AuditMode mode = TRY(audit_mode_from_name(options.mode));
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  // Before: it may be the last line that has to be there.
  TRY(session.note("", "audit mode " + options.mode));
  TRY(session.keyring->set_audit_required(mode == AuditMode::kRequired));
  return 0;
}

Result<int> forget_log(const AuditOptions& options) {
  const auto id = from_hex(options.log);
  if (!id || id->size() != sizeof(LogId::bytes)) {
    return Error{Code::kInvalid, 0, "no id of a log: " + options.log};
  }
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  TRY(session.note("", "audit forget " + options.log));
  TRY(session.keyring->forget_log(LogId::from(*id)));
  return 0;
}

void add_verify(CLI::App& audit, const std::shared_ptr<AuditOptions>& options,
                ChosenCommand& chosen) {
  CLI::App& verify = *audit.add_subcommand("verify", "Prove that no line was altered or removed");
  verify.add_option("STORE", options->store, "The store's directory")->required();
  verify.add_option("--checkpoint", options->checkpoints,
                    "A file with an earlier checkpoint to prove it against; once or more");
  verify.add_flag("--allow-removed", options->allow_removed,
                  "Old files that were removed are no finding");
  verify.add_flag("--json", options->json, "As JSON");
  add_passphrase_options(verify, options->passphrase, chosen);
  verify.callback(
      [options, &chosen] { chosen.run = [options] { return verify_audit(*options); }; });
}

}  // namespace

void add_audit_commands(CLI::App& app, ChosenCommand& chosen) {
  CLI::App& audit = *app.add_subcommand("audit", "The audit log of this node: who got which key");
  audit.require_subcommand(1);
  add_audit_show_command(audit, chosen);
  const auto options = std::make_shared<AuditOptions>();
  add_verify(audit, options, chosen);

  CLI::App& checkpoint = *audit.add_subcommand(
      "checkpoint", "Print the signed size and root of the log, to be kept elsewhere");
  checkpoint.add_option("STORE", options->store, "The store's directory")->required();
  checkpoint.add_flag("--key", options->key, "The key that others verify it with, instead");
  add_passphrase_options(checkpoint, options->passphrase, chosen);
  checkpoint.callback(
      [options, &chosen] { chosen.run = [options] { return print_checkpoint(*options); }; });

  CLI::App& mode =
      *audit.add_subcommand("mode", "What happens to an act whose line can't be written");
  mode.add_option("STORE", options->store, "The store's directory")->required();
  mode.add_option("MODE", options->mode, "required (refused) or best-effort (counted)")->required();
  add_passphrase_options(mode, options->passphrase, chosen);
  mode.callback(
      [options, &chosen] { chosen.run = [options] { return set_audit_mode(*options); }; });

  CLI::App& forget = *audit.add_subcommand(
      "forget", "Stop asking for a log that was moved away, or whose node is gone");
  forget.add_option("STORE", options->store, "The store's directory")->required();
  forget.add_option("LOG", options->log, "The log's id, as coffer audit verify prints it")
      ->required();
  add_passphrase_options(forget, options->passphrase, chosen);
  forget.callback([options, &chosen] { chosen.run = [options] { return forget_log(*options); }; });
}

}  // namespace coffer
