#include "keystore/broker/checkpointer.h"

#include <unistd.h>

#include <array>
#include <chrono>

namespace coffer {
namespace {

constexpr auto kBeat = std::chrono::seconds(1);
/// A transaction of its own for what nobody else writes: a disk flush, and a new generation.
constexpr std::int64_t kKeepEvery = 10;

}  // namespace

std::string log_place(const std::string& path) {
  std::array<char, 256> host{};
  if (::gethostname(host.data(), host.size() - 1) != 0) host[0] = '\0';
  return std::string(host.data()) + ":" + path;
}

Checkpointer::Checkpointer(AuditLog& audit, Keyring& keyring, const Clock& clock,
                           std::function<void(const Error&)> report)
    : audit_(audit),
      keyring_(keyring),
      clock_(clock),
      place_(log_place(audit.path())),
      report_(std::move(report)),
      kept_at_(clock.unix_seconds()) {}

Checkpointer::~Checkpointer() {
  {
    MutexLock lock(stop_mutex_);
    stopping_ = true;
  }
  stop_changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  sign(Keep::kNow);
}

void Checkpointer::start() {
  thread_ = std::thread([this] { loop(); });
}

void Checkpointer::loop() {
  while (true) {
    {
      MutexLock lock(stop_mutex_);
      if (!stopping_) stop_changed_.wait_for(stop_mutex_, kBeat);
      if (stopping_) return;
    }
    sign(Keep::kWhenOthersWrite);
  }
}

void Checkpointer::sign(Keep how) {
  MutexLock lock(signing_);
  const auto attempt = [&]() REQUIRES(signing_) -> Result<void> {
    const std::uint64_t lines = audit_.lines();
    if (lines != signed_lines_) {
      newest_ = TRY(audit_.checkpoint());
      signed_lines_ = lines;
    }
    return newest_ ? keep(*newest_, how) : Result<void>();
  };
  if (const auto ended = audit_.take_ended(); !ended && report_) report_(ended.error());
  const auto done = attempt();
  if (!done && !failed_ && report_) report_(done.error());
  failed_ = !done;
}

Result<void> Checkpointer::keep(const SignedCheckpoint& made, Keep how) {
  if (!keyring_.writable() || made.size == kept_size_) return {};
  const LogCheckpoint checkpoint{.log = made.log,
                                 .size = made.size,
                                 .at = clock_.unix_seconds(),
                                 .place = place_,
                                 .note = made.note};
  if (how == Keep::kWhenOthersWrite && checkpoint.at - kept_at_ < kKeepEvery &&
      checkpoint.at >= kept_at_) {
    keyring_.offer_checkpoint(checkpoint);
    return {};
  }
  // A locked keystore takes none; the next record after that has it.
  if (keyring_.locked()) {
    keyring_.offer_checkpoint(checkpoint);
    return {};
  }
  TRY(keyring_.keep_checkpoint(checkpoint));
  kept_size_ = made.size;
  kept_at_ = checkpoint.at;
  return {};
}

}  // namespace coffer
