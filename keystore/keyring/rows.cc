#include "keystore/keyring/rows.h"

#include <span>

namespace coffer {
namespace {

template <typename Enum>
struct Name {
  Enum value;
  std::string_view text;
};

template <typename Enum, std::size_t N>
std::string_view name_of(const Name<Enum> (&names)[N], Enum value) {
  for (const auto& name : names) {
    if (name.value == value) return name.text;
  }
  return "unknown";
}

template <typename Enum, std::size_t N>
Result<Enum> value_of(const Name<Enum> (&names)[N], std::string_view text, std::string_view what) {
  std::string known;
  for (const auto& name : names) {
    if (name.text == text) return name.value;
    if (!known.empty()) known += ", ";
    known += name.text;
  }
  return Error{
      Code::kInvalid, 0,
      "no such " + std::string(what) + ": " + std::string(text) + " (there are " + known + ")"};
}

constexpr Name<NamesMode> kNamesModes[] = {{NamesMode::kEncrypted, "encrypted"},
                                           {NamesMode::kPlain, "plain"}};
constexpr Name<Sensitivity> kSensitivities[] = {{Sensitivity::kPublic, "public"},
                                                {Sensitivity::kInternal, "internal"},
                                                {Sensitivity::kConfidential, "confidential"},
                                                {Sensitivity::kRestricted, "restricted"}};
constexpr Name<Wrap> kWraps[] = {{Wrap::kKek, "kek"}, {Wrap::kDirect, "direct"}};
constexpr Name<KeyState> kStates[] = {
    {KeyState::kPreActivation, "pre-activation"}, {KeyState::kActive, "active"},
    {KeyState::kSuspended, "suspended"},          {KeyState::kDeactivated, "deactivated"},
    {KeyState::kCompromised, "compromised"},      {KeyState::kDestroyed, "destroyed"}};

}  // namespace

std::string_view to_string(NamesMode mode) { return name_of(kNamesModes, mode); }
Result<NamesMode> names_mode_from_name(std::string_view name) {
  return value_of(kNamesModes, name, "names mode");
}

std::string_view to_string(Sensitivity sensitivity) { return name_of(kSensitivities, sensitivity); }
Result<Sensitivity> sensitivity_from_name(std::string_view name) {
  return value_of(kSensitivities, name, "sensitivity");
}

std::string_view to_string(Wrap wrap) { return name_of(kWraps, wrap); }
Result<Wrap> wrap_from_name(std::string_view name) { return value_of(kWraps, name, "wrap"); }

std::string_view to_string(KeyState state) { return name_of(kStates, state); }

bool may_become(KeyState from, KeyState to) {
  switch (to) {
    case KeyState::kActive:
      return from == KeyState::kSuspended || from == KeyState::kDeactivated;
    case KeyState::kSuspended:
      return is_usable(from);
    case KeyState::kDeactivated:
      return is_usable(from) || from == KeyState::kSuspended;
    case KeyState::kCompromised:
      return from != KeyState::kCompromised && from != KeyState::kDestroyed;
    case KeyState::kPreActivation:
    case KeyState::kDestroyed:
      return false;
  }
  return false;
}

}  // namespace coffer
