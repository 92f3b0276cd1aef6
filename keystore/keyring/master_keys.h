#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "keystore/keyring/keyring.h"
#include "keystore/keyring/master_rows.h"

namespace coffer {

/// A master key of the store, and what of the store's keys hangs on it.
struct MasterCoverage {
  MasterRow row;
  std::uint64_t keys = 0;  ///< that it wraps, or has copies of
  /// The primary's, by the version that wrapped them; "" if that is not told.
  std::map<std::string, std::uint64_t> versions;
};

/// Which master key wraps the store's keys (keystore/FORMAT.md, "Another master key"). All of it
/// works beside daemons that use the store, and asks the KMS without a lock.
class MasterKeys {
 public:
  struct Progress {
    std::uint64_t keys = 0;      ///< that there are
    std::uint64_t done = 0;      ///< that are where they are to be
    bool complete = false;       ///< all of them, and the store is told
    std::set<FileId> left = {};  ///< files whose keys do not open, and were left as they are
  };
  /// Hears of the progress now and then; false stops it there, to be gone on with another time.
  using GoOn = std::function<bool(const Progress&)>;

  /// Of a keyring that may write, but to look at.
  explicit MasterKeys(Keyring& keyring) : keyring_(keyring) {}

  /// Keys of files (of direct scopes) that do not open any more stop nothing from now on: each is
  /// left as it is, and told. Otherwise the first of them is an error.
  void leave_unopenable() { leaves_unopenable_ = true; }

  struct Coverage {
    std::uint64_t keys = 0;  ///< that there are to wrap
    std::vector<MasterCoverage> masters;
  };
  Result<Coverage> coverage();

  /// Wraps by the primary's newest version whatever an older one has wrapped; with `all`, all.
  /// kUnsupported if the KMS tells no versions and it is not `all`.
  Result<Progress> rewrap(bool all, const GoOn& go_on);

  /// The master key that the store is on its way to, if it is.
  Result<std::optional<MasterKeyRecord>> next() { return standing_by(MasterRole::kNext); }
  /// The recovery master key, if there is one.
  Result<std::optional<MasterKeyRecord>> recovery() { return standing_by(MasterRole::kRecovery); }
  /// Moves the store to another master key. kExists if it is the primary, kBusy if the store is on
  /// its way to yet another one.
  Result<Progress> move_to(MasterKms& next, const GoOn& go_on);
  /// Gives the store a recovery master key, which is asked to wrap one key now and nothing later,
  /// or makes the copies that are missing for the one it has. kExists if it has another one.
  Result<Progress> set_recovery(MasterKms& recovery, const GoOn& go_on);
  /// kNotFound if it has none.
  Result<void> remove_recovery();
  /// Stays with the primary. kNotFound if the store is not on its way to another.
  Result<void> abandon();

 private:
  /// One run of a move or rewrapping.
  struct Run {
    GoOn go_on;
    Progress progress;
    bool stopped = false;
    void did(std::uint64_t keys);
  };
  using Read = std::function<Result<void>(Database&, const HmacKey& records)>;

  Result<void> read(const Read& read);
  Result<std::optional<MasterKeyRecord>> standing_by(MasterRole role);
  Result<std::vector<WrappedKey>> wrapped_keys();
  Result<std::uint64_t> count_keys();
  /// Some keys of files, after that place, with their copies.
  Result<std::vector<WrappedDek>> page_of_deks(MasterId copies_of, DekPlace& after);

  Result<void> rewrap_keys(const std::string& newest, Run& run);
  Result<void> rewrap_key(const WrappedKey& key);
  Result<void> rewrap_deks(const std::string& newest, Run& run);

  Result<MasterId> begin_move(const MasterKeyRecord& next);
  Result<RecoveryKey> begin_recovery(MasterKms& recovery);
  /// Where copies are for, and what makes them.
  struct Copies {
    MasterId id;
    MasterRole role = MasterRole::kNext;
    std::function<Result<std::vector<ByteVector>>(const std::vector<WrappedKey>&)> make;
  };
  Result<void> copy_keys(const Copies& copies, Run& run);
  Result<void> copy_deks(const Copies& copies, Run& run);
  /// What `make` makes of each key of a page; those that do not open are taken from the page.
  Result<std::vector<ByteVector>> made_of(
      const std::function<Result<std::vector<ByteVector>>(const std::vector<WrappedKey>&)>& make,
      std::vector<WrappedKey>& keys, Run& run) const;
  Result<void> keep_dek_copies(const Copies& copies, const std::vector<WrappedKey>& deks,
                               const std::vector<ByteVector>& made);
  /// False, and nothing done, if some key has no copy but those that were left.
  Result<bool> finish_move(MasterId id, const std::set<FileId>& left);
  Result<void> remove_stale_copies();

  Keyring& keyring_;
  bool leaves_unopenable_ = false;
};

}  // namespace coffer
