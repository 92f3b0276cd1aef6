#include "fs/content/journal.h"

#include <algorithm>

#include "keystore/crypto/random.h"

namespace coffer {
namespace {

Digest after_record(const Digest& digest, const JournalRecordHead& head, Bytes data) {
  const Digest content = sha256(data);
  std::array<std::uint8_t, 32 + kJournalRecordHeadSize + 32> joined;
  auto out = std::copy(digest.begin(), digest.end(), joined.begin());
  out = std::copy(head.begin(), head.end(), out);
  std::copy(content.begin(), content.end(), out);
  return sha256(joined);
}

Digest after_commit(const Digest& digest, const JournalCommitBytes& commit) {
  std::array<std::uint8_t, 32 + kJournalCommitSize> joined;
  std::copy(commit.begin(), commit.end(), std::copy(digest.begin(), digest.end(), joined.begin()));
  return sha256(joined);
}

Digest commit_mac(const FileKeys& keys, const Digest& digest, const JournalCommitBytes& commit) {
  return keys.journal.mac({digest, Bytes(commit).first(kJournalMacOffset)});
}

/// Reads a journal from the front, one record after another.
class JournalScan {
 public:
  JournalScan(const BackingFile& file, const FileKeys& keys, StoreId store)
      : file_(file), keys_(keys), store_(store), data_(kMaxJournalRecord) {}

  Result<JournalContent> run() {
    if (TRY(begin())) {
      while (TRY(step())) {
      }
    }
    // What no commit vouches for is nothing.
    content_.pieces.resize(content_.states.empty() ? 0 : content_.states.back().pieces);
    return std::move(content_);
  }

 private:
  /// False if the bytes from here on are not all there.
  Result<bool> fill(MutableBytes out) {
    const std::size_t length = TRY(file_.read(at_, out));
    if (length != out.size()) return false;
    at_ += length;
    return true;
  }

  Result<bool> begin() {
    JournalHeadBytes bytes;
    if (!TRY(fill(bytes))) return false;
    auto head = decode_journal_head(bytes);
    if (!head) {
      if (head.error().code == Code::kUnknownVersion) return std::move(head).error();
      return false;
    }
    digest_ = sha256(bytes);
    return head->store == store_ && head->file == keys_.file &&
           head->dek_version == keys_.dek_version;
  }

  Result<bool> step() {
    JournalRecordHead head;
    if (!TRY(fill(head))) return false;
    const auto record = decode_journal_record(head);
    if (!record) return false;
    if (record->kind == JournalKind::kCommit) return commit(head);
    const MutableBytes data = MutableBytes(data_).first(record->length);
    const std::uint64_t at = at_;
    if (!TRY(fill(data))) return false;
    digest_ = after_record(digest_, head, data);
    content_.pieces.push_back(
        {.kind = record->kind, .place = record->place, .length = record->length, .at = at});
    return true;
  }

  Result<bool> commit(const JournalRecordHead& head) {
    JournalCommitBytes bytes;
    std::copy(head.begin(), head.end(), bytes.begin());
    if (!TRY(fill(MutableBytes(bytes).subspan(head.size())))) return false;
    const Digest mac = commit_mac(keys_, digest_, bytes);
    if (!constant_time_equal(mac, Bytes(bytes).subspan(kJournalMacOffset))) return false;
    auto decoded = decode_journal_commit(bytes);
    if (!decoded) return false;
    digest_ = after_commit(digest_, bytes);
    auto& states = content_.states;
    const bool again =
        !states.empty() && states.back().header.generation == decoded->header.generation;
    if (!again && !states.empty() &&
        decoded->header.generation != states.back().header.generation + 1) {
      return false;
    }
    // Said again, it takes none of the records in between: they are the next commit's.
    if (!again) {
      states.push_back({.header = std::move(decoded->header), .pieces = content_.pieces.size()});
    }
    if (decoded->settled) {
      for (auto& state : states) state.settled = true;
    }
    return true;
  }

  const BackingFile& file_;
  const FileKeys& keys_;
  StoreId store_;
  ByteVector data_;
  std::uint64_t at_ = 0;
  Digest digest_{};
  JournalContent content_;
};

}  // namespace

Result<std::unique_ptr<JournalDir>> JournalDir::open(std::shared_ptr<const BackingDir> dir,
                                                     bool writable) {
  std::unique_ptr<JournalDir> journals(new JournalDir(std::move(dir), writable));
  if (journals->dir_ == nullptr || !writable) return journals;
  const auto reader = TRY(journals->dir_->reader());
  WriteLock lock(journals->mutex_);
  while (const auto entry = TRY(reader->next())) {
    // Anything else here is not ours, and no file will ask for it.
    const auto id = from_hex(entry->name);
    if (id && id->size() == sizeof(FileId)) journals->left_.insert(FileId::from(*id));
  }
  return journals;
}

std::size_t JournalDir::left() const {
  ReadLock lock(mutex_);
  return left_.size();
}

Result<std::optional<BackingFile>> JournalDir::find(FileId file) const {
  if (dir_ == nullptr) return std::optional<BackingFile>();
  if (writable_) {
    ReadLock lock(mutex_);
    if (!left_.contains(file)) return std::optional<BackingFile>();
  }
  auto opened = dir_->open_file(file.hex(), false);
  if (!opened && opened.error().code == Code::kNotFound) return std::optional<BackingFile>();
  return std::optional<BackingFile>(TRY(std::move(opened)));
}

Result<BackingFile> JournalDir::make(FileId file) const {
  auto made = dir_->create_file(file.hex(), 0600);
  if (!made && made.error().code == Code::kExists) return dir_->open_file(file.hex(), true);
  return made;
}

Result<void> JournalDir::sync() const { return dir_->sync(); }

void JournalDir::remove(FileId file) {
  (void)dir_->remove_file(file.hex());
  WriteLock lock(mutex_);
  left_.erase(file);
}

Result<void> JournalDir::discard(FileId file) {
  if (!TRY(find(file))) return {};
  TRY(dir_->remove_file(file.hex()));
  TRY(sync());
  WriteLock lock(mutex_);
  left_.erase(file);
  return {};
}

void JournalDir::leave(FileId file) {
  WriteLock lock(mutex_);
  left_.insert(file);
}

Result<void> Journal::begin() {
  if (!file_.has_value()) file_ = TRY(dir_->make(keys_->file));
  JournalHead head{.store = store_, .file = keys_->file, .dek_version = keys_->dek_version};
  random_bytes(head.life);
  JournalHeadBytes bytes;
  encode_journal_head(head, bytes);
  TRY(file_->truncate(0));
  TRY(file_->write(0, bytes));
  end_ = Mark{.at = bytes.size(), .digest = sha256(bytes)};
  return {};
}

Result<std::uint64_t> Journal::append(JournalKind kind, std::uint64_t place, Bytes data) {
  if (!used()) TRY(begin());
  JournalRecordHead head;
  encode_journal_record(
      {.kind = kind, .length = static_cast<std::uint32_t>(data.size()), .place = place}, head);
  const std::uint64_t at = end_.at + head.size();
  TRY(file_->write(end_.at, head));
  TRY(file_->write(at, data));
  end_ = Mark{.at = at + data.size(), .digest = after_record(end_.digest, head, data)};
  return at;
}

Result<void> Journal::commit(const Block& slot, bool settled) {
  JournalCommitBytes bytes;
  encode_journal_commit(slot, settled, bytes);
  const Digest mac = commit_mac(*keys_, end_.digest, bytes);
  std::copy(mac.begin(), mac.end(), bytes.begin() + kJournalMacOffset);
  TRY(file_->write(end_.at, bytes));
  end_ = Mark{.at = end_.at + bytes.size(), .digest = after_commit(end_.digest, bytes)};
  return {};
}

Result<void> Journal::read(std::uint64_t at, MutableBytes out) const {
  const std::size_t length = TRY(file_->read(at, out));
  if (length == out.size()) return {};
  return Error{Code::kCorrupt, EIO, "the file's journal was cut"};
}

Result<void> Journal::name() {
  if (!named_) TRY(dir_->sync());
  named_ = true;
  return {};
}

Result<void> Journal::empty() {
  if (!used()) return {};
  TRY(file_->truncate(0));
  end_ = Mark{};
  return {};
}

void Journal::remove() {
  if (!file_.has_value()) return;
  dir_->remove(keys_->file);
  file_.reset();
  named_ = false;
  left_ = false;
  end_ = Mark{};
}

Result<JournalContent> read_journal(const BackingFile& file, const FileKeys& keys, StoreId store) {
  return JournalScan(file, keys, store).run();
}

}  // namespace coffer
