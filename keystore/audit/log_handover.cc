// How a new file of the log goes on from the one before it, or begins a log of its own.

#include "keystore/audit/log_writer.h"
#include "keystore/base/file_lock.h"
#include "keystore/crypto/random.h"

namespace coffer {
namespace {

LogId new_log_id() {
  LogId id;
  random_bytes(id.bytes);
  return id;
}

}  // namespace

LogHead LogWriter::fresh_head() {
  LogHead head;
  head.id = new_log_id();
  head.prev = mac_.start(head.id);
  head.after = ended_;
  return head;
}

Result<std::shared_ptr<UniqueFd>> LogWriter::file_before() {
  // The newest that lies there; or the one that this process had, if that is newer: it may have
  // been moved elsewhere.
  std::shared_ptr<UniqueFd> newest;
  std::optional<LogHead> head;
  std::string time;
  const std::vector<LogFile> files = TRY(find_log_files(path_));
  for (auto file = files.rbegin(); file != files.rend() && !head; ++file) {
    if (file->current) continue;
    newest = std::make_shared<UniqueFd>(TRY(open_log_file(file->path)));
    if (auto read = read_head(newest->get(), mac_)) head = std::move(*read);
    time = file->time;
  }
  if (before_ != nullptr && tail_before_) {
    const std::string time_before = TRY(first_time(before_->get()));
    const bool newer =
        !head || (head->id == tail_before_->id ? head->tree.size() < tail_before_->first
                                               : time < time_before);
    if (newer && TRY(status_of(before_->get())).st_nlink > 0) return before_;
    if (newer) {
      ended_ =
          EndedLog{.id = tail_before_->id, .lines = tail_before_->next, .why = EndedLog::kGone};
      return std::shared_ptr<UniqueFd>();
    }
  }
  if (head) return newest;
  if (const auto side = read_side_file(path_, mac_)) {
    ended_ = EndedLog{.id = side->id, .lines = side->tree.size(), .why = EndedLog::kGone};
  }
  return std::shared_ptr<UniqueFd>();
}

Result<std::optional<LogHead>> LogWriter::continued(const std::shared_ptr<UniqueFd>& before,
                                                    Deadline deadline) {
  // Whoever still writes there has seen the file in its place under this lock.
  const FileLock lock = TRY(FileLock::take(before->get(), deadline));
  const LogHead head = TRY(read_head(before->get(), mac_));
  const auto size = static_cast<std::uint64_t>(TRY(status_of(before->get())).st_size);
  const std::optional<LogTail> tail = TRY(read_tail(before->get(), head, size, mac_));
  const std::optional<SideFile> side = read_side_file(path_, mac_);
  const auto stop = [&](const char* why) REQUIRES(mutex_) {
    ended_ = EndedLog{.id = head.id, .lines = tail ? tail->next : head.tree.size(), .why = why};
    return std::optional<LogHead>();
  };
  if (!tail) return stop(EndedLog::kAltered);
  if (side && side->id == head.id && side->tree.size() > tail->next) {
    return stop(EndedLog::kCut);
  }
  if (tail->torn > 0) return stop(EndedLog::kTorn);
  MutexLock tree_lock(tree_mutex_);
  auto grown = place_tree(before->get());
  if (grown) grown = grow_tree(before->get());
  // A whole last line that lacks its newline is no leaf yet; nothing can be put after it there.
  if (!grown || grown_->tree.size() != tail->next) {
    return stop(grown ? EndedLog::kTorn : EndedLog::kAltered);
  }
  return std::optional(
      LogHead{.id = head.id, .prev = tail->chain, .tree = grown_->tree, .after = {}});
}

Result<LogHead> LogWriter::head_of_new_file(Deadline deadline) {
  if (ended_) return fresh_head();
  const std::shared_ptr<UniqueFd> before = TRY(file_before());
  if (before == nullptr) return fresh_head();
  const auto head = TRY(continued(before, deadline));
  return head ? *head : fresh_head();
}

}  // namespace coffer
