#include <CLI/CLI.hpp>

#include "mount-tools/commands.h"
#include "mount-tools/file_key.h"
#include "mount-tools/wiring.h"

namespace coffer {
namespace {

struct KeyStateOptions {
  std::string store;
  std::string what;
  bool compromised = false;
  PassphraseOptions passphrase;
};

/// One of the verbs: to which state it leads.
struct Transition {
  const char* verb;
  KeyState to;
};

Result<FileId> file_named(const KeyStateOptions& options) {
  if (!options.what.starts_with("/")) return file_id_from(options.what);
  const auto store = TRY(OpenStore::open_read_only(options.store, options.passphrase));
  return file_at(store->vfs(), options.what);
}

Result<int> change_state(const KeyStateOptions& options, const Transition& transition) {
  const auto session =
      TRY(KeystoreSession::open(options.store, Keyring::Access::kReadWrite, options.passphrase));
  const Policy policy = TRY(Policy::from(TRY(session.keyring->policy())));
  const ScopeRow* const scope =
      options.what.starts_with("/") ? policy.scope_at(TRY(normalise_path(options.what))) : nullptr;
  const std::string done = std::string("key ") + transition.verb +
                           (transition.to == KeyState::kCompromised ? " compromised" : "");
  if (scope != nullptr) {
    TRY(session.keyring->set_scope_state(scope->id, transition.to));
    TRY(session.note(scope->path, done));
    return 0;
  }
  if (transition.to == KeyState::kDeactivated) {
    return Error{Code::kInvalid, 0,
                 "the key of a single file is deactivated by deleting the file; give --compromised "
                 "to end its use for good, or use: coffer key suspend"};
  }
  const KeyRow key = TRY(newest_key(*session.keyring, TRY(file_named(options))));
  TRY(session.keyring->set_key_state({key.file, key.version}, transition.to));
  TRY(session.note("", done + " " + key.file.hex()));
  return 0;
}

void add_verb(CLI::App& key, ChosenCommand& chosen, const Transition& transition,
              const char* help) {
  CLI::App& verb = *key.add_subcommand(transition.verb, help);
  const auto options = std::make_shared<KeyStateOptions>();
  verb.add_option("STORE", options->store, "The store's directory")->required();
  verb.add_option("PATH", options->what, "Of a scope or a file in the store, from /, or a file id")
      ->required();
  if (transition.to == KeyState::kDeactivated)
    verb.add_flag("--compromised", options->compromised, "It may be known to others: no way back");
  add_passphrase_options(verb, options->passphrase, chosen);
  verb.callback([options, transition, &chosen] {
    chosen.run = [options, transition] {
      const KeyState to = options->compromised ? KeyState::kCompromised : transition.to;
      return change_state(*options, {transition.verb, to});
    };
  });
}

}  // namespace

void add_key_state_commands(CLI::App& key, ChosenCommand& chosen) {
  add_verb(key, chosen, {"suspend", KeyState::kSuspended},
           "Let nobody use a scope or a file for a while; what is open is withdrawn");
  add_verb(key, chosen, {"resume", KeyState::kActive}, "End the suspension");
  add_verb(key, chosen, {"revoke", KeyState::kDeactivated},
           "Let nobody use a scope, or a compromised file, any more; what is open is withdrawn");
}

}  // namespace coffer
