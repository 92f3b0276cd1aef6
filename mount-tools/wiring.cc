#include "mount-tools/wiring.h"

#include <sys/resource.h>

#include <algorithm>

#include "fs/identity/identity_resolver.h"
#include "fs/names/stored.h"

namespace coffer {
namespace {

/// As many descriptors as the process may have; a share of them for directories held open.
std::size_t directory_budget() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 256;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  return std::clamp<std::size_t>(limit.rlim_cur / 4, 64, 4096);
}

}  // namespace

Result<std::unique_ptr<OpenStore>> OpenStore::open(const Options& options) {
  TRY(prepare_locked_memory());
  if (!has_own_proc()) {
    return Error{
        Code::kUnsupported, 0,
        "/proc is not that of this pid namespace, so that nobody who calls is known; mount "
        "it: mount -t proc proc /proc"};
  }
  std::unique_ptr<OpenStore> store(new OpenStore());
  const StoreConfig config = TRY(read_store_config(options.root));
  // Before the passphrase is asked for: no use in typing it if the store is in use.
  if (!options.read_only) {
    store->lock_.emplace(TRY(StoreLock::take(config.private_dir(), options.purpose, "")));
  }
  KeystoreSession::Options keystore;
  keystore.access = options.read_only ? Keyring::Access::kReadOnly : Keyring::Access::kReadWrite;
  keystore.if_older = options.if_older;
  keystore.passphrase = options.passphrase;
  keystore.key_lifetime = options.key_lifetime;
  keystore.report = options.report;
  store->session_ = TRY(KeystoreSession::open(options.root, keystore));
  store->engine_.emplace(TRY(AeadEngine::create()));
  store->broker_ = TRY(
      KeyBroker::create(*store->session_.keyring, *store->session_.audit, *store->session_.clock));
  store->session_.checkpointer->start();
  store->backing_ = TRY(BackingDir::open_root(real_syscalls(), config.root));
  if (!options.read_only) {
    store->recorder_ = std::make_unique<Recorder>(
        *store->session_.keyring, [store = store.get()] { return store->vfs_->make_durable(); },
        options.report);
  }
  Vfs::Options vfs_options;
  vfs_options.read_only = options.read_only;
  vfs_options.directory_cache = directory_budget();
  vfs_options.for_kernel = options.for_kernel;
  vfs_options.retires_later = options.for_kernel;
  vfs_options.after_crash = store->lock_.has_value() && store->lock_->was_left();
  if (options.read_only) {
    vfs_options.writing = [dir = config.private_dir()] {
      if (!StoreLock::is_noted(dir)) return Writing::kNone;
      return StoreLock::is_held(dir) ? Writing::kNow : Writing::kPerhaps;
    };
  }
  vfs_options.report = options.report;
  vfs_options.tell = options.tell;
  vfs_options.begin_xattrs = [raw = store.get()] { return raw->begin_xattrs(); };
  store->vfs_ = TRY(Vfs::create(config.root, config.store, *store->engine_, *store->broker_,
                                store->recorder_.get(), vfs_options));
  return store;
}

Result<std::unique_ptr<OpenStore>> OpenStore::open_read_only(const std::string& root,
                                                             const PassphraseOptions& passphrase) {
  Options options;
  options.root = root;
  options.read_only = true;
  options.passphrase = passphrase;
  return open(options);
}

Result<void> OpenStore::begin_xattrs() {
  MutexLock lock(raising_);
  TRY(raise_store_format(config().root));
  TRY(session_.keyring->allow_xattrs());
  return broker_->reload();
}

Result<void> OpenStore::check_root() {
  const auto check = [this]() -> Result<void> {
    const ByteVector block = TRY(read_directory_block(*backing_));
    if (TRY(decode_directory(block)).store != config().store) {
      return Error{Code::kMoved, 0, "the directory belongs to another store"};
    }
    const bool encrypted = TRY(broker_->policy())->names() == NamesMode::kEncrypted;
    const ScopeNames names(TRY(session_.keyring->scope_secret(kRootScope)), config().store,
                           kRootScope, encrypted);
    TRY(names.open_directory(block));
    return {};
  };
  auto checked = check();
  if (checked) return {};
  return at_path(std::move(checked).error(), config().root);
}

Result<Vfs::LockedOut> OpenStore::drop_keys(const Vfs::LockOptions& how) {
  auto out = TRY(vfs_->lock(how));
  session_.master->let_go();
  return out;
}

Result<void> OpenStore::take_up_keys(const PassphraseSource& passphrase,
                                     const std::function<Result<void>()>& note) {
  TRY(session_.take_up_master(passphrase));
  auto unlocked = note();
  if (unlocked) unlocked = vfs_->unlock();
  if (!unlocked) session_.master->let_go();
  return unlocked;
}

OpenStore::~OpenStore() {
  // Failures were reported as they came.
  if (vfs_ != nullptr && vfs_->finish() && lock_.has_value()) lock_->finish();
}

}  // namespace coffer
