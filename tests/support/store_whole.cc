#include "tests/support/store_whole.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fs/names/stored.h"
#include "keystore/base/atomic_file.h"
#include "keystore/crypto/random.h"
#include "tests/support/keystore_audit_keys.h"
#include "tests/support/keystore_audit_lines.h"
#include "tests/support/keystore_store.h"
#include "tests/support/store_paths.h"

namespace coffer::testing {
namespace {

PassphraseSource no_passphrase() {
  return [](bool) -> Result<SecretBytes> { return Error{Code::kInvalid, 0, "none here"}; };
}

void make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0) std::abort();
}

}  // namespace

WholeStore::WholeStore(StoreMaking making) : making_(std::move(making)) {
  must_be(prepare_locked_memory(), "locked memory");
  random_bytes(id_.bytes);
  make();
  open();
}

WholeStore::WholeStore(StoreId id, StoreMaking making) : making_(std::move(making)), id_(id) {
  must_be(prepare_locked_memory(), "locked memory");
  make_directory(backing());
}

WholeStore::~WholeStore() {
  if (is_open()) close();
}

std::string WholeStore::backing(const std::string& path) const {
  const std::string root = dir_.file(making_.name);
  return path.empty() ? root : root + "/" + path;
}

void WholeStore::make() {
  for (const char* const part : {"", ".coffer", ".coffer/journal", ".coffer/tmp"}) {
    make_directory(backing(part));
  }
  master_ = must_be(create_master("local:" + beside("master.key"), no_passphrase()), "master key");
  Keyring::CreateOptions create;
  create.path = beside("keystore.db");
  create.store = id_;
  create.names = making_.names;
  create.root_scope.chunk_log2 = making_.chunk_log2;
  random_bytes(create.root_dir.bytes);
  create.first_grant =
      selector_grant(kRootScope, {making_.granted ? own_selector() : "unix:uid:4000000000"});
  must_be(Keyring::create(create, *master_, clock_), "keystore");
  const auto keyring = must_be(
      Keyring::open(create.path, Keyring::Access::kReadWrite, id_, *master_, clock_), "keystore");
  const ScopeNames names(must_be(keyring->scope_secret(kRootScope)), id_, kRootScope,
                         making_.names == NamesMode::kEncrypted);
  const DirectoryBlock block =
      names.seal_directory({.scope = kRootScope,
                            .store = id_,
                            .dir = create.root_dir,
                            .generation = 1,
                            .bindings = {names.bind_directory(create.root_dir, {}, "")}});
  must_be(create_file(backing(kDirectoryRecordName), block, 0600), "root record");
}

void WholeStore::open(const StoreOpening& opening) {
  must_be(try_open(opening), "opening the store");
}

Result<void> WholeStore::try_open(const StoreOpening& opening) {
  vfs_.reset();  // one whose power was lost: before what it uses
  broker_.reset();
  const std::string keystore = beside("keystore.db");
  const auto access = opening.read_only ? Keyring::Access::kReadOnly : Keyring::Access::kReadWrite;
  master_ = TRY(open_master(TRY(Keyring::peek(keystore)).master, no_passphrase()));
  NewestSeen::Place seen{.path = opening.remembers ? beside("keystore.seen") : "",
                         .report = [this](const Error& error) { note_report(error); }};
  keyring_ =
      TRY(Keyring::open(keystore, access, id_, *master_, clock_, KeyLifetime{}, std::move(seen)));
  audit_ = TRY(AuditLog::open(beside("audit/log"), id_, clock_, audit_keys()));
  if (!engine_.has_value()) engine_.emplace(TRY(AeadEngine::create()));
  broker_ = TRY(KeyBroker::create(*keyring_, *audit_, clock_));
  const auto report = [this](const Error& error) { note_report(error); };
  if (!opening.read_only) {
    const auto settle = [this] {
      vfs_->settle_closed();
      return Result<void>();  // nothing here loses power: what the kernel has is durable enough
    };
    recorder_ = std::make_unique<Recorder>(
        *keyring_, opening.make_durable ? opening.make_durable : settle, report);
  }
  auto vfs = Vfs::create(backing(), id_, *engine_, *broker_, recorder_.get(),
                         {.read_only = opening.read_only,
                          .directory_cache = opening.directory_cache,
                          .calls = opening.calls,
                          .for_kernel = opening.for_kernel,
                          .retires_later = opening.retires_later,
                          .after_crash = opening.after_crash,
                          .begin_xattrs = [this]() -> Result<void> {
                            TRY(keyring_->allow_xattrs());
                            return broker_->reload();
                          },
                          .report = report});
  if (!vfs) {
    recorder_.reset();
    broker_.reset();
    return std::move(vfs).error();
  }
  vfs_ = std::move(*vfs);
  return {};
}

void WholeStore::close() {
  if (auto finished = vfs_->finish(); !finished && !reports_allowed_) {
    ADD_FAILURE() << "finish: " << finished.error().message();
  }
  recorder_.reset();
  vfs_.reset();
  broker_.reset();
  audit_.reset();
  keyring_.reset();
  master_.reset();
  if (!reports_allowed_) {
    for (const std::string& report : reports()) ADD_FAILURE() << "reported: " << report;
  }
}

void WholeStore::reopen(const StoreOpening& opening) {
  close();
  open(opening);
}

ScopeId WholeStore::add_scope(const std::string& path, const ScopeSettings& settings) {
  DirId root_dir;
  random_bytes(root_dir.bytes);
  const ScopeId id = must_be(keyring_->add_scope(path, root_dir, settings), "adding a scope");
  must_be(broker_->reload(), "reading the policy");
  const ScopeNames names(must_be(keyring_->scope_secret(id)), id_, id,
                         making_.names == NamesMode::kEncrypted);
  PathUser admin(*vfs_);
  const auto [parent_path, name] = PathUser::split(path);
  const HeldInode parent = must_be(admin.find(parent_path), "the scope's parent");
  const Entry made =
      must_be(vfs_->make_scope_root(Who(Caller::self()), parent.id(), name, names, root_dir, 0755),
              "the scope's root");
  vfs_->forget(made.inode, 1);
  return id;
}

GrantId WholeStore::grant(ScopeId scope, std::vector<std::string> selectors, std::uint8_t rights) {
  return grant(selectors.empty() ? everyone_grant(scope, rights)
                                 : selector_grant(scope, std::move(selectors), rights));
}

GrantId WholeStore::grant(GrantRow row) {
  const GrantId id = must_be(keyring_->add_grant(row), "adding a grant");
  must_be(broker_->reload(), "reading the policy");
  return id;
}

void WholeStore::revoke(GrantId id) {
  must_be(keyring_->revoke_grant(id), "revoking a grant");
  must_be(broker_->reload(), "reading the policy");
}

std::map<KeyState, std::size_t> WholeStore::key_states() {
  vfs_->settle_removed();
  must_be(recorder_->flush(), "recording");
  std::map<KeyState, std::size_t> states;
  must_be(keyring_->visit_keys([&](const KeyRow& row) {
    ++states[row.state];
    return true;
  }),
          "reading the keys");
  return states;
}

std::vector<nlohmann::json> WholeStore::audit() const { return audit_lines(beside("audit/log")); }

std::vector<nlohmann::json> WholeStore::new_audit() {
  std::vector<nlohmann::json> lines = audit();
  lines.erase(lines.begin(), lines.begin() + static_cast<std::ptrdiff_t>(audit_seen_));
  audit_seen_ += lines.size();
  return lines;
}

std::vector<std::string> WholeStore::reports() {
  MutexLock lock(reports_mutex_);
  return std::exchange(reports_, {});
}

void WholeStore::note_report(const Error& error) {
  MutexLock lock(reports_mutex_);
  reports_.push_back(error.message());
}

Caller user(uid_t uid) {
  Caller caller = Caller::self();
  caller.uid = uid;
  caller.gid = uid;
  return caller;
}

std::string own_selector() { return Selector::unix_uid(::geteuid()).text(); }

}  // namespace coffer::testing
