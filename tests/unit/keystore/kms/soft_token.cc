#include "tests/unit/keystore/kms/soft_token.h"

#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "keystore/base/atomic_file.h"

namespace coffer::testing {

bool have_soft_tokens() {
  return ::access(SoftTokens::kModule, R_OK) == 0 &&
         ::access("/usr/bin/softhsm2-util", X_OK) == 0 &&
         ::access("/usr/bin/pkcs11-tool", X_OK) == 0;
}

SoftTokens::SoftTokens() {
  const std::string tokens = dir_.file("tokens");
  std::filesystem::create_directory(tokens);
  const std::string text = "directories.tokendir = " + tokens + "\nobjectstore.backend = file\n";
  if (!replace_file(dir_.file("conf"), as_bytes(text), 0600)) throw std::runtime_error("no conf");
  // It stays in the process, so that it can be told before it is used.
  if (::dlopen(COFFER_FAULTY_PKCS11, RTLD_NOW | RTLD_NODELETE) == nullptr)
    throw std::runtime_error(::dlerror());
  ::setenv("SOFTHSM2_CONF", dir_.file("conf").c_str(), 1);
  ::setenv("COFFER_PKCS11_MODULE", COFFER_FAULTY_PKCS11, 1);
}

void SoftTokens::run(const std::string& command) const {
  const std::string quiet = command + " >" + dir_.file("output") + " 2>&1";
  if (std::system(quiet.c_str()) == 0) return;
  const auto output = read_small_file(dir_.file("output"), 10'000);
  throw std::runtime_error(command + ": " + (output ? std::string(as_text(*output)) : ""));
}

void SoftTokens::add_token(const std::string& label, const std::string& pin) {
  run("softhsm2-util --init-token --free --so-pin 0000 --label " + label + " --pin " + pin);
}

void SoftTokens::add_key(const std::string& token, const std::string& label,
                         const std::string& options) {
  run(std::string("pkcs11-tool --module ") + kModule + " --login --pin 1234 --token-label " +
      token + " --keygen --label " + label + " " + options);
}

void SoftTokens::remove_key(const std::string& token, const std::string& label) {
  run(std::string("pkcs11-tool --module ") + kModule + " --login --pin 1234 --token-label " +
      token + " --delete-object --type secrkey --label " + label);
}

void SoftTokens::change_pin(const std::string& token, const std::string& from,
                            const std::string& to) {
  run(std::string("pkcs11-tool --module ") + kModule + " --login --pin " + from + " --new-pin " +
      to + " --change-pin --token-label " + token);
}

void SoftTokens::remember() const {
  std::filesystem::copy(dir_.file("tokens"), dir_.file("kept"),
                        std::filesystem::copy_options::recursive);
}

void SoftTokens::recall() const {
  std::filesystem::remove_all(dir_.file("tokens"));
  std::filesystem::rename(dir_.file("kept"), dir_.file("tokens"));
}

std::string SoftTokens::pin_file(const std::string& content, unsigned mode) {
  const std::string path = dir_.file("pin" + std::to_string(++pin_files_));
  if (!replace_file(path, as_bytes(content), 0600) || ::chmod(path.c_str(), mode) != 0)
    throw std::runtime_error(path);
  return path;
}

void* faulty_module_function(const char* name) {
  void* const module = ::dlopen(COFFER_FAULTY_PKCS11, RTLD_NOW | RTLD_NOLOAD);
  void* const function = module != nullptr ? ::dlsym(module, name) : nullptr;
  if (function == nullptr) throw std::runtime_error(std::string("no ") + name);
  ::dlclose(module);
  return function;
}

}  // namespace coffer::testing
