#pragma once

#include <memory>
#include <string>

#include "keystore/kms/master_kms.h"
#include "tests/support/temp_dir.h"

namespace coffer::testing {

/// True if SoftHSM and OpenSC are there.
bool have_soft_tokens();

/// Tokens of SoftHSM in a directory of their own, which the process sees from here on through the
/// module that can be told to fail (tests/support/faulty_pkcs11.h). One at a time.
class SoftTokens {
 public:
  static constexpr const char* kModule = "/usr/lib/softhsm/libsofthsm2.so";

  SoftTokens();

  /// A new one, with this PIN.
  void add_token(const std::string& label, const std::string& pin = "1234");
  /// By pkcs11-tool --keygen.
  void add_key(const std::string& token, const std::string& label,
               const std::string& options = "--key-type AES:32 --sensitive");
  void remove_key(const std::string& token, const std::string& label);
  void change_pin(const std::string& token, const std::string& from, const std::string& to);
  /// All tokens as they are now, to be had back by `recall`.
  void remember() const;
  void recall() const;
  /// Of a file that holds it.
  [[nodiscard]] std::string pin_file(const std::string& content, unsigned mode = 0600);

 private:
  void run(const std::string& command) const;
  TempDir dir_;
  unsigned pin_files_ = 0;
};

/// A function of the module in use.
void* faulty_module_function(const char* name);

}  // namespace coffer::testing
