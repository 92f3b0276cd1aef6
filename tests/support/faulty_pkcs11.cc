#include "tests/support/faulty_pkcs11.h"

#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace {

CK_FUNCTION_LIST* token = nullptr;
CK_FUNCTION_LIST faulty;
std::atomic<unsigned long> use_outcome = CKR_OK;
std::atomic<unsigned> uses_to_fail = 0;
std::atomic<unsigned long> session_outcome = CKR_OK;
std::atomic<unsigned> sessions_to_fail = 0;
std::atomic<bool> held = false;
std::atomic<unsigned> login_count = 0;

bool take_one(std::atomic<unsigned>& left) {
  unsigned now = left.load();
  while (now > 0 && !left.compare_exchange_weak(now, now - 1)) {
  }
  return now > 0;
}

/// True if the key is not to be used.
bool uses_fail() {
  while (held.load()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return take_one(uses_to_fail);
}

CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void* application, CK_NOTIFY notify,
                   CK_SESSION_HANDLE* session) {
  if (take_one(sessions_to_fail)) return session_outcome.load();
  return token->C_OpenSession(slot, flags, application, notify, session);
}

CK_RV log_in(CK_SESSION_HANDLE session, CK_USER_TYPE user, unsigned char* pin, CK_ULONG length) {
  ++login_count;
  return token->C_Login(session, user, pin, length);
}

CK_RV begin_encrypting(CK_SESSION_HANDLE session, CK_MECHANISM* how, CK_OBJECT_HANDLE key) {
  if (uses_fail()) return use_outcome.load();
  return token->C_EncryptInit(session, how, key);
}

CK_RV begin_decrypting(CK_SESSION_HANDLE session, CK_MECHANISM* how, CK_OBJECT_HANDLE key) {
  if (uses_fail()) return use_outcome.load();
  return token->C_DecryptInit(session, how, key);
}

}  // namespace

extern "C" {

CK_RV C_GetFunctionList(CK_FUNCTION_LIST** list) {
  if (token == nullptr) {
    void* const module = ::dlopen("/usr/lib/softhsm/libsofthsm2.so", RTLD_NOW | RTLD_LOCAL);
    if (module == nullptr) return CKR_GENERAL_ERROR;
    const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(module, "C_GetFunctionList"));
    if (get == nullptr || get(&token) != CKR_OK) return CKR_GENERAL_ERROR;
    faulty = *token;
    faulty.C_GetFunctionList = C_GetFunctionList;
    faulty.C_OpenSession = open_session;
    faulty.C_Login = log_in;
    faulty.C_EncryptInit = begin_encrypting;
    faulty.C_DecryptInit = begin_decrypting;
  }
  *list = &faulty;
  return CKR_OK;
}

void fail_uses(unsigned long outcome, unsigned times) {
  use_outcome = outcome;
  uses_to_fail = times;
}

void fail_sessions(unsigned long outcome, unsigned times) {
  session_outcome = outcome;
  sessions_to_fail = times;
}

void hold_uses(bool hold) { held = hold; }

unsigned logins() { return login_count.load(); }
}
