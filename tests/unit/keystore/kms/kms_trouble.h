#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "keystore/kms/master_kms.h"

namespace coffer {

/// What is asked of a master key.
enum class KmsCall { kOpen, kWrap, kWrapAll, kUnwrap, kUnwrapAll, kRewrap, kNewest, kInspect };

/// What comes of a call: the error's code, or nothing ill.
using KmsOutcome = std::optional<Code>;

/// A place where a master key is to be had, and can be made not to be. Ends with this object.
class KmsPlace {
 public:
  KmsPlace() = default;
  KmsPlace(const KmsPlace&) = delete;
  KmsPlace& operator=(const KmsPlace&) = delete;
  virtual ~KmsPlace() = default;

  /// The provider alone: what stands around it would ask again.
  virtual Result<std::unique_ptr<MasterKms>> open() = 0;
  /// What no message may hold: tokens, passwords, PINs.
  [[nodiscard]] virtual std::vector<std::string> secrets() const = 0;
};

/// How one trouble is brought about with one provider, and ended; or why there is none.
class KmsCause {
 public:
  using Step = std::function<void(KmsPlace&)>;

  static KmsCause none(std::string why) { return {nullptr, nullptr, std::move(why)}; }
  /// Each is given the provider's own kind of place.
  template <typename Place>
  static KmsCause of(std::function<void(Place&)> begin, std::function<void(Place&)> end) {
    const auto at = [](std::function<void(Place&)> step) {
      return [step = std::move(step)](KmsPlace& place) { step(dynamic_cast<Place&>(place)); };
    };
    return {at(std::move(begin)), at(std::move(end)), ""};
  }
  /// With this provider `call` ends otherwise than the trouble's name says.
  KmsCause but(KmsCall call, KmsOutcome outcome) && {
    otherwise_[call] = outcome;
    return std::move(*this);
  }

  [[nodiscard]] bool is_there() const { return begin_ != nullptr; }
  [[nodiscard]] const std::string& why_not() const { return why_not_; }
  void begin(KmsPlace& place) const { begin_(place); }
  void end(KmsPlace& place) const { end_(place); }
  [[nodiscard]] const std::map<KmsCall, KmsOutcome>& otherwise() const { return otherwise_; }

 private:
  KmsCause(Step begin, Step end, std::string why_not)
      : begin_(std::move(begin)), end_(std::move(end)), why_not_(std::move(why_not)) {}

  Step begin_;
  Step end_;
  std::string why_not_;
  std::map<KmsCall, KmsOutcome> otherwise_;
};

/// All that may come between a node and its master key. A cause has no default: one who leaves a
/// trouble out does not compile.
struct KmsTroubles {
  KmsCause nobody_listens;
  KmsCause hangs;
  KmsCause drips;  ///< it answers, byte by byte, without end
  KmsCause reset;
  KmsCause half_answer;
  KmsCause garbage;
  KmsCause internal_error;
  KmsCause too_many_requests;
  KmsCause redirect;
  KmsCause impostor;  ///< whoever listens does not prove who he is
  KmsCause echo;      ///< a refusal that repeats what was asked
  KmsCause denied;
  KmsCause key_missing;
  KmsCause key_disabled;
  KmsCause another_key;          ///< in its place, or a wrong passphrase
  KmsCause credentials_end;      ///< in mid-run, and there are others to be had
  KmsCause credentials_refused;  ///< and there are no others
  KmsCause credentials_gone;     ///< from this machine
  KmsCause clock_off;
  KmsCause clock_far_off;
};

/// One provider, and what is tried with it.
struct KmsInTrouble {
  std::string name;
  std::string scheme;  ///< of its URIs
  std::function<bool()> is_there;
  std::function<std::unique_ptr<KmsPlace>()> set_up;
  std::vector<KmsCall> asks_nobody;  ///< calls that it answers by itself
  KmsTroubles troubles;
};

// A provider that is added is added here, and in kms_trouble_kinds.h.
KmsInTrouble key_file_in_trouble();
KmsInTrouble passphrase_in_trouble();
KmsInTrouble soft_hsm_in_trouble();
KmsInTrouble tpm_in_trouble();
KmsInTrouble vault_in_trouble();
KmsInTrouble gcp_in_trouble();
KmsInTrouble aws_in_trouble();
KmsInTrouble azure_in_trouble();
KmsInTrouble kmip_in_trouble();

}  // namespace coffer
