#include "keystore/crypto/aead_ipsec.h"

#include "keystore/crypto/secret_bytes.h"

#ifdef COFFER_HAVE_IPSEC_MB
#include <intel-ipsec-mb.h>

namespace coffer {
namespace {

/// The functions the library chose for this processor. Taken from a manager once; they keep no
/// state in it, so that any number of threads may call them.
struct GcmFunctions {
  aes_gcm_pre_t expand;
  aes_gcm_enc_dec_t seal;
  aes_gcm_enc_dec_t open;
};

class IpsecKey final : public AeadKey {
 public:
  IpsecKey(const GcmFunctions& functions, Bytes key)
      : functions_(functions), expanded_(make_locked<gcm_key_data>()) {
    functions_.expand(key.data(), expanded_.get());
  }

  void seal(const Nonce& nonce, Bytes associated, Bytes in, MutableBytes out,
            Tag& tag) const override {
    gcm_context_data context;
    functions_.seal(expanded_.get(), &context, out.data(), in.data(), in.size(), nonce.data(),
                    associated.data(), associated.size(), tag.data(), tag.size());
  }

  bool open(const Nonce& nonce, Bytes associated, Bytes in, MutableBytes out,
            const Tag& tag) const override {
    gcm_context_data context;
    Tag computed;
    functions_.open(expanded_.get(), &context, out.data(), in.data(), in.size(), nonce.data(),
                    associated.data(), associated.size(), computed.data(), computed.size());
    const bool authentic = constant_time_equal(computed, tag);
    if (!authentic) wipe(out);
    return authentic;
  }

 private:
  GcmFunctions functions_;
  LockedPtr<gcm_key_data> expanded_;
};

class IpsecLibrary final : public IpsecGcm {
 public:
  IpsecLibrary(const GcmFunctions& functions, std::string name)
      : functions_(functions), name_(std::move(name)) {}
  [[nodiscard]] std::unique_ptr<const AeadKey> expand(Bytes key) const override {
    return std::make_unique<IpsecKey>(functions_, key);
  }
  [[nodiscard]] std::string name() const override { return name_; }

 private:
  GcmFunctions functions_;
  std::string name_;
};

std::string describe(IMB_ARCH arch, std::uint64_t features) {
  std::string text = std::string("ipsec-mb ") + imb_get_version_str();
  switch (arch) {
    case IMB_ARCH_AVX512:
      text += " avx512";
      break;
    case IMB_ARCH_AVX2:
      text += " avx2";
      break;
    default:
      break;
  }
  if ((features & IMB_FEATURE_VAES) != 0) text += " vaes";
  return text;
}

}  // namespace

std::unique_ptr<IpsecGcm> IpsecGcm::detect() {
  IMB_MGR* const manager = alloc_mb_mgr(0);
  if (manager == nullptr) return nullptr;
  IMB_ARCH arch = IMB_ARCH_NONE;
  init_mb_mgr_auto(manager, &arch);
  const GcmFunctions functions{manager->gcm256_pre, manager->gcm256_enc, manager->gcm256_dec};
  const std::uint64_t features = manager->features;
  const bool usable =
      imb_get_errno(manager) == 0 && (arch == IMB_ARCH_AVX2 || arch == IMB_ARCH_AVX512) &&
      (features & IMB_FEATURE_AESNI) != 0 && (features & IMB_FEATURE_PCLMULQDQ) != 0;
  free_mb_mgr(manager);
  if (!usable) return nullptr;
  return std::make_unique<IpsecLibrary>(functions, describe(arch, features));
}

}  // namespace coffer

#else

namespace coffer {
std::unique_ptr<IpsecGcm> IpsecGcm::detect() { return nullptr; }
}  // namespace coffer

#endif
