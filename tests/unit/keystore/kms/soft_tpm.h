#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "keystore/base/bytes.h"
#include "keystore/base/unique_fd.h"
#include "tests/support/temp_dir.h"

namespace coffer::testing {

/// True if swtpm and tpm2-tools are there.
bool have_soft_tpm();

/// A TPM of swtpm's in a directory of its own. Not before it answers does the constructor return,
/// and with the object it is gone.
class SoftTpm {
 public:
  SoftTpm();
  ~SoftTpm() { stop(); }
  SoftTpm(const SoftTpm&) = delete;
  SoftTpm& operator=(const SoftTpm&) = delete;

  /// The process sees this one from here on.
  void use() const;
  /// The machine goes down and comes up again: the PCRs are as at first.
  void restart();
  void stop();
  void start();
  /// It gets nothing done from here on, until it goes on.
  void pause() const;
  void go_on() const;
  /// A program of tpm2-tools on this TPM; what it says, and an exception if it fails.
  std::string tool(const std::string& command) const;
  void extend(unsigned pcr) const;
  /// Objects and sessions that are loaded.
  [[nodiscard]] unsigned handles() const;

  [[nodiscard]] std::string socket() const { return dir_.file("tpm"); }
  /// Of a file that holds it, for the owner alone.
  std::string pin_file(const std::string& content) const;

 private:
  TempDir dir_;
  pid_t pid_ = -1;
};

/// What is done to what passes. The functions are given the command's number, from 0 in a tap's
/// life, and it or its answer, which they may change; an empty answer: the line is cut.
struct TpmMeddling {
  static constexpr unsigned kNone = ~0U;
  std::function<void(unsigned number, ByteVector& command)> command = {};
  std::function<void(unsigned number, ByteVector& answer)> answer = {};
  unsigned refused = kNone;  ///< the command that the TPM does not get to see, and that fails
};

/// What stands between this process and a TPM, reads all that passes, and may alter it.
class TpmTap {
 public:
  /// The process sees the TPM through it from here on.
  explicit TpmTap(const SoftTpm& tpm, TpmMeddling meddling = {});
  ~TpmTap();
  TpmTap(const TpmTap&) = delete;
  TpmTap& operator=(const TpmTap&) = delete;

  /// Ends it, and gives what passed: commands and answers in turn.
  std::vector<ByteVector> finish();

 private:
  void serve();
  void converse(int client);

  const std::string behind_;
  const TpmMeddling meddling_;
  TempDir dir_;
  UniqueFd listener_;
  std::vector<ByteVector> passed_;
  std::thread thread_;
};

/// The command's code (TPM 2.0 Library, Part 2, 6.5.2).
std::uint32_t command_code(Bytes command);

}  // namespace coffer::testing
